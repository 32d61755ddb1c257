"""The panel Data issues: near-duplicates, outliers and label mismatches, as lists to pick from."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import assert_never

import pandas as pd
import streamlit as st

from lib.formats import format_count
from lib.ui.map.model import DataIssue, MapView
from lib.ui.map.selection import select_documents
from lib.ui.shared.url_state import by_value
from lib.ui.shared.widgets import segmented


class IssueKind(StrEnum):
    """The lists of the panel. The values stand in links."""

    NEAR_DUPLICATES = "duplicates"
    OUTLIERS = "outliers"
    LABEL_MISMATCHES = "strangers"

    @property
    def label(self) -> str:
        match self:
            case IssueKind.NEAR_DUPLICATES:
                return "Near-duplicates"
            case IssueKind.OUTLIERS:
                return "Outliers"
            case IssueKind.LABEL_MISMATCHES:
                return "Label mismatches"
            case _:
                assert_never(self)


def show_data_issues(view: MapView) -> None:
    """The kind that is chosen; rows that are picked are selected on the map."""
    kind = segmented(
        "What to look for",
        by_value(list(IssueKind)),
        lambda kind: kind.label,
        key="find",
        default=IssueKind.NEAR_DUPLICATES,
        help_text="**Near-duplicates**: pairs of documents under a distance.  \n**Outliers**: the "
        "largest mean distance to the nearest neighbours.  \n**Label mismatches**: documents most "
        "of whose neighbours have one other category.",
    )
    if view.projection.neighbours is None:
        st.info(
            "This map was built without computing neighbours, as PCA of many documents is. Build "
            "a UMAP map to see these.",
            icon=":material/info:",
        )
        return
    match kind:
        case IssueKind.NEAR_DUPLICATES:
            _show_near_duplicates(view)
        case IssueKind.OUTLIERS:
            _show_outliers(view)
        case IssueKind.LABEL_MISMATCHES:
            _show_label_mismatches(view)
        case _:
            assert_never(kind)


def _show_near_duplicates(view: MapView) -> None:
    highest = view.median_neighbour_distance
    max_distance = st.slider(
        f"Nearer than ({view.collection.distance.label})",
        0.0,
        max(round(highest, 3), 0.001),
        round(highest / 10, 3),
        key="near_pairs",
        help="The true distance, not the one on the map.",
    )
    issues = view.near_duplicates(max_distance)
    if not issues:
        _show_none("No two documents are that near to each other.")
        return
    columns = {
        "Document": [issue.title for issue in issues],
        "and": [issue.other for issue in issues],
        "Distance": [issue.value for issue in issues],
    }
    _show_list(view, IssueKind.NEAR_DUPLICATES, issues, pd.DataFrame(columns), "%.4f")


def _show_outliers(view: MapView) -> None:
    issues = view.outliers()
    if not issues:
        _show_none("There are no documents on this map.")
        return
    columns = {
        "Document": [issue.title for issue in issues],
        "Mean distance to its neighbours": [issue.value for issue in issues],
    }
    _show_list(view, IssueKind.OUTLIERS, issues, pd.DataFrame(columns), "%.4f")


def _show_label_mismatches(view: MapView) -> None:
    issues = view.label_mismatches()
    if not issues:
        _show_none("Every document is among documents of its own category, or there are none.")
        return
    columns = {
        "Document": [issue.title for issue in issues],
        "Category": [issue.other for issue in issues],
        "Share of its neighbours": [issue.value for issue in issues],
    }
    _show_list(view, IssueKind.LABEL_MISMATCHES, issues, pd.DataFrame(columns), "percent")


def _show_none(message: str) -> None:
    st.success(message, icon=":material/check_circle:")


def _show_list(
    view: MapView,
    kind: IssueKind,
    issues: Sequence[DataIssue],
    table: pd.DataFrame,
    value_format: str,
) -> None:
    """The table's last column has the values."""
    key = f"finds_{kind}"

    def select_rows() -> None:
        rows = st.session_state[key]["selection"]["rows"]
        indices = dict.fromkeys(index for row in rows for index in issues[row].indices)
        select_documents(view.projection.id, view.hex_ids(list(indices)))

    st.caption(f"{format_count(len(issues), 'row')}. Pick some to see them on the map.")
    st.dataframe(
        table,
        hide_index=True,
        key=key,
        on_select=select_rows,
        selection_mode="multi-row",
        column_config={table.columns[-1]: st.column_config.NumberColumn(format=value_format)},
        alt=f"{kind.label}: a list of documents",
    )
