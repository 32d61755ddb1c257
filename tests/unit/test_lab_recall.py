"""Recall against tables that are worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from lib.lab.recall import (
    interval,
    recall_figures,
    recalls_by_distance,
    recalls_by_id,
    worst_decile,
)

INF = np.inf


@pytest.mark.parametrize(
    ("found", "truth", "recall"),
    [
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], 1.0),
        ([1.0, 2.0, 9.0], [1.0, 2.0, 3.0], 2 / 3),
        ([9.0, 8.0, 7.0], [1.0, 2.0, 3.0], 0.0),
        # any row as near as the last of the truth is a hit, also in place of a nearer one
        ([3.0, 3.0, 3.0], [1.0, 2.0, 3.0], 1.0),
        # within the rounding of float64, and beyond it
        ([3.0 + 2e-12], [3.0], 1.0),
        ([3.0 + 1e-11], [3.0], 0.0),
        ([1e-13], [0.0], 1.0),
        # fewer came back
        ([1.0, INF, INF], [1.0, 2.0, 3.0], 1 / 3),
        ([INF, INF], [1.0, 2.0], 0.0),
        # fewer are there: they are the denominator
        ([1.0, 2.0, 5.0], [1.0, 2.0, INF], 1.0),
        ([1.0, 7.0, INF], [1.0, 2.0, INF], 0.5),
        # more hits than there is to find are no more than all
        ([1.0, 1.0, 1.0], [1.0, INF, INF], 1.0),
        # nothing is there to be found
        ([INF, INF], [INF, INF], 1.0),
        # inner products are below zero
        ([-9.0, -4.0], [-9.0, -5.0], 0.5),
    ],
)
def test_recall_by_distance(found: list[float], truth: list[float], recall: float) -> None:
    assert recalls_by_distance(np.array([found]), np.array([truth])).tolist() == [recall]


def test_recall_by_id_knows_no_ties() -> None:
    truth = np.array([["a", "b", "c"], ["a", None, None], [None, None, None]], dtype=object)
    found = np.array([["c", "x", "a"], ["a", "b", "c"], ["a", None, None]], dtype=object)
    assert recalls_by_id(found, truth).tolist() == [2 / 3, 1.0, 1.0]
    assert recalls_by_id(np.full((3, 3), None, dtype=object), truth).tolist() == [0.0, 0.0, 1.0]


def test_the_worst_tenth() -> None:
    recalls = np.array([1.0] * 17 + [0.5, 0.0, 0.1])
    assert worst_decile(recalls) == 0.05  # two of twenty
    assert worst_decile(np.array([0.5, 1.0])) == 0.5  # at least one
    assert worst_decile(recalls[:11]) == 1.0


def test_the_interval_is_that_of_drawing_the_queries_again() -> None:
    rng = np.random.default_rng(5)
    recalls = rng.integers(0, 11, size=200) / 10
    drawn = rng.choice(recalls, size=(20_000, 200)).mean(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    found = interval(recalls, seed=1, resamples=20_000)
    assert found.value == pytest.approx(recalls.mean(), abs=1e-12)
    assert found.low == pytest.approx(low, abs=0.002)  # 0.04 wide on either side
    assert found.high == pytest.approx(high, abs=0.002)
    assert interval(recalls, seed=1) == interval(recalls, seed=1)


def test_the_interval_of_equal_recalls_is_a_point() -> None:
    found = interval(np.full(30, 0.9))
    assert (found.low, found.value, found.high) == (0.9, 0.9, 0.9)


def test_figures() -> None:
    by_distance = np.array([0.0, 0.0, 1.0, 0.5])
    found = recall_figures(by_distance, np.array([0.0, 0.0, 0.5, 0.5]))
    assert (found.mean.value, found.id_mean, found.worst_decile, found.zero) == (0.375, 0.25, 0, 2)
    assert 0 <= found.mean.low < 0.375 < found.mean.high <= 1
