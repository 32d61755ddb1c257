"""Exact neighbours against naive float64 numpy, where float32 would decide otherwise too."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.errors import DimensionMismatch, InvalidInput, InvalidVector
from lib.vectors import exact
from lib.vectors.distance import Distance, FloatArray
from lib.vectors.exact import ExactSearch, Neighbours, exact_neighbours

ALL = list(Distance)


def distances(queries: FloatArray, rows: FloatArray, distance: Distance) -> np.ndarray:
    """(q, n), written apart from the product's own formulas."""
    q, x = queries.astype(float)[:, None, :], rows.astype(float)[None, :, :]
    if distance is Distance.L2:
        return np.linalg.norm(q - x, axis=2)
    products = (q * x).sum(axis=2)
    if distance is Distance.INNER_PRODUCT:
        return -products
    with np.errstate(invalid="ignore"):
        return 1 - products / (np.linalg.norm(q, axis=2) * np.linalg.norm(x, axis=2))


def blocks(rows: FloatArray, size: int) -> Iterator[tuple[list[int], FloatArray]]:
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        yield list(range(start, start + len(part))), part


def check(found: Neighbours, expected: np.ndarray, k: int, *, tolerance: float = 1e-12) -> None:
    """expected: (q, n) distances, NaN or infinite for rows that are no neighbours. Where distances
    are equal the ids may be any of theirs."""
    expected = np.where(np.isnan(expected), np.inf, expected)
    k_there = min(k, expected.shape[1])
    best = np.full((len(expected), k), np.inf)
    best[:, :k_there] = np.sort(expected, axis=1)[:, :k_there]
    np.testing.assert_allclose(found.distances, best, rtol=tolerance, atol=tolerance)
    for query, ids in enumerate(found.ids):
        there = [id_ for id_ in ids if id_ is not None]
        assert len(there) == len(set(there)) == found.found[query]
        np.testing.assert_allclose(
            expected[query, there],
            found.distances[query, : len(there)],
            rtol=tolerance,
            atol=tolerance,
        )


@pytest.mark.parametrize("distance", ALL)
@pytest.mark.parametrize("size", [7, 1000, 100_000])
def test_the_same_as_float64(distance: Distance, size: int) -> None:
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((3000, 24)).astype(np.float32)
    queries = rng.standard_normal((40, 24)).astype(np.float32)
    expected = distances(queries, rows, distance)
    found = exact_neighbours(queries, blocks(rows, size), 10, distance)
    check(found, expected, 10)
    assert (found.ids == np.argsort(expected, axis=1)[:, :10]).all()
    assert not found.tied.any()


def test_more_queries_and_rows_than_are_compared_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "_MOST_QUERIES", 7)
    monkeypatch.setattr(exact, "_MOST_ROWS", 50)
    monkeypatch.setattr(exact, "_MOST_CONTENDERS", 40)
    monkeypatch.setattr(exact, "_MOST_VALUES", 20)
    rng = np.random.default_rng(2)
    rows, queries = (rng.standard_normal((n, 8)).astype(np.float32) for n in (333, 30))
    exclude = [None if n % 3 else n * 11 for n in range(30)]
    expected = distances(queries, rows, Distance.L2)
    for query, row in enumerate(exclude):
        if row is not None:
            expected[query, row] = np.inf
    check(exact_neighbours(queries, blocks(rows, 120), 5, Distance.L2, exclude), expected, 5)


@pytest.mark.parametrize("distance", ALL)
def test_differences_below_float32_are_decided(distance: Distance) -> None:
    """All rows lie within what single precision can tell of the products."""
    rng = np.random.default_rng(3)
    base = rng.standard_normal(64).astype(np.float32)
    rows = np.repeat(base[None, :] * 100, 2000, axis=0)
    ulps = rng.integers(-3, 4, size=rows.shape)
    rows = rows + (ulps * np.spacing(rows)).astype(np.float32)
    queries = np.stack([base, rng.standard_normal(64).astype(np.float32)])
    expected = distances(queries, rows, distance)
    in_float32 = np.argsort(-(queries @ rows.T), axis=1, kind="stable")[:, :20]
    found = exact_neighbours(queries, blocks(rows, 512), 20, distance)
    check(found, expected, 20)
    best = np.argsort(expected, axis=1)[:, :20]
    if distance is Distance.INNER_PRODUCT:  # or the data would prove nothing
        assert any(set(a) != set(b) for a, b in zip(in_float32, best, strict=True))


def test_near_duplicates_with_one_large_dimension_are_decided_under_l2() -> None:
    """Nor can products in float64 tell them apart: it is their differences that can."""
    rng = np.random.default_rng(6)
    rows = (1e-6 * rng.standard_normal((3000, 4))).astype(np.float32)
    rows[:, 0] = 1000
    queries = np.stack([np.array([1000, 0, 0, 0], np.float32), rows[5]])
    expected = distances(queries, rows, Distance.L2)
    in_float64 = ((rows.astype(float) ** 2).sum(axis=1) / 2 - queries.astype(float) @ rows.T)[1]
    best = np.argsort(expected, axis=1)[:, :20]
    assert set(np.argsort(in_float64)[:20]) != set(best[1])  # or the data would prove nothing
    found = exact_neighbours(queries, blocks(rows, 1000), 20, Distance.L2)
    check(found, expected, 20, tolerance=1e-18)
    assert (found.ids == best).all()


@pytest.mark.parametrize("distance", ALL)
@pytest.mark.parametrize("own", [True, False])
def test_all_rows_are_equal(distance: Distance, own: bool) -> None:
    rng = np.random.default_rng(7)
    rows = np.repeat(rng.standard_normal((1, 16)), 1500, axis=0).astype(np.float32)
    queries = rows[:4] if own else rng.standard_normal((4, 16)).astype(np.float32)
    expected = distances(queries, rows, distance)
    np.fill_diagonal(expected, np.inf)
    found = exact_neighbours(queries, blocks(rows, 500), 10, distance, exclude=range(4))
    check(found, expected, 10)
    assert found.tied.all()


@pytest.mark.parametrize("distance", ALL)
def test_every_block_is_nearer_than_the_one_before(distance: Distance) -> None:
    rng = np.random.default_rng(8)
    queries = rng.standard_normal((20, 12)).astype(np.float32)
    nearness = np.linspace(0, 1, 4000)[:, None]
    towards = queries[rng.integers(20, size=4000)]
    noise = 0.3 * (1.1 - nearness) * rng.standard_normal((4000, 12))
    rows = (nearness * towards + noise).astype(np.float32)
    expected = distances(queries, rows, distance)
    found = exact_neighbours(queries, blocks(rows, 400), 10, distance)
    check(found, expected, 10)
    assert np.median(found.ids.astype(int)) > 3000  # or the data would prove nothing


@pytest.mark.parametrize("distance", ALL)
def test_duplicates_are_tied(distance: Distance) -> None:
    rng = np.random.default_rng(4)
    different = rng.standard_normal((10, 16)).astype(np.float32)
    rows = different[rng.integers(10, size=1000)]
    queries = rng.standard_normal((5, 16)).astype(np.float32)
    found = exact_neighbours(queries, blocks(rows, 300), 10, distance)
    check(found, distances(queries, rows, distance), 10)
    assert found.tied.all()


def test_ties_are_told_only_where_there_are_some() -> None:
    rows = np.array([[1, 0], [2, 0], [3, 0], [0, 3], [9, 9]], np.float32)
    query = np.zeros((1, 2), np.float32)
    tied = [
        bool(exact_neighbours(query, blocks(rows, 2), k, Distance.L2).tied[0]) for k in range(1, 7)
    ]
    assert tied == [False, False, True, False, False, False]


def test_the_querys_own_row_is_left_out_and_its_duplicate_is_not() -> None:
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((50, 4)).astype(np.float32)
    rows[30] = rows[3]
    found = exact_neighbours(rows[[3, 7]], blocks(rows, 20), 50, Distance.L2, exclude=[3, None])
    assert found.ids[0, 0] == 30
    assert 3 not in found.ids[0]
    assert found.ids[1, 0] == 7
    assert list(found.found) == [49, 50]


def test_an_id_that_comes_again_is_left_out_again() -> None:
    rng = np.random.default_rng(9)
    rows = rng.standard_normal((60, 4)).astype(np.float32)
    ids = np.arange(60) % 25
    found = exact_neighbours(
        rows[:2],
        [(ids[start : start + 20].tolist(), rows[start : start + 20]) for start in (0, 20, 40)],
        60,
        Distance.L2,
        exclude=[0, None],
    )
    assert list(found.found) == [57, 60]
    assert 0 not in found.ids[0]
    expected = distances(rows[:1], rows[ids != 0], Distance.L2)[0]
    np.testing.assert_allclose(found.distances[0, :57], np.sort(expected), rtol=1e-12)


@pytest.mark.parametrize("exclude", [None, [0]])
def test_fewer_rows_than_wanted(exclude: list[int] | None) -> None:
    rows = np.eye(3, dtype=np.float32)
    found = exact_neighbours(rows[:1], blocks(rows, 2), 5, Distance.L2, exclude)
    assert list(found.found) == [2 if exclude else 3]
    assert list(found.ids[0][found.found[0] :]) == [None] * (5 - found.found[0])
    assert not found.tied[0]
    assert exact_neighbours(rows, iter(()), 2, Distance.L2).found.tolist() == [0, 0, 0]


def test_fewer_rows_than_wanted_and_of_each_query_others() -> None:
    """A block has fewer contenders for some queries: what fills their places up is no neighbour."""
    rng = np.random.default_rng(10)
    rows = rng.standard_normal((145, 4)).astype(np.float32)
    own = np.arange(0, 145, 7)
    expected = distances(rows[own], rows, Distance.L2)
    expected[range(len(own)), own] = np.inf
    found = exact_neighbours(rows[own], blocks(rows, 24), 248, Distance.L2, own.tolist())
    check(found, expected, 248)
    assert (np.equal(found.ids, None) == np.isinf(found.distances)).all()


def test_zero_rows_have_no_cosine() -> None:
    """To pgvector a row is zero where its squares are, in single precision."""
    rows = np.array([[0, 0], [1e-30, 0], [1, 1], [-1, 0]], np.float32)
    query = np.array([[1, 0]], np.float32)
    assert exact_neighbours(query, blocks(rows, 4), 4, Distance.COSINE).ids[0].tolist() == [
        2,
        3,
        None,
        None,
    ]
    assert exact_neighbours(query, blocks(rows, 4), 4, Distance.L2).found.tolist() == [4]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(ALL),
    st.integers(0, 2**32 - 1),
    st.integers(1, 40),
    st.integers(1, 12),
    st.integers(1, 9),
    st.sampled_from([1e-12, 1e-3, 1.0, 1e4, 1e12, 1e18]),
    st.booleans(),
)
def test_any_size_scale_and_offset(
    distance: Distance, seed: int, n: int, d: int, k: int, scale: float, far_away: bool
) -> None:
    """Whole numbers make ties; a common offset makes cancellation; 1e18 overflows float32."""
    rng = np.random.default_rng(seed)
    data = rng.integers(-3, 4, size=(n + 4, d)) + (1000.0 if far_away else 0.0)
    data = (data * scale).astype(np.float32)
    rows, queries = data[:n], data[n:]
    if distance is Distance.COSINE:
        queries = queries + np.float32(scale) * (np.abs(queries).sum(axis=1) == 0)[:, None]
    expected = distances(queries, rows, distance)
    found = exact_neighbours(queries.astype(np.float32), blocks(rows, 16), k, distance)
    size = max(1.0, float(np.nanmax(np.abs(expected), initial=0.0)))
    check(
        Neighbours(found.ids, found.distances / size, found.tied),
        expected / size,
        k,
        tolerance=1e-9,
    )


def test_what_cannot_be_searched() -> None:
    good = np.ones((2, 3), np.float32)
    with pytest.raises(InvalidInput, match="k is 0"):
        ExactSearch(good, 0, Distance.L2)
    with pytest.raises(InvalidInput, match="leave out"):
        ExactSearch(good, 1, Distance.L2, exclude=[1])
    with pytest.raises(InvalidVector, match="zeros"):
        ExactSearch(good * 0, 1, Distance.COSINE)
    with pytest.raises(InvalidVector, match="not a finite"):
        ExactSearch(good * np.float32(np.nan), 1, Distance.L2)
    with pytest.raises(DimensionMismatch):
        ExactSearch(good, 1, Distance.L2).add([1], np.ones((1, 4), np.float32))
