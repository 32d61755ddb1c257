"""The preview of a file: the first documents as they would be stored, before anything is."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Any, cast

from lib.embedding.models import registered_models
from lib.embedding.tokens import counter_for, max_tokens_of, quick_counter
from lib.errors import ReadProblem
from lib.ingest.columns import ColumnMapping
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingDocument, IncomingProblem
from lib.ingest.read import by_content, read
from lib.ingest.read_options import ReadOptions
from lib.ingest.readers.registry import Reader, reader_for
from lib.ingest.vectors import VectorFileFacts, inspect_vectors, is_vector_file

PREVIEW_DOCUMENTS = 5
PREVIEW_PROBLEMS = 5


@dataclass(frozen=True)
class Preview:
    """The first documents and problems of a file, and how it was read."""

    name: str

    format: str
    """By its content, whatever its name says."""

    of_vectors: bool
    """Whether its name is that of a file of vectors."""

    size_bytes: int | None
    documents: tuple[IncomingDocument, ...]
    problems: tuple[IncomingProblem, ...]

    header: tuple[str, ...]
    """Of a table; empty for a text."""

    mapping: ColumnMapping | None
    """Of a table; None for a text."""

    encoding: str | None
    """None where it is not text."""

    takes_encoding: bool
    """Whether an encoding can be chosen."""

    delimiter: str | None
    """Of a table of text."""

    tokens: tuple[int, ...]
    """Of each document, as the model counts them (about)."""

    max_tokens: int | None
    """The most that the model takes; None where that is not known."""

    vectors: VectorFileFacts | None
    """Those that came along; None where there are none."""

    is_whole: bool
    """Whether there is no more in the file."""

    @property
    def is_table(self) -> bool:
        return bool(self.header)


def preview_file(
    source: FileSource, options: ReadOptions | None = None, limit: int = PREVIEW_DOCUMENTS
) -> Preview:
    """Reads no further than it has to. Raises InvalidInput where no reader knows the file."""
    chosen = options or ReadOptions()
    reader = _reader_by_content(source)
    documents: list[IncomingDocument] = []
    problems: list[IncomingProblem] = []
    is_whole = True
    with closing(cast("Any", read(source, chosen))) as stream:
        for item in stream:
            if len(documents) >= limit or len(problems) >= PREVIEW_PROBLEMS:
                is_whole = False
                break
            if isinstance(item, IncomingDocument):
                documents.append(item)
            else:
                problems.append(item)
    model = next((one for one in registered_models() if one.name == chosen.tokenizer), None)
    count = quick_counter(chosen.tokenizer) if model is None else counter_for(model).count
    of_vectors = is_vector_file(source.name)
    return Preview(
        name=source.name,
        format=reader.format,
        of_vectors=of_vectors,
        size_bytes=source.size_bytes,
        documents=tuple(documents),
        problems=tuple(problems),
        header=source.header if reader.has_columns else (),
        mapping=source.mapping if reader.has_columns else None,
        encoding=source.encoding,
        takes_encoding=not reader.is_signed and not of_vectors,
        delimiter=source.delimiter,
        tokens=tuple(count(document.content) for document in documents),
        max_tokens=max_tokens_of(chosen.tokenizer),
        vectors=_vectors(source, chosen) if reader.has_columns else None,
        is_whole=is_whole,
    )


def format_of(name: str) -> str:
    """For people, by the name alone. Raises InvalidInput where no reader knows it."""
    return reader_for(name).format


def _reader_by_content(source: FileSource) -> Reader:
    named = reader_for(source.name)
    try:
        return by_content(named, source)[0]
    except ReadProblem:
        return named  # the problem is among those of the documents


def _vectors(source: FileSource, options: ReadOptions) -> VectorFileFacts | None:
    try:
        return inspect_vectors(source, options)
    except ReadProblem:
        return None  # the problem is among those of the documents
