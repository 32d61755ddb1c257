"""Jobs, against a real server: progress, cancel, failure, and processes that die."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import URL, text
from structlog.testing import capture_logs

from lib.actors import Actor
from lib.errors import Busy, DiskFull, NotFound
from lib.progress import Step
from lib.settings import PROJECT_ROOT
from lib.store.database import Database
from lib.store.jobs import Job, JobContext, JobKind, Jobs, JobStatus
from lib.store.url import connect_arguments

Sql = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def jobs(database: Database) -> Jobs:
    return Jobs(database)


@pytest.fixture
def other(migrated_url: URL) -> Iterator[tuple[Database, Jobs]]:
    """The jobs of another process, as far as the server can tell."""
    database = Database(migrated_url)
    yield database, Jobs(database)
    database.close()


@pytest.fixture
def run_sql(migrated_url: URL) -> Iterator[Sql]:
    with psycopg.connect(**connect_arguments(migrated_url), autocommit=True) as connection:

        def execute(statement: str, *values: object) -> list[tuple[Any, ...]]:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

        yield execute


async def idle(_context: JobContext) -> None:
    await asyncio.sleep(60)


def statement_runs(run_sql: Sql, part: str) -> bool:
    query = (
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() "
        "AND state = 'active' AND pid <> pg_backend_pid() AND query ILIKE %s"
    )
    return bool(run_sql(query, f"%{part}%"))


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


def test_a_job_keeps_its_progress_and_its_result(database: Database, jobs: Jobs) -> None:
    seen: list[Job] = []

    async def work(context: JobContext) -> dict[str, Any]:
        await context.progress(1, 4, "one", force=True)
        seen.append(await jobs.get(context.job_id))
        for done in (2, 3):
            await context.progress(done)  # not all of these are written, the last one is
        return {"rows": 3}

    async def scenario() -> Job:
        job = await jobs.start(JobKind.LOAD, "Load", work, parameters={"path": "a.csv"})
        assert job.status is JobStatus.RUNNING
        return await jobs.wait(job.id)

    job = database.run(scenario())
    assert [(seen[0].done, seen[0].total, seen[0].message)] == [(1, 4, "one")]
    assert seen[0].share == 0.25
    assert seen[0].seconds_left is not None
    assert (job.status, job.result, job.parameters) == (
        JobStatus.DONE,
        {"rows": 3},
        {"path": "a.csv"},
    )
    assert (job.done, job.total, job.message) == (3, 4, "one")
    assert job.finished_at is not None


def test_progress_that_is_a_share_or_not_known(database: Database, jobs: Jobs) -> None:
    seen: list[tuple[float | None, str]] = []

    async def work(context: JobContext) -> None:
        for step in (Step(0.25, "a quarter"), Step(None, "who knows"), Step(1.0, "all")):
            await context.report(step, force=True)
            job = await jobs.get(context.job_id)
            seen.append((job.share, job.message))

    async def scenario() -> Job:
        job = await jobs.start(JobKind.LOAD, "Load", work)
        return await jobs.wait(job.id)

    assert database.run(scenario()).share == 1.0
    assert seen == [(0.25, "a quarter"), (None, "who knows"), (1.0, "all")]


def test_a_known_failure_is_told_and_an_unknown_one_is_found_in_the_log(
    database: Database, jobs: Jobs
) -> None:
    async def known(_context: JobContext) -> None:
        raise DiskFull("The disk is full.", hint="Free some space.")

    async def unknown(_context: JobContext) -> None:
        raise ZeroDivisionError("a secret detail")

    async def run(work: Callable[..., Any]) -> Job:
        return await jobs.wait((await jobs.start(JobKind.LOAD, "Load", work)).id)

    job = database.run(run(known))
    assert (job.status, job.error, job.hint) == (
        JobStatus.FAILED,
        "The disk is full.",
        "Free some space.",
    )
    assert job.error_id is None
    with capture_logs() as logs:
        job = database.run(run(unknown))
    assert job.status is JobStatus.FAILED
    assert "secret" not in f"{job.error} {job.hint}"
    assert [entry["error_id"] for entry in logs if entry["event"] == "job_failed"] == [job.error_id]
    assert job.error_id is not None
    assert job.error_id in (job.hint or "")


def test_a_result_that_is_no_json_fails_the_job(database: Database, jobs: Jobs) -> None:
    async def work(_context: JobContext) -> dict[str, Any]:
        return {"share": float("nan")}

    async def scenario() -> Job:
        return await jobs.wait((await jobs.start(JobKind.LOAD, "Load", work)).id)

    assert database.run(scenario()).status is JobStatus.FAILED


def test_an_exclusive_key_is_held_by_one_active_job(
    database: Database, jobs: Jobs, other: tuple[Database, Jobs]
) -> None:
    async def start(which: Jobs) -> Job:
        return await which.start(
            JobKind.INDEX, "Build the index", idle, exclusive_key="index:books"
        )

    first = database.run(start(jobs))
    with pytest.raises(Busy, match="Build the index"):
        other[0].run(start(other[1]))
    database.run(jobs.cancel(first.id))
    database.run(jobs.wait(first.id))
    second = other[0].run(start(other[1]))
    assert [job.id for job in database.run(jobs.recent(active_only=True))] == [second.id]
    assert [job.id for job in database.run(jobs.recent())] == [second.id, first.id]


@pytest.mark.parametrize(
    "statement", ["SELECT pg_sleep(60)", "CREATE INDEX slow_index ON slow (slowly(x))"]
)
def test_cancel_ends_the_statement_on_the_server(
    database: Database, jobs: Jobs, run_sql: Sql, statement: str
) -> None:
    run_sql("CREATE TABLE slow AS SELECT generate_series(1, 1000) AS x")
    run_sql(
        "CREATE FUNCTION slowly(x int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_sleep(0.1); RETURN x; END $$"
    )

    async def work(context: JobContext) -> None:
        await context.progress(7, force=True)
        async with database.session() as session:
            await session.execute(text(statement))

    async def scenario() -> Job:
        job = await jobs.start(JobKind.INDEX, "Slow", work)
        await until(lambda: statement_runs(run_sql, statement))
        await jobs.cancel(job.id)
        return await jobs.wait(job.id)

    job = database.run(scenario(), timeout_seconds=90)
    assert (job.status, job.done) == (JobStatus.CANCELLED, 7)
    assert not statement_runs(run_sql, statement)
    assert run_sql("SELECT to_regclass('slow_index')") == [(None,)]
    assert database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


def test_work_that_never_waits_can_be_cancelled_at_its_progress(
    database: Database, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lib.store.jobs.PROGRESS_SECONDS", 3600)  # a write would wait

    async def work(context: JobContext) -> None:
        done = 0
        while True:
            done += 1
            await context.progress(done)

    async def scenario() -> Job:
        job = await jobs.start(JobKind.BACKFILL, "Count", work)
        await jobs.cancel(job.id)
        return await jobs.wait(job.id)

    assert database.run(scenario(), timeout_seconds=90).status is JobStatus.CANCELLED


def test_a_job_of_another_process_can_be_cancelled_and_waited_for(
    database: Database, jobs: Jobs, other: tuple[Database, Jobs]
) -> None:
    job = database.run(jobs.start(JobKind.LOAD, "Load", idle))
    assert other[0].run(other[1].recover()) == []  # its process lives
    asked = other[0].run(other[1].cancel(job.id))
    assert asked.cancel_requested
    ended = other[0].run(other[1].wait(job.id, timeout_seconds=90))
    assert ended.status is JobStatus.CANCELLED


def test_waiting_for_a_job_has_an_end_and_an_unknown_job_is_not_found(
    database: Database, jobs: Jobs, other: tuple[Database, Jobs]
) -> None:
    job = database.run(jobs.start(JobKind.LOAD, "Load", idle))
    assert database.run(jobs.wait(job.id, timeout_seconds=0.01)).active
    assert other[0].run(other[1].wait(job.id, timeout_seconds=0.01)).active
    for ask in (jobs.get, jobs.cancel, jobs.wait):
        with pytest.raises(NotFound):
            database.run(ask(uuid.uuid4()))


def test_a_job_whose_process_was_killed_is_interrupted_and_gives_its_key_back(
    database: Database, jobs: Jobs, migrated_url: URL, run_sql: Sql
) -> None:
    script = """
        import asyncio, sys
        from sqlalchemy import make_url
        from lib.store.database import Database
        from lib.store.jobs import JobKind, Jobs

        async def work(context):
            await context.progress(5, 10, force=True)
            print("working", flush=True)
            await asyncio.sleep(60)

        async def start():
            await Jobs(database).start(JobKind.LOAD, "Load", work, exclusive_key="load:books")
            await asyncio.sleep(60)

        database = Database(make_url(sys.argv[1]))
        database.run(start())
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), migrated_url.render_as_string(False)],
        stdout=subprocess.PIPE,
        cwd=PROJECT_ROOT,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"working\n"
    assert database.run(jobs.recover()) == []
    ((runner,),) = run_sql("SELECT runner FROM vecscope.jobs")
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()

    async def start_again() -> list[Job]:
        # The server has to notice that the socket is closed.
        await until(lambda: not run_sql("SELECT 1 FROM pg_locks WHERE objid = %s::oid", runner))
        await jobs.start(JobKind.LOAD, "Load again", idle, exclusive_key="load:books")
        return await jobs.recent()

    again, first = database.run(start_again())
    assert (again.title, again.status) == ("Load again", JobStatus.RUNNING)
    assert (first.status, first.done, first.total) == (JobStatus.INTERRUPTED, 5, 10)
    assert first.hint


def test_closing_the_database_writes_that_its_jobs_were_interrupted(
    database: Database, jobs: Jobs, other: tuple[Database, Jobs]
) -> None:
    async def work(context: JobContext) -> None:
        await context.progress(3, 9, force=True)
        await asyncio.sleep(60)

    job = database.run(jobs.start(JobKind.LOAD, "Load", work))
    database.close()
    found = other[0].run(other[1].get(job.id))
    assert found.status is JobStatus.INTERRUPTED


def test_a_job_that_meets_closed_threads_as_its_process_ends_is_interrupted(
    database: Database, jobs: Jobs, migrated_url: URL
) -> None:
    """Python closes its thread pools first, and only then calls what closes the database."""
    script = """
        import asyncio, sys, time
        from sqlalchemy import make_url
        from lib.store.database import Database
        from lib.store.jobs import JobKind, Jobs

        async def work(context):
            while True:
                await asyncio.to_thread(time.sleep, 0.01)

        database = Database(make_url(sys.argv[1]))
        database.run(Jobs(database).start(JobKind.LOAD, "Load", work))
        time.sleep(0.1)
    """
    url = migrated_url.render_as_string(False)
    command = [sys.executable, "-c", textwrap.dedent(script), url]
    subprocess.run(command, cwd=PROJECT_ROOT, check=True, timeout=120)
    (found,) = database.run(jobs.recent())
    assert found.status is JobStatus.INTERRUPTED
    assert found.error_id is None


def test_jobs_survive_that_the_server_drops_all_connections(
    database: Database, jobs: Jobs, other: tuple[Database, Jobs], run_sql: Sql
) -> None:
    dropped = asyncio.Event()

    async def work(_context: JobContext) -> dict[str, Any]:
        await dropped.wait()
        return {"rows": 1}

    def locks() -> set[int]:
        return {row[0] for row in run_sql("SELECT pid FROM pg_locks WHERE locktype = 'advisory'")}

    async def scenario() -> Job:
        job = await jobs.start(JobKind.LOAD, "Load", work)
        before = locks()
        run_sql(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        # Another process may look just while our lock is gone; the job takes itself back.
        lost = await asyncio.wrap_future(other[0].submit(other[1].recover()))
        assert [each.id for each in lost] == [job.id]
        assert (await jobs.get(job.id)).status is JobStatus.INTERRUPTED
        await until(lambda: locks() - before)
        await until(lambda: run_sql("SELECT 1 FROM vecscope.jobs WHERE status = 'running'"))
        assert await asyncio.wrap_future(other[0].submit(other[1].recover())) == []
        run_sql(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        dropped.set()
        return await jobs.wait(job.id)

    job = database.run(scenario(), timeout_seconds=90)
    assert (job.status, job.result, job.error) == (JobStatus.DONE, {"rows": 1}, None)


def test_a_job_says_for_whom_it_runs(database: Database, jobs: Jobs) -> None:
    async def scenario() -> list[str]:
        started = [
            await jobs.start(JobKind.LOAD, "Load", idle),
            await jobs.start(JobKind.LOAD, "Load", idle, actor=Actor("ada")),
        ]
        return [(await jobs.wait(job.id)).started_by for job in started]

    assert database.run(scenario()) == ["local", "ada"]
