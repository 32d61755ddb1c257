"""What to leave the lab with: the index as SQL, SQLAlchemy and an Alembic migration, and how to ask
by it. Pure; and then the same built on the collection itself, and certified there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Row

from lib.errors import InvalidInput
from lib.formats import format_percent
from lib.lab.experiment import Experiment, setting_words
from lib.lab.measurement import RecallFigures, Setting
from lib.lab.queries import QueryBatch
from lib.lab.recall import recall_figures, recalls_by_distance, recalls_by_id
from lib.lab.recommend import Recommendation
from lib.lab.truth import Truth, find_truth
from lib.search.filters import Filter, conditions
from lib.store.candidates import CandidateSpec, CandidateStorage, indexed_table, parse_candidate
from lib.store.collections import Collection, CollectionKind
from lib.store.database import Database
from lib.store.jobs import Job, Jobs
from lib.store.production import start_index_build
from lib.vectors.catalog import list_indexes
from lib.vectors.ddl import create_statement, index_name, migration_text, operator_class
from lib.vectors.distance import Storage, vector_text
from lib.vectors.index_methods import IndexKind
from lib.vectors.plans import explain
from lib.vectors.sql import printed, quoted_name
from lib.vectors.statements import candidate_statement
from lib.vectors.table import VectorTable
from lib.vectors.tuning import (
    OVERSAMPLING,
    BuildSettings,
    IterativeScan,
    SearchSettings,
    apply_settings,
    set_local_text,
)

SAMPLE = 100
"""So many of the queries certify an index on the collection itself."""
_SERVER_TOLERANCE = 1e-5
"""pgvector adds distances up in float32."""


@dataclass(frozen=True)
class Takeaway:
    """Text to copy. words: the recommendation. sql: CREATE INDEX CONCURRENTLY. sqlalchemy: Python
    that defines the index. migration: an Alembic migration. set_local: what to set for each query.
    query: a transaction that asks by it, the question being $1. notes: what one has to know."""

    words: str
    sql: str
    sqlalchemy: str
    migration: str
    set_local: str
    query: str
    notes: tuple[str, ...]


def takeaway(collection: Collection, experiment: Experiment, advice: Recommendation) -> Takeaway:
    """Of the winner. Raises InvalidInput where there is none."""
    if advice.winner is None or advice.measurement is None:
        raise InvalidInput(advice.headline, hint="Widen the candidates, or lower the target.")
    spec = parse_candidate(advice.winner.text, 0, collection.storage)
    table = indexed_table(collection.table, spec)
    settings = query_settings(advice.measurement.setting)
    return Takeaway(
        words=advice.words,
        sql=f"{create_statement(table, spec.index, concurrently=True)};\n",
        sqlalchemy=sqlalchemy_text(table, spec),
        migration=migration_text(table, spec.index),
        set_local=set_local_text(settings),
        query=query_text(
            table,
            advice.measurement.setting,
            advice.measurement.k,
            experiment.spec.filters,
            experiment.spec.oversampling,
        ),
        notes=_notes(collection, spec, table, experiment),
    )


def query_settings(setting: Setting) -> dict[str, str]:
    """PostgreSQL's names → values, for each query."""
    scan = setting.iterative_scan
    chosen = SearchSettings(
        probes=setting.value if setting.kind is IndexKind.IVFFLAT else None,
        ef_search=setting.value if setting.kind is IndexKind.HNSW else None,
        iterative_scan=None if scan is IterativeScan.OFF else scan,
    ).server_settings()
    of_kind = "" if setting.kind is None else setting.kind.value
    return {name: value for name, value in chosen.items() if name.startswith(of_kind)}


def query_text(
    table: VectorTable,
    setting: Setting,
    k: int,
    filters: Sequence[Filter] = (),
    oversampling: int = 1,
) -> str:
    """A transaction that asks as it was measured: the settings hold for it alone."""
    any_vector = np.ones(table.dimensions or 1, dtype=np.float32)
    statement = candidate_statement(
        table, any_vector, k, conditions(table, filters), max(1, oversampling)
    )
    asked = printed(statement).replace(f"'{vector_text(any_vector)}'", "$1")
    return (
        f"BEGIN;\n{set_local_text(query_settings(setting))}-- $1: the question's vector\n"
        f"{asked};\nCOMMIT;\n"
    )


def sqlalchemy_text(table: VectorTable, spec: CandidateSpec) -> str:
    """Python that stands alone: the table with its embedding, and the index on it."""
    stored = "VECTOR" if table.storage is Storage.VECTOR else "HALFVEC"
    types, names, before = {stored}, {"Column", "Index", "MetaData", "Table"}, ""
    element, label = f"documents.c[{table.embedding!r}]", repr(table.embedding)
    if table.by_expression:
        names.add("cast")
        label = "'indexed'"
        if table.bits:
            names.add("func")
            before = "from sqlalchemy.dialects.postgresql import BIT\n"
            element = f"cast(func.binary_quantize({element}), BIT({table.dimensions}))"
        else:
            types.add("HALFVEC")
            element = f"cast({element}, HALFVEC({table.dimensions}))"
        element += ".label('indexed')"
    schema = f"\n    schema={table.schema!r}," if table.schema else ""
    return f"""from pgvector.sqlalchemy import {", ".join(sorted(types))}
from sqlalchemy import {", ".join(sorted(names, key=str.lower))}
{before}
documents = Table(
    {table.name!r},
    MetaData(),
    Column({table.embedding!r}, {stored}({table.dimensions})),{schema}
)
index = Index(
    {index_name(table, spec.index)!r},
    {element},
    postgresql_using={spec.index.kind.value!r},
    postgresql_with={spec.index.options!r},
    postgresql_ops={{{label}: {operator_class(table)!r}}},
)
"""


def _notes(
    collection: Collection, spec: CandidateSpec, table: VectorTable, experiment: Experiment
) -> tuple[str, ...]:
    notes = []
    if table.halves:
        notes.append(
            "The index is on the column cast to halfvec: only a query that orders by just that "
            "cast is answered from it. The full vectors rank what it found, as in the example."
        )
    if table.bits:
        notes.append(
            "The index is on bits: a query takes more rows than it wants by those, and ranks them "
            "again by the full vectors, as in the example."
        )
        if experiment.spec.oversampling != OVERSAMPLING.default:
            notes.append(
                f"The experiment took {experiment.spec.oversampling:,} rows by their bits for each "
                f"one wanted; a search here takes {OVERSAMPLING.default}."
            )
    if spec.storage is CandidateStorage.VECTOR and collection.storage is Storage.HALFVEC:
        notes.append("The column holds halfvec already: the index holds the same numbers.")
    if isinstance(spec.index.options.get("lists"), int):
        notes.append(
            "IVFFlat's centres are those of the rows that are there now: build it again when they "
            "have doubled (REINDEX INDEX CONCURRENTLY)."
        )
    if experiment.stale:
        notes.append("The collection was written to since the experiment.")
    return tuple(notes)


# --- on the collection itself -------------------------------------------------------------------


@dataclass(frozen=True)
class Certified:
    """What the collection itself answers by the index, the planner being free to choose. recall: of
    ``queries`` of the experiment's, against the truth of now. oversampling: of an index on bits."""

    index_name: str
    setting: Setting
    queries: int
    recall: RecallFigures
    certified: bool
    reason: str
    oversampling: int | None = None

    @property
    def words(self) -> str:
        how = setting_words(self.setting)
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
            "setting": setting_words(self.setting),
            "queries": self.queries,
            "recall": {"mean": mean.value, "low": mean.low, "high": mean.high},
            "certified": self.certified,
            "reason": self.reason,
            "words": self.words,
        }


def check_applicable(collection: Collection, advice: Recommendation) -> CandidateSpec:
    """Raises InvalidInput where nothing is recommended or the table is not ours."""
    if advice.winner is None:
        raise InvalidInput(advice.headline, hint="Widen the candidates, or lower the target.")
    if collection.kind is not CollectionKind.MANAGED:
        raise InvalidInput(
            f"“{collection.name}” is your own table, which is not touched from here.",
            hint="Take the SQL or the migration.",
        )
    return parse_candidate(advice.winner.text, 0, collection.storage)


async def start_applying(
    jobs: Jobs,
    database: Database,
    collection: Collection,
    experiment: Experiment,
    advice: Recommendation,
    batch: QueryBatch,
    settings: BuildSettings | None = None,
) -> Job:
    """Builds the recommended index on the collection as a job, in place of the one that is there,
    and certifies it afterwards; ``result["certified"]`` is :meth:`Certified.to_json`.

    batch: the experiment's queries (:func:`~lib.lab.kept.kept_queries`).
    Raises as :func:`check_applicable`, and Busy.
    """
    spec = check_applicable(collection, advice)
    assert advice.measurement is not None
    setting, k = advice.measurement.setting, advice.measurement.k

    async def afterwards(name: str) -> dict[str, Any]:
        found = await certify_on(
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
    )


async def certify_on(
    database: Database,
    collection: Collection,
    name: str,
    setting: Setting,
    batch: QueryBatch,
    k: int,
    filters: Sequence[Filter] = (),
    oversampling: int = OVERSAMPLING.default,
) -> Certified:
    """What the collection's own table finds with that setting, asked as an application asks, by
    what the index of that name holds: the planner may choose, and the plan of every query is looked
    at.

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
                table = index.table_by_it(table)
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
    return Certified(
        index_name=name,
        setting=setting,
        queries=len(batch),
        recall=recall,
        certified=not refused,
        reason=refused or f"Each of the {len(batch):,} plans used {name}.",
        oversampling=oversampling if table.bits else None,
    )


def _distance(truth: Truth, number: int, row: Row[Any]) -> float:
    """As the truth has it; of a row beside it that is as near as its last, where there are such."""
    last = float(truth.distances[number, truth.found[number] - 1])
    known = dict(zip(truth.ids[number], truth.distances[number], strict=True))
    if row.id in known:
        return float(known[row.id])
    as_near = row.distance <= last + _SERVER_TOLERANCE * max(1.0, abs(last))
    return last if truth.tied[number] and as_near else float("inf")
