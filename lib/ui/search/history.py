"""The searches of this browser session, the latest first, each one click away."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from lib.formats import shorten
from lib.ui.shared.links import LinkParams, current_params, settings_text
from lib.ui.shared.markdown import escape

MAX_SEARCHES = 30
_KEY = "history:searches"


@dataclass(frozen=True)
class RecentSearch:
    """A search that was asked in this browser session."""

    title: str
    """The question, or what the answers were to be like."""
    params: LinkParams


def note_search(title: str) -> None:
    """Puts the search of this URL first; where it was in the list already, it moves. After its
    settings were drawn, which leave their defaults out of the URL."""
    search = RecentSearch(title, current_params(view=None, show=None))
    others = [other for other in _recent_searches() if other != search]
    st.session_state[_KEY] = [search, *others][:MAX_SEARCHES]


def _recent_searches() -> list[RecentSearch]:
    return list(st.session_state.get(_KEY, []))


def show_history() -> None:
    """The menu of recent searches."""
    with st.popover("Recent", icon=":material/history:", key="history_menu"):
        searches = _recent_searches()
        if not searches:
            st.caption("What you ask on this page is listed here, until you close the browser tab.")
            return
        st.caption("Asked in this browser tab, the latest first, with the settings that were set.")
        for search in searches:
            settings = settings_text(search.params)
            label = f"**{escape(shorten(search.title, 70))}**"
            st.page_link(
                "pages/search.py",
                label=f"{label} · {escape(settings)}" if settings else label,
                icon=":material/replay:",
                query_params=search.params,
            )
