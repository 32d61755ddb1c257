"""Workbooks, read in another process."""

import datetime
import io

import pytest
import xlsxwriter

from lib.ingest.columns import ColumnChoice, ColumnMapping
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingDocument
from lib.ingest.read import read
from lib.ingest.read_options import ReadOptions


def workbook(**sheets: list[list]) -> bytes:
    file = io.BytesIO()
    with xlsxwriter.Workbook(file) as book:
        moment = book.add_format({"num_format": "yyyy-mm-dd"})
        for name, rows in sheets.items():
            sheet = book.add_worksheet(name)
            for number, row in enumerate(rows):
                for column, value in enumerate(row):
                    if isinstance(value, datetime.date):
                        sheet.write_datetime(number, column, value, moment)
                    else:
                        sheet.write(number, column, value)
    return file.getvalue()


FILMS = [
    ["id", "title", "plot", "year", "seen", "rating"],
    [1, "Alien", "A crew meets something on its way home.", 1979, datetime.date(2024, 5, 1), 8.5],
    [2, "Up", "A house flies away below many balloons.", 2009, None, None],
]


def test_a_row_is_a_document():
    source = FileSource.from_bytes("folder/a.xlsx", workbook(Films=FILMS))
    results = list(read(source))
    assert source.header == ("id", "title", "plot", "year", "seen", "rating")
    assert source.mapping == ColumnMapping(("plot",), "title", None, "id")
    assert results == [
        IncomingDocument(
            external_id="1",
            title="Alien",
            content="A crew meets something on its way home.",
            metadata={
                "sheet": "Films",
                "row": 2,
                "year": 1979,
                "seen": "2024-05-01",
                "rating": 8.5,
            },
        ),
        IncomingDocument(
            external_id="2",
            title="Up",
            content="A house flies away below many balloons.",
            metadata={"sheet": "Films", "row": 3, "year": 2009},
        ),
    ]


def test_each_sheet_has_its_own_columns_and_ids_do_not_meet():
    notes = [["text"], ["A note."], [], ["Another one."]]
    content = workbook(Films=FILMS, More=FILMS, Notes=notes, Empty=[])
    results = list(read(FileSource.from_bytes("a.xlsx", content)))
    assert [result.external_id for result in results] == [
        "1",
        "2",
        "More/1",
        "More/2",
        "Notes/a.xlsx#Notes!2",
        "Notes/a.xlsx#Notes!4",
    ]
    assert [result.metadata["sheet"] for result in results[2:5]] == ["More", "More", "Notes"]


def test_what_stands_above_the_header_is_named():
    content = workbook(Films=[["Our films"], [], *FILMS])
    note, *documents = read(FileSource.from_bytes("a.xlsx", content))
    assert note.stored
    assert note.place == 'sheet "Films", row 1'
    assert [document.metadata["row"] for document in documents] == [4, 5]


def test_a_sheet_that_is_no_table_of_texts_is_a_problem_and_the_next_one_is_read():
    content = workbook(Sums=[["a", "b"], [1, 2]], Films=FILMS, Bare=[["a", "b"]])
    sums, *documents, bare = read(FileSource.from_bytes("a.xlsx", content))
    assert sums.place == 'sheet "Sums"'
    assert "No column looks like the text" in sums.reason
    assert len(documents) == 2
    assert (bare.place, bare.reason) == ('sheet "Bare"', "The sheet has a header, but no rows.")


def test_columns_can_be_chosen_and_the_header_left_out():
    options = ReadOptions(columns=ColumnChoice(text=("title",), title=""))
    first, _ = read(FileSource.from_bytes("a.xlsx", workbook(Films=FILMS)), options)
    assert (first.content, first.title) == ("Alien", None)
    options = ReadOptions(has_header=False)
    documents = list(read(FileSource.from_bytes("a.xlsx", workbook(Films=FILMS)), options))
    assert [document.metadata["row"] for document in documents] == [1, 2, 3]


@pytest.mark.parametrize("extension", ["xls", "ods"])
def test_the_content_decides_which_workbook_it_is(extension):
    results = list(read(FileSource.from_bytes(f"a.{extension}", workbook(Films=FILMS))))
    assert [result.external_id for result in results] == ["1", "2"]


def test_a_workbook_of_another_program():
    from odfdo import Cell, Document, Row, Table

    document = Document("spreadsheet")
    document.body.clear()
    table = Table("Films")
    for values in [["title", "plot"], ["Up", "A house flies away below many balloons."]]:
        row = Row()
        for value in values:
            row.append_cell(Cell(value))
        table.append_row(row)
    document.body.append(table)
    file = io.BytesIO()
    document.save(file)
    (result,) = read(FileSource.from_bytes("a.ods", file.getvalue()))
    assert (result.title, result.content) == ("Up", "A house flies away below many balloons.")


def test_an_export_that_is_no_workbook_is_read_as_what_it_is():
    note, document = read(FileSource.from_bytes("a.xls", b"title\tplot\nUp\tA house flies away.\n"))
    assert note.stored
    assert "a table of text (CSV)" in note.reason
    assert (document.title, document.content) == ("Up", "A house flies away.")
