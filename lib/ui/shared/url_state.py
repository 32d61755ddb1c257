"""A choice in the page's address, by a value that stays the same when its label is reworded.

Streamlit's own ``bind="query-params"`` puts the label of an option into the address, such as
“stdlib (1,345)”, which is right for a slider and wrong for a choice: a shared link must outlive
a new wording. So choices are bound here, by their enum value or name. As with Streamlit's own, a
choice stays while one looks at other pages, and an address that says otherwise wins.

An address may also lag behind: what the browser sends with a click or a move of a slider is its
address of that moment, and what the run before has written into it may still be on its way. Then
the widgets are right, and the address is written again (:func:`come_to`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import streamlit as st

T = TypeVar("T")


_PAGE, _VISIT = "address:page", "address:visit"
_BROWSERS, _ENDED_AT, _LAGS = "address:browsers", "address:ended_at", "address:lags"
LAG_SECONDS = 0.7


@dataclass(frozen=True)
class _Written:
    """What this session last wrote into the address, at which visit of a page, and what the widget
    was set to then."""

    names: tuple[str, ...]
    visit: int
    chosen: object = None


def come_to(page: str) -> None:
    """Notes which page is drawn, so that coming to it is told from drawing it again.

    A link to the page that one is on (st.page_link) changes the address that the script sees, and
    leaves the browser's own as it was: any write, also of nothing, brings it along.
    """
    _note_lag()
    st.query_params.update({})
    if st.session_state.get(_PAGE) != page:
        st.session_state[_PAGE] = page
        st.session_state[_VISIT] = visit() + 1


def _note_lag() -> None:
    """Whether the browser's address is one from before the last run's end: a widget was moved,
    which Back, Forward and links do not; or it is as it was a run ago, and that has just ended."""
    state = st.session_state
    address = {key: tuple(st.query_params.get_all(key)) for key in st.query_params}
    moved = any(
        key in state and state[key] != written.chosen
        for name, written in list(state.items())
        if isinstance(written, _Written) and (key := str(name).removeprefix(_written_key("")))
    )
    just_now = time.monotonic() - state.get(_ENDED_AT, -LAG_SECONDS) < LAG_SECONDS
    state[_LAGS] = moved or (just_now and address == state.get(_BROWSERS))
    state[_BROWSERS] = address


def note_end() -> None:
    """Notes that a page has been drawn."""
    st.session_state[_ENDED_AT] = time.monotonic()


def visit() -> int:
    """Another number at each coming to a page."""
    return int(st.session_state.get(_VISIT, 0))


def _written_key(key: str) -> str:
    return f"address:{key}"


def read_choice(key: str, options: Mapping[str, T], default: T | None) -> None:
    """Before the widget of that key is drawn: what it is to show. A value that is no option (any
    more) falls back to the default.

    options: what stands in the address → the option.
    """
    there = list(options.values())
    _read(key, lambda names: options.get(names[-1]), lambda chosen: chosen in there, default)


def write_choice(key: str, options: Mapping[str, T], chosen: T | None, default: T | None) -> None:
    """After it was drawn: the choice, or nothing where it is the default."""
    by_option = {option: name for name, option in options.items()}
    _write(key, () if chosen is None or chosen == default else (by_option[chosen],))


N = TypeVar("N", int, float)


def read_number(key: str, low: N, high: N, default: N) -> None:
    """As :func:`read_choice`, for a number within low and high. Streamlit's own binding knows one
    default for each key, and a column of a comparison has another one in each preset."""
    kind = type(default)

    def parse(names: Sequence[str]) -> N | None:
        try:
            return kind(names[-1])
        except ValueError:
            return None

    def fits(chosen: object) -> bool:
        return isinstance(chosen, kind) and low <= chosen <= high

    _read(key, parse, fits, default)


def write_number(key: str, chosen: N, default: N) -> None:
    """After it was drawn: the number, or nothing where it is the default."""
    name = str(chosen) if isinstance(chosen, int) else f"{chosen:g}"
    _write(key, () if chosen == default else (name,))


def read_texts(key: str) -> None:
    """As :func:`read_choice`, for any number of texts, each under the same name."""
    nothing: list[str] = []
    _read(key, lambda names: [*names], lambda chosen: isinstance(chosen, list), nothing)


def write_texts(key: str, chosen: Sequence[str]) -> None:
    """After it was drawn: the texts."""
    _write(key, tuple(chosen))


def read_text(key: str) -> None:
    """As :func:`read_choice`, for one text, which is empty by default."""
    _read(key, lambda names: names[-1], lambda chosen: isinstance(chosen, str), "")


def write_text(key: str, chosen: str) -> None:
    """After it was drawn: the text."""
    _write(key, (chosen,) if chosen else ())


def _read(
    key: str,
    parse: Callable[[tuple[str, ...]], T | None],
    fits: Callable[[object], bool],
    default: T | None,
) -> None:
    given = tuple(st.query_params.get_all(key))
    written = st.session_state.get(_written_key(key), _Written((), visit=-1))
    came = written.visit != visit() or key not in st.session_state  # to the page, or shown again
    # Another address than what was written: Back, Forward, or a link to this very page.
    if came or (given != written.names and not st.session_state.get(_LAGS)):
        names = written.names if came and not given else given
        chosen: object = parse(names) if names else default
    else:
        chosen = st.session_state[key]
    value = chosen if fits(chosen) else default
    # What is set here is sent to the browser. A slider that was moved has it already, and may have
    # been moved on meanwhile; any other widget must be told again, in case the run that told it
    # was ended by a click before the browser heard of it.
    moved = not came and st.session_state[key] != written.chosen
    if not (moved and st.session_state[key] == value):
        st.session_state[key] = value


def _write(key: str, names: tuple[str, ...]) -> None:
    if not names:
        st.query_params.pop(key, None)
    elif tuple(st.query_params.get_all(key)) != names:
        st.query_params[key] = names
    chosen = st.session_state.get(key)
    kept = [*chosen] if isinstance(chosen, list) else chosen
    st.session_state[_written_key(key)] = _Written(names, visit(), kept)


def forget(prefix: str) -> None:
    """What this session has chosen and written under keys that begin so; the address stays, and
    says anew what is to be shown."""
    for key in list(st.session_state):
        if str(key).startswith((prefix, _written_key(prefix))):
            del st.session_state[key]


def clear_address(prefix: str) -> None:
    """Takes out of the address what is named so."""
    for key in [key for key in st.query_params if key.startswith(prefix)]:
        del st.query_params[key]


def unknown_choice(key: str, options: Mapping[str, T]) -> str | None:
    """What the address asks for and is not there; None where all is well."""
    given = st.query_params.get(key)
    return given if given and given not in options else None


def by_value(options: Sequence[T]) -> dict[str, T]:
    """What stands in the address for enum members and for texts: their value."""
    return {str(option): option for option in options}
