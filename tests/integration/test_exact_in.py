"""A table's vectors, streamed, and the exact neighbours among them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Text, Uuid
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
from lib.vectors.distance import Distance, FloatArray, Storage
from lib.vectors.exact import exact_neighbours_in, stream_vectors
from lib.vectors.statements import is_category
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
    blocks = streamed(database, table, block_rows=10)
    assert [len(ids) for ids, _ in blocks] == [10, 10, 5]
    ids = [id_ for part, _ in blocks for id_ in part]
    found = np.concatenate([part for _, part in blocks])
    assert found.dtype == np.float32
    kept = vectors if storage is Storage.VECTOR else vectors.astype(np.float16).astype(np.float32)
    assert (found == kept[ids]).all()


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
        "INSERT INTO mixed VALUES (1, '[1,2]'), (2, '[1,2,3]')",
    )
    with pytest.raises(DimensionMismatch, match="different dimensions"):
        streamed(database, VectorTable("mixed"))
