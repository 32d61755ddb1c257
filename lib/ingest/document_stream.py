"""Document streams: what can be loaded, such as a file, and how far it has been read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingProblem
from lib.ingest.read import read
from lib.ingest.read_options import ReadOptions
from lib.ingest.readers.registry import Incoming, reader_for
from lib.ingest.sample import sample_documents
from lib.store.collections import Collection


@dataclass(frozen=True)
class DocumentStream:
    """A named stream of documents to load, such as a file's."""

    name: str

    read: Callable[[], Iterator[Incoming]]

    size: int | None
    """In bytes for a file, in documents otherwise; None where unknown."""

    position: Callable[[], int]
    """How far it has been read, in the unit of the size."""

    replaces_parts: bool = False
    """Whether a document's parts that did not come again are to go."""

    source: FileSource | None = None
    """Of a file."""

    options: ReadOptions | None = None
    """Of a file: how it is read."""

    unreadable: IncomingProblem | None = None
    """Why it is a file that is not read at all, so that this is all that the load can say of it."""

    def fit_to(self, collection: Collection) -> DocumentStream:
        """The same, split by the tokens of the collection's model, if it has one.

        Raises InvalidInput where the parts would be longer than the model takes.
        """
        if self.source is None or self.options is None or not collection.has_model:
            return self
        return file_stream(self.source, replace(self.options, tokenizer=collection.model))

    def cancel(self) -> None:
        """No more of it is wanted; ends a reader that hangs."""
        if self.source is not None:
            self.source.cancel()


def file_stream(source: FileSource, options: ReadOptions | None = None) -> DocumentStream:
    """A file. Raises InvalidInput where no reader knows it."""
    reader = reader_for(source.name)
    options = options or ReadOptions()
    return DocumentStream(
        source.name,
        lambda: read(source, options),
        source.size_bytes,
        lambda: source.bytes_read,
        replaces_parts=not reader.has_columns,
        source=source,
        options=options,
    )


def unreadable_stream(problem: IncomingProblem) -> DocumentStream:
    """A file that no reader knows: the load lists it among the problems."""
    return DocumentStream(
        problem.source, lambda: iter((problem,)), 0, lambda: 0, unreadable=problem
    )


def sample_stream(limit: int | None = None) -> DocumentStream:
    """The sample collection: documentation of Python and of the installed packages.

    limit: at most so many documents.
    """
    return DocumentStream("sample", lambda: sample_documents(limit), None, lambda: 0)
