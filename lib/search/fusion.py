"""Fusion of a pool that was fetched already: what `hybrid_statement` does in SQL, without asking
the server again, so that moving a slider costs nothing.

For WEIGHTED and RRF the fused value is linear in the weight w of the vector leg,
``w · v + (1 − w) · t``: where one document overtakes another is a point that can be computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from lib.errors import InvalidInput
from lib.vectors.hybrid import RRF_CONSTANT, Fusion, check_vector_weight
from lib.vectors.search import Hit

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LeaderInterval:
    """The document that is first while the weight is in start…end."""

    hit: Hit
    start: float
    end: float


def legs(pool: Sequence[Hit], fusion: Fusion) -> tuple[Values, Values]:
    """The vector and the text leg's part of each hit's fused value, before the weight: (n,) each.

    WEIGHTED: min-max over the hits that the leg found, best 1, worst 0; equal values are 1. RRF:
    1 / (60 + rank). Both: 0 where the leg did not find the hit. RAW: similarity and text value,
    for a pool of documents that match the text.
    """
    if fusion is Fusion.RAW:
        return (
            np.array([hit.similarity or 0.0 for hit in pool]),
            np.array([hit.text_value or 0.0 for hit in pool]),
        )
    if fusion is Fusion.RRF:
        return _reciprocal([h.vector_rank for h in pool]), _reciprocal([h.text_rank for h in pool])
    vector = [hit.distance if hit.vector_rank is not None else None for hit in pool]
    text = [hit.text_value if hit.text_rank is not None else None for hit in pool]
    return _scaled(vector, smaller_is_better=True), _scaled(text, smaller_is_better=False)


def _reciprocal(ranks: Sequence[int | None]) -> Values:
    return np.array([0.0 if rank is None else 1.0 / (RRF_CONSTANT + rank) for rank in ranks])


def _scaled(values: Sequence[float | None], *, smaller_is_better: bool) -> Values:
    found = np.array([value is not None for value in values], dtype=bool)
    numbers = np.array([0.0 if value is None else value for value in values], dtype=np.float64)
    scaled = np.zeros(len(numbers))
    if not found.any():
        return scaled
    low, high = numbers[found].min(), numbers[found].max()
    if high > low:
        from_worst = high - numbers if smaller_is_better else numbers - low
        scaled[found] = from_worst[found] / (high - low)
    else:
        scaled[found] = 1.0
    return scaled


def fuse(
    pool: Sequence[Hit], vector_weight: float, fusion: Fusion, limit: int | None = None
) -> list[Hit]:
    """The pool in its fused order, each hit with its ``fused`` value.

    Equal values follow the heavier leg's rank, then the other's, so that a weight of 1 is the
    vector order and 0 the text order. Raises InvalidInput for a weight outside 0–1.
    """
    check_vector_weight(vector_weight)
    vector, text = legs(pool, fusion)
    fused = vector_weight * vector + (1.0 - vector_weight) * text
    order = _order(pool, fused, vector_weight)
    return [replace(pool[place], fused=float(fused[place])) for place in order[:limit]]


def contributions(
    pool: Sequence[Hit], hits: Sequence[Hit], vector_weight: float, fusion: Fusion
) -> list[tuple[float, float]]:
    """What the vector and the text leg add to each hit's fused value: w · v and (1 − w) · t.

    pool: what the hits were taken from; WEIGHTED scales by all of it.
    """
    vector, text = legs(pool, fusion)
    places = {hit.document.id: place for place, hit in enumerate(pool)}
    weight = check_vector_weight(vector_weight)
    return [
        (weight * float(vector[place]), (1.0 - weight) * float(text[place]))
        for place in (places[hit.document.id] for hit in hits)
    ]


def _order(pool: Sequence[Hit], fused: Values, vector_weight: float) -> list[int]:
    last = len(pool) + max((max(_ranks(hit)) for hit in pool), default=0) + 1

    def key(place: int) -> tuple[float, int, int, str]:
        vector, text = (rank or last for rank in _ranks(pool[place]))
        first, second = (vector, text) if vector_weight >= 0.5 else (text, vector)
        return -float(fused[place]), first, second, str(pool[place].document.id)

    return sorted(range(len(pool)), key=key)


def _ranks(hit: Hit) -> tuple[int, int]:
    """Vector and text rank, 0 where the leg did not find the hit."""
    return hit.vector_rank or 0, hit.text_rank or 0


def ranks_by_weight(
    pool: Sequence[Hit], fusion: Fusion, weights: Sequence[float]
) -> npt.NDArray[np.int64]:
    """The rank (1 is first) of each hit at each weight: (hits, weights)."""
    vector, text = legs(pool, fusion)
    ranks = np.empty((len(pool), len(weights)), dtype=np.int64)
    for column, weight in enumerate(weights):
        order = _order(pool, check_vector_weight(weight) * vector + (1 - weight) * text, weight)
        ranks[order, column] = np.arange(1, len(pool) + 1)
    return ranks


def leader_intervals(pool: Sequence[Hit], fusion: Fusion) -> list[LeaderInterval]:
    """Which document is first at which weights, from 0 to 1: the upper envelope of the fused
    values' straight lines, exactly."""
    if not pool:
        raise InvalidInput("There is no pool to fuse.")
    vector, text = legs(pool, fusion)
    found: list[LeaderInterval] = []
    start = 0.0
    leader = _order(pool, text, 0.0)[0]
    while start < 1.0:
        end, challenger = _next_leader(vector, text, leader, start)
        if end > start or not found:
            found.append(LeaderInterval(pool[leader], start, min(end, 1.0)))
        if challenger is None:
            break
        start, leader = end, challenger
    return found


def _next_leader(
    vector: Values, text: Values, leader: int, start: float
) -> tuple[float, int | None]:
    """The first weight above ``start`` at which another line rises above the leader's."""
    steeper = (vector - text) - (vector[leader] - text[leader])
    behind = text[leader] - text
    crossing = np.full(len(vector), np.inf)
    rising = steeper > 1e-15
    crossing[rising] = behind[rising] / steeper[rising]
    crossing[crossing < start - 1e-12] = np.inf
    first = float(crossing.min())
    if first >= 1.0:
        return 1.0, None
    # Of several that cross here, the steepest is ahead afterwards.
    at_once = np.flatnonzero(crossing <= first + 1e-12)
    return max(first, start), int(at_once[np.argmax(steeper[at_once])])


FEWEST_FOR_A_SUGGESTION = 5


@dataclass(frozen=True, slots=True)
class DistanceGap:
    """The widest step between neighbouring distances. below: how many are nearer than it."""

    threshold: float
    width: float
    below: int


def count_below(distances: Sequence[float], threshold: float) -> int:
    """How many distances a threshold lets through: distance < threshold."""
    return int((np.asarray(distances, dtype=np.float64) < threshold).sum())


def widest_gap(distances: Sequence[float]) -> DistanceGap | None:
    """The middle of the largest gap between two neighbouring distances, the nearer of equals; a
    suggestion, no more. None for too few distances, or where all are equal.

    The first distance is left out as a border: a document that is the question itself makes a gap
    that says nothing.
    """
    ordered = np.sort(np.asarray(distances, dtype=np.float64))
    ordered = ordered[np.isfinite(ordered)]
    if len(ordered) < FEWEST_FOR_A_SUGGESTION:
        return None
    steps = np.diff(ordered[1:])
    place = int(np.argmax(steps)) + 1
    width = float(steps[place - 1])
    if width <= 0.0:
        return None
    return DistanceGap(float(ordered[place] + ordered[place + 1]) / 2, width, place + 1)
