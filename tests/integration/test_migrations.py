"""Migrations: up, down and up again with data, on a database of the user's own, and at once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from conftest import execute
from sqlalchemy import URL, CheckConstraint, create_engine, inspect

from lib.errors import NotAllowed, UnsupportedServer
from lib.settings import PROJECT_ROOT
from lib.store import migrations
from lib.store.collections import create_collection
from lib.store.database import Database
from lib.store.records import SCHEMA, Record
from lib.store.url import connect_arguments

INSERT_COLLECTION = """
    INSERT INTO vecscope.collections (slug, name, kind, model, dimensions, distance, storage)
    VALUES ('books', 'Books', 'managed', 'm', 3, 'cosine', 'vector')
"""


def fetch(url: URL, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(**connect_arguments(url)) as connection:
        return connection.execute(query).fetchall()


def test_the_tables_are_those_of_the_orm(migrated_url: URL) -> None:
    """Alembic's own comparison sees columns, types, indexes and foreign keys, but no checks."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    engine = create_engine(migrated_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_schemas": True,
                "include_name": lambda name, kind, _: kind != "schema" or name == SCHEMA,
                "compare_server_default": True,
                "version_table_schema": SCHEMA,
            },
        )
        assert compare_metadata(context, Record.metadata) == []
        for table in Record.metadata.sorted_tables:
            found = inspect(connection).get_check_constraints(table.name, schema=SCHEMA)
            wanted = {c.name for c in table.constraints if isinstance(c, CheckConstraint)}
            assert {check["name"] for check in found} == wanted
    engine.dispose()


def test_head_is_read_from_the_file_names(migrated_url: URL) -> None:
    from alembic.script import ScriptDirectory

    assert ScriptDirectory(str(migrations.FOLDER)).get_current_head() == migrations.head_revision()
    assert migrations.stored_revision(migrated_url) == migrations.head_revision()


def test_down_to_base_leaves_nothing_and_up_again_works(new_database: Callable[..., URL]) -> None:
    url = new_database()
    migrations.migrate(url)
    execute(
        url,
        INSERT_COLLECTION,
        "CREATE TABLE vecscope.documents_books (id int, embedding vector(3))",
        "INSERT INTO vecscope.documents_books VALUES (1, '[1,2,3]')",
        "INSERT INTO vecscope.jobs (kind, title) VALUES ('load', 'Load')",
    )
    migrations.downgrade(url)
    assert fetch(url, "SELECT nspname FROM pg_namespace WHERE nspname = 'vecscope'") == []
    assert fetch(url, "SELECT extname FROM pg_extension WHERE extname = 'vector'") == []
    migrations.migrate(url)
    assert fetch(url, "SELECT count(*) FROM vecscope.collections") == [(0,)]


def test_query_sets_go_with_their_collection_and_with_their_migration(
    new_database: Callable[..., URL],
) -> None:
    url = new_database()
    migrations.migrate(url)

    def add() -> None:
        execute(
            url,
            "INSERT INTO vecscope.query_sets (collection_id, name, kind) "
            "SELECT id, 'questions', 'text' FROM vecscope.collections",
            "INSERT INTO vecscope.queries (query_set_id, external_id, position, text, embedding) "
            "SELECT id, 'q1', 0, 'why?', '[1,2,3]' FROM vecscope.query_sets",
            "INSERT INTO vecscope.judgments SELECT id, 'd1', 2 FROM vecscope.queries",
        )

    def judgments() -> list[tuple[Any, ...]]:
        return fetch(url, "SELECT document, grade FROM vecscope.judgments")

    execute(url, INSERT_COLLECTION)
    add()
    assert judgments() == [("d1", 2)]
    migrations.downgrade(url, "002")
    assert fetch(url, "SELECT name FROM vecscope.collections") == [("Books",)]
    migrations.migrate(url)
    add()
    execute(url, "DELETE FROM vecscope.collections")
    assert judgments() == []


def test_the_metadata_index_comes_to_tables_that_are_there(
    new_database: Callable[..., URL],
) -> None:
    url = new_database()
    migrations.migrate(url)
    database = Database(url)
    try:
        # The longest name that a table can have
        database.query(create_collection, "b" * 48, model="m", dimensions=3)
    finally:
        database.close()
    definition = f"SELECT indexdef FROM pg_indexes WHERE indexname = 'documents_{'b' * 48}_meta'"
    made = fetch(url, definition)
    assert "jsonb_path_ops" in made[0][0]
    execute(url, INSERT_COLLECTION)  # without its table
    migrations.downgrade(url, "005")
    assert fetch(url, definition) == []
    migrations.migrate(url)
    assert fetch(url, definition) == made


def test_down_to_base_keeps_what_is_the_users(new_database: Callable[..., URL]) -> None:
    url = new_database()
    migrations.migrate(url)
    execute(
        url,
        "CREATE TABLE public.theirs (embedding vector(3))",
        "INSERT INTO public.theirs VALUES ('[1,2,3]')",
        "CREATE TABLE vecscope.documents_theirs (id int)",  # no collection has it
    )
    migrations.downgrade(url)
    assert fetch(url, "SELECT embedding::text FROM public.theirs") == [("[1,2,3]",)]
    assert fetch(url, "SELECT count(*) FROM vecscope.documents_theirs") == [(0,)]
    migrations.migrate(url)
    assert migrations.stored_revision(url) == migrations.head_revision()


def test_an_extension_that_was_there_before_stays(new_database: Callable[..., URL]) -> None:
    url = new_database()
    execute(url, "CREATE EXTENSION vector")
    migrations.migrate(url)
    migrations.downgrade(url)
    assert fetch(url, "SELECT extname FROM pg_extension WHERE extname = 'vector'") == [("vector",)]


def test_several_at_once_do_not_collide(new_database: Callable[..., URL]) -> None:
    url = new_database()
    script = (
        "import sys; from sqlalchemy import make_url; from lib.store.migrations import migrate; "
        "migrate(make_url(sys.argv[1]))"
    )
    command = [sys.executable, "-c", script, url.render_as_string(hide_password=False)]
    with ThreadPoolExecutor(3) as pool:
        runs = list(
            pool.map(
                lambda _: subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True),
                range(3),
            )
        )
    assert [(run.returncode, run.stderr) for run in runs] == [(0, "")] * 3
    assert migrations.stored_revision(url) == migrations.head_revision()


def test_a_failed_migration_is_undone_and_told(new_database: Callable[..., URL]) -> None:
    url = new_database()
    migrations.migrate(url, "001")
    execute(url, "CREATE ROLE stranger LOGIN")
    try:
        with pytest.raises(NotAllowed):
            migrations.migrate(url.set(username="stranger"))
    finally:
        execute(url, "DROP ROLE stranger")
    assert migrations.stored_revision(url) == "001"
    migrations.migrate(url)


def test_a_database_of_a_newer_version_is_refused(migrated_url: URL) -> None:
    execute(migrated_url, "UPDATE vecscope.alembic_version SET version_num = '999'")
    with pytest.raises(UnsupportedServer, match="newer Vecscope"):
        migrations.migrate(migrated_url)


def test_the_alembic_command_uses_the_settings(new_database: Callable[..., URL]) -> None:
    url = new_database()
    environment = os.environ | {"DATABASE_URL": url.set(drivername="postgres").render_as_string()}
    for arguments in (["upgrade", "head"], ["check"]):
        subprocess.run(
            [sys.executable, "-m", "alembic", *arguments],
            cwd=PROJECT_ROOT,
            env=environment,
            check=True,
            capture_output=True,
        )
    assert migrations.stored_revision(url) == migrations.head_revision()
