"""What an earlier version (commit 8f89244) stored, printed and accepted, written by itself.

- ``stored.json``: the rows of a database at revision 012 with the collection "Films" (vectors
  without a model, an HNSW index over halves, a BM25 index, two query sets, two experiments with
  their candidates, two maps, saved searches with every setting) and the collection "Notes".
- ``printed.json``: what its commands printed as JSON about that database.
- ``options.json``: its commands with their arguments, options and choices.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb
from sqlalchemy import URL

from lib.store import migrations
from lib.store.url import connect_arguments

_FOLDER = Path(__file__).parent


def read(name: str) -> Any:
    """One of the JSON files."""
    return json.loads((_FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def stored_rows(table: str) -> list[dict[str, Any]]:
    """The rows of one table, as they were stored."""
    rows = read("stored")["rows"][table]
    return [dict(zip(rows["columns"], row, strict=True)) for row in rows["rows"]]


def restore(url: URL) -> None:
    """Fills an empty database with what is stored, as the version of that time left it."""
    stored = read("stored")
    migrations.migrate(url, stored["revision"])
    with psycopg.connect(**connect_arguments(url)) as connection:
        for statement in stored["tables_of_collections"]:
            connection.execute(statement)
        for name, rows in stored["rows"].items():
            table = sql.Identifier("vecscope", name)
            columns = sql.SQL(", ").join(map(sql.Identifier, rows["columns"]))
            connection.execute(
                sql.SQL(
                    "INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE "
                    "SELECT {columns} FROM jsonb_populate_recordset(NULL::{table}, %s)"
                ).format(table=table, columns=columns),
                [Jsonb(stored_rows(name))],
            )
        for statement in stored["indexes_and_triggers"]:
            connection.execute(statement)
