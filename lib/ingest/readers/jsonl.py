"""The reader for JSON Lines: one object a line."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from lib.errors import InvalidInput, ReadProblem
from lib.ingest.columns import (
    MAX_COLUMNS,
    SAMPLE_CHARACTERS,
    SAMPLE_ROWS,
    RowMapper,
    map_columns,
)
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import MAX_NESTING, IncomingDocument, IncomingProblem
from lib.ingest.own_export import OWN_MAPPING, OwnRowMapper, is_own_export
from lib.ingest.read_options import ReadOptions
from lib.ingest.readers.text import LineStream, open_lines

MAX_LINE_CHARACTERS = 50_000_000
"""A longer line is reported and skipped, so that memory stays bounded."""


@dataclass(frozen=True)
class _Line:
    """One line's object, or where and why there is none; not_finite: how many of its numbers
    were NaN or infinite."""

    number: int
    characters: int
    row: dict[str, Any] | None = None
    not_finite: int = 0
    place: str = ""
    reason: str = ""


class _Parser:
    """Python's own JSON: slower than orjson, but it keeps integers of more than 64 bits, takes a
    lone surrogate (which orjson refuses, and with it the document), and fails on deep nesting by
    an exception. NaN and infinite numbers, no JSON but widely written, become null and are
    counted.
    """

    def __init__(self) -> None:
        self._decoder = json.JSONDecoder(parse_constant=self._constant, parse_float=self._float)
        self._not_finite = 0

    def parse(self, text: str, number: int) -> _Line:
        self._not_finite = 0
        place, reason = f"line {number:,}", ""
        row: Any = None
        try:
            row = self._decoder.decode(text.rstrip())
            if not isinstance(row, dict):
                reason = "The line is JSON, but no object."
        except json.JSONDecodeError as exc:
            place += f", column {exc.pos + 1:,}"
            reason = f"The line is no JSON: {exc.msg}."
        except RecursionError:
            reason = f"The value is nested more than {MAX_NESTING} levels deep."
        except ValueError:
            # Python's limit against numbers that take minutes to convert.
            reason = "The line holds an integer of more than 4,300 digits."
        if reason:
            return _Line(number, len(text), place=place, reason=reason)
        return _Line(number, len(text), row, self._not_finite, place)

    def _constant(self, _text: str) -> None:
        self._not_finite += 1

    def _float(self, text: str) -> float | None:
        value = float(text)
        if math.isfinite(value):
            return value
        self._not_finite += 1
        return None


def read_jsonl(
    source: FileSource, options: ReadOptions
) -> Iterator[IncomingDocument | IncomingProblem]:
    """Each line's object is a document, its keys mapped by ``options.columns`` or a guess.

    Keys that are not mapped become metadata, nested ones as they are. Objects without an id get
    "<source>#<line number>". Empty lines are skipped. An export of ours (lib.ingest.own_export)
    is read back field by field. Sets ``source.header`` (the keys of the first lines) and
    ``source.mapping``.
    """
    # "\n" alone ends a line here; a lone "\r" is a space to JSON.
    with open_lines(
        source, options, newline="\n", max_characters=MAX_LINE_CHARACTERS + 1
    ) as stream:
        lines = _lines(stream)
        sample = list(_sample(lines))
        rows = [line.row for line in sample if line.row is not None]
        if rows:
            header = list(islice(dict.fromkeys(key for row in rows for key in row), MAX_COLUMNS))
            source.header = tuple(header)
            mapper: RowMapper | OwnRowMapper
            if is_own_export(header, options.columns):
                source.mapping, mapper = OWN_MAPPING, OwnRowMapper()
            else:
                try:
                    source.mapping = map_columns(header, rows, options.columns)
                except InvalidInput as exc:
                    raise ReadProblem(exc.message, source=source.name, hint=exc.hint) from None
                mapper = RowMapper(source.mapping)
            for line in chain(sample, lines):
                yield from _results(line, mapper, source)
        elif sample:
            yield from (_problem(line, line.reason, source) for line in sample)
            if next(lines, None) is not None:
                raise ReadProblem(
                    f"No line of the first {len(sample):,} holds an object; the file was not read "
                    "further.",
                    source=source.name,
                )
        yield from stream.problems()


def _lines(stream: LineStream) -> Iterator[_Line]:
    parser = _Parser()
    while text := stream.next_line():
        if not stream.whole:
            yield _Line(
                stream.number,
                len(text),
                place=f"line {stream.number:,}",
                reason=f"The line is longer than {MAX_LINE_CHARACTERS:,} characters.",
            )
        elif text.strip():
            yield parser.parse(text, stream.number)


def _sample(lines: Iterator[_Line]) -> Iterator[_Line]:
    characters = 0
    for line in islice(lines, SAMPLE_ROWS):
        yield line
        characters += line.characters
        if characters > SAMPLE_CHARACTERS:
            return


def _results(
    line: _Line, mapper: RowMapper | OwnRowMapper, source: FileSource
) -> Iterator[IncomingDocument | IncomingProblem]:
    if line.row is None:
        yield _problem(line, line.reason, source)
        return
    try:
        yield mapper.document(line.row, f"{source.name}#{line.number}")
    except InvalidInput as exc:
        yield _problem(line, exc.message, source)
        return
    if line.not_finite:
        yield IncomingProblem(
            source.name,
            line.place,
            f"{line.not_finite:,} number(s) are NaN or infinite and were left empty.",
            "JSON has no such numbers; write null.",
            stored=True,
        )


def _problem(line: _Line, reason: str, source: FileSource) -> IncomingProblem:
    hint = "Each line must be one whole JSON object (JSON Lines)."
    return IncomingProblem(source.name, line.place, reason, hint)
