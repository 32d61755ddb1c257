"""An experiment's queries, truth and candidates, all of one state of the collection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lib.errors import InvalidInput
from lib.formats import format_bytes, format_duration
from lib.lab.build_progress import BuildStep
from lib.lab.candidates import build_candidate, candidate_name, candidate_of_state
from lib.lab.progress import Phase
from lib.lab.queries import QueryBatch, query_set_batch, sample_queries
from lib.lab.repository import load_queries, save_queries
from lib.lab.run_context import RunContext
from lib.lab.spec import QueryKind
from lib.lab.truth import Truth, current_mark, find_truth
from lib.store.candidates import Candidate, CandidateSpec

_ATTEMPTS = 3


@dataclass(frozen=True, eq=False)
class Snapshot:
    """What an experiment is measured by and on: one state of the collection."""

    queries: QueryBatch
    truth: Truth
    candidates: tuple[Candidate, ...]
    """In the order of the spec."""


async def collect_queries(run: RunContext) -> QueryBatch:
    """The experiment's queries: those that an earlier run saved, else new ones, saved.

    Raises InvalidInput where they came from a file and were not saved.
    """
    await run.progress.begin(Phase.QUERIES)
    async with run.database.session() as db:
        saved = await load_queries(db, run.collection, run.experiment.id)
    if saved is not None:
        return saved
    source = run.spec.queries
    match source.kind:
        case QueryKind.SAMPLE:
            queries = await sample_queries(run.database, run.collection, source.count, source.seed)
        case QueryKind.QUERY_SET:
            queries = await query_set_batch(
                run.database, run.settings, run.collection, source.name, source.count
            )
        case QueryKind.FILE:
            raise InvalidInput(
                f"The vectors of {source.name} were not kept.", hint="Start a new experiment."
            )
    async with run.database.session() as db:
        await save_queries(db, run.experiment.id, queries)
    for note in queries.notes:
        await run.progress.log(note)
    return queries


async def take_snapshot(run: RunContext, queries: QueryBatch) -> Snapshot:
    """Finds the truth and builds the candidates that are missing.

    All of one state of the collection: else recall would count what was written between the copies
    and the truth. A run that is resumed keeps the state it began with, where all of it is still
    there. Raises InvalidInput where the collection is written to all the time.
    """
    data = run.experiment.data
    mark = None if data is None else data.change_mark
    for _ in range(_ATTEMPTS):
        truth = await _find_truth(run, queries, mark)
        candidates = await _candidates_of_state(run, truth.revision)
        async with run.database.session() as db:
            moved = await current_mark(db, run.collection) != truth.revision
        if None in candidates and not moved:
            await _build_missing(run, candidates)
            candidates = await _candidates_of_state(run, truth.revision)
        complete = tuple(candidate for candidate in candidates if candidate is not None)
        if len(complete) == len(candidates):
            return Snapshot(queries, truth, complete)
        await run.progress.log(
            "The collection was written to meanwhile; what is of its state before is made anew."
        )
        mark = None
    raise InvalidInput(
        f"“{run.collection.name}” is written to faster than its candidates are built, so that "
        "no two of them hold the same rows.",
        hint="Resume the experiment when the loading is over.",
    )


async def _find_truth(run: RunContext, queries: QueryBatch, mark: int | None) -> Truth:
    await run.progress.begin(Phase.TRUTH)
    try:
        truth = await find_truth(
            run.database,
            run.collection,
            queries,
            run.spec.k,
            run.spec.filters,
            revision=mark,
        )
    except InvalidInput:
        if mark is None:
            raise
        return await _find_truth(run, queries, None)  # of that state it was not kept
    source = (
        "kept from before" if truth.from_cache else f"found in {format_duration(truth.seconds)}"
    )
    await run.progress.log(
        f"True neighbours of {len(queries):,} queries among {truth.rows:,} rows: {source}"
    )
    return truth


async def _candidates_of_state(run: RunContext, mark: int) -> list[Candidate | None]:
    """In the order of the spec; None for one that is not there."""
    return [
        await candidate_of_state(run.database, run.collection, spec, mark)
        for spec in run.spec.candidates
    ]


async def _build_missing(run: RunContext, candidates: Sequence[Candidate | None]) -> None:
    missing = [
        spec
        for spec, candidate in zip(run.spec.candidates, candidates, strict=True)
        if candidate is None
    ]
    await run.progress.begin(Phase.BUILD)
    for number, spec in enumerate(missing):
        await _build(run, spec, number / len(missing), 1 / len(missing))


async def _build(run: RunContext, spec: CandidateSpec, start: float, width: float) -> None:
    """Builds one candidate. start, width: its part of the phase, 0–1."""
    logged: set[str] = set()

    async def on_progress(step: BuildStep) -> None:
        for notice in step.notices:
            if notice not in logged:
                logged.add(notice)
                await run.progress.log(f"{step.candidate}: the server says: {notice}")
        await run.progress.report(start + width * step.share, step.message, step)

    await run.progress.log(f"Building {candidate_name(run.collection, spec)}")
    built = await build_candidate(
        run.database,
        run.collection,
        spec,
        run.build_settings,
        job_id=run.job.job_id,
        on_progress=on_progress,
    )
    await run.progress.log(
        f"{built.name}: built in {format_duration(built.build_seconds or 0)}, "
        f"{format_bytes(built.index_bytes or 0)}, {built.rows or 0:,} rows"
    )
