"""A first look into a file: what would be stored of it, before anything is."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from lib.ingest.columns import ColumnMapping
from lib.ingest.incoming import IncomingDocument, IncomingProblem
from lib.ingest.readers import read, reader_for
from lib.ingest.source import ReadOptions, Source

PREVIEW_DOCUMENTS = 5


@dataclass(frozen=True)
class Preview:
    """The first documents and problems of a file, and how it was read.

    header, mapping: of a table; empty and None for a text. encoding: None where it is not text.
    """

    name: str
    format: str
    documents: tuple[IncomingDocument, ...]
    problems: tuple[IncomingProblem, ...]
    header: tuple[str, ...]
    mapping: ColumnMapping | None
    encoding: str | None


def preview_file(
    source: Source, options: ReadOptions | None = None, limit: int = PREVIEW_DOCUMENTS
) -> Preview:
    """Reads no further than it has to. Raises InvalidInput where no reader knows the file."""
    reader = reader_for(source.name)
    first = list(islice(read(source, options), limit))
    return Preview(
        name=source.name,
        format=reader.format,
        documents=tuple(item for item in first if isinstance(item, IncomingDocument)),
        problems=tuple(item for item in first if isinstance(item, IncomingProblem)),
        header=source.header if reader.has_columns else (),
        mapping=source.mapping if reader.has_columns else None,
        encoding=source.encoding,
    )
