"""Tables of text."""

import csv
import io
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import InvalidInput
from lib.ingest.columns import ColumnChoice, ColumnMapping
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingDocument, IncomingProblem, clean_text
from lib.ingest.read import read
from lib.ingest.read_options import ReadOptions
from lib.ingest.readers import csv as csv_reader


def results_of(text: str, **options) -> list:
    return list(read(FileSource.from_bytes("a.csv", text.encode()), ReadOptions(**options)))


def contents_and_places(results: list) -> list[str]:
    return [
        result.content if isinstance(result, IncomingDocument) else f"! {result.place}"
        for result in results
    ]


def test_quoted_commas_line_breaks_and_quotes():
    results = results_of('id,title,text\n7,"a, b","one\ntwo ""three"""\n8,c,four\n')
    assert [result.content for result in results] == ['one\ntwo "three"', "four"]
    assert [result.external_id for result in results] == ["7", "8"]
    assert [result.title for result in results] == ["a, b", "c"]


cells = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=20)


@given(
    st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=10),
    st.sampled_from([",", ";", "\t", "|"]),
    # With "\n" as its line end, csv.writer leaves a lone "\r" unquoted before Python 3.13.
    st.sampled_from([("\r\n", csv.QUOTE_MINIMAL), ("\n", csv.QUOTE_ALL)]),
)
def test_what_csv_writer_writes_is_read_back(rows, delimiter, dialect):
    file = io.StringIO()
    line_end, quoting = dialect
    writer = csv.writer(file, delimiter=delimiter, lineterminator=line_end, quoting=quoting)
    # The text ends with a letter, so that no row is empty.
    rows = [(title, body + "x", other) for title, body, other in rows]
    writer.writerows([("title", "text", "other"), *rows])
    options = {"delimiter": delimiter, "encoding": "utf-8"}
    choice = ColumnChoice(text=("text",), title="title", category="", external_id="")
    results = results_of(file.getvalue(), columns=choice, **options)
    assert [result.content for result in results] == [clean_text(row[1]) for row in rows]
    assert [result.title or "" for result in results] == [
        " ".join(clean_text(row[0]).split()) for row in rows
    ]
    assert [result.external_id for result in results] == [
        f"a.csv#{number}" for number in range(1, len(rows) + 1)
    ]


@pytest.mark.parametrize(
    ("table", "delimiter"),
    [
        ("title;text\na;1,5 and 2,5\nb;3,5 more\n", ";"),
        ("title\ttext\na\tone, two\nb\tthree, four\n", "\t"),
        ("title|text\na|one\nb|two\n", "|"),
        ('title,text\na,"one; two; three"\nb,four\n', ","),
    ],
)
def test_the_delimiter_is_guessed(table, delimiter):
    source = FileSource.from_bytes("a.csv", table.encode())
    results = list(read(source))
    assert source.delimiter == delimiter
    assert [result.title for result in results] == ["a", "b"]


def test_one_column_needs_no_delimiter():
    results = results_of("text\nHello, world\nNo comma\n")
    assert contents_and_places(results) == ["Hello, world", "No comma"]


def test_a_ragged_row_is_a_problem_and_the_rest_goes_on():
    results = results_of('title,text\na,"one\ntwo"\n\nb,two,three\nc,four,\nd\n')
    assert contents_and_places(results) == [
        "one\ntwo",
        "! row 2 (line 5)",
        "four",
        "! row 4 (line 7)",
    ]
    assert results[1].reason == "3 fields where the header has 2."
    assert results[1].source == "a.csv"


def test_names_that_repeat_or_lack_and_empty_cells():
    (document,) = results_of("text,x,x,\nwords,1,two,three\n")
    assert document.metadata == {"x": 1, "x_2": "two", "column_4": "three"}
    (document,) = results_of("text,x,y\nwords,,2.5\n")
    assert document.metadata == {"y": 2.5}


def test_without_a_header():
    results = results_of("1,some words here\n2,other words here\n", has_header=False)
    assert [result.content for result in results] == ["some words here", "other words here"]
    assert [result.external_id for result in results] == ["a.csv#1", "a.csv#2"]
    assert results[0].metadata == {"column_1": 1}


def test_ids_without_an_id_column_stay_the_same_when_loaded_again():
    table = "title,text\na,one\n\nb,\nc,three\n"
    ids = [result.external_id for result in results_of(table)]
    assert ids == ["a.csv#1", "a.csv#2", "a.csv#3"]
    assert ids == [result.external_id for result in results_of(table)]


def test_a_header_alone_and_a_missing_column_are_said():
    (problem,) = results_of("title,text\n")
    assert "no rows" in problem.reason
    (problem,) = results_of("title,text\na,b\n", columns=ColumnChoice(text=("body",)))
    assert problem.reason == 'There is no column "body".'
    assert '"title", "text"' in problem.hint


def test_a_wrong_header_ends_with_a_problem_and_not_with_a_flood(monkeypatch):
    monkeypatch.setattr(csv_reader, "SAMPLE_ROWS", 20)
    results = results_of("one column\n" + "a,b\n" * 5000, delimiter=",")
    assert len(results) == 21
    assert "not read further" in results[-1].reason


def test_a_quote_left_open_does_not_swallow_the_rows_that_follow():
    rows = "".join(f"t{number},text {number}\n" for number in range(3))
    results = results_of(f'title,text\na,"never closed\n{rows}')
    assert contents_and_places(results) == [
        "never closed",
        "! row 1 (line 2)",
        "text 0",
        "text 1",
        "text 2",
    ]
    assert results[1].stored  # it fits the header, so it was kept
    results = results_of(f'title,text\n"a,never closed\n{rows}b,"good, ""quotes"""\n')
    assert contents_and_places(results) == [
        "! row 1 (line 2)",
        "text 0",
        "text 1",
        "text 2",
        'good, "quotes"',
    ]
    assert not results[0].stored


def test_quotes_that_are_not_doubled_are_read_and_said():
    results = results_of('title,text\na,"He said "no" to it"\nb,two\n')
    assert isinstance(results[0], IncomingDocument)
    assert isinstance(results[1], IncomingProblem)
    assert results[1].stored
    assert results[2].content == "two"


@pytest.mark.parametrize(
    "middle",
    [
        "b," + "x" * 5000 + "\n",  # one line
        'b,"' + "x" * 5000 + '"\n',
        "," * 5000 + "\n",
    ],
)
def test_a_row_too_long_is_a_problem_and_the_rest_goes_on(monkeypatch, middle):
    monkeypatch.setattr(csv_reader, "MAX_ROW_CHARACTERS", 1000)
    results = results_of(f"title,text\na,one\n{middle}c,three\n")
    assert contents_and_places(results) == ["one", "! row 2 (line 3)", "three"]


def test_rows_without_an_end_are_read_again_only_so_often(monkeypatch):
    # Each line both closes a quote and opens the next: no line of this table ends a row.
    monkeypatch.setattr(csv_reader, "MAX_ROW_CHARACTERS", 1000)
    monkeypatch.setattr(csv_reader, "_REREAD_CHARACTERS", 5000)
    results = results_of('title,text\nx,one\n"' + 'a","b\n' * 2000)
    assert results[0].content == "one"
    assert len(results) < 60
    problems = [result for result in results if isinstance(result, IncomingProblem)]
    assert any("were skipped" in problem.reason for problem in problems)


def test_a_field_of_100_mb_takes_neither_memory_nor_the_file():
    class Big(io.RawIOBase):
        """A table with one field of 100 MB in it, made while it is read."""

        def __init__(self):
            self.chunks = iter(
                [b"title,text\na,one\nb,", *([b"x" * 1_000_000] * 100), b"\nc,three\n"]
            )
            self.rest = b""

        def readable(self):
            return True

        def readinto(self, buffer):
            self.rest = self.rest or next(self.chunks, b"")
            chunk, self.rest = self.rest[: len(buffer)], self.rest[len(buffer) :]
            buffer[: len(chunk)] = chunk
            return len(chunk)

    tracemalloc.start()
    results = list(read(FileSource("a.csv", lambda: io.BufferedReader(Big()))))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert contents_and_places(results) == ["one", "! row 2 (line 3)", "three"]
    assert peak_bytes < 60_000_000


def test_memory_does_not_grow_with_the_table():
    def peak_bytes(rows: int) -> int:
        table = b"title,text\n" + b"a title,some words of a text that is of no interest\n" * rows
        source = FileSource.from_bytes("a.csv", table)
        tracemalloc.start()
        for _ in read(source):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert peak_bytes(20_000) < peak_bytes(2_000) + 3_000_000


def test_a_flood_of_problems_is_one_problem_with_their_number():
    results = results_of("title,text\na,one\n" + "ragged\n" * 5000 + "b,two\nragged\n")
    problems = [result for result in results if isinstance(result, IncomingProblem)]
    assert sum(problem.count for problem in problems) == 5001
    assert len(problems) == 1002
    assert problems[1000].place == "row 5,001 (line 5,002)"
    assert [result.content for result in results if result not in problems] == ["one", "two"]


def test_the_options_are_checked():
    for delimiter in ("", ";;", '"', "\n"):
        with pytest.raises(InvalidInput):
            ReadOptions(delimiter=delimiter)


def test_the_source_tells_what_was_found():
    source = FileSource.from_bytes("a.csv", b"id;title;text\n1;a;one\n")
    list(read(source))
    assert source.header == ("id", "title", "text")
    assert source.mapping == ColumnMapping(("text",), "title", None, "id")
    assert (source.encoding, source.delimiter) == ("utf-8", ";")
