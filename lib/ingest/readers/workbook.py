"""The reader for workbooks of Excel and of OpenDocument: each sheet a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from lib.errors import ReadProblem
from lib.ingest.columns import MAX_COLUMNS, unique_names
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingDocument, IncomingProblem, clean_text
from lib.ingest.read_options import ReadOptions
from lib.ingest.readers.tables import Row, documents_of, plain

if TYPE_CHECKING:
    import python_calamine

Numbered = tuple[int, list[Any]]
"""A row's number in its sheet, from 1, and its cells."""


def read_workbook(
    source: FileSource, options: ReadOptions
) -> Iterator[IncomingDocument | IncomingProblem]:
    """Each row of each sheet is a document, by ``options.columns`` or a guess for each sheet.

    Metadata: ``sheet`` and ``row`` (its number in the sheet, from 1), and the columns without a
    use. The header is the first row with more than one filled cell (the first filled row, where no
    row has more). Rows without an id get "<source>#<sheet>!<row>"; ids of a second sheet begin
    with its name, since two sheets count their rows from 1. Empty rows are nothing. A sheet that
    cannot be read as a table is a problem, and the next one is read. A sheet is in memory whole.
    """
    import python_calamine

    with source.on_disk() as path, path.open("rb") as stream:
        try:
            workbook = python_calamine.CalamineWorkbook.from_filelike(stream)
        except python_calamine.PasswordError:
            raise ReadProblem(
                "The workbook is protected by a password.",
                source=source.name,
                hint="Save it without a password, then load it again.",
            ) from None
    sheets = [
        sheet.name
        for sheet in workbook.sheets_metadata
        if sheet.typ == python_calamine.SheetTypeEnum.WorkSheet
    ]
    is_first = True
    for number, name in enumerate(sheets, start=1):
        try:
            for result in _sheet(workbook, name, source, options):
                if isinstance(result, IncomingDocument) and not is_first:
                    yield replace(result, external_id=f"{name}/{result.external_id}")
                else:
                    yield result
        except ReadProblem as exc:
            yield IncomingProblem(source.name, f'sheet "{name}"', exc.message, exc.hint)
        except python_calamine.CalamineError as exc:
            yield IncomingProblem(source.name, f'sheet "{name}"', f"It is damaged: {exc}.")
        is_first = is_first and source.mapping is None
        source.advance(number / len(sheets))


def _sheet(
    workbook: python_calamine.CalamineWorkbook, name: str, source: FileSource, options: ReadOptions
) -> Iterator[IncomingDocument | IncomingProblem]:
    sheet = workbook.get_sheet_by_name(name)
    if sheet.start is None:
        return  # empty
    rows = _filled(sheet.iter_rows(), sheet.start[0] + 1)
    above: list[Numbered] = []
    first: Numbered | None = None
    for row in rows:
        if not options.has_header or sum(cell != "" for cell in row[1]) > 1:
            first = row
            break
        above.append(row)
    if first is None:  # one column
        if not above:
            return
        first, *rest = above
        above = []
        rows = iter(rest)
    if len(first[1]) > MAX_COLUMNS:
        raise ReadProblem(
            f"The sheet has {len(first[1]):,} columns.",
            hint=f"A table may have up to {MAX_COLUMNS:,}.",
        )
    if above:
        yield _left_out(above, name, source)
    if options.has_header:
        header = unique_names(clean_text(str(_cell(cell))) for cell in first[1])
    else:
        header = unique_names("" for _ in first[1])
        rows = chain([first], rows)
    second = next(rows, None)
    if second is None:
        raise ReadProblem("The sheet has a header, but no rows.")
    yield from documents_of(
        (_row(row, header, name, source) for row in chain([second], rows)), source, options, header
    )


def _filled(rows: Iterator[list[Any]], first_number: int) -> Iterator[Numbered]:
    for number, row in enumerate(rows, start=first_number):
        if any(cell != "" for cell in row):
            yield number, row


def _row(row: Numbered, header: list[str], sheet: str, source: FileSource) -> Row:
    number, cells = row
    values = {
        name: _cell(cell)
        for name, cell in zip(header, cells, strict=False)
        if cell not in ("", None)
    }
    return Row(
        values,
        f"{source.name}#{sheet}!{number}",
        f'sheet "{sheet}", row {number:,}',
        {"sheet": sheet, "row": number},
    )


def _cell(value: Any) -> Any:
    # A workbook has no whole numbers.
    return int(value) if isinstance(value, float) and value.is_integer() else plain(value)


def _left_out(rows: list[Numbered], sheet: str, source: FileSource) -> IncomingProblem:
    numbers = f"row {rows[0][0]}" if len(rows) == 1 else f"rows {rows[0][0]} to {rows[-1][0]}"
    return IncomingProblem(
        source.name,
        f'sheet "{sheet}", {numbers}',
        "What stands above the header was left out.",
        stored=True,
        count=len(rows),
    )
