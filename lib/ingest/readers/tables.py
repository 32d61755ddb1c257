"""Rows with values of any type, as workbooks, Parquet and JSON give them → documents."""

from __future__ import annotations

import datetime
import math
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
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
from lib.ingest.incoming import IncomingDocument, IncomingProblem
from lib.ingest.own_export import OWN_MAPPING, OwnRowMapper, is_own_export
from lib.ingest.read_options import ReadOptions

_MAX_DIGITS = 300  # of a number; beyond, it is no float, and 1e999999999 would fill the memory
_BEYOND = 10**_MAX_DIGITS


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table, to become a document."""

    values: dict[str, Any]
    """Column → value, as :func:`plain` gives it."""

    fallback_id: str
    """For a row that brings no id."""

    place: str
    """For people."""

    position: Mapping[str, Any] = field(default_factory=dict)
    """The place as metadata, where that is worth having."""


def documents_of(
    rows: Iterator[Row | IncomingProblem],
    source: FileSource,
    options: ReadOptions,
    header: Sequence[str] | None = None,
) -> Iterator[IncomingDocument | IncomingProblem]:
    """Each row a document, by ``options.columns`` or a guess from the first rows.

    rows: with problems in the place of what is no row. header: the columns; None: those that the
    first rows have. An export of ours is read back field by field. Sets ``source.header`` and
    ``source.mapping`` where no table before did.

    Raises ReadProblem where no column can be the text, where a chosen one is not there, where the
    first things are no rows at all, and what ``rows`` raises, after the rows before it.
    """
    sample, broken = _sample(rows)
    values = [row.values for row in sample if isinstance(row, Row)]
    if not values:
        yield from (problem for problem in sample if isinstance(problem, IncomingProblem))
        if broken is None and next(rows, None) is not None:
            broken = ReadProblem(
                f"The first {len(sample):,} values are no records; the file was not read further.",
                source=source.name,
            )
        if broken is not None:
            raise broken
        return
    if header is None:
        header = list(islice(dict.fromkeys(name for row in values for name in row), MAX_COLUMNS))
    mapper: RowMapper | OwnRowMapper
    if is_own_export(header, options.columns):
        mapping, mapper = OWN_MAPPING, OwnRowMapper()
    else:
        try:
            mapping = map_columns(header, values, options.columns)
        except InvalidInput as exc:
            raise ReadProblem(exc.message, source=source.name, hint=exc.hint) from None
        mapper = RowMapper(mapping)
    if source.mapping is None:
        source.header, source.mapping = tuple(header), mapping
    for row in chain(sample, rows if broken is None else ()):
        if isinstance(row, IncomingProblem):
            yield row
            continue
        values_and_position = {**row.position, **row.values} if row.position else row.values
        try:
            yield mapper.document(values_and_position, row.fallback_id)
        except InvalidInput as exc:
            yield IncomingProblem(source.name, row.place, exc.message, exc.hint)
    if broken is not None:
        raise broken


def plain(value: Any) -> Any:
    """A value as JSON has it: moments in ISO form, a whole number as int; None for numbers that are
    NaN, infinite or absurdly large and for bytes that are no text. Raises RecursionError."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < _BEYOND else None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, Decimal):
        if not value.is_finite() or value.adjusted() > _MAX_DIGITS:
            return None
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return None
    return str(value) if isinstance(value, datetime.timedelta | uuid.UUID) else None


def _sample(
    rows: Iterator[Row | IncomingProblem],
) -> tuple[list[Row | IncomingProblem], ReadProblem | None]:
    """The first rows, and what broke off behind them."""
    sample: list[Row | IncomingProblem] = []
    characters = 0
    try:
        for row in islice(rows, SAMPLE_ROWS):
            sample.append(row)
            if isinstance(row, Row):
                characters += sum(
                    len(value) for value in row.values.values() if isinstance(value, str)
                )
            if characters > SAMPLE_CHARACTERS:
                break
    except ReadProblem as exc:
        return sample, exc
    return sample, None
