"""The map's figure: 50,000 points built and written as JSON, as Streamlit does for each picture.

`draw`: hover texts made, figure built by category, serialised. `recolor`: the same points by a
number, the hover texts at hand. `plain`: Plotly Express from a data frame with the same columns,
the way in which one would do it at first. They take turns.

Run: python -m bench.map_figure [--points N] [--rounds N]. Prints JSON; `ratio` is plain / draw.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import numpy as np
import pandas as pd
import plotly.express as px
import plotly.io

from lib.projection.coloring import Coloring, NumericColoring, categorical_coloring
from lib.projection.document_details import DocumentDetails
from lib.ui.map.figures import map_figure
from lib.ui.map.points import MapPoints, map_points

AIM_SECONDS = 1.0


def made_up(points: int) -> tuple[np.ndarray, DocumentDetails]:
    random = np.random.default_rng(1)
    at = random.standard_normal((points, 2)).astype(np.float32)
    details = DocumentDetails(
        exists=np.ones(points, dtype=bool),
        titles=tuple(f"Document number {n} with a title of usual length" for n in range(points)),
        categories=tuple(f"category {n}" for n in random.integers(0, 15, points)),
        snippets=("The beginning of the text, a hundred and some characters long. " * 2,) * points,
        metadata={},
    )
    return at, details


def drawn(points: MapPoints, coloring: Coloring) -> int:
    """The length of the figure as JSON."""
    figure = map_figure(points, coloring, (), np.arange(0), zoom=False, revision="1")
    return len(plotly.io.to_json(figure, validate=False))


def plain(at: np.ndarray, details: DocumentDetails) -> int:
    frame = pd.DataFrame(
        {"x": at[:, 0], "y": at[:, 1], "category": details.categories, "title": details.titles}
    )
    figure = px.scatter(frame, x="x", y="y", color="category", hover_name="title")
    return len(plotly.io.to_json(figure, validate=False))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    at, details = made_up(options.points)
    numbers = NumericColoring("Year", np.random.default_rng(2).random(options.points))
    seconds: dict[str, list[float]] = {"draw": [], "recolor": [], "plain": []}
    size = {}
    for _ in range(options.rounds + 1):
        begun = time.perf_counter()
        points = map_points(at, details)
        size["draw"] = drawn(points, categorical_coloring("Category", details.categories))
        seconds["draw"].append(time.perf_counter() - begun)
        begun = time.perf_counter()
        size["recolor"] = drawn(points, numbers)
        seconds["recolor"].append(time.perf_counter() - begun)
        begun = time.perf_counter()
        size["plain"] = plain(at, details)
        seconds["plain"].append(time.perf_counter() - begun)
    # The first round imports and compiles.
    median = {name: statistics.median(took[1:]) for name, took in seconds.items()}
    print(
        json.dumps(
            {
                "benchmark": "map_figure",
                "points": options.points,
                "rounds": options.rounds,
                "median_seconds": {name: round(value, 3) for name, value in median.items()},
                "json_bytes": size,
                "ratio": round(median["plain"] / median["draw"], 2),
                "aim_seconds": AIM_SECONDS,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
