"""The values to measure."""

from __future__ import annotations

import math

import pytest

from lib.errors import InvalidInput
from lib.lab.sweep import default_values, geometric, limits_of, scans_of
from lib.vectors.index_methods import HNSW, IVFFLAT, IterativeScan


def test_a_geometric_range_has_one_factor() -> None:
    # 1·2ⁿ by hand
    assert geometric(1, 128) == (1, 2, 4, 8, 16, 32, 64, 128)
    # factor 100^(1/7) = 1.9307: 10, 19.3, 37.3, 72.0, 138.9, 268.3, 517.9, 1000
    assert geometric(10, 1000) == (10, 19, 37, 72, 139, 268, 518, 1000)


def test_a_range_of_few_numbers_has_each_once() -> None:
    assert geometric(1, 3) == (1, 2, 3)
    assert geometric(7, 7) == (7,)
    assert geometric(7, 2) == (7,)


@pytest.mark.parametrize("lists", [1, 2, 10, 50, 100, 1000, 32768])
def test_probes_go_from_one_to_all_lists_past_the_guideline(lists: int) -> None:
    values = default_values(IVFFLAT.spec(lists=lists), 10, 100_000)
    assert values[0] == 1
    assert values[-1] == lists
    assert max(1, round(math.sqrt(lists))) in values
    assert len(values) <= 9


def test_ef_search_begins_at_what_is_wanted() -> None:
    assert default_values(HNSW.spec(), 10, rows=100_000) == (10, 19, 37, 72, 139, 268, 518, 1000)
    assert (
        default_values(HNSW.spec(), 10, rows=40)[-1] == 40
    )  # more rows than there are find no more
    assert default_values(HNSW.spec(), 1000, rows=5) == (1000,)


def test_more_rows_than_hnsw_returns_are_refused_with_the_way_out() -> None:
    with pytest.raises(InvalidInput, match="at most 1,000 rows") as caught:
        default_values(HNSW.spec(), 1001, rows=100_000)
    assert "IVFFlat" in caught.value.hint


def test_strict_order_is_asked_of_hnsw_alone() -> None:
    every = tuple(IterativeScan)
    assert scans_of(HNSW, every) == every
    assert scans_of(IVFFLAT, every) == (IterativeScan.OFF, IterativeScan.RELAXED)
    assert scans_of(IVFFLAT, (IterativeScan.STRICT,)) == (IterativeScan.RELAXED,)


def test_the_range_of_a_target_is_the_index_own() -> None:
    assert (
        limits_of(IVFFLAT.spec(lists=80), 10).low,
        limits_of(IVFFLAT.spec(lists=80), 10).high,
    ) == (1, 80)
    assert (limits_of(HNSW.spec(), 10).low, limits_of(HNSW.spec(), 10).high) == (10, 1000)
