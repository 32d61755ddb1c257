"""The loop thread, the pool and the unit of work, against a real server."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from conftest import execute
from sqlalchemy import URL, select, text

from lib.errors import (
    AlreadyExists,
    DatabaseProblem,
    DatabaseUnreachable,
    LoginFailed,
    NotFound,
    StatementCancelled,
)
from lib.settings import PROJECT_ROOT, Settings
from lib.store.database import Database
from lib.store.open import open_database
from lib.store.records import CollectionRecord
from lib.store.url import connect_arguments

SLEEP = "SELECT pg_sleep(60)"


async def run(database: Database, statement: str, **values: Any) -> Any:
    async with database.session() as session:
        return await session.scalar(text(statement), values)


def books() -> CollectionRecord:
    return CollectionRecord(
        slug="books",
        name="Books",
        kind="managed",
        model="m",
        dimensions=3,
        distance="cosine",
        storage="vector",
    )


def sleeping(url: URL) -> int:
    """How many sessions of a database are asleep in SLEEP."""
    with psycopg.connect(**connect_arguments(url)) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND state = 'active' AND query = %s",
            [SLEEP],
        ).fetchone()
        assert row is not None
        return int(row[0])


def wait_until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_a_unit_of_work_commits_at_its_end_and_rolls_back_on_an_error(database: Database) -> None:
    async def write(*, fail: bool) -> None:
        async with database.session() as session:
            session.add(books())
            await session.flush()
            if fail:
                raise ZeroDivisionError

    async def read() -> list[str]:
        async with database.session() as session:
            return list(await session.scalars(select(CollectionRecord.name)))

    with pytest.raises(ZeroDivisionError):
        database.run(write(fail=True))
    assert database.run(read()) == []
    database.run(write(fail=False))
    assert database.run(read()) == ["Books"]


def test_driver_errors_come_out_as_ours(database: Database) -> None:
    async def write_twice() -> None:
        for _ in range(2):
            async with database.session() as session:
                session.add(books())

    with pytest.raises(AlreadyExists) as caught:
        database.run(write_twice())
    assert caught.value.__cause__ is not None
    with pytest.raises(NotFound):
        database.run(run(database, "SELECT * FROM nothing_here"))
    assert database.run(run(database, "SELECT 1")) == 1


def test_a_connection_has_the_constants_of_a_session(database: Database) -> None:
    assert database.run(run(database, "SHOW plan_cache_mode")) == "force_custom_plan"
    assert database.run(run(database, "SHOW application_name")) == "vecscope"


def test_sixteen_threads_at_once(database: Database) -> None:
    barrier = threading.Barrier(16)

    def ask(number: int) -> int:
        barrier.wait()
        query = "SELECT CAST(:number AS int) FROM pg_sleep(0.05)"
        return sum(database.run(run(database, query, number=number)) for _ in range(5))

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, range(16))) == [5 * number for number in range(16)]
    assert database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("idle_seconds", [30, -1], ids=["looked-at", "pinged"])
def test_a_dropped_connection_is_replaced_unnoticed(
    database: Database,
    server_url: URL,
    monkeypatch: pytest.MonkeyPatch,
    idle_seconds: float,
) -> None:
    monkeypatch.setattr("lib.store.database.IDLE_SECONDS", idle_seconds)

    async def ask_four_at_once() -> list[int]:
        query = "SELECT pg_backend_pid() FROM pg_sleep(0.05)"
        return list(await asyncio.gather(*(run(database, query) for _ in range(4))))

    before = database.run(ask_four_at_once())
    for _ in range(2):
        execute(
            server_url,
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            f"WHERE datname = '{database.url.database}'",
        )
        after = database.run(ask_four_at_once())
        assert len(set(after)) == 4
        assert not set(before) & set(after)
        before = after


def test_a_time_limit_ends_the_statement_on_the_server(database: Database) -> None:
    with pytest.raises(StatementCancelled, match=r"0\.3 s"):
        database.run(run(database, SLEEP), timeout_seconds=0.3)
    wait_until(lambda: sleeping(database.url) == 0)
    wait_until(lambda: database.engine.pool.checkedout() == 0)  # type: ignore[attr-defined]


def test_a_cancelled_future_ends_the_statement_on_the_server(database: Database) -> None:
    future = database.submit(run(database, SLEEP))
    wait_until(lambda: sleeping(database.url) == 1)
    future.cancel()
    wait_until(lambda: sleeping(database.url) == 0)
    wait_until(lambda: database.engine.pool.checkedout() == 0)  # type: ignore[attr-defined]
    assert database.run(run(database, "SELECT 1")) == 1


def test_ctrl_c_ends_the_statement_on_the_server(migrated_url: URL) -> None:
    """In a process of its own: only a main thread gets a KeyboardInterrupt."""
    script = f"""
        import sys
        from sqlalchemy import make_url, text
        from lib.store.database import Database

        async def sleep():
            async with database.session() as session:
                await session.execute(text("{SLEEP}"))

        async def count():
            async with database.session() as session:
                return await session.scalar(text(
                    "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' "
                    "AND datname = current_database() AND query = '{SLEEP}'"
                ))

        database = Database(make_url(sys.argv[1]))
        try:
            database.run(sleep())
        except KeyboardInterrupt:
            while database.run(count()):
                pass
            print("interrupted")
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), migrated_url.render_as_string(False)],
        stdout=subprocess.PIPE,
        cwd=PROJECT_ROOT,
    )
    wait_until(lambda: sleeping(migrated_url) == 1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, b"interrupted\n")


def test_a_coroutines_own_timeout_is_not_ours(database: Database) -> None:
    async def late() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        database.run(late(), timeout_seconds=5)


def test_close_ends_running_work_and_may_be_called_again(
    database: Database, server_url: URL
) -> None:
    future = database.submit(run(database, SLEEP))
    wait_until(lambda: sleeping(database.url) == 1)
    database.close()
    database.close()
    assert future.cancelled()
    assert sleeping(database.url) == 0
    with pytest.raises(DatabaseProblem, match="closed"):
        database.run(run(database, "SELECT 1"))


def test_run_on_its_own_loop_is_refused_instead_of_waiting_for_ever(database: Database) -> None:
    async def nested() -> None:
        database.run(run(database, "SELECT 1"))

    with pytest.raises(RuntimeError, match="own thread"):
        database.run(nested(), timeout_seconds=5)


def test_open_migrates_the_database_that_the_settings_name(
    new_database: Callable[..., URL],
) -> None:
    url = new_database().set(drivername="postgres")
    settings = Settings(_env_file=None, DATABASE_URL=url.render_as_string(hide_password=False))
    for _ in range(2):
        database = open_database(settings)
        assert database.run(run(database, "SELECT count(*) FROM vecscope.collections")) == 0
        database.close()


def test_a_server_that_is_not_there_is_told() -> None:
    url = "postgresql://me:hush@127.0.0.1:1/vecscope"
    with pytest.raises(DatabaseUnreachable) as caught:
        open_database(Settings(_env_file=None, DATABASE_URL=url))
    assert "hush" not in str(caught.value)


def test_a_refused_login_is_told_at_once(server_url: URL) -> None:
    database = Database(server_url.set(database="nothing_here"))
    with pytest.raises(LoginFailed):
        database.run(run(database, "SELECT 1"))
    database.close()
