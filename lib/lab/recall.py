"""Recall: the share of the truth that an index returned, query by query, and what is said of it.

Pure functions of arrays. ``found`` is what an index returned, nearest first or not; ``truth`` the
exact nearest neighbours. Both have a row for each query, filled up with infinity (distances) or
None (ids) where there are fewer than k. A query with fewer than k to be found is measured by those
that there are; one with nothing to be found misses nothing, and has the recall 1.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from lib.lab.measurement import Interval, RecallFigures
from lib.vectors.recall import FLOAT64_TOLERANCE, recall_by_distance

RESAMPLES = 2000

DoubleArray = npt.NDArray[np.float64]
IdArray = npt.NDArray[np.object_]


def recalls_by_distance(
    found: DoubleArray, truth: DoubleArray, tolerance: float = FLOAT64_TOLERANCE
) -> DoubleArray:
    """:func:`~lib.vectors.recall.recall_by_distance`; the lab computes distances in float64."""
    return recall_by_distance(found, truth, tolerance)


def recalls_by_id(found: IdArray, truth: IdArray) -> DoubleArray:
    """The share of just these rows: of rows that are tied, others are misses. Ids (q, any) and
    (q, k). Returns float64 (q,), 0–1."""
    wanted = [{each for each in row if each is not None} for row in truth]
    hits = [len(ids.intersection(row)) for ids, row in zip(wanted, found, strict=True)]
    return _shares(np.array(hits, dtype=np.int64), np.array([len(ids) for ids in wanted]))


def _shares(hits: npt.NDArray[np.int64], available: npt.NDArray[np.int64]) -> DoubleArray:
    return np.where(available > 0, hits / np.maximum(available, 1), 1.0)


def interval(recalls: DoubleArray, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """The mean and its 95 % interval by the percentile bootstrap over the queries (Efron and
    Tibshirani 1993, "An Introduction to the Bootstrap", section 13.3).

    Drawing queries again is drawing how often each value comes, which is one multinomial draw:
    recalls take few values, so that thousands of queries cost no more than ten.
    """
    values, counts = np.unique(recalls, return_counts=True)
    mean = _mean(recalls)
    drawn = np.random.default_rng(seed).multinomial(
        len(recalls), counts / len(recalls), size=resamples
    )
    means = drawn @ values / len(recalls)
    low, high = np.quantile(means, (0.025, 0.975))
    # The rounding of the sum must not put the mean outside of its own interval.
    return Interval(mean, min(float(low), mean), max(float(high), mean))


def _mean(recalls: DoubleArray) -> float:
    return math.fsum(recalls) / len(recalls)  # 0.9, and not 0.9000000000000005


def worst_decile(recalls: DoubleArray) -> float:
    """The mean of the worst tenth of the queries, at least of one."""
    worst = math.ceil(len(recalls) / 10)
    return _mean(np.partition(recalls, worst - 1)[:worst])


def recall_figures(by_distance: DoubleArray, by_id: DoubleArray, seed: int = 0) -> RecallFigures:
    """Both float64 (q,) with at least one query."""
    return RecallFigures(
        mean=interval(by_distance, seed),
        id_mean=_mean(by_id),
        worst_decile=worst_decile(by_distance),
        zero=int((by_distance == 0).sum()),
    )
