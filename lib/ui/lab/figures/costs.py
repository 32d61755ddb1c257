"""The figure of an index's costs: time to build, size on disk."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lib.colors import method_color
from lib.formats import format_bytes, format_duration
from lib.lab.experiment import CandidateFacts
from lib.ui.lab.figures.series import MARGIN, Picture
from lib.ui.shared.charts import shortened

_BYTES_PER_MB = 2**20


def costs(candidates: Sequence[CandidateFacts]) -> Picture:
    """Seconds to build and size of the index, a bar for each candidate."""
    build_seconds = [candidate.build_seconds for candidate in candidates]
    index_bytes = [candidate.index_bytes for candidate in candidates]
    seconds_bars = _bars(
        candidates, build_seconds, [format_duration(seconds) for seconds in build_seconds], "s"
    )
    size_bars = _bars(
        candidates,
        [size / _BYTES_PER_MB for size in index_bytes],
        [format_bytes(size) for size in index_bytes],
        "MB",
    )
    figure = make_subplots(rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.04)
    figure.add_trace(seconds_bars, row=1, col=1)
    figure.add_trace(size_bars, row=1, col=2)
    figure.update_xaxes(title="Build, seconds", rangemode="tozero", col=1)
    figure.update_xaxes(title="Index, MB", rangemode="tozero", col=2)
    figure.update_yaxes(autorange="reversed")
    figure.update_layout(height=110 + 44 * max(len(candidates), 1), margin=MARGIN)
    return Picture(
        _title(candidates),
        "Build time and size. "
        + " ".join(
            f"{one.name}: {format_duration(one.build_seconds)}, {format_bytes(one.index_bytes)}."
            for one in candidates
        ),
        figure,
        tuple(
            {
                "candidate": one.name,
                "build_seconds": one.build_seconds,
                "index_bytes": one.index_bytes,
                "table_bytes": one.table_bytes,
                "rows": one.rows,
                "maintenance_work_mem": one.maintenance_work_mem,
                "parallel_workers": one.parallel_workers,
            }
            for one in candidates
        ),
    )


def _bars(
    candidates: Sequence[CandidateFacts], values: Sequence[float], labels: Sequence[str], unit: str
) -> go.Bar:
    return go.Bar(
        orientation="h",
        x=values,
        y=[shortened(candidate.name) for candidate in candidates],
        text=labels,
        textposition="auto",
        marker={"color": [method_color(candidate.method) for candidate in candidates]},
        hovertemplate=f"%{{y}}: %{{x:,.3f}} {unit}<extra></extra>",
        showlegend=False,
    )


def _title(candidates: Sequence[CandidateFacts]) -> str:
    if len(candidates) < 2:
        return "What does the index cost to build and to keep?"
    smallest = min(candidates, key=lambda one: one.index_bytes)
    largest = max(candidates, key=lambda one: one.index_bytes)
    quickest = min(candidates, key=lambda one: one.build_seconds)
    seconds = format_duration(quickest.build_seconds)
    if smallest.index_bytes == largest.index_bytes:
        return f"{quickest.name} is the quickest to build ({seconds})"
    size = format_bytes(smallest.index_bytes)
    if quickest is smallest:
        return f"{smallest.name} is the smallest ({size}) and the quickest to build ({seconds})"
    return (
        f"{smallest.name} is the smallest ({size}), "
        f"{quickest.name} the quickest to build ({seconds})"
    )
