"""Background jobs: long work with progress, cancel and a record.

A job is a task on the Database's loop with a row in ``vecscope.jobs``. Whether the process behind
a row still lives is told by an advisory lock, not by a process id or a heartbeat: each process
holds one, on a connection of its own, and the server drops it the moment the process is gone
(docs/decisions/004-a-lock-tells-that-a-jobs-process-lives.md).
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import psycopg
import structlog
from sqlalchemy import BigInteger, column, func, or_, select, table, update
from sqlalchemy.dialects.postgresql import insert

from lib.actors import LOCAL, Actor, writes
from lib.errors import Busy, DatabaseUnreachable, NotFound, VecscopeError, from_exception
from lib.progress import Progress
from lib.store.database import Database
from lib.store.records import JobRecord
from lib.store.url import connect_arguments

SHARE_UNITS = 1_000_000  # the total of a job whose progress is a share
PROGRESS_SECONDS = 0.25  # the shortest time between two writes of a job's progress
WATCH_SECONDS = 0.5  # how often a process looks for requests to cancel its jobs
FINISH_SECONDS = 10.0  # how long the last write of a job waits for a server that is gone
_LOCK_CLASS = 0x766A  # the first half of the advisory lock's key; the second is the runner

_log = structlog.get_logger(__name__)


class JobStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    """Its process ended before it did."""


_ACTIVE = (JobStatus.QUEUED, JobStatus.RUNNING)


class JobKind(StrEnum):
    LOAD = "load"
    BACKFILL = "backfill"
    INDEX = "index"
    SAMPLE = "sample"
    LEXICAL = "lexical"
    CANDIDATE = "candidate"
    PROJECTION = "projection"
    EXPERIMENT = "experiment"
    EXPORT = "export"
    REEMBED = "reembed"


@dataclass(frozen=True)
class Job:
    """A job as its row was when it was read."""

    id: uuid.UUID
    kind: JobKind
    title: str
    collection_id: uuid.UUID | None
    status: JobStatus
    done: int
    total: int | None
    message: str
    parameters: dict[str, Any]
    result: dict[str, Any] | None
    error: str | None
    hint: str | None
    error_id: str | None
    cancel_requested: bool
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    updated_at: datetime
    started_by: str = LOCAL.name
    """The actor that it runs for."""

    @property
    def active(self) -> bool:
        return self.status in _ACTIVE

    @property
    def share(self) -> float | None:
        """0 to 1, or None where the total is not known."""
        return min(self.done / self.total, 1.0) if self.total else None

    @property
    def seconds_left(self) -> float | None:
        """By the rate so far; None where it cannot be told."""
        if not self.active or not self.total or not self.done or self.started_at is None:
            return None
        elapsed_seconds = (self.updated_at - self.started_at).total_seconds()
        return max(self.total - self.done, 0) * elapsed_seconds / self.done


class JobContext:
    """What the work of a job is given: its id, and the way to say how far it is."""

    def __init__(self, database: Database, job_id: uuid.UUID) -> None:
        self.job_id = job_id
        self.done = 0
        self.total: int | None = None
        self.message = ""
        self.detail: dict[str, Any] | None = None
        self._database = database
        self._written_at = 0.0

    async def progress(
        self,
        done: int,
        total: int | None = None,
        message: str | None = None,
        *,
        detail: dict[str, Any] | None = None,
        force: bool = False,
    ) -> None:
        """Notes the progress; writes it at most once in PROGRESS_SECONDS unless ``force`` is set.

        detail: what is done so far, for machines; it is the job's result until the work gives
        another one. total, message and detail stay as they were where they are None. Every call
        lets a cancel through (asyncio.CancelledError), so it may be called as often as one likes.
        """
        self.done = done
        self.total = self.total if total is None else total
        self.message = self.message if message is None else message
        self.detail = self.detail if detail is None else detail
        now = time.monotonic()
        if not force and now - self._written_at < PROGRESS_SECONDS:
            await asyncio.sleep(0)
            return
        self._written_at = now
        await self._write()

    async def report(
        self, progress: Progress, *, detail: dict[str, Any] | None = None, force: bool = False
    ) -> None:
        """The same for work that knows its share: may be handed on as its callback."""
        share = progress.share
        done, total = (0, 0) if share is None else (round(SHARE_UNITS * share), SHARE_UNITS)
        await self.progress(done, total, progress.message, detail=detail, force=force)

    async def _write(self, **values: Any) -> None:
        if self.detail is not None:
            values.setdefault("result", self.detail)
        async with self._database.session() as session:
            await session.execute(
                update(JobRecord)
                .where(JobRecord.id == self.job_id)
                .values(
                    done=self.done,
                    total=self.total,
                    message=self.message,
                    updated_at=func.now(),
                    **values,
                )
            )


Work = Callable[[JobContext], Awaitable[dict[str, Any] | None]]


@dataclass
class _Running:
    """A job of this process, from before its row is written to after its end is.

    Two tasks: a cancel goes to ``work`` alone, so that ``keeper`` always writes the end, even of
    work that was cancelled before its first step.
    """

    work: asyncio.Task[dict[str, Any] | None] | None = None
    keeper: asyncio.Task[None] | None = None
    cancel_asked: bool = False


class Jobs:
    """The jobs of a database. All methods run on the Database's loop; one Jobs per Database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._runner = _new_runner()
        self._running: dict[uuid.UUID, _Running] = {}
        self._lock_connection: psycopg.AsyncConnection[Any] | None = None
        self._connecting = asyncio.Lock()
        self._watcher: asyncio.Task[None] | None = None
        database.before_close(self._close)

    async def start(
        self,
        kind: JobKind,
        title: str,
        work: Work,
        *,
        collection_id: uuid.UUID | None = None,
        exclusive_key: str | None = None,
        parameters: dict[str, Any] | None = None,
        actor: Actor = LOCAL,
    ) -> Job:
        """Starts the work and returns at once. The work's dict, or None, becomes the result.

        exclusive_key: at most one active job in the whole database has it. actor: for whom; kept
        with the job.
        Raises Busy, naming the other job, where the key is taken.
        """
        await self._hold_lock()
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.create_task(self._watch())
        job_id = uuid.uuid4()
        running = self._running[job_id] = _Running()
        try:
            job = await self._insert(
                id=job_id,
                kind=kind.value,
                title=title,
                status=JobStatus.RUNNING.value,
                runner=self._runner,
                collection_id=collection_id,
                exclusive_key=exclusive_key,
                parameters=parameters or {},
                started_by=actor.name,
                started_at=func.now(),
            )
        except BaseException:
            del self._running[job_id]  # a row that was written all the same is found by recover()
            raise
        context = JobContext(self._database, job_id)
        running.work = asyncio.create_task(_with_id_in_log(work, context))
        running.keeper = asyncio.create_task(self._keep(context, running))
        return job

    async def get(self, job_id: uuid.UUID) -> Job:
        """Raises NotFound."""
        async with self._database.session() as session:
            record = await session.get(JobRecord, job_id)
        if record is None:
            raise NotFound("There is no such job (any more).", hint="Reload the page.")
        return _job(record)

    async def recent(
        self,
        *,
        collection_id: uuid.UUID | None = None,
        active_only: bool = False,
        limit: int = 20,
    ) -> list[Job]:
        """The newest first."""
        query = select(JobRecord).order_by(JobRecord.created_at.desc()).limit(limit)
        if collection_id is not None:
            query = query.where(JobRecord.collection_id == collection_id)
        if active_only:
            query = query.where(JobRecord.status.in_(_ACTIVE))
        async with self._database.session() as session:
            return [_job(record) for record in await session.scalars(query)]

    @writes("jobs.cancel")
    async def cancel(self, job_id: uuid.UUID, *, actor: Actor = LOCAL) -> Job:
        """Asks a job to stop, in whichever process it runs; what it has done is kept.

        Returns at once: ``wait`` for the end. A job that ended stays as it is. Raises NotFound.
        """
        async with self._database.session() as session:
            await session.execute(
                update(JobRecord)
                .where(JobRecord.id == job_id, JobRecord.status.in_(_ACTIVE))
                .values(cancel_requested=True)
            )
        if job_id in self._running:
            self._cancel_work(job_id)
        else:
            await self.recover()  # its process may be gone
        return await self.get(job_id)

    async def wait(self, job_id: uuid.UUID, timeout_seconds: float | None = None) -> Job:
        """Waits for the end of a job, in whichever process it runs.

        After ``timeout_seconds`` the job is returned as it is then. Raises NotFound.
        """
        running = self._running.get(job_id)
        if running is not None and running.keeper is not None:
            await asyncio.wait({running.keeper}, timeout=timeout_seconds)
            return await self.get(job_id)
        give_up = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while True:
            await self.recover()
            job = await self.get(job_id)
            if not job.active or (give_up is not None and time.monotonic() >= give_up):
                return job
            await asyncio.sleep(WATCH_SECONDS)

    async def recover(self) -> list[Job]:
        """Marks active jobs whose process is gone as interrupted, and returns them."""
        # In one statement: the rows are read before the locks, and a lock is taken before its row
        # is written, so that a job that begins meanwhile is never taken for a dead one.
        alive = select(_locks.c.objid.cast(BigInteger)).where(
            _locks.c.locktype == "advisory",
            _locks.c.classid.cast(BigInteger) == _LOCK_CLASS,
            _locks.c.objsubid == 2,  # the form with two keys
            _locks.c.database == _this_database,
            _locks.c.granted,
        )
        lost = (
            update(JobRecord)
            .where(
                JobRecord.status.in_(_ACTIVE),
                JobRecord.id.not_in(list(self._running)),
                or_(
                    JobRecord.runner.is_(None),
                    JobRecord.runner == self._runner,
                    JobRecord.runner.not_in(alive),
                ),
            )
            .values(**_INTERRUPTED, finished_at=func.now(), updated_at=func.now())
            .returning(JobRecord)
        )
        async with self._database.session() as session:
            return [_job(record) for record in await session.scalars(lost)]

    # -------------------------------------------------------------- the life of a job

    async def _insert(self, **values: Any) -> Job:
        statement = (
            insert(JobRecord)
            .values(**values)
            .on_conflict_do_nothing(
                index_elements=[JobRecord.exclusive_key],
                index_where=JobRecord.status.in_(_ACTIVE),
            )
            .returning(JobRecord)
        )
        for attempt in (1, 2):
            async with self._database.session() as session:
                record = await session.scalar(statement)
            if record is not None:
                return _job(record)
            if attempt == 1:
                await self.recover()  # the one that holds the key may be dead
        raise Busy(
            f"“{await self._holder(values['exclusive_key'])}” is still running.",
            hint="Wait for it to end, or cancel it.",
        )

    async def _holder(self, exclusive_key: str) -> str:
        query = select(JobRecord.title).where(
            JobRecord.exclusive_key == exclusive_key, JobRecord.status.in_(_ACTIVE)
        )
        async with self._database.session() as session:
            return await session.scalar(query) or "Another job"

    async def _keep(self, context: JobContext, running: _Running) -> None:
        assert running.work is not None
        outcome: dict[str, Any]
        try:
            result = await running.work
            json.dumps(result, allow_nan=False)  # here, where a mistake still fails the job
            outcome = {"status": JobStatus.DONE, "result": result}
        except asyncio.CancelledError:
            outcome = _CANCELLED if running.cancel_asked else _INTERRUPTED
        except Exception as exc:  # noqa: BLE001 — whatever it is, the row must say so
            outcome = _INTERRUPTED if _process_ends(exc) else _failure(exc, context.job_id)
        try:
            await self._write_end(context, _NO_ERROR | outcome | {"finished_at": func.now()})
        finally:
            del self._running[context.job_id]

    async def _write_end(self, context: JobContext, outcome: dict[str, Any]) -> None:
        """Tries again while the server is away: the end of a job is not to be lost."""
        give_up = time.monotonic() + FINISH_SECONDS
        while True:
            try:
                await context._write(**outcome)
            except VecscopeError as exc:
                if not isinstance(exc, DatabaseUnreachable) or time.monotonic() > give_up:
                    # The row stays "running" until recover() finds no process behind it.
                    _log.error("job_end_not_written", job_id=str(context.job_id), error=str(exc))
                    return
                await asyncio.sleep(WATCH_SECONDS)
            else:
                return

    def _cancel_work(self, job_id: uuid.UUID) -> None:
        running = self._running[job_id]
        if running.work is not None and not running.cancel_asked:
            running.cancel_asked = True  # once: a second cancel would hit the clearing up
            running.work.cancel()

    # -------------------------------------------------------------- this process as a runner

    async def _watch(self) -> None:
        """Looks for requests to cancel from other processes, and holds on to the lock."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if not self._running:
                continue
            try:
                connection = await self._hold_lock()
                cursor = await connection.execute(_CANCEL_REQUESTS, [self._runner])
                for (job_id,) in await cursor.fetchall():
                    if job_id in self._running:
                        self._cancel_work(job_id)
            except (psycopg.Error, VecscopeError) as exc:  # the server is away: tried again
                _log.warning("job_watch_failed", error=str(exc))

    async def _hold_lock(self) -> psycopg.AsyncConnection[Any]:
        """The connection that holds this process's lock; made again where it was lost."""
        async with self._connecting:
            old = self._lock_connection
            if old is not None and not old.closed:
                return old
            async with self._database.session():
                pass  # waits for a server that is being restarted, and starts the bundled one
            connection = await psycopg.AsyncConnection.connect(
                **connect_arguments(self._database.url), autocommit=True
            )
            while not await _try_lock(connection, self._runner):
                # Another process has the number, or the server has not missed our old session yet.
                self._runner = _new_runner()
            self._lock_connection = connection
            for job_id, running in list(self._running.items()):
                await self._take_back(connection, job_id, running)
            return connection

    async def _take_back(
        self, connection: psycopg.AsyncConnection[Any], job_id: uuid.UUID, running: _Running
    ) -> None:
        """While we had no lock, another process may have taken our job for interrupted."""
        try:
            await connection.execute(_TAKE_BACK, [self._runner, job_id])
        except psycopg.errors.UniqueViolation:  # and have started it again: that one goes on
            if running.work is not None:
                running.work.cancel()

    async def _close(self) -> None:
        """Interrupts what runs and writes that down."""
        if self._watcher is not None:
            self._watcher.cancel()
        keepers = []
        for running in self._running.values():
            if running.work is not None and running.keeper is not None:
                running.work.cancel()
                keepers.append(running.keeper)
        await asyncio.gather(*keepers, return_exceptions=True)
        if self._lock_connection is not None:
            await self._lock_connection.close()


# Another process may have written that the job was interrupted, while our lock was gone.
_NO_ERROR: dict[str, Any] = {"error": None, "hint": None, "error_id": None}
_CANCELLED: dict[str, Any] = {"status": JobStatus.CANCELLED}
_INTERRUPTED: dict[str, Any] = {
    "status": JobStatus.INTERRUPTED,
    "error": "The process that ran it ended.",
    "hint": "What was done is kept. Start it again to go on.",
}
_CANCEL_REQUESTS = """
    SELECT id FROM vecscope.jobs WHERE runner = %s AND cancel_requested AND status = 'running'
"""
_TAKE_BACK = """
    UPDATE vecscope.jobs
    SET runner = %s, status = 'running', finished_at = NULL, error = NULL, hint = NULL
    WHERE id = %s AND status IN ('running', 'interrupted')
"""
_locks = table(
    "pg_locks",
    *(column(name) for name in ("locktype", "database", "classid", "objid", "objsubid", "granted")),
)
_this_database = (
    select(column("oid"))
    .select_from(table("pg_database"))
    .where(column("datname") == func.current_database())
    .scalar_subquery()
)


def _new_runner() -> int:
    return 1 + secrets.randbelow(2**31 - 1)


async def _try_lock(connection: psycopg.AsyncConnection[Any], runner: int) -> bool:
    cursor = await connection.execute(
        "SELECT pg_try_advisory_lock(%s::int, %s::int)", [_LOCK_CLASS, runner]
    )
    row = await cursor.fetchone()
    return row is not None and bool(row[0])


async def _with_id_in_log(work: Work, context: JobContext) -> dict[str, Any] | None:
    structlog.contextvars.bind_contextvars(job_id=str(context.job_id))
    return await work(context)


def _process_ends(exc: Exception) -> bool:
    """Python closes its thread pools before it calls what is to be done at exit (Database.close),
    so that work may meet a closed pool before it hears that it is interrupted. There is no other
    sign of it than the text; this process has no pool that it closes earlier."""
    return isinstance(exc, RuntimeError) and str(exc).startswith("cannot schedule new futures")


def _failure(exc: Exception, job_id: uuid.UUID) -> dict[str, Any]:
    known = from_exception(exc)
    if known is not None:
        return {"status": JobStatus.FAILED, "error": known.message, "hint": known.hint}
    error_id = secrets.token_hex(4)
    _log.error("job_failed", job_id=str(job_id), error_id=error_id, exc_info=exc)
    return {
        "status": JobStatus.FAILED,
        "error": "Something unexpected went wrong.",
        "hint": f"The log says more under {error_id}.",
        "error_id": error_id,
    }


def _job(record: JobRecord) -> Job:
    return Job(
        id=record.id,
        kind=JobKind(record.kind),
        title=record.title,
        collection_id=record.collection_id,
        status=JobStatus(record.status),
        done=record.done,
        total=record.total,
        message=record.message,
        parameters=record.parameters,
        result=record.result,
        error=record.error,
        hint=record.hint,
        error_id=record.error_id,
        cancel_requested=record.cancel_requested,
        created_at=record.created_at,
        started_at=record.started_at,
        finished_at=record.finished_at,
        updated_at=record.updated_at,
        started_by=record.started_by,
    )
