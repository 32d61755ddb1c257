"""Progress of an experiment: its phases, and what a live console shows of them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from lib.lab.build_progress import BuildStep
from lib.lab.experiment import Experiment
from lib.progress import Step
from lib.store.jobs import JobContext

MAX_LINES = 200
"""Of the console; the oldest go first."""


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


class RunProgress:
    """The progress of a run, written to its job, and the lines that a live console shows."""

    def __init__(self, job: JobContext, experiment: Experiment) -> None:
        self.phase = Phase.QUERIES
        self.weights: Mapping[Phase, float] = dict.fromkeys(Phase, 1.0)
        """How the whole is shared out among the phases, in whatever unit."""
        self._job, self._experiment = job, experiment
        self._lines: list[str] = []
        self._share = 0.0
        self._building: BuildStep | None = None
        self._started = self._phase_started = time.monotonic()

    def detail(self) -> dict[str, Any]:
        """For the job's result while it runs."""
        spent_seconds = time.monotonic() - self._phase_started
        seconds_left = spent_seconds / self._share - spent_seconds if self._share > 0.02 else None
        return {
            "experiment_id": str(self._experiment.id),
            "name": self._experiment.name,
            "phase": self.phase.value,
            "phase_share": self._share,
            "phase_seconds_left": seconds_left,
            "building": self._building and self._building.as_json(),
            "lines": list(self._lines),
        }

    async def begin(self, phase: Phase) -> None:
        self.phase, self._share, self._building = phase, 0.0, None
        self._phase_started = time.monotonic()
        await self.log(phase.label)

    async def report(self, share: float, message: str, building: BuildStep | None = None) -> None:
        """How far the phase is, 0–1; building: how far the candidate in the middle is."""
        self._share, self._building = min(share, 1.0), building
        await self._job.report(Step(self._share_of_run(), message), detail=self.detail())

    async def log(self, line: str) -> None:
        """Adds a line to the console."""
        elapsed = int(time.monotonic() - self._started)
        self._lines.append(f"{elapsed // 60:02d}:{elapsed % 60:02d}  {line}")
        del self._lines[:-MAX_LINES]
        await self._job.report(Step(self._share_of_run(), line), detail=self.detail(), force=True)

    def _share_of_run(self) -> float:
        """0–1."""
        phases = list(Phase)
        before = sum(self.weights[phase] for phase in phases[: phases.index(self.phase)])
        done = before + self.weights[self.phase] * self._share
        return done / (sum(self.weights.values()) or 1.0)
