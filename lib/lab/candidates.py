"""Candidates are built here: the vectors are copied, then indexed, as a job.

A candidate's table (``vecscope.candidate_<8 hex digits>``) holds id, embedding, category and
metadata, so that a filter works on it as on the documents. Nobody writes to it afterwards.
"""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from collections.abc import Sequence
from typing import Any

import structlog
from sqlalchemy import Select, cast, delete, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.schema import DropTable

from lib.actors import LOCAL, Actor, writes
from lib.errors import Busy, DatabaseProblem, InvalidInput, NotFound, VecscopeError, from_exception
from lib.lab.build_progress import BuildReporter, BuildStep
from lib.lab.collection_stats import collect_stats
from lib.lab.estimates import check_spec, chosen_settings, disk_warning, estimate
from lib.lab.spec import ExperimentSpec
from lib.progress import OnProgress, Step
from lib.store.candidates import (
    Candidate,
    CandidateSpec,
    CandidateState,
    candidate_table,
    find_ready,
    get_candidate,
    list_candidates,
)
from lib.store.collections import Collection
from lib.store.database import Database
from lib.store.jobs import Job, JobContext, JobKind, Jobs, JobStatus
from lib.store.records import SCHEMA, CandidateRecord, CollectionRecord, JobRecord
from lib.vectors.build import (
    BuiltIndex,
    build_index,
)
from lib.vectors.ddl import index_name
from lib.vectors.distance import ElementType, Storage
from lib.vectors.index_methods import index_methods
from lib.vectors.sql import printed, quoted_name
from lib.vectors.table import VectorTable
from lib.vectors.tuning import BuildSettings

_POLL_SECONDS = 0.5
_LOCK_SECONDS = 2

_log = structlog.get_logger(__name__)


@writes("candidates.build")
async def start_candidate_builds(
    jobs: Jobs,
    database: Database,
    collection: Collection,
    specs: Sequence[CandidateSpec],
    settings: BuildSettings | None = None,
    *,
    actor: Actor = LOCAL,
) -> Job:
    """Candidates, one after the other, as one job: two builds at once would only take each other's
    memory. Its result is ``{"candidates": [{"candidate_id", "name", …}, …], "warnings"}``; while it
    runs there is also ``"building"``, a :class:`BuildStep`.

    settings: for each of them; by default what :func:`~lib.lab.estimates.chosen_settings` takes.
    Those that were finished stay when it is cancelled or fails; the one in the middle leaves
    nothing, or where it failed, a row that says why.
    Raises IndexRefused before anything is copied, Busy while another build runs on the collection.
    """
    if not specs:
        raise InvalidInput("There is no candidate to build.", hint="Name one.", field="index")
    warnings = await check_candidates(database, collection, specs, settings)

    async def work(context: JobContext) -> dict[str, Any]:
        built: list[dict[str, Any]] = []
        for place, spec in enumerate(specs):

            async def on_progress(step: BuildStep, place: int = place) -> None:
                await context.report(
                    Step((place + step.share) / len(specs), step.message),
                    detail={
                        "candidates": list(built),
                        "building": step.as_json(),
                        "warnings": list(warnings),
                    },
                )

            candidate = await build_candidate(
                database, collection, spec, settings, job_id=context.job_id, on_progress=on_progress
            )
            built.append(_result(candidate))
        seconds = sum(each["copy_seconds"] + each["seconds"] for each in built)
        await context.report(Step(1.0, f"Built in {seconds:.1f} s"), force=True)
        return {"candidates": built, "warnings": list(warnings)}

    names = "; ".join(candidate_name(collection, spec) for spec in specs)
    title = f"Building the candidate {names} of {collection.name}"
    if len(specs) > 1:
        title = f"Building {len(specs)} candidates of {collection.name}: {names}"
    return await jobs.start(
        JobKind.CANDIDATE,
        title,
        work,
        collection_id=collection.id,
        exclusive_key=f"candidate:{collection.id}",
        parameters={"candidates": [str(spec) for spec in specs]},
        actor=actor,
    )


def _result(built: Candidate) -> dict[str, Any]:
    return {
        "candidate_id": str(built.id),
        "name": built.name,
        "rows": built.rows,
        "copy_seconds": built.copy_seconds,
        "seconds": built.build_seconds,
        "index_bytes": built.index_bytes,
        "table_bytes": built.table_bytes,
        "notices": list(built.notices),
    }


async def check_candidate(
    database: Database,
    collection: Collection,
    spec: CandidateSpec,
    settings: BuildSettings | None = None,
) -> tuple[str, ...]:
    """Warnings about a candidate that can be built, in words: memory that is short, bits that tell
    little, a disk that is nearly full.

    Raises IndexRefused, with the way out, where it cannot be built or is of no use.
    """
    return await check_candidates(database, collection, [spec], settings)


async def check_candidates(
    database: Database,
    collection: Collection,
    specs: Sequence[CandidateSpec],
    settings: BuildSettings | None = None,
) -> tuple[str, ...]:
    """:func:`check_candidate` for several, of which the disk must hold all."""
    stats = await collect_stats(database, collection, specs)
    warnings = [
        warning if len(specs) == 1 else f"{spec.label}: {warning}"
        for spec in specs
        for warning in check_spec(stats, collection, spec, settings)
    ]
    disk = disk_warning(stats, [estimate(stats, spec, settings) for spec in specs])
    return tuple(warnings if disk is None else [*warnings, disk])


def default_candidates(
    rows: int, dimensions: int, storage: Storage | ElementType
) -> tuple[CandidateSpec, ...]:
    """Those to begin with: one of each index method, by the guideline for so many rows.

    What is too wide to be indexed as it is stored is stored as halfvec, and as bits where it is too
    wide for that.
    """
    chosen = ElementType(storage.value)
    if chosen is ElementType.VECTOR and dimensions > Storage.VECTOR.max_index_dimensions:
        chosen = ElementType.HALFVEC
    if chosen is ElementType.HALFVEC and dimensions > Storage.HALFVEC.max_index_dimensions:
        chosen = ElementType.BIT
    return tuple(CandidateSpec(method.recommended(rows), chosen) for method in index_methods())


def candidate_name(collection: Collection, spec: CandidateSpec) -> str:
    """Such as “HNSW m 16, ef_construction 64”; what its index holds, where that differs from the
    collection."""
    own = spec.storage is ElementType.of(collection.storage)
    return spec.index.label + ("" if own else f", {spec.storage.label}")


async def build_candidate(
    database: Database,
    collection: Collection,
    spec: CandidateSpec,
    settings: BuildSettings | None = None,
    *,
    job_id: uuid.UUID,
    on_progress: OnProgress[BuildStep],
) -> Candidate:
    """Copies the collection's vectors and builds the index on the copy, within a job that runs.

    Raises IndexRefused, NotFound where the collection is dropped or embedded again meanwhile, and
    what the server says.
    """
    stats = await collect_stats(database, collection, [spec])
    settings = settings or chosen_settings(stats, spec)
    check_spec(stats, collection, spec, settings)
    table = candidate_table(collection, f"candidate_{secrets.token_hex(4)}", spec.storage)
    name = candidate_name(collection, spec)
    candidate_id = await _announce(database, collection, spec, table, name, job_id)
    expected = estimate(stats, spec, settings)
    reporter = BuildReporter(name, spec, expected, on_progress)
    try:
        await _copy(database, collection, table, candidate_id, reporter)
        await reporter.report("Collecting statistics", 1.0, 0.0)
        async with database.session() as db:
            connection = await db.connection()
            await connection.exec_driver_sql(f"ANALYZE {quoted_name(table.table)}")
            await _set_workers(db, table, expected.workers)
        built = await build_index(
            database.engine,
            table,
            spec.index,
            name=index_name(table, spec.index),
            settings=settings,
            on_progress=reporter.on_index,
        )
        await _finish(database, table, candidate_id, built, settings)
    except BaseException as exc:
        await asyncio.shield(_give_up(database, table, candidate_id, exc))
        if isinstance(exc, Exception) and not await _is_there(database, candidate_id):
            raise _gone(collection) from exc
        raise
    async with database.session() as db:
        return await get_candidate(db, collection, candidate_id)


async def _set_workers(db: AsyncSession, table: VectorTable, workers: int) -> None:
    """PostgreSQL plans workers by the pages of the table itself, few where its vectors are in its
    TOAST table; said at the table, the number holds. The copy is read by nobody yet, and the
    setting is taken away when it is built: it would change the plans of searches."""
    name = quoted_name(table.table)
    await db.execute(text(f"ALTER TABLE {name} SET (parallel_workers = {int(workers)})"))


async def _announce(
    database: Database,
    collection: Collection,
    spec: CandidateSpec,
    table: VectorTable,
    name: str,
    job_id: uuid.UUID,
) -> uuid.UUID:
    """The candidate's row, before its table, so that no table is ever without one. Rows of builds
    that came to nothing have said so, and go."""
    async with database.session() as db:
        taken = set()
        for other in await list_candidates(db, collection):
            if other.state in (CandidateState.FAILED, CandidateState.INTERRUPTED):
                await _remove(db, other.id, other.table)
            else:
                taken.add(other.name)
        free, number = name, 1
        while free in taken:
            number += 1
            free = f"{name} ({number})"
        record = CandidateRecord(
            collection_id=collection.id,
            job_id=job_id,
            name=free,
            kind=spec.index.method.name,
            options=spec.index.options,
            storage=spec.storage.value,
            distance=table.distance.value,
            table_name=table.name,
        )
        db.add(record)
        await db.flush()
        return record.id


async def _copy(
    database: Database,
    collection: Collection,
    table: VectorTable,
    candidate_id: uuid.UUID,
    reporter: BuildReporter,
) -> None:
    """The vectors and the change mark that goes with them, out of one snapshot."""
    vectors = printed(_vectors(collection.table, table)).replace("%", "%%")
    name = quoted_name(table.table)
    async with database.session() as db:  # so that others can see it grow
        connection = await db.connection()
        await connection.exec_driver_sql(f"CREATE TABLE {name} AS {vectors} WITH NO DATA")

    async def fill() -> None:
        started = time.perf_counter()
        async with database.session() as db:
            await db.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
            mark = await db.scalar(
                select(CollectionRecord.revision).where(CollectionRecord.id == collection.id)
            )
            if mark is None:
                raise _gone(collection)
            connection = await db.connection()
            copied = await connection.exec_driver_sql(f"INSERT INTO {name} {vectors}")
            seconds = time.perf_counter() - started
            values = {"rows": copied.rowcount, "revision": mark, "copy_seconds": seconds}
            await _note(db, candidate_id, **values)

    filling = asyncio.ensure_future(fill())
    try:
        await reporter.on_copied(0)
        while not (await asyncio.wait({filling}, timeout=_POLL_SECONDS))[0]:
            async with database.session() as db:
                size = await db.scalar(select(func.pg_table_size(name)))
            await reporter.on_copied(size or 0)
    except BaseException:
        filling.cancel()
        await asyncio.gather(filling, return_exceptions=True)
        raise
    await filling


def _vectors(documents: VectorTable, copy: VectorTable) -> Select[Any]:
    columns = [documents.column(documents.id).label(copy.id)]
    embedding = documents.column(documents.embedding)
    columns.append(cast(embedding, copy.embedding_type).label(copy.embedding))
    for source, name in (
        (documents.category, copy.category),
        (documents.metadata, copy.metadata),
    ):
        if source is not None and name is not None:
            columns.append(documents.column(source).label(name))
    return select(*columns).where(embedding.is_not(None))


async def _finish(
    database: Database,
    table: VectorTable,
    candidate_id: uuid.UUID,
    built: BuiltIndex,
    settings: BuildSettings,
) -> None:
    async with database.session() as db:
        await db.execute(text(f"ALTER TABLE {quoted_name(table.table)} RESET (parallel_workers)"))
        memory, workers, table_bytes = (
            await db.execute(
                select(
                    func.current_setting("maintenance_work_mem"),
                    func.current_setting("max_parallel_maintenance_workers"),
                    func.pg_table_size(quoted_name(table.table)),
                )
            )
        ).one()
        chosen = settings.server_settings()
        await _note(
            db,
            candidate_id,
            state=CandidateState.READY.value,
            index_name=built.name,
            build_seconds=built.seconds,
            index_bytes=built.index_bytes,
            table_bytes=table_bytes,
            maintenance_work_mem=chosen.get("maintenance_work_mem", memory),
            parallel_workers=int(chosen.get("max_parallel_maintenance_workers", workers)),
            notices=list(built.notices),
        )


async def _note(db: AsyncSession, candidate_id: uuid.UUID, **values: Any) -> None:
    """Raises NotFound where the row is gone, which it is with its collection."""
    noted = await db.execute(
        update(CandidateRecord)
        .where(CandidateRecord.id == candidate_id)
        .values(**values)
        .returning(CandidateRecord.id)
    )
    if noted.first() is None:
        raise NotFound("The candidate was removed while it was being built.")


async def _is_there(database: Database, candidate_id: uuid.UUID) -> bool:
    async with database.session() as db:
        return await db.get(CandidateRecord, candidate_id) is not None


def _gone(collection: Collection) -> NotFound:
    return NotFound(
        f"“{collection.name}” was dropped or embedded again while its candidate was being built."
    )


async def _give_up(
    database: Database, table: VectorTable, candidate_id: uuid.UUID, cause: BaseException
) -> None:
    """Drops what was made. The row stays, to say why, unless it was somebody's wish."""
    try:
        async with database.session() as db:
            if isinstance(cause, Exception):
                known = from_exception(cause) or DatabaseProblem("Something unexpected went wrong.")
                await db.execute(DropTable(table.table, if_exists=True))
                await db.execute(
                    update(CandidateRecord)
                    .where(CandidateRecord.id == candidate_id)
                    .values(state=CandidateState.FAILED.value, error=str(known))
                )
            else:
                await _remove(db, candidate_id, table)
    except VecscopeError as exc:  # clean_interrupted finds it when the server is back
        _log.warning("candidate_not_cleared", candidate_id=str(candidate_id), error=str(exc))


async def _remove(db: AsyncSession, candidate_id: uuid.UUID, table: VectorTable) -> None:
    await db.execute(DropTable(table.table, if_exists=True))
    await db.execute(delete(CandidateRecord).where(CandidateRecord.id == candidate_id))


# --- after a crash ------------------------------------------------------------------------------

_STOP_BUILDS = text(
    """
    SELECT pg_cancel_backend(pid) FROM pg_stat_progress_create_index
    WHERE relid = to_regclass(:relation) AND datname = current_database()
    """
)


async def clean_interrupted(database: Database) -> list[str]:
    """Marks candidates whose job is over and drops their half-made tables; returns their names.

    Run it after :meth:`Jobs.recover`. A table that cannot be had within seconds (a server process
    may still be building for a client that is gone) is left for the next time.
    """
    active = (
        select(JobRecord.id)
        .where(
            JobRecord.id == CandidateRecord.job_id,
            JobRecord.status.in_([JobStatus.QUEUED.value, JobStatus.RUNNING.value]),
        )
        .exists()
    )
    lost = (
        update(CandidateRecord)
        .where(CandidateRecord.state == CandidateState.BUILDING.value, ~active)
        .values(state=CandidateState.INTERRUPTED.value, error="The process that built it ended.")
        .returning(CandidateRecord.name)
    )
    half_made = select(CandidateRecord.table_name).where(
        CandidateRecord.state == CandidateState.INTERRUPTED.value,
        func.to_regclass(func.concat(f"{SCHEMA}.", CandidateRecord.table_name)).is_not(None),
    )
    async with database.session() as db:
        names = list(await db.scalars(lost))
        tables = list(await db.scalars(half_made))
    for table_name in tables:
        table = VectorTable(table_name, SCHEMA).table
        try:
            async with database.session() as db:
                await db.execute(_STOP_BUILDS, {"relation": quoted_name(table)})
                await db.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'"))
                await db.execute(DropTable(table, if_exists=True))
        except Busy as exc:
            _log.warning("candidate_table_left", table=table_name, error=str(exc))
    return names


async def missing_candidates(
    database: Database, collection: Collection, spec: ExperimentSpec
) -> tuple[CandidateSpec, ...]:
    """Those of the candidates that are not there as the collection is now."""
    async with database.session() as db:
        return tuple(
            [
                candidate
                for candidate in spec.candidates
                if await find_ready(db, collection, candidate) is None
            ]
        )


async def candidate_of_state(
    database: Database, collection: Collection, spec: CandidateSpec, mark: int
) -> Candidate | None:
    """The ready candidate with just that spec, of the state of the collection with that mark."""
    async with database.session() as db:
        of_state = set(
            await db.scalars(
                select(CandidateRecord.id).where(
                    CandidateRecord.collection_id == collection.id,
                    CandidateRecord.revision == mark,
                )
            )
        )
        for candidate in await list_candidates(db, collection):
            if candidate.ready and candidate.id in of_state and candidate.spec == spec:
                return candidate
    return None
