"""Exact nearest neighbours by blocked matrix products: the truth that an index is measured by.

One matrix product in float32 compares many queries with many rows at once, far quicker than a scan
for each query. Its rounding is bounded, and whatever the bound leaves in doubt is computed again
in float64, so that the result is that of float64 throughout, up to exact ties.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

import numpy as np
import numpy.typing as npt
from sqlalchemy import ColumnElement
from sqlalchemy.ext.asyncio import AsyncSession

from lib.errors import DimensionMismatch, InvalidInput, InvalidVector
from lib.vectors.distance import Distance, FloatArray
from lib.vectors.recall import FLOAT64_TOLERANCE, tie_limit
from lib.vectors.stream import BLOCK_ROWS, stream_vectors
from lib.vectors.table import VectorTable

# What is compared at once: 1,024 queries with 8,192 rows are 32 MB of float32.
_MOST_QUERIES, _MOST_ROWS = 1024, BLOCK_ROWS
_MOST_CONTENDERS = 2**20  # 8 MB of float64 distances, and of ids
_MOST_VALUES = 2**17  # of vectors in float64: 1 MB, which a processor keeps near
# Products of longer vectors are computed in float64 throughout: float32 ends at 3e38.
_LONGEST = 1e15

DoubleArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Neighbours:
    """The exact nearest neighbours of each query."""

    ids: npt.NDArray[np.object_]
    """Object array (q, k), nearest first; None where there are fewer than k."""

    distances: DoubleArray
    """float64 array (q, k), infinite where there is no neighbour."""

    tied: npt.NDArray[np.bool_]
    """bool array (q,): whether a row that is not among the k is as near as the last of them."""

    @property
    def found(self) -> npt.NDArray[np.int64]:
        """How many each query has: (q,)."""
        return np.asarray(np.isfinite(self.distances).sum(axis=1))


def exact_neighbours(
    queries: FloatArray,
    blocks: Iterable[tuple[Sequence[Hashable], FloatArray]],
    k: int,
    distance: Distance,
    exclude: Sequence[Hashable | None] | None = None,
) -> Neighbours:
    """The k nearest rows of each query.

    queries: float32 array (q, d). blocks: ids (b) and float32 rows (b, d) each; one block is held
    at a time. exclude: for each query the id of a row that is no neighbour of it (the query's
    own), or None. Under cosine, rows that are zero have no distance and are left out.
    Raises as :class:`ExactSearch`.
    """
    search = ExactSearch(queries, k, distance, exclude)
    for ids, rows in blocks:
        search.add(ids, rows)
    return search.result()


async def exact_neighbours_in(
    db: AsyncSession,
    table: VectorTable,
    queries: FloatArray,
    k: int,
    exclude: Sequence[Hashable | None] | None = None,
    *,
    where: Sequence[ColumnElement[bool]] = (),
) -> Neighbours:
    """:func:`exact_neighbours` among the table's rows, streamed; the products are computed in a
    thread. where: only these rows."""
    search = ExactSearch(queries, k, table.distance, exclude)
    async for ids, rows in stream_vectors(db, table, where=where):
        await asyncio.to_thread(search.add, ids, rows)
    return search.result()


class ExactSearch:
    """Takes rows block by block and keeps the nearest of each query.

    Raises InvalidInput (k below 1, or not one ``exclude`` a query), InvalidVector (queries that
    are not finite, or zero under cosine) and DimensionMismatch.
    """

    def __init__(
        self,
        queries: FloatArray,
        k: int,
        distance: Distance,
        exclude: Sequence[Hashable | None] | None = None,
    ) -> None:
        self._queries = np.ascontiguousarray(queries, dtype=np.float32)
        if self._queries.ndim != 2:
            raise InvalidVector(f"The queries have the shape {queries.shape}, not (q, d).")
        if k < 1:
            raise InvalidInput(f"k is {k}, below 1.", field="k")
        if exclude is not None and len(exclude) != len(queries):
            raise InvalidInput(
                f"There are {len(exclude):,} ids to leave out for {len(queries):,} queries.",
                field="exclude",
            )
        if not np.isfinite(self._queries).all():
            raise InvalidVector("A query has a value that is not a finite number.")
        self._norms = norms_of(self._queries)
        if distance is Distance.COSINE and not _usable(self._queries).all():
            raise InvalidVector("A query is all zeros, which has no cosine distance to anything.")
        self._k, self._distance = k, distance
        # One more than asked for, to know of ties.
        self._ids = np.full((len(queries), k + 1), None, dtype=object)
        self._distances = np.full((len(queries), k + 1), np.inf)
        self._excluded: dict[Hashable, list[int]] = {}
        for query, id_ in enumerate(exclude or ()):
            if id_ is not None:
                self._excluded.setdefault(id_, []).append(query)

    def add(self, ids: Sequence[Hashable], rows: FloatArray) -> None:
        """ids (b) and float32 rows (b, d)."""
        if rows.ndim != 2 or rows.shape[1] != self._queries.shape[1]:
            raise DimensionMismatch(
                f"The rows have the shape {rows.shape}, the queries have "
                f"{self._queries.shape[1]} dimensions."
            )
        rows = np.ascontiguousarray(rows, dtype=np.float32)
        for start in range(0, len(rows), _MOST_ROWS):
            part = slice(start, start + _MOST_ROWS)
            block = _Block.of(ids[part], rows[part], self._distance)
            excluded = [
                (query, place)
                for place, id_ in enumerate(block.ids if self._excluded else ())
                for query in self._excluded.get(id_, ())
            ]
            for first in range(0, len(self._queries), _MOST_QUERIES):
                self._compare(
                    np.arange(first, min(first + _MOST_QUERIES, len(self._queries))),
                    block,
                    excluded,
                )

    def result(self) -> Neighbours:
        order = np.argsort(self._distances, axis=1, kind="stable")
        distances = np.take_along_axis(self._distances, order, axis=1)
        ids = np.take_along_axis(self._ids, order, axis=1)
        last, next_ = distances[:, -2], distances[:, -1]
        tied = np.isfinite(next_) & (next_ <= tie_limit(last, FLOAT64_TOLERANCE))
        return Neighbours(ids[:, :-1], distances[:, :-1], tied)

    # --- one block --------------------------------------------------------------------------

    def _compare(
        self, chosen: npt.NDArray[np.int64], block: _Block, excluded: list[tuple[int, int]]
    ) -> None:
        """Finds a block's contenders, rows that may be nearer than the (k+1)-th nearest so far."""
        if not len(block.ids):
            return
        keys, error = self._keys(chosen, block, np.float32)
        for query, place in excluded:
            if chosen[0] <= query <= chosen[-1]:
                keys[query - chosen[0], place] = np.nan  # never below a limit, and sorted last
        keep = self._k + 1
        worst = self._distances[chosen].max(axis=1)
        limit = self._key_of(chosen, worst) + error
        if self._distance is Distance.L2:
            limit[worst == 0] = -np.inf  # nothing is nearer: no need to look at more duplicates
        near = keys <= _up(limit, keys.dtype)[:, None]
        counts = np.count_nonzero(near, axis=1)
        many = np.flatnonzero(counts > 2 * keep)
        if len(many):  # the first rows, or ones that are much nearer: the block's own best will do
            near[many] &= _best(keys[many], keep, error[many])
            counts[many] = np.count_nonzero(near[many], axis=1)
        crowded = np.flatnonzero(counts > 4 * keep)  # too near to each other for float32
        if len(crowded):
            near[crowded] = self._best_of_crowd(chosen[crowded], block, near[crowded])
            counts[crowded] = np.count_nonzero(near[crowded], axis=1)
        step = max(1, _MOST_CONTENDERS // max(1, int(counts.max())))
        for first in range(0, len(chosen), step):
            part = slice(first, first + step)
            self._keep(chosen[part], block, near[part], counts[part])

    def _best_of_crowd(
        self, chosen: npt.NDArray[np.int64], block: _Block, near: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.bool_]:
        """Those of the contenders (q, b) that are the nearest by products in float64."""
        keep = self._k + 1
        keys, error = self._keys(chosen, block, np.float64)
        keys[~near] = np.nan
        places = np.argpartition(keys, self._k, axis=1)[:, :keep]
        best = np.zeros_like(near)
        np.put_along_axis(best, places, True, axis=1)
        if self._distance is Distance.L2:
            # Near 0 a root magnifies what the keys leave open: the distances must decide.
            last = np.take_along_axis(keys, places, axis=1).max(axis=1)
            squares = 2 * last + self._norms[chosen] ** 2
            unsure = 2 * error > FLOAT64_TOLERANCE * squares
            best[unsure] = _best(keys[unsure], keep, error[unsure])
        return best

    def _keep(
        self,
        chosen: npt.NDArray[np.int64],
        block: _Block,
        near: npt.NDArray[np.bool_],
        counts: npt.NDArray[np.int64],
    ) -> None:
        """The nearest of what was kept and the contenders (q, b), ``counts`` (q,) of them."""
        query, place = np.divmod(np.flatnonzero(near), near.shape[1])
        if not len(query):
            return
        rank = np.arange(len(query)) - (np.cumsum(counts) - counts)[query]
        places = np.zeros((len(chosen), counts.max()), dtype=np.int64)
        places[query, rank] = place
        # Farther than infinity, which stands for neighbours that are wanting yet.
        distances = np.full(places.shape, np.nan)
        distances[query, rank] = self._between(chosen[query], block, place)
        both = np.concatenate([self._distances[chosen], distances], axis=1)
        nearest = np.argpartition(both, self._k, axis=1)[:, : self._k + 1]
        stays = np.zeros(both.shape, dtype=np.bool_)
        np.put_along_axis(stays, nearest, True, axis=1)
        # As many come to a query as go; those that stay are not touched, for ids are objects.
        comes = stays[:, self._k + 1 :]
        row, column = np.nonzero(~stays[:, : self._k + 1])
        self._distances[chosen[row], column] = distances[comes]
        self._ids[chosen[row], column] = block.ids[places[comes]]

    def _between(
        self, chosen: npt.NDArray[np.int64], block: _Block, places: npt.NDArray[np.int64]
    ) -> DoubleArray:
        """The distances of pairs of a query and a row, in float64: (p,)."""
        found = np.empty(len(chosen))
        for part in _parts(len(chosen), block.rows.shape[1]):
            q = self._queries[chosen[part]].astype(np.float64)
            x = block.rows[places[part]].astype(np.float64)
            match self._distance:
                case Distance.L2:
                    x -= q
                    found[part] = np.sqrt(np.vecdot(x, x))
                case Distance.COSINE | Distance.INNER_PRODUCT:
                    found[part] = -np.vecdot(q, x)
                case _:
                    assert_never(self._distance)
        if self._distance is Distance.COSINE:
            found = 1.0 + found / (self._norms[chosen] * block.norms[places])
        return found

    def _keys(
        self, chosen: npt.NDArray[np.int64], block: _Block, kind: Any
    ) -> tuple[npt.NDArray[Any], DoubleArray]:
        """What orders the rows as their distances do, (q, b), and how far it may be off, (q,).

        cosine: minus the product of unit vectors. inner product: minus the product. L2:
        |x|²/2 − x·q, which is (distance² − |q|²) / 2. A product of d terms is off by at most
        about d · u · |x| · |q|, u being half the spacing of numbers at 1 (Higham 2002, "Accuracy
        and Stability of Numerical Algorithms", section 3.1).
        """
        lengths = self._norms[chosen]
        longest = float(lengths.max())
        if block.longest * longest > _LONGEST**2 or max(block.longest, longest) > _LONGEST:
            kind = np.float64
        u = float(np.finfo(kind).eps) / 2
        width = block.rows.shape[1] + 8
        queries, rows = -self._queries[chosen].astype(kind), block.rows.astype(kind, copy=False)
        product_error = width * u * lengths * block.longest
        match self._distance:
            case Distance.COSINE:
                queries /= lengths[:, None].astype(kind)
                if len(queries) < rows.shape[1]:  # the products are fewer than the rows' values
                    keys = queries @ rows.T
                    keys /= block.norms.astype(kind)
                else:
                    keys = queries @ (rows / block.norms[:, None].astype(kind)).T
                return keys, np.full(len(chosen), width * u)
            case Distance.INNER_PRODUCT:
                return queries @ rows.T, product_error
            case Distance.L2:
                keys = queries @ rows.T
                keys += (block.norms**2 / 2).astype(kind)
                return keys, product_error + 4 * u * (block.longest**2 + lengths * block.longest)
            case _:
                assert_never(self._distance)

    def _key_of(self, chosen: npt.NDArray[np.int64], distances: DoubleArray) -> DoubleArray:
        """The key, as :meth:`_keys` has it, of a row at each of these distances."""
        match self._distance:
            case Distance.COSINE:
                return distances - 1
            case Distance.L2:
                return (distances**2 - self._norms[chosen] ** 2) / 2
            case Distance.INNER_PRODUCT:
                return distances
            case _:
                assert_never(self._distance)


@dataclass(frozen=True)
class _Block:
    """Rows that have a distance. norms: float64 (b,); longest: the largest of them."""

    ids: npt.NDArray[np.object_]
    rows: FloatArray
    norms: DoubleArray
    longest: float

    @classmethod
    def of(cls, ids: Sequence[Hashable], rows: FloatArray, distance: Distance) -> _Block:
        kept = np.empty(len(ids), dtype=object)
        kept[:] = list(ids)
        if distance is Distance.COSINE:
            usable = _usable(rows)
            if not usable.all():
                kept, rows = kept[usable], rows[usable]
        norms = norms_of(rows)
        return cls(kept, rows, norms, float(norms.max(initial=0.0)))


def _best(keys: npt.NDArray[Any], keep: int, error: DoubleArray) -> npt.NDArray[np.bool_]:
    """Which may be among the ``keep`` smallest of each row, as far off as keys (q, b) may be."""
    last = np.partition(keys, keep - 1, axis=1)[:, keep - 1]
    return np.asarray(keys <= _up(last + 2 * error, keys.dtype)[:, None])


def _up(limit: DoubleArray, kind: Any) -> npt.NDArray[Any]:
    """As numbers of the keys' kind that are no smaller: comparing is quick then."""
    with np.errstate(over="ignore"):  # infinite then: no limit
        return np.asarray(np.nextafter(limit.astype(kind), np.asarray(np.inf, dtype=kind)))


def _parts(vectors: int, dimensions: int) -> Iterator[slice]:
    """Of so many vectors those that are converted to float64 at once."""
    size = max(1, _MOST_VALUES // max(1, dimensions))
    for first in range(0, vectors, size):
        yield slice(first, first + size)


def norms_of(rows: FloatArray) -> DoubleArray:
    """The lengths of float32 rows (n, d), summed in float64 without a whole copy of them: (n,)."""
    squares = np.empty(len(rows))
    for part in _parts(*rows.shape):
        x = rows[part].astype(np.float64)
        squares[part] = np.vecdot(x, x)
    return np.asarray(np.sqrt(squares))


def _usable(rows: FloatArray) -> npt.NDArray[np.bool_]:
    """Not zero to pgvector, which adds squares up in float32."""
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(np.einsum("ij,ij->i", rows, rows) != 0)
