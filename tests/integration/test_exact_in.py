"""A table's vectors, streamed, and the exact neighbours among them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Text, Uuid, text
from sqlalchemy.types import TypeEngine
from vectors_fixture import (
    execute,
    expected_distances,
    filled,
    make_table,
    one_database,
    random_vectors,
)

from lib.errors import DimensionMismatch
from lib.store.database import Database
from lib.vectors import stream
from lib.vectors.distance import Distance, FloatArray, Storage
from lib.vectors.exact import exact_neighbours_in
from lib.vectors.sql import printed
from lib.vectors.statements import is_category
from lib.vectors.stream import stream_vectors
from lib.vectors.table import VectorTable


@pytest.fixture(scope="module")
def database(server_url: Any, template: str) -> Iterator[Database]:
    with one_database(server_url, template) as found:
        yield found


def streamed(
    database: Database, table: VectorTable, **options: Any
) -> list[tuple[Any, FloatArray]]:
    async def work() -> list[tuple[Any, FloatArray]]:
        async with database.session() as db:
            found = [block async for block in stream_vectors(db, table, **options)]
            await db.connection()  # the session is as usable as before
            return found

    return database.run(work())


@pytest.mark.parametrize("storage", list(Storage))
def test_every_value_comes_as_it_is_stored(database: Database, storage: Storage) -> None:
    vectors = random_vectors(25)
    vectors[3, :2] = [-0.0, 2**-14]
    rows = [(n, "t", None, vector) for n, vector in enumerate([*vectors, None])]
    table = make_table(database, rows, storage=storage)
    kept = vectors if storage is Storage.VECTOR else vectors.astype(np.float16).astype(np.float32)
    by_rows = streamed(database, table, block_rows=10, where=(table.column("Key") >= 0,))
    by_pages = streamed(database, table)
    assert [len(ids) for ids, _ in by_rows] == [10, 10, 5]
    assert [len(ids) for ids, _ in by_pages] == [25]
    for blocks in (by_rows, by_pages):
        ids = [id_ for part, _ in blocks for id_ in part]
        found = np.concatenate([part for _, part in blocks])
        assert found.dtype == np.float32
        assert (found == kept[ids]).all()


def numbered(database: Database, rows: int, *statements: str) -> VectorTable:
    """rows: (id, [id, 2·id]), a column called page beside them."""
    execute(
        database,
        "DROP TABLE IF EXISTS numbered CASCADE",
        "CREATE TABLE numbered (id int PRIMARY KEY, page int, embedding vector)",
        "INSERT INTO numbered SELECT n, 7, ARRAY[n, 2 * n]::vector "
        f"FROM generate_series(1, {rows}) AS n",
        *statements,
    )
    return VectorTable("numbered", content=None)


def numbers(blocks: list[tuple[Any, FloatArray]]) -> list[int]:
    """The ids, each with its own vector."""
    ids = [id_ for part, _ in blocks for id_ in part]
    vectors = np.concatenate([part for _, part in blocks])
    assert vectors.tolist() == [[id_, 2 * id_] for id_ in ids]
    return sorted(ids)


def test_many_pages_with_holes(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_PART_BYTES", 8192)  # a page
    monkeypatch.setattr(stream, "_PARTS", 2)
    table = numbered(
        database,
        3000,
        "DELETE FROM numbered WHERE id BETWEEN 500 AND 1500",
        "UPDATE numbered SET page = 8 WHERE id % 3 = 0",  # a new version, on another page
        "UPDATE numbered SET embedding = NULL WHERE id > 2900",
    )
    blocks = streamed(database, table, block_rows=700)
    assert numbers(blocks) == [*range(1, 500), *range(1501, 2901)]
    assert len(blocks) > 2
    assert all(len(ids) <= 700 for ids, _ in blocks)
    plan = execute(database, f"EXPLAIN {printed(stream._parts(table, 1))}").scalars().all()
    assert any("Tid Range Scan" in line for line in plan)


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE VIEW odd.rows AS SELECT * FROM numbered"],
        ["CREATE MATERIALIZED VIEW odd.rows AS SELECT * FROM numbered"],
        [
            "CREATE TABLE odd.rows (LIKE numbered) PARTITION BY RANGE (id)",
            "CREATE TABLE odd.few PARTITION OF odd.rows FOR VALUES FROM (0) TO (10)",
            "CREATE TABLE odd.many PARTITION OF odd.rows FOR VALUES FROM (10) TO (5000)",
            "INSERT INTO odd.rows TABLE numbered",
        ],
        [
            "CREATE TABLE odd.rows AS SELECT * FROM numbered WHERE id < 10",
            "CREATE TABLE odd.many () INHERITS (odd.rows)",
            "INSERT INTO odd.many SELECT * FROM numbered WHERE id >= 10",
        ],
        [
            "CREATE DOMAIN odd.key AS int",
            "CREATE TABLE odd.rows AS SELECT id::odd.key AS id, embedding FROM numbered",
        ],
    ],
    ids=["view", "materialized view", "partitions", "children", "domain"],
)
def test_whatever_holds_the_rows(database: Database, statements: list[str]) -> None:
    numbered(database, 3000, "DROP SCHEMA IF EXISTS odd CASCADE", "CREATE SCHEMA odd", *statements)
    blocks = streamed(database, VectorTable("rows", schema="odd", content=None))
    assert numbers(blocks) == list(range(1, 3001))


@pytest.mark.parametrize("by_pages", [True, False])
def test_what_happens_meanwhile_is_not_seen(
    database: Database, monkeypatch: pytest.MonkeyPatch, by_pages: bool
) -> None:
    monkeypatch.setattr(stream, "_PART_BYTES", 8192)
    monkeypatch.setattr(stream, "_PARTS", 1)
    table = numbered(database, 1000)

    async def work() -> list[tuple[Any, FloatArray]]:
        found = []
        async with database.session() as db, database.session() as other:
            where = () if by_pages else (table.column("id") > 0,)
            async for block in stream_vectors(db, table, where=where, block_rows=100):
                if not found:
                    await other.execute(text("DELETE FROM numbered WHERE id > 10"))
                    await other.execute(text("INSERT INTO numbered VALUES (0, 0, '[0,0]')"))
                    await other.commit()
                found.append(block)
        return found

    blocks = database.run(work())
    assert len(blocks) > 3
    assert numbers(blocks) == list(range(1, 1001))


@pytest.mark.parametrize(
    ("id_type", "ids"),
    [
        (Text(), ["a", "ü", "100%", "x'y"]),
        (Uuid(), [uuid.UUID(int=n) for n in range(4)]),
    ],
    ids=["text", "uuid"],
)
def test_ids_of_any_type(database: Database, id_type: TypeEngine[Any], ids: Sequence[Any]) -> None:
    vectors = random_vectors(4)
    rows = [(id_, "t", "50% 'x'", vector) for id_, vector in zip(ids, vectors, strict=True)]
    table = make_table(database, rows, id_type=id_type)
    where = (is_category(table, "50% 'x'"),)
    ((found, _),) = streamed(database, table, where=where)
    assert found == ids
    assert streamed(database, table, where=(is_category(table, "other"),)) == []


@pytest.mark.parametrize("distance", list(Distance))
def test_neighbours_in_a_table_are_numpys(database: Database, distance: Distance) -> None:
    vectors = random_vectors(700)
    fixture = filled(database, vectors, distance=distance)
    odd = np.arange(700) % 2 == 1

    async def work() -> Any:
        async with database.session() as db:
            return await exact_neighbours_in(
                db,
                fixture.table,
                vectors[:5],
                10,
                exclude=list(range(5)),
                where=(is_category(fixture.table, "odd"),),
            )

    found = database.run(work())
    for query in range(5):
        distances = expected_distances(vectors, vectors[query], distance)
        distances[~odd] = np.inf
        distances[query] = np.inf
        best = np.argsort(distances)[:10]
        assert found.ids[query].tolist() == best.tolist()
        assert found.distances[query] == pytest.approx(distances[best], rel=1e-12)


def test_a_column_of_mixed_dimensions_is_refused(database: Database) -> None:
    execute(
        database,
        "DROP TABLE IF EXISTS mixed",
        "CREATE TABLE mixed (id int, embedding vector)",
        # As long as three of the first, all together.
        "INSERT INTO mixed VALUES (1, '[1,2]'), (2, '[1,2,3]'), (3, '[1]')",
    )
    mixed = VectorTable("mixed")
    for where in ((), (mixed.column("id") > 0,), (mixed.column("id") < 3,)):
        with pytest.raises(DimensionMismatch, match="different dimensions"):
            streamed(database, mixed, where=where)
