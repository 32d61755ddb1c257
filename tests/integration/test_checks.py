"""The checks at start, each on a real server that is wrong in just that way."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress

import pytest
from conftest import execute
from sqlalchemy import URL

from lib.errors import DatabaseUnreachable, LoginFailed, NotAllowed, UnsupportedServer
from lib.store.checks import check_server
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
