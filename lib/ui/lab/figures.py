"""The lab's pictures, as pure functions of what was measured.

A picture is a figure with its title, which states what is to be seen, a text for who cannot see
it, and the rows that it is drawn from, to download. Colour says which kind of index a point is of,
its form which candidate; what is not certified is hollow.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lib.formats import (
    format_bytes,
    format_count,
    format_duration,
    format_ms,
    format_percent,
    format_rate,
)
from lib.lab.experiment import CandidateFacts
from lib.lab.measurement import EXACT_NAME, Measurement, Setting
from lib.lab.spec import Target
from lib.ui.shared.charts import EXACT, FUSED, HNSW, IVFFLAT, shortened
from lib.vectors.index_methods import IndexKind
from lib.vectors.tuning import IterativeScan

COLORS: Mapping[IndexKind | None, str] = {
    None: EXACT,
    IndexKind.IVFFLAT: IVFFLAT,
    IndexKind.HNSW: HNSW,
}
PARAMETERS: Mapping[IndexKind, str] = {
    IndexKind.IVFFLAT: "Lists looked into (probes)",
    IndexKind.HNSW: "Rows kept in mind (ef_search)",
}
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "pentagon")
_APART = ("solid", "dash", "longdash", "dashdot")
_DASHES = {
    IterativeScan.OFF: "solid",
    IterativeScan.RELAXED: "dash",
    IterativeScan.STRICT: "dot",
}
_SCANS = {
    IterativeScan.OFF: "",
    IterativeScan.RELAXED: "iterative scan in relaxed order",
    IterativeScan.STRICT: "iterative scan in strict order",
}
_MOST_BARS = 50
_LABEL_ROOM = 0.08  # of an axis, that a label takes
_HOLLOW = "hollow: not certified"
_MARGIN = {"l": 10, "r": 10, "t": 10, "b": 10}
_LEGEND = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "font": {"size": 12}}

Row = Mapping[str, object]


@dataclass(frozen=True, eq=False)
class Picture:
    """title: what is to be seen, or the question. alt: the same for who does not see it. rows: the
    figures behind it, a column for each name, with its unit."""

    title: str
    alt: str
    figure: go.Figure
    rows: tuple[Row, ...]


# --- words --------------------------------------------------------------------------------------


def key_of(measurement: Measurement) -> str:
    """Tells a measurement from the others of its experiment, also in an address."""
    setting = measurement.setting
    if setting.value is None:
        return measurement.candidate
    scan = "" if setting.iterative_scan is IterativeScan.OFF else f"|{setting.iterative_scan.value}"
    return f"{measurement.candidate}|{setting.value}{scan}"


def setting_words(setting: Setting) -> str:
    """Such as “ef_search 40, iterative scan in relaxed order”."""
    if setting.value is None:
        return "every row"
    words = (f"{setting.parameter} {setting.value:,}", _SCANS[setting.iterative_scan])
    return ", ".join(filter(None, words))


def label_of(measurement: Measurement) -> str:
    return f"{measurement.candidate}, {setting_words(measurement.setting)}"


def _certified_words(measurement: Measurement) -> str:
    return "certified" if measurement.certified else "NOT CERTIFIED"


def _hover(measurement: Measurement) -> list[str]:
    """The first is for clicks."""
    recall, latency = measurement.recall, measurement.latency
    return [
        key_of(measurement),
        f"<b>{shortened(measurement.candidate)}</b><br>{setting_words(measurement.setting)}, "
        f"{_certified_words(measurement)}<br>recall@{measurement.k} {recall.mean.value:.4f} "
        f"(95 % interval {recall.mean.low:.4f}–{recall.mean.high:.4f})<br>"
        f"p50 {latency.p50_ms:.3f} ms, p95 {latency.p95_ms:.3f} ms, p99 {latency.p99_ms:.3f} ms<br>"
        + "<br>".join(
            f"{rate:,.1f} queries/s with {format_count(clients, 'client')}"
            for clients, rate in sorted(measurement.qps.items())
        ),
    ]


_HOVER_TEMPLATE = "%{customdata[1]}<extra></extra>"


# --- what is drawn alike everywhere -------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Series:
    """The measurements of one candidate and one way to scan on, by rising parameter. symbol: tells
    candidates of one colour apart, and so does apart, a kind of line, where there are no points.
    dash: the kind of line of its way to scan on."""

    name: str
    kind: IndexKind | None
    symbol: str
    dash: str
    apart: str
    points: tuple[Measurement, ...]

    @property
    def color(self) -> str:
        return COLORS[self.kind]

    def marker(self, points: Sequence[Measurement], marker_size: int = 9) -> dict[str, Any]:
        return {
            "size": marker_size,
            "color": self.color,
            "symbol": [self.symbol + ("" if each.certified else "-open") for each in points],
            "line": {"width": [0 if each.certified else 2 for each in points], "color": self.color},
        }


def _series(measurements: Sequence[Measurement]) -> tuple[_Series, ...]:
    """In the order of their first measurement, the exact scan last."""
    names = list(dict.fromkeys(each.candidate for each in measurements))
    names.sort(key=lambda name: name == EXACT_NAME)
    found = []
    of_kind: dict[IndexKind | None, int] = {}
    for name in names:
        own = [each for each in measurements if each.candidate == name]
        kind = own[0].setting.kind
        place = of_kind[kind] = of_kind.get(kind, -1) + 1
        symbol = "star" if kind is None else _SYMBOLS[place % len(_SYMBOLS)]
        scans = list(dict.fromkeys(each.setting.iterative_scan for each in own))
        for scan in scans:
            points = [each for each in own if each.setting.iterative_scan is scan]
            points.sort(key=lambda each: each.setting.value or 0)
            label = name if len(scans) == 1 or not _SCANS[scan] else f"{name}, {_SCANS[scan]}"
            apart = _APART[place % len(_APART)]
            found.append(_Series(label, kind, symbol, _DASHES[scan], apart, tuple(points)))
    return tuple(found)


def _name_hollow(figure: go.Figure, measurements: Iterable[Measurement]) -> None:
    """In the legend, where there is such a point."""
    if not all(each.certified for each in measurements):
        figure.add_trace(
            go.Scatter(
                x=[None],
                y=[None],
                mode="markers",
                marker={"symbol": "circle-open", "size": 9, "color": EXACT, "line": {"width": 2}},
                name=_HOLLOW,
            )
        )


def _log_ticks(values: Iterable[float]) -> dict[str, Any]:
    """1, 2, 5, 10 … written out, since Plotly leaves the zeros to the reader; powers of ten alone
    where there are many of them."""
    there = [value for value in values if value > 0]
    if not there:
        return {}
    low, high = math.floor(math.log10(min(there))), math.ceil(math.log10(max(there)))
    steps = (1, 2, 5) if high - low <= 4 else (1,)
    ticks = [step * 10.0**power for power in range(low, high + 1) for step in steps]
    return {"tickvals": ticks, "ticktext": [f"{tick:,.10g}" for tick in ticks]}


def _log_range(values: Sequence[float]) -> list[float] | None:
    """With room above the highest for a label."""
    if not values:
        return None
    low, high = math.log10(min(values)), math.log10(max(values))
    room = max(high - low, 0.5)
    return [low - 0.1 * room, high + 0.2 * room]


def _value_ticks(values: Iterable[int]) -> dict[str, Any]:
    """The values that were measured, as far as their labels have room beside each other."""
    there = sorted(set(values))
    room = _LABEL_ROOM * math.log(there[-1] / there[0]) if there else 0.0
    shown: list[int] = []
    for value in there:
        if not shown or math.log(value / shown[-1]) >= room:
            shown.append(value)
    return {"tickvals": shown, "ticktext": [f"{value:,}" for value in shown]}


def _measured_row(measurement: Measurement) -> dict[str, object]:
    """A measurement as a line of a table; names carry the units."""
    setting, recall, latency = measurement.setting, measurement.recall, measurement.latency
    return {
        "candidate": measurement.candidate,
        "parameter": setting.parameter,
        "value": setting.value,
        "iterative_scan": setting.iterative_scan.value,
        "certified": measurement.certified,
        "recall": recall.mean.value,
        "recall_low": recall.mean.low,
        "recall_high": recall.mean.high,
        "id_recall": recall.id_mean,
        "worst_decile_recall": recall.worst_decile,
        "zero_recall_queries": recall.zero,
        "p50_ms": latency.p50_ms,
        "p95_ms": latency.p95_ms,
        "p99_ms": latency.p99_ms,
        "server_ms": latency.server_ms,
        **{
            f"qps_{clients}_{'client' if clients == 1 else 'clients'}": rate
            for clients, rate in sorted(measurement.qps.items())
        },
        "truncated": measurement.short,
        "buffers": measurement.buffers,
        "k": measurement.k,
        "queries": measurement.queries,
        "rounds": measurement.rounds,
        "plan_index": measurement.plan_index,
        "reason": measurement.reason,
    }


def in_order(measurements: Sequence[Measurement]) -> tuple[Measurement, ...]:
    """By candidate and rising parameter, the exact scan last."""
    return tuple(each for line in _series(measurements) for each in line.points)


def measurement_rows(measurements: Sequence[Measurement]) -> tuple[Row, ...]:
    """All of them in order, a line of a table each."""
    return tuple(_measured_row(each) for each in in_order(measurements))


# --- recall against queries a second ------------------------------------------------------------


def recall_qps(
    measurements: Sequence[Measurement],
    pareto: Sequence[Measurement],
    target: Target | None = None,
    *,
    recommended: Measurement | None = None,
    picked: Measurement | None = None,
) -> Picture:
    """Recall (mean) against queries a second with one client.

    pareto: those that none beats in both, by rising recall. recommended: is named in the picture.
    picked: the one that is looked at, ringed.
    """
    figure = go.Figure()
    if len(pareto) > 1:
        figure.add_trace(
            go.Scatter(
                x=[each.recall.mean.value for each in pareto],
                y=[each.qps[1] for each in pareto],
                mode="lines",
                line={"color": EXACT, "width": 12},
                opacity=0.25,
                hoverinfo="skip",
                name="best there is (Pareto line)",
            )
        )
    for line in _series(measurements):
        x = [each.recall.mean.value for each in line.points]
        figure.add_trace(
            go.Scatter(
                x=x,
                y=[each.qps.get(1) for each in line.points],
                mode="lines+markers",
                name=shortened(line.name),
                line={"color": line.color, "width": 1.5, "dash": line.dash},
                marker=line.marker(line.points, 14 if line.kind is None else 10),
                error_x=_intervals(line),
                customdata=[_hover(each) for each in line.points],
                hovertemplate=_HOVER_TEMPLATE,
            )
        )
    _name_hollow(figure, measurements)
    if picked is not None:
        figure.add_trace(
            go.Scatter(
                x=[picked.recall.mean.value],
                y=[picked.qps.get(1)],
                mode="markers",
                marker={
                    "symbol": "circle-open",
                    "size": 20,
                    "color": FUSED,
                    "line": {"width": 2.5},
                },
                hoverinfo="skip",
                name="shown below",
            )
        )
    if target is not None:
        figure.add_vline(x=target.recall, line={"color": FUSED, "width": 1.5, "dash": "dash"})
    if recommended is not None and recommended.qps.get(1):
        figure.add_annotation(
            x=recommended.recall.mean.value,
            y=math.log10(recommended.qps[1]),
            text=f"<b>{shortened(setting_words(recommended.setting))}</b>",
            showarrow=True,
            arrowhead=0,
            arrowwidth=1,
            ax=-60,
            ay=-30,
            arrowcolor=COLORS[recommended.setting.kind],
            bgcolor="rgba(127, 127, 127, 0.2)",
            borderpad=3,
        )
    rates = [each.qps[1] for each in measurements if each.qps.get(1)]
    k = measurements[0].k if measurements else 0
    figure.update_xaxes(title=f"Recall@{k} (share of the true nearest found)", tickformat=".0%")
    figure.update_yaxes(
        title="Queries a second, one client (log)",
        type="log",
        range=_log_range(rates),
        **_log_ticks(rates),
    )
    figure.update_layout(height=460, margin=_MARGIN, legend=_LEGEND)
    return Picture(
        _trade_title(measurements, target, recommended),
        "Recall against queries a second, a point for each setting. "
        + " ".join(f"{line.name}: {_ends(line)}." for line in _series(measurements) if line.points),
        figure,
        measurement_rows(measurements),
    )


def _trade_title(
    measurements: Sequence[Measurement], target: Target | None, recommended: Measurement | None
) -> str:
    if target is None or recommended is None or not recommended.qps.get(1):
        return "How many queries a second does which recall cost?"
    words = (
        f"With {format_percent(target.recall)} recall or more {recommended.candidate} answers "
        f"{format_rate(recommended.qps[1])} queries a second"
    )
    exact = next((each for each in measurements if each.setting.kind is None), None)
    if exact is None or not exact.qps.get(1):
        return words
    times = recommended.qps[1] / exact.qps[1]
    return f"{words}, {times:,.1f} × the exact scan"


def _ends(line: _Series) -> str:
    first, last = line.points[0], line.points[-1]
    words = [
        f"{format_percent(each.recall.mean.value)} at {format_rate(each.qps.get(1, 0.0))} "
        f"queries a second ({setting_words(each.setting)})"
        for each in dict.fromkeys((first, last))
    ]
    return " to ".join(words)


# --- by the parameter ---------------------------------------------------------------------------


def by_parameter(measurements: Sequence[Measurement], target: Target | None = None) -> Picture:
    """Recall and latency as the parameter grows: a column for each kind of index, recall above,
    latency (p50 with points, p95 a thin line) below."""
    kinds = [kind for kind in IndexKind if any(each.setting.kind is kind for each in measurements)]
    columns = max(len(kinds), 1)
    figure = make_subplots(
        rows=2,
        cols=columns,
        shared_xaxes=True,
        shared_yaxes=True,
        vertical_spacing=0.06,
        horizontal_spacing=0.04,
        column_titles=[kind.label for kind in kinds] if len(kinds) > 1 else None,
    )
    of_an_index = [each for each in measurements if each.setting.kind is not None]
    for line in _series(of_an_index):
        assert line.kind is not None
        column = kinds.index(line.kind) + 1
        x = [each.setting.value for each in line.points]
        hover = [_hover(each) for each in line.points]
        for row, values, words in (
            (1, [each.recall.mean.value for each in line.points], "recall"),
            (2, [each.latency.p50_ms for each in line.points], "p50"),
            (2, [each.latency.p95_ms for each in line.points], "p95"),
        ):
            figure.add_trace(
                go.Scatter(
                    x=x,
                    y=values,
                    mode="lines" if words == "p95" else "lines+markers",
                    name=shortened(line.name),
                    legendgroup=line.name,
                    showlegend=words == "recall",
                    line={
                        "color": line.color,
                        "width": 1.2 if words == "p95" else 2,
                        "dash": line.dash,
                    },
                    marker=line.marker(line.points),
                    error_y=_intervals(line) if words == "recall" else None,
                    customdata=hover,
                    hovertemplate=f"{words}<br>{_HOVER_TEMPLATE}",
                ),
                row=row,
                col=column,
            )
    _name_hollow(figure, of_an_index)
    if target is not None:
        goal = {"color": FUSED, "width": 1.5, "dash": "dash"}
        figure.add_hline(y=target.recall, line=goal, row=1)
        if target.p95_ms is not None:
            figure.add_hline(y=target.p95_ms, line=goal, row=2)
    for column, kind in enumerate(kinds, 1):
        settings = [each.setting for each in of_an_index if each.setting.kind is kind]
        ticks = _value_ticks(each.value or 1 for each in settings)
        figure.update_xaxes(type="log", **ticks, col=column)
        figure.update_xaxes(title=f"{PARAMETERS[kind]}, log", row=2, col=column)
    latencies = [
        value for each in of_an_index for value in (each.latency.p50_ms, each.latency.p95_ms)
    ]
    k = of_an_index[0].k if of_an_index else 0
    figure.update_yaxes(tickformat=".0%", row=1)
    figure.update_yaxes(title=f"Recall@{k}", row=1, col=1)
    figure.update_yaxes(type="log", **_log_ticks(latencies), row=2)
    figure.update_yaxes(title="Latency, ms (log)", row=2, col=1)
    figure.update_layout(height=560, margin={**_MARGIN, "t": 30}, legend={**_LEGEND, "y": 1.06})
    return Picture(
        "What does each step of the parameter buy, and what does it cost?",
        "Recall, and below it latency, by the parameter. "
        + " ".join(f"{line.name}: {_ends(line)}." for line in _series(of_an_index)),
        figure,
        measurement_rows(of_an_index),
    )


def _intervals(line: _Series) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [each.recall.mean.high - each.recall.mean.value for each in line.points],
        "arrayminus": [each.recall.mean.value - each.recall.mean.low for each in line.points],
        "color": line.color,
        "thickness": 1,
        "width": 0,
    }


# --- query by query -----------------------------------------------------------------------------


def latency_shares(measurements: Sequence[Measurement]) -> Picture:
    """The share of the queries that was answered within a time, a line for each measurement; each
    query by the median of its rounds."""
    figure = go.Figure()
    rows: list[Row] = []
    lines = _series(measurements)
    for line in lines:
        for each in line.points:
            times = np.sort(each.latencies_ms)
            shares = np.arange(1, len(times) + 1) / len(times)
            name = label_of(each)
            figure.add_trace(
                go.Scatter(
                    x=times,
                    y=shares,
                    mode="lines",
                    line={
                        "color": line.color,
                        "width": 2.5,
                        "shape": "hv",
                        "dash": line.apart if each.certified else "dot",
                    },
                    name=shortened(name, 60)
                    + ("" if each.certified else " (dotted: not certified)"),
                    hovertemplate=f"{shortened(name, 80)}<br>%{{y:.1%}} of the queries within "
                    "%{x:.3f} ms<extra></extra>",
                )
            )
            rows += [
                {
                    "candidate": each.candidate,
                    "setting": setting_words(each.setting),
                    "query": place,
                    "latency_ms": float(value),
                    "recall": float(recall),
                }
                for place, (value, recall) in enumerate(
                    zip(each.latencies_ms, each.recalls, strict=True)
                )
            ]
    for level in (0.5, 0.95, 0.99):
        figure.add_hline(y=level, line={"color": EXACT, "width": 1, "dash": "dot"})
    times_ms = [float(value) for each in measurements for value in each.latencies_ms]
    figure.update_xaxes(title="Latency of a query, ms (log)", type="log", **_log_ticks(times_ms))
    figure.update_yaxes(
        title="Share of the queries",
        tickformat=".0%",
        range=[0, 1.01],
        tickvals=[0, 0.25, 0.5, 0.75, 0.95, 0.99],
    )
    figure.update_layout(height=360, margin=_MARGIN, legend=_LEGEND)
    slowest = [
        f"{each.candidate}: half within {format_ms(float(np.median(each.latencies_ms)))}, the "
        f"slowest {format_ms(float(np.max(each.latencies_ms)))}"
        for each in measurements
        if len(each.latencies_ms)
    ]
    return Picture(
        "How long does a query take, and how bad do the slow ones get?",
        f"Share of the queries that was answered within a time. {'; '.join(slowest)}.",
        figure,
        tuple(rows),
    )


def recall_histogram(measurement: Measurement) -> Picture:
    """How many queries found which share of their true neighbours."""
    recalls = measurement.recalls
    values, counts = _counted(recalls)
    color = COLORS[measurement.setting.kind]
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
    figure.update_layout(height=320, margin=_MARGIN, bargap=0.1)
    whole = int((recalls >= 1).sum())
    title = (
        f"{whole:,} of {format_count(len(recalls), 'query', 'queries')} found all of their true "
        f"neighbours, {measurement.recall.zero:,} found none"
    )
    return Picture(
        title,
        f"Queries by their recall with {label_of(measurement)}. {title}.",
        figure,
        tuple(
            {"recall": value, "queries": number}
            for value, number in zip(values, counts, strict=True)
        ),
    )


def _counted(recalls: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[list[float], list[int]]:
    """Of each value that there is; in bins where there are too many of them for bars."""
    values, counts = np.unique(np.round(recalls, 6), return_counts=True)
    if len(values) > _MOST_BARS:
        counts, edges = np.histogram(recalls, bins=_MOST_BARS, range=(0.0, 1.0))
        values = (edges[:-1] + edges[1:]) / 2
    return [float(value) for value in values], [int(number) for number in counts]


def by_clients(measurements: Sequence[Measurement]) -> Picture:
    """Queries a second as more clients ask at once, a line for each measurement."""
    figure = go.Figure()
    for line in _series(measurements):
        for each in line.points:
            clients = sorted(each.qps)
            name = label_of(each)
            figure.add_trace(
                go.Scatter(
                    x=clients,
                    y=[each.qps[number] for number in clients],
                    mode="lines+markers",
                    name=shortened(name, 60),
                    line={"color": line.color, "width": 2, "dash": line.apart},
                    marker=line.marker([each] * len(clients)),
                    hovertemplate=f"{shortened(name, 80)}<br>%{{y:,.1f}} queries/s with %{{x}} "
                    "clients<extra></extra>",
                )
            )
    _name_hollow(figure, measurements)
    numbers = sorted({number for each in measurements for number in each.qps})
    figure.update_xaxes(title="Clients at once", tickvals=numbers)
    figure.update_yaxes(title="Queries a second, all clients together", rangemode="tozero")
    figure.update_layout(height=320, margin=_MARGIN, legend=_LEGEND)
    return Picture(
        "Do more clients at once get more out of it?",
        "Queries a second by the number of clients. "
        + " ".join(
            f"{each.candidate}: "
            + ", ".join(f"{format_rate(each.qps[n])} with {n}" for n in sorted(each.qps))
            + "."
            for each in measurements
        ),
        figure,
        tuple(
            {
                "candidate": each.candidate,
                "setting": setting_words(each.setting),
                "clients": number,
                "qps": each.qps[number],
            }
            for each in measurements
            for number in sorted(each.qps)
        ),
    )


# --- what an index costs ------------------------------------------------------------------------


def costs(facts: Sequence[CandidateFacts]) -> Picture:
    """Seconds to build and bytes of the index, a bar for each candidate."""
    figure = make_subplots(rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.04)
    names = [shortened(each.name) for each in facts]
    colors = [COLORS[each.kind] for each in facts]
    megabytes = [each.index_bytes / 2**20 for each in facts]
    for column, values, words, unit in (
        (
            1,
            [each.build_seconds for each in facts],
            [format_duration(f.build_seconds) for f in facts],
            "s",
        ),
        (2, megabytes, [format_bytes(each.index_bytes) for each in facts], "MB"),
    ):
        figure.add_trace(
            go.Bar(
                orientation="h",
                x=values,
                y=names,
                text=words,
                textposition="auto",
                marker={"color": colors},
                hovertemplate=f"%{{y}}: %{{x:,.3f}} {unit}<extra></extra>",
                showlegend=False,
            ),
            row=1,
            col=column,
        )
    figure.update_xaxes(title="Build, seconds", rangemode="tozero", col=1)
    figure.update_xaxes(title="Index, MB", rangemode="tozero", col=2)
    figure.update_yaxes(autorange="reversed")
    figure.update_layout(height=110 + 44 * max(len(facts), 1), margin=_MARGIN)
    return Picture(
        _cost_title(facts),
        "Build time and size. "
        + " ".join(
            f"{each.name}: {format_duration(each.build_seconds)}, {format_bytes(each.index_bytes)}."
            for each in facts
        ),
        figure,
        tuple(
            {
                "candidate": each.name,
                "build_seconds": each.build_seconds,
                "index_bytes": each.index_bytes,
                "table_bytes": each.table_bytes,
                "rows": each.rows,
                "maintenance_work_mem": each.maintenance_work_mem,
                "parallel_workers": each.parallel_workers,
            }
            for each in facts
        ),
    )


def _cost_title(facts: Sequence[CandidateFacts]) -> str:
    if len(facts) < 2:
        return "What does the index cost to build and to keep?"
    small, large = (pick(facts, key=lambda each: each.index_bytes) for pick in (min, max))
    quick = min(facts, key=lambda each: each.build_seconds)
    if small.index_bytes == large.index_bytes:
        return f"{quick.name} is the quickest to build ({format_duration(quick.build_seconds)})"
    words = f"{small.name} is the smallest ({format_bytes(small.index_bytes)})"
    if quick is small:
        return f"{words} and the quickest to build ({format_duration(quick.build_seconds)})"
    return f"{words}, {quick.name} the quickest to build ({format_duration(quick.build_seconds)})"
