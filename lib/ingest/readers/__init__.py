"""Readers: one format each, from a :class:`~lib.ingest.source.Source` to a stream of documents
and problems. A new format is a module beside these and a line in ``READERS``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import PurePosixPath
from typing import TypeGuard

from lib.errors import InvalidInput, ReadProblem
from lib.ingest.incoming import IncomingDocument, IncomingProblem
from lib.ingest.readers.csv import read_csv
from lib.ingest.readers.jsonl import read_jsonl
from lib.ingest.readers.markdown import read_markdown
from lib.ingest.readers.text import read_text
from lib.ingest.source import ReadOptions, Source

Incoming = IncomingDocument | IncomingProblem


@dataclass(frozen=True)
class Reader:
    """format: its name for people; extensions: in small letters, without the dot; has_columns:
    whether a mapping of columns applies; read: streams the file, in its order, and raises
    ReadProblem where the rest of it cannot be read."""

    format: str
    extensions: tuple[str, ...]
    has_columns: bool
    read: Callable[[Source, ReadOptions], Iterator[Incoming]]


READERS = (
    Reader("Plain text", ("txt", "text"), False, read_text),
    Reader("Markdown", ("md", "markdown"), False, read_markdown),
    Reader("Table (CSV, TSV)", ("csv", "tsv"), True, read_csv),
    Reader("JSON Lines", ("jsonl", "ndjson"), True, read_jsonl),
)

PROBLEMS_IN_A_ROW = 1000

_BY_EXTENSION = {extension: reader for reader in READERS for extension in reader.extensions}

EXTENSIONS = tuple(_BY_EXTENSION)
"""What can be read, for a file dialog: "txt", "text", "md"…"""


def reader_for(name: str) -> Reader:
    """The reader for a file of that name. Raises InvalidInput, naming what can be read."""
    extension = PurePosixPath(name).suffix.lower().removeprefix(".")
    if extension not in _BY_EXTENSION:
        raise InvalidInput(
            f'"{name}" cannot be read: '
            + (
                f"files ending in .{extension} are not known." if extension else "it has no ending."
            ),
            hint=f"What can be read: {', '.join(EXTENSIONS)}.",
        )
    return _BY_EXTENSION[extension]


def read(source: Source, options: ReadOptions | None = None) -> Iterator[Incoming]:
    """The documents and problems of one file, as a stream: memory does not grow with the file.

    No content of a file makes this raise: what cannot be read is a problem in the stream, and
    so is a file that cannot be opened or that holds nothing.

    Raises InvalidInput, before anything is read, where no reader knows the file's extension.
    """
    return _without_floods(_guarded(reader_for(source.name), source, options or ReadOptions()))


def _guarded(reader: Reader, source: Source, options: ReadOptions) -> Iterator[Incoming]:
    empty = True
    try:
        for incoming in reader.read(source, options):
            empty = False
            yield incoming
    except ReadProblem as exc:
        yield IncomingProblem(source.name, exc.place, exc.message, exc.hint)
    except UnicodeError as exc:  # undecodable bytes are replaced; this is a wrong codec throughout
        yield IncomingProblem(
            source.name,
            "",
            f"The file cannot be read as {source.encoding}: {exc}.",
            "Choose another encoding.",
        )
    except OSError as exc:
        reason = exc.strerror or type(exc).__name__
        yield IncomingProblem(source.name, "", f"The file could not be read: {reason}.")
    else:
        if empty:
            yield IncomingProblem(source.name, "", "The file is empty: there is no text in it.")


def _without_floods(results: Iterator[Incoming]) -> Iterator[Incoming]:
    """``results``, where of more than PROBLEMS_IN_A_ROW the rest is one problem: a quote left open
    before a long text makes each of a million lines a broken row."""
    in_a_row = 0
    last: IncomingProblem | None = None
    for result in chain(results, [None]):
        if _is_of_a_row(result) and in_a_row >= PROBLEMS_IN_A_ROW:
            in_a_row += 1
            last = result
            continue
        if last is not None:
            count = in_a_row - PROBLEMS_IN_A_ROW
            reason = f"{count:,} more problems in a row, until here. The last: {last.reason}"
            yield replace(last, reason=reason, count=count)
            last = None
        in_a_row = in_a_row + 1 if _is_of_a_row(result) else 0
        if result is not None:
            yield result


def _is_of_a_row(result: Incoming | None) -> TypeGuard[IncomingProblem]:
    """A row that was lost; not a notice, and not the problem of a whole file."""
    return isinstance(result, IncomingProblem) and not result.stored and bool(result.place)
