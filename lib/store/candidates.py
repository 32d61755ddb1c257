"""Candidates: copies of a collection's vectors that we own, each with one approximate index.

They are made by :mod:`lib.lab.candidates`; here they are found, and removed.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.schema import DropTable

from lib.errors import Busy, NotFound
from lib.store.collections import Collection
from lib.store.records import SCHEMA, CandidateRecord, CollectionRecord
from lib.vectors.distance import Storage
from lib.vectors.indexes import IndexKind, IndexSpec, parse_spec
from lib.vectors.table import VectorTable


class CandidateState(StrEnum):
    BUILDING = "building"
    READY = "ready"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    """Its process ended before it was built."""


@dataclass(frozen=True)
class Candidate:
    """A candidate as its row was when it was read.

    table: its id, embedding, category and metadata, to search by vector. rows, index_bytes and
    the like are None until it is ready. stale: the collection was written to since the copying.
    build_seconds: the index alone, without the copying. parallel_workers: as allowed for the
    build. error: why it failed.
    """

    id: uuid.UUID
    collection_id: uuid.UUID
    job_id: uuid.UUID | None
    name: str
    spec: IndexSpec
    table: VectorTable
    index_name: str | None
    state: CandidateState
    error: str | None
    rows: int | None
    stale: bool
    build_seconds: float | None
    index_bytes: int | None
    table_bytes: int | None
    maintenance_work_mem: str | None
    parallel_workers: int | None
    notices: tuple[str, ...]
    created_at: datetime

    @property
    def kind(self) -> IndexKind:
        return self.spec.kind

    @property
    def ready(self) -> bool:
        return self.state is CandidateState.READY

    @property
    def size_bytes(self) -> int | None:
        """On disk: the vectors and the index."""
        if self.index_bytes is None or self.table_bytes is None:
            return None
        return self.index_bytes + self.table_bytes


def candidate_table(collection: Collection, table_name: str, storage: Storage) -> VectorTable:
    """How to search the vectors of a candidate; its columns have our names."""
    table = collection.table
    return VectorTable(
        name=table_name,
        schema=SCHEMA,
        content=None,
        category=None if table.category is None else "category",
        metadata=None if table.metadata is None else "metadata",
        distance=table.distance,
        storage=storage,
        dimensions=table.dimensions,
    )


async def list_candidates(db: AsyncSession, collection: Collection) -> list[Candidate]:
    """All of the collection's, in whatever state, the newest first."""
    if collection.is_next:
        return []  # they are copies of its own vectors
    # The mark is the row's of now: the caller's Collection may be older.
    rows = await db.execute(
        select(CandidateRecord, CollectionRecord.change_mark)
        .join_from(CandidateRecord, CollectionRecord)
        .where(CandidateRecord.collection_id == collection.id)
        .order_by(CandidateRecord.created_at.desc(), CandidateRecord.id)
        .execution_options(populate_existing=True)
    )
    return [_candidate(record, collection, mark) for record, mark in rows]


def _candidate(record: CandidateRecord, collection: Collection, mark: int) -> Candidate:
    return Candidate(
        id=record.id,
        collection_id=record.collection_id,
        job_id=record.job_id,
        name=record.name,
        spec=parse_spec(record.kind, record.options),
        table=candidate_table(collection, record.table_name, Storage(record.storage)),
        index_name=record.index_name,
        state=CandidateState(record.state),
        error=record.error,
        rows=record.rows,
        stale=record.change_mark is not None and record.change_mark != mark,
        build_seconds=record.build_seconds,
        index_bytes=record.index_bytes,
        table_bytes=record.table_bytes,
        maintenance_work_mem=record.maintenance_work_mem,
        parallel_workers=record.parallel_workers,
        notices=tuple(record.notices),
        created_at=record.created_at,
    )


async def get_candidate(
    db: AsyncSession, collection: Collection, wanted: uuid.UUID | str
) -> Candidate:
    """By id, or by name (capitals do not matter). Raises NotFound, naming what there is."""
    found = await list_candidates(db, collection)
    for candidate in found:
        if wanted in (candidate.id, str(candidate.id)):
            return candidate
        if isinstance(wanted, str) and candidate.name.casefold() == wanted.casefold():
            return candidate
    names = ", ".join(f"“{candidate.name}”" for candidate in found[:10])
    raise NotFound(
        f"“{collection.name}” has no such candidate (any more)."
        if isinstance(wanted, uuid.UUID)
        else f"“{collection.name}” has no candidate called “{wanted}”.",
        hint=f"There is: {names}." if names else "Build one first.",
        field="candidate",
    )


def newest_ready(candidates: Sequence[Candidate], kind: IndexKind) -> Candidate | None:
    """The newest of a kind that can be searched; one that is not stale goes before."""
    ready = [each for each in candidates if each.ready and each.kind is kind]
    return max(ready, key=lambda each: (not each.stale, each.created_at), default=None)


async def drop_candidate(db: AsyncSession, candidate: Candidate) -> None:
    """Removes the copy and its row. Raises Busy while it is being built."""
    if candidate.state is CandidateState.BUILDING:
        raise Busy(
            f"The candidate “{candidate.name}” is being built.", hint="Cancel its job instead."
        )
    await db.execute(DropTable(candidate.table.table, if_exists=True))
    record = await db.get(CandidateRecord, candidate.id)
    if record is None:
        raise NotFound(f"The candidate “{candidate.name}” is gone already.")
    await db.delete(record)
