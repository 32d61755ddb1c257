"""Recall with ties, against tables that are worked out by hand and against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.vectors.recall import (
    FLOAT32_TOLERANCE,
    FLOAT64_TOLERANCE,
    missed_neighbours,
    recall_by_distance,
    tie_limit,
)

INF = np.inf
DISTANCES = {"a": 0.1, "b": 0.2, "c": 0.3, "d": 0.3, "e": 0.3, "f": 0.4}


def missed(truth: str, found: str, tolerance: float = FLOAT32_TOLERANCE) -> str:
    distances = [DISTANCES[id_] for id_ in truth]
    return "".join(
        missed_neighbours(truth, distances, {id_: DISTANCES[id_] for id_ in found}, tolerance)
    )


@pytest.mark.parametrize(
    ("truth", "found", "expected"),
    [
        ("abc", "abc", ""),
        ("abc", "bca", ""),
        ("abc", "bcf", "a"),
        ("abc", "", "abc"),
        ("abc", "abd", ""),  # d is as far as c
        ("abc", "bde", "a"),  # but nothing stands in for a nearer one
        ("abcd", "abe", "d"),  # e for one of the two
        ("abcd", "abf", "cd"),
        ("", "a", ""),
    ],
)
def test_ties_at_the_end_stand_in_for_each_other(truth: str, found: str, expected: str) -> None:
    assert missed(truth, found) == expected


def test_what_fills_up_a_row_is_no_neighbour() -> None:
    truth, distances = ["a", "b", None], [0.1, 0.2, INF]
    assert missed_neighbours(truth, distances, {"a": 0.1}) == ("b",)
    assert missed_neighbours([None], [INF], {"a": 0.1}) == ()


def test_a_row_of_unknown_distance_ties_with_nothing() -> None:
    assert missed_neighbours("ab", [0.1, 0.2], {"a": None, "x": None}) == ("b",)


@pytest.mark.parametrize(
    ("last", "near", "far"),
    [
        (0.5, 0.5 + 9e-7, 0.5 + 1.1e-6),  # below 1 the tolerance is absolute
        (100.0, 100.00009, 100.00011),  # above it grows with the distance
        (-100.0, -99.99991, -99.99989),  # inner products are below zero
        (0.0, 9e-7, 1.1e-6),
    ],
)
def test_the_tolerance_is_of_the_distance_s_size(last: float, near: float, far: float) -> None:
    assert near <= tie_limit(last) < far
    assert missed_neighbours("a", [last], {"x": near}) == ()
    assert missed_neighbours("a", [last], {"x": far}) == ("a",)
    found = np.array([[near], [far]])
    assert recall_by_distance(found, np.array([[last], [last]])).tolist() == [1.0, 0.0]


def test_double_precision_is_told_apart_more_finely() -> None:
    found, truth = np.array([[3.0 + 2e-12], [3.0 + 1e-11]]), np.array([[3.0], [3.0]])
    assert recall_by_distance(found, truth, FLOAT64_TOLERANCE).tolist() == [1.0, 0.0]
    assert recall_by_distance(found, truth).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("found", "truth", "recall"),
    [
        ([1.0, 2.0, 9.0], [1.0, 2.0, 3.0], 2 / 3),
        ([3.0, 3.0, 3.0], [1.0, 2.0, 3.0], 1.0),  # by rows alone, whichever they are
        ([1.0, INF, INF], [1.0, 2.0, 3.0], 1 / 3),
        ([1.0, 7.0, INF], [1.0, 2.0, INF], 0.5),
        ([1.0, 1.0, 1.0], [1.0, INF, INF], 1.0),
        ([INF, INF], [INF, INF], 1.0),
    ],
)
def test_recall_by_distance(found: list[float], truth: list[float], recall: float) -> None:
    assert recall_by_distance(np.array([found]), np.array([truth])).tolist() == [recall]


VALUES = st.lists(st.integers(0, 6), min_size=1, max_size=12)


@given(VALUES, st.integers(1, 6), st.data())
def test_an_answer_with_the_nearer_ones_has_the_same_recall_either_way(
    values: list[int], k: int, data: st.DataObject
) -> None:
    """Where no nearer row is missing, what is missed and what is counted are the same share; both
    are those that numpy counts."""
    order = np.argsort(values, kind="stable")
    truth = order[:k].tolist()
    last = values[truth[-1]]
    nearer = [row for row in truth if values[row] < last]
    others = [row for row in range(len(values)) if row not in nearer]
    rest = data.draw(st.permutations(others))[: max(0, k - len(nearer))]
    found = [*nearer, *data.draw(st.permutations(rest))[: data.draw(st.integers(0, k))]]
    lacking = missed_neighbours(
        truth, [float(values[row]) for row in truth], {row: float(values[row]) for row in found}
    )
    expected = np.count_nonzero(np.array([values[row] for row in found], dtype=int) <= last)
    assert len(truth) - len(lacking) == min(expected, len(truth))
    padded = np.array([[float(values[row]) for row in found] + [INF]])
    share = recall_by_distance(padded, np.array([[float(values[row]) for row in truth]]))
    assert share.tolist() == [min(expected, len(truth)) / len(truth)]
