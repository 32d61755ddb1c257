"""The sweep of a run: each candidate at rising values of its search parameter, beside the exact
scan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lib.lab.measure import BenchmarkPoint, IndexBenchmark
from lib.lab.measurement import Measurement, SearchParameter
from lib.lab.progress import Phase
from lib.lab.recorder import MeasurementRecorder
from lib.lab.run_context import RunContext
from lib.lab.spec import ExperimentSpec
from lib.lab.sweep import is_named, parameters_of
from lib.store.candidates import Candidate

SATURATED = 0.999
"""A recall above which larger values of the lab's own choice are not measured any more: they would
only be slower."""
STEP_VALUES = 3
"""So many values of each candidate are measured at once, in mixed rounds, and then saved."""


async def run_sweep(
    run: RunContext,
    recorder: MeasurementRecorder,
    benchmarks: Mapping[str, IndexBenchmark],
    candidates: Sequence[Candidate],
    exact: IndexBenchmark | None,
) -> None:
    """Measures the values of the spec, from quick to thorough.

    benchmarks: by the candidate's name. exact: the reference, None where it cannot be measured.
    """
    await run.progress.begin(Phase.SWEEP)
    steps = sweep_steps(
        [
            (
                benchmarks[candidate.name],
                parameters_of(run.spec, candidate.index, rows=candidate.rows or 0),
            )
            for candidate in candidates
        ]
    )
    if exact is not None:
        steps[0].insert(0, (exact, SearchParameter(None)))
    for number, step in enumerate(steps):
        worthwhile = [
            (benchmark, setting)
            for benchmark, setting in step
            if not is_saturated(run.spec, recorder.measurements, benchmark.name, setting)
        ]
        await recorder.measure(worthwhile, number / len(steps), (number + 1) / len(steps))


def sweep_steps(
    sweeps: Sequence[tuple[IndexBenchmark, Sequence[SearchParameter]]],
) -> list[list[BenchmarkPoint]]:
    """The points in steps that are measured together: the first values of each candidate and each
    iterative scan, then the next."""
    steps: list[list[BenchmarkPoint]] = [[]]
    for benchmark, settings in sweeps:
        for scan in dict.fromkeys(setting.iterative_scan for setting in settings):
            of_scan = [setting for setting in settings if setting.iterative_scan is scan]
            for number, setting in enumerate(of_scan):
                while len(steps) <= number // STEP_VALUES:
                    steps.append([])
                steps[number // STEP_VALUES].append((benchmark, setting))
    return steps


def is_saturated(
    spec: ExperimentSpec,
    measurements: Sequence[Measurement],
    candidate: str,
    setting: SearchParameter,
) -> bool:
    """Whether a smaller value finds all there is to find already. What the user named is measured
    all the same."""
    if is_named(spec, setting.method):
        return False
    return any(
        measurement.candidate == candidate
        and measurement.setting.iterative_scan is setting.iterative_scan
        and (measurement.setting.value or 0) < (setting.value or 0)
        and measurement.recall.mean.value >= SATURATED
        for measurement in measurements
    )
