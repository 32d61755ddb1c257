"""Which documents of a collection have no embedding, or only that of their beginning, and why."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from lib.embedding.service import EmbeddingService, embedding_text
from lib.store.collections import Collection

NOT_TRIED = "Not tried yet."
CUT = "Longer than the model takes: only the beginning was embedded."

_MAX_REASONS = 50
_EXAMPLES = 3
_MAX_CHECKED = 1000


@dataclass(frozen=True)
class Missing:
    """Documents that have no embedding, or only that of their beginning, for one reason."""

    reason: str
    count: int

    examples: tuple[str, ...]
    """External ids of some."""

    at_least: bool = False
    """Whether there may be more of them."""

    is_embedded: bool = False
    """Whether they do have a vector, but not of all their text."""


async def missing_report(
    db: AsyncSession, collection: Collection, service: EmbeddingService | None = None
) -> list[Missing]:
    """The reasons, the most frequent first; at most 50 of them.

    service: the collection's, to find the texts that it cut too. Of more than 1,000 that may be
    too long, 1,000 are looked at.
    """
    rows = collection.documents.c
    count = func.count().label("count")
    found = await db.execute(
        select(
            rows.embedding_error,
            count,
            func.min(rows.external_id),
            func.max(rows.external_id),
        )
        .where(rows.embedding.is_(None))
        .group_by(rows.embedding_error)
        .order_by(count.desc())
        .limit(_MAX_REASONS)
    )
    report = [
        Missing(error or NOT_TRIED, total, tuple(dict.fromkeys((first, last))))
        for error, total, first, last in found
    ]
    if service is not None:
        report += await _cut(db, collection, service)
    return report


async def _cut(
    db: AsyncSession, collection: Collection, service: EmbeddingService
) -> Sequence[Missing]:
    most = service.model.max_tokens
    if most is None:
        return []
    rows = collection.documents.c
    size = func.octet_length(rows.content) + func.coalesce(func.octet_length(rows.title), 0)
    candidates = await db.stream(
        select(rows.external_id, rows.title, rows.content)
        .where(rows.embedding.is_not(None), size >= most)  # a token has at least a byte
        .limit(_MAX_CHECKED)
    )
    checked, cut = 0, []
    async for some in candidates.partitions(50):
        texts = [embedding_text(row.title, row.content) for row in some]
        is_cut = await asyncio.to_thread(list, map(service.is_cut, texts))
        cut += [row.external_id for row, long in zip(some, is_cut, strict=True) if long]
        checked += len(some)
    if not cut:
        return []
    examples = tuple(dict.fromkeys(cut))[:_EXAMPLES]
    return [Missing(CUT, len(cut), examples, checked == _MAX_CHECKED, is_embedded=True)]
