"""Alembic run from code: under a lock, and imported only where there is something to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import sqlalchemy
from sqlalchemy import URL, Connection
from sqlalchemy.pool import NullPool

from lib.errors import DatabaseProblem, UnsupportedServer, from_exception
from lib.settings import PROJECT_ROOT
from lib.store.url import connect_arguments, connect_defaults

FOLDER = PROJECT_ROOT / "migrations"
# Any number will do, as long as nobody else in the database uses it.
_LOCK_KEY = 0x7665637363
_STORED = "SELECT version_num FROM vecscope.alembic_version"


def head_revision() -> str:
    """The newest revision. Read from the file names, since importing Alembic takes 0.7 s."""
    names = [path.name for path in (FOLDER / "versions").glob("[0-9][0-9][0-9]_*.py")]
    return max(names)[:3]


def stored_revision(url: URL) -> str | None:
    """The revision that the database is at; None before the first migration."""
    try:
        with psycopg.connect(**connect_arguments(url)) as connection:
            row = connection.execute(_STORED).fetchone()
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return None
    except psycopg.Error as exc:
        raise _translated(exc) from exc
    return str(row[0]) if row else None


def migrate(url: URL, revision: str = "head") -> None:
    """Brings the database up to a revision. Quick where it is there already.

    Safe to be called by several processes at once. Raises UnsupportedServer where the database
    was made by a newer Vecscope, and DatabaseProblem where a migration fails (it is undone).
    """
    stored = stored_revision(url)
    head = head_revision()
    if stored is not None and re.fullmatch(r"\d{3}", stored) and stored > head:
        raise UnsupportedServer(
            f"The database was made by a newer Vecscope (revision {stored}, this one has {head}).",
            hint="Update Vecscope, or use another database.",
        )
    if stored != (head if revision == "head" else revision):
        _run(url, "upgrade", revision)


def downgrade(url: URL, revision: str = "base") -> None:
    """Takes the database back to a revision; ``base`` removes all that Vecscope made."""
    _run(url, "downgrade", revision)


def _run(url: URL, command: str, revision: str) -> None:
    import alembic.command
    import alembic.config

    config = alembic.config.Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    try:
        with locked_connection(url) as connection:
            config.attributes["connection"] = connection
            getattr(alembic.command, command)(config, revision)
    except sqlalchemy.exc.DBAPIError as exc:
        raise _translated(exc) from exc


@contextmanager
def locked_connection(url: URL) -> Iterator[Connection]:
    """A connection that holds the migration lock: taken before anybody looks at the version."""
    engine = sqlalchemy.create_engine(url, poolclass=NullPool, connect_args=connect_defaults(url))
    with engine.connect() as connection:
        connection.execute(sqlalchemy.select(sqlalchemy.func.pg_advisory_lock(_LOCK_KEY)))
        connection.commit()  # the lock is the session's, and the migrations have transactions
        yield connection


def _translated(exc: BaseException) -> Exception:
    return from_exception(exc) or DatabaseProblem(f"A migration failed: {exc}")
