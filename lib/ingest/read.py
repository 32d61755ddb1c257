"""Reading a file: the reader for its content, its sections split into documents, and the files
inside it by their own readers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import PurePosixPath
from typing import TypeGuard

from lib.errors import InvalidInput, ReadProblem
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingDocument, IncomingProblem
from lib.ingest.isolation import read_isolated
from lib.ingest.members import MAX_DEPTH, Member
from lib.ingest.parts import split_section
from lib.ingest.protocol import Item
from lib.ingest.read_options import ReadOptions
from lib.ingest.readers.kinds import (
    BROKEN_ZIP,
    HEAD_BYTES,
    TEXT,
    TEXT_TABLE,
    is_blank,
    kind_of,
    kind_of_text,
)
from lib.ingest.readers.registry import (
    Incoming,
    Reader,
    reader_for,
    reader_for_extension,
)
from lib.ingest.readers.text import likely_format
from lib.ingest.readers.zip import read_zip
from lib.ingest.sections import Section

PROBLEMS_IN_A_ROW = 1000


def read(source: FileSource, options: ReadOptions | None = None) -> Iterator[Incoming]:
    """The documents and problems of one file, as a stream: memory does not grow with the file.

    A file is read as what it is: where its content is not what its name says, a problem notes it.
    No content of a file makes this raise: what cannot be read is a problem in the stream, and
    so is a file that cannot be opened or that holds nothing.

    Raises InvalidInput, before anything is read, where no reader knows the file's extension.
    """
    reader = reader_for(source.name)
    return _without_floods(_guarded(reader, source, options or ReadOptions()))


def _guarded(reader: Reader, source: FileSource, options: ReadOptions) -> Iterator[Incoming]:
    empty = True
    try:
        if not is_blank(source):
            reader, note = by_content(reader, source)
            if note is not None:
                yield note
            for incoming in _documents(_items(reader, source, options), source, options):
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
        reason = exc.strerror or str(exc) or type(exc).__name__
        yield IncomingProblem(source.name, "", f"The file could not be read: {reason}.")
    else:
        if empty:
            yield IncomingProblem(source.name, "", "The file is empty: there is no text in it.")
    source.advance(1.0)


def by_content(reader: Reader, source: FileSource) -> tuple[Reader, IncomingProblem | None]:
    """The reader for what the file is, and a note where its name, which the given reader is for,
    says otherwise.

    Raises ReadProblem where the content is of a kind that cannot be read, and OSError.
    """
    kind = kind_of(source)
    if kind is None and reader.is_signed:
        kind = kind_of_text(source)
        if kind is TEXT and reader.has_columns:  # many a program's "Excel export"
            kind = TEXT_TABLE
    if kind is BROKEN_ZIP and reader.is_signed and reader.read is not read_zip:
        raise ReadProblem(
            "The file is damaged or cut off.", source=source.name, hint="Get it or save it anew."
        )
    if kind is None:
        if not reader.is_signed:
            return reader, None
        looks = likely_format(source.first_bytes(HEAD_BYTES))
        raise ReadProblem(
            f"The file is damaged, or no {reader.format}"
            + (f"; by its content it is: {looks}." if looks else "."),
            source=source.name,
            hint="Open it in the program it was made with, and save it anew.",
        )
    actual = reader_for_extension(kind.extension or "")
    if actual is None:
        raise ReadProblem(
            f"The file is {kind.name}, which cannot be read.", source=source.name, hint=kind.hint
        )
    if actual is reader:
        return reader, None
    ending = PurePosixPath(source.name).suffix
    note = IncomingProblem(
        source.name,
        "",
        f"The file ends in {ending}, but is {kind.name}: it was read as that.",
        stored=True,
    )
    return actual, note


def _items(reader: Reader, source: FileSource, options: ReadOptions) -> Iterator[Item | Member]:
    if reader.is_isolated:
        return read_isolated(reader.extensions[0], source, options)
    return reader.read(source, options)


def _documents(
    items: Iterator[Item | Member], source: FileSource, options: ReadOptions
) -> Iterator[Incoming]:
    """Sections as documents, in parts of the model's size; members by their own readers."""
    part_number = 0
    try:
        for item in items:
            if isinstance(item, Section):
                for part in split_section(item.text, options):
                    yield IncomingDocument(
                        external_id=source.name,
                        part=part_number,
                        title=item.title,
                        content=part.text,
                        metadata=item.metadata,
                    )
                    part_number += 1
            elif isinstance(item, Member):
                yield from _member_documents(item, source, options)
            else:
                yield item
    finally:
        items.close()  # type: ignore[attr-defined]  # a generator: ends its process now


def _member_documents(
    member: Member, container: FileSource, options: ReadOptions
) -> Iterator[Incoming]:
    """Those of a file inside the container, by its own reader."""
    try:
        with member.open(container) as source:
            if source.depth > MAX_DEPTH:
                reason = f"It is inside of {source.depth} other files, and was not opened."
                yield member.problem(container, reason)
                return
            yield from read(source, options)
    except InvalidInput as exc:
        yield member.problem(container, exc.message, exc.hint)
    except OSError as exc:
        yield member.problem(container, f"The file could not be read: {exc}.")


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
