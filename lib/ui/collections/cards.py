"""Collections as cards, and what can be done with one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto

import streamlit as st

from lib.embedding.models import EmbeddingModel
from lib.formats import format_bytes, format_count, format_percent
from lib.ingest.sample import SAMPLE_NAME
from lib.search.bm25 import LexicalIndex
from lib.store.collections import NAME_LENGTH, Collection, CollectionSummary
from lib.ui.shared.markdown import escape
from lib.vectors.distance import Distance
from lib.vectors.index_methods import (
    HNSW,
    IndexKind,
    IndexSpec,
    IVFFlat,
    recommended_kind,
    recommended_lists,
)
from lib.vectors.tuning import EF_CONSTRUCTION, LISTS, M

USUAL_LANGUAGE = "english"
_KEPT = "Triggers keep it right as documents come, change and go."
_LOAD_SAMPLE, _ROCKET = "Load the sample collection", ":material/rocket_launch:"


class Action(Enum):
    """What was pressed on a card."""

    LOAD_SAMPLE = auto()
    EMBED = auto()
    BUILD_INDEX = auto()
    DROP_INDEX = auto()
    BUILD_WORDS = auto()
    DROP_WORDS = auto()
    DELETE = auto()


@dataclass(frozen=True)
class Pressed:
    action: Action
    summary: CollectionSummary
    spec: IndexSpec | None = None


def welcome() -> bool:
    """What a first-time visitor sees: one obvious next step. True when it was taken."""
    with st.container(border=True):
        st.subheader("See how well a pgvector search works", anchor=False)
        st.markdown(
            "Load the sample to have something to search in half a minute: several thousand real "
            "documentation texts of Python and its packages, read from this machine. No key and "
            "no network are needed."
        )
        return st.button(_LOAD_SAMPLE, type="primary", icon=_ROCKET)


def offer_sample(collections: Sequence[Collection]) -> bool:
    """The sample for those who began with a collection of their own. True when it was taken."""
    names = [collection.name for collection in collections]
    return (
        bool(names)
        and SAMPLE_NAME not in names
        and st.button(
            _LOAD_SAMPLE,
            icon=_ROCKET,
            help="Documentation texts of Python and its packages, read from this machine.",
        )
    )


def show_collection(
    summary: CollectionSummary, words: LexicalIndex | None, *, busy: bool
) -> Pressed | None:
    """One card: health in numbers, the next step, and the rest behind a menu. words: its word
    index. busy: a job runs on it."""
    collection = summary.collection
    with st.container(border=True):
        left, right = st.columns([3, 2], vertical_alignment="center")
        with left, st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.subheader(escape(collection.name), anchor=False, width="content")
            _health_badge(summary, busy=busy)
        actions = right.container(
            horizontal=True, horizontal_alignment="right", vertical_alignment="center", gap="small"
        )
        _figures(summary, words)
        step = _next_step(summary, busy=busy)
        if step:
            st.caption(step)
        with actions:  # last, so that the card is whole where an option of the menu is refused
            _links(summary)
            return _menu(summary, words, busy=busy)


def _health_badge(summary: CollectionSummary, *, busy: bool) -> None:
    if busy:
        st.badge("Working", color="blue", icon=":material/sync:")
    elif not summary.documents:
        st.badge("Empty", color="gray")
    elif summary.missing:
        st.badge("Not fully embedded", color="orange", icon=":material/pending:")
    else:
        st.badge("Ready", color="green", icon=":material/check:")


def _links(summary: CollectionSummary) -> None:
    address = {"c": summary.collection.slug}
    if summary.collection.reembedding is not None:
        st.page_link(
            "pages/reembed.py",
            label="Embedded again",
            icon=":material/swap_horiz:",
            query_params=address,
            help=f"By {summary.collection.reembedding.model}, not switched yet.",
        )
    st.page_link(
        "pages/upload.py", label="Upload", icon=":material/upload_file:", query_params=address
    )
    st.page_link(
        "pages/browse.py", label="Browse", icon=":material/table_rows:", query_params=address
    )
    st.page_link("pages/search.py", label="Search", icon=":material/search:", query_params=address)


def _figures(summary: CollectionSummary, words: LexicalIndex | None) -> None:
    collection = summary.collection
    columns = st.columns([4, 4, 6, 6, 4, 3])
    columns[0].metric("Documents", f"{summary.documents:,}")
    embedded = summary.embedded_share
    columns[1].metric(
        "Embedded",
        "–" if embedded is None else format_percent(embedded),
        help="The share of documents that have a vector and can be found by meaning.",
    )
    columns[2].metric(
        "Model",
        collection.model.rpartition("/")[2],
        help=f"{escape(collection.model) if collection.has_model else 'The vectors were given'}: "
        f"{collection.dimensions:,} dimensions, stored as "
        f"{collection.storage.value}, compared by {collection.distance.label}. Words are compared "
        f"as {escape(collection.text_config)}.",
    )
    index = summary.index
    columns[3].metric(
        "Vector index",
        "none (exact)" if index is None else index.short_label,
        help="Without an index every search compares every document: exact, and slower the more "
        "there are."
        if index is None
        else f"{escape(index.label)}, {format_bytes(index.size_bytes)}; "
        f"called {escape(index.name)}.",
    )
    columns[4].metric(
        "Word index",
        "none" if words is None else format_bytes(words.size_bytes),
        help="For ranking by BM25. Build it under Manage."
        if words is None
        else f"For ranking by BM25: {format_count(words.documents, 'document')} of "
        f"{words.average_length:.0f} words on average, {words.lexemes:,} different ones. {_KEPT}",
    )
    columns[5].metric(
        "Size", format_bytes(summary.size_bytes), help="The table with all its indexes."
    )


def _next_step(summary: CollectionSummary, *, busy: bool) -> str:
    if busy:
        return "A job works on it: these figures are brought up to date when it ends."
    if not summary.documents:
        return "Nothing is in here yet: upload files to search them."
    if summary.failed:
        return (
            f"{format_count(summary.failed, 'document')} could not be embedded. Embed what is "
            "missing, under Manage, tries them again."
        )
    if summary.missing and not summary.collection.has_model:
        return (
            f"{format_count(summary.missing, 'document')} came without a vector: found by "
            "words only."
        )
    if summary.missing:
        return f"{format_count(summary.missing, 'document')} to be embedded: see Manage."
    broken = [index.name for index in summary.indexes if not index.valid]
    if broken:
        return f"The index {escape(broken[0])} is unfinished and unused: drop it under Manage."
    return ""


def _menu(summary: CollectionSummary, words: LexicalIndex | None, *, busy: bool) -> Pressed | None:
    slug = summary.collection.slug
    pressed: Pressed | None = None

    def button(label: str, action: Action, icon: str, help_text: str | None = None) -> None:
        nonlocal pressed
        if st.button(
            label,
            key=f"{action.name}_{slug}",
            icon=icon,
            help=help_text,
            width="stretch",
            on_click=_close_menu,
            args=(slug,),
        ):
            pressed = Pressed(action, summary)

    with st.popover(
        "Manage",
        icon=":material/settings:",
        help="A job is working on it." if busy else "Embed, index or delete this collection",
        disabled=busy,
        key=f"{_menu_key(slug)}:{st.session_state.get(_menu_key(slug), 0)}",
    ):
        if summary.collection.name == SAMPLE_NAME:
            button(
                "Load the sample again",
                Action.LOAD_SAMPLE,
                ":material/refresh:",
                "Adds what is missing; what is there already is not embedded again.",
            )
        if summary.missing and summary.collection.has_model:
            button("Embed what is missing", Action.EMBED, ":material/bolt:")
        if summary.embedded:
            with st.expander("Build a vector index", icon=":material/hub:"):
                spec = index_form(summary.embedded, slug, on_build=lambda: _close_menu(slug))
            if spec is not None:
                pressed = Pressed(Action.BUILD_INDEX, summary, spec)
        if summary.indexes:
            button("Drop the vector index", Action.DROP_INDEX, ":material/layers_clear:")
        if summary.documents:
            with st.expander("Word index", icon=":material/match_word:"):
                _word_index(words, button)
        st.page_link(
            "pages/reembed.py",
            label="Embed again by another model",
            icon=":material/swap_horiz:",
            query_params={"c": slug},
        )
        button("Delete this collection", Action.DELETE, ":material/delete:")
    return pressed


def _word_index(words: LexicalIndex | None, button: Callable[..., None]) -> None:
    """What there is for BM25, and what can be done about it."""
    if words is None:
        st.caption(
            "In how many documents each word occurs, and how often in each: what ranking by BM25 "
            "needs, the best of the three for questions. Seconds for some thousands of documents; "
            f"loading waits meanwhile, searching does not. {_KEPT}"
        )
        button("Build the word index", Action.BUILD_WORDS, ":material/build:")
        return
    st.caption(
        f"{format_count(words.documents, 'document')}, {format_count(words.lexemes, 'word')}, "
        f"{format_bytes(words.size_bytes)}. {_KEPT}"
    )
    button("Build it anew", Action.BUILD_WORDS, ":material/refresh:", "Never needed to stay right.")
    button("Drop the word index", Action.DROP_WORDS, ":material/layers_clear:")


def _menu_key(slug: str) -> str:
    return f"manage:{slug}"


def _close_menu(slug: str) -> None:
    """A popover with a new key is a new one, and closed."""
    st.session_state[_menu_key(slug)] = st.session_state.get(_menu_key(slug), 0) + 1


def confirm_delete(summary: CollectionSummary) -> bool:
    """The question before the deed; true once it was said yes to."""
    st.markdown(
        f"**{escape(summary.collection.name)}** with {format_count(summary.documents, 'document')} "
        f"({format_bytes(summary.size_bytes)}) will be gone for good."
    )
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Keep it"):
            st.rerun()
        return st.button("Delete for good", type="primary", icon=":material/delete_forever:")


# --- forms: a new collection, an index -----------------------------------------------------------


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
