"""The checks at start, each on a real server that is wrong in just that way."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from conftest import execute
from sqlalchemy import URL

from lib.errors import DatabaseUnreachable, LoginFailed, NotAllowed, UnsupportedServer
from lib.store.checks import ServerFacts, check_server
from lib.store.embedded import EmbeddedServer


@pytest.fixture
def role(server_url: URL) -> str:
    """A role without any right of its own. It stays: the server goes with the run."""
    name = f"role_{uuid.uuid4().hex[:8]}"
    execute(server_url, f"CREATE ROLE {name} LOGIN PASSWORD 'right'")
    return name


def test_a_migrated_database_fits(migrated_url: URL) -> None:
    facts = check_server(migrated_url)
    assert facts.postgres_version >= (14,)
    assert facts.pgvector_version >= (0, 7)
    assert facts.can_write


def test_a_new_database_fits_and_looking_leaves_it_as_it_was(
    new_database: Callable[..., URL],
) -> None:
    url = new_database()
    for _ in range(2):
        facts = check_server(url)
        assert facts.pgvector_version == ()
        assert facts.can_create_pgvector


@pytest.mark.parametrize(
    "address", [{"host": "127.0.0.1", "port": "1"}, {"host": "/nowhere"}], ids=["port", "socket"]
)
def test_unreachable(address: dict[str, str]) -> None:
    with pytest.raises(DatabaseUnreachable):
        check_server(
            URL.create("postgresql+psycopg", "me", "hush", database="vecscope", query=address)
        )


def test_wrong_password(server: EmbeddedServer, server_url: URL, role: str) -> None:
    rules = server.data / "pg_hba.conf"
    trusting = rules.read_text()
    rules.write_text(f"local all {role} scram-sha-256\n{trusting}")
    execute(server_url, "SELECT pg_reload_conf()")
    try:
        check_server_as(server_url, role, "right")
        for password in ("wrong-one", None):
            with pytest.raises(LoginFailed) as caught:
                check_server_as(server_url, role, password)
            assert "wrong-one" not in str(caught.value)
    finally:
        rules.write_text(trusting)
        execute(server_url, "SELECT pg_reload_conf()")


def check_server_as(url: URL, role: str, password: str | None) -> None:
    """Whether the login works; what the role may do is another question."""
    with suppress(NotAllowed):
        check_server(url.set(username=role, password=password))


def test_no_such_database_or_role(server_url: URL) -> None:
    with pytest.raises(LoginFailed, match="does not exist"):
        check_server(server_url.set(database="nothing_here"))
    with pytest.raises(LoginFailed, match="nobody_here"):
        check_server(server_url.set(username="nobody_here"))


def test_pgvector_that_the_role_may_not_enable(new_database: Callable[..., URL], role: str) -> None:
    url = new_database()
    with pytest.raises(NotAllowed, match="may not enable it") as caught:
        check_server(url.set(username=role))
    assert role in caught.value.message


def test_pgvector_on_no_search_path(new_database: Callable[..., URL]) -> None:
    url = new_database()
    execute(url, "CREATE SCHEMA aside", "CREATE EXTENSION vector SCHEMA aside")
    with pytest.raises(UnsupportedServer, match="search path"):
        check_server(url)


def test_no_right_to_the_schema(new_database: Callable[..., URL], role: str) -> None:
    url = new_database()
    execute(url, "CREATE EXTENSION vector")
    theirs = url.set(username=role)
    with pytest.raises(NotAllowed, match="may not make the schema"):
        check_server(theirs)
    execute(url, "CREATE SCHEMA vecscope", f"GRANT CREATE ON SCHEMA vecscope TO {role}")
    with pytest.raises(NotAllowed, match="may not make the schema"):  # USAGE is missing
        check_server(theirs)
    execute(url, f"ALTER SCHEMA vecscope OWNER TO {role}")
    assert check_server(theirs).can_use_schema


def test_read_only(new_database: Callable[..., URL], role: str) -> None:
    url = new_database()
    execute(url, f"ALTER DATABASE {url.database} SET default_transaction_read_only = on")
    with pytest.raises(NotAllowed, match="takes no writes"):
        check_server(url)


@contextmanager
def pooler(url: URL, mode: str) -> Iterator[URL]:
    """PgBouncer before the server, as its only program: the way many hosted databases are met."""
    program = shutil.which("pgbouncer")
    if program is None:
        pytest.skip("no PgBouncer on this machine: install it (Debian: apt install pgbouncer)")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    sockets = str(url.query["host"])
    folder = Path(tempfile.mkdtemp(prefix="vecscope-pooler-"))
    folder.chmod(0o755)  # it runs as another user
    (folder / "users.txt").write_text('"postgres" ""')
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        f"[databases]\n{url.database} = host={sockets} port={url.query['port']}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = trust\nauth_file = {folder / 'users.txt'}\npool_mode = {mode}\n"
    )
    command = [program, str(settings)]
    if os.getuid() == 0:  # it refuses to run as root; as who may use the server's socket
        command += ["-u", Path(sockets).owner()]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            yield URL.create(
                "postgresql+psycopg", "postgres", None, "127.0.0.1", port, url.database
            )
        finally:
            process.terminate()
            process.wait()
            shutil.rmtree(folder)


def test_a_pooler_in_transaction_mode_is_told_from_one_that_keeps_sessions(
    migrated_url: URL,
) -> None:
    with pooler(migrated_url, "session") as url:
        assert until_up(url).keeps_sessions
    with pooler(migrated_url, "transaction") as url:
        with pytest.raises(UnsupportedServer, match="pooler in transaction mode") as caught:
            until_up(url)
        assert "session mode" in str(caught.value.hint)


def until_up(url: URL) -> ServerFacts:
    give_up = time.monotonic() + 60
    while True:
        try:
            return check_server(url)
        except DatabaseUnreachable:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.05)
