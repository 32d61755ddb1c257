"""A PostgreSQL URL: any spelling of it as the engine takes it, and the defaults of a connection."""

from __future__ import annotations

from typing import Any

import psycopg
import sqlalchemy
from psycopg.conninfo import make_conninfo
from sqlalchemy import URL
from sqlalchemy.exc import ArgumentError

from lib.errors import (
    InvalidInput,
)

DRIVER = "postgresql+psycopg"


CONNECT_TIMEOUT_SECONDS = 10


# When a connection on which nothing is acknowledged any more is given up; else 15 minutes.
TCP_TIMEOUT_MS = 30_000


def database_url(text: str) -> URL:
    """Any spelling of a PostgreSQL address as the URL that the engine takes.

    Raises InvalidInput (field DATABASE_URL), never showing the text: it may hold a password.
    """
    try:
        url = sqlalchemy.make_url(text.strip())
    except (ArgumentError, ValueError):
        raise InvalidInput(
            "DATABASE_URL cannot be read as an address.",
            hint="It looks like postgresql://user:password@host:5432/database; special characters "
            "in the password are percent-encoded.",
            field="DATABASE_URL",
        ) from None
    backend = url.get_backend_name().lower()
    if backend not in {"postgres", "postgresql"}:
        raise InvalidInput(
            f"DATABASE_URL names a {backend} database; Vecscope needs PostgreSQL.",
            hint="It looks like postgresql://user:password@host:5432/database.",
            field="DATABASE_URL",
        )
    if not url.database:
        raise InvalidInput(
            "DATABASE_URL does not name a database.",
            hint="Add its name: postgresql://user:password@host:5432/database.",
            field="DATABASE_URL",
        )
    url = url.set(drivername=DRIVER)
    try:
        make_conninfo(**connect_arguments(url))
    except (psycopg.ProgrammingError, ArgumentError, ValueError) as exc:
        # psycopg's text names the option, and not its value.
        reason = f": {str(exc).strip()}" if isinstance(exc, psycopg.ProgrammingError) else ""
        raise InvalidInput(
            f"DATABASE_URL has an option that PostgreSQL's client does not take{reason}.",
            hint="Options of other drivers have other names here: sslmode=require, not ssl=true.",
            field="DATABASE_URL",
        ) from None
    return url


def connect_defaults(url: URL) -> dict[str, str]:
    """What every connection of ours says at connecting, where the URL does not say otherwise."""
    defaults = {
        "application_name": "vecscope",
        "connect_timeout": str(CONNECT_TIMEOUT_SECONDS),
        "tcp_user_timeout": str(TCP_TIMEOUT_MS),
    }
    return {name: value for name, value in defaults.items() if name not in url.query}


def connect_arguments(url: URL) -> dict[str, Any]:
    """The arguments of ``psycopg.connect`` for a URL, for what needs no engine."""
    _, arguments = url.get_dialect()().create_connect_args(url)
    return {**connect_defaults(url), **arguments}
