"""Searches that are kept by name: saving, opening, replacing, removing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from lib.errors import InvalidInput
from lib.search.example import Example
from lib.search.request import SearchRequest
from lib.search.saved import SavedSearch
from lib.store.collections import NAME_LENGTH
from lib.ui.search.example import Given, example_words
from lib.ui.shared.links import collection_params, search_params
from lib.ui.shared.markdown import escape
from lib.ui.shared.page import guarded, refresh

_OPENED = "saved"
_MENU = "saved_menu"
_SAID = "saved:said"


def open_link(get_saved: Callable[[str], SavedSearch], collection: str) -> None:
    """Where the address asks for a saved search, goes to the address that holds all of its
    settings. collection: its address.

    Raises NotFound, and InvalidInput where it was saved by a version that had other settings; the
    address asks for it no more then.
    """
    slug = st.query_params.get(_OPENED)
    if not slug:
        return
    del st.query_params[_OPENED]
    saved = get_saved(slug)
    example = {} if saved.example is None else Given.of(saved.example).address
    address = {**search_params(collection, saved.request), **example}
    st.switch_page("pages/search.py", query_params=address)


def saved_menu(
    request: SearchRequest,
    example: Callable[[], Example] | None,
    list_saved: Callable[[], Sequence[SavedSearch]],
    save: Callable[..., SavedSearch],
    remove: Callable[[str], Any],
) -> None:
    """The menu. request: what would be saved. example: reads what is asked by in place of its
    question. list_saved: called only while the menu is open. save: takes name, request,
    ``example`` and ``replaces``. remove: takes a slug."""
    said = st.session_state.pop(_SAID, None)
    if said is not None:
        st.toast(said, icon=":material/bookmark:")
    menu = st.popover("Saved", icon=":material/bookmark:", key=_MENU, on_change="rerun")
    if menu.open:
        with menu:
            _list(list_saved(), remove)
            if example is not None or request.query.strip():
                _form(request, example, save)
            else:
                st.caption("Ask a question, or by example, to save it with its settings.")


def _list(saved: Sequence[SavedSearch], remove: Callable[[str], Any]) -> None:
    if not saved:
        st.caption("No search of this collection is saved yet.")
        return
    for each in saved:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.page_link(
                "pages/search.py",
                label=escape(each.name),
                icon=":material/bookmark:",
                help=escape(_question(each)),
                query_params={**collection_params(), _OPENED: each.slug},
                width="stretch",
            )
            pressed = st.button(
                "Remove",
                key=f"remove_saved:{each.slug}",
                icon=":material/delete:",
                type="tertiary",
            )
        if pressed:
            remove(each.slug)
            _say(f"Removed: {escape(each.name)}")
    st.caption("To share one, copy its link: it opens the same search in any browser.")


def _question(saved: SavedSearch) -> str:
    try:
        asked = saved.request.query
        return asked if saved.example is None else example_words(Given.of(saved.example))
    except InvalidInput as error:
        return error.message


def _form(
    request: SearchRequest,
    example: Callable[[], Example] | None,
    save: Callable[..., SavedSearch],
) -> None:
    with st.form("save_search", border=False):
        name = st.text_input(
            "Save this search as",
            max_chars=NAME_LENGTH,
            placeholder="Such as Log rotation, by words",
            help="Keeps what is asked and all of its settings.",
        )
        replaces = st.checkbox(
            "Replace the one of that name",
            help="Its link stays, and opens this search from then on.",
        )
        pressed = st.form_submit_button("Save", icon=":material/bookmark_add:", type="primary")
    if pressed:
        guarded(_save)(request, example, save, name, replaces=replaces)


def _save(
    request: SearchRequest,
    example: Callable[[], Example] | None,
    save: Callable[..., SavedSearch],
    name: str,
    *,
    replaces: bool,
) -> None:
    asked_by = None if example is None else example()
    saved = save(name, request, example=asked_by, replaces=replaces)
    _say(
        f"Saved, in place of the one before if there was one: {escape(saved.name)}"
        if replaces
        else f"Saved: {escape(saved.name)}"
    )


def _say(words: str) -> None:
    """On the next run of the page, which shows what there is now."""
    st.session_state[_SAID] = words
    refresh()
