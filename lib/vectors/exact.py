"""Exact nearest neighbours by blocked matrix products: the truth that an index is measured by.

One matrix product in float32 compares many queries with many rows at once, far quicker than a scan
for each query. Its rounding is bounded, and whatever the bound leaves in doubt is computed again
in float64, so that the result is that of float64 throughout, up to exact ties.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
from sqlalchemy import ColumnElement, LargeBinary, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from lib.errors import DimensionMismatch, InvalidInput, InvalidVector
from lib.vectors.distance import Distance, FloatArray, Storage
from lib.vectors.sql import printed
from lib.vectors.table import VectorTable

BLOCK_ROWS = 8192
TIE_TOLERANCE = 1e-12
"""Neighbours whose distances differ by less, times their own size above 1, are tied: that is the
rounding of float64."""

# What is compared at once: 1,024 queries with 8,192 rows are 32 MB of float32.
_MOST_QUERIES, _MOST_ROWS = 1024, BLOCK_ROWS
# Products of longer vectors are computed in float64 throughout: float32 ends at 3e38.
_LONGEST = 1e15

DoubleArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Neighbours:
    """ids: object array (q, k), nearest first, None where there are fewer than k. distances:
    float64 array (q, k), infinite there. tied: bool array (q,), whether a row that is not among
    the k is as near as the last of them."""

    ids: npt.NDArray[np.object_]
    distances: DoubleArray
    tied: npt.NDArray[np.bool_]

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
        self._norms = _norms(self._queries)
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
        tolerance = TIE_TOLERANCE * np.maximum(1.0, np.abs(last))
        tied = np.isfinite(next_) & (next_ <= last + tolerance)
        return Neighbours(ids[:, :-1], distances[:, :-1], tied)

    # --- one block --------------------------------------------------------------------------

    def _compare(
        self, chosen: npt.NDArray[np.int64], block: _Block, excluded: list[tuple[int, int]]
    ) -> None:
        """The contenders of a block: rows that may be nearer than the (k+1)-th nearest so far."""
        if not len(block.ids):
            return
        keys, error = self._keys(chosen, block, np.float32)
        for query, place in excluded:
            if chosen[0] <= query <= chosen[-1]:
                keys[query - chosen[0], place] = np.nan  # never below a limit, and sorted last
        keep = self._k + 1
        limit = _up(self._key_of(chosen, self._distances[chosen].max(axis=1)) + error, keys.dtype)
        counts = (keys <= limit[:, None]).sum(axis=1)
        many = np.flatnonzero(counts > 2 * keep)
        if len(many):  # the first rows, or ones that are much nearer: the block's own best will do
            best = np.partition(keys[many], keep - 1, axis=1)[:, keep - 1]
            limit[many] = np.minimum(limit[many], _up(best + 2 * error[many], keys.dtype))
            counts[many] = (keys[many] <= limit[many, None]).sum(axis=1)
        crowded = np.flatnonzero(counts > 4 * keep)  # too near to each other for float32
        places = dict(
            zip(crowded.tolist(), self._nearest(chosen, crowded, block, keys), strict=True)
        )
        for row in np.flatnonzero(counts).tolist():
            contenders = places[row] if row in places else np.flatnonzero(keys[row] <= limit[row])
            self._keep(int(chosen[row]), block, contenders)

    def _nearest(
        self,
        chosen: npt.NDArray[np.int64],
        crowded: npt.NDArray[np.int64],
        block: _Block,
        keys: npt.NDArray[Any],
    ) -> npt.NDArray[np.int64]:
        """The places of the k + 1 nearest rows of the block, by products in float64: (q, k+1)."""
        if not len(crowded):
            return np.empty((0, 0), dtype=np.int64)
        finer, _ = self._keys(chosen[crowded], block, np.float64)
        finer[np.isnan(keys[crowded])] = np.nan
        return np.argpartition(finer, self._k, axis=1)[:, : self._k + 1]

    def _keep(self, query: int, block: _Block, places: npt.NDArray[np.int64]) -> None:
        distances = np.concatenate(
            [
                self._distances[query],
                self._distance.between(self._queries[query], block.rows[places]),
            ]
        )
        nearest = np.argpartition(distances, self._k)[: self._k + 1]
        self._distances[query] = distances[nearest]
        self._ids[query] = np.concatenate([self._ids[query], block.ids[places]])[nearest]

    def _keys(
        self, chosen: npt.NDArray[np.int64], block: _Block, kind: Any
    ) -> tuple[npt.NDArray[Any], DoubleArray]:
        """What orders the rows as their distances do, (q, b), and how far it may be off, (q,).

        cosine: minus the product of unit vectors. inner product: minus the product. L2:
        |x|²/2 − x·q, which is (distance² − |q|²) / 2. A product of d terms is off by at most
        about d · u · |x| · |q|, u being half the spacing of numbers at 1 (Higham 2002, "Accuracy
        and Stability of Numerical Algorithms", section 3.1).
        """
        long = block.longest * float(self._norms[chosen].max()) > _LONGEST**2
        long = long or max(block.longest, float(self._norms[chosen].max())) > _LONGEST
        kind = np.float64 if long else kind
        u = float(np.finfo(kind).eps) / 2
        queries, rows = self._queries[chosen].astype(kind), block.rows.astype(kind, copy=False)
        lengths = self._norms[chosen]
        width = rows.shape[1] + 8
        if self._distance is Distance.COSINE:
            queries /= lengths[:, None].astype(kind)
            rows = rows / block.norms[:, None].astype(kind)
            return -queries @ rows.T, np.full(len(chosen), width * u)
        keys = -queries @ rows.T
        error = width * u * lengths * block.longest
        if self._distance is Distance.L2:
            keys += (block.norms**2 / 2).astype(kind)
            error = error + 4 * u * (block.longest**2 + lengths * block.longest)
        return keys, error

    def _key_of(self, chosen: npt.NDArray[np.int64], distances: DoubleArray) -> DoubleArray:
        if self._distance is Distance.COSINE:
            return distances - 1
        if self._distance is Distance.L2:
            return (distances**2 - self._norms[chosen] ** 2) / 2
        return distances


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
        norms = _norms(rows)
        return cls(kept, rows, norms, float(norms.max(initial=0.0)))


def _up(limit: DoubleArray, kind: Any) -> npt.NDArray[Any]:
    """As numbers of the keys' kind that are no smaller: comparing is quick then."""
    with np.errstate(over="ignore"):  # infinite then: no limit
        return np.asarray(np.nextafter(limit.astype(kind), np.asarray(np.inf, dtype=kind)))


def _norms(rows: FloatArray) -> DoubleArray:
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64)))


def _usable(rows: FloatArray) -> npt.NDArray[np.bool_]:
    """Not zero to pgvector, which adds squares up in float32."""
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(np.square(rows).any(axis=1))


# --- reading a table ----------------------------------------------------------------------------


async def stream_vectors(
    db: AsyncSession,
    table: VectorTable,
    *,
    where: Sequence[ColumnElement[bool]] = (),
    block_rows: int = BLOCK_ROWS,
) -> AsyncGenerator[tuple[list[Any], FloatArray]]:
    """The table's vectors in blocks of ids (b) and float32 rows (b, d), out of one snapshot; rows
    without an embedding are left out.

    A server-side cursor sends them in binary, which is exact and needs no parsing. Values of
    ``where`` are written into the statement.
    """
    send = func.vector_send if table.storage is Storage.VECTOR else func.halfvec_send
    embedding = table.column(table.embedding)
    statement = select(table.column(table.id), send(embedding, type_=LargeBinary())).where(
        embedding.is_not(None), *where
    )
    connection: Any = await (await db.connection()).get_raw_connection()
    async with psycopg.AsyncServerCursor(
        connection.driver_connection, "vecscope_vectors"
    ) as cursor:
        await cursor.execute(printed(statement).encode(), binary=True)
        while rows := await cursor.fetchmany(block_rows):
            yield [row[0] for row in rows], _received([row[1] for row in rows], table.storage)


def _received(sent: Sequence[bytes], storage: Storage) -> FloatArray:
    """pgvector's vector_send and halfvec_send: two 16-bit numbers (the dimensions, and 0), then
    the values, the most significant byte first.

    Raises DimensionMismatch where the rows differ in length, as they may in a column without a
    fixed number of dimensions.
    """
    value = ">f4" if storage is Storage.VECTOR else ">f2"
    length = len(sent[0])
    if any(len(each) != length for each in sent):
        raise DimensionMismatch("The column holds vectors of different dimensions.")
    row = np.dtype([("head", "V4"), ("values", value, (length - 4) // int(value[-1]))])
    return np.frombuffer(b"".join(sent), row)["values"].astype(np.float32)
