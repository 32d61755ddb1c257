"""SQL as people read it: what would be sent, with its parameters written in."""

from __future__ import annotations

from sqlalchemy import Table
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.sql.elements import ClauseElement

_DIALECT = PGDialect_psycopg()  # type: ignore[no-untyped-call]


def printed(element: ClauseElement) -> str:
    """The statement, to paste into psql. The driver's doubled percent signs are single again."""
    compiled = element.compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True})
    return str(compiled).strip().replace("%%", "%")


def quoted_name(table: Table) -> str:
    """schema.table, quoted as PostgreSQL needs it."""
    return _DIALECT.identifier_preparer.format_table(table).replace("%%", "%")
