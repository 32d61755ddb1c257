"""What a map says about its points: titles, categories, beginnings of texts, metadata."""

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

SNIPPET_CHARACTERS = 160
_SHORT_CHARACTERS = 40
MOST_COLUMNS = 30


@dataclass(frozen=True)
class MetadataColumn:
    """One field of the metadata, a value a point. numbers: float64 (n,), NaN where there is none,
    if every value is a number (or a truth value); else None. kinds: the values as text."""

    name: str
    numbers: npt.NDArray[np.float64] | None
    kinds: tuple[str | None, ...]


@dataclass(frozen=True)
class DocumentFacts:
    """Of documents by their ids, in that order. there: bool (n,), False for those that are gone,
    of which nothing is known. metadata: by field, the most frequent fields first."""

    there: npt.NDArray[np.bool_]
    titles: tuple[str, ...]
    categories: tuple[str | None, ...]
    snippets: tuple[str, ...]
    metadata: Mapping[str, MetadataColumn]


async def document_facts(
    db: AsyncSession, collection: Collection, ids: Sequence[uuid.UUID]
) -> DocumentFacts:
    """titles: the title, or the whole text where it is as short as one, or the external id.
    snippets: the beginning of the text, one line."""
    table = collection.table
    wanted = select(
        func.unnest(bindparam("ids", list(ids), type_=ARRAY(UUID(as_uuid=True)))).label("id"),
        func.generate_series(1, len(ids)).label("place"),
    ).cte("wanted")
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
            .select_from(wanted.outerjoin(table.rows, id_ == wanted.c.id))
            .order_by(wanted.c.place)
        )
    ).all()
    there, titles, categories, beginnings, metadata = zip(*rows, strict=True) if rows else [()] * 5
    return DocumentFacts(
        there=np.array(there, dtype=bool),
        titles=titles,
        categories=categories,
        snippets=tuple(" ".join(beginning.split()) for beginning in beginnings),
        metadata=_columns(metadata),
    )


def _whole_if_short(content: ColumnElement[Any]) -> ColumnElement[Any]:
    """Of an emoji or a word, “vectors.npy#657” says less than the text itself."""
    return case((func.length(content) <= _SHORT_CHARACTERS, content))


def _columns(metadata: Sequence[Mapping[str, Any] | None]) -> dict[str, MetadataColumn]:
    """Fields with one value: lists and objects have no colour."""
    counts: Counter[str] = Counter()
    for each in metadata:
        if isinstance(each, Mapping):
            counts.update(k for k, v in each.items() if isinstance(v, str | int | float | bool))
    found = {}
    for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MOST_COLUMNS]:
        values = [each.get(name) if isinstance(each, Mapping) else None for each in metadata]
        found[name] = _column(name, values)
    return found


def _column(name: str, values: list[Any]) -> MetadataColumn:
    values = [v if isinstance(v, str | int | float | bool) else None for v in values]
    numbers = None
    if not any(isinstance(value, str) for value in values):
        numbers = np.array([math.nan if v is None else float(v) for v in values])
    return MetadataColumn(name, numbers, tuple(None if v is None else str(v) for v in values))
