"""Documents into a collection's table, in two durable phases: texts by COPY, then embeddings.

Every batch is a transaction of its own. What is stored stays, whatever ends the work, and the
same work done again goes on from there: a text that is there already is not written again, and
only rows without an embedding are embedded.
"""

from __future__ import annotations

import json
import struct
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from psycopg import AsyncConnection
from sqlalchemy import (
    Boolean,
    ColumnElement,
    Executable,
    Integer,
    Table,
    Text,
    case,
    cast,
    column,
    delete,
    exists,
    func,
    literal_column,
    null,
    select,
    table,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, Insert, insert
from sqlalchemy.engine import CursorResult
from sqlalchemy.ext.asyncio import AsyncSession

from lib.embedding.service import EmbeddingBatch, Usage, embedding_text
from lib.ingest.incoming import IncomingDocument
from lib.store.collections import Collection, mark_changed
from lib.vectors.binary import encode_vectors
from lib.vectors.distance import FloatArray, Storage
from lib.vectors.sql import quoted_name

FIRST_BATCH = 500
STORE_BATCH = 5000
STORE_CHARACTERS = 4_000_000
STORE_SECONDS = 1.0
"""A batch of texts ends with any of them: long texts must not cost more memory than short ones, and
files that are slow to read must not look like none."""

EMBED_BATCH = 1000


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


# --- COPY's binary format -------------------------------------------------------------------------

# PostgreSQL documentation, COPY, "Binary Format". Written here, since a row handed to psycopg
# costs a coroutine and a lookup of types, and this can be done in the thread that reads.
_COPY_BEGIN = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_END = b"\xff\xff"
_NULL = b"\xff\xff\xff\xff"
_int4 = struct.Struct(">i").pack
_int4_field = struct.Struct(">ii").pack  # length, value


def _vector_fields(vectors: FloatArray, storage: Storage) -> list[bytes]:
    """Each row of ``vectors``, float32 (n, d), with its length before it."""
    return [_int4(len(value)) + value for value in encode_vectors(vectors, storage)]


async def _copy(db: AsyncSession, name: str, columns: str, rows: bytes) -> None:
    """Into a new temporary table, which goes at the end of the transaction."""
    # A crash of the server may take the commits of its last second or less. Nothing is broken by
    # that, the same load repairs it, and no job is "done" before they are on disk: the record of
    # that is a commit of the common kind, which comes after them (docs/loading-speed.md).
    await db.execute(text("SET LOCAL synchronous_commit = off"))
    await db.execute(text(f"CREATE TEMPORARY TABLE {name} ({columns}) ON COMMIT DROP"))
    driver = await _driver(db)
    async with (
        driver.cursor() as cursor,
        cursor.copy(f"COPY pg_temp.{name} FROM STDIN (FORMAT binary)".encode()) as copy,
    ):
        await copy.write(rows)


# --- texts ----------------------------------------------------------------------------------------

_INCOMING = (
    "external_id text, part int, title text, content text, category text, metadata text, "
    "content_hash bytea, embedding {kind}"
)
_encode_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class TextBatch:
    """Documents, ready to be stored: no two have the same external id and part.

    rows: the same in COPY's binary format. repeated: how many gave way to a later one.
    """

    documents: Mapping[tuple[str, int], IncomingDocument]
    hashes: Mapping[tuple[str, int], bytes]
    rows: bytes
    repeated: int


def text_batch(documents: Sequence[IncomingDocument], collection: Collection) -> TextBatch:
    """Plain computing, for a thread."""
    last = {(document.external_id, document.part): document for document in documents}
    hashes = {key: document.content_hash for key, document in last.items()}
    pieces = [_COPY_BEGIN]
    add = pieces.append
    for key, document in last.items():
        external_id, content = document.external_id.encode(), document.content.encode()
        add(b"\0\x08" + _int4(len(external_id)))
        add(external_id)
        add(_int4_field(4, document.part))
        if document.title is None:
            add(_NULL)
        else:
            title = document.title.encode()
            add(_int4(len(title)) + title)
        add(_int4(len(content)))
        add(content)
        if document.category is None:
            add(_NULL)
        else:
            category = document.category.encode()
            add(_int4(len(category)) + category)
        metadata = _encode_json(document.metadata).encode() if document.metadata else b"{}"
        add(_int4(len(metadata)))
        add(metadata)
        add(b"\0\0\0\x10" + hashes[key])
        if document.embedding is None:
            add(_NULL)
        else:
            add(_vector_fields(document.embedding[None], collection.storage)[0])
    add(_COPY_END)
    return TextBatch(last, hashes, b"".join(pieces), len(documents) - len(last))


async def store_documents(
    db: AsyncSession, collection: Collection, documents: Sequence[IncomingDocument]
) -> StoredCounts:
    """Inserts or updates by (external_id, part), in the session's transaction.

    A changed text loses its embedding, so that it is embedded again; changed metadata or category
    alone keep it; a vector that came with the document takes its place; an unchanged document is
    not written at all.
    """
    return await store_texts(db, collection, text_batch(documents, collection))


async def store_texts(db: AsyncSession, collection: Collection, batch: TextBatch) -> StoredCounts:
    """As :func:`store_documents`."""
    await _copy(db, "incoming", _INCOMING.format(kind=collection.storage.value), batch.rows)
    upsert = _upsert(table_of(collection)).returning(_IS_NEW).cte("written")
    counts = select(func.count(), func.count().filter(upsert.c.is_new)).select_from(upsert)
    written, new = (await db.execute(counts)).one()
    return await _stored(db, collection, batch, written, new)


async def store_batch(
    db: AsyncSession, collection: Collection, batch: TextBatch
) -> tuple[StoredCounts, list[Unembedded]]:
    """As :func:`store_documents`; also gives those of the rows it wrote that have no embedding."""
    await _copy(db, "incoming", _INCOMING.format(kind=collection.storage.value), batch.rows)
    rows = table_of(collection).c
    upsert = _upsert(table_of(collection)).returning(
        rows.id, rows.external_id, rows.part, _IS_NEW, rows.embedding.is_(None)
    )
    written = (await db.execute(upsert)).all()
    new = sum(is_new for *_, is_new, _ in written)
    counts = await _stored(db, collection, batch, len(written), new)
    unembedded = []
    for row_id, external_id, part, _, is_unembedded in written:
        if is_unembedded:
            key = external_id, part
            document = batch.documents[key]
            text_of_it = embedding_text(document.title, document.content)
            unembedded.append(Unembedded(row_id, text_of_it, batch.hashes[key]))
    return counts, unembedded


async def _stored(
    db: AsyncSession, collection: Collection, batch: TextBatch, written: int, new: int
) -> StoredCounts:
    if written:
        await mark_changed(db, collection)
    unchanged = len(batch.documents) - written
    return StoredCounts(new, written - new, unchanged, batch.repeated)


_IS_NEW: ColumnElement[bool] = literal_column("xmax = 0", Boolean).label("is_new")


def _upsert(documents: Table) -> Insert:
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
    )


async def drop_later_parts(
    db: AsyncSession, collection: Collection, last_parts: Mapping[str, int]
) -> int:
    """Removes the parts that a shorter version of a file no longer has; how many those were.

    last_parts: external id → its last part now.
    """
    if not last_parts:
        return 0
    rows = table_of(collection)
    last = (
        func.unnest(
            cast(list(last_parts), ARRAY(Text)), cast(list(last_parts.values()), ARRAY(Integer))
        )
        .table_valued("external_id", "part")
        .render_derived(name="last")
    )
    return await _removed(
        db,
        collection,
        delete(rows).where(rows.c.external_id == last.c.external_id, rows.c.part > last.c.part),
    )


async def _removed(db: AsyncSession, collection: Collection, statement: Executable) -> int:
    found = await db.execute(statement)
    assert isinstance(found, CursorResult)
    if found.rowcount:
        await mark_changed(db, collection)
    return found.rowcount


class ReplaceAllTracker:
    """What came in a load, so that the rest can be removed when it is complete.

    In a temporary table of one connection: where that is lost, so is the list, and asking for it
    fails, so that nothing is ever removed by a list with gaps.
    """

    def __init__(self, db: AsyncSession, collection: Collection) -> None:
        """db: a session of its own, used for nothing else."""
        self._db = db
        self._collection = collection

    async def begin(self) -> None:
        await self._execute("DROP TABLE IF EXISTS pg_temp.seen")
        await self._execute("CREATE TEMPORARY TABLE seen (external_id text, part int)")

    async def add(self, keys: Iterable[tuple[str, int]]) -> None:
        pieces = [_COPY_BEGIN]
        for external_id, part in keys:
            sent = external_id.encode()
            pieces += (b"\0\x02", _int4(len(sent)), sent, _int4_field(4, part))
        driver = await _driver(self._db)
        async with (
            driver.cursor() as cursor,
            cursor.copy(b"COPY pg_temp.seen FROM STDIN (FORMAT binary)") as copy,
        ):
            await copy.write(b"".join([*pieces, _COPY_END]))
        await driver.commit()

    async def delete_missing(self) -> int:
        """Removes every row of the collection that was not seen; how many those were."""
        await self._execute("ANALYZE pg_temp.seen")
        rows = table_of(self._collection)
        seen = table("seen", column("external_id"), column("part"), schema="pg_temp")
        was_seen = exists().where(
            seen.c.external_id == rows.c.external_id, seen.c.part == rows.c.part
        )
        removed = await _removed(self._db, self._collection, delete(rows).where(~was_seen))
        await self._execute("DROP TABLE pg_temp.seen")
        return removed

    async def _execute(self, statement: str) -> None:
        """Committed under the session's feet: it would give the connection back, and with it the
        table, and an open transaction would hold back the clearing up of the whole server."""
        driver = await _driver(self._db)
        await driver.execute(statement.encode())
        await driver.commit()


async def analyze(db: AsyncSession, collection: Collection) -> None:
    """Tells the planner what is in the table now: a search right after a load would otherwise be
    planned for the table as it was, and may pass its index by."""
    await db.execute(text(f"ANALYZE {collection.table.qualified_name}"))


# --- embeddings -----------------------------------------------------------------------------------


async def server_time(db: AsyncSession) -> datetime:
    now: datetime = (await db.execute(select(func.clock_timestamp()))).scalar_one()
    return now


async def count_unembedded(db: AsyncSession, collection: Collection) -> int:
    rows = table_of(collection)
    statement = select(func.count()).select_from(rows).where(rows.c.embedding.is_(None))
    return int((await db.execute(statement)).scalar_one())


async def next_unembedded(
    db: AsyncSession,
    collection: Collection,
    after: uuid.UUID | None,
    limit: int,
    *,
    not_failed_since: datetime | None = None,
) -> list[Unembedded]:
    """The next rows without an embedding, by id: a row that failed is passed, not met again.

    not_failed_since: leaves out those that were tried after it.
    """
    rows = table_of(collection)
    statement = (
        select(rows.c.id, rows.c.title, rows.c.content, rows.c.content_hash)
        .where(rows.c.embedding.is_(None))
        .order_by(rows.c.id)
        .limit(limit)
    )
    if after is not None:
        statement = statement.where(rows.c.id > after)
    if not_failed_since is not None:
        statement = statement.where(
            rows.c.embedding_error.is_(None) | (rows.c.updated_at < not_failed_since)
        )
    return [
        Unembedded(row.id, embedding_text(row.title, row.content), row.content_hash)
        for row in await db.execute(statement)
    ]


def _embedding_rows(
    collection: Collection, rows: Sequence[Unembedded], batch: EmbeddingBatch
) -> bytes:
    vectors = _vector_fields(batch.vectors, collection.storage)
    pieces = [_COPY_BEGIN]
    for place, row in enumerate(rows):
        pieces += (b"\0\x04\0\0\0\x10", row.id.bytes)
        pieces += (_int4(len(row.content_hash)), row.content_hash)
        problem = batch.problems.get(place)
        if problem is None:
            pieces += (vectors[place], _NULL)
        else:
            reason = str(problem).replace("\0", "").encode()
            pieces += (_NULL, _int4(len(reason)), reason)
    pieces.append(_COPY_END)
    return b"".join(pieces)


async def store_embeddings(
    db: AsyncSession, collection: Collection, rows: Sequence[Unembedded], batch: EmbeddingBatch
) -> None:
    """Writes the vectors and the reasons of those that have none.

    A row whose text was changed meanwhile is left as it is, to be embedded again.
    """
    if collection.is_shadow:  # a load may go on beside it: one of the two would wait for the other
        relation = quoted_name(collection.documents)
        await db.execute(text(f"LOCK TABLE {relation} IN SHARE ROW EXCLUSIVE MODE"))
    await _copy(
        db,
        "embedded",
        f"id uuid, content_hash bytea, embedding {collection.storage.value}, problem text",
        _embedding_rows(collection, rows, batch),
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
