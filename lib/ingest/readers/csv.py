"""The reader for tables of text: comma, semicolon, tab or bar between the columns."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice

from lib.errors import InvalidInput, ReadProblem
from lib.ingest.columns import (
    MAX_COLUMNS,
    SAMPLE_CHARACTERS,
    SAMPLE_ROWS,
    RowMapper,
    map_columns,
    number_columns,
    unique_names,
)
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingDocument, IncomingProblem, clean_text
from lib.ingest.read_options import ReadOptions
from lib.ingest.readers.text import LineStream, open_lines

MAX_ROW_CHARACTERS = 10_000_000
MAX_ROW_LINES = 100_000
"""A row of more is reported and skipped, so that memory stays bounded."""

_DELIMITERS = ",;\t|"
_NO_DELIMITER = "\x1f"  # "unit separator": what a table of one column is split at
_DELIMITER_SAMPLE_BYTES = 1 << 16

# How much may be read again in one file after rows with broken quotes: a hostile file could
# otherwise have every one of its lines followed by MAX_ROW_CHARACTERS that are read twice.
_REREAD_CHARACTERS = 5 * MAX_ROW_CHARACTERS


@dataclass(frozen=True)
class _Row:
    """A row of the table, whole or broken."""

    number: int
    """Counted from 1, without the header and empty lines."""

    line: int
    """Where it starts."""

    fields: list[str]
    """The best guess where the row is broken, empty where there is none."""

    characters: int

    broken: str = ""
    """What is wrong with it."""


class _RowTooLong(Exception):
    pass


class _Rows:
    """Rows of a table, with a way on after a broken one.

    csv.reader, in strict mode, pulls lines from here. A quote that is never closed makes it
    swallow all rows that follow. So when a row turns out broken, its first line is read alone
    and forgivingly, and reading goes on with its second line.
    """

    def __init__(self, lines: LineStream, delimiter: str, first_number: int) -> None:
        self._lines = lines
        self._first_number = first_number
        self._delimiter = delimiter
        self._row: list[tuple[int, str]] = []  # number and text of each line of the present row
        self._row_characters = 0
        self._again: deque[tuple[int, str]] = deque()
        self._reread_left = _REREAD_CHARACTERS

    def __iter__(self) -> Iterator[_Row]:
        # The limit is the whole process's; 131,072 characters by default, too few for a text.
        csv.field_size_limit(MAX_ROW_CHARACTERS)
        parser = csv.reader(_Puller(self), delimiter=self._delimiter, strict=True)
        number = self._first_number
        while True:
            self._row = []
            self._row_characters = 0
            broken = ""
            try:
                fields = next(parser)
            except StopIteration:
                return
            except (_RowTooLong, csv.Error) as exc:
                fields, broken = self._mend(exc)
            if fields or broken:  # a line without any text is no row
                yield _Row(number, self._row[0][0], fields, self._row_characters, broken)
                number += 1

    def pull(self) -> str:
        """The next line of the present row; raises StopIteration at the end, _RowTooLong."""
        if self._again:
            number, line = self._again.popleft()
            whole = True
        else:
            line = self._lines.next_line()
            number, whole = self._lines.number, self._lines.whole
        if not line:
            raise StopIteration
        self._row.append((number, line))
        self._row_characters += len(line)
        too_long = self._row_characters > MAX_ROW_CHARACTERS or len(self._row) > MAX_ROW_LINES
        if too_long or not whole:
            raise _RowTooLong
        return line

    def _mend(self, error: Exception) -> tuple[list[str], str]:
        """The best guess of the broken row's fields, and what is wrong with it."""
        (first_number, first), rest = self._row[0], self._row[1:]
        if not rest and isinstance(error, _RowTooLong):
            return [], f"The line is longer than {MAX_ROW_CHARACTERS:,} characters."
        if rest and self._row_characters > self._reread_left:
            return [], (
                f"Quotes are broken; lines {first_number:,} to {rest[-1][0]:,} were skipped."
            )
        if rest:
            self._reread_left -= self._row_characters
            self._again.extendleft(reversed(rest))
        try:
            fields = next(csv.reader([first], delimiter=self._delimiter), [])
        except csv.Error:
            fields = []
        if fields:
            fields[-1] = fields[-1].rstrip("\r\n")  # belongs to the quote that was left open
        return fields, "A quote in it is not closed, or not doubled inside a quoted field."


class _Puller:
    """An iterator that goes on after an exception, as a generator would not."""

    def __init__(self, rows: _Rows) -> None:
        self._rows = rows

    def __iter__(self) -> _Puller:
        return self

    def __next__(self) -> str:
        return self._rows.pull()


def read_csv(
    source: FileSource, options: ReadOptions
) -> Iterator[IncomingDocument | IncomingProblem]:
    """A table: each row a document, by ``options.columns`` or a guess.

    Rows without an id get "<source>#<row number>", so that loading the same file again updates
    the same documents. Columns of numbers become numbers in the metadata. A row whose number of
    fields is not the header's is a problem (empty fields too many are none). Empty rows are
    skipped and not counted. Sets ``source.delimiter``, ``header`` and ``mapping``.
    """
    # newline="": line breaks inside quoted fields stay as they are.
    with open_lines(source, options, newline="", max_characters=MAX_ROW_CHARACTERS + 1) as lines:
        source.delimiter = options.delimiter or _guess_delimiter(source, lines.encoding)
        # The header is row 0, so that the first row with data is row 1.
        rows = iter(_Rows(lines, source.delimiter, first_number=0 if options.has_header else 1))
        first = next(rows, None)
        if first is None:
            return  # an empty file: said by the caller, as for every format
        header = _header(first, source, options)
        source.header = tuple(header)
        if not options.has_header:
            rows = chain([first], rows)
        sample = list(_sample(rows))
        if not sample:
            raise ReadProblem("The table has a header, but no rows.", source=source.name)
        fitting = [
            dict(zip(header, fields, strict=True))
            for row in sample
            if (fields := _fitted(row.fields, len(header))) is not None
        ]
        if fitting:
            try:
                source.mapping = map_columns(header, fitting, options.columns)
            except InvalidInput as exc:
                raise ReadProblem(exc.message, source=source.name, hint=exc.hint) from None
            mapper = RowMapper(source.mapping, number_columns(header, fitting))
            for row in chain(sample, rows):
                yield from _results(row, header, mapper, source)
        else:
            yield from (_problem(row, _misfit(row, header), source) for row in sample)
            raise ReadProblem(
                f"No row of the first {len(sample):,} fits the header of {len(header):,} columns; "
                "the file was not read further.",
                source=source.name,
                hint="Check the delimiter, and whether the first row names the columns.",
            )
        yield from lines.problems()


def _header(first: _Row, source: FileSource, options: ReadOptions) -> list[str]:
    if not first.fields or len(first.fields) > MAX_COLUMNS:
        raise ReadProblem(
            first.broken if not first.fields else f"The table has {len(first.fields):,} columns.",
            source=source.name,
            place=f"line {first.line:,}",
            hint=f"A table may have up to {MAX_COLUMNS:,} columns. Is this a table, and is its "
            "delimiter right?",
        )
    if options.has_header:
        return unique_names(clean_text(field) for field in first.fields)
    return unique_names("" for _ in first.fields)


def _sample(rows: Iterator[_Row]) -> Iterator[_Row]:
    characters = 0
    for row in islice(rows, SAMPLE_ROWS):
        yield row
        characters += row.characters if row.fields else 0  # nothing is kept of a row too long
        if characters > SAMPLE_CHARACTERS:
            return


def _results(
    row: _Row, header: list[str], mapper: RowMapper, source: FileSource
) -> Iterator[IncomingDocument | IncomingProblem]:
    fields = _fitted(row.fields, len(header))
    if fields is None:
        yield _problem(row, _misfit(row, header), source)
        return
    try:
        yield mapper.document(dict(zip(header, fields, strict=True)), f"{source.name}#{row.number}")
    except InvalidInput as exc:
        yield _problem(row, exc.message, source)
        return
    if row.broken:
        yield _problem(row, f"{row.broken} It was read as well as possible.", source, stored=True)


def _misfit(row: _Row, header: list[str]) -> str:
    return row.broken or f"{len(row.fields):,} fields where the header has {len(header):,}."


def _problem(
    row: _Row, reason: str, source: FileSource, *, stored: bool = False
) -> IncomingProblem:
    hint = "Check the quotes and delimiters of this row."
    place = f"row {row.number:,} (line {row.line:,})"
    return IncomingProblem(source.name, place, reason, hint, stored)


def _fitted(fields: list[str], count: int) -> list[str] | None:
    """Exactly ``count`` fields, or None; spreadsheets write empty ones at the end of a row."""
    if len(fields) > count and not any(field.strip() for field in fields[count:]):
        return fields[:count]
    return fields if len(fields) == count else None


def _guess_delimiter(source: FileSource, encoding: str) -> str:
    """The delimiter by which most of the first rows have as many fields as the first row.

    (csv.Sniffer looks at characters, not at rows, and takes letters for delimiters.)
    """
    sample = source.first_bytes(_DELIMITER_SAMPLE_BYTES)
    lines = sample.decode(encoding, "replace").splitlines(keepends=True)
    if len(sample) == _DELIMITER_SAMPLE_BYTES and len(lines) > 1:
        lines.pop()  # most likely cut in the middle
    best = (0.0, 0, _NO_DELIMITER)
    for delimiter in _DELIMITERS:
        counts = [len(row) for row in _forgiving(lines, delimiter) if row]
        if counts and counts[0] > 1:
            best = max(best, (counts.count(counts[0]) / len(counts), counts[0], delimiter))
    return best[2]


def _forgiving(lines: list[str], delimiter: str) -> Iterator[list[str]]:
    try:
        yield from csv.reader(lines, delimiter=delimiter)
    except csv.Error:
        return  # what was read until here is enough for a guess
