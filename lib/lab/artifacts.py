"""What leaves the lab: the recommended index as SQL, SQLAlchemy and an Alembic migration, and the
query that asks by it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.errors import InvalidInput
from lib.lab.experiment import Experiment
from lib.lab.measurement import SearchParameter
from lib.lab.recommend import Recommendation
from lib.search.filters import Filter, conditions
from lib.store.candidates import CandidateSpec, indexed_table, parse_candidate
from lib.store.collections import Collection
from lib.vectors.ddl import create_statement, index_name, operator_class
from lib.vectors.distance import ElementType, IndexedAs, Storage, vector_text
from lib.vectors.index_methods import IterativeScan
from lib.vectors.migration import migration_text
from lib.vectors.sql import printed
from lib.vectors.statements import candidate_statement
from lib.vectors.table import VectorTable
from lib.vectors.tuning import OVERSAMPLING, set_local_text


@dataclass(frozen=True)
class IndexArtifacts:
    """The recommended index as text to copy."""

    recommendation: str
    """Its headline and its rationale."""
    sql: str
    """CREATE INDEX CONCURRENTLY."""
    sqlalchemy: str
    """Python that defines the index."""
    migration: str
    """An Alembic migration."""
    set_local: str
    """What to set for each query."""
    query: str
    """A transaction that asks by it, the question being $1."""
    notes: tuple[str, ...]
    """What one has to know."""


def index_artifacts(
    collection: Collection, experiment: Experiment, recommendation: Recommendation
) -> IndexArtifacts:
    """Of the winner. Raises InvalidInput where there is none."""
    if recommendation.winner is None or recommendation.measurement is None:
        raise InvalidInput(
            recommendation.headline, hint="Widen the candidates, or lower the target."
        )
    spec = parse_candidate(recommendation.winner.text, 0, collection.storage)
    table = indexed_table(collection.table, spec)
    settings = query_settings(recommendation.measurement.setting)
    return IndexArtifacts(
        recommendation=recommendation.text,
        sql=f"{create_statement(table, spec.index, concurrently=True)};\n",
        sqlalchemy=sqlalchemy_text(table, spec),
        migration=migration_text(table, spec.index),
        set_local=set_local_text(settings),
        query=query_text(
            table,
            recommendation.measurement.setting,
            recommendation.measurement.k,
            experiment.spec.filters,
            experiment.spec.oversampling,
        ),
        notes=_notes(collection, spec, table, experiment),
    )


def query_settings(setting: SearchParameter) -> dict[str, str]:
    """PostgreSQL's names → values, for each query."""
    if setting.method is None:
        return {}
    chosen = setting.search_settings(
        has_iterative_scan=setting.iterative_scan is not IterativeScan.OFF
    ).server_settings()
    of_method = f"{setting.method.name}."
    return {name: value for name, value in chosen.items() if name.startswith(of_method)}


def query_text(
    table: VectorTable,
    setting: SearchParameter,
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
    if table.is_indexed_by_expression:
        names.add("cast")
        label = "'indexed'"
        if table.indexed_as is IndexedAs.BINARY:
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
    postgresql_using={spec.index.method.name!r},
    postgresql_with={dict(spec.index.options)!r},
    postgresql_ops={{{label}: {operator_class(table, spec.index.method)!r}}},
)
"""


def _notes(
    collection: Collection, spec: CandidateSpec, table: VectorTable, experiment: Experiment
) -> tuple[str, ...]:
    notes = []
    if table.indexed_as is IndexedAs.HALFVEC:
        notes.append(
            "The index is on the column cast to halfvec: only a query that orders by just that "
            "cast is answered from it. The full vectors rank what it found, as in the example."
        )
    if table.indexed_as is IndexedAs.BINARY:
        notes.append(
            "The index is on bits: a query takes more rows than it wants by those, and ranks them "
            "again by the full vectors, as in the example."
        )
        if experiment.spec.oversampling != OVERSAMPLING.default:
            notes.append(
                f"The experiment took {experiment.spec.oversampling:,} rows by their bits for each "
                f"one wanted; a search here takes {OVERSAMPLING.default}."
            )
    if spec.storage is ElementType.VECTOR and collection.storage is Storage.HALFVEC:
        notes.append("The column holds halfvec already: the index holds the same numbers.")
    if spec.index.method.rows_option:
        notes.append(
            f"{spec.index.method.label}'s centres are those of the rows that are there now: build "
            "it again when they have doubled (REINDEX INDEX CONCURRENTLY)."
        )
    if experiment.stale:
        notes.append("The collection was written to since the experiment.")
    return tuple(notes)
