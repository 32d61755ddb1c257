"""What can be loaded: a named stream of documents that knows how far it has been read."""

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
class Feed:
    """Something to load: its documents, and how far the reading of it is.

    size, position: in bytes for a file, in documents otherwise; size is None where unknown.
    replaces_parts: whether a document's parts that did not come again are to go.
    source, options: of a file; None otherwise. unread: why it is a file that is not read at all, so
    that this is all that the load can say of it.
    """

    name: str
    read: Callable[[], Iterator[Incoming]]
    size: int | None
    position: Callable[[], int]
    replaces_parts: bool = False
    source: FileSource | None = None
    options: ReadOptions | None = None
    unread: IncomingProblem | None = None

    def fit_to(self, collection: Collection) -> Feed:
        """The same, split by the tokens of the collection's model, if it has one.

        Raises InvalidInput where the parts would be longer than the model takes.
        """
        if self.source is None or self.options is None or not collection.has_model:
            return self
        return file_feed(self.source, replace(self.options, tokenizer=collection.model))

    def cancel(self) -> None:
        """No more of it is wanted; ends a reader that hangs."""
        if self.source is not None:
            self.source.cancel()


def file_feed(source: FileSource, options: ReadOptions | None = None) -> Feed:
    """A file. Raises InvalidInput where no reader knows it."""
    reader = reader_for(source.name)
    chosen = options or ReadOptions()
    return Feed(
        source.name,
        lambda: read(source, chosen),
        source.size_bytes,
        lambda: source.bytes_read,
        replaces_parts=not reader.has_columns,
        source=source,
        options=chosen,
    )


def unread_feed(problem: IncomingProblem) -> Feed:
    """A file that no reader knows: the load lists it among the problems."""
    return Feed(problem.source, lambda: iter((problem,)), 0, lambda: 0, unread=problem)


def sample_feed(limit: int | None = None) -> Feed:
    """The sample collection: documentation of Python and of the installed packages.

    limit: at most so many documents.
    """
    return Feed("sample", lambda: sample_documents(limit), None, lambda: 0)
