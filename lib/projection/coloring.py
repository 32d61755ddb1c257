"""What the colour of a point on a map says: one of some kinds, or a number."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from lib.errors import InvalidInput
from lib.projection.facts import DocumentFacts
from lib.projection.repository import Projection

MOST_KINDS = 20
NO_KIND = -1


class ColorBy(StrEnum):
    """What a map can be coloured by, besides the fields of the metadata."""

    CLUSTER = "cluster"
    CATEGORY = "category"
    FIDELITY = "fidelity"
    DISTANCE = "distance"
    LOST = "lost"
    PLACED = "placed"

    @property
    def label(self) -> str:
        return {
            "cluster": "Cluster",
            "category": "Category",
            "fidelity": "Neighbours kept (local fidelity)",
            "distance": "Distance to the question",
            "lost": "Lost by the index",
            "placed": "Put in later",
        }[self.value]


@dataclass(frozen=True, eq=False)
class Kinds:
    """A colour a kind. codes: int32 (n,), a place in ``labels`` or NO_KIND; labels: the most
    frequent first, unless their order has a meaning."""

    title: str
    codes: npt.NDArray[np.int32]
    labels: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Numbers:
    """A colour a number. values: float64 (n,), NaN where it is not known. low, high: the ends of
    the scale, by default those of the values. bad_is_high: whether a large value is the bad one."""

    title: str
    values: npt.NDArray[np.float64]
    low: float | None = None
    high: float | None = None
    bad_is_high: bool = False


Coloring = Kinds | Numbers

FIELD_PREFIX = "field:"


def possible_colors(projection: Projection, facts: DocumentFacts) -> list[str]:
    """What this map can be coloured by, the most useful first; a field of the metadata has
    FIELD_PREFIX before its name. DISTANCE and LOST need values of their own and come where there
    are some."""
    found: list[str] = []
    if projection.clusters.names:
        found.append(ColorBy.CLUSTER)
    if any(category is not None for category in facts.categories):
        found.append(ColorBy.CATEGORY)
    found.append(ColorBy.FIDELITY)
    if projection.placed.any():
        found.append(ColorBy.PLACED)
    return found + [f"{FIELD_PREFIX}{name}" for name in facts.metadata]


def coloring_of(
    by: str,
    projection: Projection,
    facts: DocumentFacts,
    values: npt.NDArray[np.float64] | None = None,
) -> Coloring:
    """values: for DISTANCE and LOST, float64 (n,). Raises InvalidInput for what this map does not
    have."""
    if by == ColorBy.CLUSTER:
        clusters = projection.clusters
        return Kinds("Cluster", clusters.labels.astype(np.int32), clusters.names)
    if by == ColorBy.CATEGORY:
        return kinds_of("Category", facts.categories)
    if by == ColorBy.FIDELITY:
        return Numbers(
            "Neighbours kept", projection.local_fidelity.astype(np.float64), low=0.0, high=1.0
        )
    if by == ColorBy.PLACED:
        return Kinds(
            "Put in later", projection.placed.astype(np.int32), ("Laid out", "Put in later")
        )
    if by == ColorBy.DISTANCE and values is not None:
        return Numbers("Distance", values, bad_is_high=True)
    if by == ColorBy.LOST and values is not None:
        return Numbers("Lost", values, low=0.0, high=1.0, bad_is_high=True)
    column = facts.metadata.get(by.removeprefix(FIELD_PREFIX))
    if not by.startswith(FIELD_PREFIX) or column is None:
        raise InvalidInput(f"This map cannot be coloured by “{by}”.", field="color")
    if column.numbers is not None and len(np.unique(column.numbers)) > 2:
        return Numbers(column.name, column.numbers)
    return kinds_of(column.name, column.kinds)


def kinds_of(title: str, kinds: Sequence[str | None]) -> Kinds:
    """The MOST_KINDS most frequent ones; the others are one kind together, the last."""
    counts = Counter(kind for kind in kinds if kind is not None)
    frequent = sorted(counts, key=lambda kind: (-counts[kind], kind))
    named = frequent if len(frequent) <= MOST_KINDS else frequent[: MOST_KINDS - 1]
    number: dict[Any, int] = {kind: place for place, kind in enumerate(frequent)}
    number[None] = NO_KIND
    codes = np.fromiter((number[kind] for kind in kinds), dtype=np.int32, count=len(kinds))
    labels = tuple(named)
    if len(named) < len(frequent):
        labels += (f"{len(frequent) - len(named):,} others",)
        codes = np.minimum(codes, len(named)).astype(np.int32)
    return Kinds(title, codes, labels)


def finding(coloring: Coloring, projection: Projection) -> str:
    """One sentence on how to read the colours."""
    if isinstance(coloring, Kinds):
        outside = int(np.count_nonzero(coloring.codes == NO_KIND))
        left = f"; {outside:,} documents in grey have none" if outside else ""
        return f"Each colour is one {coloring.title.lower()} of {len(coloring.labels):,}{left}."
    known = coloring.values[~np.isnan(coloring.values)]
    if coloring.title == "Neighbours kept":
        fidelity = projection.fidelity
        return (
            f"Yellow points stand among their true {fidelity.k} nearest, dark ones do not: on "
            f"average {fidelity.local:.0%} of them were kept. Trust what a light crowd shows, and "
            "look a dark one's neighbours up."
        ).replace("%", " %")
    if not len(known):
        return f"No document has a value for {coloring.title}."
    low, high = float(known.min()), float(known.max())
    return f"{coloring.title}: from {_short(low)} to {_short(high)}."


def _short(value: float) -> str:
    return f"{value:,.0f}" if math.isclose(value, round(value)) else f"{value:.3g}"
