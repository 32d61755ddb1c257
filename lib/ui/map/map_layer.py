"""The layer over a map, drawn in the browser: cluster names, and questions with their hits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from lib.ui.map.model import ClusterName, Question
from lib.ui.map.points import MapPoints
from lib.ui.shared.charts import FUSED

NAME_COLOR, NAME_BACKGROUND = "white", "rgba(45, 45, 55, 0.78)"
"""Of a cluster's name, over the map and in the downloaded picture."""

_CSS = """
.vecscope-layer span {
  position: absolute; left: 0; top: 0; white-space: nowrap; line-height: 1;
}
.vecscope-layer span, .vecscope-layer text { font-family: var(--vecscope-font); }
.vecscope-layer svg { position: absolute; inset: 0; }
.vecscope-name {
  padding: 3px 4px; font-size: 12px;
  color: var(--vecscope-name); background: var(--vecscope-name-ground);
}
.vecscope-title, .vecscope-question, .vecscope-layer .rank {
  font-size: 11px; color: var(--vecscope-ink); fill: var(--vecscope-ink);
  paint-order: stroke; stroke: var(--vecscope-paper); stroke-width: 3px;
  -webkit-text-stroke: 3px var(--vecscope-paper);
}
.vecscope-question { font-size: 12px; font-weight: 600; }
.vecscope-layer .rank { text-anchor: middle; -webkit-text-stroke: 0; font-weight: 600; }
.vecscope-layer .path { stroke: currentColor; stroke-width: 2; stroke-dasharray: 3 4; }
.vecscope-layer .spoke { stroke: currentColor; stroke-width: 1.2; opacity: 0.7; }
.vecscope-layer .halo { fill: none; stroke: var(--vecscope-paper); stroke-width: 5; }
.vecscope-layer .hit { fill: none; stroke: currentColor; stroke-width: 2.5; }
.vecscope-layer .star { fill: currentColor; stroke: white; stroke-width: 1; }
"""
_mount = st.components.v2.component(
    "vecscope_map_layer",
    css=_CSS,
    js=Path(__file__).with_suffix(".js").read_text(encoding="utf-8"),
    isolate_styles=False,
)


def layer_data(
    points: MapPoints,
    names: Sequence[ClusterName],
    max_names: int,
    questions: Sequence[Question],
) -> dict[str, Any]:
    """What map_layer.js draws over a flat map.

    max_names: how many names at a time, of the largest clusters in sight. questions: in their
    order, the last one is the current one.
    """
    current = questions[-1] if questions else None
    return {
        "names": [
            [*name.position, name.text]
            for name in sorted(names, key=lambda name: name.points, reverse=True)
        ],
        "most": max_names,
        "questions": [
            [*question.position, question.text]
            for question in questions
            if question.position is not None
        ],
        "placed": current is not None and current.position is not None,
        "hits": [] if current is None else points.coordinates[list(current.hits)].tolist(),
        "color": FUSED,
        "nameColor": NAME_COLOR,
        "nameBackground": NAME_BACKGROUND,
    }


def show_layer(data: dict[str, Any], *, holder: str) -> None:
    """Draws the layer over the map in the container with the key ``holder``, in which this is
    called."""
    _mount(key=f"{holder}_layer", data={"holder": f"st-key-{holder}", **data})
