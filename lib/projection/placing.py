"""A place on a map that exists, for what was not laid out with it: queries and documents."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import select, update

from lib.errors import InvalidInput, NotFound
from lib.progress import Step
from lib.projection.neighbours import Graph
from lib.projection.process import run_task
from lib.projection.protocol import PhaseShare
from lib.projection.reading import hold, id_array, read_vectors, task_header
from lib.projection.repository import Points, Projection, ProjectionSummary, get_projection
from lib.projection.settings import KEPT_NEIGHBOURS, PLACED
from lib.projection.weights import neighbour_weights
from lib.store.collections import Collection
from lib.store.database import Database
from lib.store.jobs import Job, JobContext, JobKind, Jobs
from lib.store.records import ProjectionRecord
from lib.vectors.distance import FloatArray

_READING, _PLACING = 0.4, 0.95  # shares of the whole at which these phases end


@dataclass(frozen=True)
class QueryPlace:
    """Where a query lies. position: (2 or 3,). points: places in the projection's arrays of the
    hits that it was placed by, nearest first; weights: theirs, adding up to 1. spread: their mean
    distance on the map from the position, in widths of the map: near 0 they are all in one spot,
    above about 0.1 the position lies between them and says little."""

    position: FloatArray
    points: npt.NDArray[np.int64]
    weights: FloatArray
    spread: float


def place_query(projection: Projection, hits: Sequence[tuple[uuid.UUID, float]]) -> QueryPlace:
    """By the weighted mean of its nearest neighbours' coordinates.

    hits: (document id, distance by the collection's distance), in any order; only the nearest
    KEPT_NEIGHBOURS of those that are on the map count.
    Raises InvalidInput where none of them is.
    """
    at = projection.place_of
    known = sorted((distance, at[id_]) for id_, distance in hits if id_ in at)[:KEPT_NEIGHBOURS]
    if not known:
        raise InvalidInput(
            "None of the hits is on this map, so the query has no place on it.",
            hint="Place the documents that are missing, or build the map anew.",
        )
    distances = np.array([[distance for distance, _ in known]], dtype=np.float64)
    points = np.array([place for _, place in known], dtype=np.int64)
    around = projection.coordinates[points]
    weights = neighbour_weights(distances)[0]
    position = (weights[:, None] * around).sum(axis=0)
    width = float(np.ptp(projection.coordinates, axis=0).max()) or 1.0
    spread = float(np.linalg.norm(around - position, axis=1).mean()) / width
    return QueryPlace(
        position.astype(np.float32), points, weights.astype(np.float32), round(spread, 6)
    )


# --- documents -----------------------------------------------------------------------------------


async def place_documents(
    jobs: Jobs,
    database: Database,
    collection: Collection,
    projection: ProjectionSummary,
    *,
    limit: int | None = None,
) -> Job:
    """Puts the documents that are not on the map onto it, each at the weighted mean of its nearest
    neighbours among those that were laid out and in the cluster that most of them are in, weighted
    alike, and marks them as placed. As a job; its result is ``{"projection_id", "placed",
    "left_out", "remaining"}``.

    limit: at most so many, those with the smallest ids; the rest remain. The points that are there
    stay where they are, also those whose documents are gone.
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
    )


async def _missing(
    database: Database, collection: Collection, projection: ProjectionSummary
) -> tuple[Projection, list[uuid.UUID]]:
    """The map, and the documents with an embedding that are not on it, by id."""
    table = collection.table
    id_ = table.column(table.id)
    async with database.session() as db:
        whole = await get_projection(db, collection, projection.id)
        ids = await db.scalars(
            select(id_).where(table.column(table.embedding).is_not(None)).order_by(id_)
        )
        return whole, [each for each in ids if each not in whole.place_of]


async def _place(
    database: Database,
    collection: Collection,
    projection: ProjectionSummary,
    limit: int,
    context: JobContext,
) -> dict[str, Any]:
    async with database.session() as db:
        mark = await hold(db, collection)
    whole, missing = await _missing(database, collection, projection)
    # Only what was laid out: a placed point's own place is a guess already.
    laid_out = np.flatnonzero(~whole.placed)
    new = id_array(missing[:limit])

    async def on_progress(progress: PhaseShare) -> None:
        phase, share = progress.phase, progress.share
        if phase == "reading":
            await context.report(Step(_READING * share, "Reading the vectors"))
        else:
            done = _READING + (_PLACING - _READING) * share
            await context.report(Step(done, "Placing the documents"))

    header = task_header("place", collection, len(laid_out) + len(new))
    header["map_rows"] = len(laid_out)
    asked = np.concatenate([whole.ids[laid_out], new])
    _, arrays = await run_task(
        header,
        {"coordinates": whole.coordinates[laid_out], "labels": whole.clusters.labels[laid_out]},
        read_vectors(database, collection, asked, on_progress),
        on_progress,
    )
    usable = arrays["usable"]
    added = int(usable.sum())
    graph = None
    if whole.neighbours is not None:
        near = Graph(laid_out[arrays["indices"]].astype(np.int32), arrays["distances"])
        graph = _appended(whole.neighbours, near)
    points = Points(
        ids=np.concatenate([whole.ids, new[usable]]),
        coordinates=np.concatenate([whole.coordinates, arrays["coordinates"]]),
        placed=np.concatenate([whole.placed, np.ones(added, dtype=bool)]),
        local_fidelity=np.concatenate([whole.local_fidelity, arrays["local"]]),
        neighbours=graph,
        labels=np.concatenate([whole.clusters.labels, arrays["labels"]]),
    )
    remaining = len(missing) - len(new)
    values: dict[str, Any] = points.to_columns()
    if not remaining:
        values["change_mark"] = mark  # nothing that was there then is missing any more
    async with database.session() as db:
        await hold(db, collection)
        written = await db.execute(
            update(ProjectionRecord)
            .where(ProjectionRecord.id == whole.id, ProjectionRecord.points == whole.points)
            .values(**values)
            .returning(ProjectionRecord.id)
        )
        if written.first() is None:
            raise NotFound(f"The map “{whole.name}” was deleted while documents were placed on it.")
    await context.report(Step(1.0, f"Placed {added:,} documents"), force=True)
    return {
        "projection_id": str(whole.id),
        "placed": added,
        "left_out": len(new) - added,
        "remaining": remaining,
    }


def _appended(graph: Graph, more: Graph) -> Graph:
    """As many neighbours as the first has; where the others have fewer, the last is repeated."""
    columns = np.minimum(np.arange(graph.k), more.k - 1)
    return Graph(
        np.concatenate([graph.indices, more.indices[:, columns]]),
        np.concatenate([graph.distances, more.distances[:, columns]]),
    )
