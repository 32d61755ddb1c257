"""The answers of a comparison: each column's figures, the ranks side by side, what each index
missed, and how similar the answers are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st

from lib.formats import format_bytes, format_count, format_ms
from lib.search.compare import (
    ComparedColumn,
    Comparison,
)
from lib.search.miss_analysis import ColumnMisses, MissAnalysis
from lib.store.candidates import Candidate
from lib.ui.compare.columns import CompareColumn
from lib.ui.compare.figures import RankColumn, comparison_chart
from lib.ui.shared.markdown import escape

# Of labels on coloured ground, where the theme's own for charts is too faint.
_INKS = {"light": "#31333F", "dark": "#FAFAFA"}


def show_comparison(
    drawn: Sequence[CompareColumn], comparison: Comparison, analysis: MissAnalysis
) -> None:
    """Figures, ranks side by side, and what was missed."""
    seen = {column.label: column for column in analysis.columns}
    for card, column in zip(drawn, comparison.columns, strict=True):
        with card.head:
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
