"""Exports load back to the same: every field, to the last bit of an embedding."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyarrow.parquet as pq
import pytest
from conftest import execute
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pgvector.psycopg import register_vector
from sqlalchemy import URL

from lib.errors import InvalidInput
from lib.ingest.export import export_documents, format_of, start_export
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingDocument
from lib.ingest.load import store_documents
from lib.ingest.own_export import OwnRowMapper
from lib.ingest.read import read
from lib.store.browse import DocumentFilter
from lib.store.collections import Collection, create_collection
from lib.store.database import Database
from lib.store.jobs import Jobs, JobStatus
from lib.store.url import connect_arguments
from lib.vectors.distance import Distance, Storage

DIMENSIONS = 5

# What PostgreSQL can store, as IncomingDocument makes it; jsonb has no infinite numbers.
texts = st.text(max_size=60)
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**30), 10**30)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
vectors = st.lists(
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    min_size=DIMENSIONS,
    max_size=DIMENSIONS,
)
documents = st.builds(
    IncomingDocument,
    external_id=texts.filter(lambda text: bool(text.replace("\0", "").strip())),
    content=texts.filter(lambda text: bool(text.replace("\0", "").strip())),
    part=st.integers(0, 2**31 - 1),
    title=st.none() | texts,
    category=st.none() | texts,
    metadata=st.dictionaries(texts, values, max_size=4),
    embedding=st.none() | vectors.map(lambda found: np.array(found, dtype=np.float32)),
)


class Copies:
    """A collection, and another that is loaded with its export."""

    def __init__(self, database: Database, url: URL, folder: Path) -> None:
        self.database = database
        self.url = url
        self.folder = folder
        self._pairs: dict[Storage, tuple[Collection, Collection]] = {}

    def make(self, name: str, storage: Storage = Storage.VECTOR) -> Collection:
        return self.database.query(
            create_collection,
            name,
            model="local/any",
            dimensions=DIMENSIONS,
            storage=storage,
            distance=Distance.L2,  # takes a zero vector too
        )

    def pair(self, storage: Storage) -> tuple[Collection, Collection]:
        """Two empty ones, the same for each example of a test."""
        if storage not in self._pairs:
            self._pairs[storage] = self.make("Original", storage), self.make("Copy", storage)
        for collection in self._pairs[storage]:
            execute(self.url, f"TRUNCATE vecscope.documents_{collection.slug}")
        return self._pairs[storage]

    def rows(self, collection: Collection) -> list[Any]:
        """All that is stored, by the server's own text."""
        statement = (
            "SELECT external_id, part, title, content, category, metadata, embedding::text "
            f"FROM vecscope.documents_{collection.slug} ORDER BY external_id, part"
        )
        with psycopg.connect(**connect_arguments(self.url)) as connection:
            register_vector(connection)
            return connection.execute(statement).fetchall()

    def export(self, collection: Collection, ending: str, **options: Any) -> Path:
        path = self.folder / f"{collection.slug}.{ending}"
        exported = self.database.run(export_documents(self.database, collection, path, **options))
        assert (Path(exported.path), exported.size_bytes) == (path, path.stat().st_size)
        assert list(self.folder.glob(".*")) == []
        return path

    def load(self, path: Path, collection: Collection) -> None:
        found = list(read(FileSource.from_path(path)))
        assert all(isinstance(document, IncomingDocument) for document in found), found
        self.database.query(store_documents, collection, found)


@pytest.fixture
def copies(database: Database, migrated_url: URL, tmp_path: Path) -> Copies:
    return Copies(database, migrated_url, tmp_path)


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
@pytest.mark.parametrize("storage", list(Storage))
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(found=st.lists(documents, min_size=1, max_size=6))
def test_what_is_exported_loads_back_to_the_same(
    copies: Copies, ending: str, storage: Storage, found: list[IncomingDocument]
) -> None:
    original, copy = copies.pair(storage)
    if storage is Storage.HALFVEC:
        found = [_in_range_of_halfvec(document) for document in found]
    copies.database.query(store_documents, original, found)
    copies.load(copies.export(original, ending, with_embeddings=True), copy)
    assert copies.rows(copy) == copies.rows(original)


def _in_range_of_halfvec(document: IncomingDocument) -> IncomingDocument:
    if document.embedding is None:
        return document
    return replace(document, embedding=np.clip(document.embedding, -60000, 60000))


def some(count: int = 600) -> Iterator[IncomingDocument]:
    for number in range(count):
        yield IncomingDocument(
            external_id=f"id {number // 3:04}",
            part=number % 3,
            content=f"text {number}",
            category="even" if number % 2 == 0 else "odd",
            metadata={"page": number},
            embedding=np.full(DIMENSIONS, number + 0.1, np.float32) if number % 5 else None,
        )


def test_a_filter_narrows_an_export_and_embeddings_are_left_out(copies: Copies) -> None:
    collection = copies.make("Some")
    copies.database.query(store_documents, collection, list(some()))
    path = copies.export(collection, "jsonl", where=DocumentFilter(category="odd"))
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [line["metadata"]["page"] for line in lines] == list(range(1, 600, 2))
    assert set(lines[0]) == {"external_id", "part", "title", "content", "category", "metadata"}


def test_parquet_holds_plain_columns_that_others_can_read(copies: Copies) -> None:
    collection = copies.make("Some")
    copies.database.query(store_documents, collection, list(some()))
    table = pq.read_table(copies.export(collection, "parquet", with_embeddings=True))
    assert str(table.schema.field("embedding").type) == "fixed_size_list<element: float>[5]"
    assert table.num_rows == 600
    assert table["embedding"].null_count == 120
    assert table["embedding"][1].as_py() == [np.float32(1.1)] * 5


def test_an_export_that_is_cancelled_leaves_nothing(copies: Copies) -> None:
    collection = copies.make("Some")
    copies.database.query(store_documents, collection, list(some(20_000)))
    path = copies.folder / "some.jsonl"

    async def work() -> JobStatus:
        jobs = Jobs(copies.database)
        job = await start_export(jobs, copies.database, collection, path)
        await jobs.cancel(job.id)
        return (await jobs.wait(job.id, 90)).status

    assert copies.database.run(work()) is JobStatus.CANCELLED
    assert list(copies.folder.iterdir()) == []


def test_a_place_that_cannot_be_written_is_said(copies: Copies) -> None:
    collection = copies.make("Some")
    (copies.folder / "file").write_text("")
    with pytest.raises(InvalidInput, match="cannot be written"):
        copies.database.run(
            export_documents(copies.database, collection, copies.folder / "file" / "a.jsonl")
        )
    with pytest.raises(InvalidInput, match=r"neither in .jsonl nor in .parquet"):
        format_of(Path("documents.csv"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("external_id", 7),
        ("external_id", " "),
        ("content", None),
        ("part", -1),
        ("part", "0"),
        ("part", True),
        ("metadata", "[1"),
        ("metadata", [1]),
        ("embedding", "text"),
        ("embedding", [[1.0]]),
    ],
)
def test_a_row_that_was_changed_by_hand_names_the_field(field: str, value: object) -> None:
    row = {"external_id": "a", "part": 0, "title": None, "content": "text", "category": None}
    with pytest.raises(InvalidInput) as caught:
        OwnRowMapper().document({**row, "metadata": {}, "embedding": None, field: value})
    assert caught.value.field == field
