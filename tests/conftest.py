"""One real PostgreSQL a run, and a fresh, migrated database for every test.

The fixture ``database`` is an open Database. Its engine belongs to the loop's thread, so tests are
plain functions:

    def test_something(database):
        async def work():
            async with database.session() as session:
                return await session.scalar(select(1))

        assert database.run(work()) == 1
"""

from __future__ import annotations

import shutil
import signal
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import settings
from psycopg import sql
from sqlalchemy import URL

from lib.store import migrations
from lib.store.database import Database
from lib.store.embedded import EmbeddedServer, start_embedded
from lib.store.url import connect_arguments

TEMPLATE = "vecscope_template"

# A busy machine is no failure: how long an example takes is not what is tested.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# What a shell starts in the background ignores Ctrl-C, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def execute(url: URL, *statements: sql.Composable | str) -> None:
    """Runs statements outside a transaction, as CREATE DATABASE and the like ask for."""
    with psycopg.connect(**connect_arguments(url), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[EmbeddedServer]:
    """The server of this run, shared by pytest-xdist's workers; it stops with the last of them."""
    # A short path, since a socket's path is limited; one per run, so that runs do not meet.
    run_id = getattr(request.config, "workerinput", {}).get("testrunuid", uuid.uuid4().hex)
    home = Path(tempfile.gettempdir()) / f"vecscope-test-{run_id[:12]}"
    found = start_embedded(home)
    yield found
    if found.release():
        shutil.rmtree(home)


@pytest.fixture(scope="session")
def server_url(server: EmbeddedServer) -> URL:
    """The server's database ``postgres``, as its superuser, for tests that make their own."""
    return server.url.set(database="postgres")


@pytest.fixture(scope="session")
def template(server_url: URL) -> str:
    """The name of a migrated database without rows, made once per server."""
    with psycopg.connect(**connect_arguments(server_url), autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(1)")  # one worker makes it
        query = "SELECT 1 FROM pg_database WHERE datname = %s"
        if not connection.execute(query, [TEMPLATE]).fetchone():
            making = f"{TEMPLATE}_making"
            connection.execute(f"DROP DATABASE IF EXISTS {making}")
            connection.execute(f"CREATE DATABASE {making}")
            migrations.migrate(server_url.set(database=making))
            connection.execute(f"ALTER DATABASE {making} RENAME TO {TEMPLATE}")
    return TEMPLATE


@pytest.fixture
def new_database(server_url: URL) -> Iterator[Callable[[str], URL]]:
    """Makes databases, as copies of a template; they are dropped after the test."""
    made: list[sql.Identifier] = []

    def make(template: str = "template1") -> URL:
        name = f"test_{uuid.uuid4().hex[:12]}"
        made.append(sql.Identifier(name))
        execute(
            server_url,
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(made[-1], sql.Identifier(template)),
        )
        return server_url.set(database=name)

    yield make
    for name in made:
        execute(server_url, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


@pytest.fixture
def migrated_url(new_database: Callable[[str], URL], template: str) -> URL:
    """The address of a migrated database of this test's own."""
    return new_database(template)


@pytest.fixture
def database(migrated_url: URL) -> Iterator[Database]:
    """An open Database on a migrated database of this test's own."""
    found = Database(migrated_url)
    yield found
    found.close()
