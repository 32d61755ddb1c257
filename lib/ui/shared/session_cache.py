"""The session cache: what a browser session keeps from one run of a page to the next, so that
moving a slider does not ask the server for what is at hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar, cast

import streamlit as st

T = TypeVar("T")

CHANGING_SECONDS = 5.0
"""How long a value stays fresh that others change without a new revision of the collection."""

COSTLY_SECONDS = 60.0
"""The same for a value that takes long to compute and changes little."""


@dataclass(frozen=True)
class CacheKey(Generic[T]):
    """A typed key: a subclass names one cached value, its fields are what the value depends on.

    A session keeps one value per subclass and ``slot``; another key in its place replaces it.
    """

    max_age_seconds: ClassVar[float | None] = None
    """A value that is older is computed anew; None: it depends on the fields alone."""

    @property
    def slot(self) -> str:
        """Tells values of one subclass apart that are kept side by side, such as two maps'."""
        return ""


def cached(key: CacheKey[T], compute: Callable[[], T]) -> T:
    """The value of a key: the session's, or computed and kept where the key has changed or the
    value is older than the key's ``max_age_seconds``."""
    name = f"cache:{type(key).__module__}.{type(key).__qualname__}:{key.slot}"
    max_age = key.max_age_seconds
    entry = st.session_state.get(name)
    if entry is not None:
        cached_key, computed_at, value = entry
        is_fresh = max_age is None or time.monotonic() - computed_at <= max_age
        if cached_key == key and is_fresh:
            return cast(T, value)
    value = compute()
    st.session_state[name] = (key, time.monotonic(), value)
    return value
