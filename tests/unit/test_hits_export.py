"""Hits as CSV and JSON lines."""

from __future__ import annotations

import csv
import io
import json
import uuid

import pytest

from lib.search.hits_export import COLUMNS, hits_csv, hits_jsonl
from lib.vectors.search import Document, Hit

HITS = [
    Hit(
        Document(
            id=uuid.UUID(int=1),
            content='two\nlines, "quoted"; ü',
            title="Bread",
            category="food",
            external_id="a",
            part=0,
            metadata={"year": 2019, "tags": ["x", "=y"]},
        ),
        distance=-0.25,
        similarity=0.25,
        vector_rank=1,
        text_rank=None,
        text_value=None,
        fused=0.5,
    ),
    Hit(Document(id=-7, content="own table")),
]


def read(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))


def test_csv_is_read_back() -> None:
    data = hits_csv(HITS)
    assert data.startswith(b"\xef\xbb\xbfrank,id,")
    first, second = read(data)
    assert tuple(first) == COLUMNS
    assert first["content"] == 'two\nlines, "quoted"; ü'
    assert (first["distance"], first["text_rank"]) == ("-0.25", "")
    assert json.loads(first["metadata"]) == {"year": 2019, "tags": ["x", "=y"]}
    assert (second["rank"], second["id"]) == ("2", "-7")  # a number is no formula


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝"])
def test_no_text_is_a_formula(start: str) -> None:
    evil = f"{start}cmd|' /C calc'!A0"
    document = Document(id=evil, content=evil, title=evil, category=evil, external_id=evil)
    (row,) = read(hits_csv([Hit(document)]))
    for name in ("id", "content", "title", "category", "external_id"):
        assert row[name] == f"'{evil}"
    (line,) = hits_jsonl([Hit(document)]).splitlines()
    assert json.loads(line)["title"] == evil  # for programs, as it is


def test_json_lines_are_read_back() -> None:
    first, second = map(json.loads, hits_jsonl(HITS).splitlines())
    assert tuple(first) == COLUMNS
    assert first["id"] == str(uuid.UUID(int=1))
    assert first["metadata"]["tags"] == ["x", "=y"]
    assert (second["id"], second["title"], second["metadata"]) == (-7, None, {})


def test_no_hits() -> None:
    assert read(hits_csv([])) == []
    assert hits_jsonl([]) == b""
