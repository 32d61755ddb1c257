"""The searches of this browser session, the latest first, each one click away."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from lib.formats import shorten
from lib.ui.shared.links import LinkParams, current_params, settings_words
from lib.ui.shared.markdown import escape

MOST_KEPT = 30
_KEY = "history:searches"


@dataclass(frozen=True)
class Asked:
    """title: the question, or what the answers were to be like."""

    title: str
    address: LinkParams


def note_asked(title: str) -> None:
    """Puts the search of this address first; where it was in the list already, it moves. After its
    settings were drawn, which leave their defaults out of the address."""
    asked = Asked(title, current_params(view=None, show=None))
    others = [each for each in _kept() if each != asked]
    st.session_state[_KEY] = [asked, *others][:MOST_KEPT]


def _kept() -> list[Asked]:
    return list(st.session_state.get(_KEY, []))


def show_history() -> None:
    """The menu of what was asked before."""
    with st.popover("Recent", icon=":material/history:", key="history_menu"):
        searches = _kept()
        if not searches:
            st.caption("What you ask on this page is listed here, until you close the browser tab.")
            return
        st.caption("Asked in this browser tab, the latest first, with the settings that were set.")
        for asked in searches:
            settings = settings_words(asked.address)
            label = f"**{escape(shorten(asked.title, 70))}**"
            st.page_link(
                "pages/search.py",
                label=f"{label} · {escape(settings)}" if settings else label,
                icon=":material/replay:",
                query_params=asked.address,
            )
