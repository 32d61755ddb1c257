"""Documents into a collection's table, in two durable phases: texts by COPY, then embeddings.

Every batch is a transaction of its own. What is stored stays, whatever ends the work, and the
same work done again goes on from there: a text that is there already is not written again, and
only rows without an embedding are embedded.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pgvector import HalfVector, Vector
from pgvector.psycopg import register_vector_async
from psycopg import AsyncConnection
from sqlalchemy import (
    Executable,
    Table,
    case,
    cast,
    column,
    delete,
    func,
    literal_column,
    null,
    select,
    table,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession

from lib.embedding.service import EmbeddingBatch, Usage, embedding_text
from lib.ingest.incoming import IncomingDocument
from lib.store.collections import Collection, mark_changed
from lib.vectors.distance import Storage

STORE_BATCH = 2000
EMBED_BATCH = 500


@dataclass(frozen=True, slots=True)
class StoredCounts:
    """What became of the documents of a load. repeated: an id that came twice in one batch, of
    which the last was kept."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    repeated: int = 0

    @property
    def total(self) -> int:
        return self.new + self.changed + self.unchanged + self.repeated

    def __add__(self, other: StoredCounts) -> StoredCounts:
        return StoredCounts(
            self.new + other.new,
            self.changed + other.changed,
            self.unchanged + other.unchanged,
            self.repeated + other.repeated,
        )


@dataclass(frozen=True, slots=True)
class EmbeddedCounts:
    """What became of the documents of a backfill. truncated: those whose text was longer than
    the model takes, so that only its beginning was embedded."""

    embedded: int = 0
    failed: int = 0
    truncated: int = 0
    usage: Usage = field(default_factory=Usage)

    def __add__(self, other: EmbeddedCounts) -> EmbeddedCounts:
        return EmbeddedCounts(
            self.embedded + other.embedded,
            self.failed + other.failed,
            self.truncated + other.truncated,
            self.usage + other.usage,
        )


@dataclass(frozen=True, slots=True)
class Unembedded:
    """A stored document that has no embedding yet."""

    id: uuid.UUID
    text: str
    content_hash: bytes


def table_of(collection: Collection) -> Table:
    return collection.documents


async def _driver(db: AsyncSession) -> AsyncConnection:
    """psycopg's connection under the session, in the session's transaction: for COPY."""
    raw = await (await db.connection()).get_raw_connection()
    driver = raw.driver_connection
    assert isinstance(driver, AsyncConnection)
    return driver


# --- texts --------------------------------------------------------------------------------------

_INCOMING = """
    CREATE TEMPORARY TABLE incoming (
        external_id text, part int, title text, content text, category text, metadata text,
        content_hash bytea, embedding {kind}
    ) ON COMMIT DROP
"""


async def store_documents(
    db: AsyncSession, collection: Collection, documents: Sequence[IncomingDocument]
) -> StoredCounts:
    """Inserts or updates by (external_id, part), in the session's transaction.

    A changed text loses its embedding, so that it is embedded again; changed metadata or category
    alone keep it; a vector that came with the document takes its place; an unchanged document is
    not written at all.
    """
    last = {(document.external_id, document.part): document for document in documents}
    kind = collection.storage.value
    make = _vector_maker(collection)
    await db.execute(text(_INCOMING.format(kind=kind)))
    driver = await _driver(db)
    await register_vector_async(driver)
    async with (
        driver.cursor() as cursor,
        cursor.copy("COPY pg_temp.incoming FROM STDIN (FORMAT binary)") as copy,
    ):
        copy.set_types(["text", "int4", "text", "text", "text", "text", "bytea", kind])
        for document in last.values():
            await copy.write_row(
                (
                    document.external_id,
                    document.part,
                    document.title,
                    document.content,
                    document.category,
                    json.dumps(document.metadata, ensure_ascii=False),
                    document.content_hash,
                    None if document.embedding is None else make(document.embedding),
                )
            )
    is_new = (await db.execute(_upsert(table_of(collection)))).scalars().all()
    new = sum(is_new)
    changed = len(is_new) - new
    if is_new:
        await mark_changed(db, collection)
    return StoredCounts(
        new=new,
        changed=changed,
        unchanged=len(last) - len(is_new),
        repeated=len(documents) - len(last),
    )


def _vector_maker(collection: Collection) -> type[Vector] | type[HalfVector]:
    return Vector if collection.storage is Storage.VECTOR else HalfVector


def _upsert(documents: Table) -> Executable:
    """Returns a boolean for each row that was written: whether it is new."""
    texts = ["external_id", "part", "title", "content", "category", "content_hash"]
    names = [*texts, "metadata", "embedding"]
    incoming = table("incoming", *(column(name) for name in names), schema="pg_temp")
    values = [incoming.c[name] for name in texts]
    statement = insert(documents).from_select(
        names, select(*values, cast(incoming.c.metadata, JSONB), incoming.c.embedding)
    )
    new, old = statement.excluded, documents.c
    same_text = old.content_hash == new.content_hash
    kept = case((same_text, old.embedding), else_=null())
    kept_error = case((same_text & new.embedding.is_(None), old.embedding_error), else_=null())
    return statement.on_conflict_do_update(
        index_elements=["external_id", "part"],
        set_={
            **{name: new[name] for name in [*texts[2:], "metadata"]},
            "embedding": func.coalesce(new.embedding, kept),
            "embedding_error": kept_error,
            "updated_at": func.now(),
        },
        where=tuple_(old.content_hash, old.category, old.metadata).is_distinct_from(
            tuple_(new.content_hash, new.category, new.metadata)
        )
        | (new.embedding.is_not(None) & old.embedding.is_distinct_from(new.embedding)),
    ).returning(literal_column("xmax = 0"))


async def drop_later_parts(
    db: AsyncSession, collection: Collection, last_parts: Mapping[str, int]
) -> int:
    """Removes the parts that a shorter version of a file no longer has; how many those were.

    last_parts: external id → its last part now.
    """
    rows = table_of(collection)
    removed = 0
    for external_id, part in last_parts.items():
        found = await db.execute(
            delete(rows)
            .where(rows.c.external_id == external_id, rows.c.part > part)
            .returning(rows.c.id)
        )
        removed += len(found.all())
    if removed:
        await mark_changed(db, collection)
    return removed


# --- embeddings ---------------------------------------------------------------------------------


async def count_unembedded(db: AsyncSession, collection: Collection) -> int:
    rows = table_of(collection)
    statement = select(func.count()).select_from(rows).where(rows.c.embedding.is_(None))
    return int((await db.execute(statement)).scalar_one())


async def next_unembedded(
    db: AsyncSession, collection: Collection, after: uuid.UUID | None, limit: int
) -> list[Unembedded]:
    """The next rows without an embedding, by id: a row that failed is passed, not met again."""
    rows = table_of(collection)
    statement = (
        select(rows.c.id, rows.c.title, rows.c.content, rows.c.content_hash)
        .where(rows.c.embedding.is_(None))
        .order_by(rows.c.id)
        .limit(limit)
    )
    if after is not None:
        statement = statement.where(rows.c.id > after)
    return [
        Unembedded(row.id, embedding_text(row.title, row.content), row.content_hash)
        for row in await db.execute(statement)
    ]


async def store_embeddings(
    db: AsyncSession, collection: Collection, rows: Sequence[Unembedded], batch: EmbeddingBatch
) -> None:
    """Writes the vectors and the reasons of those that have none.

    A row whose text was changed meanwhile is left as it is, to be embedded again.
    """
    kind = collection.storage.value
    await db.execute(
        text(
            "CREATE TEMPORARY TABLE embedded "
            f"(id uuid, content_hash bytea, embedding {kind}, problem text) ON COMMIT DROP"
        )
    )
    driver = await _driver(db)
    await register_vector_async(driver)
    make = _vector_maker(collection)
    async with (
        driver.cursor() as cursor,
        cursor.copy("COPY pg_temp.embedded FROM STDIN (FORMAT binary)") as copy,
    ):
        copy.set_types(["uuid", "bytea", kind, "text"])
        for place, row in enumerate(rows):
            problem = batch.problems.get(place)
            vector = make(batch.vectors[place]) if problem is None else None
            await copy.write_row(
                (row.id, row.content_hash, vector, None if problem is None else str(problem))
            )
    documents = table_of(collection)
    found = table(
        "embedded",
        *(column(name) for name in ("id", "content_hash", "embedding", "problem")),
        schema="pg_temp",
    )
    await db.execute(
        update(documents)
        .values(embedding=found.c.embedding, embedding_error=found.c.problem, updated_at=func.now())
        .where(documents.c.id == found.c.id, documents.c.content_hash == found.c.content_hash)
    )
    await mark_changed(db, collection)
