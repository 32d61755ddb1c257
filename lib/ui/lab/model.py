"""Index Lab's page model: all that its page reads and does, as methods.

The only module of this folder that calls services. What is dear to compute is in the session cache
under the typed keys below.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from lib.errors import InvalidInput
from lib.evaluation.query_sets import QuerySetSummary, list_query_sets
from lib.ingest.file_source import FileSource
from lib.lab.apply import check_applicable, start_applying
from lib.lab.artifacts import IndexArtifacts, index_artifacts
from lib.lab.candidates import default_candidates
from lib.lab.collection_stats import collect_stats
from lib.lab.diff import ExperimentDiff, compare_experiments
from lib.lab.experiment import Experiment, ExperimentState
from lib.lab.measurement import Measurement
from lib.lab.plan import Plan, count_matching, experiment_seconds, pace_of, plan_candidates
from lib.lab.queries import QueryBatch, file_batch
from lib.lab.recommend import Recommendation, ScoreRow, pareto, recommend, scoreboard
from lib.lab.report import experiment_csv, experiment_json_file
from lib.lab.report_page import experiment_page
from lib.lab.repository import (
    ExperimentSummary,
    delete_experiment,
    get_experiment,
    list_experiments,
    load_queries,
    rename_experiment,
)
from lib.lab.run import check_experiment, resume_experiment, start_experiment
from lib.lab.spec import ExperimentSpec, Target
from lib.search.filters import FieldFacts, Filter, list_fields
from lib.services import Services
from lib.store.candidates import Candidate, CandidateSpec, drop_candidate, list_candidates
from lib.store.collections import Collection, CollectionSummary, list_categories, summarise
from lib.store.jobs import Job, JobKind
from lib.ui.shared.model import CategoriesKey, FieldsKey, PageModel
from lib.ui.shared.session_cache import COSTLY_SECONDS, CacheKey, cached


@dataclass(frozen=True)
class LabSummaryKey(CacheKey[CollectionSummary]):
    """A collection's counts. An experiment does not change them, and each of the page's many
    widgets runs it again, so that they are counted less often than on other pages."""

    max_age_seconds: ClassVar[float | None] = COSTLY_SECONDS

    collection_id: uuid.UUID
    revision: int


@dataclass(frozen=True)
class WinnersKey(CacheKey[dict[uuid.UUID, str]]):
    experiments: tuple[tuple[uuid.UUID, int, ExperimentState], ...]
    """Each one's id, number of measurements and state."""


@dataclass(frozen=True)
class PlanKey(CacheKey[Plan]):
    max_age_seconds: ClassVar[float | None] = COSTLY_SECONDS

    collection_id: uuid.UUID
    revision: int
    rows: int
    specs: tuple[CandidateSpec, ...]
    candidates_on_disk: int


@dataclass(frozen=True)
class SecondsKey(CacheKey[float]):
    plan: PlanKey
    spec: ExperimentSpec


@dataclass(frozen=True, eq=False)
class ExperimentResults:
    """An experiment and the conclusions from its measurements."""

    experiment: Experiment
    recommendation: Recommendation | None
    """None without a target, and before anything is known about it."""
    scoreboard: tuple[ScoreRow, ...]
    pareto: tuple[Measurement, ...]
    """By rising recall."""

    @classmethod
    def of(cls, experiment: Experiment) -> ExperimentResults:
        return cls(
            experiment,
            recommendation=recommend(experiment),
            scoreboard=scoreboard(experiment),
            pareto=pareto(experiment.measurements),
        )

    @property
    def target(self) -> Target | None:
        return self.experiment.spec.target

    @property
    def recommended(self) -> Measurement | None:
        """The recommended measurement; None where no candidate reaches the target."""
        return None if self.recommendation is None else self.recommendation.measurement


class LabModel(PageModel):
    """Index Lab before a collection is chosen."""

    def open_collection(self, collection: Collection) -> CollectionLab:
        return CollectionLab(self.services, collection)


class CollectionLab(PageModel):
    """Index Lab of one collection: its experiments and candidates, a plan for a new experiment, the
    results of one, and the actions on them. Properties are read once a run of the page."""

    def __init__(self, services: Services, collection: Collection) -> None:
        super().__init__(services)
        self.collection = collection

    # --- the collection ---------------------------------------------------------------------

    @cached_property
    def summary(self) -> CollectionSummary:
        key = LabSummaryKey(self.collection.id, self.collection.revision)
        return cached(key, lambda: self.database.query(summarise, self.collection))

    @property
    def embedded_rows(self) -> int:
        return self.summary.embedded

    def categories(self) -> Sequence[tuple[str, int]]:
        """Each category with its number of documents."""
        key = CategoriesKey(self.collection)
        return cached(key, lambda: self.database.query(list_categories, self.collection))

    def fields(self) -> Sequence[FieldFacts]:
        """The metadata fields that a filter can name."""
        key = FieldsKey(self.collection)
        return cached(key, lambda: self.database.query(list_fields, self.collection))

    def query_sets(self) -> Sequence[QuerySetSummary]:
        return self.database.query(list_query_sets, self.collection)

    def count_matching(self, filters: Sequence[Filter]) -> int:
        """Rows with an embedding that pass the filters. Raises InvalidInput."""
        return self.database.query(count_matching, self.collection, filters)

    # --- jobs, experiments, candidates ------------------------------------------------------

    @cached_property
    def jobs_of_page(self) -> list[Job]:
        """The collection's recent jobs, and an experiment that runs on another collection: only
        one experiment runs at a time."""
        run = self.database.run
        own = run(self.jobs.recent(collection_id=self.collection.id))
        own_ids = {job.id for job in own}
        active = run(self.jobs.recent(active_only=True))
        elsewhere = [
            job for job in active if job.kind is JobKind.EXPERIMENT and job.id not in own_ids
        ]
        return [*own, *elsewhere]

    @property
    def running_jobs(self) -> list[Job]:
        return [job for job in self.jobs_of_page if job.active]

    @property
    def is_busy(self) -> bool:
        return bool(self.running_jobs)

    def last_job(self, kind: JobKind) -> Job | None:
        return next((job for job in self.jobs_of_page if job.kind is kind), None)

    @cached_property
    def experiments(self) -> list[ExperimentSummary]:
        """The newest first."""
        return self.database.query(list_experiments, self.collection)

    def progress_of_running(self) -> tuple[tuple[uuid.UUID, int, int, int], ...]:
        """What the running experiments have written by now: a value that differs once their results
        have more to show."""
        return tuple(
            (experiment.id, experiment.measured, experiment.evaluated, experiment.built)
            for experiment in self.database.query(list_experiments, self.collection)
            if experiment.state is ExperimentState.RUNNING
        )

    @cached_property
    def candidates(self) -> list[Candidate]:
        """The candidates on disk."""
        return self.database.query(list_candidates, self.collection)

    def winners(self) -> Mapping[uuid.UUID, str]:
        """The recommended candidate's name for each experiment that has a recommendation."""
        key = WinnersKey(
            tuple(
                (experiment.id, experiment.measured, experiment.state)
                for experiment in self.experiments
            )
        )
        return cached(key, self._find_winners)

    def _find_winners(self) -> dict[uuid.UUID, str]:
        winners = {}
        for summary in self.experiments:
            if summary.spec.target is None or not summary.measured:
                continue
            recommendation = recommend(self.experiment(summary.id))
            if recommendation is not None:
                winner = recommendation.winner
                winners[summary.id] = "none reaches it" if winner is None else winner.name
        return winners

    def experiment(self, experiment_id: uuid.UUID) -> Experiment:
        """Raises NotFound."""
        return self.database.query(get_experiment, self.collection, experiment_id)

    # --- a new experiment -------------------------------------------------------------------

    def default_candidates(self) -> tuple[CandidateSpec, ...]:
        collection = self.collection
        return default_candidates(self.embedded_rows, collection.dimensions, collection.storage)

    def plan(self, specs: Sequence[CandidateSpec]) -> Plan:
        """What each candidate will take, estimated from the collection and its server."""
        return cached(self._plan_key(specs), lambda: self._make_plan(specs))

    def _plan_key(self, specs: Sequence[CandidateSpec]) -> PlanKey:
        collection = self.collection
        return PlanKey(
            collection.id,
            collection.revision,
            self.embedded_rows,
            tuple(specs),
            len(self.candidates),
        )

    def _make_plan(self, specs: Sequence[CandidateSpec]) -> Plan:
        stats = self.database.run(collect_stats(self.database, self.collection, specs))
        return plan_candidates(stats, self.collection, specs, self.candidates)

    def expected_seconds(self, spec: ExperimentSpec, plan: Plan) -> float:
        """How long the whole experiment will take, at the pace of the newest experiment that
        measured anything.

        Raises as :func:`~lib.lab.run.check_experiment`, whose warnings the plan has.
        """
        key = SecondsKey(self._plan_key(spec.candidates), spec)
        return cached(key, lambda: self._estimate_seconds(spec, plan))

    def _estimate_seconds(self, spec: ExperimentSpec, plan: Plan) -> float:
        self.database.run(check_experiment(self.database, self.collection, spec))
        newest = next((one for one in self.experiments if one.measured), None)
        previous = None if newest is None else self.experiment(newest.id)
        return experiment_seconds(plan, spec, pace_of(plan.stats, previous))

    def start(
        self, spec: ExperimentSpec, *, name: str | None = None, source: FileSource | None = None
    ) -> uuid.UUID:
        """Starts an experiment as a job and returns the experiment's id.

        source: the file of its queries, where they come from one.
        Raises as :func:`~lib.lab.run.start_experiment` and :func:`~lib.lab.queries.file_batch`.
        """
        run, settings = self.database.run, self.services.settings
        batch = None
        if source is not None:
            batch = run(file_batch(source, self.collection, spec.queries.count, settings))
        job = run(
            start_experiment(
                self.jobs,
                self.database,
                settings,
                self.collection,
                spec,
                name=name,
                file_queries=batch,
            )
        )
        return uuid.UUID(job.parameters["experiment_id"])

    def resume(self, experiment: Experiment) -> None:
        """Raises as :func:`~lib.lab.run.resume_experiment`."""
        settings = self.services.settings
        self.database.run(
            resume_experiment(self.jobs, self.database, settings, self.collection, experiment)
        )

    # --- managing experiments and candidates ------------------------------------------------

    def rename(self, experiment_id: uuid.UUID, name: str) -> None:
        """Raises InvalidInput, AlreadyExists, NotFound."""
        self.database.query(rename_experiment, self.experiment(experiment_id), name)

    def delete(self, experiment_id: uuid.UUID) -> None:
        """Raises Busy, NotFound."""
        self.database.query(delete_experiment, self.experiment(experiment_id))

    def drop(self, candidates: Sequence[Candidate]) -> None:
        """Raises Busy, NotFound."""
        for candidate in candidates:
            self.database.query(drop_candidate, candidate)

    # --- the results of an experiment -------------------------------------------------------

    def results(self, experiment_id: uuid.UUID) -> ExperimentResults:
        """Raises NotFound."""
        return ExperimentResults.of(self.experiment(experiment_id))

    def queries(self, experiment: Experiment) -> QueryBatch | None:
        """The experiment's queries, in the order of its recalls; None where none are stored."""
        return self.database.query(load_queries, self.collection, experiment.id)

    def index_artifacts(
        self, experiment: Experiment, recommendation: Recommendation
    ) -> IndexArtifacts:
        return index_artifacts(self.collection, experiment, recommendation)

    def check_applicable(self, recommendation: Recommendation) -> None:
        """Raises InvalidInput or IndexRefused where the index cannot be built on the collection."""
        check_applicable(self.collection, recommendation)

    def apply(self, experiment: Experiment, recommendation: Recommendation) -> None:
        """Starts to build the recommended index on the collection itself.

        Raises as :func:`~lib.lab.artifacts.start_applying`.
        """
        batch = self.queries(experiment)
        if batch is None:
            raise InvalidInput(
                f"“{experiment.name}” has no queries to certify by.", hint="Run it first."
            )
        self.database.run(
            start_applying(
                self.jobs, self.database, self.collection, experiment, recommendation, batch
            )
        )

    def compare(self, experiment: Experiment, other_id: uuid.UUID) -> ExperimentDiff:
        """The older one of the two is the one before. Raises NotFound."""
        other = self.experiment(other_id)
        before, after = sorted((experiment, other), key=lambda one: one.created_at)
        return compare_experiments(before, after)

    # --- an experiment as a file ------------------------------------------------------------

    def experiment_json(self, experiment: Experiment) -> bytes:
        return experiment_json_file(experiment, self.collection.name)

    def experiment_csv(self, experiment: Experiment) -> bytes:
        return experiment_csv(experiment)

    def experiment_html(self, experiment: Experiment) -> str:
        return experiment_page(experiment, self.collection.name)
