"""The panels under the map, of which one is open, and the list of maps."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import assert_never

import pandas as pd
import streamlit as st

from lib.projection.repository import ProjectionSummary
from lib.ui.map.data_issues import show_data_issues
from lib.ui.map.index_recall import show_index_recall
from lib.ui.map.model import MapModel, MapView
from lib.ui.map.quality import show_quality
from lib.ui.map.selection import show_selection
from lib.ui.shared.page import refresh
from lib.ui.shared.url_state import by_value
from lib.ui.shared.widgets import segmented


class Panel(StrEnum):
    """What can stand under the map. The values stand in links."""

    SELECTION = "selection"
    DATA_ISSUES = "finds"
    QUALITY = "fidelity"
    INDEX_RECALL = "index"
    MAPS = "maps"

    @property
    def label(self) -> str:
        match self:
            case Panel.SELECTION:
                return "Selection"
            case Panel.DATA_ISSUES:
                return "Data issues"
            case Panel.QUALITY:
                return "Projection quality"
            case Panel.INDEX_RECALL:
                return "Missed by an index"
            case Panel.MAPS:
                return "All maps"
            case _:
                assert_never(self)


def show_panel(model: MapModel, view: MapView) -> None:
    """The panel that is open, about the map in view."""
    panel = segmented(
        "View",
        by_value(list(Panel)),
        lambda panel: panel.label,
        key="view",
        default=Panel.SELECTION,
        show_label=False,
    )
    match panel:
        case Panel.SELECTION:
            show_selection(view)
        case Panel.DATA_ISSUES:
            show_data_issues(view)
        case Panel.QUALITY:
            show_quality(view.projection)
        case Panel.INDEX_RECALL:
            show_index_recall(view, model.candidates(view.collection))
        case Panel.MAPS:
            maps = model.maps(view.collection)
            _show_maps(maps)
            _delete_menu(model, maps)
        case _:
            assert_never(panel)


def _show_maps(maps: Sequence[ProjectionSummary]) -> None:
    st.dataframe(
        pd.DataFrame(
            [
                {
                    "Map": summary.name,
                    "Built": summary.created_at,
                    "Up to date": not summary.stale,
                    "Points": summary.points,
                    "Placed later": summary.placed_points,
                    "Trustworthiness": summary.fidelity.trustworthiness,
                    "Continuity": summary.fidelity.continuity,
                    "Neighbourhood preservation": summary.fidelity.local,
                    "Built in (s)": summary.build_seconds,
                }
                for summary in maps
            ]
        ),
        hide_index=True,
        column_config={
            "Trustworthiness": st.column_config.NumberColumn(format="%.3f"),
            "Continuity": st.column_config.NumberColumn(format="%.3f"),
            "Neighbourhood preservation": st.column_config.NumberColumn(format="percent"),
            "Built in (s)": st.column_config.NumberColumn(format="%.1f"),
            "Built": st.column_config.DatetimeColumn(format="distance"),
        },
        alt="The maps of this collection",
    )


def _delete_menu(model: MapModel, maps: Sequence[ProjectionSummary]) -> None:
    with st.popover("Delete a map", icon=":material/delete:"):
        summary = st.selectbox(
            "Map", maps, format_func=lambda summary: summary.name, key="map_to_delete"
        )
        is_sure = st.checkbox("It cannot be undone: I want it gone.", key="map_delete_sure")
        if st.button("Delete", disabled=not is_sure, type="primary", key="map_delete"):
            model.delete(summary)
            refresh()
