"""Settings of a search as widgets, in the URL of the page: key = the query parameter.

Search has them once, and Compare once for each column: a :class:`WidgetScope` says whose they are.
Options and limits are the constants that validate them. A value that is the default stays out of
the URL, and one that cannot be is dropped from it.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

import streamlit as st

from lib.search.bm25 import BM25
from lib.search.filters import CATEGORY, FieldFacts, Filter, FilterOp
from lib.search.labels import (
    B_LABEL,
    CATEGORY_LABEL,
    DISTANCE_THRESHOLD_LABEL,
    FILTERS_LABEL,
    FUSION_LABEL,
    FUSIONS,
    ITERATIVE_SCAN_LABEL,
    ITERATIVE_SCANS,
    K1_LABEL,
    LIMIT_LABEL,
    MAX_DISTANCE_LABEL,
    MODE_LABEL,
    MODES,
    POOL_LABEL,
    SCAN_LABEL,
    SCANS,
    TEXT_METHOD_LABEL,
    TEXT_METHODS,
    TEXT_QUERIES,
    TEXT_QUERY_LABEL,
    VECTOR_WEIGHT_LABEL,
    Label,
)
from lib.search.request import Mode, SearchRequest
from lib.store.candidates import Candidate
from lib.store.collections import Collection, CollectionSummary
from lib.ui.search.options import SearchOptions
from lib.ui.shared.links import candidate_mark
from lib.ui.shared.markdown import escape
from lib.ui.shared.url_state import (
    by_value,
    read_text,
    read_texts,
    unknown_choice,
    write_text,
    write_texts,
)
from lib.ui.shared.widgets import (
    choice,
    number_field,
    number_slider,
    optional_choice,
    segmented,
    switch,
)
from lib.vectors.distance import Distance
from lib.vectors.hybrid import Fusion
from lib.vectors.index_methods import IndexMethod, IterativeScan
from lib.vectors.statements import TextMethod, TextQuery
from lib.vectors.tuning import POOL, Scan, SearchSettings

DEFAULTS = SearchRequest(query="")

# What a slider covers; the limits themselves are wider (lib.vectors.tuning).
MAX_RESULTS = 100
NEAREST, FARTHEST, DEFAULT_DISTANCE = 0.05, 1.5, 0.5
# Of l2 and the inner product, which know no bound of their own.
MAX_DISTANCE = 1e9
MAX_SUGGESTIONS = 4
MAX_POOL = 1000
MAX_K1 = 3.0
_MARK = re.compile("[0-9a-f]{8}")  # of a candidate, in the URL


@dataclass(frozen=True)
class WidgetScope:
    """Whose settings the widgets are: the page's, or one column's of a comparison."""

    prefix: str = ""
    """Of their keys, and so of their names in the URL."""
    default: SearchRequest = DEFAULTS
    """The settings to begin with, which are left out of the URL."""

    def key(self, name: str) -> str:
        return f"{self.prefix}{name}"


PAGE_SCOPE = WidgetScope()


def _distance_help(distance: Distance) -> str:
    match distance:
        case Distance.COSINE:
            return "0 is the same direction, 1 a right angle, 2 the opposite."
        case Distance.L2:
            return "0 is the same point; how much is far depends on the model."
        case Distance.INNER_PRODUCT:
            return "It is negative for what is near: the more so, the nearer."
        case _:
            assert_never(distance)


def _options_help(labels: Iterable[Label]) -> str:
    """A line for each option of a choice."""
    return "  \n".join(f"**{label.name}**: {label.help}" for label in labels)


def question_field() -> str:
    """Not bound by Streamlit's own means: a link without a question is to empty the field."""
    read_text("q")
    question = st.text_input(
        "Question",
        key="q",
        placeholder="Ask a question, or type some words, and press Enter",
        type="search",
        help="All settings and the question are in the URL of this page: copy it to share what "
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
    limit = results_slider(MAX_RESULTS)
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
    default = scope.default.mode if scope.default.mode in possible else possible[0]
    mode = segmented(
        MODE_LABEL.name,
        by_value([mode for mode in Mode if mode in possible]),
        lambda mode: MODES[mode].name,
        key=scope.key("mode"),
        default=default,
        help_text=_options_help(MODES.values()),
        width="stretch",
    )
    if not has_model:
        st.caption(
            "The vectors of this collection came without a model, so that a question cannot be "
            "turned into one: it is searched by keywords."
        )
    return mode


def results_slider(most: int) -> int:
    """How many results; of the whole page."""
    return number_slider(
        str(LIMIT_LABEL),
        1,
        most,
        DEFAULTS.limit,
        1,
        key="k",
        help_text=LIMIT_LABEL.help,
    )


def _weight(scope: WidgetScope) -> float:
    return number_slider(
        str(VECTOR_WEIGHT_LABEL),
        0.0,
        1.0,
        scope.default.vector_weight,
        0.05,
        key=scope.key("w"),
        help_text=VECTOR_WEIGHT_LABEL.help,
    )


def _category(scope: WidgetScope, categories: Sequence[tuple[str, int]]) -> str | None:
    if not categories:
        return None
    documents = dict(categories)
    return optional_choice(
        str(CATEGORY_LABEL),
        by_value(list(documents)),
        lambda category: f"{category} ({documents[category]:,})",
        key=scope.key("category"),
        help_text=CATEGORY_LABEL.help,
    )


def _filters(scope: WidgetScope, fields: Sequence[FieldFacts]) -> tuple[Filter, ...]:
    """Conditions on the metadata: suggested ones to pick, and any that is typed."""
    if not fields:
        return ()
    suggestions = [
        str(Filter(field.filter_field, FilterOp.EQUALS, example))
        for field in fields
        for example in field.examples[:MAX_SUGGESTIONS]
    ]
    ranges = [field for field in fields if field.low is not None and field.low != field.high]
    suggestions += [f"{field.filter_field}>={field.low:g}" for field in ranges]
    key = scope.key("f")
    read_texts(key)
    chosen = st.multiselect(
        str(FILTERS_LABEL),
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
    """It begins switched off, whatever the scope's settings."""
    is_limited = switch(
        str(DISTANCE_THRESHOLD_LABEL),
        key=scope.key("near"),
        default=False,
        help_text=DISTANCE_THRESHOLD_LABEL.help,
    )
    if not is_limited:
        return None
    label, key = str(MAX_DISTANCE_LABEL), scope.key("d")
    help_text = f"Only documents with a {distance.label} below this. {_distance_help(distance)}"
    if distance is Distance.COSINE:
        return number_slider(
            label, NEAREST, FARTHEST, DEFAULT_DISTANCE, 0.01, key=key, help_text=help_text
        )
    return number_field(label, -MAX_DISTANCE, MAX_DISTANCE, 1.0, 0.1, key=key, help_text=help_text)


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
        str(FUSION_LABEL),
        by_value(list(Fusion)),
        lambda fusion: str(FUSIONS[fusion]),
        key=scope.key("fusion"),
        help_text=_options_help(FUSIONS.values()),
        default=scope.default.fusion,
    )
    pool = number_slider(
        str(POOL_LABEL),
        10,
        MAX_POOL,
        scope.default.pool,
        10,
        key=scope.key("pool"),
        help_text=POOL_LABEL.help,
    )
    return fusion, pool


def _text_query(scope: WidgetScope, mode: Mode) -> TextQuery:
    return choice(
        str(TEXT_QUERY_LABEL),
        by_value(list(TextQuery)),
        lambda text_query: str(TEXT_QUERIES[text_query]),
        key=scope.key(f"text_{mode.value}"),  # a key for each mode, since the default differs
        help_text=_options_help(TEXT_QUERIES.values()),
        default=replace(scope.default, mode=mode).text_kind,
    )


def _text_method(scope: WidgetScope) -> tuple[TextMethod, BM25]:
    method = choice(
        str(TEXT_METHOD_LABEL),
        by_value(list(TextMethod)),
        lambda method: str(TEXT_METHODS[method]),
        key=scope.key("rank"),
        help_text=_options_help(TEXT_METHODS.values()),
        default=scope.default.text_method,
    )
    if method is not TextMethod.BM25:
        return method, BM25()
    k1 = number_slider(
        str(K1_LABEL),
        0.0,
        MAX_K1,
        scope.default.bm25.k1,
        0.1,
        key=scope.key("k1"),
        help_text=K1_LABEL.help,
    )
    b = number_slider(
        str(B_LABEL),
        0.0,
        1.0,
        scope.default.bm25.b,
        0.05,
        key=scope.key("b"),
        help_text=B_LABEL.help,
    )
    return method, BM25(k1, b)


def no_word_index(collection: Collection) -> None:
    """What BM25 needs first, and where that is made."""
    st.warning(
        "BM25 needs this collection's BM25 index, which is not built yet. On the Collections "
        "page: **Manage**, **BM25 index**.",
        icon=":material/match_word:",
    )
    st.page_link(
        "pages/collections.py",
        label="Build the BM25 index",
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
    ready = {candidate_mark(candidate.id): candidate for candidate in candidates if candidate.ready}
    key = scope.key("scan")
    unknown = unknown_choice(key, ready)
    if unknown is not None and _MARK.fullmatch(unknown):
        st.warning(
            f"The link asks for the candidate {unknown}, which is not here (any more).",
            icon=":material/help:",
        )
    if index is None and not ready:
        st.caption(
            "This collection has no vector index: every search compares every document, which is "
            "exact. Build one on the Collections page to try its settings."
        )
        return None, SearchSettings()
    scans = [Scan.EXACT] if index is None else list(SCANS)
    names = {scan.value: str(SCANS[scan]) for scan in scans}
    names |= {mark: f"Candidate: {candidate.name}" for mark, candidate in ready.items()}
    own = "" if index is None else f"The index is {escape(index.label)}. "
    name = choice(
        str(SCAN_LABEL),
        by_value(list(names)),
        lambda scan: names[scan],
        key=key,
        help_text=f"{own}{_options_help(SCANS.values())}  \n**Candidate**: goes through a "
        "copy of the vectors with an index of its own.",
        default=_default_scan(scope, names),
    )
    candidate = ready.get(name)
    if candidate is None and name == Scan.EXACT.value:
        return None, SearchSettings(scan=Scan.EXACT)
    if candidate is not None:
        method, options, scan = candidate.method, candidate.index.options, Scan.INDEX
    else:
        assert index is not None  # else neither of the others was offered
        method, options, scan = index.method, index.options, Scan(name)
    settings = SearchSettings(
        {method.search_parameter.name: _search_parameter(scope, method, options)},
        iterative_scan=_iterative_scan(scope) if filtered else None,
        scan=scan,
    )
    return None if candidate is None else candidate.id, settings


def _default_scan(scope: WidgetScope, names: Mapping[str, str]) -> str:
    scan = scope.default.settings.scan.value
    if scope.default.candidate_id is not None:
        scan = candidate_mark(scope.default.candidate_id)
    return scan if scan in names else next(iter(names))


def _search_parameter(scope: WidgetScope, method: IndexMethod, options: Mapping[str, int]) -> int:
    parameter = method.search_parameter
    limits = parameter.limits({**method.spec().options, **options})
    # An index that returns no more rows than the value has to fill the pool of a hybrid.
    start = POOL.default if parameter.bounds_result else limits.default
    value = number_slider(
        parameter.label,
        limits.low,
        max(limits.high, limits.low + 1),
        min(scope.default.settings.value_of(method) or start, limits.high),
        1,
        key=scope.key(parameter.link),
        help_text=parameter.help,
    )
    return min(value, limits.high)


def _iterative_scan(scope: WidgetScope) -> IterativeScan:
    return choice(
        str(ITERATIVE_SCAN_LABEL),
        by_value(list(ITERATIVE_SCANS)),
        lambda scan: str(ITERATIVE_SCANS[scan]),
        key=scope.key("iterative"),
        help_text=ITERATIVE_SCAN_LABEL.help,
        default=scope.default.settings.iterative_scan or IterativeScan.STRICT,
    )
