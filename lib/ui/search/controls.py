"""Settings of a search as widgets, in the address of the page: key = the query parameter.

Search has them once, and Compare once for each column: an :class:`WidgetScope` says whose they are.
Options and limits are the constants that validate them. A value that is the default stays out of
the address, and one that cannot be is dropped from it.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import streamlit as st

from lib.search.bm25 import BM25
from lib.search.filters import CATEGORY, FieldFacts, Filter, FilterOp
from lib.search.request import Mode, SearchRequest
from lib.store.candidates import Candidate
from lib.store.collections import Collection, CollectionSummary
from lib.ui.search.options import SearchOptions
from lib.ui.shared.links import candidate_mark
from lib.ui.shared.markdown import escape
from lib.ui.shared.url_state import (
    by_value,
    read_choice,
    read_number,
    read_text,
    read_texts,
    unknown_choice,
    write_choice,
    write_number,
    write_text,
    write_texts,
)
from lib.ui.shared.widgets import choice, number_slider
from lib.vectors.distance import Distance
from lib.vectors.hybrid import Fusion
from lib.vectors.index_methods import IndexMethod, IterativeScan
from lib.vectors.statements import TextMethod, TextQuery
from lib.vectors.tuning import POOL, Scan, SearchSettings

DEFAULTS = SearchRequest(query="")

# What a slider covers; the limits themselves are wider (lib.vectors.tuning).
MOST_RESULTS = 100
NEAREST, FARTHEST, USUAL_DISTANCE = 0.05, 1.5, 0.5
# Of l2 and the inner product, which know no bound of their own.
MOST_DISTANCE = 1e9
MOST_SUGGESTIONS = 4
MOST_POOL = 1000
MOST_K1 = 3.0
_MARK = re.compile("[0-9a-f]{8}")  # of a candidate, in the address


@dataclass(frozen=True)
class WidgetScope:
    """Whose settings the widgets are.

    prefix: of their keys, and so of their names in the address. usual: the settings to begin with,
    which are left out of the address.
    """

    prefix: str = ""
    usual: SearchRequest = DEFAULTS

    def key(self, name: str) -> str:
        return f"{self.prefix}{name}"


PAGE_SCOPE = WidgetScope()

_FUSION_HELP = (
    "**Weighted sum**: each side's values are scaled to 0–1 over what was fetched, then added by "
    "weight.  \n**By rank (RRF)**: 1 / (60 + rank) of each side, added by weight; the values "
    "themselves do not count.  \n**Raw sum**: weight · similarity + (1 − weight) · ts_rank, only "
    "documents with the words. The textbook form: its two scales are not comparable, so the "
    "weight does little until it is near 1."
)
_FUSION_LABELS = {
    Fusion.WEIGHTED: "Weighted sum",
    Fusion.RRF: "By rank (RRF)",
    Fusion.RAW: "Raw sum (textbook)",
}
_TEXT_HELP = {
    TextQuery.WEB: 'Like a web search: "exact phrase", OR, -without; all other words must occur.',
    TextQuery.PLAIN: "Every word must occur. Strict: questions rarely find anything.",
    TextQuery.ANY: "At least one word must occur; more and rarer words rank higher.",
}
_DISTANCE_HELP = {
    Distance.COSINE: "0 is the same direction, 1 a right angle, 2 the opposite.",
    Distance.L2: "0 is the same point; how much is far depends on the model.",
    Distance.INNER_PRODUCT: "It is negative for what is near: the more so, the nearer.",
}
_SCAN_LABELS = {
    Scan.AUTO: "PostgreSQL decides",
    Scan.INDEX: "Use the index",
    Scan.EXACT: "Exact: compare all",
}

_METHOD_LABELS = {
    TextMethod.TS_RANK: "PostgreSQL's rank (ts_rank)",
    TextMethod.TS_RANK_CD: "Words near each other (ts_rank_cd)",
    TextMethod.BM25: "Rare words count more (BM25)",
}
_METHOD_HELP = (
    "**ts_rank**: sums the weights of the words that occur; knows nothing of how rare they are.  \n"
    "**ts_rank_cd**: how near each other the words stand (cover density).  \n"
    "**BM25**: Σ idf · tf · (k1 + 1) / (tf + k1 · (1 − b + b · length / average)). Rare words "
    "count more, long documents less. Best for questions; it needs the collection's word index, "
    "built on the Collections page."
)

_ITERATIVE_LABELS = {
    IterativeScan.STRICT: "Yes, in strict order",
    IterativeScan.RELAXED: "Yes, roughly in order",
    IterativeScan.OFF: "No",
}


def question_field() -> str:
    """Not bound by Streamlit's own means: a link without a question is to empty the field."""
    read_text("q")
    question = st.text_input(
        "Question",
        key="q",
        placeholder="Ask a question, or type some words, and press Enter",
        type="search",
        help="All settings and the question are in the address of this page: copy it to share what "
        "you see.",
    )
    write_text("q", question)
    return question


def search_controls(options: SearchOptions, query: str) -> SearchRequest:
    """The settings column of Search: what, how, and more.

    Raises InvalidInput for a filter that was typed and cannot be read.
    """
    st.markdown("**What**")
    mode = _mode(PAGE_SCOPE, has_model=options.collection.has_model)
    category = _category(PAGE_SCOPE, options.categories)
    filters = _filters(PAGE_SCOPE, options.fields)
    st.markdown("**How**")
    limit = results_slider(MOST_RESULTS)
    weight = _weight(PAGE_SCOPE) if mode is Mode.HYBRID else DEFAULTS.vector_weight
    max_distance = (
        _max_distance(PAGE_SCOPE, options.collection.distance) if mode.uses_vectors else None
    )
    chosen = SearchRequest(
        query,
        mode,
        limit=limit,
        max_distance=max_distance,
        category=category,
        vector_weight=weight,
        filters=filters,
    )
    with st.expander("More", icon=":material/tune:"):
        return _finer(PAGE_SCOPE, chosen, options)


def column_controls(
    scope: WidgetScope, options: SearchOptions, common: SearchRequest
) -> SearchRequest:
    """All settings of one column of a comparison. common: the question and the limit of all.

    Raises InvalidInput as :func:`search_controls`.
    """
    mode = _mode(scope, has_model=options.collection.has_model)
    category, filters = _category(scope, options.categories), _filters(scope, options.fields)
    weight = _weight(scope) if mode is Mode.HYBRID else DEFAULTS.vector_weight
    max_distance = _max_distance(scope, options.collection.distance) if mode.uses_vectors else None
    chosen = replace(
        common,
        mode=mode,
        category=category,
        filters=filters,
        vector_weight=weight,
        max_distance=max_distance,
    )
    return _finer(scope, chosen, options)


def narrowing_controls(
    scope: WidgetScope, categories: Sequence[tuple[str, int]], fields: Sequence[FieldFacts]
) -> tuple[Filter, ...]:
    """The category and the other conditions, all of them as filters. Raises InvalidInput."""
    category, others = _category(scope, categories), _filters(scope, fields)
    own = () if category is None else (Filter(CATEGORY, FilterOp.EQUALS, category),)
    return (*own, *others)


def _mode(scope: WidgetScope, *, has_model: bool) -> Mode:
    possible = Mode.possible(has_model=has_model)
    usual = scope.usual.mode if scope.usual.mode in possible else possible[0]
    modes, key = by_value(possible), scope.key("mode")
    read_choice(key, modes, usual)
    mode = st.segmented_control(
        "Search by",
        [mode for mode in Mode if mode in possible],
        format_func=lambda found: found.label,
        required=True,
        key=key,
        help="**Meaning** (similarity): documents whose embedding is nearest to the question's, "
        "whatever their words.  \n**Words** (full text): documents that have the words of the "
        "question, in any of their forms.  \n**Both** (hybrid): the best of the two, joined.",
        width="stretch",
    )
    assert mode is not None
    write_choice(key, modes, mode, usual)
    if not has_model:
        st.caption(
            "The vectors of this collection came without a model, so that a question cannot be "
            "turned into one: it is searched by words."
        )
    return mode


def results_slider(most: int) -> int:
    """How many results; of the whole page."""
    return number_slider(
        "How many results (k)",
        1,
        most,
        DEFAULTS.limit,
        1,
        key="k",
        help_text="The most documents to show.",
    )


def _weight(scope: WidgetScope) -> float:
    return number_slider(
        "Meaning against words (weight)",
        0.0,
        1.0,
        scope.usual.vector_weight,
        0.05,
        key=scope.key("w"),
        help_text="The weight of the vectors: 0 ranks by words alone, 1 by meaning alone.",
    )


def _category(scope: WidgetScope, categories: Sequence[tuple[str, int]]) -> str | None:
    if not categories:
        return None
    documents, key = dict(categories), scope.key("category")
    named = by_value(list(documents))
    read_choice(key, named, None)
    category = st.selectbox(
        "Category",
        list(documents),
        index=None,
        format_func=lambda found: f"{found} ({documents[found]:,})",
        placeholder="All",
        key=key,
        help="Only documents of one category; in brackets how many there are.",
    )
    write_choice(key, named, category, None)
    return category


def _filters(scope: WidgetScope, fields: Sequence[FieldFacts]) -> tuple[Filter, ...]:
    """Conditions on the metadata: suggested ones to pick, and any that is typed."""
    if not fields:
        return ()
    suggestions = [
        str(Filter(field.filter_field, FilterOp.EQUALS, example))
        for field in fields
        for example in field.examples[:MOST_SUGGESTIONS]
    ]
    ranges = [field for field in fields if field.low is not None and field.low != field.high]
    suggestions += [f"{field.filter_field}>={field.low:g}" for field in ranges]
    key = scope.key("f")
    read_texts(key)
    chosen = st.multiselect(
        "More conditions (filters)",
        list(dict.fromkeys(suggestions)),
        accept_new_options=True,
        placeholder="Such as year>=2015",
        key=key,
        help="Conditions on the documents' other fields; all of them must hold. Pick one or type "
        "your own and press Enter: `field=value`, `field=a,b` (either), `field>=3`, `field<=9`, "
        "`field` (it is there).  \nFields: "
        + ", ".join(f"`{escape(field.filter_field)}`" for field in fields[:30]),
    )
    write_texts(key, chosen)
    return tuple(Filter.parse(text) for text in chosen)


def _max_distance(scope: WidgetScope, distance: Distance) -> float | None:
    """Of nobody's usual settings."""
    near, key = scope.key("near"), scope.key("d")
    named = {"true": True, "false": False}
    read_choice(near, named, default=False)
    limited = st.toggle(
        "Only near documents",
        key=near,
        help="Leaves out what is farther from the question than a distance (threshold).",
    )
    write_choice(near, named, limited, default=False)
    if not limited:
        return None
    label = "Farthest distance (threshold)"
    words = f"Only documents with a {distance.label} below this. {_DISTANCE_HELP[distance]}"
    if distance is Distance.COSINE:
        return number_slider(
            label, NEAREST, FARTHEST, USUAL_DISTANCE, 0.01, key=key, help_text=words
        )
    read_number(key, -MOST_DISTANCE, MOST_DISTANCE, 1.0)
    found = st.number_input(label, -MOST_DISTANCE, MOST_DISTANCE, step=0.1, key=key, help=words)
    write_number(key, found, 1.0)
    return found


# --- the finer settings -------------------------------------------------------------------------


def _finer(scope: WidgetScope, chosen: SearchRequest, options: SearchOptions) -> SearchRequest:
    """What is chosen already, with what its mode leaves to be chosen."""
    if chosen.mode is Mode.HYBRID:
        fusion, pool = _fusion(scope)
        chosen = replace(chosen, fusion=fusion, pool=pool)
    if chosen.mode.uses_text:
        text_query = _text_query(scope, chosen.mode)
        method, bm25 = _text_method(scope)
        chosen = replace(chosen, text_query=text_query, text_method=method, bm25=bm25)
        if method is TextMethod.BM25 and not options.summary.has_word_index:
            no_word_index(options.collection)
    if chosen.mode.uses_vectors:
        candidate_id, settings = _index_settings(
            scope, options.summary, options.candidates, chosen.filtered
        )
        chosen = replace(chosen, candidate_id=candidate_id, settings=settings)
    return chosen


def _fusion(scope: WidgetScope) -> tuple[Fusion, int]:
    fusion = choice(
        "How the two sides are joined (fusion)",
        by_value(list(Fusion)),
        lambda found: _FUSION_LABELS[found],
        key=scope.key("fusion"),
        help_text=_FUSION_HELP,
        default=scope.usual.fusion,
    )
    pool = number_slider(
        "How many each side fetches (pool)",
        10,
        MOST_POOL,
        scope.usual.pool,
        10,
        key=scope.key("pool"),
        help_text="The best of each side that are then joined. More finds more that both sides "
        "like, and takes longer.",
    )
    return fusion, pool


def _text_query(scope: WidgetScope, mode: Mode) -> TextQuery:
    return choice(
        "How words are matched",
        by_value(list(TextQuery)),
        lambda found: found.label,
        key=scope.key(f"text_{mode.value}"),  # a key for each mode, since the default differs
        help_text="  \n".join(f"**{kind.label}**: {_TEXT_HELP[kind]}" for kind in TextQuery),
        default=replace(scope.usual, mode=mode).text_kind,
    )


def _text_method(scope: WidgetScope) -> tuple[TextMethod, BM25]:
    method = choice(
        "How matches are ranked (text method)",
        by_value(list(TextMethod)),
        lambda found: _METHOD_LABELS[found],
        key=scope.key("rank"),
        help_text=_METHOD_HELP,
        default=scope.usual.text_method,
    )
    if method is not TextMethod.BM25:
        return method, BM25()
    k1 = number_slider(
        "How soon a repeated word stops counting (k1)",
        0.0,
        MOST_K1,
        scope.usual.bm25.k1,
        0.1,
        key=scope.key("k1"),
        help_text="0: once is as good as ten times. Higher: more of the same word goes on "
        "counting.",
    )
    b = number_slider(
        "How much long documents are held back (b)",
        0.0,
        1.0,
        scope.usual.bm25.b,
        0.05,
        key=scope.key("b"),
        help_text="0: length does not matter. 1: a word in a text twice as long counts half.",
    )
    return method, BM25(k1, b)


def no_word_index(collection: Collection) -> None:
    """What BM25 needs first, and where that is made."""
    st.warning(
        "BM25 needs this collection's word index, which is not built yet. On the Collections "
        "page: **Manage**, **Word index**.",
        icon=":material/match_word:",
    )
    st.page_link(
        "pages/collections.py",
        label="Build the word index",
        icon=":material/database:",
        query_params={"c": collection.slug},
    )


def _index_settings(
    scope: WidgetScope,
    summary: CollectionSummary,
    candidates: Sequence[Candidate],
    filtered: bool,
) -> tuple[uuid.UUID | None, SearchSettings]:
    """(the candidate to go through, the settings)."""
    index = summary.index
    ready = {candidate_mark(each.id): each for each in candidates if each.ready}
    key = scope.key("scan")
    unknown = unknown_choice(key, ready)
    if unknown is not None and _MARK.fullmatch(unknown):
        st.warning(
            f"The address asks for the candidate {unknown}, which is not here (any more).",
            icon=":material/help:",
        )
    if index is None and not ready:
        st.caption(
            "This collection has no vector index: every search compares every document, which is "
            "exact. Build one on the Collections page to try its settings."
        )
        return None, SearchSettings()
    labels = {scan.value: label for scan, label in _SCAN_LABELS.items()}
    if index is None:
        labels = {Scan.EXACT.value: _SCAN_LABELS[Scan.EXACT]}
    labels |= {mark: f"Candidate: {each.name}" for mark, each in ready.items()}
    own = "" if index is None else f"The index is {escape(index.label)}. "
    name = choice(
        "How to look for neighbours",
        by_value(list(labels)),
        lambda found: labels[found],
        key=key,
        help_text=f"{own}**PostgreSQL decides**: on a small "
        "collection it prefers to compare every document.  \n**Use the index**: shows what the "
        "index would find even so.  \n**Exact**: compares every document, and misses nothing."
        "  \n**Candidate**: goes through a copy of the vectors with an index of its own.",
        default=_usual_scan(scope, labels),
    )
    candidate = ready.get(name)
    if candidate is None and name == Scan.EXACT.value:
        return None, SearchSettings(scan=Scan.EXACT)
    if candidate is not None:
        method, options, scan = candidate.method, candidate.spec.options, Scan.INDEX
    else:
        assert index is not None  # else neither of the others was offered
        method, options, scan = index.method, index.options, Scan(name)
    settings = SearchSettings(
        {method.search_parameter.name: _search_parameter(scope, method, options)},
        iterative_scan=_iterative_scan(scope) if filtered else None,
        scan=scan,
    )
    return None if candidate is None else candidate.id, settings


def _usual_scan(scope: WidgetScope, labels: Mapping[str, str]) -> str:
    usual = scope.usual.settings.scan.value
    if scope.usual.candidate_id is not None:
        usual = candidate_mark(scope.usual.candidate_id)
    return usual if usual in labels else next(iter(labels))


def _search_parameter(scope: WidgetScope, method: IndexMethod, options: Mapping[str, int]) -> int:
    parameter = method.search_parameter
    limits = parameter.limits({**method.spec().options, **options})
    # An index that returns no more rows than the value has to fill the pool of a hybrid.
    start = POOL.default if parameter.bounds_result else limits.default
    value = number_slider(
        parameter.label,
        limits.low,
        max(limits.high, limits.low + 1),
        min(scope.usual.settings.value_of(method) or start, limits.high),
        1,
        key=scope.key(parameter.link),
        help_text=parameter.help,
    )
    return min(value, limits.high)


def _iterative_scan(scope: WidgetScope) -> IterativeScan:
    return choice(
        "Go on when the filter leaves too few (iterative scan)",
        by_value(list(_ITERATIVE_LABELS)),
        lambda found: _ITERATIVE_LABELS[found],
        key=scope.key("iterative"),
        help_text="An index finds first and filters then. Without going on, a category may "
        "come back with fewer documents than there are.",
        default=scope.usual.settings.iterative_scan or IterativeScan.STRICT,
    )
