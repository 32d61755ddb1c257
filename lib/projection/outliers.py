"""What stands out on a map: pairs that are nearly the same, loners, and those in strange company.

All from the exact neighbours that are kept with the projection: no scan, no statement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.errors import InvalidInput
from lib.projection.repository import Projection


@dataclass(frozen=True)
class Pair:
    """Two documents by their places in the projection, and their distance."""

    first: int
    second: int
    distance: float


@dataclass(frozen=True)
class Outlier:
    """place: in the projection. mean_distance: to its nearest neighbours."""

    place: int
    mean_distance: float


@dataclass(frozen=True)
class Stranger:
    """A document most of whose neighbours have another category than its own. share: 0–1, how many
    of them have ``other``, the category that most of them have."""

    place: int
    category: str
    other: str
    share: float


def near_duplicates(projection: Projection, max_distance: float, limit: int = 500) -> list[Pair]:
    """Pairs with distance ≤ max_distance, the nearest first.

    Complete as long as a document has fewer such pairs than neighbours were kept (15); of larger
    heaps of equal documents each is in some pair.
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
        Pair(int(pairs[place, 0]), int(pairs[place, 1]), float(distance[firsts[place]]))
        for place in order.tolist()
    ]


def outliers(projection: Projection, limit: int = 100) -> list[Outlier]:
    """Those with the largest mean distance to their nearest neighbours, the loneliest first.

    Raises InvalidInput where the map has no neighbours.
    """
    means = projection.graph().distances.mean(axis=1, dtype=np.float64)
    order = np.argsort(-means, kind="stable")[:limit]
    return [Outlier(int(place), float(means[place])) for place in order]


def strangers(
    projection: Projection, categories: Sequence[str | None], limit: int = 100
) -> list[Stranger]:
    """Documents of whose nearest neighbours more than half have one other category, the largest
    share first. categories: one a point, None where it has none; those are left out.

    Raises InvalidInput where there is not one category a point, or the map has no neighbours.
    """
    graph = projection.graph()
    if len(categories) != len(graph.indices):
        raise InvalidInput(
            f"There are {len(categories):,} categories for {len(graph.indices):,} points."
        )
    kinds = sorted({category for category in categories if category is not None})
    number = {category: place for place, category in enumerate(kinds)}
    own = np.array([-1 if each is None else number[each] for each in categories], dtype=np.int64)
    around = np.sort(own[graph.indices], axis=1)  # equal ones lie side by side
    share = np.zeros(len(own))
    other = np.full(len(own), -1)
    for rank in range(graph.k):  # the longest run is the category that most of them have
        run = (around == around[:, rank : rank + 1]).mean(axis=1)
        better = (around[:, rank] >= 0) & (run > share)
        share[better], other[better] = run[better], around[better, rank]
    strange = np.flatnonzero((own >= 0) & (other >= 0) & (other != own) & (share > 0.5))
    order = strange[np.argsort(-share[strange], kind="stable")][:limit]
    return [
        Stranger(int(place), kinds[own[place]], kinds[other[place]], float(share[place]))
        for place in order
    ]
