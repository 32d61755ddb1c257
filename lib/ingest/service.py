"""DocumentService: documents in, found again, and embedded where that is still to be done."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import structlog

from lib.embedding.service import EmbeddingBatch, EmbeddingService, create_service
from lib.errors import InvalidInput
from lib.ingest.incoming import IncomingDocument, IncomingProblem
from lib.ingest.load import (
    EMBED_BATCH,
    STORE_BATCH,
    EmbeddedCounts,
    StoredCounts,
    Unembedded,
    count_unembedded,
    drop_later_parts,
    next_unembedded,
    store_documents,
    store_embeddings,
)
from lib.ingest.readers import Incoming, read, reader_for
from lib.ingest.sample import sample_documents
from lib.ingest.source import ReadOptions, Source
from lib.settings import Settings
from lib.store.collections import Collection
from lib.store.database import Database
from lib.store.documents import MAX_CONTENT_CHARACTERS
from lib.vectors.distance import check_embedding
from lib.vectors.search import search_similar_documents

log = structlog.get_logger(__name__)

PREVIEW_CHARACTERS = 500
# More than that is for a file to download, not for a page.
MOST_PROBLEMS = 1000
# How much of a load's progress bar the first phase takes: embedding is the longer one.
_TEXT_SHARE = 0.2
_UNITS = 10_000

Report = Callable[[int, int, str], Awaitable[None]]
"""(done, total, message): how far the work is, in words too."""


async def _say_nothing(_done: int, _total: int, _message: str) -> None:
    return None


@dataclass(frozen=True, slots=True)
class DocumentPreview:
    """A found document: similarity is 1 − distance for cosine; preview has 500 characters at
    the most."""

    id: uuid.UUID
    title: str | None
    preview: str
    distance: float
    similarity: float


@dataclass(frozen=True)
class Feed:
    """Something to load: its documents, and how far the reading of it is.

    size, position: in bytes for a file, in documents otherwise; size is None where unknown.
    replaces_parts: whether a document's parts that did not come again are to go.
    """

    name: str
    read: Callable[[], Iterator[Incoming]]
    size: int | None
    position: Callable[[], int]
    replaces_parts: bool = False


def file_feed(source: Source, options: ReadOptions | None = None) -> Feed:
    """A file. Raises InvalidInput where no reader knows it."""
    reader = reader_for(source.name)
    return Feed(
        source.name,
        lambda: read(source, options),
        source.size_bytes,
        lambda: source.bytes_read,
        replaces_parts=not reader.has_columns,
    )


def sample_feed(limit: int | None = None) -> Feed:
    """The sample collection: documentation of Python and of the installed packages.

    limit: at most so many documents.
    """
    return Feed("sample", lambda: sample_documents(limit), None, lambda: 0)


@dataclass(frozen=True)
class LoadSummary:
    """What became of a load. problems: at most MOST_PROBLEMS of them; problem_count: all."""

    stored: StoredCounts
    embedded: EmbeddedCounts
    removed_parts: int
    problem_count: int
    problems: tuple[IncomingProblem, ...] = field(default=(), repr=False)
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """As a job's result keeps it."""
        return asdict(self)


class DocumentService:
    """Creates, finds, loads and embeds documents of managed collections."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    async def create(
        self,
        collection: Collection,
        content: str,
        *,
        title: str | None = None,
        category: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        external_id: str | None = None,
    ) -> StoredCounts:
        """Stores one document, then embeds it. The text is safe before the provider is asked: if
        that fails, the error is raised, the document stays, and a backfill embeds it.

        Raises InvalidInput for an empty or too long text, EmbeddingProblem.
        """
        document = IncomingDocument(
            external_id=external_id or str(uuid.uuid4()),
            content=content,
            title=title,
            category=category,
            metadata=metadata or {},
        )
        problem = unstorable(document, collection)
        if problem is not None:
            raise InvalidInput(problem, field="content")
        async with self._database.session() as db:
            counts = await store_documents(db, collection, [document])
        log.info("document.stored", collection=collection.slug, external_id=document.external_id)
        await self.backfill_embeddings(collection)
        return counts

    async def search(
        self, collection: Collection, query: str, limit: int = 10
    ) -> list[DocumentPreview]:
        """The documents nearest to the query, nearest first."""
        embedding = await self._embedding(collection).get_embedding(query)
        async with self._database.session() as db:
            result = await search_similar_documents(db, collection.table, embedding, limit)
        return [
            DocumentPreview(
                id=document.id,
                title=document.title,
                preview=document.content[:PREVIEW_CHARACTERS],
                distance=distance,
                similarity=collection.distance.similarity(distance),
            )
            for document, distance in result.pairs
        ]

    async def load(
        self, collection: Collection, feeds: Sequence[Feed], report: Report = _say_nothing
    ) -> LoadSummary:
        """Stores all texts, then embeds what has no embedding.

        What a file holds that cannot be stored becomes a problem of the summary; the rest goes on.
        """
        started = time.perf_counter()
        progress = _Progress(feeds, report)
        stored, removed = StoredCounts(), 0
        problems: list[IncomingProblem] = []
        problem_count = 0
        for feed in feeds:
            last_parts: dict[str, int] = {}
            is_whole = True
            async for documents, bad in _batches(feed, collection):
                is_whole = is_whole and all(problem.stored for problem in bad)
                problem_count += len(bad)
                problems.extend(bad[: MOST_PROBLEMS - len(problems)])
                if documents:
                    async with self._database.session() as db:
                        stored += await store_documents(db, collection, documents)
                    for document in documents if feed.replaces_parts else ():
                        last_parts[document.external_id] = document.part
                await progress.texts(feed, stored)
            if is_whole:  # else parts may be missing because reading broke off
                async with self._database.session() as db:
                    removed += await drop_later_parts(db, collection, last_parts)
            log.info(
                "load.stored",
                collection=collection.slug,
                source=feed.name,
                documents=stored.total,
                problems=problem_count,
            )
        embedded = await self.backfill_embeddings(
            collection, batch_size=EMBED_BATCH, report=progress.embeddings
        )
        return LoadSummary(
            stored=stored,
            embedded=embedded,
            removed_parts=removed,
            problem_count=problem_count,
            problems=tuple(problems),
            seconds=time.perf_counter() - started,
        )

    async def backfill_embeddings(
        self, collection: Collection, batch_size: int = 100, report: Report = _say_nothing
    ) -> EmbeddedCounts:
        """Embeds the rows that have no embedding, ``batch_size`` at a time, and stores each batch
        while the next is with the model. A row that fails keeps the reason (embedding_error).

        Where the vectors were given and no model made them, nothing is done.
        Raises EmbeddingProblem where the provider cannot be used at all.
        """
        if batch_size < 1:
            raise InvalidInput("A batch needs at least one row.", field="batch_size")
        if not collection.has_model:
            return EmbeddedCounts()  # what came without a vector stays without one
        service = self._embedding(collection)
        async with self._database.session() as db:
            total = await count_unembedded(db, collection)
        counts = EmbeddedCounts()
        after: uuid.UUID | None = None
        storing: asyncio.Task[None] | None = None
        started = time.perf_counter()
        try:
            while True:
                async with self._database.session() as db:
                    rows = await next_unembedded(db, collection, after, batch_size)
                if not rows:
                    break
                after = rows[-1].id
                batch = await service.get_embeddings_batch([row.text for row in rows])
                before = storing
                storing = asyncio.create_task(self._store(collection, rows, batch, before))
                counts += EmbeddedCounts(
                    embedded=len(rows) - len(batch.problems),
                    failed=len(batch.problems),
                    truncated=len(batch.truncated),
                    usage=batch.usage,
                )
                done = counts.embedded + counts.failed
                rate = done / max(time.perf_counter() - started, 1e-9)
                await report(
                    done, total, f"Embedded {done:,} of {total:,} documents ({rate:,.0f}/s)"
                )
                if before is not None:
                    await asyncio.shield(before)
        finally:
            if storing is not None:  # also when cancelled: what the model gave is kept
                await asyncio.shield(storing)
        if total:
            log.info(
                "backfill.done",
                collection=collection.slug,
                model=collection.model,
                embedded=counts.embedded,
                failed=counts.failed,
                tokens=counts.usage.tokens,
                seconds=round(time.perf_counter() - started, 2),
            )
        return counts

    async def _store(
        self,
        collection: Collection,
        rows: Sequence[Unembedded],
        batch: EmbeddingBatch,
        before: asyncio.Task[None] | None,
    ) -> None:
        """In turn, so that the last one ends with all of them."""
        if before is not None:
            await before
        async with self._database.session() as db:
            await store_embeddings(db, collection, rows, batch)

    def _embedding(self, collection: Collection) -> EmbeddingService:
        return create_service(collection.model, self._settings, collection.dimensions)


def unstorable(document: IncomingDocument, collection: Collection) -> str | None:
    """Why a document cannot be stored, None where it can. A vector that came with it must be one
    that the collection's distance is defined for."""
    if not document.content.strip():
        return "The text is empty."
    if len(document.content) > MAX_CONTENT_CHARACTERS:
        return (
            f"The text has {len(document.content):,} characters, more than the "
            f"{MAX_CONTENT_CHARACTERS:,} that full-text search can hold."
        )
    if document.embedding is not None:
        try:
            check_embedding(
                document.embedding,
                dimensions=collection.dimensions,
                distance=collection.distance,
                storage=collection.storage,
            )
        except InvalidInput as exc:
            return exc.message
    return None


async def _batches(
    feed: Feed, collection: Collection
) -> AsyncGenerator[tuple[list[IncomingDocument], list[IncomingProblem]]]:
    """(documents, problems) in batches. Reading happens in a thread, one batch ahead."""
    stream = feed.read()

    def start() -> asyncio.Task[tuple[list[IncomingDocument], list[IncomingProblem], bool]]:
        return asyncio.create_task(asyncio.to_thread(_next_batch, feed.name, stream, collection))

    following = start()
    try:
        while True:
            documents, problems, ended = await following
            if not ended:
                following = start()
            if documents or problems:
                yield documents, problems
            if ended:
                return
    finally:
        await asyncio.gather(following, return_exceptions=True)


def _next_batch(
    source: str, stream: Iterator[Incoming], collection: Collection
) -> tuple[list[IncomingDocument], list[IncomingProblem], bool]:
    documents: list[IncomingDocument] = []
    problems: list[IncomingProblem] = []
    for incoming in stream:
        if isinstance(incoming, IncomingProblem):
            problems.append(incoming)
        elif (reason := unstorable(incoming, collection)) is not None:
            problems.append(IncomingProblem(source, incoming.external_id, reason))
        else:
            documents.append(incoming)
        if len(documents) + len(problems) >= STORE_BATCH:
            return documents, problems, False
    return documents, problems, True


class _Progress:
    """One bar for both phases of a load."""

    def __init__(self, feeds: Sequence[Feed], report: Report) -> None:
        self._report = report
        self._size = sum(feed.size or 0 for feed in feeds)
        self._feeds = feeds

    async def texts(self, feed: Feed, stored: StoredCounts) -> None:
        before = self._feeds[: self._feeds.index(feed)]
        read_size = sum(earlier.size or 0 for earlier in before) + feed.position()
        message = f"Stored {stored.total:,} texts of {feed.name}"
        if not self._size:  # how much there is to read is not known: no share would be true
            await self._report(0, 0, message)
            return
        done = round(_UNITS * _TEXT_SHARE * min(read_size / self._size, 1.0))
        await self._report(done, _UNITS, message)

    async def embeddings(self, done: int, total: int, message: str) -> None:
        share = _TEXT_SHARE + (1 - _TEXT_SHARE) * (done / total if total else 1.0)
        await self._report(round(_UNITS * share), _UNITS, message)
