"""JSON, read in another process."""

import json

import pytest

from lib.ingest.columns import ColumnMapping
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingDocument, IncomingProblem
from lib.ingest.read import read

RECORDS = [
    {"id": "a", "title": "One", "body": "The text of the first.", "tags": [{"t": 1}]},
    {"id": "b", "title": "Two", "body": "The text of the second.", "year": 1999, "size": 1.5},
]


def results_of(text: str, name: str = "a.json") -> list:
    return list(read(FileSource.from_bytes(name, text.encode())))


@pytest.mark.parametrize(
    "value",
    [
        RECORDS,
        {"items": RECORDS},
        {"took": 3, "hits": {"total": 2, "hits": RECORDS}, "note": "short"},
        {"tags": [{"name": "x"}], "items": RECORDS},
    ],
)
def test_the_records_are_found_wherever_they_are(value):
    source = FileSource.from_bytes("a.json", json.dumps(value).encode())
    assert list(read(source)) == [
        IncomingDocument(
            external_id="a",
            title="One",
            content="The text of the first.",
            metadata={"tags": [{"t": 1}]},
        ),
        IncomingDocument(
            external_id="b",
            title="Two",
            content="The text of the second.",
            metadata={"year": 1999, "size": 1.5},
        ),
    ]
    assert source.mapping == ColumnMapping(("body",), "title", None, "id")


def test_lines_of_json_in_a_json_file_are_read_too():
    results = results_of("\n".join(json.dumps(record) for record in RECORDS))
    assert [result.external_id for result in results] == ["a", "b"]


def test_an_object_with_a_text_is_one_document_whatever_lists_it_has():
    (document,) = results_of(
        json.dumps({"title": "An article", "text": "word " * 50, "links": [{"to": "b"}]})
    )
    assert (document.external_id, document.title) == ("a.json#1", "An article")
    assert document.metadata == {"links": [{"to": "b"}]}


def test_an_object_of_objects_is_records_named_by_their_keys():
    first, second = results_of(json.dumps({"x/1": {"text": "One."}, "x/2": {"text": "Two."}}))
    assert (first.external_id, first.content) == ("a.json#x/1", "One.")
    assert (second.external_id, second.content) == ("a.json#x/2", "Two.")


def test_texts_are_documents_and_numbers_are_problems():
    first, problem, second = results_of('["one text", 17, "another text"]')
    assert (first.content, second.content) == ("one text", "another text")
    assert (problem.place, problem.reason) == ("record 2", "It is 17, and no record.")


def test_the_records_before_a_break_are_kept():
    records = [{"text": f"Record number {number}."} for number in range(5000)]
    text = json.dumps(records)
    *documents, problem = results_of(text[: text.index("Record number 4000")])
    assert [document.content for document in documents] == [
        f"Record number {number}." for number in range(4000)
    ]
    assert isinstance(problem, IncomingProblem)
    assert "behind record 4,000" in problem.reason
    assert not problem.stored


def test_nan_is_counted_and_costs_nothing_else():
    first, second, problem = results_of('[{"text": "a b", "x": NaN}, {"text": "c d", "y": 1e999}]')
    assert [document.content for document in (first, second)] == ["a b", "c d"]
    assert first.metadata == second.metadata == {}
    assert problem.stored
    assert problem.reason.startswith("1 number(s) are NaN")


def test_huge_numbers_and_surrogates():
    first, _ = results_of('[{"text": "a \\ud800 b", "n": 123456789012345678901}, {"text": "c"}]')
    assert first.content.startswith("a ")
    assert first.metadata == {"n": 123456789012345678901}


def test_it_may_be_in_any_encoding():
    content = json.dumps(RECORDS, ensure_ascii=False).encode("utf-16")
    assert [r.external_id for r in read(FileSource.from_bytes("a.json", content))] == ["a", "b"]
