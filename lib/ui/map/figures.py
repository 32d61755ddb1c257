"""The map as a figure: points, names of clusters, questions with their hits.

Coordinates and colours go as arrays, never point by point: 50,000 points are drawn in a second
(bench/map_figure.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

from lib.projection.coloring import NO_CATEGORY, CategoricalColoring, Coloring, NumericColoring
from lib.projection.document_details import DocumentDetails
from lib.ui.map.model import Question
from lib.ui.shared.charts import EXACT, FUSED, SERIES, shortened

HEIGHT = 620
MOST_SNIPPETS = 20_000
"""On larger maps a point says its title and category only: the beginnings of all texts would be
megabytes."""
MOST_HOVER_BYTES = 8_000_000
"""Of what all points say, as JSON, which goes to the browser with each picture."""

_TITLE, _CATEGORY, _SNIPPET = 70, 70, 90  # characters

_SYMBOLS = ("circle", "square", "diamond", "triangle-up")
_COLORS = tuple(color for color in SERIES if color not in (EXACT, FUSED))
_MARGIN = 0.06  # of the map's width, around it
_FAR_SHARE = 0.01  # of the points, on each side of each axis
MOST_LEGENDS = 20
SOLID = 3

IntArray = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Frame:
    """The part of the map that is shown, as (low, high) of each axis."""

    x: tuple[float, float]
    y: tuple[float, float]


@dataclass(frozen=True, eq=False)
class MapPoints:
    """coordinates: float32 (n, 2 or 3). titles: n texts; below: n more, to stand under them, None
    where there are none."""

    coordinates: npt.NDArray[np.float32]
    titles: npt.NDArray[np.object_]
    below: npt.NDArray[np.object_] | None

    def __len__(self) -> int:
        return len(self.coordinates)

    @property
    def is_3d(self) -> bool:
        """Whether the map has three dimensions."""
        return bool(self.coordinates.shape[1] == SOLID)

    def text(self, place: int) -> str:
        """What the point says when the mouse is over it."""
        title = f"<b>{self.titles[place]}</b>"
        return title if self.below is None else f"{title}<br>{self.below[place]}"

    @cached_property
    def frame(self) -> Frame:
        """Of the whole map."""
        return frame_of(self.coordinates)

    @cached_property
    def outside(self) -> int:
        """How many points the whole map's frame does not hold; in three dimensions none."""
        if self.is_3d:
            return 0
        frame, (x, y) = self.frame, self.coordinates.T
        within = (x >= frame.x[0]) & (x <= frame.x[1]) & (y >= frame.y[0]) & (y <= frame.y[1])
        return int(np.count_nonzero(~within))


def map_points(coordinates: npt.NDArray[np.float32], details: DocumentDetails) -> MapPoints:
    """With what each point says when the mouse is over it: title, category, beginning."""
    count = len(coordinates)
    with_text = count <= MOST_SNIPPETS
    # Each character of the longest lines has the same room.
    room = MOST_HOVER_BYTES / max(count, 1) / (_TITLE + _CATEGORY + with_text * _SNIPPET)
    titles, below = np.empty(count, dtype=object), np.empty(count, dtype=object)
    for place, title in enumerate(details.titles):
        titles[place] = _within(title, _TITLE, room)
    for place, (category, snippet) in enumerate(
        zip(details.categories, details.snippets, strict=True)
    ):
        lines = [_within(category, _CATEGORY, room)] if category else []
        if with_text and snippet:
            lines.append(_within(snippet, _SNIPPET, room))
        below[place] = "<br>".join(lines)
    return MapPoints(coordinates, titles, below if any(below) else None)


def _within(text: str, characters: int, room: float) -> str:
    """Shortened to so many characters, and to ``room`` bytes of JSON for each of them: what is not
    ASCII takes six there, and what takes two in UTF-16 twelve."""
    most_bytes, used = characters * room, 0
    if text.isascii():
        return shortened(text, max(min(characters, int(most_bytes)), 1))
    for place, character in enumerate(text[:characters]):
        used += 1 if character < "\x80" else 6 if character < "\U00010000" else 12
        if used > most_bytes:
            return shortened(text, max(place, 1))
    return shortened(text, characters)


def frame_of(coordinates: npt.NDArray[np.float32], places: IntArray | None = None) -> Frame:
    """Around these points, or around nearly all: a few that lie far off would make the rest small.
    They are there when one zooms out (:attr:`MapPoints.outside`)."""
    if places is not None and len(places):
        low, high = coordinates[places, :2].min(axis=0), coordinates[places, :2].max(axis=0)
    else:
        low, high = np.quantile(coordinates[:, :2], (_FAR_SHARE, 1 - _FAR_SHARE), axis=0)
    room = np.maximum((high - low) * _MARGIN, float(np.ptp(coordinates[:, :2])) * _MARGIN / 4)
    low, high = low - room, high + room
    return Frame((float(low[0]), float(high[0])), (float(low[1]), float(high[1])))


def picture(
    points: MapPoints,
    coloring: Coloring,
    asked: Sequence[Question],
    chosen: IntArray,
    *,
    zoom: bool,
    revision: str,
) -> go.Figure:
    """asked: questions in their order, the last one is the one that is asked now; a flat map has
    them in a layer above it (:mod:`lib.ui.map.map_layer`), so that they do not change the picture.
    chosen: places of points that stand out, the others fade; zoom: to them. revision: as long as it
    and what is zoomed to are the same, the browser keeps the part of the map that one has moved
    to."""
    figure = go.Figure()
    is_3d = points.is_3d
    for trace in _traces(points, coloring, chosen if len(chosen) else None, is_3d=is_3d):
        figure.add_trace(trace)
    if is_3d:
        for trace in _questions(points, asked):
            figure.add_trace(trace)
        hidden = {"visible": False, "showspikes": False}
        scene = {"xaxis": hidden, "yaxis": hidden, "zaxis": hidden, "aspectmode": "data"}
        figure.update_layout(scene=scene)
    else:
        frame = frame_of(points.coordinates, chosen) if zoom and len(chosen) else points.frame
        axis = {"visible": False, "zeroline": False, "showgrid": False}
        figure.update_xaxes(**axis, range=list(frame.x))
        figure.update_yaxes(**axis, range=list(frame.y), scaleanchor="x")
    kept_view = f"{revision}:{zoom and chosen.tolist()}"
    figure.update_layout(
        height=HEIGHT,
        margin={"l": 0, "r": 0, "t": 6, "b": 0},
        uirevision=kept_view,
        selectionrevision=kept_view,
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
    """Points shrink as they become more, so that crowds stay apart."""
    return float(np.clip(60 / max(count, 1) ** 0.3, 2.5, 11))


def marker_opacity(count: int) -> float:
    return float(np.clip(1.15 - 0.13 * np.log10(max(count, 1)), 0.5, 0.95))


def _traces(
    points: MapPoints, coloring: Coloring, chosen: IntArray | None, *, is_3d: bool
) -> list[Any]:
    size, opacity = marker_size(len(points)), marker_opacity(len(points))
    common = {"size": size, "opacity": opacity, "line": {"width": 0}}
    if isinstance(coloring, NumericColoring):
        known = ~np.isnan(coloring.values)
        marker = {
            **common,
            "color": coloring.values[known].astype(np.float32),
            "colorscale": "Viridis",
            "reversescale": coloring.high_is_bad,
            "cmin": coloring.low,
            "cmax": coloring.high,
            "colorbar": {"title": {"text": shortened(coloring.title, 24)}, "thickness": 14},
        }
        traces = []
        if not known.all():
            grey = {**common, "color": EXACT, "opacity": opacity / 2}
            traces.append(
                _scatter(points, np.flatnonzero(~known), grey, "not known", chosen, is_3d=is_3d)
            )
        traces.append(
            _scatter(points, np.flatnonzero(known), marker, coloring.title, chosen, is_3d=is_3d)
        )
        for trace in traces:
            trace.showlegend = False
        return traces
    kinds = _kinds_last_first(coloring)
    traces = [
        _scatter(
            points,
            np.flatnonzero(coloring.codes == code),
            {**common, **_look(code, opacity, is_3d=is_3d)},
            shortened(label, 30),
            chosen,
            is_3d=is_3d,
        )
        for code, label in kinds
        if code < MOST_LEGENDS
    ]
    # The browser draws each trace by itself, so those beyond the legend are one.
    rest = np.flatnonzero(coloring.codes >= MOST_LEGENDS)
    if len(rest):
        name = f"{sum(code >= MOST_LEGENDS for code, _ in kinds):,} more"
        marker = {**common, **_looks(coloring.codes[rest], is_3d=is_3d)}
        traces.append(_scatter(points, rest, marker, name, chosen, is_3d=is_3d))
    return traces


def _kinds_last_first(coloring: CategoricalColoring) -> list[tuple[int, str]]:
    """Grey lies below all others. A kind that no point has is left out."""
    exists = set(np.unique(coloring.codes).tolist())
    kinds = [(NO_CATEGORY, "none"), *enumerate(coloring.labels)]
    return [(code, label) for code, label in kinds if code in exists]


def _look(code: int, opacity: float, *, is_3d: bool) -> dict[str, Any]:
    """A colour and, when the colours have had their turn, another sign."""
    if code == NO_CATEGORY:
        return {"color": EXACT, "opacity": opacity / 2}
    sign = _SYMBOLS[(code // len(_COLORS)) % len(_SYMBOLS)]
    if is_3d and sign == "triangle-up":
        sign = "x"
    return {"color": _COLORS[code % len(_COLORS)], "symbol": sign}


def _looks(codes: npt.NDArray[np.int32], *, is_3d: bool) -> dict[str, Any]:
    """The same for points of several kinds; the colours as numbers, which are sent packed."""
    signs = [
        _look(code, 1.0, is_3d=is_3d)["symbol"] for code in range(len(_COLORS) * len(_SYMBOLS))
    ]
    ends = np.arange(len(_COLORS) + 1) / len(_COLORS)
    scale = [
        [end, color]
        for color, low, high in zip(_COLORS, ends, ends[1:], strict=False)
        for end in (low, high)
    ]
    return {
        "color": (codes % len(_COLORS)).astype(np.uint8),
        "colorscale": scale,
        "cmin": -0.5,
        "cmax": len(_COLORS) - 0.5,
        "showscale": False,
        "symbol": [signs[code % len(signs)] for code in codes.tolist()],
    }


def _scatter(
    points: MapPoints,
    places: IntArray,
    marker: dict[str, Any],
    name: str,
    chosen: IntArray | None,
    *,
    is_3d: bool,
) -> Any:
    at = points.coordinates[places]
    common: dict[str, Any] = {
        "x": at[:, 0],
        "y": at[:, 1],
        "mode": "markers",
        "marker": marker,
        "name": name,
        "showlegend": True,
        # Once for all points: as JSON, what makes a title bold is longer than many a title.
        "hovertext": points.titles[places],
        "hovertemplate": "<b>%{hovertext}</b><extra></extra>",
        "customdata": places.astype(np.int32),
    }
    if points.below is not None:
        common["text"] = points.below[places]
        common["hovertemplate"] = "<b>%{hovertext}</b><br>%{text}<extra></extra>"
    if is_3d:
        return go.Scatter3d(z=at[:, 2], **common)
    if chosen is not None:
        common["selectedpoints"] = np.flatnonzero(np.isin(places, chosen))
        common["unselected"] = {"marker": {"opacity": 0.12}}
        common["selected"] = {"marker": {"opacity": 1.0}}
    return go.Scattergl(**common)


def _questions(points: MapPoints, asked: Sequence[Question]) -> list[Any]:
    """In three dimensions: the path through the questions, then the last one with lines to its
    hits. On a flat map they lie above the points (lib.ui.map.map_layer)."""
    if not asked:
        return []

    def along(rows: Sequence[Sequence[float | None]]) -> dict[str, list[float | None]]:
        return {axis: [row[place] for row in rows] for place, axis in enumerate("xyz")}

    traces: list[Any] = []
    path = [each.at for each in asked if each.at is not None]
    if len(path) > 1:
        traces.append(
            go.Scatter3d(
                **along(path),
                mode="lines",
                line={"color": FUSED, "width": 2, "dash": "dot"},
                hoverinfo="skip",
                name="path of the questions",
                showlegend=False,
            )
        )
    now = asked[-1]
    hits = [tuple(map(float, points.coordinates[place])) for place in now.hits]
    nowhere = (None,) * SOLID
    if now.at is not None and hits:
        spokes: list[Sequence[float | None]] = []
        for hit in hits:
            spokes += [now.at, hit, nowhere]
        traces.append(
            go.Scatter3d(
                **along(spokes),
                mode="lines",
                line={"color": FUSED, "width": 1},
                opacity=0.6,
                hoverinfo="skip",
                showlegend=False,
                name="from the question to its hits",
            )
        )
    if hits:
        traces.append(
            go.Scatter3d(
                **along(hits),
                mode="markers+text",
                marker={
                    "size": 7,
                    "color": FUSED,
                    "symbol": "circle-open",
                    "line": {"width": 3},
                },
                text=[str(rank) for rank in range(1, len(hits) + 1)],
                textposition="top center",
                hovertext=[points.text(place) for place in now.hits],
                hovertemplate="hit %{text}<br>%{hovertext}<extra></extra>",
                customdata=np.asarray(now.hits, dtype=np.int32),
                name="hits",
                showlegend=False,
            )
        )
    stars = [each for each in asked if each.at is not None]
    if stars:
        traces.append(
            go.Scatter3d(
                **along([each.at for each in stars if each.at is not None]),
                mode="markers",
                marker={
                    "size": [16 if each is now else 10 for each in stars],
                    "color": FUSED,
                    "symbol": "diamond",
                    "line": {"width": 1, "color": "white"},
                },
                hovertext=[shortened(each.text, 90) for each in stars],
                hovertemplate="question: %{hovertext}<extra></extra>",
                name="question",
                showlegend=False,
            )
        )
    return traces
