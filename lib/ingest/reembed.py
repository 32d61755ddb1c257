"""A collection is embedded again by another model, beside its own vectors, and then switched.

The new vectors grow in a column of their own (``next_embedding``); ``collection.as_shadow`` is the
collection seen by them, and is searched, filled and indexed as any other. The switch is one
transaction: the old column goes with its indexes, the new one takes its name, and the collection
says the new model.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import func, null, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from lib.actors import LOCAL, Actor, writes
from lib.embedding.models import EmbeddingModel, Provider
from lib.embedding.service import EmbeddingService, create_service, embedding_text, missing_key
from lib.embedding.tokens import counter_for
from lib.errors import Busy, InvalidInput, NotFound
from lib.ingest.jobs import load_key
from lib.ingest.service import DocumentService
from lib.store.collections import (
    Collection,
    Reembedding,
    drop_candidates,
    lock_collection,
    mark_changed,
)
from lib.store.documents import EMBEDDING, NEXT_EMBEDDING
from lib.store.jobs import Job, JobContext, JobKind, Jobs
from lib.store.records import CollectionRecord
from lib.vectors.catalog import list_indexes
from lib.vectors.index_methods import recommended_method
from lib.vectors.sql import quoted_name

log = structlog.get_logger(__name__)

_SAMPLE_ROWS = 200
_MAX_SWEEPS = 3
# A change of the table waits so long for those who use it, and holds up who comes after it.
_LOCK_TIMEOUT = "5s"
_TRIGGER = "forget_next_embedding"


# --- before -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Estimate:
    """What embedding a collection by a model would take."""

    model: EmbeddingModel
    documents: int
    tokens: int
    """From a sample of the documents."""
    tokens_are_exact: bool
    """Whether they were counted as the model counts."""
    cost_usd: float | None
    """None where the price is not known."""
    seconds: float | None
    """None where the provider's speed is not known."""
    extra_bytes: int | None
    """None where the number of dimensions is not known."""
    missing_key: str | None
    """The variable that has to be set before it can begin."""


async def estimate_reembedding(
    documents: DocumentService, collection: Collection, model_name: str
) -> Estimate:
    """Asks no provider. Raises InvalidInput where there is no such model, or the collection is
    embedded by it already."""
    service = _service(documents, collection, model_name)
    rows = collection.documents.c
    async with documents.database.session() as db:
        count = int(
            (await db.execute(select(func.count()).select_from(collection.documents))).scalar_one()
        )
        sample = [
            embedding_text(row.title, row.content)
            for row in await db.execute(
                select(rows.title, rows.content).order_by(rows.id).limit(_SAMPLE_ROWS)
            )
        ]
    model = service.model
    tokens = 0
    if sample:
        counted = await asyncio.to_thread(_count_tokens, model, sample)
        tokens = round(counted / len(sample) * count)
    price = model.price_usd_per_million_tokens
    seconds = None
    if model.provider is Provider.LOCAL and sample:
        started = time.perf_counter()
        await service.get_embeddings_batch(sample)
        seconds = (time.perf_counter() - started) / len(sample) * count
    return Estimate(
        model=model,
        documents=count,
        tokens=tokens,
        tokens_are_exact=counter_for(model).exact,
        cost_usd=None if price is None else tokens * price / 1e6,
        seconds=seconds,
        extra_bytes=None
        if model.dimensions is None
        else count * model.storage.bytes_per_row(model.dimensions),
        missing_key=missing_key(model),
    )


def _count_tokens(model: EmbeddingModel, texts: list[str]) -> int:
    """As many as would be sent: a longer text is cut."""
    counter, most = counter_for(model), model.max_tokens
    counts = [counter.count(text) for text in texts]
    return sum(counts if most is None else (min(count, most) for count in counts))


def _service(
    documents: DocumentService, collection: Collection, model_name: str
) -> EmbeddingService:
    service = create_service(model_name, documents.settings)
    if service.model.name == collection.model:
        raise InvalidInput(
            f"“{collection.name}” is embedded by {collection.model} already.",
            hint="Take another model.",
            field="model",
        )
    return service


# --- filling ------------------------------------------------------------------------------------


@writes("reembeddings.start")
async def start_reembedding(
    jobs: Jobs,
    documents: DocumentService,
    collection: Collection,
    model_name: str,
    *,
    actor: Actor = LOCAL,
) -> Job:
    """Embeds all documents by another model, as a job; where that had begun before, it goes on.

    Both models' vectors can be searched meanwhile, and documents can be loaded: the new vectors of
    what is loaded come with this job, or with the switch.

    Raises InvalidInput (no such model, no key, another model is under way), EmbeddingProblem, and
    Busy while it is running.
    """
    service = _service(documents, collection, model_name)
    under_way = collection.reembedding
    if under_way is not None and under_way.model != service.model.name:
        raise InvalidInput(
            f"“{collection.name}” is being embedded by {under_way.model}.",
            hint="Switch to it, or discard it, before another model is tried.",
            field="model",
        )
    variable = missing_key(service.model)
    if variable is not None:
        raise InvalidInput(
            f"{variable} is not set, and {service.model.name} needs it.",
            hint=f"Set {variable} in the environment or in .env, or take another model.",
            field=variable,
        )
    model = await service.probe()

    async def work(context: JobContext) -> dict[str, Any]:
        async with documents.database.session() as db:
            following = await _begin(db, collection, model)
        counts = await _fill(context, documents, following, actor)
        return {"model": model.name, "embedded": counts}

    return await jobs.start(
        JobKind.REEMBED,
        f"Embedding {collection.name} by {model.name}",
        work,
        collection_id=collection.id,
        exclusive_key=f"reembed:{collection.id}",
        parameters={"model": model.name},
        actor=actor,
    )


async def _fill(
    context: JobContext, documents: DocumentService, following: Collection, actor: Actor
) -> dict[str, Any]:
    counts = await documents.backfill_embeddings(following, on_progress=context.report, actor=actor)
    return asdict(counts)


async def _begin(db: AsyncSession, collection: Collection, model: EmbeddingModel) -> Collection:
    """Makes the column, where it is not there yet."""
    fresh = await _locked(db, collection)
    if fresh.as_shadow is not None:
        return fresh.as_shadow
    assert model.dimensions is not None
    distance = collection.distance if collection.has_model else model.distance
    now: datetime = (await db.execute(select(func.now()))).scalar_one()
    begun = Reembedding(model.name, model.dimensions, distance, model.storage, now)
    following = replace(fresh, reembedding=begun).as_shadow
    assert following is not None
    relation = quoted_name(fresh.documents)
    kinds = {
        column.name: column.type.compile(db.get_bind().dialect)
        for column in (following.documents.c.embedding, following.documents.c.embedding_error)
    }
    added = ", ".join(f"ADD COLUMN {name} {kind}" for name, kind in kinds.items())
    await db.execute(text(f"ALTER TABLE {relation} {added}"))
    await db.execute(
        text(
            f"CREATE TRIGGER {_TRIGGER} BEFORE UPDATE ON {relation} FOR EACH ROW "
            "WHEN (old.content_hash IS DISTINCT FROM new.content_hash) "
            "EXECUTE FUNCTION vecscope.forget_next_embedding()"
        )
    )
    await _note(db, fresh, reembedding=begun.to_json())
    log.info("reembedding.begun", collection=collection.slug, model=model.name)
    return following


# --- switching and discarding -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ShadowState:
    """How far the new vectors are."""

    documents: int
    embedded: int
    failed: int
    """Those that the model refused."""

    @property
    def untried(self) -> int:
        return self.documents - self.embedded - self.failed


async def shadow_state(db: AsyncSession, following: Collection) -> ShadowState:
    """following: the collection's ``as_shadow``."""
    rows = following.documents.c
    counts = await db.execute(
        select(func.count(), func.count(rows.embedding), func.count(rows.embedding_error))
    )
    return ShadowState(*(int(number) for number in counts.one()))


@writes("reembeddings.switch")
async def start_switch(
    jobs: Jobs,
    documents: DocumentService,
    collection: Collection,
    *,
    even_if_incomplete: bool = False,
    actor: Actor = LOCAL,
) -> Job:
    """Embeds what came in meanwhile, then switches the collection to the new vectors, as a job.

    The old vectors go for good, with their index and the candidates that were made of them.
    even_if_incomplete: also where the new model refused some documents, which are found by words
    only then. Raises NotFound where nothing is under way, Busy while the collection is loaded.
    """
    following = collection.as_shadow
    if following is None:
        raise NotFound(f"“{collection.name}” is not being embedded again.")

    async def work(context: JobContext) -> dict[str, Any]:
        await _none_but(jobs, collection, context)
        for _ in range(_MAX_SWEEPS):
            counts = await _fill(context, documents, following, actor)
            async with documents.database.session() as db:
                result = await _switch(db, collection, even_if_incomplete=even_if_incomplete)
            if result is not None:
                log.info("reembedding.switched", collection=collection.slug, **result)
                return {**result, "embedded": counts}
        raise Busy(
            f"Documents of “{collection.name}” keep coming in.", hint="Try again in a moment."
        )

    return await jobs.start(
        JobKind.REEMBED,
        f"Switching {collection.name} to {following.model}",
        work,
        collection_id=collection.id,
        exclusive_key=load_key(collection),
        parameters={"model": following.model},
        actor=actor,
    )


@writes("reembeddings.discard")
async def discard_reembedding(
    jobs: Jobs, documents: DocumentService, collection: Collection, *, actor: Actor = LOCAL
) -> None:
    """Gives the new vectors up; the collection stays as it is.

    Raises NotFound where nothing is under way, Busy while it is running.
    """
    await _none_but(jobs, collection, None)
    async with documents.database.session() as db:
        fresh = await _locked(db, collection)
        if fresh.reembedding is None:
            raise NotFound(f"“{collection.name}” is not being embedded again.")
        relation = quoted_name(fresh.documents)
        await db.execute(text(f"DROP TRIGGER {_TRIGGER} ON {relation}"))
        await db.execute(text(f"ALTER TABLE {relation} {_drops(NEXT_EMBEDDING)}"))
        await _note(db, fresh, reembedding=null())
    log.info("reembedding.discarded", collection=collection.slug)


async def _switch(
    db: AsyncSession, collection: Collection, *, even_if_incomplete: bool
) -> dict[str, Any] | None:
    """None where documents came in that are to be embedded first."""
    fresh = await _locked(db, collection)
    following = fresh.as_shadow
    if following is None:
        raise NotFound(f"“{collection.name}” is not being embedded again (any more).")
    relation = quoted_name(fresh.documents)
    await db.execute(text(f"LOCK TABLE {relation} IN ACCESS EXCLUSIVE MODE"))
    state = await shadow_state(db, following)
    if state.untried:
        return None
    if state.failed and not even_if_incomplete:
        raise InvalidInput(
            f"{following.model} could not embed {state.failed:,} of {state.documents:,} documents.",
            hint="See why on the Browse page; or switch all the same: by words they are found.",
        )
    lost = [index.name for index in await list_indexes(db, fresh.table)]
    kept = [index.name for index in await list_indexes(db, following.table)]
    await db.execute(text(f"DROP TRIGGER {_TRIGGER} ON {relation}"))
    await db.execute(text(f"ALTER TABLE {relation} {_drops(EMBEDDING)}"))
    for name in ("", "_error"):
        await db.execute(
            text(
                f"ALTER TABLE {relation} RENAME COLUMN {NEXT_EMBEDDING}{name} TO {EMBEDDING}{name}"
            )
        )
    await _note(
        db,
        fresh,
        model=following.model,
        dimensions=following.dimensions,
        distance=following.distance.value,
        storage=following.storage.value,
        reembedding=null(),
    )
    candidates = await drop_candidates(db, fresh)
    await mark_changed(db, replace(following, is_shadow=False))
    method, reason = recommended_method(state.embedded)
    return {
        "switched_from": fresh.model,
        "switched_to": following.model,
        "missing": state.failed,
        "dropped_indexes": lost,
        "dropped_candidates": candidates,
        "index": kept[0] if kept else None,
        "suggested_index": {"kind": method.name, "reason": reason},
    }


def _drops(name: str) -> str:
    """With them go their indexes."""
    return f"DROP COLUMN {name}, DROP COLUMN {name}_error"


async def _locked(db: AsyncSession, collection: Collection) -> Collection:
    """The collection as it is now, for one transaction that changes its table."""
    await db.execute(select(func.set_config("lock_timeout", _LOCK_TIMEOUT, True)))
    return await lock_collection(db, collection)


async def _note(db: AsyncSession, collection: Collection, **values: Any) -> None:
    await db.execute(
        update(CollectionRecord).where(CollectionRecord.id == collection.id).values(**values)
    )


async def _none_but(jobs: Jobs, collection: Collection, context: JobContext | None) -> None:
    """Raises Busy where another job embeds the collection again."""
    for job in await jobs.recent(collection_id=collection.id, active_only=True):
        if job.kind is JobKind.REEMBED and (context is None or job.id != context.job_id):
            raise Busy(f"“{job.title}” is still running.", hint="Wait for it, or cancel it.")
