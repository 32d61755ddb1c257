"""Figures, as pure functions of values. Colours say what something is, on all pages (Okabe–Ito);
the ground and the text are Streamlit's, light or dark."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

from lib.formats import shorten
from lib.search.fusion import DistanceGap

EXACT, IVFFLAT, HNSW = "#7f7f7f", "#E69F00", "#0072B2"
TEXT, VECTOR, FUSED = "#009E73", "#CC79A7", "#D55E00"

# Categories without a meaning of their own; yellow is left out, it vanishes on white.
SERIES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#7f7f7f")

_LABEL_CHARACTERS = 42


@dataclass(frozen=True)
class RankLine:
    """One document in the weight chart: its rank (1 is first) at each weight."""

    label: str
    ranks: Sequence[int]


def shortened(label: str, characters: int = _LABEL_CHARACTERS) -> str:
    """A label that fits, plain: Plotly reads HTML in labels."""
    short = shorten(label, characters)
    return short.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def weight_chart(
    lines: Sequence[RankLine],
    weights: Sequence[float],
    current_weight: float,
    changes: Sequence[float],
    most_rank: int,
) -> go.Figure:
    """Ranks by the vector weight (a bump chart): a line for each document, the current weight as
    an upright line, and small marks where the first place changes.

    lines: the first at the current weight comes first, and is the boldest. A rank below most_rank
    leaves the picture.
    """
    figure = go.Figure()
    for place, line in enumerate(lines):
        shown = [rank if rank <= most_rank else None for rank in line.ranks]
        figure.add_trace(
            go.Scatter(
                x=list(weights),
                y=shown,
                mode="lines+markers",
                name=shortened(line.label),
                line={"color": SERIES[place % len(SERIES)], "width": 4 if place == 0 else 2},
                marker={"size": 6},
                opacity=1.0 if place < len(SERIES) else 0.55,
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
        title="Weight of meaning (0: words alone, 1: meaning alone)", range=[-0.02, 1.02]
    )
    figure.update_yaxes(
        title="Rank", range=[most_rank + 0.6, 0.1], dtick=max(1, most_rank // 10), tick0=1
    )
    figure.update_layout(
        height=90 + 34 * min(most_rank, 14),
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        legend={"orientation": "v", "font": {"size": 12}},
    )
    return figure


BAR_WIDTH, _BAR_HEIGHT = 220, 10


def contribution_bar(vector: float, text: float, whole: float) -> str:
    """What the two legs add to a fused value, as one bar (SVG): meaning, then words, in a track as
    long as ``whole``."""
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
    for chosen, color, words in ((inside, VECTOR, "shown"), (~inside, EXACT, "cut")):
        figure.add_trace(
            go.Scatter(
                x=values[chosen],
                y=np.zeros(int(chosen.sum())),
                mode="markers",
                marker={"symbol": "line-ns-open", "size": 20, "color": color, "line": {"width": 2}},
                hovertemplate=f"distance %{{x:.3f}}, {words}<extra></extra>",
                showlegend=False,
                name=words,
            )
        )
    figure.add_vline(x=threshold, line={"color": FUSED, "width": 2})
    if suggestion is not None:
        figure.add_vline(x=suggestion.threshold, line={"color": FUSED, "width": 1, "dash": "dot"})
    figure.update_yaxes(visible=False, range=[-1, 1], fixedrange=True)
    figure.update_xaxes(title="Distance", fixedrange=True)
    figure.update_layout(height=110, margin={"l": 5, "r": 5, "t": 5, "b": 5})
    return figure


@dataclass(frozen=True)
class RankColumn:
    """One column of a comparison. documents: (key, label), from first to last."""

    name: str
    documents: Sequence[tuple[str, str]]


# Of the width of a column, the rest is for the lines; and what fits into the boxes of a row at
# 1,280 pixels, the narrowest that the page is made for.
_HALF_BOX = 0.37
_PADDING = 0.015
_ROW_CHARACTERS = 88


def comparison_chart(columns: Sequence[RankColumn], ink: str | None = None) -> go.Figure:
    """Ranks side by side: a box for each document, a line between equal ones in neighbouring
    columns, and what only one column has on a ground of its own. Lines run only between the
    columns, so that they cross no label. ink: of the labels, the theme's by default."""
    figure = go.Figure()
    places = [{key: rank for rank, (key, _) in enumerate(c.documents, 1)} for c in columns]
    for key in dict.fromkeys(key for ranks in places for key in ranks):
        found = [place for place, ranks in enumerate(places) if key in ranks]
        for left, right in itertools.pairwise(found):
            figure.add_trace(_rank_line(left, places[left][key], right, places[right][key]))
    line_characters = _ROW_CHARACTERS // max(len(columns), 1)
    for place, column in enumerate(columns):
        ranks = list(range(1, len(column.documents) + 1))
        alone = [sum(key in others for others in places) == 1 for key, _ in column.documents]
        figure.add_trace(
            go.Bar(
                orientation="h",
                base=place - _HALF_BOX,
                x=[2 * _HALF_BOX] * len(ranks),
                y=ranks,
                width=0.8,
                marker={
                    "color": [FUSED if only else EXACT for only in alone],
                    "opacity": [0.35 if only else 0.16 for only in alone],
                    "cornerradius": 4,
                },
                customdata=[
                    [shortened(label, 120), _rank_words(key, columns, places)]
                    for key, label in column.documents
                ],
                hovertemplate="%{customdata[0]}<br>%{customdata[1]}<extra></extra>",
                showlegend=False,
                name=shortened(column.name),
            )
        )
        figure.add_trace(
            go.Scatter(
                x=[place - _HALF_BOX + _PADDING] * len(ranks),
                y=ranks,
                mode="text",
                text=[
                    f"{rank}. {_in_lines(label, line_characters)}"
                    for rank, (_, label) in enumerate(column.documents, 1)
                ],
                textposition="middle right",
                textfont={"size": 12, "color": ink},
                hoverinfo="skip",
                showlegend=False,
                name=f"labels of {shortened(column.name)}",
            )
        )
    longest = max((len(column.documents) for column in columns), default=1)
    figure.update_xaxes(
        tickvals=list(range(len(columns))),
        ticktext=[_in_lines(column.name, line_characters) for column in columns],
        tickfont={"size": 13, "color": ink},
        side="top",
        range=[-0.5, len(columns) - 0.5],
        showgrid=False,
        zeroline=False,
        fixedrange=True,
    )
    figure.update_yaxes(visible=False, range=[longest + 0.6, 0.4], fixedrange=True)
    figure.update_layout(
        barmode="overlay",
        height=50 + 44 * longest,
        margin={"l": 0, "r": 0, "t": 40, "b": 0},
    )
    return figure


def _rank_line(left: int, rank: int, right: int, other: int) -> go.Scatter:
    """Between two boxes. Past columns that lack the document it is dotted, and goes through the
    gap below its first row."""
    x, y = [left + _HALF_BOX, right - _HALF_BOX], [float(rank), float(other)]
    if right - left > 1:
        x[1:1] = [left + 1 - _HALF_BOX, right - 1 + _HALF_BOX]
        y[1:1] = [rank + 0.5, rank + 0.5]
    return go.Scatter(
        x=x,
        y=y,
        mode="lines",
        line={
            "color": HNSW if rank == other else IVFFLAT,
            "width": 2,
            "dash": "dot" if right - left > 1 else "solid",
        },
        hoverinfo="skip",
        showlegend=False,
    )


def _in_lines(label: str, characters: int) -> str:
    """A label on two lines at the most."""
    lines = textwrap.wrap(" ".join(label.split()), characters, max_lines=2, placeholder=" …")
    return "<br>".join(shortened(line, characters) for line in lines)


def _rank_words(
    key: str, columns: Sequence[RankColumn], places: Sequence[Mapping[str, int]]
) -> str:
    """Such as “IVFFlat: 3, HNSW: not found”."""
    return "<br>".join(
        f"{shortened(column.name)}: {ranks.get(key, 'not found')}"
        for column, ranks in zip(columns, places, strict=True)
    )
