"""What one leaves the lab with works: the migration, the SQL, the Python and the query."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
import sqlalchemy
from alembic import command
from alembic.config import Config
from candidates_fixture import DIMENSIONS, Library, clustered

from lib.errors import InvalidInput
from lib.lab.apply import certify_index, check_applicable, start_applying
from lib.lab.artifacts import index_artifacts, indexed_table
from lib.lab.experiment import CandidateFacts, Experiment
from lib.lab.measurement import SearchParameter
from lib.lab.queries import sample_queries
from lib.lab.recommend import Recommendation, recommend
from lib.search.filters import Filter
from lib.search.request import Mode, SearchRequest
from lib.search.service import SearchService
from lib.settings import Settings
from lib.store.candidates import parse_candidate
from lib.store.collections import get_collection
from lib.store.database import Database
from lib.store.jobs import Job
from lib.store.url import connect_arguments
from lib.vectors.catalog import IndexDescription, list_indexes
from lib.vectors.distance import Distance, IndexedAs, Storage, vector_text
from lib.vectors.index_methods import HNSW, IVFFLAT
from lib.vectors.tuning import SearchSettings
from tests.unit import lab_tables

VECTORS = clustered(1200)
GRAPH = "hnsw:m=8,ef_construction=40"
LISTS = "ivfflat:lists=20"


def recommended(text: str, value: int, **spec: Any) -> tuple[Experiment, Recommendation]:
    """An experiment in which just that candidate reached the target."""
    made = parse_candidate(text, 0, Storage.VECTOR)
    kind = made.index.method
    facts: CandidateFacts = replace(
        lab_tables.facts("It", kind),
        text=text,
        options=made.index.options,
        storage=made.storage.value,
    )
    experiment = lab_tables.experiment(
        [lab_tables.measured("It", kind, value, 0.97, 1.0)],
        facts=[facts],
        target_results=[lab_tables.target_result("It", kind, value)],
        **spec,
    )
    recommendation = recommend(experiment)
    assert recommendation is not None
    assert recommendation.winner == facts
    return experiment, recommendation


def applied(
    library: Library, text: str, value: int, *, queries: int
) -> tuple[Job, IndexDescription]:
    """The recommended candidate's index built on the collection itself: how that ended, and it."""
    database, collection = library.database, library.collection
    experiment, recommendation = recommended(text, value)
    batch = database.run(sample_queries(database, collection, queries))
    job = database.run(
        start_applying(library.jobs, database, collection, experiment, recommendation, batch)
    )
    ended = database.run(library.jobs.wait(job.id))
    assert ended.status.value == "done", ended.error
    (index,) = database.query(list_indexes, collection.table)
    return ended, index


def migrate(database: Database, folder: Path, source: str, go: Any, target: str) -> None:
    (folder / "versions").mkdir(parents=True, exist_ok=True)
    (folder / "versions" / "index.py").write_text(source)
    (folder / "env.py").write_text(
        "from alembic import context\n"
        "context.configure(connection=context.config.attributes['connection'])\n"
        "with context.begin_transaction():\n"
        "    context.run_migrations()\n"
    )
    config = Config(attributes={})
    config.set_main_option("script_location", str(folder))
    engine = sqlalchemy.create_engine(database.url)
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        go(config, target)
        connection.commit()
    engine.dispose()


def index_definitions(library: Library) -> list[str]:
    """Of the approximate indexes on the collection, without their names, as PostgreSQL has them."""
    found = library.ask(
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'vecscope' "
        f"AND tablename = '{library.collection.table.name}' AND indexdef ~ '(hnsw|ivfflat)'"
    )
    return [definition for (definition,) in found]


def plan_and_rows(database: Database, query: str, vector: Any) -> tuple[str, list[Any]]:
    """The plan and the ids of the query as it was given, $1 being the vector."""
    text = query.replace("$1", f"'{vector_text(vector)}'")
    begin, rest = text.split("-- ", 1)
    statement = rest.split("\n", 1)[1].removesuffix(";\nCOMMIT;\n")
    with psycopg.connect(**connect_arguments(database.url), autocommit=True) as connection:
        for line in begin.strip().splitlines():
            connection.execute(line)
        # Few rows: the planner would rather read them all.
        connection.execute("SET LOCAL enable_seqscan = off")
        plan = connection.execute(f"EXPLAIN (FORMAT TEXT) {statement}").fetchall()
        rows = connection.execute(statement).fetchall()
        connection.execute("ROLLBACK")
    return "\n".join(line for (line,) in plan), [row[0] for row in rows]


@pytest.mark.parametrize("distance", [Distance.COSINE, Distance.L2])
@pytest.mark.parametrize(
    ("text", "value"),
    [
        (f"{GRAPH}@vector", 200),
        (f"{LISTS}@vector", 20),
        (f"{GRAPH}@halfvec", 200),
        (f"{LISTS}@halfvec", 20),
        (f"{GRAPH}@bit", 400),
    ],
)
def test_the_migration_is_applied_and_its_index_is_used(
    database: Database, tmp_path: Path, text: str, value: int, distance: Distance
) -> None:
    library = Library(database, VECTORS, distance=distance)
    experiment, recommendation = recommended(text, value)
    taken = index_artifacts(library.collection, experiment, recommendation)
    assert "autocommit_block" in taken.migration
    assert taken.recommendation == recommendation.text
    migrate(database, tmp_path / "alembic", taken.migration, command.upgrade, "head")
    (made,) = index_definitions(library)

    query = VECTORS[5]
    plan, ids = plan_and_rows(database, taken.query, query)
    spec = parse_candidate(text, 0, Storage.VECTOR)
    table = indexed_table(library.collection.table, spec)
    name = database.query(list_indexes, table)[0].name
    assert f"Index Scan using {name}" in plan
    assert len(ids) == 10

    # numpy, apart from the product's formulas
    x, q = VECTORS.astype(float), query.astype(float)
    exact = (
        np.linalg.norm(x - q, axis=1)
        if distance is Distance.L2
        else 1 - (x @ q) / (np.linalg.norm(x, axis=1) * np.linalg.norm(q))
    )
    nearest = {int(number) for number in np.argsort(exact)[:10]}
    found = {id_.int for id_ in ids}
    # Halves may swap neighbours that are nearly tied; 400 of 1,200 by 16 bits may miss some.
    assert len(nearest & found) >= (6 if text.endswith("bit") else 9)

    migrate(database, tmp_path / "alembic", taken.migration, command.downgrade, "base")
    assert index_definitions(library) == []

    # The SQL and the Python define the same index.
    with psycopg.connect(**connect_arguments(database.url), autocommit=True) as connection:
        connection.execute(taken.sql)
    assert index_definitions(library) == [made]
    with psycopg.connect(**connect_arguments(database.url), autocommit=True) as connection:
        connection.execute(f'DROP INDEX vecscope."{name}"')
    scope: dict[str, Any] = {}
    exec(taken.sqlalchemy, scope)
    engine = sqlalchemy.create_engine(database.url)
    with engine.begin() as connection:
        scope["index"].create(connection)
    engine.dispose()
    assert index_definitions(library) == [made]


def test_the_query_holds_the_filter_and_the_scan(database: Database) -> None:
    library = Library(database, VECTORS[:50])
    experiment, recommendation = recommended(
        f"{GRAPH}@vector", 64, filters=(Filter.parse("category=it's"),)
    )
    taken = index_artifacts(library.collection, experiment, recommendation)
    assert "SET LOCAL hnsw.ef_search = '64';" in taken.query
    assert "ivfflat" not in taken.query
    assert "'it''s'" in taken.query
    assert taken.set_local == "SET LOCAL hnsw.ef_search = '64';\n"


def test_without_a_winner_there_is_nothing_to_take(database: Database) -> None:
    library = Library(database, VECTORS[:50])
    experiment = lab_tables.experiment(
        target_results=[replace(lab_tables.target_result("It", HNSW, 10), reached=False)]
    )
    recommendation = recommend(experiment)
    assert recommendation is not None
    with pytest.raises(InvalidInput, match="None of the candidates"):
        index_artifacts(library.collection, experiment, recommendation)
    with pytest.raises(InvalidInput, match="None of the candidates"):
        check_applicable(library.collection, recommendation)


@pytest.mark.parametrize(("storage", "least"), [("halfvec", 0.9), ("bit", 0.5)])
def test_an_index_on_halves_or_bits_is_built_here_and_searches_ask_it(
    database: Database, storage: str, least: float
) -> None:
    vectors = clustered(4000)  # enough for PostgreSQL to take an index by itself
    library = Library(database, vectors)
    ended, index = applied(library, f"{GRAPH}@{storage}", 400, queries=20)
    assert index.indexed_as is {"halfvec": IndexedAs.HALFVEC, "bit": IndexedAs.BINARY}.get(
        storage, IndexedAs.COLUMN
    )
    assert ended.result is not None
    certified = ended.result["certified"]
    assert certified["certified"], certified["reason"]
    assert certified["index_name"] == index.name
    assert certified["recall"]["mean"] >= least

    service = SearchService(database, Settings(_env_file=None))
    settings = SearchSettings(ef_search=400)
    request = SearchRequest("", Mode.SIMILARITY, settings=settings, with_plan=True)
    collection = database.query(get_collection, library.collection.slug)
    hits = 0
    for query in vectors[::400] + np.float32(0.02):  # near some rows, as the sampled ones are
        found = database.run(service.search(collection, request, embedding=query))
        assert found.plan is not None
        assert found.plan.certify(index.name).certified
        exact = 1 - (vectors @ query) / (np.linalg.norm(vectors, axis=1) * np.linalg.norm(query))
        nearest = {str(number) for number in np.argsort(exact)[:10]}
        hits += len(nearest & {str(hit.document.external_id) for hit in found})
    assert hits / 100 >= least


def test_the_recommended_index_is_built_on_the_collection_and_certified(
    database: Database,
) -> None:
    library = Library(database, VECTORS)
    # every list: exact
    ended, index = applied(library, f"{LISTS}@vector", 20, queries=40)
    assert (index.method, index.options) == (IVFFLAT, {"lists": 20})
    assert ended.result is not None
    certified = ended.result["certified"]
    assert certified["index_name"] == index.name
    assert certified["queries"] == 40
    # Whichever way the planner went, what it found is all there is: all lists, or all rows.
    assert certified["recall"]["mean"] == 1.0
    assert certified["certified"] == ("Each of the 40 plans used" in certified["reason"])


def test_a_certificate_fails_where_the_index_is_not_used(database: Database) -> None:
    library = Library(database, VECTORS)
    batch = database.run(sample_queries(database, library.collection, 20))
    found = database.run(
        certify_index(database, library.collection, "no_such", SearchParameter(HNSW, 40), batch, 10)
    )
    assert not found.certified
    assert "no vector index" in found.reason
    assert found.recall.mean.value == 1.0
    assert "Not certified" in found.text


def test_the_table_is_indexed_as_the_candidate_was(database: Database) -> None:
    table = Library(database, VECTORS[:50]).collection.table
    assert table.dimensions == DIMENSIONS
    plain, half, bit = (
        indexed_table(table, parse_candidate(f"{GRAPH}@{storage}", 0, Storage.VECTOR))
        for storage in ("vector", "halfvec", "bit")
    )
    assert plain.indexed_as is IndexedAs.COLUMN
    assert half.indexed_as is IndexedAs.HALFVEC
    assert bit.indexed_as is IndexedAs.BINARY
    halves = replace(table, storage=Storage.HALFVEC)
    again = indexed_table(halves, parse_candidate(f"{LISTS}@halfvec", 0, Storage.HALFVEC))
    assert again.indexed_as is IndexedAs.COLUMN
