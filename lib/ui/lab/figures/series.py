"""What the lab's figures share: a figure with its title and rows, the measurements as series, their
colours and marks, and the ticks of a logarithmic axis.

Colour says which index method a point is of, its form which candidate; what is not certified is
hollow.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from lib.colors import EXACT, method_color
from lib.formats import format_count, format_percent, format_rate
from lib.lab.measurement import Measurement
from lib.ui.lab.measurement_rows import Row, in_order, key_of
from lib.ui.shared.charts import FUSED, shortened
from lib.vectors.index_methods import IndexMethod, IterativeScan

MARGIN = {"l": 10, "r": 10, "t": 10, "b": 10}
LEGEND = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "font": {"size": 12}}
TARGET_LINE = {"color": FUSED, "width": 1.5, "dash": "dash"}
HOVER_TEMPLATE = "%{customdata[1]}<extra></extra>"
"""For points whose ``customdata`` is :func:`hover_data`."""

_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "pentagon")
_CANDIDATE_DASHES = ("solid", "dash", "longdash", "dashdot")
_SCAN_DASHES = {
    IterativeScan.OFF: "solid",
    IterativeScan.RELAXED: "dash",
    IterativeScan.STRICT: "dot",
}


def scan_label(scan: IterativeScan) -> str:
    """Such as “iterative scan in relaxed order”; empty where it is off."""
    return f"iterative scan in {scan.label}" if scan.label else ""


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure with all that stands around it."""

    title: str
    """What is to be seen, or the question that it answers."""
    alt: str
    """The same for who does not see it."""
    figure: go.Figure
    rows: tuple[Row, ...]
    """The numbers behind it, to download."""


# --- measurements as lines ----------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Series:
    """The measurements of one candidate with one iterative scan, by rising parameter."""

    name: str
    method: IndexMethod | None
    """None is the exact scan."""
    symbol: str
    """Of its points: tells candidates of one colour apart."""
    scan_dash: str
    """Of its line: says which iterative scan."""
    candidate_dash: str
    """Of a line without points: tells candidates of one colour apart."""
    points: tuple[Measurement, ...]

    @property
    def color(self) -> str:
        return method_color(self.method)

    @property
    def recalls(self) -> list[float]:
        return [point.recall.mean.value for point in self.points]

    def marker(self, points: Sequence[Measurement], size: int = 9) -> dict[str, Any]:
        """Of some of its points: filled where certified."""
        return {
            "size": size,
            "color": self.color,
            "symbol": [self.symbol + ("" if point.certified else "-open") for point in points],
            "line": {
                "width": [0 if point.certified else 2 for point in points],
                "color": self.color,
            },
        }

    def recall_error_bars(self) -> dict[str, Any]:
        """The 95 % intervals of its recalls."""
        intervals = [point.recall.mean for point in self.points]
        return {
            "type": "data",
            "symmetric": False,
            "array": [interval.high - interval.value for interval in intervals],
            "arrayminus": [interval.value - interval.low for interval in intervals],
            "color": self.color,
            "thickness": 1,
            "width": 0,
        }

    def describe_ends(self) -> str:
        """Its first and its last point in words, for an alternative text."""
        ends = dict.fromkeys((self.points[0], self.points[-1]))
        return " to ".join(
            f"{format_percent(point.recall.mean.value)} at {format_rate(point.qps.get(1, 0.0))} "
            f"queries a second ({point.setting.label})"
            for point in ends
        )


def series_of(measurements: Sequence[Measurement]) -> tuple[Series, ...]:
    """One for each candidate and iterative scan, in the order of :func:`in_order`."""
    points_of: dict[str, dict[IterativeScan, list[Measurement]]] = {}
    for measurement in in_order(measurements):
        scans = points_of.setdefault(measurement.candidate, {})
        scans.setdefault(measurement.setting.iterative_scan, []).append(measurement)
    candidates_of_method: dict[IndexMethod | None, int] = {}
    series = []
    for name, scans in points_of.items():
        method = next(iter(scans.values()))[0].setting.method
        number = candidates_of_method.get(method, 0)
        candidates_of_method[method] = number + 1
        for scan, points in scans.items():
            is_named_by_scan = len(scans) > 1 and scan is not IterativeScan.OFF
            series.append(
                Series(
                    name=f"{name}, {scan_label(scan)}" if is_named_by_scan else name,
                    method=method,
                    symbol="star" if method is None else _SYMBOLS[number % len(_SYMBOLS)],
                    scan_dash=_SCAN_DASHES[scan],
                    candidate_dash=_CANDIDATE_DASHES[number % len(_CANDIDATE_DASHES)],
                    points=tuple(points),
                )
            )
    return tuple(series)


def explain_hollow_points(figure: go.Figure, measurements: Iterable[Measurement]) -> None:
    """An entry in the legend, where there is such a point."""
    if all(measurement.certified for measurement in measurements):
        return
    figure.add_trace(
        go.Scatter(
            x=[None],
            y=[None],
            mode="markers",
            marker={"symbol": "circle-open", "size": 9, "color": EXACT, "line": {"width": 2}},
            name="hollow: not certified",
        )
    )


def hover_data(measurement: Measurement) -> list[str]:
    """A point's ``customdata``: the measurement's key, for clicks, and what hovering shows."""
    recall, latency = measurement.recall, measurement.latency
    certified = "certified" if measurement.certified else "NOT CERTIFIED"
    interval = f"95 % interval {recall.mean.low:.4f}–{recall.mean.high:.4f}"
    lines = [
        f"<b>{shortened(measurement.candidate)}</b>",
        f"{measurement.setting.label}, {certified}",
        f"recall@{measurement.k} {recall.mean.value:.4f} ({interval})",
        f"p50 {latency.p50_ms:.3f} ms, p95 {latency.p95_ms:.3f} ms, p99 {latency.p99_ms:.3f} ms",
        *(
            f"{rate:,.1f} queries/s with {format_count(clients, 'client')}"
            for clients, rate in sorted(measurement.qps.items())
        ),
    ]
    return [key_of(measurement), "<br>".join(lines)]


# --- logarithmic axes ---------------------------------------------------------------------------


def log_ticks(values: Iterable[float]) -> dict[str, Any]:
    """1, 2, 5, 10 … written out, since Plotly leaves the zeros to the reader; powers of ten alone
    where there are many of them."""
    positive = [value for value in values if value > 0]
    if not positive:
        return {}
    low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
    steps = (1, 2, 5) if high - low <= 4 else (1,)
    ticks = [step * 10.0**power for power in range(low, high + 1) for step in steps]
    return {"tickvals": ticks, "ticktext": [f"{tick:,.10g}" for tick in ticks]}


def log_range(values: Sequence[float]) -> list[float] | None:
    """With room above the highest for a label."""
    if not values:
        return None
    low, high = math.log10(min(values)), math.log10(max(values))
    room = max(high - low, 0.5)
    return [low - 0.1 * room, high + 0.2 * room]
