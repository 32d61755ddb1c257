"""Loading and embedding as jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from lib.ingest.service import DocumentService, Feed, Report, sample_feed
from lib.store.collections import Collection
from lib.store.jobs import Job, JobContext, JobKind, Jobs


def _reporter(context: JobContext) -> Report:
    async def report(done: int, total: int, message: str) -> None:
        await context.progress(done, total, message)

    return report


def _load_key(collection: Collection) -> str:
    """One load or backfill a collection at a time: two would embed the same rows twice."""
    return f"load:{collection.id}"


async def start_load(
    jobs: Jobs, documents: DocumentService, collection: Collection, feeds: Sequence[Feed]
) -> Job:
    """Loads the feeds in the background. Raises Busy while the collection is being loaded."""
    names = ", ".join(feed.name for feed in feeds[:3])
    more = f" and {len(feeds) - 3} more" if len(feeds) > 3 else ""

    async def work(context: JobContext) -> dict[str, Any]:
        summary = await documents.load(collection, feeds, _reporter(context))
        return summary.to_json()

    return await jobs.start(
        JobKind.LOAD,
        f"Loading {names}{more} into {collection.name}",
        work,
        collection_id=collection.id,
        exclusive_key=_load_key(collection),
        parameters={"sources": [feed.name for feed in feeds]},
    )


async def start_sample_load(
    jobs: Jobs, documents: DocumentService, collection: Collection, limit: int | None = None
) -> Job:
    """Loads the documentation of Python and of the installed packages.

    limit: at most so many documents.
    """

    async def work(context: JobContext) -> dict[str, Any]:
        summary = await documents.load(collection, [sample_feed(limit)], _reporter(context))
        return summary.to_json()

    return await jobs.start(
        JobKind.SAMPLE,
        f"Loading the sample into {collection.name}",
        work,
        collection_id=collection.id,
        exclusive_key=_load_key(collection),
    )


async def start_backfill(jobs: Jobs, documents: DocumentService, collection: Collection) -> Job:
    """Embeds what has no embedding yet."""

    async def work(context: JobContext) -> dict[str, Any]:
        counts = await documents.backfill_embeddings(collection, report=_reporter(context))
        return {"embedded": asdict(counts)}

    return await jobs.start(
        JobKind.BACKFILL,
        f"Embedding what is missing in {collection.name}",
        work,
        collection_id=collection.id,
        exclusive_key=_load_key(collection),
    )
