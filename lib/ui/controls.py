"""Settings of a search as widgets, in the address of the page: key = the query parameter.

Options and limits are the constants that validate them. A value that is the default stays out of
the address, and one that cannot be is dropped from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import streamlit as st

from lib.embedding.models import EmbeddingModel
from lib.search.bm25 import B_DEFAULT, BM25, K1_DEFAULT
from lib.search.filters import FieldFacts, Filter, FilterOp
from lib.search.request import Mode, SearchRequest
from lib.store.collections import NAME_LENGTH, NEXT_SUFFIX, Collection, CollectionSummary
from lib.ui.address import by_value, read_choice, unknown_choice, write_choice
from lib.ui.text import escape
from lib.vectors.distance import Distance
from lib.vectors.indexes import (
    HNSW,
    IndexKind,
    IndexSpec,
    IVFFlat,
    recommended_kind,
    recommended_lists,
    recommended_probes,
)
from lib.vectors.statements import Fusion, TextMethod, TextQuery
from lib.vectors.tuning import (
    EF_CONSTRUCTION,
    EF_SEARCH,
    LISTS,
    POOL,
    PROBES,
    IterativeScan,
    M,
    Scan,
    SearchSettings,
)

URL: Literal["query-params"] = "query-params"
DEFAULTS = SearchRequest(query="")
USUAL_LANGUAGE = "english"

# What a slider covers; the limits themselves are wider (lib.vectors.tuning).
MOST_RESULTS = 100
NEAREST, FARTHEST, USUAL_DISTANCE = 0.05, 1.5, 0.5
MOST_SUGGESTIONS = 4

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

T = TypeVar("T")


def _choice(
    label: str,
    options: Sequence[T],
    labels: Callable[[T], str],
    *,
    key: str,
    help_text: str,
    default: T | None = None,
) -> T:
    """A selectbox in which something is always chosen, in the address by its value."""
    usual = options[0] if default is None else default
    named = by_value(options)
    read_choice(key, named, usual)
    found = st.selectbox(label, options, format_func=labels, key=key, help=help_text)
    assert found is not None
    write_choice(key, named, found, usual)
    return found


def _label(collection: Collection) -> str:
    if not collection.is_next:
        return collection.name
    return f"{collection.name} · by {collection.model} (not switched)"


def collection_picker(collections: Sequence[Collection]) -> Collection:
    """The collection that the page is about. The address always names it, by its slug, so that a
    shared link stays right when collections are added."""
    by_slug = {collection.address: collection for collection in collections}
    named = by_value(list(by_slug))
    # A page that has no use for vectors that are growing shows the collection's own.
    known = {slug + NEXT_SUFFIX: slug for slug in named} | named
    unknown = unknown_choice("c", known)
    read_choice("c", known, next(iter(named)))
    slug = st.selectbox(
        "Collection",
        list(by_slug),
        format_func=lambda found: _label(by_slug[found]),
        key="c",
        help="Which set of documents to look at. It stays chosen on the other pages.",
    )
    write_choice("c", named, slug, None)
    if unknown is not None:
        st.warning(
            f"The address asks for the collection {escape(unknown)}, which is not here (any more).",
            icon=":material/help:",
        )
    return by_slug[slug]


@dataclass(frozen=True)
class NewCollection:
    """What the form for a new collection was filled in with."""

    name: str
    distance: Distance
    text_config: str


def model_picker(models: Sequence[EmbeddingModel], default: str) -> str:
    """The name of an embedding model: one of these, or any other that was typed in."""
    labels = {model.name: model.label for model in models}
    names = list(labels) if default in labels else [default, *labels]
    found = st.selectbox(
        "Embedding model",
        names,
        index=names.index(default),
        format_func=lambda name: labels.get(name, name),
        accept_new_options=True,
        help="Turns texts into vectors. The local one needs no key and no network. Any model that "
        "LiteLLM knows can be typed in, such as mistral/mistral-embed, and any server that speaks "
        "OpenAI's API, as openai-compatible/ and the model's name.",
    )
    return str(found)


def show_model(model: EmbeddingModel, missing_variable: str | None) -> None:
    """What is known of a model before it is chosen for good, and what it lacks."""
    st.caption(" ".join([f"{' · '.join(_model_facts(model))}.", escape(model.note)]))
    if missing_variable is not None:
        st.warning(
            f"{escape(missing_variable)} is not set, and this model needs it. Set it in the "
            "environment or in .env and load this page again, or take the local model.",
            icon=":material/key_off:",
        )


def _model_facts(model: EmbeddingModel) -> Iterator[str]:
    if model.dimensions is None:
        yield "Its dimensions are asked of the provider when the collection is created"
    else:
        yield f"{model.dimensions:,} dimensions, stored as {model.storage.value}"
    if model.max_tokens is not None:
        yield f"texts of up to {model.max_tokens:,} tokens"
    if model.price_usd_per_million_tokens:
        yield f"{model.price_usd_per_million_tokens:.2f} US dollars for a million tokens"
    elif model.price_usd_per_million_tokens is not None:
        yield "free"


def new_collection_form(
    model: EmbeddingModel, text_configs: Sequence[str], *, usable: bool
) -> NewCollection | None:
    """The rest of the form; its values once Create was pressed. usable: whether the model is."""
    distances = list(Distance)
    with st.form("new_collection", border=False):
        left, middle, right = st.columns([2, 1, 1])
        name = left.text_input(
            "Name",
            placeholder="Such as Product manuals",
            max_chars=NAME_LENGTH,
            help="For people. The table is named after it: vecscope.documents_product_manuals.",
        )
        distance = middle.selectbox(
            "How vectors are compared (distance)",
            distances,
            index=distances.index(model.distance),
            format_func=lambda found: found.label,
            help="How near two vectors are. What is chosen already is the one that the model was "
            "made for.",
        )
        text_config = right.selectbox(
            "Language of the texts",
            list(text_configs),
            index=list(text_configs).index(USUAL_LANGUAGE),
            help="For the search by words (PostgreSQL's text search configuration): words are "
            "compared by their stems. “simple” compares them as they are.",
        )
        pressed = st.form_submit_button(
            "Create", type="primary", icon=":material/add:", disabled=not usable
        )
    if not pressed:
        return None
    return NewCollection(name, distance or model.distance, str(text_config))


def index_form(documents: int, key: str, on_build: Callable[[], None]) -> IndexSpec | None:
    """Kind and options of a vector index; the specification once Build was pressed.

    Raises LimitExceeded where the options do not go together.
    """
    usual, reason = recommended_kind(documents)
    kind = st.segmented_control(
        "Kind of index",
        list(IndexKind),
        format_func=lambda found: found.label,
        default=usual,
        required=True,
        key=f"kind_{key}",
        help="**IVFFlat** sorts documents into lists and looks into some of them: quick to build. "
        " \n**HNSW** walks a graph: quicker and more exact to search, slower to build.",
    )
    st.caption(f"Suggested: {usual.label}. {reason[0].upper()}{reason[1:]}.")
    options = _ivfflat_options(documents, key) if kind is IndexKind.IVFFLAT else _hnsw_options(key)
    pressed = st.button(
        "Build", key=f"build_{key}", type="primary", icon=":material/build:", on_click=on_build
    )
    return options() if pressed else None


def _ivfflat_options(documents: int, key: str) -> Callable[[], IndexSpec]:
    lists = st.number_input(
        "Number of lists (lists)",
        LISTS.low,
        LISTS.high,
        recommended_lists(documents),
        key=f"lists_{key}",
        help="About one for each 1,000 documents. More lists make a search quicker and find "
        "less, until more of them are looked into (probes).",
    )
    return lambda: IVFFlat(lists=int(lists))


def _hnsw_options(key: str) -> Callable[[], IndexSpec]:
    m = st.number_input(
        "Links of a document (m)",
        M.low,
        M.high,
        M.default,
        key=f"m_{key}",
        help="More links find more and take more memory and time to build.",
    )
    ef_construction = st.number_input(
        "Candidates while building (ef_construction)",
        EF_CONSTRUCTION.low,
        EF_CONSTRUCTION.high,
        EF_CONSTRUCTION.default,
        key=f"efc_{key}",
        help="At least twice the links. More makes a better graph and takes longer to build.",
    )
    return lambda: HNSW(int(m), int(ef_construction))


def question_field() -> str:
    return str(
        st.text_input(
            "Question",
            key="q",
            bind=URL,
            placeholder="Ask a question, or type some words, and press Enter",
            type="search",
            help="All settings and the question are in the address of this page: copy it to share "
            "what you see.",
        )
        or ""
    )


def search_controls(
    summary: CollectionSummary,
    categories: Sequence[tuple[str, int]],
    fields: Sequence[FieldFacts],
    query: str,
) -> SearchRequest:
    """The settings column: what, how, and more. fields: of the metadata, to filter by.

    Raises InvalidInput for a filter that was typed and cannot be read.
    """
    st.markdown("**What**")
    has_model = summary.collection.has_model
    possible = Mode.possible(has_model=has_model)
    modes, usual = by_value(possible), DEFAULTS.mode if has_model else possible[0]
    read_choice("mode", modes, usual)
    mode = st.segmented_control(
        "Search by",
        [mode for mode in Mode if mode in possible],
        format_func=lambda found: found.label,
        required=True,
        key="mode",
        help="**Meaning** (similarity): documents whose embedding is nearest to the question's, "
        "whatever their words.  \n**Words** (full text): documents that have the words of the "
        "question, in any of their forms.  \n**Both** (hybrid): the best of the two, joined.",
        width="stretch",
    )
    assert mode is not None
    write_choice("mode", modes, mode, usual)
    if not has_model:
        st.caption(
            "The vectors of this collection came without a model, so that a question cannot be "
            "turned into one: it is searched by words."
        )
    category = _category(categories)
    filters = _filters(fields)
    st.markdown("**How**")
    limit = st.slider(
        "How many results (k)",
        1,
        MOST_RESULTS,
        DEFAULTS.limit,
        key="k",
        bind=URL,
        help="The most documents to show.",
    )
    vector_weight = DEFAULTS.vector_weight
    if mode is Mode.HYBRID:
        vector_weight = st.slider(
            "Meaning against words (weight)",
            0.0,
            1.0,
            DEFAULTS.vector_weight,
            0.05,
            key="w",
            bind=URL,
            help="The weight of the vectors: 0 ranks by words alone, 1 by meaning alone.",
        )
    max_distance = _max_distance(summary.collection.distance) if mode.uses_vectors else None
    with st.expander("More", icon=":material/tune:"):
        fusion, pool = _fusion() if mode is Mode.HYBRID else (DEFAULTS.fusion, DEFAULTS.pool)
        text_query = _text_query(mode) if mode.uses_text else None
        text_method, bm25 = _text_method() if mode.uses_text else (DEFAULTS.text_method, BM25())
        settings = (
            _index_settings(summary, filtered=category is not None or bool(filters))
            if mode.uses_vectors
            else SearchSettings()
        )
    return SearchRequest(
        query=query,
        mode=mode,
        limit=limit,
        max_distance=max_distance,
        category=category,
        vector_weight=vector_weight,
        fusion=fusion,
        text_query=text_query,
        text_method=text_method,
        bm25=bm25,
        pool=pool,
        settings=settings,
        filters=filters,
    )


def _category(categories: Sequence[tuple[str, int]]) -> str | None:
    if not categories:
        return None
    documents = dict(categories)
    named = by_value(list(documents))
    read_choice("category", named, None)
    category = st.selectbox(
        "Category",
        list(documents),
        index=None,
        format_func=lambda found: f"{found} ({documents[found]:,})",
        placeholder="All",
        key="category",
        help="Only documents of one category; in brackets how many there are.",
    )
    write_choice("category", named, category, None)
    return category


def _filters(fields: Sequence[FieldFacts]) -> tuple[Filter, ...]:
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
    chosen = st.multiselect(
        "More conditions (filters)",
        list(dict.fromkeys(suggestions)),
        accept_new_options=True,
        placeholder="Such as year>=2015",
        key="f",
        bind=URL,
        help="Conditions on the documents' other fields; all of them must hold. Pick one or type "
        "your own and press Enter: `field=value`, `field=a,b` (either), `field>=3`, `field<=9`, "
        "`field` (it is there).  \nFields: "
        + ", ".join(f"`{escape(field.filter_field)}`" for field in fields[:30]),
    )
    return tuple(Filter.parse(text) for text in chosen)


def _text_method() -> tuple[TextMethod, BM25]:
    method = _choice(
        "How matches are ranked (text method)",
        list(TextMethod),
        lambda found: _METHOD_LABELS[found],
        key="rank",
        help_text=_METHOD_HELP,
    )
    if method is not TextMethod.BM25:
        return method, BM25()
    k1 = st.slider(
        "How soon a repeated word stops counting (k1)",
        0.0,
        3.0,
        K1_DEFAULT,
        0.1,
        key="k1",
        bind=URL,
        help="0: once is as good as ten times. Higher: more of the same word goes on counting.",
    )
    b = st.slider(
        "How much long documents are held back (b)",
        0.0,
        1.0,
        B_DEFAULT,
        0.05,
        key="b",
        bind=URL,
        help="0: length does not matter. 1: a word in a text twice as long counts half.",
    )
    return method, BM25(k1, b)


def _max_distance(distance: Distance) -> float | None:
    limited = st.toggle(
        "Only near documents",
        key="near",
        bind=URL,
        help="Leaves out what is farther from the question than a distance (threshold).",
    )
    if not limited:
        return None
    label = "Farthest distance (threshold)"
    words = f"Only documents with a {distance.label} below this. {_DISTANCE_HELP[distance]}"
    if distance is Distance.COSINE:
        return float(
            st.slider(label, NEAREST, FARTHEST, USUAL_DISTANCE, 0.01, key="d", bind=URL, help=words)
        )
    return float(st.number_input(label, value=1.0, step=0.1, key="d", bind=URL, help=words))


def _fusion() -> tuple[Fusion, int]:
    fusion = _choice(
        "How the two sides are joined (fusion)",
        list(Fusion),
        lambda found: _FUSION_LABELS[found],
        key="fusion",
        help_text=_FUSION_HELP,
    )
    pool = st.slider(
        "How many each side fetches (pool)",
        10,
        1000,
        POOL.default,
        10,
        key="pool",
        bind=URL,
        help="The best of each side that are then joined. More finds more that both sides like, "
        "and takes longer.",
    )
    return fusion, pool


def _text_query(mode: Mode) -> TextQuery:
    usual = TextQuery.WEB if mode is Mode.TEXT else TextQuery.ANY
    # A key for each mode, since the default differs.
    return _choice(
        "How words are matched",
        list(TextQuery),
        lambda found: found.label,
        key=f"text_{mode.value}",
        help_text="  \n".join(f"**{kind.label}**: {_TEXT_HELP[kind]}" for kind in TextQuery),
        default=usual,
    )


def _index_settings(summary: CollectionSummary, *, filtered: bool) -> SearchSettings:
    index = summary.index
    if index is None:
        st.caption(
            "This collection has no vector index: every search compares every document, which is "
            "exact. Build one on the Collections page to try its settings."
        )
        return SearchSettings()
    scan = _choice(
        "How to look for neighbours",
        list(Scan),
        lambda found: _SCAN_LABELS[found],
        key="scan",
        help_text=f"The index is {escape(index.label)}. **PostgreSQL decides**: on a small "
        "collection it prefers to compare every document.  \n**Use the index**: shows what the "
        "index would find even so.  \n**Exact**: compares every document, and misses nothing.",
    )
    if scan is Scan.EXACT:
        return SearchSettings(scan=scan)
    probes = ef_search = iterative = None
    if index.kind is IndexKind.IVFFLAT:
        lists = min(index.options.get("lists", PROBES.high), PROBES.high)
        probes = st.slider(
            "How many lists to look into (probes)",
            PROBES.low,
            max(lists, 2),
            min(recommended_probes(lists), lists),
            key="probes",
            bind=URL,
            help=f"The index sorts documents into {lists:,} lists. Looking into more finds more "
            "of the true neighbours and takes longer; all of them is an exact search.",
        )
    else:
        ef_search = st.slider(
            "How many candidates to keep while searching (ef_search)",
            EF_SEARCH.low,
            EF_SEARCH.high,
            POOL.default,
            key="ef",
            bind=URL,
            help="The breadth of the walk through the graph. More finds more of the true "
            "neighbours and takes longer; fewer than the results wanted gives fewer results.",
        )
    if filtered:
        iterative = _choice(
            "Go on when the filter leaves too few (iterative scan)",
            list(_ITERATIVE_LABELS),
            lambda found: _ITERATIVE_LABELS[found],
            key="iterative",
            help_text="An index finds first and filters then. Without going on, a category may "
            "come back with fewer documents than there are.",
        )
    return SearchSettings(probes=probes, ef_search=ef_search, iterative_scan=iterative, scan=scan)
