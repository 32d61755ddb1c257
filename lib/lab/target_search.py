"""The search of a run for its target: the smallest value of each candidate's search parameter that
reaches the recall, measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lib.formats import format_percent
from lib.lab.experiment import CandidateFacts, TargetResult
from lib.lab.measure import BenchmarkPoint, IndexBenchmark
from lib.lab.measurement import RecallFigures, SearchParameter
from lib.lab.progress import Phase
from lib.lab.recommend import evaluate_target, reaches
from lib.lab.recorder import MeasurementRecorder
from lib.lab.repository import save_target_results
from lib.lab.run_context import RunContext
from lib.lab.spec import Target
from lib.lab.sweep import is_named, limits_of, scans_of
from lib.store.candidates import Candidate
from lib.vectors.index_methods import IterativeScan
from lib.vectors.smallest_value import next_value, smallest

_SEARCH_SHARE = 0.6
"""Of the phase, that the search takes; the rest is the measuring of what it found."""


async def search_target(
    run: RunContext,
    recorder: MeasurementRecorder,
    benchmarks: Mapping[str, IndexBenchmark],
    candidates: Sequence[Candidate],
) -> None:
    """Finds the smallest value of each candidate that reaches the target, measures it and saves
    what came of it. Does nothing where the spec has no target."""
    target = run.spec.target
    if target is not None:
        await _TargetSearch(run, recorder, benchmarks, target).run(candidates)


class _TargetSearch:
    def __init__(
        self,
        run: RunContext,
        recorder: MeasurementRecorder,
        benchmarks: Mapping[str, IndexBenchmark],
        target: Target,
    ) -> None:
        self._run, self._recorder = run, recorder
        self._benchmarks, self._target = benchmarks, target
        self._recalls: dict[tuple[str, IterativeScan], dict[int, RecallFigures]] = {}
        """Of each candidate and iterative scan: value → recall, measured or only looked up."""

    async def run(self, candidates: Sequence[Candidate]) -> None:
        run = self._run
        await run.progress.begin(Phase.TARGET)
        searches = [
            (candidate, scan)
            for candidate in candidates
            for scan in scans_of(candidate.method, run.spec.iterative_scans)
        ]
        reaching: list[BenchmarkPoint] = []
        for number, (candidate, scan) in enumerate(searches):
            await run.progress.report(
                _SEARCH_SHARE * number / len(searches),
                f"{candidate.name}: looking for the target",
            )
            setting = await self._smallest_reaching(candidate, scan)
            if setting is not None:
                reaching.append((self._benchmarks[candidate.name], setting))
        await run.progress.report(_SEARCH_SHARE, "Measuring what reaches the target")
        await self._recorder.measure(reaching, _SEARCH_SHARE, 1.0)
        results = tuple(self._evaluate(facts, reaching) for facts in self._recorder.candidates)
        async with run.database.session() as db:
            await save_target_results(db, run.experiment.id, results)

    async def _smallest_reaching(
        self, candidate: Candidate, scan: IterativeScan
    ) -> SearchParameter | None:
        """The smallest value whose recall reaches the target, among those that the user named where
        there are such; None where none does."""
        run, level = self._run, self._target.recall
        limits = limits_of(candidate.index, run.spec.asked)
        recalls = self._recalls.setdefault((candidate.name, scan), {})
        for measurement in self._recorder.measurements:
            setting = measurement.setting
            if measurement.candidate == candidate.name and setting.iterative_scan is scan:
                recalls[setting.value or 0] = measurement.recall
        only_named = is_named(run.spec, candidate.method)
        while True:
            known = {
                value: reaches(recall, level, run.spec.protocol)
                for value, recall in recalls.items()
            }
            value = None if only_named else next_value(known, limits.low, limits.high)
            if value is None:
                break
            recalls[value] = await self._benchmarks[candidate.name].recall_only(
                SearchParameter(candidate.method, value, scan), run.seed
            )
        value = smallest(known)
        if value is None:
            await run.progress.log(f"{candidate.name}: no setting reaches {format_percent(level)}")
            return None
        setting = SearchParameter(candidate.method, value, scan)
        await run.progress.log(
            f"{candidate.name}: {setting.label} is the smallest that reaches "
            f"{format_percent(level)}"
        )
        return setting

    def _evaluate(self, facts: CandidateFacts, reaching: Sequence[BenchmarkPoint]) -> TargetResult:
        """By the iterative scan with the lowest p95 of those that reach the target."""
        spec = self._run.spec
        measurements = [
            measurement
            for benchmark, setting in reaching
            if benchmark.name == facts.name
            and (measurement := self._recorder.find(benchmark.name, setting)) is not None
        ]
        best = min(
            measurements,
            key=lambda measurement: (not measurement.certified, measurement.latency.p95_ms),
            default=None,
        )
        at_largest = [
            recalls[max(recalls)]
            for (name, _), recalls in self._recalls.items()
            if name == facts.name and recalls
        ]
        return evaluate_target(
            self._target,
            spec.protocol,
            facts,
            largest=max(at_largest, key=lambda recall: recall.mean.value, default=None),
            measurement=best,
            only_off=bool(spec.filters) and spec.iterative_scans == (IterativeScan.OFF,),
        )
