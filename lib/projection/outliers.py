"""Data issues that a map's neighbours show: near-duplicates, outliers and label mismatches.

All three come from the exact neighbours that are stored with the projection: no scan, no statement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.errors import InvalidInput
from lib.projection.repository import Projection


@dataclass(frozen=True)
class NearDuplicate:
    """Two documents that are nearly the same."""

    first: int
    """Its index in the projection."""
    second: int
    """Its index in the projection."""
    distance: float


@dataclass(frozen=True)
class Outlier:
    """A document far from its nearest neighbours."""

    index: int
    """In the projection."""
    mean_distance: float
    """To its nearest neighbours."""


@dataclass(frozen=True)
class LabelMismatch:
    """A document most of whose neighbours have another category than its own."""

    index: int
    """In the projection."""
    category: str
    neighbour_category: str
    """The category that most of its neighbours have."""
    share: float
    """How many of its neighbours have that category, 0–1."""


def near_duplicates(
    projection: Projection, max_distance: float, limit: int = 500
) -> list[NearDuplicate]:
    """Pairs with distance ≤ max_distance, the nearest first.

    Complete as long as a document has fewer such pairs than neighbours are stored (15); of a larger
    set of equal documents each is in some pair.
    Raises InvalidInput where max_distance is not a number, or the map has no neighbours.
    """
    if not np.isfinite(max_distance):
        raise InvalidInput("The distance is not a number.", field="max_distance")
    graph = projection.graph()
    row, rank = np.nonzero(graph.distances <= max_distance)
    other, distance = graph.indices[row, rank], graph.distances[row, rank]
    both = np.stack([np.minimum(row, other), np.maximum(row, other)], axis=1)
    pairs, firsts = np.unique(both, axis=0, return_index=True)
    order = np.argsort(distance[firsts], kind="stable")[:limit]
    return [
        NearDuplicate(int(pairs[pair, 0]), int(pairs[pair, 1]), float(distance[firsts[pair]]))
        for pair in order.tolist()
    ]


def outliers(projection: Projection, limit: int = 100) -> list[Outlier]:
    """Documents with the largest mean distance to their nearest neighbours, the farthest first.

    Raises InvalidInput where the map has no neighbours.
    """
    means = projection.graph().distances.mean(axis=1, dtype=np.float64)
    order = np.argsort(-means, kind="stable")[:limit]
    return [Outlier(int(index), float(means[index])) for index in order]


def label_mismatches(
    projection: Projection, categories: Sequence[str | None], limit: int = 100
) -> list[LabelMismatch]:
    """Documents of whose nearest neighbours more than half have one other category, the largest
    share first. categories: one a point, None where it has none; those are left out.

    Raises InvalidInput where there is not one category a point, or the map has no neighbours.
    """
    graph = projection.graph()
    if len(categories) != len(graph.indices):
        raise InvalidInput(
            f"There are {len(categories):,} categories for {len(graph.indices):,} points."
        )
    names = sorted({category for category in categories if category is not None})
    code_of: dict[str | None, int] = {category: code for code, category in enumerate(names)}
    code_of[None] = -1
    own = np.array([code_of[category] for category in categories], dtype=np.int64)
    around = np.sort(own[graph.indices], axis=1)  # equal ones lie side by side
    share = np.zeros(len(own))
    majority = np.full(len(own), -1)
    for rank in range(graph.k):  # the longest run is the category that most neighbours have
        run = (around == around[:, rank : rank + 1]).mean(axis=1)
        is_larger = (around[:, rank] >= 0) & (run > share)
        share[is_larger], majority[is_larger] = run[is_larger], around[is_larger, rank]
    is_mismatch = (own >= 0) & (majority >= 0) & (majority != own) & (share > 0.5)
    mismatches = np.flatnonzero(is_mismatch)
    order = mismatches[np.argsort(-share[mismatches], kind="stable")][:limit]
    return [
        LabelMismatch(int(index), names[own[index]], names[majority[index]], float(share[index]))
        for index in order
    ]
