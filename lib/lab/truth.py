"""The exact nearest neighbours of a batch of queries, computed once and kept.

They are found among the collection's own vectors, outside of any index (:mod:`lib.vectors.exact`),
and kept in the database under a fingerprint of all that they depend on.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
import uuid
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from lib.errors import DimensionMismatch, InvalidInput, NotFound
from lib.lab.queries import QueryBatch
from lib.search.filters import Filter, conditions
from lib.store.collections import Collection
from lib.store.database import Database
from lib.store.records import CandidateRecord, CollectionRecord, TruthRecord
from lib.vectors.exact import ExactSearch, Neighbours
from lib.vectors.recall import FLOAT64_TOLERANCE, tie_limit
from lib.vectors.stream import stream_vectors
from lib.vectors.tuning import RESULT_LIMIT

KEPT = 20
"""Truths of a collection that are kept, the last used ones."""

_FORM = "truth 1"  # a part of each fingerprint: another number where the computing changes


@dataclass(frozen=True, eq=False)
class Truth:
    """The k nearest rows of each query.

    ids: object array (q, k), nearest first, None where there are fewer. distances: float64 (q, k),
    ascending, infinite there. tied: bool (q,), whether a row that is not among the k is as near as
    the last of them. fingerprint: of all that they depend on. revision: the collection's, when
    its vectors were read. rows: that pass the filter and have an embedding, of ``total`` with one.
    seconds: what the computing took, be it now or when it was kept; from_cache: it was kept.
    """

    ids: npt.NDArray[np.object_]
    distances: npt.NDArray[np.float64]
    tied: npt.NDArray[np.bool_]
    fingerprint: str
    revision: int
    rows: int
    total: int
    seconds: float
    from_cache: bool

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def k(self) -> int:
        return int(self.ids.shape[1])

    @property
    def found(self) -> npt.NDArray[np.int64]:
        """How many neighbours each query has, (q,): below k where the rows are so few."""
        return np.asarray(np.isfinite(self.distances).sum(axis=1))

    @property
    def selectivity(self) -> float:
        """The share of the rows that pass the filter, 0–1."""
        return self.rows / self.total if self.total else 0.0

    def nearest(self, k: int) -> Truth:
        """The truth for a smaller k. Raises InvalidInput for a larger one."""
        if not 1 <= k <= self.k:
            raise InvalidInput(f"The truth has {self.k} neighbours, not {k}.", field="k")
        if k == self.k:
            return self
        last, next_ = self.distances[:, k - 1], self.distances[:, k]
        return replace(
            self,
            ids=self.ids[:, :k],
            distances=self.distances[:, :k],
            tied=np.isfinite(next_) & (next_ <= tie_limit(last, FLOAT64_TOLERANCE)),
        )

    def head(self, count: int) -> Truth:
        """That of the first queries (:meth:`QueryBatch.head`)."""
        return replace(
            self,
            ids=self.ids[:count],
            distances=self.distances[:count],
            tied=self.tied[:count],
        )


async def find_truth(
    database: Database,
    collection: Collection,
    batch: QueryBatch,
    k: int,
    filters: Sequence[Filter] = (),
    *,
    revision: int | None = None,
) -> Truth:
    """The k nearest rows of each query among those that pass the filters: from what is kept, else
    computed, and kept.

    revision: of which state of the collection, by default the present one; of an earlier one
    only what was kept can be had.
    Raises LimitExceeded, DimensionMismatch, InvalidInput (no row passes the filter or has a
    distance; the collection has moved on from ``revision``), NotFound where it is gone.
    """
    RESULT_LIMIT.check(k, "k")
    if batch.vectors.shape[1] != collection.dimensions:
        raise DimensionMismatch(
            f"The queries have {batch.vectors.shape[1]:,} dimensions, “{collection.name}” has "
            f"{collection.dimensions:,}.",
            hint="Use queries of the model that the collection was embedded with.",
            field="queries",
        )
    async with database.session() as db:
        # The mark and the vectors out of one snapshot.
        await db.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        now = await current_mark(db, collection)
        mark = now if revision is None else revision
        fingerprint = fingerprint_of(collection, batch, filters, mark)
        # Vectors that grow beside the collection's own do not move its mark: never kept.
        kept = None if collection.is_shadow else await _kept(db, fingerprint, k)
        if kept is None and mark != now:
            raise InvalidInput(
                f"“{collection.name}” was written to since, and the truth of that state was not "
                "kept.",
                hint="Start a new experiment.",
            )
        found = kept or await _compute(db, collection, batch, k, filters, mark, fingerprint)
    if kept is not None:
        await _note_use(database, fingerprint)
    elif not collection.is_shadow:
        await _keep(database, collection, found)
    return found.nearest(k)


async def current_mark(db: AsyncSession, collection: Collection) -> int:
    """The collection's change mark. Raises NotFound."""
    mark = await db.scalar(
        select(CollectionRecord.revision).where(CollectionRecord.id == collection.id)
    )
    if mark is None:
        raise NotFound(f"The collection “{collection.name}” is gone.")
    return int(mark)


def fingerprint_of(
    collection: Collection, batch: QueryBatch, filters: Sequence[Filter], revision: int
) -> str:
    """SHA-256, as hexadecimal digits, of all that the truth depends on but k."""
    facts = {
        "form": _FORM,
        "collection": str(collection.id),
        "change_mark": revision,
        "embedding": collection.table.embedding,
        "distance": collection.distance.value,
        "storage": collection.storage.value,
        "dimensions": collection.dimensions,
        "filters": sorted(json.dumps(asdict(each), sort_keys=True) for each in filters),
        "own_ids": [None if id_ is None else str(id_) for id_ in batch.own_ids],
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    digest.update(np.ascontiguousarray(batch.vectors, dtype="<f4").tobytes())
    return digest.hexdigest()


async def _compute(
    db: AsyncSession,
    collection: Collection,
    batch: QueryBatch,
    k: int,
    filters: Sequence[Filter],
    mark: int,
    fingerprint: str,
) -> Truth:
    table = collection.table
    started = time.perf_counter()
    search = ExactSearch(batch.vectors, k, collection.distance, batch.own_ids)
    rows = 0
    comparing: asyncio.Task[None] | None = None
    try:
        async for ids, vectors in stream_vectors(db, table, where=conditions(table, filters)):
            rows += len(ids)
            if comparing is not None:
                await comparing
            # The next block is read meanwhile.
            comparing = asyncio.create_task(asyncio.to_thread(search.add, ids, vectors))
    finally:
        if comparing is not None:
            await comparing
    total = rows
    if filters:
        total = int(
            await db.scalar(
                select(func.count())
                .select_from(table.rows)
                .where(table.column(table.embedding).is_not(None))
            )
            or 0
        )
    neighbours = search.result()
    _check_any(collection, filters, neighbours, rows, total)
    return Truth(
        ids=neighbours.ids,
        distances=neighbours.distances,
        tied=neighbours.tied,
        fingerprint=fingerprint,
        revision=mark,
        rows=rows,
        total=total,
        seconds=time.perf_counter() - started,
        from_cache=False,
    )


def _check_any(
    collection: Collection, filters: Sequence[Filter], found: Neighbours, rows: int, total: int
) -> None:
    if found.found.any():
        return
    if filters and not rows:
        raise InvalidInput(
            f"The filter {' and '.join(map(str, filters))} leaves none of the {total:,} rows of "
            f"“{collection.name}”: there is nothing to find.",
            hint="Loosen the filter.",
            field="filter",
        )
    raise InvalidInput(
        f"No row of “{collection.name}” can be a neighbour of a query: of the {rows:,} that there "
        "are, none is another row with a distance to it.",
        hint="Load more documents, and embed them.",
        field="collection",
    )


# --- keeping ------------------------------------------------------------------------------------


async def _kept(db: AsyncSession, fingerprint: str, k: int) -> Truth | None:
    record = await db.scalar(
        select(TruthRecord).where(TruthRecord.fingerprint == fingerprint, TruthRecord.k >= k)
    )
    if record is None:
        return None
    shape = (record.queries, record.k)
    distances = np.frombuffer(record.distances, dtype="<f8").reshape(shape).astype(np.float64)
    return Truth(
        ids=_read_ids(record.id_kind, record.ids, distances),
        distances=distances,
        tied=np.frombuffer(record.tied, dtype=np.bool_),
        fingerprint=record.fingerprint,
        revision=record.revision,
        rows=record.rows,
        total=record.total,
        seconds=record.seconds,
        from_cache=True,
    )


async def _note_use(database: Database, fingerprint: str) -> None:
    async with database.session() as db:
        await db.execute(
            update(TruthRecord)
            .where(TruthRecord.fingerprint == fingerprint)
            .values(used_at=func.now())
        )


async def _keep(database: Database, collection: Collection, truth: Truth) -> None:
    """And drops those that nothing can ask for any more, or nobody did for long. Ids of a type that
    cannot be written down are not kept."""
    written = _written_ids(truth)
    if written is None:
        return
    id_kind, ids = written
    values = {
        "collection_id": collection.id,
        "revision": truth.revision,
        "k": truth.k,
        "queries": len(truth),
        "id_kind": id_kind,
        "ids": ids,
        "distances": truth.distances.astype("<f8").tobytes(),
        "tied": truth.tied.tobytes(),
        "rows": truth.rows,
        "total": truth.total,
        "seconds": truth.seconds,
        "used_at": func.now(),
    }
    of_collection = TruthRecord.collection_id == collection.id
    marks = select(CandidateRecord.revision).where(
        CandidateRecord.collection_id == collection.id, CandidateRecord.revision.is_not(None)
    )
    newest = (
        select(TruthRecord.fingerprint)
        .where(of_collection)
        .order_by(TruthRecord.used_at.desc(), TruthRecord.fingerprint)
        .limit(KEPT)
    )
    async with database.session() as db:
        held = select(CollectionRecord.id).where(CollectionRecord.id == collection.id)
        if await db.scalar(held.with_for_update(key_share=True)) is None:
            return  # dropped meanwhile
        await db.execute(
            insert(TruthRecord)
            .values(fingerprint=truth.fingerprint, **values)
            .on_conflict_do_update(
                index_elements=["fingerprint"],
                set_=values,
                where=TruthRecord.k < truth.k,
            )
        )
        current = select(CollectionRecord.revision).where(CollectionRecord.id == collection.id)
        await db.execute(
            delete(TruthRecord).where(
                of_collection,
                TruthRecord.revision.not_in(marks)
                & (TruthRecord.revision != current.scalar_subquery())
                | TruthRecord.fingerprint.not_in(newest),
            )
        )


def _written_ids(truth: Truth) -> tuple[str, bytes] | None:
    there = [id_ for id_ in truth.ids.ravel() if id_ is not None]
    if all(isinstance(id_, uuid.UUID) for id_ in there):
        return "uuid", b"".join(id_.bytes for id_ in there)
    if all(type(id_) is int for id_ in there):
        return "int", np.array(there, dtype="<i8").tobytes()  # PostgreSQL has none longer
    if all(isinstance(id_, str) for id_ in there):
        return "text", json.dumps(there).encode()
    return None


def _read_ids(
    kind: str, written: bytes, distances: npt.NDArray[np.float64]
) -> npt.NDArray[np.object_]:
    there: Sequence[Hashable]
    if kind == "uuid":
        there = [uuid.UUID(bytes=written[at : at + 16]) for at in range(0, len(written), 16)]
    elif kind == "int":
        there = np.frombuffer(written, dtype="<i8").tolist()
    else:
        there = json.loads(written)
    ids: npt.NDArray[Any] = np.full(distances.shape, None, dtype=object)
    ids[np.isfinite(distances)] = there
    return ids
