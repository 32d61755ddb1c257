"""The map as a figure: points in colours, and in three dimensions the questions with their hits.

Coordinates and colours go as arrays, never point by point: 50,000 points are drawn in a second
(bench/map_figure.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

from lib.colors import EXACT
from lib.projection.coloring import NO_CATEGORY, CategoricalColoring, Coloring, NumericColoring
from lib.ui.map.model import Question
from lib.ui.map.points import IntArray, MapPoints, frame_of
from lib.ui.shared.charts import FUSED, SERIES, shortened

HEIGHT = 620
MAX_LEGEND_ENTRIES = 20

_COLORS = tuple(color for color in SERIES if color not in (EXACT, FUSED))
_SYMBOLS = ("circle", "square", "diamond", "triangle-up")
_SYMBOLS_3D = ("circle", "square", "diamond", "x")  # Plotly has no triangle there

Position = Sequence[float | None]


def map_figure(
    points: MapPoints,
    coloring: Coloring,
    questions: Sequence[Question],
    selected: IntArray,
    *,
    zoom: bool,
    revision: str,
) -> go.Figure:
    """The figure of a map.

    questions: in their order, the last one is the current one; on a flat map they are in a layer
    above the figure (:mod:`lib.ui.map.map_layer`), so that they do not change it. selected: indices
    of points that stand out, while the others fade; zoom: to them. revision: as long as it and the
    zoom are the same, the browser keeps the part of the map that one has moved to.
    """
    is_zoomed = zoom and len(selected) > 0
    figure = go.Figure(_point_traces(points, coloring, selected))
    if points.is_3d:
        figure.add_traces(_question_traces(points, questions))
        hidden = {"visible": False, "showspikes": False}
        scene = {"xaxis": hidden, "yaxis": hidden, "zaxis": hidden, "aspectmode": "data"}
        figure.update_layout(scene=scene)
    else:
        frame = frame_of(points.coordinates, selected) if is_zoomed else points.frame
        axis = {"visible": False, "zeroline": False, "showgrid": False}
        figure.update_xaxes(**axis, range=list(frame.x))
        figure.update_yaxes(**axis, range=list(frame.y), scaleanchor="x")
    view_revision = f"{revision}:{selected.tolist() if is_zoomed else 'all'}"
    figure.update_layout(
        height=HEIGHT,
        margin={"l": 0, "r": 0, "t": 6, "b": 0},
        uirevision=view_revision,
        selectionrevision=view_revision,
        dragmode="pan",
        hoverlabel={"align": "left"},
        legend={
            "title": {"text": shortened(coloring.title, 30)},
            "itemsizing": "constant",
            "font": {"size": 12},
        },
    )
    return figure


def marker_size(count: int) -> float:
    """Points shrink as they become more, so that clusters stay apart."""
    return float(np.clip(60 / max(count, 1) ** 0.3, 2.5, 11))


def marker_opacity(count: int) -> float:
    return float(np.clip(1.15 - 0.13 * np.log10(max(count, 1)), 0.5, 0.95))


# --- points -------------------------------------------------------------------------------------


def _point_traces(points: MapPoints, coloring: Coloring, selected: IntArray) -> list[Any]:
    if isinstance(coloring, NumericColoring):
        return _numeric_traces(points, coloring, selected)
    return _categorical_traces(points, coloring, selected)


def _numeric_traces(points: MapPoints, coloring: NumericColoring, selected: IntArray) -> list[Any]:
    """Points without a value in grey, the others on a colour scale."""
    marker = _marker(points)
    known = ~np.isnan(coloring.values)
    traces = []
    if not known.all():
        grey = {**marker, "color": EXACT, "opacity": marker["opacity"] / 2}
        traces.append(_trace(points, np.flatnonzero(~known), grey, "not known", selected))
    scale = {
        **marker,
        "color": coloring.values[known].astype(np.float32),
        "colorscale": "Viridis",
        "reversescale": coloring.high_is_bad,
        "cmin": coloring.low,
        "cmax": coloring.high,
        "colorbar": {"title": {"text": shortened(coloring.title, 28)}, "thickness": 14},
    }
    traces.append(_trace(points, np.flatnonzero(known), scale, coloring.title, selected))
    for trace in traces:
        trace.showlegend = False
    return traces


def _categorical_traces(
    points: MapPoints, coloring: CategoricalColoring, selected: IntArray
) -> list[Any]:
    """A trace for each category; one for all categories beyond the legend, since the browser draws
    each trace by itself. Grey ones lie below the others."""
    marker = _marker(points)
    present = set(np.unique(coloring.codes).tolist())
    traces = []
    for code, label in [(NO_CATEGORY, "none"), *enumerate(coloring.labels[:MAX_LEGEND_ENTRIES])]:
        if code in present:
            members = np.flatnonzero(coloring.codes == code)
            style = {**marker, **_category_style(code, marker["opacity"], is_3d=points.is_3d)}
            traces.append(_trace(points, members, style, shortened(label, 30), selected))
    beyond = np.flatnonzero(coloring.codes >= MAX_LEGEND_ENTRIES)
    if len(beyond):
        count = sum(code >= MAX_LEGEND_ENTRIES for code in present)
        style = {**marker, **_category_styles(coloring.codes[beyond], is_3d=points.is_3d)}
        traces.append(_trace(points, beyond, style, f"{count:,} more", selected))
    return traces


def _marker(points: MapPoints) -> dict[str, Any]:
    count = len(points)
    return {"size": marker_size(count), "opacity": marker_opacity(count), "line": {"width": 0}}


def _category_style(code: int, opacity: float, *, is_3d: bool) -> dict[str, Any]:
    """A colour and, when all colours are used, another symbol."""
    if code == NO_CATEGORY:
        return {"color": EXACT, "opacity": opacity / 2}
    symbols = _SYMBOLS_3D if is_3d else _SYMBOLS
    return {
        "color": _COLORS[code % len(_COLORS)],
        "symbol": symbols[code // len(_COLORS) % len(symbols)],
    }


def _category_styles(codes: npt.NDArray[np.int32], *, is_3d: bool) -> dict[str, Any]:
    """The same for points of several categories in one trace; the colours as numbers, which are
    sent packed."""
    symbols = [
        _category_style(code, 1.0, is_3d=is_3d)["symbol"]
        for code in range(len(_COLORS) * len(_SYMBOLS))
    ]
    colorscale = []
    for number, color in enumerate(_COLORS):
        colorscale += [[number / len(_COLORS), color], [(number + 1) / len(_COLORS), color]]
    return {
        "color": (codes % len(_COLORS)).astype(np.uint8),
        "colorscale": colorscale,
        "cmin": -0.5,
        "cmax": len(_COLORS) - 0.5,
        "showscale": False,
        "symbol": [symbols[code % len(symbols)] for code in codes.tolist()],
    }


def _trace(
    points: MapPoints,
    members: IntArray,
    marker: dict[str, Any],
    name: str,
    selected: IntArray,
) -> Any:
    """Some of the points, by their indices."""
    coordinates = points.coordinates[members]
    common: dict[str, Any] = {
        "x": coordinates[:, 0],
        "y": coordinates[:, 1],
        "mode": "markers",
        "marker": marker,
        "name": name,
        "showlegend": True,
        # Once for all points: as JSON, what makes a title bold is longer than many a title.
        "hovertext": points.titles[members],
        "hovertemplate": "<b>%{hovertext}</b><extra></extra>",
        "customdata": members.astype(np.int32),
    }
    if points.subtitles is not None:
        common["text"] = points.subtitles[members]
        common["hovertemplate"] = "<b>%{hovertext}</b><br>%{text}<extra></extra>"
    if points.is_3d:
        return go.Scatter3d(z=coordinates[:, 2], **common)
    if len(selected):
        common["selectedpoints"] = np.flatnonzero(np.isin(members, selected))
        common["unselected"] = {"marker": {"opacity": 0.12}}
        common["selected"] = {"marker": {"opacity": 1.0}}
    return go.Scattergl(**common)


# --- questions in three dimensions ----------------------------------------------------------------


def _question_traces(points: MapPoints, questions: Sequence[Question]) -> list[Any]:
    """The path through the questions, lines from the current one to its hits, the hits, and a star
    for each question."""
    if not questions:
        return []
    current = questions[-1]
    placed = [
        (question, position)
        for question in questions
        if (position := question.position) is not None
    ]
    hits = [tuple(map(float, points.coordinates[index])) for index in current.hits]
    traces: list[Any] = []
    if len(placed) > 1:
        traces.append(_path([position for _, position in placed]))
    if current.position is not None and hits:
        traces.append(_spokes(current.position, hits))
    if hits:
        traces.append(_hits(points, current, hits))
    if placed:
        traces.append(_stars(placed, current))
    return traces


def _axes(positions: Sequence[Position]) -> dict[str, list[float | None]]:
    """x, y and z of some positions, as a trace takes them."""
    return {axis: [position[n] for position in positions] for n, axis in enumerate("xyz")}


def _path(positions: Sequence[Position]) -> go.Scatter3d:
    return go.Scatter3d(
        **_axes(positions),
        mode="lines",
        line={"color": FUSED, "width": 2, "dash": "dot"},
        hoverinfo="skip",
        name="path of the questions",
        showlegend=False,
    )


def _spokes(center: Position, hits: Sequence[Position]) -> go.Scatter3d:
    gap: Position = (None, None, None)  # between one line and the next
    return go.Scatter3d(
        **_axes([end for hit in hits for end in (center, hit, gap)]),
        mode="lines",
        line={"color": FUSED, "width": 1},
        opacity=0.6,
        hoverinfo="skip",
        showlegend=False,
        name="from the question to its hits",
    )


def _hits(points: MapPoints, question: Question, hits: Sequence[Position]) -> go.Scatter3d:
    return go.Scatter3d(
        **_axes(hits),
        mode="markers+text",
        marker={"size": 7, "color": FUSED, "symbol": "circle-open", "line": {"width": 3}},
        text=[str(rank) for rank in range(1, len(hits) + 1)],
        textposition="top center",
        hovertext=[points.hover_text(index) for index in question.hits],
        hovertemplate="hit %{text}<br>%{hovertext}<extra></extra>",
        customdata=np.asarray(question.hits, dtype=np.int32),
        name="hits",
        showlegend=False,
    )


def _stars(placed: Sequence[tuple[Question, Position]], current: Question) -> go.Scatter3d:
    return go.Scatter3d(
        **_axes([position for _, position in placed]),
        mode="markers",
        marker={
            "size": [16 if question is current else 10 for question, _ in placed],
            "color": FUSED,
            "symbol": "diamond",
            "line": {"width": 1, "color": "white"},
        },
        hovertext=[shortened(question.text, 90) for question, _ in placed],
        hovertemplate="question: %{hovertext}<extra></extra>",
        name="question",
        showlegend=False,
    )
