"""The same question through exact scan, IVFFlat and HNSW: what each one missed, at what cost."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from lib.search.compare import ComparedColumn, Comparison
from lib.search.request import SearchRequest
from lib.search.xray import XRay, XRayColumn
from lib.store.candidates import Candidate
from lib.ui.charts import RankColumn, comparison_chart
from lib.ui.text import count, escape, milliseconds, size
from lib.vectors.indexes import IndexKind
from lib.vectors.tuning import EF_SEARCH, RESULT_LIMIT, SearchSettings

MOST_RESULTS = 30


def compare_controls(query: str, lists: int) -> SearchRequest:
    """How many answers, and how hard each index looks. lists: of the IVFFlat candidate."""
    limit = st.slider(
        "How many results (k)",
        1,
        MOST_RESULTS,
        RESULT_LIMIT.default,
        key="k",
        bind="query-params",
        help="How many of the true nearest documents each index is asked for.",
    )
    probes = st.slider(
        "IVFFlat: lists to look into (probes)",
        1,
        max(lists, 2),
        1,
        key="probes",
        bind="query-params",
        help=f"Of {lists:,} lists. Looking into more finds more and takes longer; all of them is "
        "an exact search.",
    )
    ef_search = st.slider(
        "HNSW: candidates kept (ef_search)",
        EF_SEARCH.low,
        EF_SEARCH.high,
        EF_SEARCH.default,
        key="ef",
        bind="query-params",
        help="How many documents the walk through the graph keeps in mind. More finds more and "
        "takes longer; fewer than the results wanted gives fewer results.",
    )
    settings = SearchSettings(probes=min(probes, lists), ef_search=ef_search)
    return SearchRequest(query, limit=limit, settings=settings)


def offer_candidates(missing: Sequence[IndexKind], documents: int, *, busy: bool) -> bool:
    """What a comparison needs first; true where it is to be built now."""
    names = " and ".join(kind.label for kind in missing)
    st.info(
        f"To compare, each index gets a copy of the vectors of its own (a candidate), so that the "
        f"collection itself is not touched. There is no {names} candidate yet.",
        icon=":material/content_copy:",
    )
    return st.button(
        f"Build {names} for {count(documents, 'document')}",
        type="primary",
        icon=":material/build:",
        disabled=busy,
        help="With the usual settings for this many documents. Seconds for some thousands, minutes "
        "for a million.",
    )


def show_comparison(comparison: Comparison, xray: XRay) -> None:
    """Figures, ranks side by side, and what was missed."""
    seen = {column.label: column for column in xray.columns}
    for place, column in zip(st.columns(len(comparison.columns)), comparison.columns, strict=True):
        with place, st.container(border=True):
            _column_head(column, seen.get(column.label))
    st.markdown(f"**{_finding(xray)}**")
    st.plotly_chart(
        comparison_chart(
            [
                RankColumn(
                    column.label,
                    [(str(hit.document.id), hit.document.label) for hit in column.result],
                )
                for column in comparison.columns
            ]
        ),
        key="comparison_chart",
        alt="The ranks of the documents in each column",
    )
    st.caption(
        "A line joins the same document in two columns: blue where its rank is the same, orange "
        "where it moved. A document in red stands in one column only."
    )
    for looked_at in xray.columns:
        _show_xray(looked_at)
    _show_likeness(comparison)


def _column_head(column: ComparedColumn, xray: XRayColumn | None) -> None:
    st.markdown(f"**{escape(column.label)}**")
    if xray is None:
        st.badge("Exact", color="gray", icon=":material/done_all:", help="Nothing can be missed.")
    elif xray.certified:
        st.badge(
            "Certified",
            color="green",
            icon=":material/verified:",
            help=f"The plan of this very query used the index {escape(xray.index_name)}.",
        )
    else:
        st.badge(
            "Not certified",
            color="orange",
            icon=":material/warning:",
            help="The plan did not use the index, so these figures are not the index's.",
        )
    found, time = st.columns(2)
    if xray is None:
        found.metric("Found", f"{len(column.result):,}", help="The true nearest documents.")
    else:
        hit = len(xray.truth) - len(xray.missed)
        found.metric(
            "Found",
            f"{hit:,} of {len(xray.truth):,}",
            help=f"Of the true nearest documents (recall {xray.recall:.2f}), at "
            f"{xray.parameter} = {xray.setting:,}.",
        )
    time.metric(
        "Time",
        milliseconds(column.result.database_ms),
        help="One run in the database, not warmed up: the lab measures time properly.",
    )
    candidate = column.candidate
    if candidate is not None:
        st.caption(_candidate_words(candidate))


def _candidate_words(candidate: Candidate) -> str:
    words = escape(candidate.name)
    if candidate.size_bytes is not None:
        words += f", {size(candidate.size_bytes)}"
    if candidate.stale:
        words += ". **Stale**: the collection has changed since it was copied."
    return words


def _finding(xray: XRay) -> str:
    missing = [f"{c.label} {len(c.missed):,}" for c in xray.columns if c.missed]
    if not missing:
        return "Each index found all of the true nearest documents"
    return f"Missed of the true nearest documents: {', '.join(missing)}"


def _show_xray(column: XRayColumn) -> None:
    if not column.missed:
        return
    st.markdown(f"**What {escape(column.label)} missed at {column.parameter} = {column.setting}**")
    st.dataframe(
        pd.DataFrame(
            [
                {
                    "True rank": missed.true_rank,
                    "Document": missed.hit.document.label,
                    "Distance": missed.hit.distance,
                    f"Found from {column.parameter}": missed.found_at,
                }
                for missed in column.missed
            ]
        ),
        hide_index=True,
        column_config={"Distance": st.column_config.NumberColumn(format="%.4f")},
        alt=f"The true nearest documents that {column.label} missed",
    )
    if column.all_found_at is not None:
        st.caption(f"All are found from {column.parameter} = {column.all_found_at:,}.")
    if column.note:
        st.caption(escape(column.note))


def _show_likeness(comparison: Comparison) -> None:
    st.markdown("**How alike the answers are**")
    labels = [column.label for column in comparison.columns]
    st.dataframe(
        pd.DataFrame(
            [
                {
                    "Answers": f"{labels[each.first]} and {labels[each.second]}",
                    f"In both, of the first {each.k}": each.overlap,
                    "Of all found (Jaccard)": each.jaccard,
                    "By rank (RBO)": each.rbo,
                }
                for each in comparison.likenesses
            ]
        ),
        hide_index=True,
        column_config={
            name: st.column_config.NumberColumn(format="%.3f")
            for name in ("Of all found (Jaccard)", "By rank (RBO)")
        },
        alt="How alike the answers of each two columns are",
    )
