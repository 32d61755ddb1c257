"""The figure of the Compare page, as a pure function of values."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from lib.colors import EXACT
from lib.ui.shared.charts import FUSED, MOVED, SAME, shortened


@dataclass(frozen=True)
class RankColumn:
    """One column of a comparison, as it is drawn."""

    name: str
    documents: Sequence[tuple[str, str]]
    """(key, label), from first to last."""


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
    ranks_of = [{key: rank for rank, (key, _) in enumerate(c.documents, 1)} for c in columns]
    for key in dict.fromkeys(key for ranks in ranks_of for key in ranks):
        having_it = [at for at, ranks in enumerate(ranks_of) if key in ranks]
        for left, right in itertools.pairwise(having_it):
            figure.add_trace(_rank_line(left, ranks_of[left][key], right, ranks_of[right][key]))
    line_characters = _ROW_CHARACTERS // max(len(columns), 1)
    for at, column in enumerate(columns):
        ranks = list(range(1, len(column.documents) + 1))
        alone = [sum(key in others for others in ranks_of) == 1 for key, _ in column.documents]
        figure.add_trace(
            go.Bar(
                orientation="h",
                base=at - _HALF_BOX,
                x=[2 * _HALF_BOX] * len(ranks),
                y=ranks,
                width=0.8,
                marker={
                    "color": [FUSED if only else EXACT for only in alone],
                    "opacity": [0.35 if only else 0.16 for only in alone],
                    "cornerradius": 4,
                },
                customdata=[
                    [shortened(label, 120), _rank_words(key, columns, ranks_of)]
                    for key, label in column.documents
                ],
                hovertemplate="%{customdata[0]}<br>%{customdata[1]}<extra></extra>",
                showlegend=False,
                name=shortened(column.name),
            )
        )
        figure.add_trace(
            go.Scatter(
                x=[at - _HALF_BOX + _PADDING] * len(ranks),
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
            "color": SAME if rank == other else MOVED,
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
    key: str, columns: Sequence[RankColumn], ranks_of: Sequence[Mapping[str, int]]
) -> str:
    """Such as “IVFFlat: 3, HNSW: not found”."""
    return "<br>".join(
        f"{shortened(column.name)}: {ranks.get(key, 'not found')}"
        for column, ranks in zip(columns, ranks_of, strict=True)
    )
