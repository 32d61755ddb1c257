"""A choice in the page's address, by a value that stays the same when its label is reworded.

Streamlit's own ``bind="query-params"`` puts the label of an option into the address, such as
“stdlib (1,345)”, which is right for a slider and wrong for a choice: a shared link must outlive
a new wording. So choices are bound here, by their enum value or name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import streamlit as st

T = TypeVar("T")


def _seen_key(key: str) -> str:
    return f"address:{key}"


def read_choice(key: str, options: Mapping[str, T], default: T | None) -> None:
    """Before the widget of that key is drawn: the address wins where it is new, and a value that
    is no option (any more) falls back to the default.

    options: what stands in the address → the option.
    """
    given = st.query_params.get(key)
    is_new = _seen_key(key) not in st.session_state or given != st.session_state[_seen_key(key)]
    chosen = st.session_state.get(key, default)
    if is_new and given is not None:
        chosen = options.get(given, default)
    elif is_new and _seen_key(key) in st.session_state:
        chosen = default
    st.session_state[key] = chosen if chosen in options.values() else default


def write_choice(key: str, options: Mapping[str, T], chosen: T | None, default: T | None) -> None:
    """After it was drawn: the choice, or nothing where it is the default."""
    by_option = {option: name for name, option in options.items()}
    name = None if chosen is None or chosen == default else by_option[chosen]
    if name is None:
        st.query_params.pop(key, None)
    else:
        st.query_params[key] = name
    st.session_state[_seen_key(key)] = name


def by_value(options: Sequence[T]) -> dict[str, T]:
    """What stands in the address for enum members and for texts: their value."""
    return {str(option): option for option in options}
