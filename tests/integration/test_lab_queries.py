"""Where an experiment's queries come from, and what is said about those that are not asked."""

from __future__ import annotations

import io
import json
import struct
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from candidates_fixture import DIMENSIONS, Library, clustered

from lib.errors import DimensionMismatch, InvalidInput, InvalidVector, LimitExceeded, NotFound
from lib.evaluation.query_sets import save_query_set
from lib.ingest.file_source import FileSource
from lib.ingest.queries import IncomingQuery, QueryKind, QueryStream
from lib.lab.queries import (
    QueryBatch,
    file_batch,
    given_batch,
    query_set_batch,
    sample_queries,
)
from lib.search.filters import conditions, parse_filter
from lib.settings import Settings
from lib.store.collections import Collection, create_collection
from lib.store.database import Database
from lib.vectors.distance import Distance, FloatArray, Storage
from tests.integration.loading_fixture import DIMENSIONS as DIMENSIONS_OF_SHELF
from tests.integration.loading_fixture import MODEL, Shelf
from tests.unit.provider_server import vector_of


def sampled(library: Library, count: int, seed: int = 0, *filters: str) -> QueryBatch:
    where = conditions(library.collection.table, [parse_filter(each) for each in filters])
    return library.database.run(
        sample_queries(library.database, library.collection, count, seed, where)
    )


def numbers(batch: QueryBatch) -> list[int]:
    return [id_.int for id_ in batch.own_ids if isinstance(id_, uuid.UUID)]


def test_rows_are_drawn_by_the_seed(database: Database) -> None:
    vectors = clustered(400)
    library = Library(database, vectors)
    batch = sampled(library, 60)
    drawn = numbers(batch)
    assert len(set(drawn)) == len(batch) == 60
    np.testing.assert_array_equal(batch.vectors, vectors[drawn])
    assert batch.labels == tuple(str(number) for number in drawn)  # they have no title
    assert numbers(sampled(library, 60)) == drawn
    assert batch.notes == ()
    assert batch.source == "60 rows at random (seed 0)"
    # Neither by id, nor the first of them, nor the same for another seed.
    assert drawn != sorted(drawn)
    assert min(drawn) < 100 < 300 < max(drawn)
    assert len(set(drawn) & set(numbers(sampled(library, 60, 1)))) < 40
    # Fewer are the first of more: an experiment can be made larger.
    assert numbers(sampled(library, 20)) == drawn[:20]


def test_rows_that_are_drawn_pass_the_conditions(database: Database) -> None:
    library = Library(database, clustered(100))
    assert all(number % 10 == 4 for number in numbers(sampled(library, 5, 0, "shelf=4")))


def test_fewer_rows_than_asked_for_are_said(database: Database) -> None:
    library = Library(database, clustered(12))
    batch = sampled(library, 50)
    assert len(batch) == 12
    assert batch.notes == ("Asked for 50 queries, and there are 12.",)


def test_rows_of_zeros_are_left_out_and_said(database: Database) -> None:
    vectors = clustered(150)
    vectors[:100] = 0  # more than one look at the table brings
    library = Library(database, vectors)
    batch = sampled(library, 50)
    assert sorted(numbers(batch)) == list(range(100, 150))
    assert batch.notes == ("100 rows of zeros left out: they have no cosine distance.",)
    by_l2 = Library(database, vectors, distance=Distance.L2, name="L2")
    assert len(sampled(by_l2, 150)) == 150


def test_rows_without_an_embedding_are_no_queries(database: Database) -> None:
    vectors: list[Any] = [*clustered(10), None, None]
    library = Library(database, vectors)
    assert sorted(numbers(sampled(library, 12))) == list(range(10))
    empty = Library(database, [None, None], name="Empty")
    with pytest.raises(InvalidInput, match="“Empty” has no row to ask by"):
        sampled(empty, 5)
    with pytest.raises(LimitExceeded):
        sampled(library, 0)


def test_the_first_of_a_batch(database: Database) -> None:
    library = Library(database, clustered(30))
    batch = sampled(library, 20)
    head = batch.head(5)
    assert (len(head), head.labels, head.own_ids) == (5, batch.labels[:5], batch.own_ids[:5])
    assert head.has_own
    assert not given_batch(batch.vectors, library.collection).has_own


# --- given ---------------------------------------------------------------------------------------


def plain_collection(database: Database, **options: Any) -> Collection:
    options = {"model": "none", "dimensions": DIMENSIONS} | options
    return database.query(create_collection, "Given", **options)


def test_given_vectors_that_cannot_be_asked_are_left_out_and_said(database: Database) -> None:
    collection = plain_collection(database)
    vectors = clustered(5)
    vectors[1] = 0
    vectors[3, 2] = np.nan
    batch = given_batch(vectors, collection, "mine")
    np.testing.assert_array_equal(batch.vectors, vectors[[0, 2, 4]])
    assert batch.labels == ("row 1", "row 3", "row 5")
    assert batch.own_ids == (None, None, None)
    assert batch.source == "mine"
    (note,) = batch.notes
    assert note.startswith("2 of them cannot be asked and were left out. The first, “row 2”:")
    assert "all zeros" in note


def test_given_vectors_of_another_dimension(database: Database) -> None:
    collection = plain_collection(database)
    with pytest.raises(DimensionMismatch, match="The vector has 8 dimensions, the column has 16"):
        given_batch(clustered(5)[:, :8], collection)
    with pytest.raises(InvalidVector):
        given_batch(np.zeros((3, DIMENSIONS)), collection)
    with pytest.raises(InvalidInput, match="no query"):
        given_batch(np.zeros((0, DIMENSIONS)), collection)


def test_a_collection_of_halves_is_asked_in_halves(database: Database) -> None:
    collection = plain_collection(database, storage=Storage.HALFVEC)
    vectors = clustered(5)
    asked = given_batch(vectors, collection).vectors
    np.testing.assert_array_equal(asked, vectors.astype(np.float16).astype(np.float32))
    assert asked.dtype == np.float32


def npy(vectors: FloatArray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, vectors)
    return stream.getvalue()


def fvecs(vectors: FloatArray) -> bytes:
    head = struct.pack("<i", vectors.shape[1])
    return b"".join(head + row.astype("<f4").tobytes() for row in vectors)


def jsonl(vectors: FloatArray) -> bytes:
    lines = (json.dumps({"name": n, "embedding": row.tolist()}) for n, row in enumerate(vectors))
    return "\n".join(lines).encode()


def csv(vectors: FloatArray) -> bytes:
    lines = (f'{n},"{json.dumps(row.tolist())}"' for n, row in enumerate(vectors))
    return "\n".join(["name,embedding", *lines]).encode()


def parquet(vectors: FloatArray) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    stream = io.BytesIO()
    pq.write_table(pa.table({"embedding": [row.tolist() for row in vectors]}), stream)
    return stream.getvalue()


@pytest.mark.parametrize("write", [npy, fvecs, jsonl, csv, parquet])
def test_a_file_of_vectors(database: Database, write: Callable[[FloatArray], bytes]) -> None:
    collection = plain_collection(database)
    vectors = clustered(8)
    source = FileSource.from_bytes(f"queries.{write.__name__}", write(vectors))
    batch = database.run(file_batch(source, collection))
    np.testing.assert_array_equal(batch.vectors, vectors)
    assert batch.source == f"queries.{write.__name__}"
    assert batch.labels[-1] == "row 8"
    again = FileSource.from_bytes(source.name, write(vectors))
    some = database.run(file_batch(again, collection, 3))
    np.testing.assert_array_equal(some.vectors, vectors[:3])
    assert some.notes == ()
    third = FileSource.from_bytes(source.name, write(vectors))
    assert database.run(file_batch(third, collection, 9)).notes == (
        "Asked for 9 queries, and there are 8.",
    )


def test_a_file_that_has_no_vectors(database: Database) -> None:
    collection = plain_collection(database)
    with pytest.raises(InvalidInput, match="has no vectors"):
        database.run(
            file_batch(FileSource.from_bytes("a.csv", b"name,text\n1,some words"), collection)
        )
    eight = FileSource.from_bytes("a.npy", npy(clustered(4)[:, :8]))
    with pytest.raises(DimensionMismatch, match="8 dimensions"):
        database.run(file_batch(eight, collection))


# --- query sets ----------------------------------------------------------------------------------


def save(database: Database, collection: Collection, name: str, *queries: IncomingQuery) -> None:
    database.query(
        save_query_set, collection, QueryStream(name, QueryKind.VECTOR, lambda: iter(queries))
    )


def test_a_query_set_of_vectors(database: Database) -> None:
    collection = plain_collection(database)
    vectors = clustered(4)
    vectors[2] = 0
    save(
        database,
        collection,
        "Truth",
        *(
            IncomingQuery(external_id=f"q{number}", embedding=vector)
            for number, vector in enumerate(vectors)
        ),
    )

    def batch(name: str = "truth", count: int | None = None) -> QueryBatch:
        settings = Settings(_env_file=None)
        return database.run(query_set_batch(database, settings, collection, name, count))

    found = batch()
    np.testing.assert_array_equal(found.vectors, vectors[[0, 1, 3]])
    assert found.labels == ("q0", "q1", "q3")
    assert found.own_ids == (None, None, None)
    assert "1 of them cannot be asked" in found.notes[0]
    np.testing.assert_array_equal(batch(count=1).vectors, vectors[:1])
    assert batch(count=50).notes[0] == "Asked for 50 queries, and there are 3."
    with pytest.raises(NotFound, match="no query set called “other”") as caught:
        batch("other")
    assert "Truth" in caught.value.hint

    save(
        database,
        collection,
        "Eight",
        IncomingQuery(external_id="q", embedding=np.ones(8, dtype=np.float32)),
    )
    with pytest.raises(DimensionMismatch, match="8 dimensions, the column has 16"):
        batch("Eight")


def test_texts_are_embedded_by_the_collections_model(shelf: Shelf) -> None:
    words = ["red apples", "yellow pears"]
    given = np.arange(1, 9, dtype=np.float32)
    save(
        shelf.database,
        shelf.collection,
        "Words",
        IncomingQuery(external_id="q1", text=words[0]),
        IncomingQuery(external_id="q2", text="has its own", embedding=given),
        IncomingQuery(external_id="q3", text=words[1]),
    )
    settings = Settings(_env_file=None, openai_base_url=shelf.provider.base_url)
    found = shelf.run(query_set_batch(shelf.database, settings, shelf.collection, "Words"))
    assert shelf.collection.model == MODEL
    assert shelf.texts_sent() == words
    wanted = [
        vector_of(words[0], DIMENSIONS_OF_SHELF),
        given,
        vector_of(words[1], DIMENSIONS_OF_SHELF),
    ]
    np.testing.assert_allclose(found.vectors, np.array(wanted, dtype=np.float32))
    assert found.labels == ("red apples", "has its own", "yellow pears")
