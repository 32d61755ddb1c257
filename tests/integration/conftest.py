"""What all fixtures stand on is in tests/conftest.py; ``execute`` is imported from here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import structlog
from command_line import Screen
from pgvector.psycopg import register_vector
from sqlalchemy import URL

from lib.store.database import Database
from lib.store.url import connect_arguments
from tests.conftest import execute
from tests.integration.loading_fixture import DIMENSIONS, Shelf, Sql
from tests.unit.provider_server import ProviderServer

__all__ = ["execute"]


@pytest.fixture
def screen(
    migrated_url: URL, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Screen]:
    """The command line on a database of this test's own."""
    monkeypatch.setenv("DATABASE_URL", migrated_url.render_as_string(hide_password=False))
    for name in ("VECSCOPE_MODEL", "VECSCOPE_LOG_LEVEL", "OPENAI_API_KEY", "COHERE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    yield Screen(capsys)
    structlog.reset_defaults()


@pytest.fixture
def provider() -> Iterator[ProviderServer]:
    """An embedding provider on this machine."""
    found = ProviderServer(DIMENSIONS)
    yield found
    found.close()


@pytest.fixture
def shelf(database: Database, provider: ProviderServer, tmp_path: Path) -> Shelf:
    """A collection "Mine" that is embedded by ``provider``."""
    return Shelf(database, provider, tmp_path / "home")


@pytest.fixture
def sql(migrated_url: URL, database: Database) -> Iterator[Sql]:
    """Asks the server without the product: rows, or bare values where there is one column."""
    with psycopg.connect(**connect_arguments(migrated_url), autocommit=True) as connection:
        register_vector(connection)

        def ask(statement: str, *values: object) -> list[Any]:
            rows = connection.execute(statement, values).fetchall()
            return [row[0] if len(row) == 1 else row for row in rows]

        yield ask
