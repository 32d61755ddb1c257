"""URL state: the values of widgets in the page's query parameters, by names that outlive labels.

Streamlit's own ``bind="query-params"`` puts the label of an option into the URL, such as
“stdlib (1,345)”, which is right for a slider and wrong for a choice: a shared link must outlive
a new wording. So choices are bound here, by their enum value or name. As with Streamlit's own, a
choice stays while one looks at other pages, and a URL that says otherwise wins.

A URL may also be stale: what the browser sends with a click or a move of a slider is its URL of
that moment, and what the run before has written into it may still be on its way. Then the widgets
are right, and the URL is written again (:func:`begin_page_run`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import streamlit as st

T = TypeVar("T")


_PAGE, _VISIT = "url:page", "url:visit"
_BROWSER_URL, _ENDED_AT, _IS_STALE = "url:browser", "url:ended_at", "url:is_stale"
STALE_SECONDS = 0.7
"""How soon after a run's end the browser may still send the URL from before that run."""


@dataclass(frozen=True)
class _Written:
    """What this session last wrote into the URL for one widget."""

    values: tuple[str, ...]
    """The values of the query parameter; empty for a default, which is not in the URL."""

    visit_id: int
    """During which visit of a page it was written."""

    widget_value: object = None
    """What the widget was set to then."""


def begin_page_run(page: str) -> None:
    """Notes which page is drawn, so that coming to it is told from drawing it again.

    A link to the page that one is on (st.page_link) changes the URL that the script sees, and
    leaves the browser's own as it was: any write, also of nothing, brings it along.
    """
    detect_stale_url()
    st.query_params.update({})
    if st.session_state.get(_PAGE) != page:
        st.session_state[_PAGE] = page
        st.session_state[_VISIT] = page_visit_id() + 1


def detect_stale_url() -> None:
    """Notes whether the browser's URL is from before the last run's end: a widget was moved,
    which Back, Forward and links do not; or it is as it was a run ago, and that has just ended."""
    state = st.session_state
    url = {key: tuple(st.query_params.get_all(key)) for key in st.query_params}
    was_moved = any(
        key in state and state[key] != written.widget_value
        for name, written in list(state.items())
        if isinstance(written, _Written) and (key := str(name).removeprefix(_written_key("")))
    )
    just_ended = time.monotonic() - state.get(_ENDED_AT, -STALE_SECONDS) < STALE_SECONDS
    state[_IS_STALE] = was_moved or (just_ended and url == state.get(_BROWSER_URL))
    state[_BROWSER_URL] = url


def end_page_run() -> None:
    """Notes that a page has been drawn."""
    st.session_state[_ENDED_AT] = time.monotonic()


def page_visit_id() -> int:
    """A number that is another one at each coming to a page."""
    return int(st.session_state.get(_VISIT, 0))


def _written_key(key: str) -> str:
    return f"url:{key}"


def read_choice(key: str, options: Mapping[str, T], default: T | None) -> None:
    """Sets the widget of that key, before it is drawn, to the option that the URL names. A value
    that is no option (any more) falls back to the default.

    options: value in the URL → option.
    """
    allowed = list(options.values())
    _read(key, lambda values: options.get(values[-1]), lambda value: value in allowed, default)


def write_choice(key: str, options: Mapping[str, T], chosen: T | None, default: T | None) -> None:
    """Writes the choice into the URL, after the widget was drawn; nothing where it is the
    default."""
    by_option = {option: value for value, option in options.items()}
    _write(key, () if chosen is None or chosen == default else (by_option[chosen],))


N = TypeVar("N", int, float)


def read_number(key: str, low: N, high: N, default: N) -> None:
    """As :func:`read_choice`, for a number within low and high. Streamlit's own binding knows one
    default for each key, and a column of a comparison has another one in each preset."""
    kind = type(default)

    def parse(values: Sequence[str]) -> N | None:
        try:
            return kind(values[-1])
        except ValueError:
            return None

    def fits(value: object) -> bool:
        return isinstance(value, kind) and low <= value <= high

    _read(key, parse, fits, default)


def write_number(key: str, chosen: N, default: N) -> None:
    """Writes the number into the URL, after the widget was drawn; nothing where it is the
    default."""
    text = str(chosen) if isinstance(chosen, int) else f"{chosen:g}"
    _write(key, () if chosen == default else (text,))


def read_texts(key: str) -> None:
    """As :func:`read_choice`, for any number of texts, each under the same name."""
    nothing: list[str] = []
    _read(key, lambda values: [*values], lambda value: isinstance(value, list), nothing)


def write_texts(key: str, chosen: Sequence[str]) -> None:
    """Writes the texts into the URL, after the widget was drawn."""
    _write(key, tuple(chosen))


def read_text(key: str) -> None:
    """As :func:`read_choice`, for one text, which is empty by default."""
    _read(key, lambda values: values[-1], lambda value: isinstance(value, str), "")


def write_text(key: str, chosen: str) -> None:
    """Writes the text into the URL, after the widget was drawn."""
    _write(key, (chosen,) if chosen else ())


def _read(
    key: str,
    parse: Callable[[tuple[str, ...]], T | None],
    fits: Callable[[object], bool],
    default: T | None,
) -> None:
    in_url = tuple(st.query_params.get_all(key))
    written = st.session_state.get(_written_key(key), _Written((), visit_id=-1))
    # Whether one has just come to the page, or the widget is shown again.
    is_new = written.visit_id != page_visit_id() or key not in st.session_state
    # Another URL than what was written: Back, Forward, or a link to this very page.
    if is_new or (in_url != written.values and not st.session_state.get(_IS_STALE)):
        values = written.values if is_new and not in_url else in_url
        asked: object = parse(values) if values else default
    else:
        asked = st.session_state[key]
    value = asked if fits(asked) else default
    # What is set here is sent to the browser. A slider that was moved has it already, and may have
    # been moved on meanwhile; any other widget must be told again, in case the run that told it
    # was ended by a click before the browser heard of it.
    was_moved = not is_new and st.session_state[key] != written.widget_value
    if not (was_moved and st.session_state[key] == value):
        st.session_state[key] = value


def _write(key: str, values: tuple[str, ...]) -> None:
    if not values:
        st.query_params.pop(key, None)
    elif tuple(st.query_params.get_all(key)) != values:
        st.query_params[key] = values
    widget_value = st.session_state.get(key)
    snapshot = [*widget_value] if isinstance(widget_value, list) else widget_value
    st.session_state[_written_key(key)] = _Written(values, page_visit_id(), snapshot)


def forget(prefix: str) -> None:
    """Drops what this session has chosen and written under keys with that prefix; the URL stays,
    and says anew what is to be shown."""
    for key in list(st.session_state):
        if str(key).startswith((prefix, _written_key(prefix))):
            del st.session_state[key]


def clear_url(prefix: str) -> None:
    """Takes the query parameters with that prefix out of the URL."""
    for key in [key for key in st.query_params if key.startswith(prefix)]:
        del st.query_params[key]


def unknown_choice(key: str, options: Mapping[str, T]) -> str | None:
    """The value that the URL asks for and that is no option; None where all is well."""
    asked = st.query_params.get(key)
    return asked if asked and asked not in options else None


def by_value(options: Sequence[T]) -> dict[str, T]:
    """Value in the URL → option, for enum members and texts: their own value."""
    return {str(option): option for option in options}
