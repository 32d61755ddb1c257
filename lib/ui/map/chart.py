"""One map on the page: its figure with the layer above it, and what to read from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import streamlit as st

from lib.formats import format_count
from lib.projection.recall import DocumentRecall
from lib.projection.repository import ProjectionSummary
from lib.search.request import SearchRequest
from lib.store.collections import Collection
from lib.ui.map.figures import map_figure
from lib.ui.map.map_layer import layer_data, show_layer
from lib.ui.map.model import MapModel, MapSlot, MapView, Question
from lib.ui.map.selection import is_zoomed, select_documents, selected_ids
from lib.ui.shared.markdown import escape
from lib.ui.shared.page import refresh

WIDE_SPREAD = 0.1
"""Above it the nearest documents of a question lie far apart (QueryPlacement.spread)."""
_CHART = "map_chart"


@dataclass(frozen=True)
class MapDisplay:
    """What is shown on the maps, alike on two side by side."""

    color_by: str
    max_names: int
    """How many cluster names at a time."""
    request: SearchRequest
    questions: Sequence[str]
    """In their order, the last one is the current one."""


def show_stale(
    model: MapModel, collection: Collection, summary: ProjectionSummary, *, is_busy: bool
) -> None:
    """Where documents were written since the map was built: says so, and offers to place them."""
    if not summary.stale:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.warning(
            "The collection has changed since this map was built.",
            icon=":material/history:",
            width="stretch",
        )
        is_pressed = st.button(
            "Place new documents",
            icon=":material/add_location:",
            disabled=is_busy,
            help="Each is placed by the weighted mean of its nearest neighbours on the map, in the "
            "cluster that most of them are in, and marked as placed later. Deleted documents stay "
            "until a new map is built.",
        )
    if is_pressed:
        model.place_new_documents(collection, summary)
        refresh()


def show_map(view: MapView, display: MapDisplay, recall: DocumentRecall | None) -> None:
    """The map with its captions. recall: of an index, measured on this map."""
    questions = view.questions(display.request, display.questions)
    current = questions[-1] if questions else None
    coloring = view.coloring(display.color_by, current, recall)
    points = view.points
    figure = map_figure(
        points,
        coloring,
        questions,
        view.indices(selected_ids(view.projection.id)),
        zoom=is_zoomed(),
        revision=str(view.projection.id),
    )
    holder = f"{_CHART}_{view.slot}"
    with st.container(key=holder, gap=None):
        _show_figure(view, figure)
        if not points.is_3d:
            names = view.cluster_names()
            show_layer(layer_data(points, names, display.max_names, questions), holder=holder)
    _show_caption(view.projection, view.describe(coloring), points.outside)
    if current is not None:
        _show_question(current)


def _show_figure(view: MapView, figure: Any) -> None:
    """A click, a box or a lasso on the first map selects; the second is only looked at, and so is a
    map in three dimensions."""
    name = escape(view.projection.name)
    can_select = view.slot is MapSlot.FIRST and not view.points.is_3d
    st.plotly_chart(
        figure,
        key=_CHART if can_select else f"{_CHART}:{view.projection.id}",
        on_select=partial(_select_points, view) if can_select else "ignore",
        selection_mode=("points", "box", "lasso"),
        config={"scrollZoom": True, "displaylogo": False},
        alt=f"{name}: documents as points; those that are alike lie near each other",
    )


def _select_points(view: MapView) -> None:
    event: Any = st.session_state.get(_CHART)
    points = event["selection"]["points"] if event else []
    indices = dict.fromkeys(_point_index(point) for point in points if "customdata" in point)
    select_documents(view.projection.id, view.hex_ids(list(indices)))


def _point_index(point: Any) -> int:
    data = point["customdata"]
    return int(data[0] if isinstance(data, list | tuple) else data)


def _show_caption(summary: ProjectionSummary, coloring: str, outside: int) -> None:
    """How to read the map, in one line. outside: how many points lie outside its frame."""
    sentences = [coloring, "The axes have no unit: near means alike, far apart says little."]
    if outside:
        sentences.append(
            f"{format_count(outside, 'document')} far from the rest: zoom out to see them."
        )
    if summary.sampled:
        sentences.append(
            f"A sample: {summary.points:,} of {format_count(summary.documents, 'document')}."
        )
    if summary.left_out:
        sentences.append(
            f"{format_count(summary.left_out, 'document')} had no distance to anything and are "
            "left out."
        )
    st.caption(" ".join(escape(sentence) for sentence in sentences))


def _show_question(question: Question) -> None:
    """How many hits the current question has, and whether its position says something."""
    parts = [f"**{escape(question.text)}**: {format_count(len(question.result), 'answer')}"]
    if question.hits_not_on_map:
        parts.append(f"{question.hits_not_on_map:,} of them are not on this map")
    if question.placement is None:
        parts.append(escape(question.why_not_placed))
    elif question.placement.spread > WIDE_SPREAD:
        parts.append(
            "its nearest documents lie far apart on the map, so that its position between them "
            "says little"
        )
    st.markdown(" · ".join(parts))
