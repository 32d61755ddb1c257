"""Building projections, as jobs; the worker computes them."""

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

from lib.actors import LOCAL, Actor, writes
from lib.errors import InvalidInput
from lib.progress import OnProgress, Step
from lib.projection.graph import graph_candidate, indexed_neighbours
from lib.projection.neighbours import IntArray, NeighbourGraph
from lib.projection.process import check_memory, run_task
from lib.projection.protocol import PhaseShare
from lib.projection.repository import (
    Points,
    ProjectionSummary,
    find_projection,
    list_projections,
    point_columns,
)
from lib.projection.sampling import stratified
from lib.projection.settings import (
    EXACT_ROWS,
    KEPT_NEIGHBOURS,
    MIN_POINTS,
    ClusterSettings,
    Method,
    ProjectionSettings,
)
from lib.projection.terms import name_clusters
from lib.projection.vectors import (
    collection_gone,
    count_embedded,
    id_array,
    is_collection_gone,
    lock_collection,
    read_vectors,
    task_header,
)
from lib.store.collections import NAME_LENGTH, Collection
from lib.store.database import Database
from lib.store.jobs import Job, JobContext, JobKind, Jobs
from lib.store.names import free_name
from lib.store.records import ProjectionRecord

_MESSAGES = {
    "reading": "Reading the vectors",
    "neighbours": "Finding each document's nearest neighbours",
    "layout": "Laying out",
    "fidelity": "Measuring the quality of the map",
    "clusters": "Computing clusters",
    "naming": "Naming the clusters",
}


@writes("projections.build")
async def start_projection(
    jobs: Jobs,
    database: Database,
    collection: Collection,
    settings: ProjectionSettings | None = None,
    *,
    name: str | None = None,
    actor: Actor = LOCAL,
) -> Job:
    """Builds a projection of the collection, as a job; its result is ``{"projection_id", "name",
    …}``.

    name: by default the label of the settings; a number follows where it is taken. A build that is
    cancelled, fails or is killed leaves nothing.
    Raises InvalidInput where there is too little to lay out, or too much without an index, and
    Busy while another build of the same method runs on the collection.
    """
    settings = settings or ProjectionSettings()
    name = settings.label if name is None else _checked_name(name)
    if collection.is_shadow:
        raise InvalidInput(
            f"“{collection.name}” is being re-embedded; a map shows its own vectors.",
            hint="Switch to the new vectors first, or map the old ones.",
        )
    async with database.session() as db:
        documents = await count_embedded(db, collection)
        _check_count(collection, documents)
        rows = min(documents, settings.limit)
        check_memory(rows, collection.dimensions)
        if settings.method is Method.UMAP and rows > EXACT_ROWS:
            _check_not_sampled(rows, documents)
            await graph_candidate(db, collection, rows)

    async def work(context: JobContext) -> dict[str, Any]:
        try:
            return await _build(database, collection, settings, name, context)
        except Exception as exc:
            if await is_collection_gone(database, collection):  # whatever error that led to
                raise collection_gone(collection) from exc
            raise

    return await jobs.start(
        JobKind.PROJECTION,
        f"Mapping {collection.name} by {settings.method.label}",
        work,
        collection_id=collection.id,
        exclusive_key=f"projection:{collection.id}:{settings.method.value}",
        parameters=settings.to_json(),
        actor=actor,
    )


def _check_count(collection: Collection, documents: int) -> None:
    if documents == 0:
        raise InvalidInput(
            f"No document of “{collection.name}” has an embedding, so there is nothing to lay out.",
            hint="Load documents, or embed those that are there.",
        )
    if documents < MIN_POINTS:
        raise InvalidInput(
            f"“{collection.name}” has {documents} documents with an embedding; a map needs at "
            f"least {MIN_POINTS}."
        )


def _check_not_sampled(rows: int, documents: int) -> None:
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


@dataclass(frozen=True, eq=False)
class _Selection:
    """The documents that are laid out."""

    ids: npt.NDArray[np.object_]
    """Sorted, so that the same documents come in the same order."""
    documents: int
    """How many there were to select from."""
    revision: int
    """The collection's, read before the documents: what is written later makes the map stale."""


@dataclass(frozen=True, eq=False)
class _Layout:
    """What the worker computed of a selection."""

    points: Points
    labels: IntArray
    fidelity: Mapping[str, Any]
    versions: Mapping[str, str]


async def _build(
    database: Database,
    collection: Collection,
    settings: ProjectionSettings,
    name: str,
    context: JobContext,
) -> dict[str, Any]:
    started = time.monotonic()
    arrays: dict[str, npt.NDArray[Any]] = {}
    async with database.session() as db:
        selection = await _select_documents(db, collection, settings)
        on_progress = _reporter(context, len(selection.ids), collection.dimensions, settings)
        if settings.method is Method.UMAP and len(selection.ids) > EXACT_ROWS:
            k = max(KEPT_NEIGHBOURS, settings.n_neighbors - 1)
            graph = await indexed_neighbours(db, collection, selection.ids, k, on_progress)
            arrays = {"indices": graph.indices, "distances": graph.distances}
    clusters = ClusterSettings(seed=settings.seed)
    header = task_header("layout", collection, len(selection.ids)) | {
        "settings": settings.to_json(),
        "clusters": clusters.to_json(),
    }
    blocks = read_vectors(database, collection, selection.ids, on_progress)
    layout = _parse_layout(selection, *await run_task(header, arrays, blocks, on_progress))
    await on_progress(PhaseShare("naming", 0.0))
    async with database.session() as db:
        await lock_collection(db, collection)
        names, terms = await name_clusters(db, collection, layout.points.ids, layout.labels)
        row = {
            "collection_id": collection.id,
            "name": await _free_name(db, collection, name),
            "parameters": settings.to_json(),
            "distance": collection.distance.value,
            "documents": selection.documents,
            "left_out": len(selection.ids) - len(layout.points.ids),
            "revision": selection.revision,
            "fidelity": layout.fidelity,
            "versions": layout.versions,
            "build_seconds": time.monotonic() - started,
            "clusters": {"settings": clusters.to_json(), "names": names, "words": terms},
            **point_columns(layout.points, layout.labels),
        }
        summary = await _insert(db, collection, row)
    await context.report(Step(1.0, f"Mapped {summary.points:,} documents"), force=True)
    return {
        "projection_id": str(summary.id),
        "name": summary.name,
        "points": summary.points,
        "left_out": summary.left_out,
        "seconds": summary.build_seconds,
        "fidelity": layout.fidelity,
    }


async def _select_documents(
    db: AsyncSession, collection: Collection, settings: ProjectionSettings
) -> _Selection:
    revision = await lock_collection(db, collection)
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
    _check_count(collection, len(rows))  # some may have gone since the job was started
    categories = [None if table.category is None else row[1] for row in rows]
    sample = stratified(categories, settings.limit, settings.seed)
    return _Selection(id_array([rows[index][0] for index in sample]), len(rows), revision)


def _parse_layout(
    selection: _Selection, answer: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]
) -> _Layout:
    ids = selection.ids[arrays["usable"]]
    graph = None
    if "indices" in arrays:
        graph = NeighbourGraph(arrays["indices"], arrays["distances"])
    points = Points(
        ids=ids,
        coordinates=arrays["coordinates"],
        placed=np.zeros(len(ids), dtype=bool),
        local_fidelity=arrays["local"],
        neighbours=graph,
    )
    return _Layout(points, arrays["labels"], answer["fidelity"], answer["versions"])


async def _insert(
    db: AsyncSession, collection: Collection, row: Mapping[str, Any]
) -> ProjectionSummary:
    """Writes the projection's row, complete: before this there is nothing."""
    record_id = uuid.uuid4()
    await db.execute(insert(ProjectionRecord).values(id=record_id, **row))
    return await find_projection(db, collection, record_id)


async def _free_name(db: AsyncSession, collection: Collection, name: str) -> str:
    """The name, with a number after it where another map of the collection has it."""
    taken = {summary.name.casefold() for summary in await list_projections(db, collection)}
    return free_name(
        name, lambda candidate: candidate.casefold() in taken, lambda number: f"{name} ({number})"
    )


# --- progress and estimates ----------------------------------------------------------------------


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
    for phase, phase_seconds in seconds.items():
        before[phase] = passed
        passed += phase_seconds
    epochs = settings.epochs_for(rows)

    async def on_progress(progress: PhaseShare) -> None:
        phase, share = progress.phase, progress.share
        done = (before[phase] + seconds[phase] * share) / total
        message = _MESSAGES[phase]
        if phase == "layout" and settings.method is Method.UMAP and share:
            message += f" (epoch {round(share * epochs):,} of {epochs:,})"
        await context.report(Step(done, message))

    return on_progress
