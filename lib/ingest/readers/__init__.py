"""Readers: one format each, from a :class:`~lib.ingest.source.Source` to a stream of documents
and problems. A new format is a module beside these and a line in ``READERS``."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import PurePosixPath
from typing import TypeGuard

from lib.errors import InvalidInput, ReadProblem
from lib.ingest.archive import MAX_DEPTH, read_zip
from lib.ingest.incoming import IncomingDocument, IncomingProblem
from lib.ingest.isolation import read_isolated
from lib.ingest.parts import split_section
from lib.ingest.protocol import Item
from lib.ingest.readers.csv import read_csv
from lib.ingest.readers.docx import read_docx
from lib.ingest.readers.eml import read_eml
from lib.ingest.readers.epub import read_epub
from lib.ingest.readers.html import read_html
from lib.ingest.readers.json import read_json
from lib.ingest.readers.jsonl import read_jsonl
from lib.ingest.readers.kinds import (
    BROKEN_ZIP,
    HEAD_BYTES,
    TEXT,
    TEXT_TABLE,
    is_blank,
    kind_of,
    kind_of_text,
)
from lib.ingest.readers.markdown import read_markdown
from lib.ingest.readers.odt import read_odt
from lib.ingest.readers.parquet import read_parquet
from lib.ingest.readers.pdf import read_pdf
from lib.ingest.readers.pptx import read_pptx
from lib.ingest.readers.rtf import read_rtf
from lib.ingest.readers.text import likely_format, read_text
from lib.ingest.readers.vectors import FVECS, HDF5, NPY, NPZ, read_vectors
from lib.ingest.readers.workbook import read_workbook
from lib.ingest.sections import Member, Section
from lib.ingest.source import ReadOptions, Source

Incoming = IncomingDocument | IncomingProblem


@dataclass(frozen=True)
class Reader:
    """format: its name for people; extensions: in small letters, without the dot; has_columns:
    whether a mapping of columns applies; read: streams the file, in its order, and raises
    ReadProblem where the rest of it cannot be read.

    isolated: whether it runs in another process (:mod:`lib.ingest.isolation`), as all do whose
    parser could be crashed or flooded by a file; is_signed: whether such a file is known by its
    content, so that one that is not is something else.
    """

    format: str
    extensions: tuple[str, ...]
    has_columns: bool
    read: Callable[[Source, ReadOptions], Iterator[Item]]
    isolated: bool = False
    is_signed: bool = False


READERS = (
    Reader("Plain text", ("txt", "text"), False, read_text),
    Reader("Markdown", ("md", "markdown"), False, read_markdown),
    Reader("PDF", ("pdf",), False, read_pdf, isolated=True, is_signed=True),
    Reader("Word document", ("docx", "docm"), False, read_docx, isolated=True, is_signed=True),
    Reader("Presentation (PowerPoint)", ("pptx",), False, read_pptx, isolated=True, is_signed=True),
    Reader("OpenDocument text", ("odt",), False, read_odt, isolated=True, is_signed=True),
    Reader("Rich text (RTF)", ("rtf",), False, read_rtf, isolated=True, is_signed=True),
    Reader("E-book (EPUB)", ("epub",), False, read_epub, isolated=True, is_signed=True),
    Reader("Mail", ("eml",), False, read_eml, isolated=True),
    Reader("Web page (HTML)", ("html", "htm", "xhtml"), False, read_html, isolated=True),
    Reader("Table (CSV, TSV)", ("csv", "tsv"), True, read_csv),
    Reader(
        "Workbook (Excel, OpenDocument)",
        ("xlsx", "xlsm", "xlsb", "xls", "ods"),
        True,
        read_workbook,
        isolated=True,
        is_signed=True,
    ),
    Reader("Parquet table", ("parquet",), True, read_parquet, isolated=True, is_signed=True),
    Reader("JSON", ("json",), True, read_json, isolated=True),
    Reader("JSON Lines", ("jsonl", "ndjson"), True, read_jsonl),
    Reader("Vectors (NumPy, fvecs)", (*NPY, *NPZ, *FVECS), True, read_vectors),
    Reader("Vectors (HDF5)", HDF5, True, read_vectors, isolated=True),
    Reader("Zip archive", ("zip",), False, read_zip, is_signed=True),
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


def reader_for_extension(extension: str) -> Reader:
    """Raises KeyError."""
    return _BY_EXTENSION[extension]


def read(source: Source, options: ReadOptions | None = None) -> Iterator[Incoming]:
    """The documents and problems of one file, as a stream: memory does not grow with the file.

    A file is read as what it is: where its content is not what its name says, a problem notes it.
    No content of a file makes this raise: what cannot be read is a problem in the stream, and
    so is a file that cannot be opened or that holds nothing.

    Raises InvalidInput, before anything is read, where no reader knows the file's extension.
    """
    reader = reader_for(source.name)
    return _without_floods(_guarded(reader, source, options or ReadOptions()))


def _guarded(reader: Reader, source: Source, options: ReadOptions) -> Iterator[Incoming]:
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


def by_content(reader: Reader, source: Source) -> tuple[Reader, IncomingProblem | None]:
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
    actual = _BY_EXTENSION.get(kind.extension or "")
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


def _items(reader: Reader, source: Source, options: ReadOptions) -> Iterator[Item]:
    if reader.isolated:
        return read_isolated(reader.extensions[0], source, options)
    return reader.read(source, options)


def _documents(items: Iterator[Item], source: Source, options: ReadOptions) -> Iterator[Incoming]:
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
                yield from _member(item, source, options)
            else:
                yield item
    finally:
        items.close()  # type: ignore[attr-defined]  # a generator: ends its process now


def _member(member: Member, container: Source, options: ReadOptions) -> Iterator[Incoming]:
    name = PurePosixPath(member.name.replace("\\", "/")).name or "file"
    content = member.content
    source = Source(
        f"{container.name}/{name}",
        lambda: io.BytesIO(content),
        size_bytes=len(content),
        container=container,
    )
    try:
        if source.depth > MAX_DEPTH:
            raise InvalidInput(f"It is inside of {source.depth} other files, and was not opened.")
        yield from read(source, options)
    except InvalidInput as exc:
        # "stored": the mail or page itself was; a picture in it is no failure.
        yield IncomingProblem(
            container.name, f'attachment "{name}"', exc.message, exc.hint, stored=True
        )


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
