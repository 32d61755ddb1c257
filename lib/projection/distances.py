"""True distances between documents, to compare with distances on the map."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
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
    """The distance from a query (d,) to the document of each point: float32 (n,), by the
    collection's distance, NaN where it has no embedding or was deleted. Exact, one statement.

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
    distances = np.full(len(projection.ids), np.nan, dtype=np.float32)
    index_of = projection.index_of
    for document_id, distance in rows:
        distances[index_of[document_id]] = distance
    return distances


async def distance_between(
    db: AsyncSession, collection: Collection, first: uuid.UUID, second: uuid.UUID
) -> float:
    """The collection's distance between two documents; NaN where one is zero under cosine.

    Raises NotFound where a document or its embedding is gone.
    """
    table = collection.table
    one, other = table.table.alias("one"), table.table.alias("other")
    column = table.embedding
    distance: ColumnElement[Any] = one.c[column].op(table.distance.operator, return_type=Double())(
        other.c[column]
    )
    value = await db.scalar(
        select(distance)
        .select_from(one.join(other, true()))
        .where(one.c[table.id] == first, other.c[table.id] == second)
    )
    if value is None:
        raise NotFound("A document of the two, or its embedding, is gone.", hint="Build a new map.")
    return float(value)


@dataclass(frozen=True)
class MapNeighbour:
    """One of a point's true nearest neighbours, and where the map has it."""

    index: int
    """In the projection."""
    distance: float
    """The true distance, by the collection's distance."""
    map_distance: float
    """In the map's own units."""
    map_rank: int
    """1 for the nearest on the map."""


def neighbours_on_map(projection: Projection, index: int) -> list[MapNeighbour]:
    """The true nearest neighbours of a point, nearest first.

    Raises InvalidInput where the map has no neighbours.
    """
    graph = projection.graph()
    away = np.linalg.norm(projection.coordinates - projection.coordinates[index], axis=1)
    away[index] = np.inf
    return [
        MapNeighbour(
            index=neighbour,
            distance=distance,
            map_distance=float(away[neighbour]),
            map_rank=1 + int(np.count_nonzero(away < away[neighbour])),
        )
        for neighbour, distance in zip(
            graph.indices[index].tolist(), graph.distances[index].tolist(), strict=True
        )
    ]
