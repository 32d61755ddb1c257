"""JSON Lines."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.ingest.columns import ColumnChoice
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingDocument, clean_json, clean_text
from lib.ingest.read import read
from lib.ingest.read_options import ReadOptions
from lib.ingest.readers import jsonl


def results_of(text: str, **options) -> list:
    content = text.encode("utf-8", "surrogatepass")
    return list(read(FileSource.from_bytes("a.jsonl", content), ReadOptions(**options)))


texts = st.text(st.characters(exclude_categories=()), max_size=20)
values = st.recursive(
    st.one_of(
        texts,
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.booleans(),
        st.just([]),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc"), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.tuples(texts, values), min_size=1, max_size=8), st.booleans())
def test_what_json_writes_is_read_back(rows, ensure_ascii):
    objects = [
        {"id": str(number), "text": text + "x", "other": value}
        for number, (text, value) in enumerate(rows)
    ]
    lines = [json.dumps(item, ensure_ascii=ensure_ascii).replace("\ud800", "") for item in objects]
    try:
        content = "\n".join(lines)
        content.encode()
    except UnicodeEncodeError:
        content = "\n".join(json.dumps(item) for item in objects)
    results = results_of(content, encoding="utf-8", columns=ColumnChoice(("text",), "", "", "id"))
    assert [result.external_id for result in results] == [item["id"] for item in objects]
    assert [result.content for result in results] == [
        clean_text(json.loads(line)["text"]) for line in content.split("\n")
    ]
    for result, item in zip(results, objects, strict=True):
        if not isinstance(item["other"], str):
            assert result.metadata["other"] == clean_json(item["other"])


def test_keys_are_mapped_and_the_rest_is_metadata():
    (document,) = results_of(
        '{"_id": 5, "title": "T", "text": "words", "tags": ["a"], "n": {"x": 1.5}, "none": null}\n'
    )
    assert document.external_id == "5"
    assert (document.title, document.content) == ("T", "words")
    assert document.metadata == {"tags": ["a"], "n": {"x": 1.5}}


BAD_LINES = {
    "no json": ('{"text": oops}', "line 2, column 10", "no JSON"),
    "cut off": ('{"text": "abc', "line 2, column 10", "Unterminated string"),
    "two objects": ('{"text": "a"} {"text": "b"}', "line 2, column 15", "Extra data"),
    "no object": ("[1, 2]", "line 2", "no object"),
    "deep array": ('{"text": "a", "deep": ' + "[" * 100_000, "line 2", "nested"),
    "deep object": ('{"deep":' * 100_000, "line 2", "nested"),
    "deep enough to parse": (
        '{"text": "a", "d": ' + "[" * 150 + "]" * 150 + "}",
        "line 2",
        "nested",
    ),
    "deep text": ('{"text": [' + "[" * 150 + "]" * 150 + "]}", "line 2", "nested"),
    "long integer": ('{"text": "a", "n": ' + "9" * 5000 + "}", "line 2", "4,300 digits"),
    "no text": ('{"title": "", "text": ""}', "line 2", "no text"),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_is_a_problem_and_the_rest_goes_on(name):
    line, place, reason = BAD_LINES[name]
    first, problem, last = results_of(f'{{"text": "one"}}\n{line}\n{{"text": "three"}}')
    assert (first.content, last.content) == ("one", "three")
    assert last.external_id == "a.jsonl#3"
    assert problem.place == place
    assert reason in problem.reason
    assert not problem.stored


def test_a_line_too_long_is_a_problem_and_the_rest_goes_on(monkeypatch):
    monkeypatch.setattr(jsonl, "MAX_LINE_CHARACTERS", 1000)
    long = json.dumps({"text": "x" * 5000})
    first, problem, last = results_of(f'{{"text": "one"}}\n{long}\n{{"text": "three"}}\n')
    assert (first.content, last.content) == ("one", "three")
    assert problem.place == "line 2"


def test_numbers_that_are_no_json_are_left_empty_and_said():
    line = '{"text": "a", "x": NaN, "y": [1e999, -Infinity, 2.5], "big": 12345678901234567890123}'
    document, problem = results_of(line)
    assert document.metadata == {"y": [None, None, 2.5], "big": 12345678901234567890123}
    assert problem.stored
    assert problem.reason.startswith("3 number(s)")


def test_bytes_and_escapes_that_postgresql_cannot_store():
    (document,) = results_of('\ufeff{"text": "a\\ud800b\\u0000c", "k": "\\udfff"}')
    assert document.content == "a\ufffdbc"
    assert document.metadata == {"k": "\ufffd"}


def test_a_file_without_any_object_ends_early(monkeypatch):
    monkeypatch.setattr(jsonl, "SAMPLE_ROWS", 10)
    results = results_of("[\n" + "1,\n" * 1000 + "]")
    assert not any(isinstance(result, IncomingDocument) for result in results)
    assert len(results) == 11
    assert "not read further" in results[-1].reason
