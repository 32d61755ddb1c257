"""Collections: create, find, look at, drop. Every function takes the session first."""

from __future__ import annotations

import re
import unicodedata
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Any

from sqlalchemy import MetaData, Table, delete, func, literal_column, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.schema import DropTable

from lib.actors import LOCAL, Actor, writes
from lib.errors import AlreadyExists, InvalidInput, NotFound
from lib.serial import from_json, to_json
from lib.settings import NO_MODEL
from lib.store.documents import (
    EMBEDDING,
    NEXT_EMBEDDING,
    companion_tables,
    documents_table,
    managed_vector_table,
)
from lib.store.names import free_slug, names_hint
from lib.store.records import SCHEMA, CandidateRecord, CollectionRecord, LexicalIndexRecord
from lib.vectors.catalog import IndexDescription, choose_index, list_indexes
from lib.vectors.distance import Distance, Storage
from lib.vectors.sql import quoted_name
from lib.vectors.table import VectorTable

NAME_LENGTH = 80
NEXT_SUFFIX = "~next"
"""No slug has a tilde."""
_SLUG_LENGTH = 48


class CollectionKind(StrEnum):
    """Whether we made the table or the user did."""

    MANAGED = "managed"
    ATTACHED = "attached"


@dataclass(frozen=True)
class Reembedding:
    """Another model's vectors, growing beside the collection's own."""

    model: str
    dimensions: int
    distance: Distance
    storage: Storage
    started_at: datetime

    def to_json(self) -> dict[str, Any]:
        # As rows before had it: ISO 8601 with +00:00, not with Z.
        return to_json(self) | {"started_at": self.started_at.isoformat()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Reembedding:
        return from_json(cls, document, what="re-embedding")


@dataclass(frozen=True)
class Collection:
    """A named set of documents in one table with one vector column."""

    id: uuid.UUID
    slug: str
    name: str
    kind: CollectionKind
    description: str
    model: str
    dimensions: int
    distance: Distance
    storage: Storage
    text_config: str
    revision: int
    """Raised by every write to its documents, so that copies can tell that they are stale."""
    created_at: datetime
    reembedding: Reembedding | None = None
    """Where it is being re-embedded."""
    is_shadow: bool = False
    """It is seen by the vectors of its re-embedding (:attr:`as_shadow`)."""
    indexed_by_expression: bool = False
    """A vector index of the table was on an expression (halfvec or bit) when this was read, so a
    search asks whether it is to use that one; others need not ask."""

    @property
    def as_shadow(self) -> Collection | None:
        """The same documents by the vectors that are growing beside its own: to be searched,
        filled and indexed like any collection. None where there are none."""
        found = self.reembedding
        if found is None:
            return None
        return replace(
            self,
            model=found.model,
            dimensions=found.dimensions,
            distance=found.distance,
            storage=found.storage,
            reembedding=None,
            is_shadow=True,
        )

    @property
    def address(self) -> str:
        """What stands for it in a link: :func:`get_searchable` finds it by that."""
        return self.slug + NEXT_SUFFIX if self.is_shadow else self.slug

    @property
    def has_model(self) -> bool:
        """Whether a text can be turned into one of its vectors."""
        return self.model != NO_MODEL

    @cached_property
    def table(self) -> VectorTable:
        return managed_vector_table(
            self.slug,
            dimensions=self.dimensions,
            storage=self.storage,
            distance=self.distance,
            text_config=self.text_config,
            embedding=self._embedding,
        )

    @property
    def _embedding(self) -> str:
        return NEXT_EMBEDDING if self.is_shadow else EMBEDDING

    @cached_property
    def documents(self) -> Table:
        """The whole table of a managed collection, with the columns that no search needs."""
        return documents_table(
            self.slug,
            dimensions=self.dimensions,
            storage=self.storage,
            text_config=self.text_config,
            embedding=self._embedding,
        )


@dataclass(frozen=True)
class CollectionSummary:
    """A collection and its health. size_bytes: table, indexes and all that belongs to them.
    has_word_index: whether it can be searched by BM25."""

    collection: Collection
    documents: int
    embedded: int
    failed: int
    size_bytes: int
    indexes: tuple[IndexDescription, ...]
    has_word_index: bool = False

    @property
    def missing(self) -> int:
        return self.documents - self.embedded

    @property
    def embedded_share(self) -> float | None:
        """0–1; None for an empty collection."""
        return self.embedded / self.documents if self.documents else None

    @property
    def index(self) -> IndexDescription | None:
        """The production index: the valid one, of which there is at most one."""
        return choose_index(self.indexes)


def slugify(name: str) -> str:
    """The part of a table's name that a collection's name becomes: a–z, 0–9 and _."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")
    return slug[:_SLUG_LENGTH].strip("_") or "collection"


def check_name(name: str) -> str:
    """Raises InvalidInput for a name that is empty, too long or cannot be shown."""
    name = " ".join(name.split())
    if not name:
        raise InvalidInput("A collection needs a name.", field="name")
    if len(name) > NAME_LENGTH:
        raise InvalidInput(
            f"The name has {len(name)} characters, the most is {NAME_LENGTH}.", field="name"
        )
    if not name.isprintable():
        raise InvalidInput("The name has characters that cannot be shown.", field="name")
    return name


def _collection(record: CollectionRecord) -> Collection:
    return Collection(
        id=record.id,
        slug=record.slug,
        name=record.name,
        kind=CollectionKind(record.kind),
        description=record.description,
        model=record.model,
        dimensions=record.dimensions,
        distance=Distance(record.distance),
        storage=Storage(record.storage),
        text_config=record.text_config,
        revision=record.revision,
        created_at=record.created_at,
        reembedding=None
        if record.reembedding is None
        else Reembedding.from_json(record.reembedding),
        indexed_by_expression=record.indexed_by_expression,
    )


@writes("collections.create")
async def create_collection(
    db: AsyncSession,
    name: str,
    *,
    model: str,
    dimensions: int,
    distance: Distance = Distance.COSINE,
    storage: Storage | None = None,
    text_config: str = "english",
    description: str = "",
    actor: Actor = LOCAL,
) -> Collection:
    """Makes the collection and its table.

    storage: by default the one that keeps full precision where that can be indexed.
    Raises AlreadyExists for a name that is taken, InvalidInput for the rest.
    """
    name = check_name(name)
    storage = storage or Storage.for_dimensions(dimensions)
    if text_config not in await list_text_configs(db):
        raise InvalidInput(
            f"The server has no full-text configuration called “{text_config}”.",
            hint="Take one that it has, such as english or simple.",
            field="text_config",
        )
    # One at a time: a name and a slug are looked up and then taken.
    await db.execute(text("LOCK TABLE vecscope.collections IN SHARE ROW EXCLUSIVE MODE"))
    taken = await db.execute(select(CollectionRecord.name, CollectionRecord.slug))
    names, slugs = set(), set()
    for row in taken:
        names.add(row.name.casefold())
        slugs.add(row.slug)
    if name.casefold() in names:
        raise AlreadyExists(
            f"There is a collection called “{name}” already.",
            hint="Take another name, or load into that one.",
            field="name",
        )
    record = CollectionRecord(
        slug=free_slug(slugify(name), slugs, _SLUG_LENGTH),
        name=name,
        kind=CollectionKind.MANAGED.value,
        description=description,
        model=model,
        dimensions=dimensions,
        distance=distance.value,
        storage=storage.value,
        text_config=text_config,
    )
    db.add(record)
    await db.flush()
    await db.refresh(record)
    collection = _collection(record)
    connection = await db.connection()
    await connection.run_sync(collection.documents.create)
    return collection


async def get_collection(db: AsyncSession, name: str) -> Collection:
    """By name (capitals do not matter) or by slug. Raises NotFound, naming what there is."""
    records = (
        await db.scalars(
            select(CollectionRecord).where(
                (func.lower(CollectionRecord.name) == name.lower())
                | (CollectionRecord.slug == name)
            )
        )
    ).all()
    exact = sorted(records, key=lambda record: record.name.lower() != name.lower())
    if exact:
        return _collection(exact[0])
    names = [collection.name for collection in await list_collections(db)]
    raise NotFound(
        f"There is no collection called “{name}”.",
        hint=names_hint(names, "Create one first."),
        field="collection",
    )


async def list_collections(db: AsyncSession) -> list[Collection]:
    """All of them, by name."""
    records = await db.scalars(select(CollectionRecord).order_by(func.lower(CollectionRecord.name)))
    return [_collection(record) for record in records]


async def lock_collection(db: AsyncSession, collection: Collection) -> Collection:
    """The collection as it is now, and until the transaction ends nobody changes it.

    Raises NotFound.
    """
    record = await db.scalar(
        select(CollectionRecord)
        .where(CollectionRecord.id == collection.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if record is None:
        raise NotFound(f"The collection “{collection.name}” is gone.")
    return _collection(record)


async def get_searchable(db: AsyncSession, name: str) -> Collection:
    """As :func:`get_collection`; with NEXT_SUFFIX by the vectors that are growing beside its own.

    Raises NotFound.
    """
    collection = await get_collection(db, name.removesuffix(NEXT_SUFFIX))
    found = collection.as_shadow if name.endswith(NEXT_SUFFIX) else collection
    if found is None:
        raise NotFound(f"“{collection.name}” is not being embedded again.", field="collection")
    return found


async def list_searchable(db: AsyncSession) -> list[Collection]:
    """As :func:`list_collections`, each followed by what it is being embedded again to."""
    found = []
    for collection in await list_collections(db):
        found += [collection, *filter(None, [collection.as_shadow])]
    return found


async def summarise(db: AsyncSession, collection: Collection) -> CollectionSummary:
    """Counts and sizes, in two statements."""
    table = collection.table
    counts = (
        await db.execute(
            select(
                func.count(),
                func.count(table.column(table.embedding)),
                func.count(literal_column(f"d.{table.embedding}_error")),
                func.pg_total_relation_size(quoted_name(table.table)),
                select(func.count())
                .where(LexicalIndexRecord.collection_id == collection.id)
                .scalar_subquery(),
            ).select_from(table.rows)
        )
    ).one()
    documents, embedded, failed, size_bytes, word_indexes = (int(value) for value in counts)
    return CollectionSummary(
        collection=collection,
        documents=documents,
        embedded=embedded,
        failed=failed,
        size_bytes=size_bytes,
        indexes=tuple(await list_indexes(db, table)),
        has_word_index=word_indexes > 0,
    )


async def list_categories(db: AsyncSession, collection: Collection) -> list[tuple[str, int]]:
    """(category, documents), the largest first."""
    table = collection.table
    if table.category is None:
        return []
    category, documents = table.column(table.category), func.count()
    rows = await db.execute(
        select(category, documents)
        .where(category.is_not(None))
        .group_by(category)
        .order_by(documents.desc(), category)
    )
    return [(row[0], int(row[1])) for row in rows]


async def example_questions(db: AsyncSession, collection: Collection, limit: int = 3) -> list[str]:
    """Titles of some of its documents, to try a search with: always the same ones, spread by
    their id."""
    table = collection.table
    if table.title is None:
        return []
    title = table.column(table.title)
    rows = await db.scalars(
        select(title)
        .where(func.length(title).between(12, 80))
        .order_by(table.column(table.id))
        .limit(limit)
    )
    return list(rows)


async def list_text_configs(db: AsyncSession) -> list[str]:
    """The server's full-text configurations, by name."""
    return list(await db.scalars(text("SELECT cfgname FROM pg_ts_config ORDER BY cfgname")))


@writes("collections.drop")
async def drop_collection(
    db: AsyncSession, collection: Collection, *, actor: Actor = LOCAL
) -> None:
    """Removes the collection; of a managed one its table too, of an attached one never."""
    if collection.kind is CollectionKind.MANAGED:
        for name in (collection.table.name, *companion_tables(collection.slug)):
            await _drop_own_table(db, name)
    await drop_candidates(db, collection)
    record = await db.get(CollectionRecord, collection.id)
    if record is None:
        raise NotFound(f"The collection “{collection.name}” is gone already.")
    await db.delete(record)


async def drop_candidates(db: AsyncSession, collection: Collection) -> int:
    """Removes the copies of its vectors; how many those were."""
    candidates = (
        await db.scalars(
            delete(CandidateRecord)
            .where(CandidateRecord.collection_id == collection.id)
            .returning(CandidateRecord.table_name)
        )
    ).all()
    for name in candidates:
        await _drop_own_table(db, name)
    return len(candidates)


async def _drop_own_table(db: AsyncSession, name: str) -> None:
    await db.execute(DropTable(Table(name, MetaData(), schema=SCHEMA), if_exists=True))


async def mark_changed(db: AsyncSession, collection: Collection) -> None:
    """Notes a write to the documents, so that copies of them can tell that they are stale.

    Vectors that grow beside the collection's own are no change of it.

    Raises NotFound, for which the write is undone, where the collection was dropped meanwhile
    (its table may be a new one's now), or where these vectors are not its own any more.
    """
    record = CollectionRecord
    if collection.is_shadow:
        ours = record.reembedding["model"].astext == collection.model
        found = await db.execute(select(record.id).where(record.id == collection.id, ours))
    else:
        found = await db.execute(
            update(record)
            .where(record.id == collection.id, record.model == collection.model)
            .values(revision=record.revision + 1, updated_at=func.now())
            .returning(record.id)
        )
    if found.first() is None:
        raise NotFound(
            f"The collection “{collection.name}” is gone, or is not embedded by "
            f"{collection.model} any more."
        )
