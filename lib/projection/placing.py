"""Placing queries and new documents on an existing map, by their nearest neighbours on it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import select, update

from lib.actors import LOCAL, Actor, writes
from lib.errors import InvalidInput, NotFound
from lib.progress import Step
from lib.projection.neighbours import IntArray, NeighbourGraph
from lib.projection.process import run_task
from lib.projection.protocol import PhaseShare
from lib.projection.repository import (
    Points,
    Projection,
    ProjectionSummary,
    get_projection,
    point_columns,
)
from lib.projection.settings import KEPT_NEIGHBOURS, PLACED
from lib.projection.vectors import id_array, lock_collection, read_vectors, task_header
from lib.projection.weights import neighbour_weights
from lib.store.collections import Collection
from lib.store.database import Database
from lib.store.jobs import Job, JobContext, JobKind, Jobs
from lib.store.records import ProjectionRecord
from lib.vectors.distance import FloatArray

_READING_END, _PLACING_END = 0.4, 0.95  # shares of the whole at which these phases end


@dataclass(frozen=True, eq=False)
class QueryPlacement:
    """Where a query lies on a map."""

    position: FloatArray
    """(2 or 3,) coordinates."""
    points: npt.NDArray[np.int64]
    """Indices of the points it was placed by, nearest first."""
    weights: FloatArray
    """Of these points, adding up to 1."""
    spread: float
    """Mean distance of these points from the position, in widths of the map: near 0 they are all in
    one spot, above about 0.1 the position lies between them and says little."""


def place_query(projection: Projection, hits: Sequence[tuple[uuid.UUID, float]]) -> QueryPlacement:
    """The weighted mean of the coordinates of a query's nearest neighbours.

    hits: (document id, distance by the collection's distance), in any order; only the nearest
    KEPT_NEIGHBOURS of those that are on the map count.
    Raises InvalidInput where none of them is.
    """
    index_of = projection.index_of
    on_map = [(distance, index_of[id_]) for id_, distance in hits if id_ in index_of]
    nearest = sorted(on_map)[:KEPT_NEIGHBOURS]
    if not nearest:
        raise InvalidInput(
            "None of the hits is on this map, so the query has no place on it.",
            hint="Place the documents that are missing, or build the map anew.",
        )
    distances = np.array([[distance for distance, _ in nearest]], dtype=np.float64)
    points = np.array([index for _, index in nearest], dtype=np.int64)
    coordinates = projection.coordinates[points]
    weights = neighbour_weights(distances)[0]
    position = (weights[:, None] * coordinates).sum(axis=0)
    width = float(np.ptp(projection.coordinates, axis=0).max()) or 1.0
    spread = float(np.linalg.norm(coordinates - position, axis=1).mean()) / width
    return QueryPlacement(
        position.astype(np.float32), points, weights.astype(np.float32), round(spread, 6)
    )


# --- documents -----------------------------------------------------------------------------------


@writes("projections.place")
async def place_documents(
    jobs: Jobs,
    database: Database,
    collection: Collection,
    projection: ProjectionSummary,
    *,
    limit: int | None = None,
    actor: Actor = LOCAL,
) -> Job:
    """Places the documents that are not on the map yet, as a job: each at the weighted mean of its
    nearest neighbours among those that were laid out, with the cluster label that has the most
    weight among them, and marked as placed. The job's result is ``{"projection_id", "placed",
    "left_out", "remaining"}``.

    limit: at most so many, those with the smallest ids; the rest remain. Points that are on the map
    stay where they are, also those whose documents were deleted.
    Raises InvalidInput where there is none to place, Busy while another such job runs on the map.
    """
    limit = PLACED.default if limit is None else PLACED.check(limit, "limit")
    _, missing = await _missing(database, collection, projection)
    if not missing:
        raise InvalidInput(
            f"Every document of “{collection.name}” that has an embedding is on the map "
            f"“{projection.name}” already."
        )

    async def work(context: JobContext) -> dict[str, Any]:
        return await _place(database, collection, projection, limit, context)

    return await jobs.start(
        JobKind.PROJECTION,
        f"Placing documents of {collection.name} on the map {projection.name}",
        work,
        collection_id=collection.id,
        exclusive_key=f"placing:{projection.id}",
        parameters={"projection": projection.name, "limit": limit},
        actor=actor,
    )


async def _missing(
    database: Database, collection: Collection, projection: ProjectionSummary
) -> tuple[Projection, list[uuid.UUID]]:
    """The map, and the documents with an embedding that are not on it, by id."""
    table = collection.table
    id_ = table.column(table.id)
    async with database.session() as db:
        loaded = await get_projection(db, collection, projection.id)
        embedded = await db.scalars(
            select(id_).where(table.column(table.embedding).is_not(None)).order_by(id_)
        )
        return loaded, [document for document in embedded if document not in loaded.index_of]


async def _place(
    database: Database,
    collection: Collection,
    projection: ProjectionSummary,
    limit: int,
    context: JobContext,
) -> dict[str, Any]:
    async with database.session() as db:
        revision = await lock_collection(db, collection)
    current, missing = await _missing(database, collection, projection)
    new_ids = id_array(missing[:limit])
    new, labels = await _placed_points(database, collection, current, new_ids, context)
    values = point_columns(
        _appended_points(current, new), np.concatenate([current.clusters.labels, labels])
    )
    remaining = len(missing) - len(new_ids)
    if not remaining:
        values["revision"] = revision  # nothing that was written before it is missing any more
    async with database.session() as db:
        await lock_collection(db, collection)
        updated = await db.execute(
            update(ProjectionRecord)
            .where(ProjectionRecord.id == current.id, ProjectionRecord.points == current.points)
            .values(**values)
            .returning(ProjectionRecord.id)
        )
        if updated.first() is None:
            raise NotFound(
                f"The map “{current.name}” was deleted while documents were placed on it."
            )
    placed = len(new.ids)
    await context.report(Step(1.0, f"Placed {placed:,} documents"), force=True)
    return {
        "projection_id": str(current.id),
        "placed": placed,
        "left_out": len(new_ids) - placed,
        "remaining": remaining,
    }


async def _placed_points(
    database: Database,
    collection: Collection,
    projection: Projection,
    new_ids: npt.NDArray[np.object_],
    context: JobContext,
) -> tuple[Points, IntArray]:
    """The points of new documents and their cluster labels, as the worker places them; documents
    without a distance are left out."""

    async def on_progress(progress: PhaseShare) -> None:
        if progress.phase == "reading":
            step = Step(_READING_END * progress.share, "Reading the vectors")
        else:
            done = _READING_END + (_PLACING_END - _READING_END) * progress.share
            step = Step(done, "Placing the documents")
        await context.report(step)

    # By documents that were laid out alone: the position of a placed one is an estimate already.
    laid_out = np.flatnonzero(~projection.placed)
    header = task_header("place", collection, len(laid_out) + len(new_ids))
    header["map_rows"] = len(laid_out)
    _, answer = await run_task(
        header,
        {
            "coordinates": projection.coordinates[laid_out],
            "labels": projection.clusters.labels[laid_out],
        },
        read_vectors(
            database, collection, np.concatenate([projection.ids[laid_out], new_ids]), on_progress
        ),
        on_progress,
    )
    ids = new_ids[answer["usable"]]
    points = Points(
        ids=ids,
        coordinates=answer["coordinates"],
        placed=np.ones(len(ids), dtype=bool),
        local_fidelity=answer["local"],
        neighbours=NeighbourGraph(
            laid_out[answer["indices"]].astype(np.int32), answer["distances"]
        ),
    )
    return points, answer["labels"]


def _appended_points(points: Points, new: Points) -> Points:
    graph = None
    if points.neighbours is not None and new.neighbours is not None:
        graph = _appended_graph(points.neighbours, new.neighbours)
    return Points(
        ids=np.concatenate([points.ids, new.ids]),
        coordinates=np.concatenate([points.coordinates, new.coordinates]),
        placed=np.concatenate([points.placed, new.placed]),
        local_fidelity=np.concatenate([points.local_fidelity, new.local_fidelity]),
        neighbours=graph,
    )


def _appended_graph(graph: NeighbourGraph, new: NeighbourGraph) -> NeighbourGraph:
    """Both graphs' rows, with as many neighbours as the first has; where the other has fewer, its
    last one is repeated."""
    columns = np.minimum(np.arange(graph.k), new.k - 1)
    return NeighbourGraph(
        np.concatenate([graph.indices, new.indices[:, columns]]),
        np.concatenate([graph.distances, new.distances[:, columns]]),
    )
