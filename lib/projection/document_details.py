"""Details of the documents on a map: titles, categories, beginnings of texts, metadata."""

from __future__ import annotations

import math
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import ColumnElement, Text, bindparam, case, cast, func, literal, null, select
from sqlalchemy.dialects.postgresql import ARRAY, UUID
from sqlalchemy.ext.asyncio import AsyncSession

from lib.store.collections import Collection
from lib.vectors.search import Document

SNIPPET_CHARACTERS = 160
_SHORT_CHARACTERS = 40
MAX_COLUMNS = 30


@dataclass(frozen=True)
class MetadataColumn:
    """One field of the metadata, with a value for each document."""

    name: str
    numbers: npt.NDArray[np.float64] | None
    """float64 (n,), NaN where there is no value; None unless all values are numbers or booleans."""
    texts: tuple[str | None, ...]
    """The values as text."""


@dataclass(frozen=True)
class DocumentDetails:
    """Details of n documents, in the order of their ids."""

    exists: npt.NDArray[np.bool_]
    """bool (n,), False for documents that were deleted, of which nothing else is known."""
    titles: tuple[str, ...]
    """The title, or the whole text where it is as short as one, or the external id."""
    categories: tuple[str | None, ...]
    snippets: tuple[str, ...]
    """The beginning of the text, in one line."""
    metadata: Mapping[str, MetadataColumn]
    """By field, the most frequent fields first."""


async def load_document_details(
    db: AsyncSession, collection: Collection, ids: Sequence[uuid.UUID]
) -> DocumentDetails:
    """The details of documents by their ids, in that order."""
    table = collection.table
    requested = select(
        func.unnest(bindparam("ids", list(ids), type_=ARRAY(UUID(as_uuid=True)))).label("id"),
        func.generate_series(1, len(ids)).label("position"),
    ).cte("requested")
    id_ = table.column(table.id)
    names = [
        func.nullif(func.trim(name), "")
        for name in (
            None if table.title is None else table.column(table.title),
            None if table.content is None else _whole_if_short(table.column(table.content)),
            None if table.external_id is None else table.column(table.external_id),
        )
        if name is not None
    ]
    beginning = (
        literal("")
        if table.content is None
        else func.left(table.column(table.content), SNIPPET_CHARACTERS)
    )
    rows = (
        await db.execute(
            select(
                id_.is_not(None),
                func.coalesce(*names, cast(id_, Text), ""),
                null() if table.category is None else table.column(table.category),
                func.coalesce(beginning, ""),
                null() if table.metadata is None else table.column(table.metadata),
            )
            .select_from(requested.outerjoin(table.rows, id_ == requested.c.id))
            .order_by(requested.c.position)
        )
    ).all()
    exists, titles, categories, beginnings, metadata = zip(*rows, strict=True) if rows else [()] * 5
    return DocumentDetails(
        exists=np.array(exists, dtype=bool),
        titles=titles,
        categories=categories,
        snippets=tuple(" ".join(beginning.split()) for beginning in beginnings),
        metadata=_metadata_columns(metadata),
    )


async def load_documents(
    db: AsyncSession, collection: Collection, ids: Sequence[uuid.UUID]
) -> dict[uuid.UUID, Document]:
    """The whole documents by their ids; deleted ones are left out."""
    table = collection.table
    columns = [table.column(name).label(key) for key, name in table.document_columns.items()]
    rows = await db.execute(select(*columns).where(table.column(table.id).in_(ids)))
    return {row.id: Document(**row._mapping) for row in rows}


def _whole_if_short(content: ColumnElement[Any]) -> ColumnElement[Any]:
    """Of an emoji or a word, “vectors.npy#657” says less than the text itself."""
    return case((func.length(content) <= _SHORT_CHARACTERS, content))


def _metadata_columns(metadata: Sequence[Mapping[str, Any] | None]) -> dict[str, MetadataColumn]:
    """The fields with single values: lists and objects have no colour."""
    counts: Counter[str] = Counter()
    for fields in metadata:
        if isinstance(fields, Mapping):
            counts.update(k for k, v in fields.items() if isinstance(v, str | int | float | bool))
    most_frequent = sorted(counts, key=lambda name: (-counts[name], name))[:MAX_COLUMNS]
    return {
        name: _metadata_column(
            name,
            [fields.get(name) if isinstance(fields, Mapping) else None for fields in metadata],
        )
        for name in most_frequent
    }


def _metadata_column(name: str, values: list[Any]) -> MetadataColumn:
    values = [v if isinstance(v, str | int | float | bool) else None for v in values]
    numbers = None
    if not any(isinstance(value, str) for value in values):
        numbers = np.array([math.nan if v is None else float(v) for v in values])
    return MetadataColumn(name, numbers, tuple(None if v is None else str(v) for v in values))
