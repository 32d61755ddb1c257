"""What a browser session remembers from one run of a page to the next, so that moving a slider
does not ask the server for what is at hand."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from typing import TypeVar, cast

import streamlit as st

T = TypeVar("T")

FRESH_SECONDS = 5.0
"""How old something may be that others change without leaving a mark on the collection."""


def remember(
    name: str, key: Hashable, make: Callable[[], T], *, most_seconds: float | None = None
) -> T:
    """The value of that name, made anew where the key is another than last time, or where it is
    older than most_seconds. One value is kept for each name."""
    place = f"remembered:{name}"
    kept = st.session_state.get(place)
    if kept is not None:
        kept_key, made_at, value = kept
        is_fresh = most_seconds is None or time.monotonic() - made_at <= most_seconds
        if kept_key == key and is_fresh:
            return cast(T, value)
    value = make()
    st.session_state[place] = (key, time.monotonic(), value)
    return value
