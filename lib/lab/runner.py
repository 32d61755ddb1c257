"""TODO: docstring."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import select

from lib.errors import DatabaseProblem, DatabaseUnreachable, InvalidInput
from lib.formats import format_bytes, format_duration, format_ms, format_percent
from lib.lab.candidates import BuildStep, build_candidate, candidate_name, missing_candidates
from lib.lab.environment import find_environment, load_average
from lib.lab.estimates import estimate, look_at
from lib.lab.experiment import CandidateFacts, DataFacts, Experiment, Outcome, setting_words
from lib.lab.measure import Bench, Benches, measure_all, open_benches
from lib.lab.measurement import Measurement, RecallFigures, Setting
from lib.lab.plan import exact_queries
from lib.lab.progress import Console, Phase, expected_seconds
from lib.lab.queries import QueryBatch, query_set_batch, sample_queries
from lib.lab.recommend import judge, reaches, recommend
from lib.lab.repository import (
    forget_measurements,
    get_experiment,
    kept_queries,
    note_basis,
    note_changed,
    note_end,
    note_measurement,
    note_outcomes,
    note_queries,
)
from lib.lab.spec import QueryKind
from lib.lab.sweep import limits_of, scans_of, settings_of
from lib.lab.truth import Truth, current_mark, find_truth
from lib.progress import Step
from lib.settings import Settings
from lib.store.candidates import Candidate, CandidateSpec, list_candidates
from lib.store.collections import Collection
from lib.store.database import Database
from lib.store.jobs import JobContext
from lib.store.records import CandidateRecord
from lib.vectors.index_methods import IndexKind
from lib.vectors.smallest_value import next_value, smallest
from lib.vectors.tuning import BuildSettings, IterativeScan

SATURATED = 0.999
"""A recall above which larger values of the lab's own choice are not measured any more: they would
only be slower."""


STEP_VALUES = 3
"""So many values of each candidate are measured at once, in mixed rounds, and then kept."""


_ATTEMPTS = 3


Pair = tuple[Bench, Setting]


@dataclass(eq=False)
class _Run:
    """One run of an experiment, within its job."""

    database: Database
    settings: Settings
    collection: Collection
    experiment: Experiment
    build_settings: BuildSettings | None
    context: JobContext
    measured: list[Measurement] = field(default_factory=list)
    looked: dict[tuple[str, IterativeScan], dict[int, RecallFigures]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.spec = self.experiment.spec
        # One for all: the interval of a recall must not depend on when it was measured.
        self.seed = self.spec.queries.seed
        self.console = Console(self.context, self.experiment)

    async def all(self) -> dict[str, Any]:
        async with self._says_how_to_go_on():
            await self._expect()
            batch = await self._queries()
            truth, candidates = await self._truth_and_candidates(batch)
            facts = await self._note_basis(batch, truth, candidates)
            async with open_benches(self.database, self.collection, self.spec.clients) as benches:
                made = {
                    candidate.name: await benches.add(
                        candidate,
                        batch,
                        truth,
                        k=self.spec.k,
                        filters=self.spec.filters,
                        oversampling=self.spec.oversampling,
                    )
                    for candidate in candidates
                }
                exact = await self._exact(benches, batch, truth)
                await self._sweep(made, exact, candidates)
                await self._target(made, candidates, facts)
            return await self._end(truth)

    @asynccontextmanager
    async def _says_how_to_go_on(self) -> AsyncGenerator[None]:
        """A server that went away is no end: what is kept can be gone on with."""
        try:
            yield
        except DatabaseProblem as exc:
            lost = isinstance(exc, DatabaseUnreachable)
            raise type(exc)(
                f"{self.console.phase.label} was broken off: {exc.message}",
                hint=("When the server is back, resume" if lost else f"{exc.hint} Then resume")
                + " the experiment: what was measured is kept.",
            ) from exc

    async def _expect(self) -> None:
        """How the whole is likely to be shared out among the phases."""
        missing = await missing_candidates(self.database, self.collection, self.spec)
        facts = await look_at(self.database, self.collection, missing)
        built = [estimate(facts, each, self.build_settings) for each in missing]
        settings = [
            setting
            for each in self.spec.candidates
            for setting in settings_of(self.spec, each.index, rows=facts.rows)
        ]
        self.console.weights = expected_seconds(
            self.spec,
            rows=facts.rows,
            dimensions=self.collection.dimensions,
            settings=len(settings),
            build_seconds=sum(each.seconds for each in built),
        )

    async def _queries(self) -> QueryBatch:
        await self.console.begin(Phase.QUERIES)
        source, experiment = self.spec.queries, self.experiment
        async with self.database.session() as db:
            batch = await kept_queries(db, self.collection, experiment.id)
        if batch is not None:
            return batch
        if source.kind is QueryKind.SAMPLE:
            batch = await sample_queries(self.database, self.collection, source.count, source.seed)
        elif source.kind is QueryKind.QUERY_SET:
            batch = await query_set_batch(
                self.database, self.settings, self.collection, source.name, source.count
            )
        else:
            raise InvalidInput(
                f"The vectors of {source.name} were not kept.", hint="Start a new experiment."
            )
        async with self.database.session() as db:
            await note_queries(db, experiment.id, batch)
        for note in batch.notes:
            await self.console.say(note)
        return batch

    # --- one state of the collection --------------------------------------------------------

    async def _truth_and_candidates(self, batch: QueryBatch) -> tuple[Truth, tuple[Candidate, ...]]:
        """All of one state of the collection: else recall would count what was written between the
        copies and the truth. A run that goes on keeps the state it began with, where all of it is
        still there."""
        mark = None if self.experiment.data is None else self.experiment.data.change_mark
        for _ in range(_ATTEMPTS):
            truth = await self._truth(batch, mark)
            candidates = [
                await _at_mark(self.database, self.collection, spec, truth.revision)
                for spec in self.spec.candidates
            ]
            async with self.database.session() as db:
                moved = await current_mark(db, self.collection) != truth.revision
            if None in candidates and not moved:
                await self._build(candidates)
                candidates = [
                    await _at_mark(self.database, self.collection, spec, truth.revision)
                    for spec in self.spec.candidates
                ]
            if None not in candidates:
                return truth, tuple(each for each in candidates if each is not None)
            await self.console.say(
                "The collection was written to meanwhile; what is of its state before is made anew."
            )
            mark = None
        raise InvalidInput(
            f"“{self.collection.name}” is written to faster than its candidates are built, so that "
            "no two of them hold the same rows.",
            hint="Resume the experiment when the loading is over.",
        )

    async def _truth(self, batch: QueryBatch, mark: int | None) -> Truth:
        await self.console.begin(Phase.TRUTH)
        try:
            truth = await find_truth(
                self.database,
                self.collection,
                batch,
                self.spec.k,
                self.spec.filters,
                revision=mark,
            )
        except InvalidInput:
            if mark is None:
                raise
            return await self._truth(batch, None)  # of that state it was not kept
        await self.console.say(
            f"True neighbours of {len(batch):,} queries among {truth.rows:,} rows: "
            + (
                "kept from before"
                if truth.from_cache
                else f"found in {format_duration(truth.seconds)}"
            )
        )
        return truth

    async def _build(self, there: Sequence[Candidate | None]) -> None:
        missing = [
            spec
            for spec, candidate in zip(self.spec.candidates, there, strict=True)
            if candidate is None
        ]
        await self.console.begin(Phase.BUILD)
        for place, spec in enumerate(missing):
            heard: set[str] = set()

            async def on_progress(
                step: BuildStep, place: int = place, heard: set[str] = heard
            ) -> None:
                for notice in step.notices:
                    if notice not in heard:
                        heard.add(notice)
                        await self.console.say(f"{step.candidate}: the server says: {notice}")
                await self.console.at((place + step.share) / len(missing), step.message, step)

            await self.console.say(f"Building {candidate_name(self.collection, spec)}")
            built = await build_candidate(
                self.database,
                self.collection,
                spec,
                self.build_settings,
                job_id=self.context.job_id,
                on_progress=on_progress,
            )
            await self.console.say(
                f"{built.name}: built in {format_duration(built.build_seconds or 0)}, "
                f"{format_bytes(built.index_bytes or 0)}, {built.rows or 0:,} rows"
            )

    async def _note_basis(
        self, batch: QueryBatch, truth: Truth, candidates: Sequence[Candidate]
    ) -> tuple[CandidateFacts, ...]:
        """What it is measured on; measurements of anything else are forgotten."""
        collection, before = self.collection, self.experiment
        async with self.database.session() as db:
            environment = await find_environment(db, collection)
            facts = tuple(
                _facts(each, truth.revision, reused=each.created_at < before.created_at)
                for each in candidates
            )
            data = DataFacts(
                rows=truth.total,
                dimensions=collection.dimensions,
                distance=collection.distance.value,
                storage=collection.storage.value,
                change_mark=truth.revision,
                queries=len(batch),
                queries_described=batch.source,
                selectivity=truth.selectivity,
                left_out=self.spec.queries.count - len(batch),
                tied=int(truth.tied.sum()),
                fingerprint=truth.fingerprint,
                truth_seconds=0.0 if truth.from_cache else truth.seconds,
                notes=batch.notes,
            )
            same = before.data is not None and before.data.fingerprint == data.fingerprint
            kept = [
                each.name
                for each in facts
                if same and each.id in {earlier.id for earlier in before.facts}
            ]
            if same and before.exact is not None:
                kept.append(before.exact.candidate)
            await forget_measurements(db, before.id, kept)
            await note_basis(
                db,
                before.id,
                environment=_plain(asdict(environment)),
                data=data,
                facts=facts,
            )
            await note_outcomes(db, before.id, ())
            await note_changed(db, before.id, "")
        self.measured = [each for each in before.measurements if each.candidate in kept]
        if self.measured:
            await self.console.say(f"{len(self.measured):,} measurements are there already")
        return facts

    # --- measuring --------------------------------------------------------------------------

    async def _exact(self, benches: Benches, batch: QueryBatch, truth: Truth) -> Bench | None:
        """The reference, on the collection's own table; None where that has moved on."""
        async with self.database.session() as db:
            moved = await current_mark(db, self.collection) != truth.revision
        if moved:
            await self.console.say("No exact scan: the collection was written to since.")
            return None
        count = exact_queries(self.spec, truth.total, self.collection.dimensions)
        return await benches.add(
            None, batch.head(count), truth.head(count), k=self.spec.k, filters=self.spec.filters
        )

    async def _sweep(
        self, benches: dict[str, Bench], exact: Bench | None, candidates: Sequence[Candidate]
    ) -> None:
        await self.console.begin(Phase.SWEEP)
        steps: list[list[Pair]] = [[]]
        if exact is not None:
            steps[0].append((exact, Setting(None)))
        for candidate in candidates:
            settings = settings_of(self.spec, candidate.spec, rows=candidate.rows or 0)
            for scan in {setting.iterative_scan: None for setting in settings}:
                of_scan = [each for each in settings if each.iterative_scan is scan]
                for place, setting in enumerate(of_scan):
                    while len(steps) <= place // STEP_VALUES:
                        steps.append([])
                    steps[place // STEP_VALUES].append((benches[candidate.name], setting))
        for number, step in enumerate(steps):
            span = (number / len(steps), (number + 1) / len(steps))
            await self._measure(step, span, leave_out_saturated=True)

    async def _measure(
        self,
        wanted: Sequence[Pair],
        span: tuple[float, float],
        *,
        leave_out_saturated: bool = False,
    ) -> None:
        """Measures what is not measured yet, in mixed rounds, and keeps it. span: from which share
        of the phase to which."""
        pairs = [
            (bench, setting)
            for bench, setting in wanted
            if self._found(bench.name, setting) is None
            and not (leave_out_saturated and self._is_saturated(bench.name, setting))
        ]

        async def on_progress(step: Step) -> None:
            assert step.share is not None
            await self.console.at(span[0] + (span[1] - span[0]) * step.share, step.message)

        if not pairs:
            return
        for measurement in await measure_all(
            pairs,
            self.spec.rounds,
            seed=self.seed,
            protocol=self.spec.protocol,
            on_progress=on_progress,
        ):
            async with self.database.session() as db:
                await note_measurement(db, self.experiment.id, measurement)
            self.measured.append(measurement)
            await self.console.say(_line(measurement))

    def _found(self, name: str, setting: Setting) -> Measurement | None:
        return next(
            (each for each in self.measured if each.candidate == name and each.setting == setting),
            None,
        )

    def _is_saturated(self, name: str, setting: Setting) -> bool:
        """Whether a smaller value finds all there is to find already. What the user named is
        measured all the same."""
        return not self._named(setting.kind) and any(
            each.candidate == name
            and each.setting.iterative_scan is setting.iterative_scan
            and (each.setting.value or 0) < (setting.value or 0)
            and each.recall.mean.value >= SATURATED
            for each in self.measured
        )

    def _named(self, kind: IndexKind | None) -> bool:
        """Whether the user named the values of the parameter."""
        spec = self.spec
        return (spec.probes if kind is IndexKind.IVFFLAT else spec.ef_search) is not None

    # --- the target -------------------------------------------------------------------------

    async def _target(
        self,
        benches: dict[str, Bench],
        candidates: Sequence[Candidate],
        facts: Sequence[CandidateFacts],
    ) -> None:
        if self.spec.target is None:
            return
        await self.console.begin(Phase.TARGET)
        searches = [
            (candidate, scan)
            for candidate in candidates
            for scan in scans_of(candidate.kind, self.spec.iterative_scans)
        ]
        wanted: list[Pair] = []
        for number, (candidate, scan) in enumerate(searches):
            await self.console.at(
                0.6 * number / len(searches), f"{candidate.name}: looking for the target"
            )
            setting = await self._smallest(benches[candidate.name], candidate, scan)
            if setting is not None:
                wanted.append((benches[candidate.name], setting))
        await self.console.at(0.6, "Measuring what reaches the target")
        await self._measure(wanted, (0.6, 1.0))
        outcomes = tuple(self._judge(each, wanted) for each in facts)
        async with self.database.session() as db:
            await note_outcomes(db, self.experiment.id, outcomes)

    async def _smallest(
        self, bench: Bench, candidate: Candidate, scan: IterativeScan
    ) -> Setting | None:
        """The smallest value whose recall reaches the target, among those that the user named where
        there are such; None where none does."""
        assert self.spec.target is not None
        level, protocol = self.spec.target.recall, self.spec.protocol
        limits = limits_of(candidate.spec, self.spec.asked)
        named = self._named(candidate.kind)
        figures = self.looked.setdefault((candidate.name, scan), {})
        for each in self.measured:
            if each.candidate == candidate.name and each.setting.iterative_scan is scan:
                figures[each.setting.value or 0] = each.recall
        while True:
            known = {value: reaches(each, level, protocol) for value, each in figures.items()}
            value = None if named else next_value(known, limits.low, limits.high)
            if value is None:
                break
            figures[value] = await bench.recall_only(
                Setting(candidate.kind, value, scan), self.seed
            )
        found = smallest(known)
        if found is None:
            await self.console.say(f"{candidate.name}: no setting reaches {format_percent(level)}")
            return None
        setting = Setting(candidate.kind, found, scan)
        await self.console.say(
            f"{candidate.name}: {setting_words(setting)} is the smallest that reaches "
            f"{format_percent(level)}"
        )
        return setting

    def _judge(self, facts: CandidateFacts, wanted: Sequence[Pair]) -> Outcome:
        """Of the ways to scan on, the one with the lowest p95 of those that reach the target."""
        assert self.spec.target is not None
        found = [
            measurement
            for bench, setting in wanted
            if bench.name == facts.name
            and (measurement := self._found(bench.name, setting)) is not None
        ]
        best = min(found, key=lambda each: (not each.certified, each.latency.p95_ms), default=None)
        largest = [
            figures[max(figures)]
            for (name, _), figures in self.looked.items()
            if name == facts.name and figures
        ]
        return judge(
            self.spec.target,
            self.spec.protocol,
            facts,
            largest=max(largest, key=lambda each: each.mean.value, default=None),
            measurement=best,
            only_off=bool(self.spec.filters) and self.spec.iterative_scans == (IterativeScan.OFF,),
        )

    async def _end(self, truth: Truth) -> dict[str, Any]:
        async with self.database.session() as db:
            mark = await current_mark(db, self.collection)
            if mark != truth.revision:
                await note_changed(
                    db,
                    self.experiment.id,
                    f"“{self.collection.name}” was written to while it was measured: the figures "
                    "are of its state before, which all candidates hold.",
                )
            ended = await get_experiment(db, self.collection, self.experiment.id)
            environment = {**ended.environment, "load_average_at_end": load_average()}
            await note_end(db, self.experiment.id, environment)
        if ended.changed:
            await self.console.say(ended.changed)
        advice = recommend(ended)
        words = advice.headline if advice else f"{len(ended.measurements):,} settings measured"
        await self.console.say(words)
        await self.context.report(Step(1.0, words), force=True)
        return {
            **self.console.detail(),
            "phase": None,
            "measured": len(ended.measurements),
            "winner": advice and advice.winner and advice.winner.name,
        }


async def _at_mark(
    database: Database, collection: Collection, spec: CandidateSpec, mark: int
) -> Candidate | None:
    """A candidate that is just that and of that state of the collection."""
    async with database.session() as db:
        of_mark = set(
            await db.scalars(
                select(CandidateRecord.id).where(
                    CandidateRecord.collection_id == collection.id,
                    CandidateRecord.revision == mark,
                )
            )
        )
        for each in await list_candidates(db, collection):
            if each.ready and each.id in of_mark and each.made_as == spec:
                return each
    return None


def _facts(candidate: Candidate, revision: int, *, reused: bool) -> CandidateFacts:
    assert candidate.index_name is not None
    return CandidateFacts(
        id=candidate.id,
        name=candidate.name,
        text=str(candidate.made_as),
        kind=candidate.kind,
        options=dict(candidate.spec.options),
        storage=candidate.storage.value,
        index_name=candidate.index_name,
        rows=candidate.rows or 0,
        change_mark=revision,
        build_seconds=candidate.build_seconds or 0.0,
        index_bytes=candidate.index_bytes or 0,
        table_bytes=candidate.table_bytes or 0,
        maintenance_work_mem=candidate.maintenance_work_mem,
        parallel_workers=candidate.parallel_workers,
        notices=candidate.notices,
        reused=reused,
    )


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Enums as their values."""
    return {
        name: value.value if isinstance(value, StrEnum) else value for name, value in values.items()
    }


def _line(measurement: Measurement) -> str:
    return (
        f"{measurement.candidate}, {setting_words(measurement.setting)}: recall "
        f"{format_percent(measurement.recall.mean.value)}, p50 "
        f"{format_ms(measurement.latency.p50_ms)}, p95 {format_ms(measurement.latency.p95_ms)}"
        + ("" if measurement.certified else f", not certified: {measurement.reason}")
    )
