"""Whether the server fits: facts are asked for once, and a pure function decides over them."""

from __future__ import annotations

import re
from dataclasses import dataclass

import psycopg
from sqlalchemy import URL

from lib.errors import DatabaseProblem, NotAllowed, UnsupportedServer, VecscopeError, from_exception
from lib.store.url import connect_arguments

LOWEST_POSTGRES = (14,)
LOWEST_PGVECTOR = (0, 7)


@dataclass(frozen=True)
class ServerFacts:
    """What decides whether Vecscope can work with a database.

    pgvector_version: the one created in this database, () where there is none;
    pgvector_available: the one whose files the server has, () where there are none;
    pgvector_visible: whether its types are found on the search path;
    can_create_pgvector: whether this role may create it (true where it is there already);
    can_use_schema: whether this role may make our schema, or tables in it where it is there;
    can_write: false on a standby and where transactions are read-only;
    keeps_sessions: whether a connection has a session of the server to itself, as it has not behind
    a pooler in transaction mode.
    """

    database: str
    role: str
    postgres_version: tuple[int, ...]
    pgvector_version: tuple[int, ...]
    pgvector_available: tuple[int, ...]
    pgvector_visible: bool
    can_create_pgvector: bool
    can_use_schema: bool
    can_write: bool
    keeps_sessions: bool


def check_server(url: URL) -> ServerFacts:
    """Connects, behind a pooler twice, and looks at the server.

    Raises DatabaseUnreachable, LoginFailed, UnsupportedServer or NotAllowed.
    """
    try:
        with psycopg.connect(**connect_arguments(url), autocommit=True) as connection:
            keeps_sessions = _keeps_sessions(connection, url)
            facts = _server_facts(connection, keeps_sessions)
    except psycopg.Error as exc:
        raise from_exception(exc) or DatabaseProblem("The database cannot be asked.") from exc
    problem = server_problem(facts)
    if problem is not None:
        raise problem
    return facts


def server_problem(facts: ServerFacts) -> VecscopeError | None:
    """The first reason why these facts do not do, or None."""
    lowest_pgvector = _text(LOWEST_PGVECTOR)
    if facts.postgres_version < LOWEST_POSTGRES:
        return UnsupportedServer(
            f"The server runs PostgreSQL {_text(facts.postgres_version)}; "
            f"Vecscope needs {_text(LOWEST_POSTGRES)} or newer.",
            hint="Update PostgreSQL, or use another server.",
        )
    if not facts.pgvector_version and not facts.pgvector_available:
        return UnsupportedServer(
            "pgvector is not installed on the server.",
            hint="Install it there: https://github.com/pgvector/pgvector#installation.",
        )
    if not facts.keeps_sessions:
        return UnsupportedServer(
            "DATABASE_URL leads to a connection pooler in transaction mode, which keeps neither "
            "the locks nor the settings of a session.",
            hint="Name the server itself, or the pooler's session mode (it often has a port of its "
            "own).",
        )
    if not facts.can_write:
        return NotAllowed(
            f'The database "{facts.database}" takes no writes: it is a standby or read-only.',
            hint="Name the primary server in DATABASE_URL.",
        )
    if not facts.pgvector_version:
        if facts.pgvector_available < LOWEST_PGVECTOR:
            return UnsupportedServer(
                f"The server has pgvector {_text(facts.pgvector_available)}; "
                f"Vecscope needs {lowest_pgvector} or newer.",
                hint="Update pgvector on the server.",
            )
        if not facts.can_create_pgvector:
            return NotAllowed(
                f'pgvector is not enabled in the database "{facts.database}", '
                f'and the role "{facts.role}" may not enable it.',
                hint="Ask an administrator to run CREATE EXTENSION vector; in that database.",
            )
    elif facts.pgvector_version < LOWEST_PGVECTOR:
        return UnsupportedServer(
            f'The database "{facts.database}" has pgvector {_text(facts.pgvector_version)}; '
            f"Vecscope needs {lowest_pgvector} or newer.",
            hint="Update it on the server, then run ALTER EXTENSION vector UPDATE; in it.",
        )
    elif not facts.pgvector_visible:
        return UnsupportedServer(
            "pgvector is enabled, but in a schema that is not on this role's search path.",
            hint=f'Add its schema: ALTER ROLE "{facts.role}" SET search_path = ….',
        )
    if not facts.can_use_schema:
        return NotAllowed(
            f'The role "{facts.role}" may not make the schema vecscope in the database '
            f'"{facts.database}", where Vecscope keeps its own tables.',
            hint=f'Have CREATE SCHEMA vecscope AUTHORIZATION "{facts.role}"; run there.',
        )
    return None


_FACTS = """
SELECT current_database(), current_user, current_setting('server_version_num')::int,
       (SELECT extversion FROM pg_extension WHERE extname = 'vector'),
       (SELECT default_version FROM pg_available_extensions WHERE name = 'vector'),
       to_regtype('vector') IS NOT NULL,
       CASE WHEN to_regnamespace('vecscope') IS NULL
            THEN has_database_privilege(current_database(), 'CREATE')
            ELSE has_schema_privilege('vecscope', 'CREATE')
                 AND has_schema_privilege('vecscope', 'USAGE') END,
       NOT pg_is_in_recovery() AND NOT current_setting('transaction_read_only')::bool
"""


def _keeps_sessions(connection: psycopg.Connection[tuple[object, ...]], url: URL) -> bool:
    """A pooler makes up the number of the session that it greets a client with. One in transaction
    mode then lends the session that has just become free to the next client, while ours still
    thinks that it has it."""
    session = _session(connection)
    if session == connection.info.backend_pid:
        return True
    with psycopg.connect(**connect_arguments(url), autocommit=True) as another:
        return _session(another) != session


def _session(connection: psycopg.Connection[tuple[object, ...]]) -> object:
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    assert row is not None
    return row[0]


def _server_facts(
    connection: psycopg.Connection[tuple[object, ...]], keeps_sessions: bool
) -> ServerFacts:
    row = connection.execute(_FACTS).fetchone()
    assert row is not None  # a SELECT without FROM has one row
    database, role, number, version, available, visible, can_use_schema, can_write = row
    assert isinstance(number, int)
    can_try = version is None and available is not None and bool(can_write)
    return ServerFacts(
        database=str(database),
        role=str(role),
        postgres_version=(number // 10000, number % 10000),
        pgvector_version=_version(version),
        pgvector_available=_version(available),
        pgvector_visible=bool(visible),
        can_create_pgvector=not can_try or _can_create_pgvector(connection),
        can_use_schema=bool(can_use_schema),
        can_write=bool(can_write),
        keeps_sessions=keeps_sessions,
    )


def _can_create_pgvector(connection: psycopg.Connection[tuple[object, ...]]) -> bool:
    """Tried out and undone: hosting services have rules of their own that no catalogue shows."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute("CREATE EXTENSION vector")
    except psycopg.errors.InsufficientPrivilege:
        return False
    except (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
        return True  # another process has just done it
    return True


def _version(text: object) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", str(text))) if text is not None else ()


def _text(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)
