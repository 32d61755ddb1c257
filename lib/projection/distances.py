"""True distances, to be set beside those that are drawn."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Double, bindparam, func, select, true
from sqlalchemy.dialects.postgresql import ARRAY, UUID
from sqlalchemy.ext.asyncio import AsyncSession

from lib.errors import NotFound
from lib.projection.repository import Projection
from lib.store.collections import Collection
from lib.vectors.distance import FloatArray, check_embedding
from lib.vectors.statements import distance_to

_IDS = ARRAY(UUID(as_uuid=True))


async def distances_to(
    db: AsyncSession, collection: Collection, projection: Projection, query_embedding: FloatArray
) -> FloatArray:
    """The distance of each point's document to a query (d,): float32 (n,), by the collection's
    distance, NaN where there is none or the document is gone. Exact, one statement.

    Raises InvalidVector and DimensionMismatch.
    """
    table = collection.table
    query_embedding = check_embedding(
        query_embedding,
        dimensions=collection.dimensions,
        distance=collection.distance,
        storage=collection.storage,
    )
    id_ = table.column(table.id)
    rows = await db.execute(
        select(id_, distance_to(table, query_embedding)).where(
            id_ == func.any(bindparam("ids", projection.ids.tolist(), type_=_IDS)),
            table.column(table.embedding).is_not(None),
        )
    )
    found = np.full(len(projection.ids), np.nan, dtype=np.float32)
    at = projection.place_of
    for each, distance in rows:
        found[at[each]] = distance
    return found


async def distance_between(
    db: AsyncSession, collection: Collection, first: uuid.UUID, second: uuid.UUID
) -> float:
    """By the collection's distance; NaN where an embedding is zero under cosine.

    Raises NotFound where a document or its embedding is gone.
    """
    table = collection.table
    one, other = table.table.alias("one"), table.table.alias("other")
    column = table.embedding
    distance: ColumnElement[Any] = one.c[column].op(table.distance.operator, return_type=Double())(
        other.c[column]
    )
    found = await db.scalar(
        select(distance)
        .select_from(one.join(other, true()))
        .where(one.c[table.id] == first, other.c[table.id] == second)
    )
    if found is None:
        raise NotFound("A document of the two, or its embedding, is gone.", hint="Build a new map.")
    return float(found)
