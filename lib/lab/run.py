"""Runs of experiments, as jobs: they check, build, measure and search for the target.

A run saves its results as they come. One that was cancelled, failed or killed goes on where it was:
it reuses the truth that is stored, candidates that are still there, and measurements.
"""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import select

from lib.actors import LOCAL, Actor, writes
from lib.errors import InvalidInput
from lib.lab.candidates import check_candidates, missing_candidates
from lib.lab.experiment import Experiment
from lib.lab.progress import RunProgress
from lib.lab.queries import QueryBatch, check_query_set
from lib.lab.repository import (
    delete_experiment,
    get_experiment,
    make_experiment,
    save_job,
    save_queries,
)
from lib.lab.run_context import RunContext
from lib.lab.runner import ExperimentRun
from lib.lab.spec import ExperimentSpec, QueryKind
from lib.lab.sweep import parameters_of
from lib.search.filters import conditions
from lib.settings import Settings
from lib.store.collections import Collection, summarise
from lib.store.database import Database
from lib.store.jobs import Job, JobContext, JobKind, Jobs
from lib.vectors.tuning import BuildSettings

# --- before anything is done --------------------------------------------------------------------


async def check_experiment(
    database: Database,
    collection: Collection,
    spec: ExperimentSpec,
    build_settings: BuildSettings | None = None,
) -> tuple[str, ...]:
    """Warnings about an experiment that can be run, in words, such as a disk that is nearly full.

    Raises InvalidInput (k above the rows, more than an HNSW index returns, a filter that leaves
    nothing or is on a column that is not there), NotFound (the query set), IndexRefused.
    """
    async with database.session() as db:
        rows = (await summarise(db, collection)).embedded
    neighbours = rows - (spec.queries.kind is QueryKind.SAMPLE)
    if spec.k > neighbours:
        own = ", of which each has one neighbour less" if rows > neighbours else ""
        way_out = (
            f"Take k = {neighbours:,} or less." if neighbours > 0 else "Embed documents first."
        )
        raise InvalidInput(
            f"k is {spec.k:,}, and “{collection.name}” has {rows:,} rows with an embedding{own}.",
            hint=way_out,
            field="k",
        )
    await _check_filters(database, collection, spec, rows)
    if spec.queries.kind is QueryKind.QUERY_SET:
        await check_query_set(database, collection, spec.queries.name)
    for candidate in spec.candidates:
        parameters_of(spec, candidate.index, rows=rows)
    missing = await missing_candidates(database, collection, spec)
    if not missing:
        return ()
    return await check_candidates(database, collection, missing, build_settings)


async def _check_filters(
    database: Database, collection: Collection, spec: ExperimentSpec, rows: int
) -> None:
    """Raises InvalidInput where no row with an embedding passes."""
    if not spec.filters:
        return
    table = collection.table
    embedded = table.column(table.embedding).is_not(None)
    passing = select(
        select(table.column(table.id)).where(embedded, *conditions(table, spec.filters)).exists()
    )
    async with database.session() as db:
        if not await db.scalar(passing):
            raise InvalidInput(
                f"The filter {' and '.join(map(str, spec.filters))} leaves none of the {rows:,} "
                f"rows of “{collection.name}”: there is nothing to find.",
                hint="Loosen the filter.",
                field="filter",
            )


@writes("experiments.start")
async def start_experiment(
    jobs: Jobs,
    database: Database,
    settings: Settings,
    collection: Collection,
    spec: ExperimentSpec,
    *,
    name: str | None = None,
    file_queries: QueryBatch | None = None,
    build_settings: BuildSettings | None = None,
    actor: Actor = LOCAL,
) -> Job:
    """Runs it as a job, whose parameters name the ``experiment_id``; its result, also while it
    runs, is ``{"experiment_id", "name", "phase", "phase_share", "phase_seconds_left", "lines",
    "building"}``.

    file_queries: the queries of a file (:func:`~lib.lab.queries.file_batch`). One experiment runs
    at a time: two would colour each other's latencies.
    Raises what :func:`check_experiment` raises, Busy, AlreadyExists where the name is taken.
    """
    await check_experiment(database, collection, spec, build_settings)
    if (file_queries is None) == (spec.queries.kind is QueryKind.FILE):
        raise InvalidInput("The queries of a file come with it.", field="query_file")
    async with database.session() as db:
        experiment_id, name = await make_experiment(db, collection, spec, name)
        if file_queries is not None:
            await save_queries(db, experiment_id, file_queries.head(spec.queries.count))
    try:
        return await _start(
            jobs, database, settings, collection, experiment_id, build_settings, actor
        )
    except BaseException:
        async with database.session() as db:
            await delete_experiment(
                db, await get_experiment(db, collection, experiment_id), actor=actor
            )
        raise


@writes("experiments.start")
async def resume_experiment(
    jobs: Jobs,
    database: Database,
    settings: Settings,
    collection: Collection,
    experiment: Experiment,
    build_settings: BuildSettings | None = None,
    *,
    actor: Actor = LOCAL,
) -> Job:
    """Goes on with one that was cancelled, failed or interrupted. Raises InvalidInput where there
    is nothing to go on with, and as :func:`start_experiment`."""
    if not experiment.state.can_resume:
        raise InvalidInput(
            f"“{experiment.name}” is {experiment.state.value}: there is nothing to go on with.",
            field="experiment",
        )
    await check_experiment(database, collection, experiment.spec, build_settings)
    return await _start(jobs, database, settings, collection, experiment.id, build_settings, actor)


async def _start(
    jobs: Jobs,
    database: Database,
    settings: Settings,
    collection: Collection,
    experiment_id: uuid.UUID,
    build_settings: BuildSettings | None,
    actor: Actor,
) -> Job:
    async with database.session() as db:
        experiment = await get_experiment(db, collection, experiment_id)

    async def work(context: JobContext) -> dict[str, Any]:
        run = RunContext(
            database,
            settings,
            collection,
            experiment,
            build_settings,
            job=context,
            progress=RunProgress(context, experiment),
        )
        return await ExperimentRun(run).execute()

    job = await jobs.start(
        JobKind.EXPERIMENT,
        f"Experiment {experiment.name} on {collection.name}",
        work,
        collection_id=collection.id,
        exclusive_key="experiment",
        parameters={"experiment_id": str(experiment_id), **experiment.spec.to_json()},
        actor=actor,
    )
    async with database.session() as db:
        await save_job(db, experiment_id, job.id)
    return job
