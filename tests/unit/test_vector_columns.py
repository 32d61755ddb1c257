"""Columns of vectors in tables: in any form, guessed by their contents, or metadata."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lib.errors import InvalidVector
from lib.ingest.columns import as_vector
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingDocument, IncomingProblem
from lib.ingest.read import read
from lib.ingest.vectors import inspect_vectors
from tests.unit.vector_files import GUESS, ROWS, documents, vectors_of


@pytest.mark.parametrize(
    "value",
    [
        [1, 2.5, -3],
        (1, 2.5, -3),
        np.array([1, 2.5, -3]),
        "[1, 2.5, -3]",
        "[1,2.5,-3]",
        " [1,2.5,-3e0]\n",
        "{1,2.5,-3}",
        "[ 1.   2.5\n -3. ]",
    ],
)
def test_a_vector_in_any_form(value: Any) -> None:
    np.testing.assert_array_equal(as_vector(value), np.array([1, 2.5, -3], dtype=np.float32))


@pytest.mark.parametrize(
    "value",
    [
        *("", "1,2,3", "[]", "{}", "[1,2", "[1,two]", "[[1],[2]]", "[1,,2]", "[1 2,3]"),
        "[0.1 0.2 ... 0.9]",  # as numpy writes long ones: most of it is gone
        *([[1, 2]], [], 3.5, {"a": 1}, True),
    ],
)
def test_what_is_no_vector(value: Any) -> None:
    with pytest.raises(InvalidVector):
        as_vector(value)


def test_numbers_that_no_collection_takes_are_kept_to_be_counted() -> None:
    np.testing.assert_array_equal(
        as_vector([None, float("nan"), 1e300, -1e300]),
        np.array([np.nan, np.nan, np.inf, -np.inf], dtype=np.float32),
    )


TABLE = [{"key": f"k{n}", "words": f"some words, {n}", "emb": row} for n, row in enumerate(ROWS)]


def write_jsonl(path: Path, form: Callable[[Any], Any]) -> None:
    path.write_text("\n".join(json.dumps({**row, "emb": form(row["emb"])}) for row in TABLE))


def write_csv(path: Path, form: Callable[[Any], Any]) -> None:
    lines = [f'{row["key"]},"{row["words"]}","{form(row["emb"])}"' for row in TABLE]
    path.write_text("\n".join(["key,words,emb", *lines]))


def pgvector_text(row: Any) -> str:
    return "[" + ",".join(str(float(number)) for number in row) + "]"


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("lists.jsonl", lambda path: write_jsonl(path, lambda row: row.tolist())),
        ("text.jsonl", lambda path: write_jsonl(path, pgvector_text)),
        ("json.csv", lambda path: write_csv(path, lambda row: json.dumps(row.tolist()))),
        ("pgvector.csv", lambda path: write_csv(path, pgvector_text)),
        ("numpy.csv", lambda path: write_csv(path, lambda row: str(row.astype(np.float64)))),
    ],
)
def test_a_column_of_vectors_is_guessed_by_its_contents(
    tmp_path: Path, name: str, write: Callable[[Path], None]
) -> None:
    write(tmp_path / name)
    source = FileSource.from_path(tmp_path / name)
    found = list(read(source, GUESS))
    assert source.mapping is not None
    assert (source.mapping.embedding, source.mapping.text) == ("emb", ("words",))
    np.testing.assert_allclose(vectors_of(found), ROWS, rtol=1e-5)
    assert all("emb" not in i.metadata for i in found if isinstance(i, IncomingDocument))


@pytest.mark.parametrize("as_list", ["list", "fixed"])
def test_a_parquet_column_of_vectors(tmp_path: Path, as_list: str) -> None:
    kind = pa.list_(pa.float32(), 6 if as_list == "fixed" else -1)
    table = pa.table(
        {
            "words": [row["words"] for row in TABLE],
            "features": pa.array([row["emb"].tolist() for row in TABLE], type=kind),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    facts = inspect_vectors(FileSource.from_path(tmp_path / "a.parquet"))
    assert facts is not None
    assert (facts.column, facts.dimensions) == ("features", 6)
    np.testing.assert_array_equal(vectors_of(documents(tmp_path / "a.parquet", GUESS)), ROWS)


def test_without_being_asked_for_a_column_of_vectors_is_metadata(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", lambda row: row.tolist())
    (first, *_) = documents(tmp_path / "a.jsonl")
    assert first.embedding is None
    assert first.content == "some words, 0"
    assert len(first.metadata["emb"]) == 6


def test_short_lists_of_another_name_are_no_vectors(tmp_path: Path) -> None:
    rows = [{"text": f"place {n}", "position": [n / 10, n / 7]} for n in range(5)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert inspect_vectors(FileSource.from_path(tmp_path / "a.jsonl")) is None


def test_awkward_rows_of_a_table(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"id": str(n), "text": f"text {n}", "embedding": [n + 1.0, 2.0, 3.0]} for n in range(20)
    ]
    rows[3]["embedding"] = "not a vector"
    rows[4]["embedding"] = None
    rows[5]["text"] = ""
    del rows[6]["embedding"]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = list(read(FileSource.from_path(tmp_path / "a.jsonl"), GUESS))
    (problem,) = [item for item in found if isinstance(item, IncomingProblem)]
    assert problem.place == "line 4"
    by_id = {item.external_id: item for item in found if isinstance(item, IncomingDocument)}
    assert by_id["4"].embedding is None
    assert by_id["5"].content == "5"  # nothing to read: its id stands in
    assert by_id["6"].embedding is None
