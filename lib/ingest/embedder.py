"""Embeds stored rows beside other work: some batches with the model, one being written."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType

import numpy as np

from lib.embedding.models import Provider
from lib.embedding.service import EmbeddingBatch, EmbeddingService, Usage
from lib.errors import EmbeddingProblem, InvalidInput, VecscopeError
from lib.ingest.load import EMBED_BATCH, EmbeddedCounts, Unembedded, store_embeddings
from lib.store.collections import Collection
from lib.store.database import Database

WAITING_BATCHES = 4
"""How many batches may wait for the model; whoever has another one waits too."""

# How many that the model is done with may wait to be written, before it waits too.
_STORING_BATCHES = 2


class Embedder:
    """An async context manager: its end waits until all is embedded and stored. Left by an error
    or a cancel, it still stores what the model has given.

    batch_size: how many rows to hand over at once. counts: so far. waiting: rows that were handed
    over and are not done. failure: what ended the embedding, kept with the rows that met it; from
    then on rows are taken and left without an embedding.
    """

    def __init__(
        self,
        database: Database,
        collection: Collection,
        service: EmbeddingService,
        *,
        concurrency: int,
        writing: asyncio.Lock | None = None,
        stored: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """concurrency: requests at once of a model that is not local. writing: held while rows
        are written, so that two transactions do not wait for each other's rows. stored: is
        awaited after each batch."""
        self.counts = EmbeddedCounts()
        self.waiting = 0
        self.failure: VecscopeError | None = None
        self._database = database
        self._collection = collection
        self._service = service
        is_local = service.model.provider is Provider.LOCAL
        self._at_once = 1 if is_local else concurrency  # the local model uses all cores by itself
        # Of a provider what one request carries, so that its answer is kept as soon as it comes.
        self.batch_size = EMBED_BATCH if is_local else min(EMBED_BATCH, service.texts_per_request)
        self._writing = writing or asyncio.Lock()
        self._stored = stored
        self._batches: asyncio.Queue[Sequence[Unembedded]] = asyncio.Queue(WAITING_BATCHES)
        self._broken: Exception | None = None
        self._workers: list[asyncio.Task[None]] = []
        self._storing: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Embedder:
        self._workers = [asyncio.create_task(self._work()) for _ in range(self._at_once)]
        return self

    async def put(self, rows: Sequence[Unembedded]) -> None:
        """Waits while too many batches are waiting. Raises what broke the storing."""
        self.waiting += len(rows)
        await self._batches.put(rows)
        self._raise_broken()

    async def finish(self) -> None:
        """Waits until all is done. Raises what broke the storing, but not ``failure``."""
        await self._batches.join()
        self._raise_broken()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                await self.finish()
        finally:
            for worker in self._workers:
                worker.cancel()
            await asyncio.gather(*self._workers, return_exceptions=True)
            await asyncio.gather(*self._storing)

    def _raise_broken(self) -> None:
        if self._broken is not None:
            raise self._broken

    async def _work(self) -> None:
        while True:
            rows = await self._batches.get()
            batch = None
            try:
                if self.failure is None and self._broken is None:
                    batch = await self._embed(rows)
            except Exception as exc:  # noqa: BLE001 — kept, and raised where rows are handed over
                self._broken = self._broken or exc
            # A task of its own: the model need not wait, and a cancel does not cost what it gave.
            storing = asyncio.create_task(self._keep(rows, batch))
            self._storing.add(storing)
            storing.add_done_callback(self._storing.discard)
            while len(self._storing) >= _STORING_BATCHES:
                await asyncio.wait(self._storing, return_when=asyncio.FIRST_COMPLETED)

    async def _embed(self, rows: Sequence[Unembedded]) -> EmbeddingBatch:
        try:
            return await self._service.get_embeddings_batch([row.text for row in rows])
        except (EmbeddingProblem, InvalidInput) as exc:
            self.failure = self.failure or exc
            none = np.full((len(rows), self._collection.dimensions), np.nan, dtype=np.float32)
            problems: dict[int, VecscopeError] = dict.fromkeys(range(len(rows)), exc)
            return EmbeddingBatch(none, problems, (), Usage())

    async def _keep(self, rows: Sequence[Unembedded], batch: EmbeddingBatch | None) -> None:
        """Never raises."""
        try:
            try:
                if batch is not None:
                    await self._store(rows, batch)
            finally:
                self.waiting -= len(rows)
            if self._stored is not None:
                await self._stored()
        except Exception as exc:  # noqa: BLE001 — kept, and raised where rows are handed over
            self._broken = self._broken or exc
        finally:
            self._batches.task_done()

    async def _store(self, rows: Sequence[Unembedded], batch: EmbeddingBatch) -> None:
        async with self._writing, self._database.session() as db:
            await store_embeddings(db, self._collection, rows, batch)
        self.counts += EmbeddedCounts(
            embedded=len(rows) - len(batch.problems),
            failed=len(batch.problems),
            truncated=len(batch.truncated),
            usage=batch.usage,
        )
