"""The figure of throughput: queries a second by the number of concurrent clients."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from lib.formats import format_rate
from lib.lab.measurement import Measurement
from lib.ui.lab.figures.series import (
    LEGEND,
    MARGIN,
    Picture,
    Series,
    explain_hollow_points,
    series_of,
)
from lib.ui.shared.charts import shortened


def by_clients(measurements: Sequence[Measurement]) -> Picture:
    """Queries a second by the number of concurrent clients, a line for each measurement."""
    figure = go.Figure()
    for line in series_of(measurements):
        for measurement in line.points:
            figure.add_trace(_trace(line, measurement))
    explain_hollow_points(figure, measurements)
    numbers = sorted({clients for one in measurements for clients in one.qps})
    figure.update_xaxes(title="Concurrent clients", tickvals=numbers)
    figure.update_yaxes(title="Queries a second, all clients together", rangemode="tozero")
    figure.update_layout(height=320, margin=MARGIN, legend=LEGEND)
    return Picture(
        "Do more concurrent clients get more out of it?",
        "Queries a second by the number of clients. "
        + " ".join(_describe(measurement) for measurement in measurements),
        figure,
        tuple(
            {
                "candidate": measurement.candidate,
                "setting": measurement.setting.label,
                "clients": clients,
                "qps": rate,
            }
            for measurement in measurements
            for clients, rate in sorted(measurement.qps.items())
        ),
    )


def _trace(line: Series, measurement: Measurement) -> go.Scatter:
    clients = sorted(measurement.qps)
    label = measurement.label
    return go.Scatter(
        x=clients,
        y=[measurement.qps[number] for number in clients],
        mode="lines+markers",
        name=shortened(label, 60),
        line={"color": line.color, "width": 2, "dash": line.candidate_dash},
        marker=line.marker([measurement] * len(clients)),
        hovertemplate=f"{shortened(label, 80)}<br>%{{y:,.1f}} queries/s with %{{x}} "
        "clients<extra></extra>",
    )


def _describe(measurement: Measurement) -> str:
    rates = [
        f"{format_rate(rate)} with {clients}" for clients, rate in sorted(measurement.qps.items())
    ]
    return f"{measurement.candidate}: {', '.join(rates)}."
