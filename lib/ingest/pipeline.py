"""One load: read, store and embed, each while the others go on with another batch.

Reading and encoding happen in a thread, storing on the loop, embedding in the Embedder. A batch's
texts are committed before its embedding begins, and it is embedded from memory; a last pass
embeds what earlier loads left without an embedding.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

import structlog

from lib.embedding.service import EmbeddingService
from lib.errors import InvalidInput, VecscopeError
from lib.ingest.document_stream import DocumentStream
from lib.ingest.embedder import Embedder
from lib.ingest.incoming import IncomingDocument, IncomingProblem
from lib.ingest.load import (
    FIRST_BATCH,
    STORE_BATCH,
    STORE_CHARACTERS,
    STORE_SECONDS,
    EmbeddedCounts,
    ReplaceAllTracker,
    StoredCounts,
    TextBatch,
    Unembedded,
    analyze,
    count_unembedded,
    drop_later_parts,
    next_unembedded,
    server_time,
    store_batch,
    store_texts,
    text_batch,
)
from lib.ingest.problems import ProblemFile
from lib.ingest.readers.registry import Incoming
from lib.progress import OnProgress
from lib.store.collections import Collection
from lib.store.database import Database
from lib.store.documents import MAX_CONTENT_CHARACTERS
from lib.vectors.distance import check_embedding

log = structlog.get_logger(__name__)

MAX_PROBLEMS = 1000
"""How many problems a summary holds; the job's file has them all."""

_SHOWN_WHILE_RUNNING = 50
# Where a load has to embed rows of earlier ones too: what one of them weighs in the progress,
# against bytes to be read.
_SWEPT_ROW_BYTES = 500
_ANALYZED_ROWS = 200  # fewer do not change a plan


@dataclass(frozen=True)
class LoadOptions:
    """What a load does besides storing texts."""

    embed: bool = True
    """Whether the texts are embedded too."""

    replace_all: bool = False
    """Whether rows of the collection that did not come are removed at the end, if all of the load
    could be read."""


@dataclass(frozen=True)
class LoadSummary:
    """What became of a load, or of it so far."""

    stored: StoredCounts = field(default_factory=StoredCounts)
    embedded: EmbeddedCounts = field(default_factory=EmbeddedCounts)
    removed_parts: int = 0
    """Parts that a shorter version of a file no longer has."""
    removed: int = 0
    """Rows that did not come again, where all was to be replaced."""
    kept_because: str = ""
    """Why none of those were removed, where none were."""
    problem_count: int = 0
    lost: int = 0
    """How many of the problems were not stored."""
    problems: tuple[IncomingProblem, ...] = field(default=(), repr=False)
    """At most MAX_PROBLEMS of them."""
    source: str = ""
    sources: int = 0
    sources_done: int = 0
    """Files that were read and stored to their end, in their order."""
    bytes_read: int = 0
    bytes_total: int | None = None
    seconds: float = 0.0

    @property
    def documents_per_second(self) -> float:
        """Stored and, where they are to be, embedded."""
        done = self.stored.total if not self.embedded.embedded else self.embedded.embedded
        return done / self.seconds if self.seconds else 0.0

    def to_json(self) -> dict[str, Any]:
        """As a job's result keeps it."""
        return {**asdict(self), "documents_per_second": round(self.documents_per_second, 1)}


@dataclass(frozen=True)
class LoadProgress:
    """How far a load is: done of total, in no unit."""

    done: int
    total: int
    """0 where it cannot be told."""
    message: str
    """One line."""
    summary: LoadSummary
    last: bool = False
    """There will be no other one, though the load did not get to its end."""

    @property
    def share(self) -> float | None:
        return self.done / self.total if self.total else None

    def to_json(self) -> dict[str, Any]:
        shown = None if self.last else _SHOWN_WHILE_RUNNING
        return replace(self.summary, problems=self.summary.problems[:shown]).to_json()


@dataclass(frozen=True, slots=True)
class _Batch:
    """What was read at once: a part of a file, or many files."""

    texts: TextBatch
    problems: list[IncomingProblem]
    complete: dict[str, int]
    """External id → last part, of documents that were read to their end with nothing missing."""
    unread: IncomingProblem | None
    """A problem for which a file could not be read whole."""
    source: str
    """The file that was read last."""
    sources_done: int
    """Since the beginning of the load, as bytes_read."""
    bytes_read: int


class Load:
    """One load's state. ``run`` once."""

    def __init__(
        self,
        database: Database,
        collection: Collection,
        streams: Sequence[DocumentStream],
        *,
        service: EmbeddingService | None,
        concurrency: int,
        options: LoadOptions,
        on_progress: OnProgress[LoadProgress],
        problem_file: ProblemFile | None,
    ) -> None:
        """service: None where the texts are not to be embedded."""
        self._database = database
        self._collection = collection
        self._streams = streams
        self._service = service
        self._concurrency = concurrency
        self._options = options
        self._on_progress = on_progress
        self._problem_file = problem_file
        sizes = [stream.size for stream in streams]
        self._summary = LoadSummary(
            sources=len(streams),
            bytes_total=sum(size or 0 for size in sizes) if None not in sizes else None,
        )
        self._problems: list[IncomingProblem] = []
        self._unread: IncomingProblem | None = None
        self._left_before = 0
        self._swept = 0
        self._writing = asyncio.Lock()
        self._embedder: Embedder | None = None
        self._seen: ReplaceAllTracker | None = None
        self._began_at: datetime | None = None
        self._started = 0.0
        self._furthest = 0

    async def run(self) -> LoadSummary:
        """Raises what stopped it: DatabaseProblem, or, when all texts are stored, the
        EmbeddingProblem or InvalidInput for which there are no embeddings."""
        self._started = time.perf_counter()
        try:
            async with AsyncExitStack() as stack:
                await self._begin(stack)
                async with aclosing(_batches(self._streams, self._collection)) as batches:
                    async for batch in batches:
                        await self._take(batch)
                if self._embedder is not None:
                    await self._embedder.finish()
                    await self._sweep(self._embedder)
                    if self._embedder.failure is not None:
                        raise self._embedder.failure
                if self._seen is not None:
                    await self._delete_missing(self._seen)
                await self._analyze()
        except BaseException:
            try:
                await self._say(last=True)  # so that the record tells what was done
            except VecscopeError as exc:  # the server is away; what stopped the load says so
                log.warning("load.progress_not_written", error=exc.message)
            raise
        return self._current()

    async def _begin(self, stack: AsyncExitStack) -> None:
        if self._options.replace_all:
            db = await stack.enter_async_context(self._database.session())
            self._seen = ReplaceAllTracker(db, self._collection)
            await self._seen.begin()
        if self._service is not None:
            async with self._database.session() as db:
                self._left_before = await count_unembedded(db, self._collection)
                self._began_at = await server_time(db)
            self._embedder = await stack.enter_async_context(
                Embedder(
                    self._database,
                    self._collection,
                    self._service,
                    concurrency=self._concurrency,
                    writing=self._writing,
                    stored=self._say,
                )
            )

    # --- a batch ----------------------------------------------------------------------------------

    async def _take(self, batch: _Batch) -> None:
        self._unread = self._unread or batch.unread
        await self._take_problems(batch.problems)
        await self._store(batch)
        self._note(
            source=batch.source, sources_done=batch.sources_done, bytes_read=batch.bytes_read
        )
        await self._say()
        log.debug(
            "load.stored",
            collection=self._collection.slug,
            source=batch.source,
            documents=len(batch.texts.documents),
            problems=len(batch.problems),
        )

    async def _store(self, batch: _Batch) -> None:
        rows: list[Unembedded] = []
        counts, removed = StoredCounts(), 0
        if batch.texts.documents or batch.complete:
            async with self._writing, self._database.session() as db:
                if self._embedder is None:
                    counts = await store_texts(db, self._collection, batch.texts)
                else:
                    counts, rows = await store_batch(db, self._collection, batch.texts)
                removed = await drop_later_parts(db, self._collection, batch.complete)
        self._note(
            stored=self._summary.stored + counts,
            removed_parts=self._summary.removed_parts + removed,
        )
        if self._seen is not None:
            await self._seen.add(batch.texts.documents)
        if self._embedder is not None:
            size = self._embedder.batch_size
            for start in range(0, len(rows), size):
                await self._embedder.put(rows[start : start + size])

    async def _take_problems(self, problems: Sequence[IncomingProblem]) -> None:
        if not problems:
            return
        self._problems.extend(problems[: MAX_PROBLEMS - len(self._problems)])
        self._note(
            problem_count=self._summary.problem_count + sum(p.count for p in problems),
            lost=self._summary.lost + sum(p.count for p in problems if not p.stored),
        )
        if self._problem_file is not None:
            await asyncio.to_thread(self._problem_file.write, problems)

    # --- the end ----------------------------------------------------------------------------------

    async def _sweep(self, embedder: Embedder) -> None:
        """Embeds what earlier loads left."""
        after: uuid.UUID | None = None
        while embedder.failure is None:
            async with self._database.session() as db:
                rows = await next_unembedded(
                    db,
                    self._collection,
                    after,
                    embedder.batch_size,
                    not_failed_since=self._began_at,
                )
            if not rows:
                break
            after = rows[-1].id
            self._swept += len(rows)
            await embedder.put(rows)
        await embedder.finish()

    async def _delete_missing(self, seen: ReplaceAllTracker) -> None:
        if self._unread is not None:
            name = self._unread.source
            self._note(kept_because=f"{name} could not be read whole, so nothing was removed.")
        else:
            self._note(removed=await seen.delete_missing())

    async def _analyze(self) -> None:
        now = self._current()
        counts = (now.stored.new, now.stored.changed, now.embedded.embedded, now.removed)
        if sum(counts) >= _ANALYZED_ROWS:  # a sample of a large table takes some tenths of a second
            async with self._database.session() as db:
                await analyze(db, self._collection)

    # --- progress ---------------------------------------------------------------------------------

    def _note(self, **values: Any) -> None:
        self._summary = replace(self._summary, **values)

    def _current(self) -> LoadSummary:
        return replace(
            self._summary,
            embedded=EmbeddedCounts() if self._embedder is None else self._embedder.counts,
            problems=tuple(self._problems),
            seconds=round(time.perf_counter() - self._started, 3),
        )

    async def _say(self, *, last: bool = False) -> None:
        now = self._current()
        waiting = self._embedder.waiting if self._embedder is not None else 0
        total = 0
        if now.bytes_total is not None:
            total = now.bytes_total + self._left_before * _SWEPT_ROW_BYTES
        texts = now.stored.total
        # What is stored and waits for the model is not done.
        handled = 1 - min(waiting / texts, 1.0) if texts and not self._swept else 1.0
        swept = max(self._swept - waiting, 0) if self._swept else 0
        done = round(now.bytes_read * handled) + swept * _SWEPT_ROW_BYTES
        self._furthest = max(self._furthest, min(done, total))
        await self._on_progress(LoadProgress(self._furthest, total, self._line(now), now, last))

    def _line(self, now: LoadSummary) -> str:
        words = [f"{now.stored.total:,} stored"]
        if self._embedder is not None:
            words.append(f"{now.embedded.embedded:,} embedded")
        words.append(f"{now.documents_per_second:,.0f}/s")
        if now.lost:
            words.append(f"{now.lost:,} failed")
        if self._embedder is not None and self._embedder.failure is not None:
            words.append(f"embedding stopped: {self._embedder.failure.message}")
        elif self._swept:
            words.append("embedding what was missing")
        else:
            words.append(now.source)
        return " · ".join(words)


# --- reading --------------------------------------------------------------------------------------


async def _batches(
    streams: Sequence[DocumentStream], collection: Collection
) -> AsyncGenerator[_Batch]:
    """Reads in a thread, one batch ahead."""
    reader = _Reader(streams, collection)
    following = asyncio.create_task(asyncio.to_thread(reader.next_batch))
    try:
        while True:
            batch = await following
            if batch is None:
                return
            following = asyncio.create_task(asyncio.to_thread(reader.next_batch))
            yield batch
    finally:
        if not following.done():
            reader.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await asyncio.to_thread(reader.close)


class _Reader:
    """The documents of all feeds in batches; used by one thread at a time, but for ``cancel``."""

    def __init__(self, streams: Sequence[DocumentStream], collection: Collection) -> None:
        self._collection = collection
        self._waiting = deque(streams)
        self._stream: DocumentStream | None = None
        self._items: Iterator[Incoming] = iter(())
        self._cancelled = False
        self._batch_size = FIRST_BATCH
        self._sources_done = 0
        self._bytes_before = 0
        # Of the present file: how many documents it gave, and the first problem for which
        # something of it is missing.
        self._documents = 0
        self._lost: IncomingProblem | None = None
        # The document whose parts are being read, and whether a piece of it may be missing: a
        # problem tells no more than the file, which may be an archive of many.
        self._last: tuple[str, int] | None = None
        self._is_whole = True
        self._lost_since = False

    def next_batch(self) -> _Batch | None:
        """None at the end. A batch ends with STORE_BATCH documents, with STORE_CHARACTERS, or
        after STORE_SECONDS, so that something is to be seen of files that are slow to read. The
        first ones are smaller, since the model has nothing to do before."""
        size = self._batch_size = min(self._batch_size, STORE_BATCH)
        self._batch_size *= 2
        documents: list[IncomingDocument] = []
        problems: list[IncomingProblem] = []
        complete: dict[str, int] = {}
        unread: IncomingProblem | None = None
        characters = 0
        began = time.monotonic()
        name = self._stream.name if self._stream is not None else ""
        while not self._cancelled:
            if self._stream is None:
                if not self._waiting:
                    break
                self._begin(self._waiting.popleft())
            assert self._stream is not None
            name = self._stream.name
            for incoming in self._items:
                if isinstance(incoming, IncomingDocument):
                    reason = unstorable(incoming, self._collection)
                    if reason is None:
                        documents.append(incoming)
                        characters += len(incoming.content)
                        self._documents += 1
                        if self._stream.replaces_parts:
                            self._follow(incoming, complete)
                    else:
                        problem = IncomingProblem(name, incoming.external_id, reason)
                        unread = self._note(problem, problems) or unread
                else:
                    unread = self._note(incoming, problems) or unread
                if len(documents) + len(problems) >= size or characters >= STORE_CHARACTERS:
                    break
                # The clock is asked seldom: of a table, a row takes less than that.
                if len(documents) % 16 == 0 and time.monotonic() - began > STORE_SECONDS:
                    break
            else:
                unread = self._end(complete) or unread
                if time.monotonic() - began <= STORE_SECONDS:
                    continue
            break
        if not (documents or problems or complete or name):
            return None
        position = self._stream.position() if self._stream is not None else 0
        return _Batch(
            texts=text_batch(documents, self._collection),
            problems=problems,
            complete=complete,
            unread=unread,
            source=name,
            sources_done=self._sources_done,
            bytes_read=self._bytes_before + position,
        )

    def cancel(self) -> None:
        """From any thread: no more is wanted; a reader that hangs is ended."""
        self._cancelled = True
        stream = self._stream
        if stream is not None:
            stream.cancel()

    def close(self) -> None:
        close = getattr(self._items, "close", None)
        if close is not None:  # a generator: its files and processes end now
            close()

    def _begin(self, stream: DocumentStream) -> None:
        self._stream, self._items = stream, stream.read()
        self._documents, self._lost = 0, None

    def _end(self, complete: dict[str, int]) -> IncomingProblem | None:
        """Says for what problem a file gave nothing at all."""
        assert self._stream is not None
        self._finish(complete)
        self._last, self._is_whole, self._lost_since = None, True, False
        self._bytes_before += self._stream.size or 0
        self._sources_done += 1
        self._stream = None
        return self._lost if not self._documents else None

    def _note(
        self, problem: IncomingProblem, problems: list[IncomingProblem]
    ) -> IncomingProblem | None:
        """Says whether it is one of a whole file."""
        problems.append(problem)
        # A file that no reader knows never was in the collection: the others can replace it all.
        if problem.stored or (self._stream is not None and self._stream.unreadable is not None):
            return None
        self._lost_since = True
        self._lost = self._lost or problem
        return None if problem.place else problem

    def _follow(self, document: IncomingDocument, complete: dict[str, int]) -> None:
        if self._last is not None and self._last[0] == document.external_id:
            self._is_whole = self._is_whole and not self._lost_since
        else:
            self._finish(complete)
            # What was lost before it may have been its first part.
            self._is_whole = not self._lost_since
        self._last = document.external_id, document.part
        self._lost_since = False

    def _finish(self, complete: dict[str, int]) -> None:
        if self._last is not None and self._is_whole and not self._lost_since:
            complete[self._last[0]] = self._last[1]


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
