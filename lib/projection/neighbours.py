"""The nearest neighbours of many points among many others, as places in arrays.

lib.vectors.exact answers a thousand queries over a stream of rows; here all rows are in memory and
all of them ask, so what is no contender must go without a Python step for each row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lib.vectors.distance import Distance, FloatArray

IntArray = npt.NDArray[np.int32]

_QUERIES, _ROWS = 1024, 8192  # compared at once: 32 MB of float32
_PROBES = 4096  # the bound of each query comes from so many rows
_MARGIN = 8  # neighbours beyond k that float32 may have put in the wrong order


@dataclass(frozen=True)
class Graph:
    """indices: int32 (n, k), each row's nearest neighbours as places, nearest first, without the
    row itself. distances: float32 (n, k), by the collection's distance."""

    indices: IntArray
    distances: FloatArray

    @property
    def k(self) -> int:
        return int(self.indices.shape[1])

    def first(self, k: int) -> Graph:
        return Graph(self.indices[:, :k], self.distances[:, :k])


def only(graph: Graph, kept: npt.NDArray[np.bool_]) -> Graph:
    """The graph of the kept rows (n,) alone; in the place of a neighbour that went, the one before
    it is repeated, and where that was the first, the row itself."""
    if kept.all():
        return graph
    number = np.full(len(kept), -1, dtype=np.int32)
    number[kept] = np.arange(np.count_nonzero(kept))
    indices, distances = number[graph.indices[kept]], graph.distances[kept].copy()
    gone = indices[:, 0] < 0
    indices[gone, 0], distances[gone, 0] = np.flatnonzero(gone), 0.0
    for rank in range(1, graph.k):
        gone = indices[:, rank] < 0
        indices[gone, rank], distances[gone, rank] = (
            indices[gone, rank - 1],
            distances[gone, rank - 1],
        )
    return Graph(indices, distances)


def usable_rows(vectors: FloatArray, distance: Distance) -> npt.NDArray[np.bool_]:
    """Which rows (n, d) have a distance to others: finite, and under cosine not zero (as pgvector
    sees it, which adds squares up in float32)."""
    usable = np.isfinite(vectors).all(axis=1)
    if distance is Distance.COSINE:
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            usable &= np.square(vectors).any(axis=1)
    return np.asarray(usable)


def all_neighbours(
    vectors: FloatArray,
    k: int,
    distance: Distance,
    on_share: Callable[[float], None] = lambda _share: None,
) -> Graph:
    """The k nearest other rows of each row; k is at most n − 1.

    vectors: float32 (n, d), all usable. on_share is told which share (0–1) is done.
    """
    return _nearest(vectors, vectors, min(k, len(vectors) - 1), distance, True, on_share)


def nearest(queries: FloatArray, rows: FloatArray, k: int, distance: Distance) -> Graph:
    """The k nearest rows of each query; k is at most their number."""
    return _nearest(queries, rows, min(k, len(rows)), distance, False, lambda _share: None)


def _nearest(
    queries: FloatArray,
    rows: FloatArray,
    k: int,
    distance: Distance,
    themselves: bool,
    on_share: Callable[[float], None],
) -> Graph:
    """Float32 products choose k + _MARGIN contenders, their distances in float64 the order; of
    equally near ones the first comes first. So the result is exact but for rows that float32
    cannot tell from more than _MARGIN others."""
    prepared = _Rows.of(rows, distance)
    step = max(1, len(rows) // _PROBES)
    contenders = min(k + _MARGIN + themselves, len(rows))
    indices = np.empty((len(queries), k), dtype=np.int32)
    distances = np.empty((len(queries), k), dtype=np.float32)
    for first in range(0, len(queries), _QUERIES):
        asked = slice(first, min(first + _QUERIES, len(queries)))
        near = prepared.contenders(queries[asked], contenders, step)
        exact = _distances(queries[asked], rows, near, distance)
        if themselves:
            exact[near == np.arange(asked.start, asked.stop)[:, None]] = np.inf
        order = np.lexsort((near, exact), axis=1)[:, :k]
        indices[asked] = np.take_along_axis(near, order, axis=1)
        distances[asked] = np.take_along_axis(exact, order, axis=1)
        on_share(asked.stop / len(queries))
    return Graph(indices, distances)


@dataclass(frozen=True)
class _Rows:
    """Rows made ready for products: of unit length under cosine; L2 compares |x|²/2 − x·q, which
    orders as the distance does."""

    rows: FloatArray
    halves: FloatArray | None
    distance: Distance

    @classmethod
    def of(cls, rows: FloatArray, distance: Distance) -> _Rows:
        halves = None
        if distance is Distance.COSINE:
            rows = unit(rows)
        elif distance is Distance.L2:
            halves = (np.einsum("ij,ij->i", rows, rows, dtype=np.float64) / 2).astype(np.float32)
        return cls(rows, halves, distance)

    def keys(self, queries: FloatArray, part: slice) -> FloatArray:
        keys = queries @ self.rows[part].T
        np.negative(keys, out=keys)
        if self.halves is not None:
            keys += self.halves[part]
        return keys

    def contenders(self, queries: FloatArray, count: int, step: int) -> npt.NDArray[np.int64]:
        """Places of the ``count`` nearest by keys, (q, count), in no order.

        The count-th nearest among every step-th row bounds the count-th nearest of all.
        """
        if self.distance is Distance.COSINE:
            queries = unit(queries)
        some = self.keys(queries, slice(None, None, step))
        if some.shape[1] > count:
            bound = np.partition(some, count - 1, axis=1)[:, count - 1 : count]
        else:
            bound = np.full((len(queries), 1), np.inf, dtype=np.float32)
        found: list[tuple[Any, Any, Any]] = []
        for start in range(0, len(self.rows), _ROWS):
            keys = self.keys(queries, slice(start, start + _ROWS))
            places = np.flatnonzero(keys <= bound)
            if len(places) > 32 * count * len(keys) and keys.shape[1] > count:
                # Many are equally near: the block's own nearest will do.
                best = np.argpartition(keys, count - 1, axis=1)[:, :count]
                places = (best + np.arange(len(keys))[:, None] * keys.shape[1]).ravel()
            row, column = np.divmod(places, keys.shape[1])
            found.append((row, column + start, keys.ravel()[places]))
        row, column, key = (np.concatenate(each) for each in zip(*found, strict=True))
        order = np.lexsort((column, key, row))
        row, column = row[order], column[order]
        rank = np.arange(len(row)) - np.searchsorted(row, np.arange(len(queries)))[row]
        chosen = rank < count
        near = np.empty((len(queries), count), dtype=np.int64)
        near[row[chosen], rank[chosen]] = column[chosen]
        return near


def unit(rows: FloatArray) -> FloatArray:
    """Rows divided by their lengths; none may be zero."""
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    return np.asarray(rows / lengths[:, None], dtype=np.float32)


def _distances(
    queries: FloatArray, rows: FloatArray, near: npt.NDArray[np.int64], distance: Distance
) -> npt.NDArray[np.float64]:
    """(q, c) distances from each query to its own rows ``near`` (q, c), in float64."""
    found = np.empty(near.shape)
    for first in range(0, len(queries), 128):  # 128 × 40 × 256 doubles are 10 MB
        part = slice(first, first + 128)
        q, x = queries[part].astype(np.float64), rows[near[part]].astype(np.float64)
        if distance is Distance.L2:
            found[part] = np.sqrt(((x - q[:, None]) ** 2).sum(axis=2))
            continue
        products = np.einsum("qcd,qd->qc", x, q)
        if distance is Distance.COSINE:
            lengths = np.linalg.norm(x, axis=2) * np.linalg.norm(q, axis=1)[:, None]
            # A product may come out above 1 by rounding; nothing is nearer than 0.
            products = np.minimum(products / lengths, 1.0)
            found[part] = 1.0 - products
        else:
            found[part] = -products
    return found
