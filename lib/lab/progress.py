"""TODO: docstring."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import Any

from lib.lab.candidates import BuildStep
from lib.lab.experiment import Experiment
from lib.lab.plan import _VALUES_PER_SECOND, _passes, exact_queries
from lib.lab.spec import ExperimentSpec
from lib.progress import Step
from lib.store.jobs import JobContext

MOST_LINES = 200


class Phase(StrEnum):
    QUERIES = "queries"
    TRUTH = "truth"
    BUILD = "build"
    SWEEP = "sweep"
    TARGET = "target"

    @property
    def label(self) -> str:
        return {
            "queries": "Gathering the queries",
            "truth": "Finding the true neighbours",
            "build": "Building the candidates",
            "sweep": "Measuring the settings",
            "target": "Looking for the smallest setting that reaches the target",
        }[self.value]


def expected_seconds(
    spec: ExperimentSpec, *, rows: int, dimensions: int, settings: int, build_seconds: float
) -> dict[Phase, float]:
    """What each phase may take: good enough for a bar that moves evenly, and no promise.

    By what this was measured with (2 cores, 100,000 × 256): truth 2 · 10¹⁰ multiplications and
    3 · 10⁷ values read a second, an indexed query 3 ms.
    """
    queries = spec.queries.count
    asked = queries * (1 + spec.rounds * len(spec.clients))
    exact = exact_queries(spec, rows, dimensions) * _passes(spec)
    exact_seconds = exact * rows * dimensions / _VALUES_PER_SECOND
    sweep_seconds = 5 + 0.003 * asked * settings + exact_seconds
    return {
        Phase.QUERIES: 1.0,
        Phase.TRUTH: rows * dimensions * (queries / 2e10 + 1 / 3e7),
        Phase.BUILD: build_seconds,
        Phase.SWEEP: sweep_seconds,
        Phase.TARGET: 0.15 * sweep_seconds if spec.target else 0.0,
    }


class Console:
    """The job's progress, and the lines that a live console shows."""

    def __init__(self, context: JobContext, experiment: Experiment) -> None:
        self.phase = Phase.QUERIES
        self.weights = dict.fromkeys(Phase, 1.0)
        """How the whole is shared out among the phases, in whatever unit."""
        self._context, self._experiment = context, experiment
        self._lines: list[str] = []
        self._share = 0.0
        self._building: BuildStep | None = None
        self._started = self._phase_started = time.monotonic()

    def detail(self) -> dict[str, Any]:
        """For the job's result while it runs."""
        spent_seconds = time.monotonic() - self._phase_started
        left = spent_seconds / self._share - spent_seconds if self._share > 0.02 else None
        return {
            "experiment_id": str(self._experiment.id),
            "name": self._experiment.name,
            "phase": self.phase.value,
            "phase_share": self._share,
            "phase_seconds_left": left,
            "building": self._building and self._building.as_json(),
            "lines": list(self._lines),
        }

    async def begin(self, phase: Phase) -> None:
        self.phase, self._share, self._building = phase, 0.0, None
        self._phase_started = time.monotonic()
        await self.say(phase.label)

    async def at(self, share: float, words: str, building: BuildStep | None = None) -> None:
        """share: 0–1 of the phase."""
        self._share, self._building = min(share, 1.0), building
        await self._context.report(Step(self._whole(), words), detail=self.detail())

    async def say(self, line: str) -> None:
        elapsed = int(time.monotonic() - self._started)
        self._lines.append(f"{elapsed // 60:02d}:{elapsed % 60:02d}  {line}")
        del self._lines[:-MOST_LINES]
        await self._context.report(Step(self._whole(), line), detail=self.detail(), force=True)

    def _whole(self) -> float:
        """0–1."""
        phases = list(Phase)
        before = sum(self.weights[phase] for phase in phases[: phases.index(self.phase)])
        done = before + self.weights[self.phase] * self._share
        return done / (sum(self.weights.values()) or 1.0)
