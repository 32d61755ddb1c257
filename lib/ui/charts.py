"""Figures, as pure functions of values. Colours say what something is, on all pages (Okabe–Ito);
the ground and the text are Streamlit's, light or dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

from lib.search.threshold import Gap

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
    one_line = " ".join(label.split())
    cut = one_line if len(one_line) <= characters else one_line[: characters - 1].rstrip() + "…"
    return cut.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


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


def distance_strip(
    distances: Sequence[float], threshold: float, suggestion: Gap | None
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


def comparison_chart(columns: Sequence[RankColumn]) -> go.Figure:
    """Ranks side by side: a line joins the same document in neighbouring columns, and what only
    one column has stands in its own colour without a line."""
    figure = go.Figure()
    places = [{key: rank for rank, (key, _) in enumerate(c.documents, 1)} for c in columns]
    for left in range(len(columns) - 1):
        for key, rank in places[left].items():
            other = places[left + 1].get(key)
            if other is not None:
                figure.add_trace(
                    go.Scatter(
                        x=[left, left + 1],
                        y=[rank, other],
                        mode="lines",
                        line={"color": HNSW if rank == other else IVFFLAT, "width": 2},
                        hoverinfo="skip",
                        showlegend=False,
                    )
                )
    for place, column in enumerate(columns):
        alone = [sum(key in others for others in places) == 1 for key, _ in column.documents]
        figure.add_trace(
            go.Scatter(
                x=[place] * len(column.documents),
                y=list(range(1, len(column.documents) + 1)),
                mode="markers+text",
                marker={"size": 11, "color": [FUSED if only else HNSW for only in alone]},
                text=[shortened(label, 30) for _, label in column.documents],
                textposition="top center",
                textfont={"size": 11},
                hovertemplate="rank %{y}: %{text}<extra></extra>",
                showlegend=False,
                name=shortened(column.name),
            )
        )
    longest = max((len(column.documents) for column in columns), default=1)
    figure.update_xaxes(
        tickvals=list(range(len(columns))),
        ticktext=[shortened(column.name) for column in columns],
        side="top",
        range=[-0.5, len(columns) - 0.5],
    )
    figure.update_yaxes(title="Rank", range=[longest + 0.7, 0.2], dtick=1)
    figure.update_layout(height=80 + 44 * longest, margin={"l": 10, "r": 10, "t": 10, "b": 10})
    return figure
