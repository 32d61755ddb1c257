"""Saved searches of a collection: saving, opening, replacing and removing them."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from lib.errors import InvalidInput
from lib.search.request import SearchRequest
from lib.search.saved import SavedSearch
from lib.store.collections import NAME_LENGTH, Collection
from lib.ui.search.example import ExampleInput, example_summary
from lib.ui.search.model import SearchModel
from lib.ui.shared.links import collection_params, search_params
from lib.ui.shared.markdown import escape
from lib.ui.shared.page import guarded, refresh

_OPENED = "saved"
_MENU = "saved_menu"
_SAID = "saved:said"


def open_link(model: SearchModel, collection: Collection) -> None:
    """Where the URL asks for a saved search, goes to the URL that holds all of its settings.

    Raises NotFound, and InvalidInput where it was saved by a version that had other settings; the
    URL asks for it no more then.
    """
    slug = st.query_params.get(_OPENED)
    if not slug:
        return
    del st.query_params[_OPENED]
    saved = model.saved_search(collection, slug)
    example = {} if saved.example is None else ExampleInput.of(saved.example).params
    params = {**search_params(collection.address, saved.request), **example}
    st.switch_page("pages/search.py", query_params=params)


def saved_menu(
    model: SearchModel,
    collection: Collection,
    request: SearchRequest,
    example: ExampleInput | None,
) -> None:
    """The menu. request, example: what would be saved."""
    message = st.session_state.pop(_SAID, None)
    if message is not None:
        st.toast(message, icon=":material/bookmark:")
    menu = st.popover("Saved", icon=":material/bookmark:", key=_MENU, on_change="rerun")
    if menu.open:
        with menu:
            _list(model, collection, model.saved_searches(collection))
            if example is not None or request.query.strip():
                _form(model, collection, request, example)
            else:
                st.caption("Ask a question, or by example, to save it with its settings.")


def _list(model: SearchModel, collection: Collection, searches: Sequence[SavedSearch]) -> None:
    if not searches:
        st.caption("No search of this collection is saved yet.")
        return
    for saved in searches:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.page_link(
                "pages/search.py",
                label=escape(saved.name),
                icon=":material/bookmark:",
                help=escape(_question(saved)),
                query_params={**collection_params(), _OPENED: saved.slug},
                width="stretch",
            )
            pressed = st.button(
                "Remove",
                key=f"remove_saved:{saved.slug}",
                icon=":material/delete:",
                type="tertiary",
            )
        if pressed:
            model.delete_saved(collection, saved.slug)
            _say(f"Removed: {escape(saved.name)}")
    st.caption("To share one, copy its link: it opens the same search in any browser.")


def _question(saved: SavedSearch) -> str:
    try:
        question = saved.request.query
        example = saved.example
        return question if example is None else example_summary(ExampleInput.of(example))
    except InvalidInput as error:
        return error.message


def _form(
    model: SearchModel,
    collection: Collection,
    request: SearchRequest,
    example: ExampleInput | None,
) -> None:
    with st.form("save_search", border=False):
        name = st.text_input(
            "Save this search as",
            max_chars=NAME_LENGTH,
            placeholder="Such as Log rotation, by keywords",
            help="Keeps what is asked and all of its settings.",
        )
        replaces = st.checkbox(
            "Replace the one of that name",
            help="Its link stays, and opens this search from then on.",
        )
        pressed = st.form_submit_button("Save", icon=":material/bookmark_add:", type="primary")

    def save() -> None:
        parsed = None if example is None else example.example(collection)
        saved = model.save(collection, name, request, parsed, replaces=replaces)
        _say(
            f"Saved, in place of the one before if there was one: {escape(saved.name)}"
            if replaces
            else f"Saved: {escape(saved.name)}"
        )

    if pressed:
        guarded(save)()


def _say(message: str) -> None:
    """On the next run of the page, which shows what there is now."""
    st.session_state[_SAID] = message
    refresh()
