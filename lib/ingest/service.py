"""DocumentService: documents in, found again, and embedded where that is still to be done."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from lib.actors import LOCAL, Actor, writes
from lib.embedding.service import EmbeddingService, create_service
from lib.errors import InvalidInput
from lib.ingest.document_stream import DocumentStream
from lib.ingest.embedder import Embedder
from lib.ingest.incoming import IncomingDocument
from lib.ingest.load import (
    EmbeddedCounts,
    StoredCounts,
    count_unembedded,
    next_unembedded,
    store_batch,
    store_embeddings,
    text_batch,
)
from lib.ingest.missing import Missing, missing_report
from lib.ingest.pipeline import (
    Load,
    LoadOptions,
    LoadProgress,
    LoadSummary,
    unstorable,
)
from lib.ingest.problems import ProblemFile
from lib.progress import OnProgress, Step, ignore_progress
from lib.settings import Settings
from lib.store.collections import Collection
from lib.store.database import Database
from lib.vectors.search import search_similar_documents

log = structlog.get_logger(__name__)

PREVIEW_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class DocumentPreview:
    """A found document: similarity is 1 − distance for cosine; preview has 500 characters at
    the most."""

    id: uuid.UUID
    title: str | None
    preview: str
    distance: float
    similarity: float


class DocumentService:
    """Creates, finds, loads and embeds documents of managed collections."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database = database
        self.settings = settings

    @writes("documents.create")
    async def create(
        self,
        collection: Collection,
        content: str,
        *,
        title: str | None = None,
        category: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        external_id: str | None = None,
        actor: Actor = LOCAL,
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
        async with self.database.session() as db:
            counts, rows = await store_batch(db, collection, text_batch([document], collection))
        log.info("document.stored", collection=collection.slug, external_id=document.external_id)
        if rows and collection.has_model:
            batch = await self._embedding(collection).get_embeddings_batch([rows[0].text])
            async with self.database.session() as db:
                await store_embeddings(db, collection, rows, batch)
        return counts

    async def search(
        self, collection: Collection, query: str, limit: int = 10
    ) -> list[DocumentPreview]:
        """The documents nearest to the query, nearest first."""
        embedding = await self._embedding(collection).get_embedding(query)
        async with self.database.session() as db:
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

    @writes("documents.load")
    async def load(
        self,
        collection: Collection,
        streams: Sequence[DocumentStream],
        on_progress: OnProgress[LoadProgress] = ignore_progress,
        *,
        options: LoadOptions | None = None,
        problem_file: ProblemFile | None = None,
        actor: Actor = LOCAL,
    ) -> LoadSummary:
        """Stores all texts and embeds them, each batch while the next is read and stored; then
        what has no embedding from earlier loads.

        What a file holds that cannot be stored becomes a problem of the summary; the rest goes on.
        A provider that cannot be used ends the embedding, not the storing.

        Raises InvalidInput where the parts of a file would be longer than the model takes, and,
        when all texts are stored, the EmbeddingProblem or InvalidInput (no key) that left them
        without embeddings.
        """
        chosen = options or LoadOptions()
        is_embedded = chosen.embed and collection.has_model
        summary = await Load(
            self.database,
            collection,
            [stream.fit_to(collection) for stream in streams],
            service=self._embedding(collection) if is_embedded else None,
            concurrency=self.settings.embedding_concurrency,
            options=chosen,
            on_progress=on_progress,
            problem_file=problem_file,
        ).run()
        log.info(
            "load.done",
            collection=collection.slug,
            new=summary.stored.new,
            changed=summary.stored.changed,
            embedded=summary.embedded.embedded,
            problems=summary.problem_count,
            seconds=round(summary.seconds, 2),
        )
        return summary

    @writes("documents.embed")
    async def backfill_embeddings(
        self,
        collection: Collection,
        batch_size: int | None = None,
        on_progress: OnProgress[Step] = ignore_progress,
        *,
        actor: Actor = LOCAL,
    ) -> EmbeddedCounts:
        """Embeds the rows that have no embedding, and stores each batch while the next is with the
        model. A row that fails keeps the reason (embedding_error).

        batch_size: rows at a time; by default what suits the model.

        Where the vectors were given and no model made them, nothing is done.
        Raises EmbeddingProblem or InvalidInput where the provider cannot be used at all.
        """
        if batch_size is not None and batch_size < 1:
            raise InvalidInput("A batch needs at least one row.", field="batch_size")
        if not collection.has_model:
            return EmbeddedCounts()  # what came without a vector stays without one
        async with self.database.session() as db:
            total = await count_unembedded(db, collection)
        started = time.perf_counter()

        async def stored() -> None:
            done = embedder.counts.embedded + embedder.counts.failed
            rate = done / max(time.perf_counter() - started, 1e-9)
            message = f"Embedded {done:,} of {total:,} documents ({rate:,.0f}/s)"
            await on_progress(Step(done / total if total else None, message))

        embedder = Embedder(
            self.database,
            collection,
            self._embedding(collection),
            concurrency=self.settings.embedding_concurrency,
            stored=stored,
        )
        async with embedder:
            after: uuid.UUID | None = None
            while embedder.failure is None:
                async with self.database.session() as db:
                    rows = await next_unembedded(
                        db, collection, after, batch_size or embedder.batch_size
                    )
                if not rows:
                    break
                after = rows[-1].id
                await embedder.put(rows)
        counts = embedder.counts
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
        if embedder.failure is not None:
            raise embedder.failure
        return counts

    async def missing_report(self, collection: Collection) -> list[Missing]:
        """What has no embedding, or only that of its beginning, and why."""
        service = self._embedding(collection) if collection.has_model else None
        async with self.database.session() as db:
            return await missing_report(db, collection, service)

    def _embedding(self, collection: Collection) -> EmbeddingService:
        return create_service(collection.model, self.settings, collection.dimensions)
