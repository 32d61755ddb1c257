"""Projections are built here, as jobs; the computing is the worker's."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from lib.errors import InvalidInput
from lib.progress import OnProgress, Step
from lib.projection.graph import graph_candidate, indexed_neighbours
from lib.projection.neighbours import Graph
from lib.projection.process import check_memory, run_task
from lib.projection.protocol import PhaseShare
from lib.projection.reading import (
    count_embedded,
    gone,
    hold,
    id_array,
    is_gone,
    read_vectors,
    task_header,
)
from lib.projection.repository import Points, ProjectionSummary, find_projection, list_projections
from lib.projection.sampling import stratified
from lib.projection.settings import (
    EXACT_ROWS,
    FEWEST,
    KEPT_NEIGHBOURS,
    ClusterSettings,
    Method,
    ProjectionSettings,
)
from lib.projection.terms import name_clusters
from lib.store.collections import NAME_LENGTH, Collection
from lib.store.database import Database
from lib.store.jobs import Job, JobContext, JobKind, Jobs
from lib.store.records import ProjectionRecord

_MESSAGES = {
    "reading": "Reading the vectors",
    "neighbours": "Finding each document's nearest neighbours",
    "layout": "Laying out",
    "fidelity": "Measuring how faithful the map is",
    "clusters": "Looking for clusters",
    "naming": "Naming the clusters",
}


async def start_projection(
    jobs: Jobs,
    database: Database,
    collection: Collection,
    settings: ProjectionSettings | None = None,
    *,
    name: str | None = None,
) -> Job:
    """Lays the collection out, as a job; its result is ``{"projection_id", "name", …}``.

    name: by default what the settings say; a number follows where it is taken. A build that is
    cancelled, fails or is killed leaves nothing.
    Raises InvalidInput where there is too little to lay out, or too much without an index, and
    Busy while another build of the same method runs on the collection.
    """
    settings = settings or ProjectionSettings()
    name = settings.label if name is None else _checked_name(name)
    if collection.is_next:
        raise InvalidInput(
            f"“{collection.name}” is being embedded again; a map is of its own vectors.",
            hint="Switch to the new vectors first, or map the old ones.",
        )
    async with database.session() as db:
        documents = await count_embedded(db, collection)
        _check_count(collection, documents)
        rows = min(documents, settings.limit)
        check_memory(rows, collection.dimensions)
        if settings.method is Method.UMAP and rows > EXACT_ROWS:
            _check_whole(rows, documents)
            await graph_candidate(db, collection, rows)

    async def work(context: JobContext) -> dict[str, Any]:
        try:
            return await _build(database, collection, settings, name, context)
        except Exception as exc:
            if await is_gone(database, collection):  # whatever that made of it
                raise gone(collection) from exc
            raise

    return await jobs.start(
        JobKind.PROJECTION,
        f"Mapping {collection.name} by {settings.method.label}",
        work,
        collection_id=collection.id,
        exclusive_key=f"projection:{collection.id}:{settings.method.value}",
        parameters=settings.to_json(),
    )


def _check_count(collection: Collection, documents: int) -> None:
    if documents == 0:
        raise InvalidInput(
            f"No document of “{collection.name}” has an embedding, so there is nothing to lay out.",
            hint="Load documents, or embed those that are there.",
        )
    if documents < FEWEST:
        raise InvalidInput(
            f"“{collection.name}” has {documents} documents with an embedding; a map needs at "
            f"least {FEWEST}."
        )


def _check_whole(rows: int, documents: int) -> None:
    if rows < documents:
        raise InvalidInput(
            f"A sample of {rows:,} points is more than the {EXACT_ROWS:,} that are compared with "
            "each other, and an index knows the neighbours among all documents only.",
            hint=f"Lay out at most {EXACT_ROWS:,} points, or all {documents:,}.",
            field="limit",
        )


def _checked_name(name: str) -> str:
    name = " ".join(name.split())
    if not name or len(name) > NAME_LENGTH or not name.isprintable():
        raise InvalidInput(
            f"A map's name has 1 to {NAME_LENGTH} characters that can be shown.", field="name"
        )
    return name


@dataclass(frozen=True)
class _Chosen:
    """What is laid out. ids: sorted, so that the same documents come in the same order."""

    ids: npt.NDArray[np.object_]
    documents: int
    change_mark: int


async def _build(
    database: Database,
    collection: Collection,
    settings: ProjectionSettings,
    name: str,
    context: JobContext,
) -> dict[str, Any]:
    started = time.monotonic()
    clusters = ClusterSettings(seed=settings.seed)
    async with database.session() as db:
        # The mark is read first: what is written after it makes the map a stale one.
        chosen = await _choose(db, collection, settings)
        on_progress = _reporter(context, len(chosen.ids), collection.dimensions, settings)
        known: dict[str, npt.NDArray[Any]] = {}
        if settings.method is Method.UMAP and len(chosen.ids) > EXACT_ROWS:
            k = max(KEPT_NEIGHBOURS, settings.n_neighbors - 1)
            found = await indexed_neighbours(db, collection, chosen.ids, k, on_progress)
            known = {"indices": found.indices, "distances": found.distances}
    header = task_header("layout", collection, len(chosen.ids)) | {
        "settings": settings.to_json(),
        "clusters": clusters.to_json(),
    }
    blocks = read_vectors(database, collection, chosen.ids, on_progress)
    answer, arrays = await run_task(header, known, blocks, on_progress)
    usable = arrays["usable"]
    points = Points(
        ids=chosen.ids[usable],
        coordinates=arrays["coordinates"],
        placed=np.zeros(int(usable.sum()), dtype=bool),
        local_fidelity=arrays["local"],
        neighbours=Graph(arrays["indices"], arrays["distances"]) if "indices" in arrays else None,
        labels=arrays["labels"],
    )
    await on_progress(PhaseShare("naming", 0.0))
    summary = await _store(
        database, collection, settings, name, chosen, points, clusters, answer, started
    )
    await context.report(Step(1.0, f"Mapped {len(points.ids):,} documents"), force=True)
    return {
        "projection_id": str(summary.id),
        "name": summary.name,
        "points": summary.points,
        "left_out": summary.left_out,
        "seconds": summary.build_seconds,
        "fidelity": answer["fidelity"],
    }


async def _choose(
    db: AsyncSession, collection: Collection, settings: ProjectionSettings
) -> _Chosen:
    mark = await hold(db, collection)
    table = collection.table
    columns = [table.column(table.id)]
    if table.category is not None:
        columns.append(table.column(table.category))
    rows = (
        await db.execute(
            select(*columns)
            .where(table.column(table.embedding).is_not(None))
            .order_by(table.column(table.id))
        )
    ).all()
    _check_count(collection, len(rows))  # they may have gone since the job was started
    categories = [None if table.category is None else row[1] for row in rows]
    places = stratified(categories, settings.limit, settings.seed)
    return _Chosen(id_array([rows[place][0] for place in places]), len(rows), mark)


async def _store(
    database: Database,
    collection: Collection,
    settings: ProjectionSettings,
    name: str,
    chosen: _Chosen,
    points: Points,
    clusters: ClusterSettings,
    answer: Mapping[str, Any],
    started: float,
) -> ProjectionSummary:
    """One row, all at once: before this there is nothing, after it all."""
    async with database.session() as db:
        await hold(db, collection)
        names, words = await name_clusters(db, collection, points.ids, points.labels)
        taken = {summary.name.casefold() for summary in await list_projections(db, collection)}
        record_id = uuid.uuid4()
        await db.execute(
            insert(ProjectionRecord).values(
                id=record_id,
                collection_id=collection.id,
                name=_free_name(name, taken),
                parameters=settings.to_json(),
                distance=collection.distance.value,
                documents=chosen.documents,
                left_out=len(chosen.ids) - len(points.ids),
                change_mark=chosen.change_mark,
                fidelity=answer["fidelity"],
                versions=answer["versions"],
                build_seconds=time.monotonic() - started,
                clusters={"settings": clusters.to_json(), "names": names, "words": words},
                **points.to_columns(),
            )
        )
        return await find_projection(db, collection, record_id)


def _free_name(name: str, taken: set[str]) -> str:
    free, number = name, 1
    while free.casefold() in taken:
        number += 1
        free = f"{name} ({number})"
    return free


# --- how far it is, and how long it will take ----------------------------------------------------


def estimated_seconds(rows: int, dimensions: int, settings: ProjectionSettings) -> float:
    """How long a build takes, roughly, on a machine with two cores. rows: with an embedding."""
    return sum(_phase_seconds(min(rows, settings.limit), dimensions, settings).values())


def _phase_seconds(rows: int, dimensions: int, settings: ProjectionSettings) -> dict[str, float]:
    """In the order of the phases. Measured with 10,000 and 50,000 rows of 256 dimensions on two
    cores, and scaled by what the work of each phase grows with; they are what the progress is
    divided by."""
    pairs = rows * rows
    is_umap = settings.method is Method.UMAP
    neighbours = pairs * (2e-9 + 1.5e-11 * dimensions)
    if not is_umap and rows > 20_000:
        neighbours = 0.0
    from_index = is_umap and rows > EXACT_ROWS
    if from_index:
        neighbours = rows * 3e-3
    epochs = settings.epochs_for(rows) * rows * settings.n_neighbors
    measured = min(rows, 1_000) * rows
    seconds = {
        "reading": 1.5 + rows * dimensions * 1.5e-8,
        "neighbours": neighbours,
        "layout": (3.0 + epochs * 1.2e-7) if is_umap else 0.5 + rows * dimensions * 1e-8,
        "fidelity": 0.2 + measured * (6e-8 + 1e-10 * dimensions),
        "clusters": 0.5 + min(rows, 50_000) ** 2 * 3e-9,
        "naming": 1.0,
    }
    # An index is asked before the vectors are read.
    return {"neighbours": neighbours, **seconds} if from_index else seconds


def _reporter(
    context: JobContext, rows: int, dimensions: int, settings: ProjectionSettings
) -> OnProgress[PhaseShare]:
    seconds = _phase_seconds(rows, dimensions, settings)
    total = sum(seconds.values())
    before, passed = {}, 0.0
    for phase, each in seconds.items():
        before[phase] = passed
        passed += each
    epochs = settings.epochs_for(rows)

    async def on_progress(progress: PhaseShare) -> None:
        phase, share = progress.phase, progress.share
        done = (before[phase] + seconds[phase] * share) / total
        message = _MESSAGES[phase]
        if phase == "layout" and settings.method is Method.UMAP and share:
            message += f" (epoch {round(share * epochs):,} of {epochs:,})"
        await context.report(Step(done, message))

    return on_progress
