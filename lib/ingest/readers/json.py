"""The reader for JSON: a list of records, wherever in the file it is, or one record."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lib.errors import ReadProblem
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import MAX_NESTING, IncomingDocument, IncomingProblem
from lib.ingest.read_options import ReadOptions
from lib.ingest.readers.tables import Row, documents_of, plain
from lib.ingest.readers.text import LineStream, open_lines

SCAN_BYTES = 4_000_000
"""How much of a file is looked at to find its records."""

MAX_FORGIVING_CHARACTERS = 64_000_000
"""A file up to this size is parsed anew, as a whole, where the stream breaks off: NaN is no JSON,
but widely written."""

_PIECE_CHARACTERS = 1_000_000
_MAX_DEPTH = 1000  # of the file, around its records too
_HINT = "The file must be JSON: one value, or several (JSON Lines)."


@dataclass(frozen=True)
class _Records:
    """Where the records are. prefix: the path to each, in ijson's form; by_key: they are the
    values of the object at that path, and their names are ids."""

    prefix: str = ""
    by_key: bool = False


def read_json(
    source: FileSource, options: ReadOptions
) -> Iterator[IncomingDocument | IncomingProblem]:
    """Each record is a document, its keys mapped by ``options.columns`` or a guess.

    The records are the items of a list at the top; else of the list of objects, at any depth of
    objects, that holds at least half of the file's beginning; else the values of an object whose
    values are all objects; else the file is one record. JSON Lines are read too. A text in the
    place of a record is a document; a number is a problem. Keys that are not mapped become
    metadata. Records without an id get "<source>#<number or key>".
    """
    with _opened(source, options) as lines:
        records = _find(_Utf8(lines), source)
    with _opened(source, options) as lines:
        yield from documents_of(_rows(lines, records, source, options), source, options)
        yield from lines.problems()


def _opened(source: FileSource, options: ReadOptions) -> Any:
    return open_lines(source, options, newline="", max_characters=_PIECE_CHARACTERS)


class _Utf8:
    """A file of text as the bytes that ijson reads."""

    def __init__(self, lines: LineStream) -> None:
        self._pieces = lines.pieces()
        self._rest = b""

    def read(self, size: int) -> bytes:
        while len(self._rest) < size:
            piece = next(self._pieces, "")
            if not piece:
                break
            self._rest += piece.encode("utf-8", "replace")
        chunk, self._rest = self._rest[:size], self._rest[size:]
        return chunk


@dataclass
class _Lists:
    """What a scan counts. path: of keys from the top, None for a list; inside: lists of objects
    that are open, by their paths."""

    path: list[str | None] = field(default_factory=list)
    characters: dict[tuple[str, ...], int] = field(default_factory=lambda: defaultdict(int))
    inside: list[tuple[str, ...]] = field(default_factory=list)
    total: int = 0
    values: int = 0
    top: str = ""
    top_children: set[str] = field(default_factory=set)
    top_count: int = 0


def _find(stream: _Utf8, source: FileSource) -> _Records:
    """Raises ReadProblem where the file is nested too deep."""
    import ijson

    lists = _Lists()
    is_whole = True
    try:
        for event, value in ijson.basic_parse(_Beginning(stream), multiple_values=True):
            _count(lists, event, value)
            if len(lists.path) > _MAX_DEPTH:
                raise ReadProblem(
                    f"The file is nested more than {MAX_NESTING} levels deep.", source=source.name
                )
    except (ijson.JSONError, ValueError, ArithmeticError):
        is_whole = False  # cut in the middle, or broken: the reading will tell
    if lists.top == "start_array":
        return _Records("item")
    if lists.values > 1 or (lists.values == 1 and not is_whole):
        return _Records()  # several values
    heaviest = max(lists.characters, key=lambda path: lists.characters[path], default=None)
    if heaviest is not None and lists.characters[heaviest] * 2 >= lists.total:
        return _Records(".".join((*heaviest, "item")))
    if lists.top_count > 1 and lists.top_children == {"start_map"}:
        return _Records("", by_key=True)
    return _Records()


class _Beginning:
    """The first SCAN_BYTES of a stream."""

    def __init__(self, stream: _Utf8) -> None:
        self._stream = stream
        self._left = SCAN_BYTES

    def read(self, size: int) -> bytes:
        chunk = self._stream.read(min(size, self._left))
        self._left -= len(chunk)
        return chunk


def _count(lists: _Lists, event: str, value: Any) -> None:
    path = lists.path
    if event == "map_key":
        path[-1] = value
        return
    if event in ("end_map", "end_array"):
        path.pop()
        if lists.inside and len(path) == len(lists.inside[-1]) and event == "end_array":
            lists.inside.pop()
        if not path:
            lists.values += 1
        return
    # A value begins here.
    if not path:
        lists.top = lists.top or event
    elif len(path) == 1:
        lists.top_children.add(event)
        lists.top_count += 1
    if event in ("start_map", "start_array"):
        keys = tuple(key for key in path if key is not None)
        in_list = bool(path) and path[-1] is None and len(keys) == len(path) - 1
        if event == "start_map" and in_list and keys not in lists.inside:
            lists.inside.append(keys)  # the first object of a list that only objects are around
        path.append("" if event == "start_map" else None)
        return
    if not path:
        lists.values += 1
    size = len(value) if isinstance(value, str) else 4
    lists.total += size
    for keys in lists.inside:
        lists.characters[keys] += size


def _rows(
    lines: LineStream, records: _Records, source: FileSource, options: ReadOptions
) -> Iterator[Row | IncomingProblem]:
    import ijson

    number = 0
    stream = _Utf8(lines)
    if records.by_key:
        found = ijson.kvitems(stream, records.prefix, multiple_values=True)
    else:
        values = ijson.items(stream, records.prefix, multiple_values=True)
        found = ((None, value) for value in values)
    while True:
        try:
            key, value = next(found, (None, found))
        except (ijson.JSONError, ValueError, ArithmeticError) as exc:
            yield from _forgiving(number, records, source, options, str(exc))
            return
        if value is found:
            return
        number += 1
        yield _row(key, value, number, source)


def _row(key: str | None, value: Any, number: int, source: FileSource) -> Row | IncomingProblem:
    place = f"record {number:,}" if key is None else f'record "{key[:100]}"'
    if isinstance(value, str):
        value = {"text": value}
    if not isinstance(value, dict):
        what = "a list" if isinstance(value, list) else json.dumps(plain(value))
        return IncomingProblem(
            source.name, place, f"It is {what}, and no record.", "A record is an object, or a text."
        )
    try:
        values = plain(value)
    except RecursionError:
        reason = f"The value is nested more than {MAX_NESTING} levels deep."
        return IncomingProblem(source.name, place, reason)
    return Row(values, f"{source.name}#{number if key is None else key}", place)


def _forgiving(
    done: int, records: _Records, source: FileSource, options: ReadOptions, reason: str
) -> Iterator[Row | IncomingProblem]:
    """The records behind the first ``done``, from a file that is JSON but for NaN. Raises
    ReadProblem where that is not all."""
    text = ""
    with _opened(source, options) as lines:
        pieces = []
        size = 0
        for piece in lines.pieces():
            pieces.append(piece)
            size += len(piece)
            if size > MAX_FORGIVING_CHARACTERS:
                raise _no_json(reason, done, "", source)
        text = "".join(pieces)
    not_finite = 0

    def count(_name: str) -> None:
        nonlocal not_finite
        not_finite += 1

    try:
        value = json.loads(text, parse_constant=count)
    except json.JSONDecodeError as exc:
        place = f"line {exc.lineno:,}, column {exc.colno:,}"
        raise _no_json(exc.msg, done, place, source) from None
    except RecursionError:
        raise ReadProblem(
            f"The file is nested more than {MAX_NESTING} levels deep.", source=source.name
        ) from None
    except ValueError as exc:
        raise _no_json(str(exc), done, "", source) from None
    for key in records.prefix.split(".") if records.prefix else ():
        if key != "item":
            value = value[key]
    is_list = records.prefix.endswith("item")
    found = list(value.items()) if records.by_key else value if is_list else [value]
    for number, item in enumerate(found[done:], start=done + 1):
        if records.by_key:
            key, item = item
            yield _row(key, item, number, source)
        else:
            yield _row(None, item, number, source)
    if not_finite:
        yield IncomingProblem(
            source.name,
            "",
            f"{not_finite:,} number(s) are NaN or infinite and were left empty.",
            "JSON has no such numbers; write null.",
            stored=True,
        )


def _no_json(reason: str, done: int, place: str, source: FileSource) -> ReadProblem:
    reason = " ".join(reason.split())[:200]
    after = f" behind record {done:,}" if done else ""
    return ReadProblem(
        f"The file is no JSON{after}: {reason}.", source=source.name, place=place, hint=_HINT
    )
