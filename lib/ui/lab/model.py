"""One collection on the lab's bench: what its page shows and does, each thing fetched only where it
is looked at."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from lib.errors import InvalidInput
from lib.ingest.file_source import FileSource
from lib.lab.artifacts import Takeaway, check_applicable, start_applying, takeaway
from lib.lab.diff import Compared, compare_experiments
from lib.lab.estimates import look_at
from lib.lab.experiment import Experiment
from lib.lab.plan import Plan, count_matching, experiment_seconds, pace_of, plan_candidates
from lib.lab.queries import QueryBatch, file_batch
from lib.lab.recommend import Recommendation, recommend
from lib.lab.report import experiment_csv, experiment_json
from lib.lab.report_page import experiment_page
from lib.lab.repository import (
    ExperimentSummary,
    delete_experiment,
    get_experiment,
    kept_queries,
    list_experiments,
    rename_experiment,
)
from lib.lab.run import check_experiment, resume_experiment, start_experiment
from lib.lab.spec import ExperimentSpec
from lib.search.filters import Filter
from lib.settings import Settings
from lib.store.candidates import Candidate, CandidateSpec, drop_candidate, list_candidates
from lib.store.collections import Collection, CollectionSummary
from lib.store.database import Database
from lib.store.jobs import Job, JobKind, Jobs


@dataclass(frozen=True, eq=False)
class LabModel:
    """summary: of the collection, when the page was drawn."""

    database: Database
    jobs: Jobs
    settings: Settings
    summary: CollectionSummary

    @property
    def collection(self) -> Collection:
        return self.summary.collection

    # --- what there is ----------------------------------------------------------------------

    def recent(self) -> list[Job]:
        """The collection's jobs, and an experiment that runs on another one: only one runs at a
        time."""
        run = self.database.run
        own = run(self.jobs.recent(collection_id=self.collection.id))
        running = run(self.jobs.recent(active_only=True))
        known = {job.id for job in own}
        elsewhere = [job for job in running if job.kind is JobKind.EXPERIMENT]
        return [*own, *(job for job in elsewhere if job.id not in known)]

    def experiments(self) -> list[ExperimentSummary]:
        return self.database.query(list_experiments, self.collection)

    def experiment(self, wanted: uuid.UUID) -> Experiment:
        """Raises NotFound."""
        return self.database.query(get_experiment, self.collection, wanted)

    def candidates(self) -> list[Candidate]:
        return self.database.query(list_candidates, self.collection)

    def winners(self, experiments: Sequence[ExperimentSummary]) -> dict[uuid.UUID, str]:
        """What each of them advises, in a word or two; those that advise nothing are left out."""
        found = {}
        for each in experiments:
            if each.spec.target is not None and each.measured:
                advice = recommend(self.experiment(each.id))
                if advice is not None:
                    found[each.id] = (
                        "none reaches it" if advice.winner is None else advice.winner.name
                    )
        return found

    # --- before a run -----------------------------------------------------------------------

    def plan(self, specs: Sequence[CandidateSpec]) -> Plan:
        """What each of them will take, by a look at the collection and its server."""
        facts = self.database.run(look_at(self.database, self.collection, specs))
        return plan_candidates(facts, self.collection, specs, self.candidates())

    def matching(self, filters: Sequence[Filter]) -> int:
        """Rows with an embedding that pass."""
        return self.database.query(count_matching, self.collection, filters)

    def seconds(self, spec: ExperimentSpec, plan: Plan) -> float:
        """How long all of it will take, by the newest experiment that measured anything.

        Raises as :func:`~lib.lab.run.check_experiment`, whose warnings the plan has.
        """
        self.database.run(check_experiment(self.database, self.collection, spec))
        measured = next((each for each in self.experiments() if each.measured), None)
        before = None if measured is None else self.experiment(measured.id)
        return experiment_seconds(plan, spec, pace_of(plan.facts, before))

    # --- running ----------------------------------------------------------------------------

    def start(
        self, spec: ExperimentSpec, *, name: str | None = None, source: FileSource | None = None
    ) -> uuid.UUID:
        """The new experiment. source: the file of its queries, where they come from one.

        Raises as :func:`~lib.lab.run.start_experiment` and :func:`~lib.lab.queries.file_batch`.
        """
        run, given = self.database.run, None
        if source is not None:
            given = run(file_batch(source, self.collection, spec.queries.count, self.settings))
        job = run(
            start_experiment(
                self.jobs,
                self.database,
                self.settings,
                self.collection,
                spec,
                name=name,
                given=given,
            )
        )
        return uuid.UUID(job.parameters["experiment_id"])

    def resume(self, experiment: Experiment) -> None:
        """Raises as :func:`~lib.lab.run.resume_experiment`."""
        self.database.run(
            resume_experiment(self.jobs, self.database, self.settings, self.collection, experiment)
        )

    # --- keeping order ----------------------------------------------------------------------

    def rename(self, wanted: uuid.UUID, name: str) -> None:
        """Raises InvalidInput, AlreadyExists, NotFound."""
        self.database.query(rename_experiment, self.experiment(wanted), name)

    def delete(self, wanted: uuid.UUID) -> None:
        """Raises Busy, NotFound."""
        self.database.query(delete_experiment, self.experiment(wanted))

    def drop(self, candidates: Sequence[Candidate]) -> None:
        """Raises Busy, NotFound."""
        for each in candidates:
            self.database.query(drop_candidate, each)

    # --- what came of it --------------------------------------------------------------------

    def queries(self, experiment: Experiment) -> QueryBatch | None:
        return self.database.query(kept_queries, self.collection, experiment.id)

    def takeaway(self, experiment: Experiment, advice: Recommendation) -> Takeaway:
        return takeaway(self.collection, experiment, advice)

    def check_applicable(self, advice: Recommendation) -> CandidateSpec:
        """Raises InvalidInput, IndexRefused."""
        return check_applicable(self.collection, advice)

    def apply(self, experiment: Experiment, advice: Recommendation) -> None:
        """Starts to build the index on the collection itself. Raises as
        :func:`~lib.lab.takeaway.start_applying`."""
        batch = self.queries(experiment)
        if batch is None:
            raise InvalidInput(
                f"“{experiment.name}” has no queries to certify by.", hint="Run it first."
            )
        self.database.run(
            start_applying(self.jobs, self.database, self.collection, experiment, advice, batch)
        )

    def compare(self, experiment: Experiment, other: uuid.UUID) -> Compared:
        """The older one of the two is the one before. Raises NotFound."""
        both = sorted((experiment, self.experiment(other)), key=lambda each: each.created_at)
        return compare_experiments(*both)

    def exports(self, experiment: Experiment) -> dict[str, Callable[[], str | bytes]]:
        """By file ending, made where they are asked for."""
        name = self.collection.name
        return {
            "json": lambda: json.dumps(experiment_json(experiment, name), indent=2),
            "csv": partial(experiment_csv, experiment),
            "html": partial(experiment_page, experiment, name),
        }
