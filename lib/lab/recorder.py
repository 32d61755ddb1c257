"""The measurements of a run: those of an earlier run that still hold, and each new one, saved as it
comes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from typing import Any

from lib.formats import format_ms, format_percent
from lib.lab.environment import find_environment
from lib.lab.experiment import CandidateFacts, DataFacts
from lib.lab.measure import BenchmarkPoint, measure_all
from lib.lab.measurement import Measurement, SearchParameter
from lib.lab.repository import (
    delete_measurements_except,
    save_change_notice,
    save_measurement,
    save_setup,
    save_target_results,
)
from lib.lab.run_context import RunContext
from lib.lab.snapshot import Snapshot
from lib.progress import Step


class MeasurementRecorder:
    """Measures what is not measured yet, and saves each measurement as it comes.

    Made by :meth:`open`.
    """

    def __init__(
        self, run: RunContext, candidates: tuple[CandidateFacts, ...], known: Sequence[Measurement]
    ) -> None:
        self._run = run
        self.candidates = candidates
        """As they are now, in the order of the spec."""
        self.measurements = list(known)

    @classmethod
    async def open(cls, run: RunContext, snapshot: Snapshot) -> MeasurementRecorder:
        """Saves what the run measures on; measurements of anything else are deleted."""
        before = run.experiment
        candidates = tuple(
            CandidateFacts.of(
                candidate,
                snapshot.truth.revision,
                reused=candidate.created_at < before.created_at,
            )
            for candidate in snapshot.candidates
        )
        data = _data_facts(run, snapshot)
        still_valid = _still_valid(run, data, candidates)
        async with run.database.session() as db:
            environment = await find_environment(db, run.collection)
            await delete_measurements_except(db, before.id, still_valid)
            await save_setup(
                db,
                before.id,
                environment=_enums_as_values(asdict(environment)),
                data=data,
                facts=candidates,
            )
            await save_target_results(db, before.id, ())
            await save_change_notice(db, before.id, "")
        known = [one for one in before.measurements if one.candidate in still_valid]
        if known:
            await run.progress.log(f"{len(known):,} measurements are there already")
        return cls(run, candidates, known)

    def find(self, candidate: str, setting: SearchParameter) -> Measurement | None:
        return next(
            (
                measurement
                for measurement in self.measurements
                if measurement.candidate == candidate and measurement.setting == setting
            ),
            None,
        )

    async def measure(
        self, points: Sequence[BenchmarkPoint], start: float = 0.0, end: float = 1.0
    ) -> None:
        """Measures those that are not measured yet, in mixed rounds. start, end: the part of the
        phase that this is, 0–1."""
        run = self._run
        missing = [
            (benchmark, setting)
            for benchmark, setting in points
            if self.find(benchmark.name, setting) is None
        ]
        if not missing:
            return

        async def on_progress(step: Step) -> None:
            assert step.share is not None
            await run.progress.report(start + (end - start) * step.share, step.message)

        for measurement in await measure_all(
            missing,
            run.spec.rounds,
            seed=run.seed,
            protocol=run.spec.protocol,
            on_progress=on_progress,
        ):
            async with run.database.session() as db:
                await save_measurement(db, run.experiment.id, measurement)
            self.measurements.append(measurement)
            await run.progress.log(console_line(measurement))


def _data_facts(run: RunContext, snapshot: Snapshot) -> DataFacts:
    collection, queries, truth = run.collection, snapshot.queries, snapshot.truth
    return DataFacts(
        rows=truth.total,
        dimensions=collection.dimensions,
        distance=collection.distance.value,
        storage=collection.storage.value,
        change_mark=truth.revision,
        queries=len(queries),
        queries_described=queries.source,
        selectivity=truth.selectivity,
        left_out=run.spec.queries.count - len(queries),
        tied=int(truth.tied.sum()),
        fingerprint=truth.fingerprint,
        truth_seconds=0.0 if truth.from_cache else truth.seconds,
        notes=queries.notes,
    )


def _still_valid(
    run: RunContext, data: DataFacts, candidates: Sequence[CandidateFacts]
) -> list[str]:
    """Names of the candidates whose measurements still hold: the same truth, the same copy."""
    before = run.experiment
    if before.data is None or before.data.fingerprint != data.fingerprint:
        return []
    measured_ids = {candidate.id for candidate in before.facts}
    names = [candidate.name for candidate in candidates if candidate.id in measured_ids]
    if before.exact is not None:
        names.append(before.exact.candidate)
    return names


def _enums_as_values(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.value if isinstance(value, StrEnum) else value for name, value in values.items()
    }


def console_line(measurement: Measurement) -> str:
    """A measurement in one line."""
    return (
        f"{measurement.label}: recall "
        f"{format_percent(measurement.recall.mean.value)}, p50 "
        f"{format_ms(measurement.latency.p50_ms)}, p95 {format_ms(measurement.latency.p95_ms)}"
        + ("" if measurement.certified else f", not certified: {measurement.reason}")
    )
