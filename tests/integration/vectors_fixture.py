"""Tables under awkward names, with vectors in them, and the distances that numpy gives."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
from sqlalchemy import URL, Column, Computed, Index, Integer, MetaData, Table, Text, insert, text
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.types import TypeEngine

from lib.store.database import Database
from lib.store.url import connect_arguments
from lib.vectors.distance import Distance, FloatArray, Storage
from lib.vectors.search import SearchResult
from lib.vectors.table import VectorTable

DIMENSIONS = 16


@dataclass(frozen=True)
class Fixture:
    """A user's own table with its own names, and the vectors that are in it."""

    database: Database
    table: VectorTable
    vectors: FloatArray

    def run(self, search: Callable[..., Any], *args: Any, **kwargs: Any) -> SearchResult:
        async def work() -> SearchResult:
            async with self.database.session() as db:
                return await search(db, self.table, *args, **kwargs)

        result = self.database.run(work())
        assert self.database.engine.pool.checkedout() == 0  # no search leaves a connection out
        return result


@contextmanager
def one_database(server_url: URL, template: str) -> Iterator[Database]:
    """An open Database for a whole module, whose tests make their tables anew: quicker than a
    database for each. It goes with the server of the run."""
    name = f"vectors_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(**connect_arguments(server_url), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    found = Database(server_url.set(database=name))
    try:
        yield found
    finally:
        found.close()


def execute(database: Database, *statements: Any) -> Any:
    """Runs statements, in a transaction, and returns the last one's result."""

    async def work() -> Any:
        async with database.session() as db:
            for statement in statements:
                last = await db.execute(
                    text(statement) if isinstance(statement, str) else statement
                )
            return last

    return database.run(work())


def make_table(
    database: Database,
    rows: Sequence[tuple[Any, str, str | None, Any]],
    *,
    distance: Distance = Distance.COSINE,
    storage: Storage = Storage.VECTOR,
    dimensions: int = DIMENSIONS,
    id_type: TypeEngine[Any] | None = None,
) -> VectorTable:
    """rows: (id, text, topic, embedding or None), under names that need quoting."""
    made = Table(
        "My Articles",
        MetaData(),
        Column("Key", id_type or Integer(), primary_key=True),
        Column("body text", Text),
        Column("topic", Text),
        Column("vec%tor", storage.column_type(dimensions)),
    )
    _fill(database, made, rows)
    return VectorTable(
        name="My Articles",
        id="Key",
        content="body text",
        category="topic",
        embedding="vec%tor",
        distance=distance,
        storage=storage,
        dimensions=dimensions,
    )


def make_documents(
    database: Database,
    rows: Sequence[tuple[int, str, str, Any]],
    *,
    name: str = "documents",
    with_search_vector: bool = True,
    text_config: str = "english",
    distance: Distance = Distance.COSINE,
    storage: Storage = Storage.VECTOR,
    dimensions: int = DIMENSIONS,
) -> VectorTable:
    """rows: (id, title, content, embedding or None). The tsvector has the title as A, the content
    as B; without it there is an index on the expression that searches the content."""
    columns = [
        Column("id", Integer(), primary_key=True),
        Column("title", Text),
        Column("content", Text),
        Column("embedding", storage.column_type(dimensions)),
    ]
    if with_search_vector:
        weighted = (
            f"setweight(to_tsvector('{text_config}'::regconfig, coalesce(title, '')), 'A') || "
            f"setweight(to_tsvector('{text_config}'::regconfig, coalesce(content, '')), 'B')"
        )
        columns.append(Column("words", TSVECTOR, Computed(weighted, persisted=True)))
        searched: Any = "words"
    else:
        searched = text(f"to_tsvector('{text_config}', content)")
    made = Table(
        name,
        MetaData(),
        *columns,
        Index(f"{name}_words", searched, postgresql_using="gin"),
    )
    _fill(database, made, rows)
    return VectorTable(
        name=name,
        title="title",
        search_vector="words" if with_search_vector else None,
        text_config=text_config,
        distance=distance,
        storage=storage,
        dimensions=dimensions,
    )


def _fill(database: Database, made: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    async def work() -> None:
        async with database.session() as db:
            connection = await db.connection()
            await connection.run_sync(made.drop, checkfirst=True)
            await connection.run_sync(made.create)
            if rows:
                names = [column.name for column in made.columns if column.computed is None]
                await db.execute(insert(made), [dict(zip(names, row, strict=True)) for row in rows])
            await db.execute(text(f'ANALYZE "{made.name}"'))

    database.run(work())


def random_vectors(count: int, dimensions: int = DIMENSIONS, seed: int = 1) -> FloatArray:
    return np.random.default_rng(seed).standard_normal((count, dimensions)).astype(np.float32)


def filled(
    database: Database,
    vectors: FloatArray,
    *,
    distance: Distance = Distance.COSINE,
    storage: Storage = Storage.VECTOR,
) -> Fixture:
    rows = [
        (number, f"text {number}", "even" if number % 2 == 0 else "odd", vector)
        for number, vector in enumerate(vectors)
    ]
    table = make_table(
        database, rows, distance=distance, storage=storage, dimensions=vectors.shape[1]
    )
    return Fixture(database, table, vectors)


def expected_distances(vectors: FloatArray, query: FloatArray, distance: Distance) -> FloatArray:
    """numpy in float64, written apart from the product's own formulas."""
    x, q = vectors.astype(float), query.astype(float)
    if distance is Distance.L2:
        return np.linalg.norm(x - q, axis=1)
    if distance is Distance.INNER_PRODUCT:
        return -np.einsum("ij,j->i", x, q)
    return 1 - np.einsum("ij,j->i", x, q) / np.sqrt((x**2).sum(1) * (q**2).sum())
