"""A run of an experiment, from its queries to its recommendation, within a job."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from lib.errors import DatabaseProblem, DatabaseUnreachable
from lib.lab.collection_stats import collect_stats
from lib.lab.environment import load_average
from lib.lab.measure import BenchmarkSession, IndexBenchmark, open_benchmarks
from lib.lab.plan import exact_queries, phase_seconds, plan_candidates
from lib.lab.recommend import recommend
from lib.lab.recorder import MeasurementRecorder
from lib.lab.repository import get_experiment, save_change_notice, save_finished
from lib.lab.run_context import RunContext
from lib.lab.snapshot import Snapshot, collect_queries, take_snapshot
from lib.lab.sweep_run import run_sweep
from lib.lab.target_search import search_target
from lib.lab.truth import Truth, current_mark
from lib.progress import Step
from lib.store.candidates import list_candidates


class ExperimentRun:
    """One run of an experiment. Each phase saves what it finds as it comes, so that a run that was
    broken off is resumed where it was."""

    def __init__(self, run: RunContext) -> None:
        self._run = run

    async def execute(self) -> dict[str, Any]:
        """All of it. Returns the job's result."""
        run = self._run
        async with self._explaining_how_to_resume():
            await self._weigh_phases()
            queries = await collect_queries(run)
            snapshot = await take_snapshot(run, queries)
            recorder = await MeasurementRecorder.open(run, snapshot)
            async with open_benchmarks(
                run.database, run.collection, run.spec.clients
            ) as benchmark_session:
                benchmarks = await self._add_candidates(benchmark_session, snapshot)
                exact = await self._add_exact_scan(benchmark_session, snapshot)
                await run_sweep(run, recorder, benchmarks, snapshot.candidates, exact)
                await search_target(run, recorder, benchmarks, snapshot.candidates)
            return await self._finish(snapshot.truth)

    @asynccontextmanager
    async def _explaining_how_to_resume(self) -> AsyncGenerator[None]:
        """A server that went away is no end: what is saved can be gone on with."""
        try:
            yield
        except DatabaseProblem as exc:
            unreachable = isinstance(exc, DatabaseUnreachable)
            first = "When the server is back, resume" if unreachable else f"{exc.hint} Then resume"
            raise type(exc)(
                f"{self._run.progress.phase.label} was broken off: {exc.message}",
                hint=f"{first} the experiment: what was measured is kept.",
            ) from exc

    async def _weigh_phases(self) -> None:
        """How the whole is likely to be shared out among the phases."""
        run, spec = self._run, self._run.spec
        stats = await collect_stats(run.database, run.collection, spec.candidates)
        async with run.database.session() as db:
            there = await list_candidates(db, run.collection)
        plan = plan_candidates(stats, run.collection, spec.candidates, there, run.build_settings)
        run.progress.weights = phase_seconds(plan, spec)

    async def _add_candidates(
        self, benchmark_session: BenchmarkSession, snapshot: Snapshot
    ) -> dict[str, IndexBenchmark]:
        """By the candidate's name."""
        spec = self._run.spec
        return {
            candidate.name: await benchmark_session.add(
                candidate,
                snapshot.queries,
                snapshot.truth,
                k=spec.k,
                filters=spec.filters,
                oversampling=spec.oversampling,
            )
            for candidate in snapshot.candidates
        }

    async def _add_exact_scan(
        self, benchmark_session: BenchmarkSession, snapshot: Snapshot
    ) -> IndexBenchmark | None:
        """The reference, on the collection's own table; None where that has moved on."""
        run, truth = self._run, snapshot.truth
        async with run.database.session() as db:
            moved = await current_mark(db, run.collection) != truth.revision
        if moved:
            await run.progress.log("No exact scan: the collection was written to since.")
            return None
        count = exact_queries(
            run.spec, truth.total, run.collection.dimensions, run.collection.storage
        )
        return await benchmark_session.add(
            None,
            snapshot.queries.head(count),
            truth.head(count),
            k=run.spec.k,
            filters=run.spec.filters,
        )

    async def _finish(self, truth: Truth) -> dict[str, Any]:
        run = self._run
        async with run.database.session() as db:
            if await current_mark(db, run.collection) != truth.revision:
                await save_change_notice(
                    db,
                    run.experiment.id,
                    f"“{run.collection.name}” was written to while it was measured: the figures "
                    "are of its state before, which all candidates hold.",
                )
            experiment = await get_experiment(db, run.collection, run.experiment.id)
            environment = {**experiment.environment, "load_average_at_end": load_average()}
            await save_finished(db, run.experiment.id, environment)
        if experiment.changed:
            await run.progress.log(experiment.changed)
        recommendation = recommend(experiment)
        measured = len(experiment.measurements)
        summary = recommendation.headline if recommendation else f"{measured:,} settings measured"
        await run.progress.log(summary)
        await run.job.report(Step(1.0, summary), force=True)
        winner = recommendation and recommendation.winner
        return {
            **run.progress.detail(),
            "phase": None,
            "measured": measured,
            "winner": winner and winner.name,
        }
