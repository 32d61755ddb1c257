"""Approximate neighbours from an HNSW candidate, for collections that are too large to compare all
rows with each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import ColumnElement, Double, bindparam, func, select, true
from sqlalchemy.dialects.postgresql import ARRAY, UUID
from sqlalchemy.ext.asyncio import AsyncSession

from lib.errors import InvalidInput
from lib.progress import OnProgress
from lib.projection.neighbours import NeighbourGraph
from lib.projection.protocol import PhaseShare
from lib.projection.settings import EXACT_ROWS
from lib.store.candidates import Candidate, list_candidates
from lib.store.collections import Collection
from lib.vectors.distance import ElementType
from lib.vectors.index_methods import HNSW
from lib.vectors.tuning import Scan, SearchSettings, apply_settings

_BATCH = 500


async def graph_candidate(db: AsyncSession, collection: Collection, rows: int) -> Candidate:
    """The HNSW candidate whose graph has just these rows.

    Raises InvalidInput, with the way out, where there is none.
    """
    for candidate in await list_candidates(db, collection):
        fresh = candidate.ready and not candidate.stale and candidate.rows == rows
        in_full = candidate.storage == ElementType.of(collection.storage)
        if fresh and in_full and candidate.method == HNSW:
            return candidate
    raise InvalidInput(
        f"{rows:,} points are more than the {EXACT_ROWS:,} that are compared with each other, and "
        f"“{collection.name}” has no HNSW candidate of all its documents to ask instead.",
        hint=f"Build an HNSW candidate first, or lay out at most {EXACT_ROWS:,} points.",
        field="limit",
    )


async def indexed_neighbours(
    db: AsyncSession,
    collection: Collection,
    ids: npt.NDArray[np.object_],
    k: int,
    on_progress: OnProgress[PhaseShare],
) -> NeighbourGraph:
    """The k nearest neighbours of each document, as indices into ``ids``, as the candidate's HNSW
    index returns them: not all of them are the true ones.

    Where there are fewer than k, the last one is repeated; where there is none, the document
    itself.
    """
    candidate = await graph_candidate(db, collection, len(ids))
    table = candidate.table
    index_of = {id_: index for index, id_ in enumerate(ids.tolist())}
    breadth = min(HNSW.search_parameter.range.high, max(4 * k, 100))
    settings = SearchSettings(scan=Scan.INDEX).with_value(HNSW, breadth)
    await apply_settings(db, settings.server_settings())
    query = table.table.alias("q")
    row = table.table.alias("n")
    distance: ColumnElement[Any] = row.c[table.embedding].op(
        table.distance.operator, return_type=Double()
    )(query.c[table.embedding])
    nearest = (
        select(row.c[table.id].label("id"), distance.label("distance"))
        .order_by(distance)
        .limit(k + 1)
        .lateral("nearest")
    )
    statement = (
        select(query.c[table.id], nearest.c.id, nearest.c.distance)
        .select_from(query.join(nearest, true()))
        .where(query.c[table.id] == func.any(bindparam("ids", type_=ARRAY(UUID(as_uuid=True)))))
    )
    indices = np.full((len(ids), k), -1, dtype=np.int32)
    distances = np.zeros((len(ids), k), dtype=np.float32)
    for first in range(0, len(ids), _BATCH):
        await on_progress(PhaseShare("neighbours", first / len(ids)))
        batch = ids[first : first + _BATCH].tolist()
        neighbours: dict[Any, list[tuple[float, int]]] = {}
        for query_id, id_, value in await db.execute(statement, {"ids": batch}):
            if query_id != id_ and id_ in index_of:
                neighbours.setdefault(query_id, []).append((value, index_of[id_]))
        for index, id_ in enumerate(batch, start=first):
            nearest_first = sorted(neighbours.get(id_, []))[:k] or [(0.0, index)]
            nearest_first += nearest_first[-1:] * (k - len(nearest_first))
            indices[index] = [neighbour for _, neighbour in nearest_first]
            distances[index] = [value for value, _ in nearest_first]
    return NeighbourGraph(indices, distances)
