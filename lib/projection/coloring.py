"""What the colour of a point on a map shows: one of several categories, or a number."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

import numpy as np
import numpy.typing as npt

from lib.errors import InvalidInput
from lib.formats import format_percent
from lib.projection.document_details import DocumentDetails
from lib.projection.repository import Projection

MAX_CATEGORIES = 20
NO_CATEGORY = -1
FIELD_PREFIX = "field:"
"""Stands before the name of a metadata field, in links and in the list of options."""


class ColorBy(StrEnum):
    """What a map can be coloured by, besides metadata fields. The values stand in links."""

    CLUSTER = "cluster"
    CATEGORY = "category"
    FIDELITY = "fidelity"
    DISTANCE = "distance"
    MISSED = "lost"
    PLACED = "placed"

    @property
    def label(self) -> str:
        match self:
            case ColorBy.CLUSTER:
                return "Cluster"
            case ColorBy.CATEGORY:
                return "Category"
            case ColorBy.FIDELITY:
                return "Neighbourhood preservation"
            case ColorBy.DISTANCE:
                return "Distance to the question"
            case ColorBy.MISSED:
                return "Missed by the index"
            case ColorBy.PLACED:
                return "Placed later"
        assert_never(self)


@dataclass(frozen=True, eq=False)
class CategoricalColoring:
    """One colour for each category."""

    title: str
    codes: npt.NDArray[np.int32]
    """int32 (n,): an index into ``labels``, or NO_CATEGORY."""
    labels: tuple[str, ...]
    """The most frequent first, unless their order has a meaning."""


@dataclass(frozen=True, eq=False)
class NumericColoring:
    """A colour scale for numbers."""

    title: str
    values: npt.NDArray[np.float64]
    """float64 (n,), NaN where it is not known."""
    low: float | None = None
    """The lower end of the scale; None: the smallest value."""
    high: float | None = None
    """The upper end of the scale; None: the largest value."""
    high_is_bad: bool = False


Coloring = CategoricalColoring | NumericColoring


def color_options(projection: Projection, details: DocumentDetails) -> list[str]:
    """What this map can be coloured by, the most useful first: ColorBy values, and metadata fields
    with FIELD_PREFIX. DISTANCE and MISSED are not among them: they need values of their own."""
    options: list[str] = []
    if projection.clusters.names:
        options.append(ColorBy.CLUSTER)
    if any(category is not None for category in details.categories):
        options.append(ColorBy.CATEGORY)
    options.append(ColorBy.FIDELITY)
    if projection.placed.any():
        options.append(ColorBy.PLACED)
    return options + [f"{FIELD_PREFIX}{name}" for name in details.metadata]


def make_coloring(
    by: str,
    projection: Projection,
    details: DocumentDetails,
    values: npt.NDArray[np.float64] | None = None,
) -> Coloring:
    """The coloring for one of the options. values: float64 (n,), for DISTANCE and MISSED.

    Raises InvalidInput for what this map does not have.
    """
    if by == ColorBy.CLUSTER:
        clusters = projection.clusters
        return CategoricalColoring("Cluster", clusters.labels.astype(np.int32), clusters.names)
    if by == ColorBy.CATEGORY:
        return categorical_coloring("Category", details.categories)
    if by == ColorBy.FIDELITY:
        shares = projection.local_fidelity.astype(np.float64)
        return NumericColoring(ColorBy.FIDELITY.label, shares, low=0.0, high=1.0)
    if by == ColorBy.PLACED:
        codes = projection.placed.astype(np.int32)
        return CategoricalColoring("Placed later", codes, ("Laid out", "Placed later"))
    if by == ColorBy.DISTANCE and values is not None:
        return NumericColoring("Distance", values, high_is_bad=True)
    if by == ColorBy.MISSED and values is not None:
        return NumericColoring("Missed", values, low=0.0, high=1.0, high_is_bad=True)
    column = details.metadata.get(by.removeprefix(FIELD_PREFIX))
    if not by.startswith(FIELD_PREFIX) or column is None:
        raise InvalidInput(f"This map cannot be coloured by “{by}”.", field="color")
    if column.numbers is not None and len(np.unique(column.numbers)) > 2:
        return NumericColoring(column.name, column.numbers)
    return categorical_coloring(column.name, column.texts)


def categorical_coloring(title: str, categories: Sequence[str | None]) -> CategoricalColoring:
    """The MAX_CATEGORIES most frequent ones; the rest is one category together, the last."""
    counts = Counter(category for category in categories if category is not None)
    by_frequency = sorted(counts, key=lambda category: (-counts[category], category))
    labels = tuple(by_frequency)
    if len(labels) > MAX_CATEGORIES:
        labels = labels[: MAX_CATEGORIES - 1]
        labels += (f"{len(by_frequency) - len(labels):,} others",)
    code_of: dict[str | None, int] = {None: NO_CATEGORY}
    for rank, category in enumerate(by_frequency):
        code_of[category] = min(rank, len(labels) - 1)
    codes = [code_of[category] for category in categories]
    return CategoricalColoring(title, np.array(codes, dtype=np.int32), labels)


def describe_coloring(coloring: Coloring, projection: Projection) -> str:
    """One sentence on how to read the colours."""
    if isinstance(coloring, CategoricalColoring):
        without = int(np.count_nonzero(coloring.codes == NO_CATEGORY))
        grey = f"; {without:,} documents in grey have none" if without else ""
        return f"Each colour is one {coloring.title.lower()} of {len(coloring.labels):,}{grey}."
    known = coloring.values[~np.isnan(coloring.values)]
    if coloring.title == ColorBy.FIDELITY.label:
        fidelity = projection.fidelity
        return (
            f"Yellow points lie among their {fidelity.k} true nearest neighbours, dark ones do "
            f"not: on average {format_percent(fidelity.local)} of these neighbours are preserved. "
            "Trust what a light region shows, and check the true neighbours of a dark point."
        )
    if not len(known):
        return f"No document has a value for {coloring.title}."
    low, high = float(known.min()), float(known.max())
    return f"{coloring.title}: from {_format_number(low)} to {_format_number(high)}."


def _format_number(value: float) -> str:
    return f"{value:,.0f}" if math.isclose(value, round(value)) else f"{value:.3g}"
