"""The bundled PostgreSQL: shared, killed, crowded and misplaced. Each test has its own home."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from sqlalchemy import text

from lib.errors import DatabaseProblem, UnsupportedServer
from lib.settings import PROJECT_ROOT, Settings
from lib.store.database import Database
from lib.store.embedded import EmbeddedServer, start_embedded
from lib.store.open import open_database
from lib.store.url import connect_arguments


@pytest.fixture
def empty_home() -> Iterator[Path]:
    """A home that is not there yet."""
    folder = Path(tempfile.mkdtemp(prefix="vs-"))
    yield folder / "home"
    for how in (signal.SIGINT, signal.SIGKILL):  # a test may have left its server running
        left = [process for process in psutil.process_iter() if works_in(process, folder)]
        for process in left:
            with suppress(psutil.NoSuchProcess):  # they end each other
                process.send_signal(how)
        psutil.wait_procs(left, timeout=2)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def used_home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="vs-"))
    start_embedded(folder / "home").release()
    yield folder / "home"
    shutil.rmtree(folder)


@pytest.fixture
def home(empty_home: Path, used_home: Path) -> Path:
    """A home that was used before: a copy, which is quicker than making one."""
    subprocess.run(["cp", "-a", used_home, empty_home], check=True)
    return empty_home


def works_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.name().startswith("postgres") and folder in Path(process.cwd()).parents
    except psutil.Error:
        return False


def fetch(server: EmbeddedServer, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(**connect_arguments(server.url), autocommit=True) as connection:
        cursor = connection.execute(query)
        return cursor.fetchall() if cursor.description else []


def postmaster(server: EmbeddedServer) -> psutil.Process:
    return psutil.Process(int((server.data / "postmaster.pid").read_text().split()[0]))


def in_another_process(home: Path, work: str) -> subprocess.Popen[bytes]:
    """Runs ``work`` with a started ``server``, says "ready", and then waits to be killed."""
    script = f"""
        import sys, time
        from pathlib import Path
        import psycopg
        from lib.store.embedded import start_embedded
        from lib.store.url import connect_arguments

        server = start_embedded(Path(sys.argv[1]))
        connection = psycopg.connect(**connect_arguments(server.url))
        {work}
        print("ready", flush=True)
        time.sleep(60)
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(home)],
        stdout=subprocess.PIPE,
        cwd=PROJECT_ROOT,
    )


def wait_until_ready(process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"


def end(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    process.send_signal(how)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def test_the_server_ends_with_the_last_that_uses_it_and_keeps_the_data(home: Path) -> None:
    first = start_embedded(home)
    second = start_embedded(home)
    fetch(first, "CREATE TABLE kept AS SELECT 1 AS x")
    process = postmaster(first)
    assert not first.release()
    assert not first.release()  # again changes nothing
    assert fetch(second, "SELECT x FROM kept") == [(1,)]
    assert second.release()
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE

    third = start_embedded(home)
    assert fetch(third, "SELECT x FROM kept") == [(1,)]
    third.release()


def test_memory_is_set_and_a_users_own_setting_wins(home: Path) -> None:
    server = start_embedded(home)
    query = (
        "SELECT name, sourcefile FROM pg_settings "
        "WHERE name IN ('shared_buffers', 'maintenance_work_mem', 'work_mem') ORDER BY name"
    )
    written_by = str(server.data / "vecscope.conf")
    assert fetch(server, query) == [
        ("maintenance_work_mem", written_by),
        ("shared_buffers", written_by),
        ("work_mem", written_by),
    ]
    fetch(server, "ALTER SYSTEM SET work_mem = '5MB'")
    server.release()
    server = start_embedded(home)
    assert fetch(server, "SHOW work_mem") == [("5MB",)]
    assert fetch(server, "SHOW listen_addresses") == [("",)]
    server.release()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_application_leaves_no_trace_in_the_count(home: Path, how: signal.Signals) -> None:
    process = in_another_process(
        home, "connection.execute('CREATE TABLE kept AS SELECT 1 AS x'); connection.commit()"
    )
    wait_until_ready(process)
    end(process, how)

    server = start_embedded(home)
    assert fetch(server, "SELECT x FROM kept") == [(1,)]
    assert server.release()


def test_two_that_start_at_once_on_an_empty_home_share_one_server(empty_home: Path) -> None:
    work = "connection.execute('SELECT 1')"
    processes = [in_another_process(empty_home, work) for _ in range(2)]
    for process in processes:
        wait_until_ready(process)
    end(processes[0], signal.SIGTERM)
    server = start_embedded(empty_home)
    assert not server.release()  # the second still uses it
    end(processes[1], signal.SIGTERM)


def test_a_killed_server_comes_back_by_itself_with_every_committed_row(home: Path) -> None:
    database = open_database(Settings(_env_file=None, DATABASE_URL=None, home=home))
    server = database._embedded
    assert server is not None

    async def run(statement: str) -> list[Any]:
        async with database.session() as session:
            result = await session.execute(text(statement))
            return [tuple(row) for row in result] if result.returns_rows else []

    database.run(run("CREATE TABLE kept (x int)"))
    database.run(run("INSERT INTO kept VALUES (1)"))
    # Backends that are at work outlive a kill -9 of the postmaster.
    busy = database.submit(run("SELECT sum(i) FROM generate_series(1, 1000000000) AS i"))
    time.sleep(0.1)
    postmaster(server).kill()
    time.sleep(0.1)
    assert database.run(run("SELECT x FROM kept")) == [(1,)]
    with pytest.raises(DatabaseProblem):
        busy.result(20)
    database.close()


def test_a_restarted_server_is_not_noticed(home: Path) -> None:
    server = start_embedded(home)
    database = Database(server.url)

    async def ask() -> Any:
        async with database.session() as session:
            return await session.scalar(text("SELECT 1"))

    assert database.run(ask()) == 1
    server._stop()
    server.ensure_running()
    assert database.run(ask()) == 1
    database.close()
    server.release()


def test_lock_files_that_name_some_other_process_are_no_server(home: Path) -> None:
    server = start_embedded(home)
    server.release()
    owner = server.data.stat()
    identity: dict[str, Any] = {"user": owner.st_uid} if os.geteuid() == 0 else {}
    other = subprocess.Popen(["sleep", "60"], **identity)
    try:
        files = {
            "postmaster.pid": f"{other.pid}\n{server.data}\n1700000000\n5432\n\n\n0 0\nready   \n",
            ".s.PGSQL.5432.lock": f"{other.pid}\n{server.data}\n1700000000\n5432\n{server.data}\n",
        }
        for name, content in files.items():
            path = server.data / name
            path.write_text(content)
            path.chmod(0o600)
            os.chown(path, owner.st_uid, owner.st_gid)
        server = start_embedded(home)
        assert fetch(server, "SELECT 1") == [(1,)]
        assert postmaster(server).pid != other.pid
        server.release()
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_half_made_data_folder_is_made_again(empty_home: Path) -> None:
    left_over = empty_home / "postgres.new-abc"
    left_over.mkdir(parents=True)
    (left_over / "PG_VERSION").write_text("18\n")
    (empty_home / "postgres").mkdir()
    server = start_embedded(empty_home)
    assert not left_over.exists()
    server.release()


def test_a_folder_that_is_something_else_is_left_alone(empty_home: Path) -> None:
    letters = empty_home / "postgres" / "letters.txt"
    letters.parent.mkdir(parents=True)
    letters.write_text("Dear …")
    with pytest.raises(DatabaseProblem, match="no PostgreSQL data folder") as caught:
        start_embedded(empty_home)
    assert caught.value.field == "VECSCOPE_HOME"
    assert letters.read_text() == "Dear …"


def test_a_home_that_cannot_be_made_is_told(empty_home: Path) -> None:
    empty_home.write_text("a file")
    with pytest.raises(DatabaseProblem, match="cannot be used") as caught:
        start_embedded(empty_home / "below")
    assert caught.value.field == "VECSCOPE_HOME"


def test_a_data_folder_of_another_version_is_told(home: Path) -> None:
    server = start_embedded(home)
    server.release()
    (server.data / "PG_VERSION").write_text("13\n")
    with pytest.raises(UnsupportedServer, match="13"):
        start_embedded(home)


def test_a_server_that_does_not_start_says_why(home: Path) -> None:
    server = start_embedded(home)
    server.release()
    with (server.data / "postgresql.auto.conf").open("a") as file:
        file.write("no_such_setting = 1\n")
    with pytest.raises(DatabaseProblem, match="contains errors") as caught:
        start_embedded(home)
    assert "server.log" in caught.value.hint


def test_any_path_will_do(empty_home: Path) -> None:
    """Too long for a socket, and full of what shells, libpq and configuration files mind."""
    home = empty_home / ('it\'s a "home" of $1 `or` 100 %, two:three ' + "x" * 80)
    database = open_database(Settings(_env_file=None, DATABASE_URL=None, home=home))

    async def ask() -> Any:
        async with database.session() as session:
            return await session.scalar(text("SELECT count(*) FROM vecscope.collections"))

    assert database.run(ask()) == 0
    database.close()
