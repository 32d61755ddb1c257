"""Recall with ties: which of the true nearest neighbours an index returned, where a row that is as
near as the last of them is as good an answer.

Pure functions of values. One rule says what a tie is (:func:`tie_limit`); the lab, the analysis of
a single question, the map and the check of a new index go by it. Distances that are infinite, and
ids that are None, fill up rows where there are fewer than k.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar, overload

import numpy as np
import numpy.typing as npt

DoubleArray = npt.NDArray[np.float64]
Id = TypeVar("Id", bound=Hashable)

FLOAT32_TOLERANCE = 1e-6
"""The default: what rounding can make of equal distances where a server computed either of them.

pgvector adds up in single precision (2^-24, or 6e-8, a step). Sums of random vectors with eight
partial sums, as its loops are compiled, are off by up to 2e-7 at 256 dimensions and 9e-7 at 16,000,
which is the most that a vector can have: for distances above 1 of their own size, below 1 of 1,
since a cosine distance is 1 less something.
"""

FLOAT64_TOLERANCE = 1e-12
"""The same where both distances were computed in double precision here."""


@overload
def tie_limit(last: float, tolerance: float = FLOAT32_TOLERANCE) -> float: ...
@overload
def tie_limit(last: DoubleArray, tolerance: float = FLOAT32_TOLERANCE) -> DoubleArray: ...
def tie_limit(
    last: float | DoubleArray, tolerance: float = FLOAT32_TOLERANCE
) -> float | DoubleArray:
    """The largest distance that ties with ``last``, the distance of the last true neighbour:
    ``last + tolerance · max(1, |last|)``."""
    return last + tolerance * np.maximum(1.0, np.abs(last))


def recall_by_distance(
    found: DoubleArray, truth: DoubleArray, tolerance: float = FLOAT32_TOLERANCE
) -> DoubleArray:
    """The share of each query's true neighbours that was found, counted by distance.

    found: true distances of what was returned, float64 (q, any); truth: float64 (q, k), ascending.
    A row counts as found where it is no farther than :func:`tie_limit` of the last true neighbour,
    whichever row it is (Aumüller, Bernhardsson and Faithfull 2018, "ANN-Benchmarks", section 2,
    where the tolerance is 1e-3). A query with fewer than k neighbours is measured by those that
    there are; one without any has the recall 1.

    Returns float64 (q,), 0–1.
    """
    available = np.isfinite(truth).sum(axis=1)
    at_last = np.maximum(available - 1, 0)[:, None]
    last = np.where(available > 0, np.take_along_axis(truth, at_last, axis=1)[:, 0], 0.0)
    is_hit = np.isfinite(found) & (found <= tie_limit(last, tolerance)[:, None])
    hits = np.minimum(is_hit.sum(axis=1), available)
    hits[available == 0] = 0
    return np.where(available > 0, hits / np.maximum(available, 1), 1.0)


def missed_neighbours(
    truth: Sequence[Id],
    distances: Sequence[float],
    found: Mapping[Id, float | None],
    tolerance: float = FLOAT32_TOLERANCE,
) -> tuple[Id, ...]:
    """Which of one query's true neighbours were missed, nearest first.

    truth, distances: the true neighbours' ids and distances, ascending. found: the ids that were
    returned → their distances, None where that is not known.

    A returned row beside the truth that ties with the last true neighbour takes the place of one
    that is missing and ties too, the nearest first. It takes the place of no nearer one, however
    many there are: that one was missed, though :func:`recall_by_distance` counts rows alone.
    """
    there = [
        (id_, distance)
        for id_, distance in zip(truth, distances, strict=True)
        if id_ is not None and np.isfinite(distance)
    ]
    if not there:
        return ()
    last = there[-1][1]
    width = tie_limit(last, tolerance) - last
    true_ids = {id_ for id_, _ in there}
    replaced = sum(
        distance is not None and abs(distance - last) <= width
        for id_, distance in found.items()
        if id_ not in true_ids
    )
    missing = [(id_, distance) for id_, distance in there if id_ not in found]
    nearer = [id_ for id_, distance in missing if distance < last - width]
    tied = [id_ for id_, distance in missing if distance >= last - width]
    return (*nearer, *tied[replaced:])
