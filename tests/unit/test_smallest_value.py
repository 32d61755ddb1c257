"""The search for the smallest value that reaches a target."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from lib.vectors.smallest_value import next_value, smallest


def search(reaches: Callable[[int], bool], low: int, high: int, known: dict[int, bool]) -> int:
    """Runs the search to its end; returns how many values it tried."""
    tried = 0
    while (value := next_value(known, low, high)) is not None:
        assert low <= value <= high
        assert value not in known, "a value was tried twice"
        known[value] = reaches(value)
        tried += 1
        assert tried < 50
    return tried


@pytest.mark.parametrize("border", [1, 2, 3, 17, 72, 500, 999, 1000])
def test_the_smallest_value_that_reaches_is_found(border: int) -> None:
    known = {10: border <= 10, 100: border <= 100, 1000: True}
    tried = search(lambda value: value >= border, 1, 1000, known)
    assert smallest(known) == border
    assert tried <= math.ceil(2 * math.log2(1000))


def test_nothing_is_tried_where_the_sweep_knows_already() -> None:
    known = {4: False, 5: True}
    assert next_value(known, 1, 100) is None
    assert smallest(known) == 5


def test_the_largest_value_is_tried_before_it_is_said_that_none_reaches() -> None:
    known = {10: False, 40: False}
    assert next_value(known, 1, 100) == 100
    known[100] = False
    assert next_value(known, 1, 100) is None
    assert smallest(known) is None


def test_a_recall_that_wavers_ends_the_search_at_a_border() -> None:
    # reaches at 20…29 and from 50 on
    known: dict[int, bool] = {10: False, 100: True}
    search(lambda value: 20 <= value < 30 or value >= 50, 1, 100, known)
    found = smallest(known)
    assert found is not None
    assert known[found]
    assert known[found - 1] is False


def test_values_outside_the_range_are_no_answer() -> None:
    assert next_value({50: True}, 1, 20) == 20


@pytest.mark.parametrize(
    ("border", "tried"), [(1, [1]), (3, [1, 2, 4, 3]), (7, [1, 2, 4, 8, 6, 7])]
)
def test_doubling_comes_from_below(border: int, tried: list[int]) -> None:
    known: dict[int, bool] = {}
    while (value := next_value(known, 1, 100, doubling=True)) is not None:
        known[value] = value >= border
    assert list(known) == tried
    assert smallest(known) == border


def test_doubling_ends_at_the_highest_value() -> None:
    known = {3: False, 6: False}
    assert next_value(known, 3, 10, doubling=True) == 10
    assert next_value({**known, 10: False}, 3, 10, doubling=True) is None
