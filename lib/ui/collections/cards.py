"""Collections as cards, and what can be done with one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import assert_never

import streamlit as st

from lib.formats import format_bytes, format_count, format_percent
from lib.ingest.sample import SAMPLE_NAME
from lib.search.bm25 import LexicalIndex
from lib.store.collections import Collection, CollectionSummary
from lib.store.jobs import Job
from lib.ui.collections.model import CollectionsModel
from lib.ui.shared.markdown import escape
from lib.ui.shared.page import guarded, refresh
from lib.vectors.index_methods import IndexMethod, IndexSpec, index_methods, recommended_method

_TRIGGERS = "Triggers keep it right as documents come, change and go."


class Action(Enum):
    """What a card's menu can do. The values are in the keys of its buttons."""

    LOAD_SAMPLE = "LOAD_SAMPLE"
    EMBED = "EMBED"
    BUILD_INDEX = "BUILD_INDEX"
    DROP_INDEX = "DROP_INDEX"
    BUILD_BM25 = "BUILD_WORDS"
    DROP_BM25 = "DROP_WORDS"
    DELETE = "DELETE"


@dataclass(frozen=True)
class Pressed:
    """What was pressed on a card."""

    action: Action
    summary: CollectionSummary
    spec: IndexSpec | None = None


@guarded
def show_card(model: CollectionsModel, collection: Collection, running: Sequence[Job]) -> None:
    """One collection: health in numbers, the next step, and the rest behind a menu. running: jobs
    of any collection."""
    is_busy = any(job.collection_id == collection.id for job in running)
    pressed = _show(model.summary(collection), model.bm25_index(collection), busy=is_busy)
    if pressed is not None:
        _act(model, pressed)


def _act(model: CollectionsModel, pressed: Pressed) -> None:
    collection = pressed.summary.collection
    match pressed.action:
        case Action.LOAD_SAMPLE:
            model.load_sample(collection)
        case Action.EMBED:
            model.start_embedding(collection)
        case Action.BUILD_INDEX:
            assert pressed.spec is not None
            model.start_index_build(collection, pressed.spec)
        case Action.DROP_INDEX:
            model.drop_index(collection)
        case Action.BUILD_BM25:
            model.start_bm25_build(collection)
        case Action.DROP_BM25:
            model.drop_bm25_index(collection)
        case Action.DELETE:
            _ask_to_delete(model, pressed.summary)
            return
        case _:
            assert_never(pressed.action)
    refresh()


@st.dialog("Delete this collection?", icon=":material/delete:")
@guarded
def _ask_to_delete(model: CollectionsModel, summary: CollectionSummary) -> None:
    if _confirm_delete(summary):
        model.delete(summary.collection)
        refresh()


def _show(
    summary: CollectionSummary, bm25_index: LexicalIndex | None, *, busy: bool
) -> Pressed | None:
    """What was pressed, if anything was. busy: a job runs on it."""
    collection = summary.collection
    with st.container(border=True):
        left, right = st.columns([3, 2], vertical_alignment="center")
        with left, st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.subheader(escape(collection.name), anchor=False, width="content")
            _health_badge(summary, busy=busy)
        actions = right.container(
            horizontal=True, horizontal_alignment="right", vertical_alignment="center", gap="small"
        )
        _figures(summary, bm25_index)
        step = _next_step(summary, busy=busy)
        if step:
            st.caption(step)
        with actions:  # last, so that the card is whole where an option of the menu is refused
            _links(summary)
            return _menu(summary, bm25_index, busy=busy)


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
    link = {"c": summary.collection.slug}
    if summary.collection.reembedding is not None:
        st.page_link(
            "pages/reembed.py",
            label="Re-embedding",
            icon=":material/swap_horiz:",
            query_params=link,
            help=f"By {summary.collection.reembedding.model}, not switched yet.",
        )
    st.page_link(
        "pages/upload.py", label="Upload", icon=":material/upload_file:", query_params=link
    )
    st.page_link("pages/browse.py", label="Browse", icon=":material/table_rows:", query_params=link)
    st.page_link("pages/search.py", label="Search", icon=":material/search:", query_params=link)


def _figures(summary: CollectionSummary, bm25_index: LexicalIndex | None) -> None:
    collection = summary.collection
    columns = st.columns([4, 4, 6, 6, 4, 3])
    columns[0].metric("Documents", f"{summary.documents:,}")
    embedded = summary.embedded_share
    columns[1].metric(
        "Embedded",
        "–" if embedded is None else format_percent(embedded),
        help="The share of documents that have a vector, so that semantic search finds them.",
    )
    vectors_from = "The vectors came with the files"
    if collection.has_model:
        vectors_from = escape(collection.model)
    columns[2].metric(
        "Model",
        collection.model.rpartition("/")[2],
        help=f"{vectors_from}: {collection.dimensions:,} dimensions, stored as "
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
        "BM25 index",
        "none" if bm25_index is None else format_bytes(bm25_index.size_bytes),
        help="For keyword search ranked by BM25. Build it under Manage."
        if bm25_index is None
        else f"For keyword search: {format_count(bm25_index.documents, 'document')} of "
        f"{bm25_index.average_length:.0f} words on average, {bm25_index.lexemes:,} different ones. "
        f"{_TRIGGERS}",
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
            "keyword search only."
        )
    if summary.missing:
        return f"{format_count(summary.missing, 'document')} to be embedded: see Manage."
    broken = [index.name for index in summary.indexes if not index.valid]
    if broken:
        return f"The index {escape(broken[0])} is unfinished and unused: drop it under Manage."
    return ""


def _menu(
    summary: CollectionSummary, bm25_index: LexicalIndex | None, *, busy: bool
) -> Pressed | None:
    slug = summary.collection.slug
    pressed: Pressed | None = None

    def button(label: str, action: Action, icon: str, help_text: str | None = None) -> None:
        nonlocal pressed
        if st.button(
            label,
            key=f"{action.value}_{slug}",
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
            with st.expander("BM25 index", icon=":material/match_word:"):
                _bm25_index(bm25_index, button)
        st.page_link(
            "pages/reembed.py",
            label="Re-embed by another model",
            icon=":material/swap_horiz:",
            query_params={"c": slug},
        )
        button("Delete this collection", Action.DELETE, ":material/delete:")
    return pressed


def _bm25_index(bm25_index: LexicalIndex | None, button: Callable[..., None]) -> None:
    """What there is for BM25, and what can be done about it."""
    if bm25_index is None:
        st.caption(
            "In how many documents each word occurs, and how often in each: what ranking by BM25 "
            "needs, the best of the three for questions. Seconds for some thousands of documents; "
            f"loading waits meanwhile, searching does not. {_TRIGGERS}"
        )
        button("Build the BM25 index", Action.BUILD_BM25, ":material/build:")
        return
    st.caption(
        f"{format_count(bm25_index.documents, 'document')}, "
        f"{format_count(bm25_index.lexemes, 'word')}, "
        f"{format_bytes(bm25_index.size_bytes)}. {_TRIGGERS}"
    )
    button("Build it anew", Action.BUILD_BM25, ":material/refresh:", "Never needed to stay right.")
    button("Drop the BM25 index", Action.DROP_BM25, ":material/layers_clear:")


def _menu_key(slug: str) -> str:
    return f"manage:{slug}"


def _close_menu(slug: str) -> None:
    """A popover with a new key is a new one, and closed."""
    st.session_state[_menu_key(slug)] = st.session_state.get(_menu_key(slug), 0) + 1


def _confirm_delete(summary: CollectionSummary) -> bool:
    """The question before the deed; true once it was said yes to."""
    st.markdown(
        f"**{escape(summary.collection.name)}** with {format_count(summary.documents, 'document')} "
        f"({format_bytes(summary.size_bytes)}) will be gone for good."
    )
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Keep it"):
            st.rerun()
        return st.button("Delete for good", type="primary", icon=":material/delete_forever:")


# --- the form of an index -----------------------------------------------------------------------


def index_form(documents: int, key: str, on_build: Callable[[], None]) -> IndexSpec | None:
    """Method and options of a vector index; the specification once Build was pressed.

    Raises LimitExceeded where the options do not go together.
    """
    suggested, reason = recommended_method(documents)
    methods = {method.name: method for method in index_methods()}
    # By name: Streamlit takes a dataclass for the list of its fields.
    name = st.segmented_control(
        "Index method",
        list(methods),
        format_func=lambda name: methods[name].label,
        default=suggested.name,
        required=True,
        key=f"kind_{key}",
        help="  \n".join(f"**{method.label}**: {method.help}" for method in methods.values()),
    )
    method = methods[name]
    st.caption(f"Suggested: {suggested.label}. {reason[0].upper()}{reason[1:]}.")
    options = _option_inputs(method, documents, key)
    pressed = st.button(
        "Build", key=f"build_{key}", type="primary", icon=":material/build:", on_click=on_build
    )
    return method.spec(**options) if pressed else None


# Widget keys of before there was a table of options.
_OPTION_KEYS = {"ef_construction": "efc"}


def _option_inputs(method: IndexMethod, documents: int, key: str) -> dict[str, int]:
    """A number field for each build option, which begins with the guideline's value."""
    recommended = method.recommended(documents)
    return {
        option.name: int(
            st.number_input(
                option.label,
                option.range.low,
                option.range.high,
                recommended[option.name],
                key=f"{_OPTION_KEYS.get(option.name, option.name)}_{key}",
                help=option.help,
            )
        )
        for option in method.build_options
    }
