"""Figures of the Search page, as pure functions of values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

from lib.colors import EXACT
from lib.search.fusion import DistanceGap
from lib.ui.shared.charts import FUSED, SERIES, TEXT, VECTOR, shortened


@dataclass(frozen=True)
class RankLine:
    """One document in the weight chart: its rank (1 is first) at each weight."""

    label: str
    ranks: Sequence[int]


def weight_chart(
    lines: Sequence[RankLine],
    weights: Sequence[float],
    current_weight: float,
    changes: Sequence[float],
    max_rank: int,
) -> go.Figure:
    """Ranks by the vector weight (a bump chart): a line for each document, the current weight as
    an upright line, and small marks where the first place changes.

    lines: the first at the current weight comes first, and is the boldest. A rank below max_rank
    leaves the picture.
    """
    figure = go.Figure()
    for number, line in enumerate(lines):
        shown = [rank if rank <= max_rank else None for rank in line.ranks]
        figure.add_trace(
            go.Scatter(
                x=list(weights),
                y=shown,
                mode="lines+markers",
                name=shortened(line.label),
                line={"color": SERIES[number % len(SERIES)], "width": 4 if number == 0 else 2},
                marker={"size": 6},
                opacity=1.0 if number < len(SERIES) else 0.55,
                connectgaps=False,
                hovertemplate="%{fullData.name}<br>rank %{y} at weight %{x:.2f}<extra></extra>",
            )
        )
    figure.add_vline(x=current_weight, line={"color": FUSED, "width": 2, "dash": "dash"})
    if changes:
        figure.add_trace(
            go.Scatter(
                x=list(changes),
                y=[0.4] * len(changes),
                mode="markers",
                marker={"symbol": "triangle-down", "size": 10, "color": FUSED},
                hovertemplate="The first place changes at weight %{x:.2f}<extra></extra>",
                showlegend=False,
                name="first place changes",
            )
        )
    figure.update_xaxes(
        title="Vector weight (0: keywords alone, 1: vectors alone)", range=[-0.02, 1.02]
    )
    figure.update_yaxes(
        title="Rank", range=[max_rank + 0.6, 0.1], dtick=max(1, max_rank // 10), tick0=1
    )
    figure.update_layout(
        height=90 + 34 * min(max_rank, 14),
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        legend={"orientation": "v", "font": {"size": 12}},
    )
    return figure


BAR_WIDTH, _BAR_HEIGHT = 220, 10


def contribution_bar(vector: float, text: float, whole: float) -> str:
    """What the two legs add to a fused value, as one bar (SVG): vectors, then keywords, in a track
    as long as ``whole``."""
    scale = BAR_WIDTH / whole if whole > 0 else 0.0
    first, second = vector * scale, text * scale
    track = f'<rect width="{BAR_WIDTH}" height="{_BAR_HEIGHT}" fill="#808080" opacity="0.2"/>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{BAR_WIDTH}" height="{_BAR_HEIGHT}">'
        f'{track}<rect width="{first:.1f}" height="{_BAR_HEIGHT}" fill="{VECTOR}"/>'
        f'<rect x="{first:.1f}" width="{second:.1f}" height="{_BAR_HEIGHT}" fill="{TEXT}"/></svg>'
    )


def swatch(color: str) -> str:
    """A square of a colour (SVG), for a legend."""
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="12" height="12">'
        f'<rect width="12" height="12" fill="{color}"/></svg>'
    )


def distance_strip(
    distances: Sequence[float], threshold: float, suggestion: DistanceGap | None
) -> go.Figure:
    """The distances of a question's nearest documents on one line: what a threshold lets through
    in colour, what it cuts in grey."""
    values: npt.NDArray[np.float64] = np.asarray(distances, dtype=np.float64)
    inside = values < threshold
    figure = go.Figure()
    for chosen, color, name in ((inside, VECTOR, "shown"), (~inside, EXACT, "cut off")):
        figure.add_trace(
            go.Scatter(
                x=values[chosen],
                y=np.zeros(int(chosen.sum())),
                mode="markers",
                marker={"symbol": "line-ns-open", "size": 20, "color": color, "line": {"width": 2}},
                hovertemplate=f"distance %{{x:.3f}}, {name}<extra></extra>",
                showlegend=False,
                name=name,
            )
        )
    figure.add_vline(x=threshold, line={"color": FUSED, "width": 2})
    if suggestion is not None:
        figure.add_vline(x=suggestion.threshold, line={"color": FUSED, "width": 1, "dash": "dot"})
    figure.update_yaxes(visible=False, range=[-1, 1], fixedrange=True)
    figure.update_xaxes(title="Distance", fixedrange=True)
    figure.update_layout(height=110, margin={"l": 5, "r": 5, "t": 5, "b": 5})
    return figure
