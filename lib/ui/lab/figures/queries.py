"""Figures query by query: how latencies and recalls are spread over the queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from lib.colors import EXACT, method_color
from lib.formats import format_count, format_ms, format_percent
from lib.lab.measurement import Measurement
from lib.ui.lab.figures.series import (
    LEGEND,
    MARGIN,
    Picture,
    Series,
    log_ticks,
    series_of,
)
from lib.ui.lab.measurement_rows import Row
from lib.ui.shared.charts import shortened

_MAX_BARS = 50


def latency_shares(measurements: Sequence[Measurement]) -> Picture:
    """The share of the queries that was answered within a time, a line for each measurement; each
    query by the median of its rounds."""
    lines = series_of(measurements)
    figure = go.Figure()
    for line in lines:
        for measurement in line.points:
            figure.add_trace(_share_trace(line, measurement))
    for level in (0.5, 0.95, 0.99):
        figure.add_hline(y=level, line={"color": EXACT, "width": 1, "dash": "dot"})
    times_ms = [float(value) for one in measurements for value in one.latencies_ms]
    figure.update_xaxes(title="Latency of a query, ms (log)", type="log", **log_ticks(times_ms))
    figure.update_yaxes(
        title="Share of the queries",
        tickformat=".0%",
        range=[0, 1.01],
        tickvals=[0, 0.25, 0.5, 0.75, 0.95, 0.99],
    )
    figure.update_layout(height=360, margin=MARGIN, legend=LEGEND)
    slowest = [
        f"{one.candidate}: half within {format_ms(float(np.median(one.latencies_ms)))}, the "
        f"slowest {format_ms(float(np.max(one.latencies_ms)))}"
        for one in measurements
        if len(one.latencies_ms)
    ]
    return Picture(
        "How long does a query take, and how bad do the slow ones get?",
        f"Share of the queries that was answered within a time. {'; '.join(slowest)}.",
        figure,
        tuple(row for line in lines for point in line.points for row in _query_rows(point)),
    )


def _share_trace(line: Series, measurement: Measurement) -> go.Scatter:
    times_ms = np.sort(measurement.latencies_ms)
    label = measurement.label
    name = shortened(label, 60)
    return go.Scatter(
        x=times_ms,
        y=np.arange(1, len(times_ms) + 1) / len(times_ms),
        mode="lines",
        line={
            "color": line.color,
            "width": 2.5,
            "shape": "hv",
            "dash": line.candidate_dash if measurement.certified else "dot",
        },
        name=name if measurement.certified else f"{name} (dotted: not certified)",
        hovertemplate=f"{shortened(label, 80)}<br>%{{y:.1%}} of the queries within "
        "%{x:.3f} ms<extra></extra>",
    )


def _query_rows(measurement: Measurement) -> list[Row]:
    by_query = zip(measurement.latencies_ms, measurement.recalls, strict=True)
    return [
        {
            "candidate": measurement.candidate,
            "setting": measurement.setting.label,
            "query": number,
            "latency_ms": float(latency_ms),
            "recall": float(recall),
        }
        for number, (latency_ms, recall) in enumerate(by_query)
    ]


def recall_histogram(measurement: Measurement) -> Picture:
    """How many queries found which share of their true neighbours."""
    recalls = measurement.recalls
    values, counts = _count_by_recall(recalls)
    color = method_color(measurement.setting.method)
    figure = go.Figure(
        go.Bar(
            x=values,
            y=counts,
            width=min(0.9 / max(measurement.k, 1), 0.04),
            marker={
                "color": color,
                "opacity": 1.0 if measurement.certified else 0.35,
                "line": {"width": 0 if measurement.certified else 2, "color": color},
            },
            customdata=[format_percent(value) for value in values],
            hovertemplate="%{y:,} queries found %{customdata} of their true "
            "neighbours<extra></extra>",
            name=shortened(measurement.candidate),
            showlegend=False,
        )
    )
    figure.update_xaxes(
        title=f"Recall@{measurement.k} of a query", tickformat=".0%", range=[-0.04, 1.04]
    )
    figure.update_yaxes(title="Queries")
    figure.update_layout(height=320, margin=MARGIN, bargap=0.1)
    complete = int((recalls >= 1).sum())
    title = (
        f"{complete:,} of {format_count(len(recalls), 'query', 'queries')} found all of their true "
        f"neighbours, {measurement.recall.zero:,} found none"
    )
    return Picture(
        title,
        f"Queries by their recall with {measurement.label}. {title}.",
        figure,
        tuple(
            {"recall": value, "queries": count} for value, count in zip(values, counts, strict=True)
        ),
    )


def _count_by_recall(
    recalls: np.ndarray[Any, np.dtype[np.float64]],
) -> tuple[list[float], list[int]]:
    """The distinct recalls and the number of queries with each; bins where there are too many of
    them for bars."""
    values, counts = np.unique(np.round(recalls, 6), return_counts=True)
    if len(values) > _MAX_BARS:
        counts, edges = np.histogram(recalls, bins=_MAX_BARS, range=(0.0, 1.0))
        values = (edges[:-1] + edges[1:]) / 2
    return [float(value) for value in values], [int(count) for count in counts]
