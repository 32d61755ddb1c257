"""Alembic's entry: for lib.store.migrations, and for the ``alembic`` command by hand."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, text

from lib.settings import load_settings
from lib.store.embedded import start_embedded
from lib.store.migrations import locked_connection
from lib.store.records import SCHEMA, Record
from lib.store.url import database_url


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Record.metadata,
        version_table_schema=SCHEMA,
        include_schemas=True,
        include_name=lambda name, kind, _parents: kind != "schema" or name == SCHEMA,
        transaction_per_migration=True,
    )
    # The version table lives in our schema, so the schema is there before the first migration …
    connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
    connection.commit()
    context.run_migrations()
    # … and goes after the last one is undone, unless somebody keeps something else in it.
    connection.execute(text(_DROP_SCHEMA_AT_BASE))
    connection.commit()


_DROP_SCHEMA_AT_BASE = f"""
DO $$
BEGIN
    IF EXISTS (SELECT FROM {SCHEMA}.alembic_version) THEN
        RETURN;
    END IF;
    DROP TABLE {SCHEMA}.alembic_version;
    DROP SCHEMA {SCHEMA};
EXCEPTION WHEN dependent_objects_still_exist THEN
    RAISE NOTICE 'schema {SCHEMA} holds other objects: left as it is';
END
$$
"""


def run_by_hand() -> None:
    settings = load_settings()
    if settings.database_url is not None:
        with locked_connection(database_url(settings.database_url.get_secret_value())) as found:
            run(found)
        return
    server = start_embedded(settings.home)
    try:
        with locked_connection(server.url) as found:
            run(found)
    finally:
        server.release()


if (given := context.config.attributes.get("connection")) is not None:
    run(given)
else:
    run_by_hand()
