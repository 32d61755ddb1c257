"""The recommended index built on the collection itself, and checked there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Row

from lib.actors import LOCAL, Actor, writes
from lib.errors import InvalidInput
from lib.formats import format_percent
from lib.lab.artifacts import query_settings
from lib.lab.experiment import Experiment
from lib.lab.measurement import RecallFigures, SearchParameter
from lib.lab.queries import QueryBatch
from lib.lab.recall import recall_figures, recalls_by_distance, recalls_by_id
from lib.lab.recommend import Recommendation
from lib.lab.truth import Truth, find_truth
from lib.search.filters import Filter, conditions
from lib.store.candidates import CandidateSpec, indexed_table, parse_candidate
from lib.store.collections import Collection, CollectionKind
from lib.store.database import Database
from lib.store.jobs import Job, Jobs
from lib.store.production import start_index_build
from lib.vectors.catalog import list_indexes
from lib.vectors.distance import IndexedAs
from lib.vectors.plans import explain
from lib.vectors.recall import tie_limit
from lib.vectors.sql import quoted_name
from lib.vectors.statements import candidate_statement
from lib.vectors.tuning import (
    OVERSAMPLING,
    BuildSettings,
    apply_settings,
)

SAMPLE = 100
"""So many of the queries certify an index on the collection itself."""


@dataclass(frozen=True)
class IndexCertification:
    """The recall of an index on the collection itself, and whether the planner took it."""

    index_name: str
    setting: SearchParameter
    queries: int
    """Of the experiment's, that it was asked."""
    recall: RecallFigures
    """Against the truth of now."""
    certified: bool
    reason: str
    oversampling: int | None = None
    """Of an index on bits; None for any other."""

    @property
    def text(self) -> str:
        how = self.setting.label
        if self.oversampling is not None:
            how += f", {self.oversampling:,} rows by their bits for each one wanted"
        found = (
            f"On the collection itself it finds {format_percent(self.recall.mean.value)} of "
            f"the true neighbours ({self.queries:,} queries, {how})."
        )
        return f"{found} {'Certified' if self.certified else 'Not certified'}: {self.reason}"

    def to_json(self) -> dict[str, Any]:
        mean = self.recall.mean
        return {
            "index_name": self.index_name,
            "setting": self.setting.label,
            "queries": self.queries,
            "recall": {"mean": mean.value, "low": mean.low, "high": mean.high},
            "certified": self.certified,
            "reason": self.reason,
            "words": self.text,
        }


def check_applicable(collection: Collection, recommendation: Recommendation) -> CandidateSpec:
    """Raises InvalidInput where nothing is recommended or the table is not ours."""
    if recommendation.winner is None:
        raise InvalidInput(
            recommendation.headline, hint="Widen the candidates, or lower the target."
        )
    if collection.kind is not CollectionKind.MANAGED:
        raise InvalidInput(
            f"“{collection.name}” is your own table, which is not touched from here.",
            hint="Take the SQL or the migration.",
        )
    return parse_candidate(recommendation.winner.text, 0, collection.storage)


@writes("indexes.build")
async def start_applying(
    jobs: Jobs,
    database: Database,
    collection: Collection,
    experiment: Experiment,
    recommendation: Recommendation,
    batch: QueryBatch,
    settings: BuildSettings | None = None,
    *,
    actor: Actor = LOCAL,
) -> Job:
    """Builds the recommended index on the collection as a job, in place of the one that is there,
    and certifies it afterwards; ``result["certified"]`` is :meth:`IndexCertification.to_json`.

    batch: the experiment's queries (:func:`~lib.lab.repository.load_queries`).
    Raises as :func:`check_applicable`, and Busy.
    """
    spec = check_applicable(collection, recommendation)
    assert recommendation.measurement is not None
    setting, k = recommendation.measurement.setting, recommendation.measurement.k

    async def afterwards(name: str) -> dict[str, Any]:
        found = await certify_index(
            database,
            collection,
            name,
            setting,
            batch,
            k,
            experiment.spec.filters,
            experiment.spec.oversampling,
        )
        return {"certified": found.to_json()}

    return await start_index_build(
        jobs,
        database,
        collection,
        spec.index,
        settings,
        afterwards=afterwards,
        table=indexed_table(collection.table, spec),
        actor=actor,
    )


async def certify_index(
    database: Database,
    collection: Collection,
    name: str,
    setting: SearchParameter,
    batch: QueryBatch,
    k: int,
    filters: Sequence[Filter] = (),
    oversampling: int = OVERSAMPLING.default,
) -> IndexCertification:
    """Measures the recall on the collection's own table at that search parameter, and checks that
    the plan of every query, which the planner may choose, uses the index of that name.

    oversampling: of an index on bits.
    Raises as :func:`~lib.lab.truth.find_truth`.
    """
    batch = batch.head(SAMPLE)
    table = collection.table
    async with database.session() as db:
        connection = await db.connection()
        await connection.exec_driver_sql(f"ANALYZE {quoted_name(table.table)}")
        for index in await list_indexes(db, table):
            if index.name == name:
                table = index.searched_table(table)
    truth = await find_truth(database, collection, batch, k, filters)
    distances = np.full(truth.distances.shape, np.inf)
    ids = np.full(truth.ids.shape, None, dtype=object)
    refused = ""
    async with database.session() as db:
        await apply_settings(db, query_settings(setting))
        for number, (vector, own) in enumerate(zip(batch.vectors, batch.own_ids, strict=True)):
            statement = candidate_statement(
                table, vector, k + batch.has_own, conditions(table, filters), oversampling
            )
            certificate = (await explain(db, statement)).certify(name)
            refused = refused or ("" if certificate.certified else certificate.reason)
            rows = [row for row in await db.execute(statement) if row.id != own][:k]
            ids[number, : len(rows)] = [row.id for row in rows]
            distances[number, : len(rows)] = [_distance(truth, number, row) for row in rows]
    recall = recall_figures(
        recalls_by_distance(distances, truth.distances), recalls_by_id(ids, truth.ids)
    )
    return IndexCertification(
        index_name=name,
        setting=setting,
        queries=len(batch),
        recall=recall,
        certified=not refused,
        reason=refused or f"Each of the {len(batch):,} plans used {name}.",
        oversampling=oversampling if table.indexed_as is IndexedAs.BINARY else None,
    )


def _distance(truth: Truth, number: int, row: Row[Any]) -> float:
    """As the truth has it; of a row beside it that is as near as its last, where there are such."""
    last = float(truth.distances[number, truth.found[number] - 1])
    known = dict(zip(truth.ids[number], truth.distances[number], strict=True))
    if row.id in known:
        return float(known[row.id])
    as_near = row.distance <= tie_limit(last)
    return last if truth.tied[number] and as_near else float("inf")
