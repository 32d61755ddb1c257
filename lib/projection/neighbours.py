"""Exact nearest neighbours of many rows among many others, as indices into arrays.

lib.vectors.exact answers a thousand queries over a stream of rows; here all rows are in memory and
each of them is a query, so that rows which cannot be neighbours must be passed over without a
Python step for each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, assert_never

import numpy as np
import numpy.typing as npt

from lib.vectors.distance import Distance, FloatArray
from lib.vectors.exact import norms_of

IntArray = npt.NDArray[np.int32]

_BLOCK = 2048  # rows compared at once with as many others: 16 MB of float32
_PROBED = 8  # a row's first bound comes from every so many-th row of a block
_MARGIN = 8  # neighbours beyond k that float32 may have put in the wrong order
_CROWD = 32  # times as many as wanted under the bound, in the mean, are too many to sort
_SIGN, _PLACE = np.uint32(1 << 31), np.uint64(2**32 - 1)
_NOTHING = np.uint64(0xFF800000_FFFFFFFF)  # packed: an infinite key, and no place


@dataclass(frozen=True)
class NeighbourGraph:
    """The k-nearest-neighbour graph of n rows."""

    indices: IntArray
    """int32 (n, k): each row's nearest neighbours, nearest first, without the row itself."""
    distances: FloatArray
    """float32 (n, k), by the collection's distance."""

    @property
    def k(self) -> int:
        return int(self.indices.shape[1])

    def first(self, k: int) -> NeighbourGraph:
        return NeighbourGraph(self.indices[:, :k], self.distances[:, :k])


def subgraph(graph: NeighbourGraph, keep: npt.NDArray[np.bool_]) -> NeighbourGraph:
    """The graph of some of its rows. keep: bool (n,).

    In place of a neighbour that is not kept the one before it is repeated, and in place of the
    first one the row itself.
    """
    if keep.all():
        return graph
    number = np.full(len(keep), -1, dtype=np.int32)
    number[keep] = np.arange(np.count_nonzero(keep))
    indices, distances = number[graph.indices[keep]], graph.distances[keep].copy()
    dropped = indices[:, 0] < 0
    indices[dropped, 0], distances[dropped, 0] = (
        np.flatnonzero(dropped),
        0.0,
    )
    for rank in range(1, graph.k):
        dropped = indices[:, rank] < 0
        indices[dropped, rank], distances[dropped, rank] = (
            indices[dropped, rank - 1],
            distances[dropped, rank - 1],
        )
    return NeighbourGraph(indices, distances)


def usable_rows(vectors: FloatArray, distance: Distance) -> npt.NDArray[np.bool_]:
    """Which rows (n, d) have a distance to others: of finite length, and under cosine not zero (as
    pgvector sees it, which adds squares up in float32)."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        squares = np.square(vectors).sum(axis=1)
    usable = np.isfinite(squares)
    if distance is Distance.COSINE:
        usable &= squares > 0
    return np.asarray(usable)


def all_neighbours(
    vectors: FloatArray,
    k: int,
    distance: Distance,
    on_share: Callable[[float], None] = lambda _share: None,
) -> NeighbourGraph:
    """The k nearest other rows of each row; k is at most n − 1.

    vectors: float32 (n, d), all usable. on_share is told which share (0–1) is done. What two blocks
    of rows are to each other is computed once and serves both.
    """
    n = len(vectors)
    k = min(k, n - 1)
    rows = _Comparable.of(vectors, distance)
    found = _Nearest(n, min(k + _MARGIN, n - 1))
    blocks = _blocks(n)
    pairs, done = len(blocks) * (len(blocks) + 1) // 2, 0
    for apart in range(len(blocks)):  # each block with itself first: that bounds what is near
        for first, second in zip(blocks, blocks[apart:], strict=False):
            keys = rows.keys(first, rows, second)
            if apart == 0:
                np.fill_diagonal(keys, np.inf)
            else:
                found.offer(second, keys.T, first)
            found.offer(first, keys, second)
        done += len(blocks) - apart
        on_share(done / pairs)
    return _ordered(rows, rows, found.places, k)


def nearest(queries: FloatArray, rows: FloatArray, k: int, distance: Distance) -> NeighbourGraph:
    """The k nearest rows of each query; k is at most their number."""
    k = min(k, len(rows))
    asking, asked = _Comparable.of(queries, distance), _Comparable.of(rows, distance)
    found = _Nearest(len(queries), min(k + _MARGIN, len(rows)))
    for some in _blocks(len(queries)):
        for others in _blocks(len(rows)):
            found.offer(some, asking.keys(some, asked, others), others)
    return _ordered(asking, asked, found.places, k)


def _blocks(count: int) -> list[slice]:
    return [slice(start, min(start + _BLOCK, count)) for start in range(0, count, _BLOCK)]


@dataclass(frozen=True)
class _Comparable:
    """Rows and what makes products of them comparable: unit rows under cosine, half the squared
    lengths under L2, as |x − y|²/2 = |x|²/2 + |y|²/2 − x·y. lengths: float64 (n,)."""

    rows: FloatArray
    prepared: FloatArray
    lengths: npt.NDArray[np.float64]
    distance: Distance

    @classmethod
    def of(cls, rows: FloatArray, distance: Distance) -> _Comparable:
        lengths = norms_of(rows)
        prepared = _divided(rows, lengths) if distance is Distance.COSINE else rows
        return cls(rows, prepared, lengths, distance)

    def keys(self, some: slice, other: _Comparable, others: slice) -> FloatArray:
        """(some, others) float32 numbers that order as the distances do."""
        keys = -self.prepared[some] @ other.prepared[others].T
        match self.distance:
            case Distance.COSINE | Distance.INNER_PRODUCT:
                return keys
            case Distance.L2:
                keys += (other.lengths[others] ** 2 / 2).astype(np.float32)
                keys += (self.lengths[some, None] ** 2 / 2).astype(np.float32)
                return keys
            case _:
                assert_never(self.distance)


class _Nearest:
    """The nearest so far of n rows by (key, place), each pair packed into one number that sorts as
    the pair does; so the order in which they are offered makes no difference."""

    def __init__(self, n: int, count: int) -> None:
        self._packed = np.full((n, count), _NOTHING)
        self._bounds = np.full(n, np.inf, dtype=np.float32)  # the key of the last one

    @property
    def places(self) -> npt.NDArray[np.int64]:
        """(n, count), the nearest first."""
        return (self._packed & _PLACE).astype(np.int64)

    def offer(self, rows: slice, keys: FloatArray, others: slice) -> None:
        """keys: (rows, others), or the transposed of (others, rows)."""
        row, column = self._under_bound(rows, keys)
        packed = _pack(keys[row, column], column + others.start)
        size, count = keys.shape[0], self._packed.shape[1]
        each = np.bincount(row, minlength=size)
        table = np.full((size, count + each.max()), _NOTHING)
        table[:, :count] = self._packed[rows]
        table[row, count + np.arange(len(row)) - (np.cumsum(each) - each)[row]] = packed
        table.sort(axis=1)
        self._packed[rows] = table[:, :count]
        self._bounds[rows] = _unpacked_keys(table[:, count - 1])

    def _under_bound(self, rows: slice, keys: FloatArray) -> tuple[Any, Any]:
        """Which of the keys may be among the nearest, as rows, in order, and columns."""
        size, width = keys.shape
        count = self._packed.shape[1]
        bounds = self._bounds[rows]
        some = keys[:, ::_PROBED]
        if np.isinf(bounds).any() and some.shape[1] > count:
            bounds = np.minimum(bounds, np.partition(some, count - 1, axis=1)[:, count - 1])
        near = keys <= bounds[:, None]
        transposed = not near.flags.c_contiguous
        places = np.flatnonzero(near.T if transposed else near)
        if len(places) > _CROWD * count * size and width > count:
            # Many are equally near: the block's own nearest will do.
            best = np.argpartition(keys, count - 1, axis=1)[:, :count]
            return np.repeat(np.arange(size), count), best.ravel()
        if not transposed:
            return np.divmod(places, width)
        column, row = np.divmod(places, size)
        order = np.argsort(row.astype(np.uint16), kind="stable")  # by radix: _BLOCK is small
        return row[order], column[order]


def _pack(keys: FloatArray, places: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Floats sort as their bits do, the negative ones in reverse; -0.0 + 0.0 is 0.0."""
    bits = (keys + np.float32(0.0)).view(np.uint32)
    sorting = np.where(bits & _SIGN, ~bits, bits | _SIGN)
    return (sorting.astype(np.uint64) << np.uint64(32)) | places.astype(np.uint64)


def _unpacked_keys(packed: npt.NDArray[np.uint64]) -> FloatArray:
    sorting = (packed >> np.uint64(32)).astype(np.uint32)
    return np.where(sorting & _SIGN, sorting ^ _SIGN, ~sorting).view(np.float32)


def _ordered(
    queries: _Comparable, rows: _Comparable, near: npt.NDArray[np.int64], k: int
) -> NeighbourGraph:
    """The k nearest among the contenders ``near`` (q, c).

    Float32 chose k + _MARGIN of them, their distances in float64 give the order; of equally near
    ones the first comes first. So the result is exact but for rows that float32 cannot tell from
    more than _MARGIN others.
    """
    indices = np.empty((len(near), k), dtype=np.int32)
    distances = np.empty((len(near), k), dtype=np.float32)
    for asked in _blocks(len(near)):
        exact = _distances(queries, rows, asked, near[asked])
        order = np.lexsort((near[asked], exact), axis=1)[:, :k]
        indices[asked] = np.take_along_axis(near[asked], order, axis=1)
        distances[asked] = np.take_along_axis(exact, order, axis=1)
    return NeighbourGraph(indices, distances)


def _distances(
    queries: _Comparable, rows: _Comparable, asked: slice, near: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """(q, c) distances from each asked query to its own rows ``near`` (q, c), in float64."""
    found = np.empty(near.shape)
    for first in range(0, len(near), 32):  # 32 × 23 × 256 doubles stay in the cache
        part = slice(first, first + 32)
        q = queries.rows[asked][part].astype(np.float64)
        x = rows.rows[near[part]].astype(np.float64)
        match rows.distance:
            case Distance.L2:
                found[part] = np.sqrt(((x - q[:, None]) ** 2).sum(axis=2))
            case Distance.COSINE | Distance.INNER_PRODUCT:
                found[part] = -np.einsum("qcd,qd->qc", x, q)
            case _:
                assert_never(rows.distance)
    if rows.distance is Distance.COSINE:
        found /= rows.lengths[near] * queries.lengths[asked, None]
        # A product may come out above 1 by rounding; nothing is nearer than 0.
        return np.asarray(np.maximum(1.0 + found, 0.0))
    return found


def unit(rows: FloatArray) -> FloatArray:
    """Rows divided by their lengths; none may be zero."""
    return _divided(rows, norms_of(rows))


def _divided(rows: FloatArray, lengths: npt.NDArray[np.float64]) -> FloatArray:
    """In float64, without a whole copy of it."""
    found = np.empty(rows.shape, dtype=np.float32)
    return np.divide(rows, lengths[:, None], out=found, casting="same_kind")
