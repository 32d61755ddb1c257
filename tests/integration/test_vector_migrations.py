"""An index's migration, run by Alembic itself."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import psycopg
import pytest
import sqlalchemy
from alembic import command
from alembic.config import Config
from pgvector.sqlalchemy import HALFVEC, VECTOR
from sqlalchemy import URL
from sqlalchemy.dialects.postgresql import BIT

from lib.store.database import Database
from lib.store.url import connect_arguments
from lib.vectors.catalog import IndexDescription, list_indexes
from lib.vectors.ddl import index_name
from lib.vectors.distance import Distance, IndexedAs
from lib.vectors.index_methods import HNSW, IVFFLAT, IndexSpec
from lib.vectors.migration import index_migration, migration_text
from lib.vectors.plans import Plan, explain
from lib.vectors.statements import candidate_statement
from lib.vectors.tuning import Scan, SearchSettings, apply_settings
from tests.integration.vectors_fixture import (
    Fixture,
    filled,
    one_database,
    random_vectors,
)


@pytest.fixture(scope="module")
def database(server_url: URL, template: str) -> Iterator[Database]:
    with one_database(server_url, template) as found:
        yield found


def indexes(found: Fixture) -> list[IndexDescription]:
    async def work() -> list[IndexDescription]:
        async with found.database.session() as db:
            return await list_indexes(db, found.table)

    return found.database.run(work())


def migrations_of(folder: Path, source: str) -> Path:
    """A project's migration folder, as `alembic init` makes it, in short."""
    (folder / "versions").mkdir(parents=True)
    (folder / "versions" / "index.py").write_text(source)
    (folder / "env.py").write_text(
        "from alembic import context\n"
        "context.configure(connection=context.config.attributes['connection'])\n"
        "with context.begin_transaction():\n"
        "    context.run_migrations()\n"
    )
    return folder


def run_migration(
    url: sqlalchemy.URL, folder: Path, source: str, go: Callable[..., None], target: str
) -> None:
    """Alembic itself runs the one migration, up or down."""
    location = folder / "alembic"
    if not location.exists():
        migrations_of(location, source)
    config = Config(attributes={})
    config.set_main_option("script_location", str(location))
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        go(config, target)
        connection.commit()
    engine.dispose()


@pytest.mark.parametrize("held", ["vectors", "bits", "halves"])
@pytest.mark.parametrize("spec", [IVFFLAT.spec(lists=20), HNSW.spec(m=8, ef_construction=40)])
def test_the_migration_builds_an_index_that_answers(
    database: Database, spec: IndexSpec, held: str, tmp_path: Path
) -> None:
    found = filled(database, random_vectors(1000), distance=Distance.INNER_PRODUCT)
    table = replace(
        found.table,
        indexed_as=IndexedAs.BINARY
        if held == "bits"
        else IndexedAs.HALFVEC
        if held == "halves"
        else IndexedAs.COLUMN,
    )
    found = replace(found, table=table)
    source = migration_text(table, spec, revision="abc")
    migrate = partial(run_migration, database.url, tmp_path, source)

    migrate(command.upgrade, "head")
    (listed,) = indexes(found)
    assert (listed.name, listed.options, listed.valid) == (
        index_name(table, spec),
        spec.options,
        True,
    )
    statement = candidate_statement(table, found.vectors[0], 5)
    settings = SearchSettings(probes=20, ef_search=200, scan=Scan.INDEX).server_settings()

    async def search() -> tuple[int, Plan]:
        async with database.session() as db:
            await apply_settings(db, settings)
            return len((await db.execute(statement)).all()), await explain(db, statement)

    rows, plan = database.run(search())
    assert plan.certify(listed.name).certified
    assert rows == 5

    migrate(command.downgrade, "base")
    assert indexes(found) == []


EXPRESSIONS = {
    "plain": lambda column: column,
    "halfvec": lambda column: sqlalchemy.cast(column, HALFVEC(8)),
    "bit": lambda column: sqlalchemy.cast(sqlalchemy.func.binary_quantize(column), BIT(8)),
    "sub-vector": lambda column: sqlalchemy.cast(
        sqlalchemy.func.subvector(column, 1, 4), VECTOR(4)
    ),
}
OPERATOR_CLASSES = {
    "plain": "vector_l2_ops",
    "halfvec": "halfvec_l2_ops",
    "bit": "bit_hamming_ops",
    "sub-vector": "vector_l2_ops",
}


# As PostgreSQL writes them, with the extension's schema on the search path.
INDEXED = {
    "plain": '"an: embedding"',
    "halfvec": '("an: embedding"::halfvec(8))',
    "bit": '(binary_quantize("an: embedding")::bit(8))',
    "sub-vector": '(subvector("an: embedding", 1, 4)::vector(4))',
}


@pytest.mark.parametrize("kind", list(EXPRESSIONS))
def test_a_migration_runs_where_the_extension_has_a_schema_of_its_own(
    server_url: sqlalchemy.URL, kind: str, tmp_path: Path
) -> None:
    """As some hosting services install it; the schema is on the database's search path."""
    name = f"elsewhere_{uuid.uuid4().hex[:12]}"
    url = server_url.set(database=name)
    with psycopg.connect(**connect_arguments(server_url), autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        server.execute(f"ALTER DATABASE {name} SET search_path = public, extensions")
    with psycopg.connect(**connect_arguments(url), autocommit=True) as connection:
        connection.execute("CREATE SCHEMA extensions")
        connection.execute("CREATE EXTENSION vector SCHEMA extensions")
        connection.execute('CREATE TABLE docs (id int PRIMARY KEY, "an: embedding" vector(8))')
        connection.execute(
            "INSERT INTO docs SELECT n, ARRAY(SELECT random() + n FROM generate_series(1, 8)) "
            "FROM generate_series(1, 50) AS n"
        )
    docs = sqlalchemy.Table(
        "docs", sqlalchemy.MetaData(), sqlalchemy.Column("an: embedding", VECTOR(8))
    )
    column = docs.c["an: embedding"]
    made = sqlalchemy.Index(
        "the_index",
        EXPRESSIONS[kind](column)
        if kind == "plain"
        else EXPRESSIONS[kind](column).label("indexed"),
        postgresql_using="hnsw",
        postgresql_with={"m": 8},
        postgresql_ops={
            "an: embedding" if kind == "plain" else "indexed": OPERATOR_CLASSES[kind],
        },
        postgresql_concurrently=True,
    )
    migrate = partial(
        run_migration, url, tmp_path, index_migration(made, "An index", revision="abc")
    )
    definition = (
        "SELECT pg_get_indexdef(i.oid, 1, true), o.opcname, x.indisvalid FROM pg_class AS i "
        "JOIN pg_index AS x ON x.indexrelid = i.oid JOIN pg_opclass AS o ON o.oid = x.indclass[0] "
        "WHERE i.relname = 'the_index'"
    )

    migrate(command.upgrade, "head")
    with psycopg.connect(**connect_arguments(url)) as connection:
        [(indexed, operator_class, valid)] = connection.execute(definition).fetchall()
    assert (indexed, operator_class, valid) == (INDEXED[kind], OPERATOR_CLASSES[kind], True)

    migrate(command.downgrade, "base")
    with psycopg.connect(**connect_arguments(url)) as connection:
        assert connection.execute(definition).fetchall() == []
