"""Candidates: copies of a collection's vectors that we own, each with one approximate index.

They are made by :mod:`lib.lab.candidates`; here they are found, and removed.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.schema import DropTable

from lib.actors import LOCAL, Actor, writes
from lib.errors import Busy, InvalidInput, NotFound
from lib.store.collections import Collection
from lib.store.names import NameLookup
from lib.store.records import SCHEMA, CandidateRecord, CollectionRecord
from lib.vectors.distance import ElementType, Storage
from lib.vectors.index_methods import IndexMethod, IndexSpec, parse_spec, parse_spec_text
from lib.vectors.table import VectorTable


@dataclass(frozen=True, slots=True)
class CandidateSpec:
    """What a candidate is to be: its index, and what that holds. As text
    ``hnsw:m=16,ef_construction=64@halfvec``, read by :func:`parse_candidate`."""

    index: IndexSpec
    storage: ElementType

    def __str__(self) -> str:
        return f"{self.index}@{self.storage.value}"

    @property
    def label(self) -> str:
        """Such as “HNSW m 16, ef_construction 64 (halfvec)”."""
        return f"{self.index.label} ({self.storage.label})"


def indexed_table(table: VectorTable, spec: CandidateSpec) -> VectorTable:
    """The table as it is to be indexed: by its column, by the column cast to halfvec, or by its
    bits. A column of halfvec needs no cast, whatever the candidate held."""
    return replace(
        table,
        indexed_as=spec.storage.indexed_as(table.storage),
    )


def parse_candidate(text: str, rows: int, storage: Storage | ElementType) -> CandidateSpec:
    """``hnsw:m=16,ef_construction=64@halfvec``. What is not said in it is the usual: the lists of
    so many rows, and this storage.

    Raises InvalidInput where it cannot be read, LimitExceeded for a value.
    """
    index, _, held = text.partition("@")
    held = held.strip().lower() or storage.value
    try:
        chosen = ElementType(held)
    except ValueError:
        raise InvalidInput(
            f"“{held}” is no storage of a candidate.",
            hint=f"Take one of {', '.join(ElementType)}, such as in hnsw@halfvec.",
            field="index",
        ) from None
    return CandidateSpec(parse_spec_text(index, rows), chosen)


class CandidateState(StrEnum):
    BUILDING = "building"
    READY = "ready"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    """Its process ended before it was built."""


@dataclass(frozen=True)
class Candidate:
    """A candidate as its row was when it was read.

    storage: what its index holds. table: its id, embedding, category and metadata, to search by
    vector. rows, index_bytes and the like are None until it is ready. stale: the collection was
    written to since the copying. copy_seconds: the copying; build_seconds: the index alone.
    parallel_workers: as allowed for the build. error: why it failed.
    """

    id: uuid.UUID
    collection_id: uuid.UUID
    job_id: uuid.UUID | None
    name: str
    index: IndexSpec
    storage: ElementType
    table: VectorTable
    index_name: str | None
    state: CandidateState
    error: str | None
    rows: int | None
    stale: bool
    copy_seconds: float | None
    build_seconds: float | None
    index_bytes: int | None
    table_bytes: int | None
    maintenance_work_mem: str | None
    parallel_workers: int | None
    notices: tuple[str, ...]
    created_at: datetime

    @property
    def method(self) -> IndexMethod:
        return self.index.method

    @property
    def spec(self) -> CandidateSpec:
        return CandidateSpec(self.index, self.storage)

    @property
    def exact_table(self) -> VectorTable:
        """The same vectors, to be compared in full, row by row."""
        return self.table.by_column

    @property
    def ready(self) -> bool:
        return self.state is CandidateState.READY

    @property
    def size_bytes(self) -> int | None:
        """On disk: the vectors and the index."""
        if self.index_bytes is None or self.table_bytes is None:
            return None
        return self.index_bytes + self.table_bytes


def candidate_table(collection: Collection, table_name: str, storage: ElementType) -> VectorTable:
    """How to search the vectors of a candidate; its columns have our names."""
    table = collection.table
    return VectorTable(
        name=table_name,
        schema=SCHEMA,
        content=None,
        category=None if table.category is None else "category",
        metadata=None if table.metadata is None else "metadata",
        distance=table.distance,
        storage=storage.of_column(table.storage),
        dimensions=table.dimensions,
        indexed_as=storage.indexed_as(storage.of_column(table.storage)),
    )


async def list_candidates(db: AsyncSession, collection: Collection) -> list[Candidate]:
    """All of the collection's, in whatever state, the newest first."""
    if collection.is_shadow:
        return []  # they are copies of its own vectors
    # The mark is the row's of now: the caller's Collection may be older.
    rows = await db.execute(
        select(CandidateRecord, CollectionRecord.revision)
        .join_from(CandidateRecord, CollectionRecord)
        .where(CandidateRecord.collection_id == collection.id)
        .order_by(CandidateRecord.created_at.desc(), CandidateRecord.id)
        .execution_options(populate_existing=True)
    )
    return [_candidate(record, collection, mark) for record, mark in rows]


def _candidate(record: CandidateRecord, collection: Collection, mark: int) -> Candidate:
    storage = ElementType(record.storage)
    return Candidate(
        id=record.id,
        collection_id=record.collection_id,
        job_id=record.job_id,
        name=record.name,
        index=parse_spec(record.kind, record.options),
        storage=storage,
        table=candidate_table(collection, record.table_name, storage),
        index_name=record.index_name,
        state=CandidateState(record.state),
        error=record.error,
        rows=record.rows,
        stale=record.revision is not None and record.revision != mark,
        copy_seconds=record.copy_seconds,
        build_seconds=record.build_seconds,
        index_bytes=record.index_bytes,
        table_bytes=record.table_bytes,
        maintenance_work_mem=record.maintenance_work_mem,
        parallel_workers=record.parallel_workers,
        notices=tuple(record.notices),
        created_at=record.created_at,
    )


_LOOKUP = NameLookup("candidate", field="candidate", advice="Build one first.")


async def get_candidate(
    db: AsyncSession, collection: Collection, id_or_name: uuid.UUID | str
) -> Candidate:
    """By id, or by name (capitals do not matter). Raises NotFound, naming what there is."""
    return _LOOKUP.find(await list_candidates(db, collection), id_or_name, collection.name)


def newest_ready(candidates: Sequence[Candidate], method: IndexMethod) -> Candidate | None:
    """The newest of a method that can be searched; one that is not stale goes before."""
    ready = [each for each in candidates if each.ready and each.method == method]
    return max(ready, key=lambda each: (not each.stale, each.created_at), default=None)


async def find_ready(
    db: AsyncSession, collection: Collection, spec: CandidateSpec
) -> Candidate | None:
    """The newest that is just that, can be searched and is not stale: no need to build it again."""
    for each in await list_candidates(db, collection):
        if each.ready and not each.stale and each.spec == spec:
            return each
    return None


def disk_bytes(candidates: Sequence[Candidate]) -> int:
    """What they take on disk together; what is not ready has no figure yet."""
    return sum(each.size_bytes or 0 for each in candidates)


@writes("candidates.drop")
async def drop_candidate(db: AsyncSession, candidate: Candidate, *, actor: Actor = LOCAL) -> None:
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
