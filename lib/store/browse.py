"""What is stored: documents listed, looked at in full, counted and removed.

For managed collections. Every function takes the session first and the collection second.
"""

from __future__ import annotations

import unicodedata
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np
from sqlalchemy import (
    Boolean,
    ColumnElement,
    Select,
    Text,
    Uuid,
    delete,
    distinct,
    func,
    literal,
    literal_column,
    or_,
    select,
    text,
    tuple_,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from lib.actors import LOCAL, Actor, writes
from lib.errors import Busy, NotFound
from lib.limits import IntRange
from lib.store.collections import Collection, mark_changed
from lib.vectors.binary import binary_expression, decode_vector
from lib.vectors.distance import Distance, FloatArray
from lib.vectors.search import Hit, search_similar_documents
from lib.vectors.sql import quoted_name
from lib.vectors.tuning import Scan, SearchSettings

PAGE_ROWS = IntRange(1, 1000, 50)
MOST_COUNTED = 10_000
"""Further than that nobody pages; a filter on a large table is not counted to its end."""
PREVIEW_CHARACTERS = 200
MOST_PARTS = 100
"""So many parts of one document are read at once."""
FIRST_NUMBERS = 8

# Fields and values of metadata are learnt from so many rows: any, since ids are random.
_SAMPLE_ROWS = 1000
_MAX_VALUES = 100


class EmbeddingState(StrEnum):
    """Whether a document can be found by meaning."""

    EMBEDDED = "embedded"
    MISSING = "missing"
    FAILED = "failed"

    @property
    def label(self) -> str:
        return {"embedded": "Embedded", "missing": "Not yet", "failed": "Failed"}[self.value]


class Order(StrEnum):
    """The orders that documents are listed in; each ends with what is unique."""

    ID = "id"
    TITLE = "title"
    CHANGED = "changed"

    @property
    def label(self) -> str:
        return {"id": "By id and part", "title": "By title", "changed": "Last changed first"}[
            self.value
        ]


@dataclass(frozen=True, slots=True)
class DocumentFilter:
    """Which documents; what is left empty does not narrow.

    words: each must occur in the title, the text or the id, as it is typed, capitals aside.
    metadata: (field, value); a number is compared by how it is written, and a list of texts
    passes where the value is in it. external_ids: only these.
    """

    words: str = ""
    category: str | None = None
    state: EmbeddingState | None = None
    metadata: tuple[str, str] | None = None
    external_ids: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        return self == DocumentFilter()


EVERYTHING = DocumentFilter()


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page ended: the values that the order is by, of its last row."""

    order: Order
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class DocumentLine:
    """A document as a list shows it. preview: the beginning of its text; characters: of all of
    it."""

    id: uuid.UUID
    external_id: str
    part: int
    title: str | None
    preview: str
    characters: int
    category: str | None
    state: EmbeddingState
    embedding_error: str | None
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class DocumentPage:
    """A page of a list of documents."""

    documents: tuple[DocumentLine, ...]

    following: Cursor | None
    """Where the next page begins; None for the last one."""


@dataclass(frozen=True, slots=True)
class Total:
    """How many documents; is_exact: False where there are more than were counted."""

    documents: int
    is_exact: bool


@dataclass(frozen=True, slots=True)
class Removal:
    """What deleting takes away: documents, which are rows, of so many external ids."""

    documents: int
    external_ids: int


@dataclass(frozen=True)
class StoredDocument:
    """One document in full. embedding: float32 array (d,)."""

    id: uuid.UUID
    external_id: str
    part: int
    title: str | None
    content: str
    category: str | None
    metadata: Mapping[str, Any]
    embedding: FloatArray | None
    embedding_error: str | None
    created_at: datetime
    updated_at: datetime

    @property
    def state(self) -> EmbeddingState:
        if self.embedding is not None:
            return EmbeddingState.EMBEDDED
        return EmbeddingState.MISSING if self.embedding_error is None else EmbeddingState.FAILED

    @cached_property
    def norm(self) -> float | None:
        """The embedding's length (L2), added up in double precision."""
        if self.embedding is None:
            return None
        return float(np.linalg.norm(self.embedding.astype(np.float64)))

    @property
    def first_numbers(self) -> tuple[float, ...]:
        return () if self.embedding is None else tuple(map(float, self.embedding[:FIRST_NUMBERS]))


@dataclass(frozen=True)
class DocumentParts:
    """What is stored under one external id. part_count: all parts; parts: those that were asked
    for, in order."""

    external_id: str
    part_count: int
    parts: tuple[StoredDocument, ...]


# --- a list of documents ------------------------------------------------------------------------


async def list_documents(
    db: AsyncSession,
    collection: Collection,
    where: DocumentFilter = EVERYTHING,
    *,
    order: Order = Order.ID,
    after: Cursor | None = None,
    limit: int = PAGE_ROWS.default,
) -> DocumentPage:
    """One page. after: the ``following`` of the page before; one of another order is left aside.

    Raises LimitExceeded.
    """
    PAGE_ROWS.check(limit, "limit")
    c = collection.documents.c
    embedding, error = c.embedding, c.embedding_error
    keys = _order_keys(collection, order)
    statement = (
        select(
            *(c[name] for name in ("id", "external_id", "part", "title", "category", "updated_at")),
            func.left(c.content, PREVIEW_CHARACTERS).label("preview"),
            func.length(c.content).label("characters"),
            embedding.is_not(None).label("embedded"),
            error.label("error"),
            *(key.label(f"key_{place}") for place, key in enumerate(keys)),
        )
        .where(*conditions(collection, where))
        .order_by(*(key.desc() if order is Order.CHANGED else key for key in keys))
        .limit(limit + 1)
    )
    if after is not None and after.order is order:
        place = tuple_(*keys)
        last = tuple_(
            *(literal(value, key.type) for value, key in zip(after.values, keys, strict=True))
        )
        statement = statement.where(place < last if order is Order.CHANGED else place > last)
    rows = (await db.execute(statement)).all()
    following = None
    if len(rows) > limit:
        rows = rows[:limit]
        values = tuple(rows[-1]._mapping[f"key_{place}"] for place in range(len(keys)))
        following = Cursor(order, values)
    return DocumentPage(
        tuple(
            DocumentLine(
                id=row.id,
                external_id=row.external_id,
                part=row.part,
                title=row.title,
                preview=row.preview,
                characters=row.characters,
                category=row.category,
                state=_state(embedded=row.embedded, error=row.error),
                embedding_error=row.error,
                updated_at=row.updated_at,
            )
            for row in rows
        ),
        following,
    )


async def count_documents(
    db: AsyncSession, collection: Collection, where: DocumentFilter = EVERYTHING
) -> Total:
    """How many documents pass, counted no further than MOST_COUNTED."""
    found = (
        select(literal_column("1"))
        .select_from(collection.documents)
        .where(*conditions(collection, where))
        .limit(MOST_COUNTED + 1)
        .subquery()
    )
    counted = int((await db.execute(select(func.count()).select_from(found))).scalar_one())
    return Total(min(counted, MOST_COUNTED), counted <= MOST_COUNTED)


def conditions(collection: Collection, where: DocumentFilter) -> list[ColumnElement[bool]]:
    """The filter as SQL over ``collection.documents``."""
    c = collection.documents.c
    embedding, error = c.embedding, c.embedding_error
    found: list[ColumnElement[bool]] = [
        or_(
            *(
                column.icontains(word, autoescape=True)
                for column in (c.title, c.content, c.external_id)
            )
        )
        for word in _as_stored(where.words).split()
    ]
    if where.category is not None:
        found.append(c.category == _as_stored(where.category))
    if where.state is EmbeddingState.EMBEDDED:
        found.append(embedding.is_not(None))
    elif where.state is not None:
        failed = where.state is EmbeddingState.FAILED
        found += [embedding.is_(None), error.is_not(None) if failed else error.is_(None)]
    if where.metadata is not None:
        field, value = map(_as_stored, where.metadata)
        in_list = c.metadata[field].op("@>", return_type=Boolean())(
            func.to_jsonb(literal(value, Text()), type_=JSONB())
        )
        found.append(or_(c.metadata[field].astext == value, in_list))
    if where.external_ids:
        found.append(c.external_id.in_(map(_as_stored, where.external_ids)))
    return found


def _as_stored(typed: str) -> str:
    """As documents are stored: no NUL, which PostgreSQL cannot take, no half of a surrogate pair,
    and NFC."""
    sendable = typed.replace("\0", "").encode("utf-8", "replace").decode()
    return unicodedata.normalize("NFC", sendable)


def _order_keys(collection: Collection, order: Order) -> list[ColumnElement[Any]]:
    c = collection.documents.c
    match order:
        case Order.ID:
            return [c.external_id, c.part]
        case Order.TITLE:
            return [func.coalesce(c.title, ""), c.external_id, c.part]
        case Order.CHANGED:
            return [c.updated_at, c.id]


def _state(*, embedded: bool, error: str | None) -> EmbeddingState:
    if embedded:
        return EmbeddingState.EMBEDDED
    return EmbeddingState.MISSING if error is None else EmbeddingState.FAILED


# --- what the metadata holds --------------------------------------------------------------------


async def metadata_fields(db: AsyncSession, collection: Collection) -> list[str]:
    """The fields that the metadata of a sample of the documents has, the most frequent first."""
    sample = _metadata_sample(collection)
    return await _most_frequent(db, func.jsonb_object_keys(sample.c.metadata))


async def metadata_values(db: AsyncSession, collection: Collection, field: str) -> list[str]:
    """Values of a field in a sample of the documents as texts, the most frequent first; of a list
    its items."""
    sample = _metadata_sample(collection)
    # In jsonpath's lax mode a list gives its items, anything else itself.
    items = func.jsonb_path_query(
        sample.c.metadata[field], literal_column("'$[*]'::jsonpath"), type_=JSONB()
    )
    as_text = items.op("#>>", return_type=Text())(literal_column("'{}'::text[]"))
    return await _most_frequent(db, as_text)


async def _most_frequent(db: AsyncSession, values: ColumnElement[Any]) -> list[str]:
    each = select(values.label("value")).subquery("each")
    statement = (
        select(each.c.value)
        .where(each.c.value.is_not(None))
        .group_by(each.c.value)
        .order_by(func.count().desc(), each.c.value)
        .limit(_MAX_VALUES)
    )
    return list(await db.scalars(statement))


def _metadata_sample(collection: Collection) -> Any:
    c = collection.documents.c
    return select(c.metadata).order_by(c.id).limit(_SAMPLE_ROWS).subquery("sample")


# --- one document -------------------------------------------------------------------------------


async def get_document(
    db: AsyncSession, collection: Collection, external_id: str, part: int = 0
) -> DocumentParts:
    """What is stored under an external id: its parts in order. Of more than MOST_PARTS those
    among which ``part`` is; the first ones where there is no such part.

    Raises NotFound.
    """
    c = collection.documents.c
    same = c.external_id == _as_stored(external_id)
    part_count = int((await db.execute(select(func.count()).where(same))).scalar_one())
    begin = part - part % MOST_PARTS
    for first in {begin: None, 0: None}:
        found = stored_statement(collection).where(same, c.part >= first).limit(MOST_PARTS)
        rows = (await db.execute(found)).all()
        if rows:
            parts = tuple(_stored_document(collection, row) for row in rows)
            return DocumentParts(parts[0].external_id, part_count, parts)
    raise NotFound(
        f"“{collection.name}” has no document with the id “{external_id}” (any more).",
        hint="Look for it in the list.",
        field="external_id",
    )


def stored_statement(collection: Collection) -> Select[Any]:
    """All documents with all that is kept of them, by external id and part; ``embedding`` is
    :func:`~lib.vectors.binary.binary_expression`."""
    c = collection.documents.c
    texts = ("id", "external_id", "part", "title", "content", "category", "metadata")
    return select(
        *(c[name] for name in texts),
        binary_expression(c.embedding, collection.storage).label("embedding"),
        c.embedding_error.label("embedding_error"),  # the column may have another name
        c.created_at,
        c.updated_at,
    ).order_by(c.external_id, c.part)


def _stored_document(collection: Collection, row: Any) -> StoredDocument:
    values = dict(row._mapping)
    sent = values.pop("embedding")
    embedding = None if sent is None else decode_vector(sent, collection.storage)
    return StoredDocument(**values, embedding=embedding)


async def find_neighbours(
    db: AsyncSession, collection: Collection, document: StoredDocument, limit: int = 5
) -> tuple[Hit, ...]:
    """The ``limit`` documents nearest to one, itself left out: exact, by comparing all of them.

    None where the document has no embedding, or a zero one under cosine.
    """
    embedding = document.embedding
    if embedding is None or (collection.distance is Distance.COSINE and not embedding.any()):
        return ()
    found = await search_similar_documents(
        db,
        collection.table,
        embedding,
        limit,
        settings=SearchSettings(scan=Scan.EXACT),
        where=(collection.table.column("id") != literal(document.id, Uuid()),),
    )
    return found.hits


# --- removing -----------------------------------------------------------------------------------


async def count_removal(db: AsyncSession, collection: Collection, where: DocumentFilter) -> Removal:
    """What :func:`delete_documents` would take away: whole external ids, so also the parts that
    do not pass the filter themselves."""
    c = collection.documents.c
    row = (
        await db.execute(
            select(func.count(), func.count(distinct(c.external_id))).where(
                _removed(collection, where)
            )
        )
    ).one()
    return Removal(int(row[0]), int(row[1]))


@writes("documents.delete")
async def delete_documents(
    db: AsyncSession,
    collection: Collection,
    where: DocumentFilter,
    *,
    at_most: int | None = None,
    actor: Actor = LOCAL,
) -> Removal:
    """Removes the documents that pass, with all parts of their external ids, for good.

    at_most: how many documents a person said yes to. Raises Busy, and removes nothing, where
    there are more by now; NotFound where the collection is gone.
    """
    # A load upserts in its own order: one of the two would wait for the other and be ended.
    relation = quoted_name(collection.documents)
    await db.execute(text(f"LOCK TABLE {relation} IN SHARE ROW EXCLUSIVE MODE"))
    removal = await count_removal(db, collection, where)
    if at_most is not None and removal.documents > at_most:
        raise Busy(
            f"There are {removal.documents:,} documents to delete by now, not {at_most:,}: "
            "nothing was deleted.",
            hint="Look again, then say yes again.",
        )
    if removal.documents:
        await db.execute(delete(collection.documents).where(_removed(collection, where)))
        await mark_changed(db, collection)
    return removal


def _removed(collection: Collection, where: DocumentFilter) -> ColumnElement[bool]:
    c = collection.documents.c
    passing = select(c.external_id).where(*conditions(collection, where))
    return c.external_id.in_(passing.correlate(None))
