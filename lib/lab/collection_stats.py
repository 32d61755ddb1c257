"""Statistics of a collection and its server, from which estimates of candidates are made."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Integer, Text, cast, distinct, func, literal_column, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from lib.store.candidates import CandidateSpec, CandidateState
from lib.store.collections import Collection
from lib.store.database import Database
from lib.store.embedded import machine_ram_bytes
from lib.store.records import CandidateRecord, CollectionRecord
from lib.vectors.distance import Distance, ElementType, Storage
from lib.vectors.index_methods import parse_spec
from lib.vectors.statements import available_statement

SAMPLE_ROWS = 1000
"""So many rows are read for their sizes, norms and signs."""


@dataclass(frozen=True, slots=True)
class SampleStats:
    """Statistics of the first rows, SAMPLE_ROWS of them at most."""

    rows: int = 0
    row_bytes: float = 16.0
    """Of the other columns that are copied, on average."""
    ones: float = 0.5
    """The share of values above 0."""
    different: int = 0
    """Distinct vectors."""
    different_bits: int = 0
    """Distinct vectors once they are binary-quantized."""
    norm_spread: float = 0.0
    """The norms' standard deviation, as a share of their mean."""


@dataclass(frozen=True, slots=True)
class EarlierBuild:
    """An earlier candidate of this server: what it was and what its build took."""

    spec: CandidateSpec
    rows: int
    dimensions: int
    workers: int
    build_seconds: float
    outgrew: bool
    """Whether its graph outgrew maintenance_work_mem."""


@dataclass(frozen=True, slots=True)
class CollectionStats:
    """Statistics of a collection, and what its server has and has built before."""

    rows: int
    """With an embedding."""
    usable: int
    """Rows that an index can hold, which under cosine are those that are not zero; counted only as
    far as the candidates need to know, else all."""
    dimensions: int
    column: Storage
    distance: Distance
    maintenance_work_mem_bytes: int
    workers: int
    """The most parallel workers that the server allows one build."""
    sample: SampleStats = SampleStats()
    built: tuple[EarlierBuild, ...] = ()
    free_bytes: int | None = None
    """On the disk of the bundled server; None of another server, which cannot be asked."""
    ram_bytes: int | None = None
    """Of the bundled server's machine; None of another server's."""


async def collect_stats(
    database: Database, collection: Collection, specs: Sequence[CandidateSpec] = ()
) -> CollectionStats:
    """Reads the collection, its server and what was built there before.

    specs: the candidates to estimate; zero vectors are counted as far as their lists need to know.
    """
    enough = max([1, *(spec.index.rows_needed for spec in specs)])
    table = collection.table
    embedding = table.column(table.embedding)
    async with database.session() as db:
        rows = (
            await db.execute(select(func.count(embedding)).select_from(table.rows))
        ).scalar_one()
        counted = (await db.execute(available_statement(table, enough))).scalar_one()
        memory, workers = (await db.execute(_SERVER)).one()
        sample = await _sample(db, collection)
        built = await _earlier(db)
    folder = database.data_folder
    return CollectionStats(
        rows=rows,
        usable=counted if counted < enough else rows,
        dimensions=collection.dimensions,
        column=collection.storage,
        distance=collection.distance,
        maintenance_work_mem_bytes=memory,
        workers=workers,
        sample=sample,
        built=built,
        free_bytes=None if folder is None else shutil.disk_usage(folder).free,
        ram_bytes=None if folder is None else machine_ram_bytes(),
    )


_SERVER = text(
    """
    SELECT pg_size_bytes(current_setting('maintenance_work_mem')),
           least(current_setting('max_parallel_maintenance_workers')::int,
                 current_setting('max_parallel_workers')::int)
    """
)


async def _sample(db: AsyncSession, collection: Collection) -> SampleStats:
    table = collection.table
    copied = [table.id, *(name for name in (table.category, table.metadata) if name is not None)]
    embedding = table.column(table.embedding)
    some = (
        select(embedding.label("embedding"), *(table.column(name) for name in copied))
        .where(embedding.is_not(None))
        .limit(SAMPLE_ROWS)
        .subquery()
    )
    norm = func.vector_norm if collection.storage is Storage.VECTOR else func.l2_norm
    bits = func.binary_quantize(some.c.embedding)
    ones = func.length(func.replace(cast(bits, Text), literal_column("'0'"), literal_column("''")))
    sizes = [func.coalesce(func.pg_column_size(some.c[name]), 0) for name in copied]
    of_rows = (
        await db.execute(
            select(
                func.count(),
                func.avg(sum(sizes[1:], start=cast(sizes[0], Integer))),
                func.avg(ones),
                func.count(distinct(some.c.embedding)),
                func.count(distinct(bits)),
                func.stddev_pop(norm(some.c.embedding))
                / func.nullif(func.avg(norm(some.c.embedding)), 0),
            )
        )
    ).one()
    rows, row_bytes, ones_set, different, different_bits, spread = of_rows
    if not rows:
        return SampleStats()
    return SampleStats(
        rows,
        float(row_bytes),
        float(ones_set) / collection.dimensions,
        different,
        different_bits,
        float(spread or 0.0),
    )


async def _earlier(db: AsyncSession) -> tuple[EarlierBuild, ...]:
    record = CandidateRecord
    builds = await db.execute(
        select(record, CollectionRecord.dimensions)
        .join_from(record, CollectionRecord)
        .where(record.state == CandidateState.READY.value, record.build_seconds.is_not(None))
        .order_by(record.created_at.desc())
        .limit(50)
    )
    return tuple(
        EarlierBuild(
            CandidateSpec(parse_spec(each.kind, each.options), ElementType(each.storage)),
            each.rows,
            dimensions,
            each.parallel_workers or 0,
            each.build_seconds,
            any("maintenance_work_mem" in notice for notice in each.notices),
        )
        for each, dimensions in builds
        if each.rows is not None and each.build_seconds is not None
    )
