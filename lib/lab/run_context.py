"""What every part of a run of an experiment works with."""

from __future__ import annotations

from dataclasses import dataclass

from lib.lab.experiment import Experiment
from lib.lab.progress import RunProgress
from lib.lab.spec import ExperimentSpec
from lib.settings import Settings
from lib.store.collections import Collection
from lib.store.database import Database
from lib.store.jobs import JobContext
from lib.vectors.tuning import BuildSettings


@dataclass(frozen=True, eq=False)
class RunContext:
    """One run of an experiment: what is run, on which collection, within which job."""

    database: Database
    settings: Settings
    collection: Collection
    experiment: Experiment
    """As it was when the run began: with the measurements of earlier runs."""
    build_settings: BuildSettings | None
    """For each candidate; None for what its estimate advises."""
    job: JobContext
    progress: RunProgress

    @property
    def spec(self) -> ExperimentSpec:
        return self.experiment.spec

    @property
    def seed(self) -> int:
        """One for all: the interval of a recall must not depend on when it was measured."""
        return self.spec.queries.seed
