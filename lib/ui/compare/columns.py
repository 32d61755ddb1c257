"""The same question asked in several ways: the columns with their settings, how the answers differ,
and what each index missed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from lib.formats import format_bytes, format_count, format_ms
from lib.search.compare import (
    COLUMNS,
    PRESET_COLUMNS,
    ColumnSettings,
    ComparedColumn,
    Comparison,
    Preset,
)
from lib.search.miss_analysis import ColumnMisses, MissAnalysis
from lib.search.request import SearchRequest
from lib.store.candidates import Candidate
from lib.store.collections import Collection
from lib.ui.search.controls import WidgetScope, results_slider
from lib.ui.shared.charts import RankColumn, comparison_chart
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
from lib.vectors.index_methods import IndexKind

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
# Of labels on coloured ground, where the theme's own for charts is too faint.
_INKS = {"light": "#31333F", "dark": "#FAFAFA"}


@dataclass(frozen=True)
class CompareColumn:
    """One column on the page. number: in the address, from 1. head: where its figures go."""

    number: int
    head: DeltaGenerator
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
    usual: Sequence[SearchRequest],
    shown: Sequence[int],
    collection: Collection,
    settings: Callable[[WidgetScope], SearchRequest],
) -> list[CompareColumn]:
    """The cards of the columns, with their settings; the figures come later.

    usual: of each number. settings: draws the widgets of one.
    """
    slots = []
    for place, number in zip(st.columns(len(shown)), shown, strict=True):
        with place, st.container(border=True, height="stretch", gap="small"):
            with st.container(horizontal=True, vertical_alignment="top", gap="xsmall"):
                head = st.container(gap="xsmall")
                st.button(
                    "",
                    icon=":material/close:",
                    key=f"leave_out_{number}",
                    type="tertiary",
                    disabled=len(shown) <= COLUMNS.low,
                    on_click=_show,
                    args=(tuple(each for each in shown if each != number),),
                    help="Leave this column out"
                    if len(shown) > COLUMNS.low
                    else f"There are always at least {COLUMNS.low}.",
                )
            with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
                with st.popover("Settings", icon=":material/tune:", key=f"settings_{number}"):
                    scope = WidgetScope(column_prefix(number), usual[number - 1])
                    request = settings(scope)
                st.page_link(
                    "pages/search.py",
                    label="Search",
                    icon=":material/search:",
                    query_params=search_params(collection.address, request),
                    help="Opens this column on the Search page, with its settings.",
                )
        slots.append(CompareColumn(number, head, request))
    return slots


# --- before there is an answer ------------------------------------------------------------------


def offer_candidates(missing: Sequence[IndexKind], documents: int, *, busy: bool) -> bool:
    """What a comparison of indexes needs first; true where it is to be built now."""
    if not documents:
        return False
    names = " and ".join(kind.label for kind in missing)
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


# --- the answer ---------------------------------------------------------------------------------


def name_columns(
    slots: Sequence[CompareColumn],
    columns: Sequence[ColumnSettings],
    duplicate_columns: Sequence[tuple[str, str]],
) -> None:
    """What each column is called, and which of them ask the very same. twins: their labels."""
    for slot, column in zip(slots, columns, strict=True):
        slot.head.markdown(f"**{escape(column.label)}**")
    for one, other in duplicate_columns:
        st.warning(
            f"**{escape(one)}** and **{escape(other)}** have the same settings, so they have the "
            "same answer. Change one of them under **Settings**, or leave it out.",
            icon=":material/content_copy:",
        )


def show_comparison(
    slots: Sequence[CompareColumn], comparison: Comparison, analysis: MissAnalysis
) -> None:
    """Figures, ranks side by side, and what was missed."""
    seen = {column.label: column for column in analysis.columns}
    for slot, column in zip(slots, comparison.columns, strict=True):
        with slot.head:
            _figures(column, seen.get(column.label))
    st.markdown(f"**{_finding(comparison, analysis)}**")
    st.plotly_chart(
        comparison_chart(
            [
                RankColumn(
                    column.label,
                    [(str(hit.document.id), hit.document.label) for hit in column.result],
                )
                for column in comparison.columns
            ],
            _INKS.get(st.context.theme.type or ""),
        ),
        key="comparison_chart",
        config={"displayModeBar": False},
        alt="The ranks of the documents in each column",
    )
    st.caption(
        "A line joins the same document in two columns: blue where its rank is the same, orange "
        "where it moved, dotted past a column that lacks it. A document on orange ground stands in "
        "one column only; hover over one for its ranks in all of them. Times are of one run in the "
        "database, not warmed up."
    )
    for looked_at in analysis.columns:
        _show_misses(looked_at)
    _show_similarities(comparison)


def _figures(column: ComparedColumn, analysis: ColumnMisses | None) -> None:
    _badge(column)
    found = f"**{format_count(len(column.result), 'document')}**"
    if analysis is not None and analysis.truth:
        hit = len(analysis.truth) - len(analysis.missed)
        found = f"**{hit:,} of {len(analysis.truth):,}** true nearest"
    time = format_ms(column.result.database_ms).replace(" ", "\N{NO-BREAK SPACE}")
    st.markdown(f"{found} · {time}")
    words = [_candidate_words(column.candidate)] if column.candidate is not None else []
    if column.result.matches is not None and column.request.mode.uses_text:
        words.append(f"{format_count(column.result.matches, 'match', 'matches')} of the words")
    if column.result.truncated_because is not None and len(column.result) < column.request.limit:
        words.append(escape(column.result.truncated_because))
    if words:
        st.caption("  \n".join(words))


def _badge(column: ComparedColumn) -> None:
    certificate = column.certificate
    if not column.request.mode.uses_vectors:
        st.badge("Full text", color="green", icon=":material/match_word:")
    elif certificate is None:
        st.badge("Exact", color="gray", icon=":material/done_all:", help="Nothing can be missed.")
    elif certificate.certified:
        st.badge(
            "Certified",
            color="green",
            icon=":material/verified:",
            help=f"The plan of this very query used the index {escape(column.index_name or '')}.",
        )
    else:
        st.badge(
            "Not certified",
            color="orange",
            icon=":material/warning:",
            help=f"These figures are not the index's. {escape(certificate.reason)}",
        )


def _candidate_words(candidate: Candidate) -> str:
    words = escape(candidate.name)
    if candidate.size_bytes is not None:
        words += f", {format_bytes(candidate.size_bytes)}"
    if candidate.stale:
        words += ". **Stale**: the collection has changed since it was copied."
    return words


def _finding(comparison: Comparison, analysis: MissAnalysis) -> str:
    missing = [f"{escape(c.label)} {len(c.missed):,}" for c in analysis.columns if c.missed]
    if missing:
        return f"Missed of the true nearest documents: {', '.join(missing)}"
    if analysis.columns:
        return "Each index found all of the true nearest documents"
    in_all = sum(None not in move.ranks for move in comparison.rank_changes)
    alone = sum(move.only_in is not None for move in comparison.rank_changes)
    if not comparison.rank_changes:
        return "No column found anything"
    if in_all == len(comparison.rank_changes):
        return f"All {len(comparison.columns)} columns found the same documents"
    return (
        f"Of {format_count(len(comparison.rank_changes), 'document')}, {in_all:,} "
        f"{'is' if in_all == 1 else 'are'} in every column and {alone:,} in one only"
    )


def _show_misses(column: ColumnMisses) -> None:
    at = f"{column.parameter} = {column.setting:,}"
    label = escape(column.label)
    if not column.truth:
        st.markdown(f"**{label}** has nothing to find: no document is nearer than its threshold")
    elif not column.missed:
        st.markdown(f"**{label}** found all {len(column.truth):,} at {at}")
    else:
        st.markdown(f"**What {label} missed at {at}**")
        st.dataframe(
            pd.DataFrame(
                [
                    {
                        "True rank": missed.true_rank,
                        "Document": missed.hit.document.label,
                        "Distance": missed.hit.distance,
                        f"Found from {column.parameter}": missed.found_from,
                    }
                    for missed in column.missed
                ]
            ),
            hide_index=True,
            column_config={
                "True rank": st.column_config.NumberColumn(width="small"),
                "Document": st.column_config.TextColumn(width="large"),
                "Distance": st.column_config.NumberColumn(format="%.4f", width="small"),
            },
            alt=f"The true nearest documents that {column.label} missed",
        )
    if column.missed and column.all_found_from is not None:
        st.caption(f"All are found from {column.parameter} = {column.all_found_from:,}.")
    if column.note:
        st.caption(escape(column.note))


def _show_similarities(comparison: Comparison) -> None:
    st.markdown(
        "**How alike the answers are**",
        help="**In both**: share of the first k that both have (overlap@k).  \n**Of all found**: "
        "what both have, of what either has (Jaccard).  \n**By rank**: the same with the first "
        "places counting most (rank-biased overlap, p = 0.9).  \n1 is the same, 0 nothing in "
        "common.",
    )
    labels = [column.label for column in comparison.columns]
    figures = ["In both (overlap@k)", "Of all found (Jaccard)", "By rank (RBO)"]
    rows: list[Mapping[str, object]] = [
        {
            "Answers": f"{labels[each.first]} – {labels[each.second]}",
            **dict(zip(figures, (each.overlap, each.jaccard, each.rbo), strict=True)),
        }
        for each in comparison.similarities
    ]
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        column_config={
            name: st.column_config.ProgressColumn(format="%.2f", min_value=0.0, max_value=1.0)
            for name in figures
        },
        alt="How alike the answers of each two columns are",
    )
