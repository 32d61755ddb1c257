"""Parquet, read in another process."""

import datetime
import decimal
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lib.ingest.columns import ColumnChoice, ColumnMapping
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingDocument
from lib.ingest.read import read
from lib.ingest.read_options import ReadOptions


def parquet(table: dict, **options) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(table), file, **options)
    return file.getvalue()


def test_a_row_is_a_document_and_nested_values_are_metadata():
    content = parquet(
        {
            "doc_id": [7, 8],
            "title": ["One", "Two"],
            "body": ["The text of the first.", "The text of the second."],
            "at": [datetime.datetime(2024, 5, 1, 12, tzinfo=datetime.UTC), None],
            "price": [decimal.Decimal("1.50"), decimal.Decimal("2.00")],
            "score": [float("nan"), 0.5],
            "author": [{"name": "Ada", "tags": ["x", "y"]}, None],
            "blob": [b"\xff\xfe", b"text"],
        }
    )
    source = FileSource.from_bytes("a.parquet", content)
    first, second = read(source)
    assert source.mapping == ColumnMapping(("body",), "title", None, "doc_id")
    assert first == IncomingDocument(
        external_id="7",
        title="One",
        content="The text of the first.",
        metadata={
            "at": "2024-05-01T12:00:00+00:00",
            "price": 1.5,
            "author": {"name": "Ada", "tags": ["x", "y"]},
        },
    )
    assert second.metadata == {"price": 2, "score": 0.5, "blob": "text"}


def test_rows_without_an_id_are_numbered_over_all_groups():
    texts = [f"Text number {number}." for number in range(10_000)]
    source = FileSource.from_bytes("a.parquet", parquet({"text": texts}, row_group_size=1000))
    results = list(read(source))
    assert [result.content for result in results] == texts
    assert [result.external_id for result in results] == [
        f"a.parquet#{n + 1}" for n in range(10_000)
    ]
    assert source.bytes_read == source.size_bytes


def test_a_column_of_vectors_comes_along_when_chosen():
    vectors = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    content = parquet({"text": ["a b", "c d", "e f"], "vec": list(vectors)})
    options = ReadOptions(columns=ColumnChoice(embedding="vec"))
    results = list(read(FileSource.from_bytes("a.parquet", content), options))
    assert np.array_equal(np.stack([result.embedding for result in results]), vectors)


def test_a_damaged_file_is_a_problem():
    content = parquet({"text": ["words and more words"] * 1000}, compression="none")
    (problem,) = read(FileSource.from_bytes("a.parquet", content[:-200]))
    assert "damaged" in problem.reason
    (problem,) = read(
        FileSource.from_bytes("a.parquet", parquet({"text": pa.array([], pa.string())}))
    )
    assert problem.reason == "The table has no rows."
