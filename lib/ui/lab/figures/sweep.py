"""The figure of a parameter sweep: recall and latency as the search parameter grows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lib.lab.measurement import Measurement
from lib.lab.spec import Target
from lib.ui.lab.figures.series import (
    HOVER_TEMPLATE,
    LEGEND,
    MARGIN,
    TARGET_LINE,
    Picture,
    Series,
    explain_hollow_points,
    hover_data,
    log_ticks,
    series_of,
)
from lib.ui.lab.measurement_rows import measurement_rows
from lib.ui.shared.charts import shortened
from lib.vectors.index_methods import index_methods

_LABEL_WIDTH = 0.08
"""Of an axis, that a tick's label takes."""
_RECALL_ROW, _LATENCY_ROW = 1, 2


def by_parameter(measurements: Sequence[Measurement], target: Target | None = None) -> Picture:
    """Recall and latency by the search parameter: a column for each index method, recall above,
    latency (p50 with points, p95 a thin line) below."""
    indexed = [one for one in measurements if one.setting.method is not None]
    methods = [
        method for method in index_methods() if any(one.setting.method == method for one in indexed)
    ]
    lines = series_of(indexed)
    figure = make_subplots(
        rows=2,
        cols=max(len(methods), 1),
        shared_xaxes=True,
        shared_yaxes=True,
        vertical_spacing=0.06,
        horizontal_spacing=0.04,
        column_titles=[method.label for method in methods] if len(methods) > 1 else None,
    )
    for line in lines:
        assert line.method is not None
        column = methods.index(line.method) + 1
        p50s = [point.latency.p50_ms for point in line.points]
        p95s = [point.latency.p95_ms for point in line.points]
        figure.add_trace(_recall_trace(line), row=_RECALL_ROW, col=column)
        figure.add_trace(_latency_trace(line, "p50", p50s), row=_LATENCY_ROW, col=column)
        figure.add_trace(_latency_trace(line, "p95", p95s), row=_LATENCY_ROW, col=column)
    explain_hollow_points(figure, indexed)
    if target is not None:
        figure.add_hline(y=target.recall, line=TARGET_LINE, row=_RECALL_ROW)
        if target.p95_ms is not None:
            figure.add_hline(y=target.p95_ms, line=TARGET_LINE, row=_LATENCY_ROW)
    for column, method in enumerate(methods, 1):
        values = [one.setting.value or 1 for one in indexed if one.setting.method == method]
        figure.update_xaxes(type="log", **_value_ticks(values), col=column)
        figure.update_xaxes(
            title=f"{method.search_parameter.label}, log", row=_LATENCY_ROW, col=column
        )
    _label_y_axes(figure, indexed)
    figure.update_layout(height=560, margin={**MARGIN, "t": 30}, legend={**LEGEND, "y": 1.06})
    return Picture(
        "What does each step of the parameter buy, and what does it cost?",
        "Recall, and below it latency, by the parameter. "
        + " ".join(f"{line.name}: {line.describe_ends()}." for line in lines),
        figure,
        measurement_rows(indexed),
    )


def _recall_trace(line: Series) -> go.Scatter:
    return go.Scatter(
        **_shared_options(line, "recall"),
        y=line.recalls,
        mode="lines+markers",
        line={"color": line.color, "width": 2, "dash": line.scan_dash},
        error_y=line.recall_error_bars(),
        showlegend=True,
    )


def _latency_trace(line: Series, percentile: str, latencies_ms: Sequence[float]) -> go.Scatter:
    is_median = percentile == "p50"
    return go.Scatter(
        **_shared_options(line, percentile),
        y=latencies_ms,
        mode="lines+markers" if is_median else "lines",
        line={"color": line.color, "width": 2 if is_median else 1.2, "dash": line.scan_dash},
        showlegend=False,
    )


def _shared_options(line: Series, quantity: str) -> dict[str, Any]:
    """Of the traces of one series, which the legend shows and hides together."""
    return {
        "x": [point.setting.value for point in line.points],
        "name": shortened(line.name),
        "legendgroup": line.name,
        "marker": line.marker(line.points),
        "customdata": [hover_data(point) for point in line.points],
        "hovertemplate": f"{quantity}<br>{HOVER_TEMPLATE}",
    }


def _label_y_axes(figure: go.Figure, measurements: Sequence[Measurement]) -> None:
    latencies_ms = [
        value for one in measurements for value in (one.latency.p50_ms, one.latency.p95_ms)
    ]
    k = measurements[0].k if measurements else 0
    figure.update_yaxes(tickformat=".0%", row=_RECALL_ROW)
    figure.update_yaxes(title=f"Recall@{k}", row=_RECALL_ROW, col=1)
    figure.update_yaxes(type="log", **log_ticks(latencies_ms), row=_LATENCY_ROW)
    figure.update_yaxes(title="Latency, ms (log)", row=_LATENCY_ROW, col=1)


def _value_ticks(values: Iterable[int]) -> dict[str, Any]:
    """The values that were measured, as far as their labels have room beside each other on a
    logarithmic axis."""
    measured = sorted(set(values))
    room = _LABEL_WIDTH * math.log(measured[-1] / measured[0]) if measured else 0.0
    labelled: list[int] = []
    for value in measured:
        if not labelled or math.log(value / labelled[-1]) >= room:
            labelled.append(value)
    return {"tickvals": labelled, "ticktext": [f"{value:,}" for value in labelled]}
