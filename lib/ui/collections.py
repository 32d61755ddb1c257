"""Collections as cards, and what can be done with one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

import streamlit as st

from lib.ingest.sample import SAMPLE_NAME
from lib.store.collections import Collection, CollectionSummary
from lib.ui.controls import index_form
from lib.ui.text import count, escape, share, size
from lib.vectors.indexes import IndexSpec

_LOAD_SAMPLE, _ROCKET = "Load the sample collection", ":material/rocket_launch:"


class Action(Enum):
    """What was pressed on a card."""

    LOAD_SAMPLE = auto()
    EMBED = auto()
    BUILD_INDEX = auto()
    DROP_INDEX = auto()
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


def show_collection(summary: CollectionSummary, *, busy: bool) -> Pressed | None:
    """One card: health in numbers, the next step, and the rest behind a menu. busy: a job runs on
    it."""
    collection = summary.collection
    with st.container(border=True):
        left, right = st.columns([3, 2], vertical_alignment="center")
        with left, st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.subheader(escape(collection.name), anchor=False, width="content")
            _health_badge(summary, busy=busy)
        actions = right.container(
            horizontal=True, horizontal_alignment="right", vertical_alignment="center", gap="small"
        )
        _figures(summary)
        step = _next_step(summary, busy=busy)
        if step:
            st.caption(step)
        with actions:  # last, so that the card is whole where an option of the menu is refused
            _links(summary)
            return _menu(summary, busy=busy)


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


def _figures(summary: CollectionSummary) -> None:
    collection = summary.collection
    columns = st.columns([1, 1, 2, 2, 1])
    columns[0].metric("Documents", f"{summary.documents:,}")
    embedded = summary.embedded_share
    columns[1].metric(
        "Embedded",
        "–" if embedded is None else share(embedded),
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
        "none (exact)" if index is None else index.kind.label,
        help="Without an index every search compares every document: exact, and slower the more "
        "there are."
        if index is None
        else f"{escape(index.label)}, {size(index.size_bytes)}; called {escape(index.name)}.",
    )
    columns[4].metric("Size", size(summary.size_bytes), help="The table with all its indexes.")


def _next_step(summary: CollectionSummary, *, busy: bool) -> str:
    if busy:
        return "A job works on it: these figures are brought up to date when it ends."
    if not summary.documents:
        return "Nothing is in here yet: upload files to search them."
    if summary.failed:
        return (
            f"{count(summary.failed, 'document')} could not be embedded. Embed what is missing, "
            "under Manage, tries them again."
        )
    if summary.missing and not summary.collection.has_model:
        return f"{count(summary.missing, 'document')} came without a vector: found by words only."
    if summary.missing:
        return f"{count(summary.missing, 'document')} to be embedded: see Manage."
    broken = [index.name for index in summary.indexes if not index.valid]
    if broken:
        return f"The index {escape(broken[0])} is unfinished and unused: drop it under Manage."
    return ""


def _menu(summary: CollectionSummary, *, busy: bool) -> Pressed | None:
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
        st.page_link(
            "pages/reembed.py",
            label="Embed again by another model",
            icon=":material/swap_horiz:",
            query_params={"c": slug},
        )
        button("Delete this collection", Action.DELETE, ":material/delete:")
    return pressed


def _menu_key(slug: str) -> str:
    return f"manage:{slug}"


def _close_menu(slug: str) -> None:
    """A popover with a new key is a new one, and closed."""
    st.session_state[_menu_key(slug)] = st.session_state.get(_menu_key(slug), 0) + 1


def confirm_delete(summary: CollectionSummary) -> bool:
    """The question before the deed; true once it was said yes to."""
    st.markdown(
        f"**{escape(summary.collection.name)}** with {count(summary.documents, 'document')} "
        f"({size(summary.size_bytes)}) will be gone for good."
    )
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Keep it"):
            st.rerun()
        return st.button("Delete for good", type="primary", icon=":material/delete_forever:")
