"""The figure of recall against queries a second: what each setting trades for what."""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from lib.colors import EXACT, method_color
from lib.formats import format_percent, format_rate
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
    log_range,
    log_ticks,
    series_of,
)
from lib.ui.lab.measurement_rows import measurement_rows
from lib.ui.shared.charts import FUSED, shortened


def recall_qps(
    measurements: Sequence[Measurement],
    pareto: Sequence[Measurement],
    target: Target | None = None,
    *,
    recommended: Measurement | None = None,
    picked: Measurement | None = None,
) -> Picture:
    """Recall (mean) against queries a second with one client.

    pareto: those that none beats in both, by rising recall. recommended: is named in the figure.
    picked: is ringed.
    """
    lines = series_of(measurements)
    figure = go.Figure()
    if len(pareto) > 1:
        figure.add_trace(_pareto_line(pareto))
    for line in lines:
        figure.add_trace(_line(line))
    explain_hollow_points(figure, measurements)
    if picked is not None:
        figure.add_trace(_ring(picked))
    if target is not None:
        figure.add_vline(x=target.recall, line=TARGET_LINE)
    if recommended is not None and recommended.qps.get(1):
        _name_setting(figure, recommended)
    rates = [rate for measurement in measurements if (rate := measurement.qps.get(1))]
    k = measurements[0].k if measurements else 0
    figure.update_xaxes(title=f"Recall@{k} (share of the true nearest found)", tickformat=".0%")
    figure.update_yaxes(
        title="Queries a second, one client (log)",
        type="log",
        range=log_range(rates),
        **log_ticks(rates),
    )
    figure.update_layout(height=460, margin=MARGIN, legend=LEGEND)
    return Picture(
        _title(measurements, target, recommended),
        "Recall against queries a second, a point for each setting. "
        + " ".join(f"{line.name}: {line.describe_ends()}." for line in lines),
        figure,
        measurement_rows(measurements),
    )


def _pareto_line(pareto: Sequence[Measurement]) -> go.Scatter:
    return go.Scatter(
        x=[measurement.recall.mean.value for measurement in pareto],
        y=[measurement.qps[1] for measurement in pareto],
        mode="lines",
        line={"color": EXACT, "width": 12},
        opacity=0.25,
        hoverinfo="skip",
        name="best there is (Pareto line)",
    )


def _line(line: Series) -> go.Scatter:
    return go.Scatter(
        x=line.recalls,
        y=[point.qps.get(1) for point in line.points],
        mode="lines+markers",
        name=shortened(line.name),
        line={"color": line.color, "width": 1.5, "dash": line.scan_dash},
        marker=line.marker(line.points, 14 if line.method is None else 10),
        error_x=line.recall_error_bars(),
        customdata=[hover_data(point) for point in line.points],
        hovertemplate=HOVER_TEMPLATE,
    )


def _ring(picked: Measurement) -> go.Scatter:
    return go.Scatter(
        x=[picked.recall.mean.value],
        y=[picked.qps.get(1)],
        mode="markers",
        marker={"symbol": "circle-open", "size": 20, "color": FUSED, "line": {"width": 2.5}},
        hoverinfo="skip",
        name="shown below",
    )


def _name_setting(figure: go.Figure, recommended: Measurement) -> None:
    figure.add_annotation(
        x=recommended.recall.mean.value,
        y=math.log10(recommended.qps[1]),
        text=f"<b>{shortened(recommended.setting.label)}</b>",
        showarrow=True,
        arrowhead=0,
        arrowwidth=1,
        ax=-60,
        ay=-30,
        arrowcolor=method_color(recommended.setting.method),
        bgcolor="rgba(127, 127, 127, 0.2)",
        borderpad=3,
    )


def _title(
    measurements: Sequence[Measurement], target: Target | None, recommended: Measurement | None
) -> str:
    if target is None or recommended is None or not recommended.qps.get(1):
        return "How many queries a second does which recall cost?"
    title = (
        f"With {format_percent(target.recall)} recall or more {recommended.candidate} answers "
        f"{format_rate(recommended.qps[1])} queries a second"
    )
    exact = next((one for one in measurements if one.setting.method is None), None)
    if exact is None or not exact.qps.get(1):
        return title
    times = recommended.qps[1] / exact.qps[1]
    return f"{title}, {times:,.1f} × the exact scan"
