"""The same question asked in several ways: the columns with their settings, how the answers differ,
and what each index missed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from lib.formats import format_count
from lib.search.compare import (
    COLUMNS,
    PRESET_COLUMNS,
    ColumnSettings,
    Preset,
)
from lib.search.request import SearchRequest
from lib.ui.search.controls import WidgetScope, column_controls, results_slider
from lib.ui.search.options import SearchOptions
from lib.ui.shared.links import column_prefix, current_params, search_params
from lib.ui.shared.markdown import escape
from lib.ui.shared.url_state import (
    by_value,
    clear_url,
    forget,
    page_visit_id,
    read_choice,
    write_choice,
)
from lib.vectors.index_methods import IndexMethod

MOST_RESULTS = 30
MOST_EXAMPLES = 3

_NUMBERS = range(1, COLUMNS.high + 1)
_SHOWN = "cols"
# Which columns are shown → what stands in the address.
_CHOICES = {
    "".join(map(str, shown)): shown
    for number in range(COLUMNS.low, COLUMNS.high + 1)
    for shown in combinations(_NUMBERS, number)
}
_USUAL = tuple(_NUMBERS[:PRESET_COLUMNS])
_DRAWN = "compare:drawn"


@dataclass(frozen=True)
class CompareColumn:
    """One column on the page."""

    number: int
    """In the URL, from 1."""
    head: DeltaGenerator
    """Where its figures go."""
    request: SearchRequest


# --- what is compared ---------------------------------------------------------------------------


def preset_picker(possible: Sequence[Preset]) -> Preset:
    """What to begin with; the first of those that are possible is usual. Another preset begins
    afresh, and so does a link that names one: it says all that differs from it."""
    named = by_value(possible)
    comes_by_link = "preset" in st.query_params
    read_choice("preset", named, possible[0])
    in_order = [preset for preset in Preset if preset in possible]
    preset = st.radio(
        "What to compare",
        in_order,
        format_func=lambda found: found.label,
        captions=[found.question for found in in_order],
        key="preset",
        on_change=_begin_afresh,
        help="Settings to begin with. Each column's own are under **Settings** in its head.",
    )
    assert preset is not None
    write_choice("preset", named, preset, None)
    drawn = st.session_state.get(_DRAWN)
    st.session_state[_DRAWN] = now = (preset, page_visit_id())
    if drawn is not None and drawn != now and (comes_by_link or drawn[0] is not preset):
        _forget_columns()
    return preset


def _begin_afresh() -> None:
    for name in (_SHOWN, *map(column_prefix, _NUMBERS)):
        clear_url(name)


def _forget_columns() -> None:
    for name in (_SHOWN, *map(column_prefix, _NUMBERS)):
        forget(name)


def limit_slider() -> int:
    """How many results each column is asked for."""
    return results_slider(MOST_RESULTS)


def shown_columns() -> tuple[int, ...]:
    """The numbers of the columns that are shown, with what adds one."""
    read_choice(_SHOWN, _CHOICES, _USUAL)
    shown: tuple[int, ...] = st.session_state[_SHOWN]
    write_choice(_SHOWN, _CHOICES, shown, _USUAL)
    free = [number for number in _NUMBERS if number not in shown]
    st.button(
        "Add a column",
        icon=":material/add_column_right:",
        disabled=not free,
        on_click=_show,
        args=(tuple(sorted((*shown, *free[:1]))),),
        width="stretch",
        help=f"Up to {COLUMNS.high}." if free else f"There are {COLUMNS.high} already.",
    )
    return shown


def _show(numbers: tuple[int, ...]) -> None:
    st.session_state[_SHOWN] = numbers


def draw_columns(
    defaults: Sequence[SearchRequest],
    shown: Sequence[int],
    options: SearchOptions,
    common: SearchRequest,
) -> list[CompareColumn]:
    """The cards of the columns, with their settings; the figures come later.

    defaults: the settings of each number to begin with. common: the question and the limit of all.
    """
    columns = []
    for card, number in zip(st.columns(len(shown)), shown, strict=True):
        with card, st.container(border=True, height="stretch", gap="small"):
            with st.container(horizontal=True, vertical_alignment="top", gap="xsmall"):
                head = st.container(gap="xsmall")
                _remove_button(number, shown)
            with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
                with st.popover("Settings", icon=":material/tune:", key=f"settings_{number}"):
                    scope = WidgetScope(column_prefix(number), defaults[number - 1])
                    request = column_controls(scope, options, common)
                st.page_link(
                    "pages/search.py",
                    label="Search",
                    icon=":material/search:",
                    query_params=search_params(options.collection.address, request),
                    help="Opens this column on the Search page, with its settings.",
                )
        columns.append(CompareColumn(number, head, request))
    return columns


def _remove_button(number: int, shown: Sequence[int]) -> None:
    can_remove = len(shown) > COLUMNS.low
    st.button(
        "",
        icon=":material/close:",
        key=f"leave_out_{number}",
        type="tertiary",
        disabled=not can_remove,
        on_click=_show,
        args=(tuple(other for other in shown if other != number),),
        help="Remove this column" if can_remove else f"There are always at least {COLUMNS.low}.",
    )


# --- before there is an answer ------------------------------------------------------------------


def offer_candidates(missing: Sequence[IndexMethod], documents: int, *, busy: bool) -> bool:
    """What a comparison of indexes needs first; true where it is to be built now."""
    if not documents:
        return False
    names = " and ".join(method.label for method in missing)
    st.info(
        f"To compare, each index gets a copy of the vectors of its own (a candidate), so that the "
        f"collection itself is not touched. There is no {names} candidate yet.",
        icon=":material/content_copy:",
    )
    return st.button(
        f"Build {names} for {format_count(documents, 'document')}",
        type="primary",
        icon=":material/build:",
        disabled=busy,
        help="With the usual settings for this many documents. Seconds for some thousands, minutes "
        "for a million.",
    )


def offer_questions(examples: Sequence[str]) -> None:
    """What to ask first, each a link to its own answer."""
    if not examples:
        st.info("Ask a question to see how the answers differ.", icon=":material/search:")
        return
    st.markdown("Try one of these:")
    for example in examples[:MOST_EXAMPLES]:
        st.page_link(
            "pages/compare.py",
            label=escape(example),
            icon=":material/arrow_forward:",
            query_params=current_params(q=example),
        )


# --- their names --------------------------------------------------------------------------------


def name_columns(
    drawn: Sequence[CompareColumn],
    columns: Sequence[ColumnSettings],
    duplicates: Sequence[tuple[str, str]],
) -> None:
    """What each column is called, and which of them ask the very same. duplicates: their labels."""
    for card, column in zip(drawn, columns, strict=True):
        card.head.markdown(f"**{escape(column.label)}**")
    for one, other in duplicates:
        st.warning(
            f"**{escape(one)}** and **{escape(other)}** have the same settings, so they have the "
            "same answer. Change one of them under **Settings**, or remove it.",
            icon=":material/content_copy:",
        )
