"""A collection whose own index is on halves or bits of its vectors: searches ask it, find what
numpy finds, and are by the full vectors wherever it does not answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from candidates_fixture import Library, clustered
from sqlalchemy import URL
from test_search_printing import ids_of_python, ids_of_sql
from vectors_fixture import execute, expected_distances, one_database

from lib.search.compare import ColumnSettings, approximate_columns, compare
from lib.search.diagnosis.checks import CheckName
from lib.search.diagnosis.report import explain_search
from lib.search.export import python_text, sql_text
from lib.search.filters import parse_filter
from lib.search.miss_analysis import analyse_misses
from lib.search.request import Mode, SearchRequest
from lib.search.service import SearchService
from lib.settings import Settings
from lib.store.collections import get_collection, summarise
from lib.store.database import Database
from lib.store.production import drop_production_index, start_index_build
from lib.store.url import connect_arguments
from lib.vectors.catalog import IndexDescription
from lib.vectors.distance import Distance, FloatArray, IndexedAs
from lib.vectors.hybrid import Fusion
from lib.vectors.index_methods import HNSW, IVFFLAT, IndexSpec, IterativeScan
from lib.vectors.search import SearchResult
from lib.vectors.tuning import Scan, SearchSettings

HALVES, BITS = "halves", "bits"
INDEXED_AS = {HALVES: IndexedAs.HALFVEC, BITS: IndexedAs.BINARY, "": IndexedAs.COLUMN}
NUMBERS = count(1)
GRAPH = HNSW.spec(m=12, ef_construction=80)
THROUGH = SearchSettings(scan=Scan.INDEX)
ALL_LISTS = SearchSettings(scan=Scan.INDEX, probes=4)
EXACT = SearchSettings(scan=Scan.EXACT)
# Half precision is told from full at once: its distances are off by about 1e-4.
NEAR = {"rel": 2e-6, "abs": 2e-6}


@pytest.fixture(scope="module")
def database(server_url: URL, template: str) -> Iterator[Database]:
    with one_database(server_url, template) as found:
        yield found


def make(
    database: Database, vectors: FloatArray, *, distance: Distance = Distance.COSINE
) -> Library:
    """A collection of its own for each test."""
    return Library(database, vectors, distance=distance, name=f"Library {next(NUMBERS)}")


def build(library: Library, held: str, spec: IndexSpec = GRAPH) -> IndexDescription:
    """The collection's own index; held: HALVES, BITS or empty for the column as it is."""
    table = library.collection.table
    if held:
        table = replace(table, indexed_as=INDEXED_AS[held])
    job = library.database.run(
        start_index_build(library.jobs, library.database, library.collection, spec, table=table)
    )
    ended = library.database.run(library.jobs.wait(job.id))
    assert ended.status.value == "done", ended.error
    look_again(library)
    assert library.collection.indexed_by_expression == bool(held)
    found = own_index(library)
    assert found is not None
    assert found.indexed_as is INDEXED_AS[held]
    return found


def look_again(library: Library) -> None:
    """As a page does at every turn, and a command."""
    library.collection = library.database.query(get_collection, library.collection.slug)


def own_index(library: Library) -> IndexDescription | None:
    return library.database.query(summarise, library.collection).index


def meaning(limit: int = 10, settings: SearchSettings = THROUGH, **more: Any) -> SearchRequest:
    return SearchRequest("", Mode.SIMILARITY, limit, settings=settings, with_plan=True, **more)


def search(library: Library, request: SearchRequest, query: FloatArray) -> SearchResult:
    service = SearchService(library.database, Settings(_env_file=None))
    return library.database.run(service.search(library.collection, request, embedding=query))


def numbers(result: SearchResult) -> list[int]:
    return [int(hit.document.external_id or "") for hit in result]


def nearest(library: Library, query: FloatArray, among: Any = None) -> list[int]:
    """All documents, or those numbers, nearest first by numpy."""
    distances = expected_distances(library.vectors, query, library.collection.distance)
    rows = np.arange(len(distances)) if among is None else np.asarray(among)
    return [int(n) for n in rows[np.argsort(distances[rows], kind="stable")]]


def assert_answered_by(result: SearchResult, index: IndexDescription | None) -> None:
    assert result.plan is not None
    assert result.plan.vector_index == (None if index is None else index.name)


def is_by_full_vectors(result: SearchResult) -> bool:
    return "halfvec" not in result.sql.lower() and "binary_quantize" not in result.sql.lower()


# --- what it finds ------------------------------------------------------------------------------


@pytest.mark.parametrize("distance", list(Distance))
@pytest.mark.parametrize("held", [HALVES, BITS])
@pytest.mark.parametrize("spec", [GRAPH, IVFFLAT.spec(lists=8)])
def test_the_plan_uses_it_and_numpy_finds_the_same(
    database: Database, held: str, spec: IndexSpec, distance: Distance
) -> None:
    library = make(database, clustered(700), distance=distance)
    index = build(library, held, spec)
    assert index.indexed_as.label == ("halfvec" if held == HALVES else "bits")
    # 16 bits tell little: most of the 700 are taken by them, for the ranking to choose from
    settings = replace(THROUGH, probes=8, ef_search=700)
    limit, found = 40, 0
    for query in clustered(10, seed=8):
        result = search(library, meaning(limit, settings), query)
        assert_answered_by(result, index)
        assert len(result) == limit
        distances = expected_distances(library.vectors, query, distance)
        told = [hit.distance for hit in result]
        assert told == pytest.approx(distances[numbers(result)], **NEAR)
        assert told == sorted(told)
        found += len(set(numbers(result)) & set(nearest(library, query)[:limit]))
    assert found / (10 * limit) > (0.97 if held == HALVES else 0.9)


@pytest.mark.parametrize("held", [HALVES, BITS])
def test_where_postgresql_decides_it_is_taken_on_a_large_table(
    database: Database, held: str
) -> None:
    library = make(database, clustered(4000))
    index = build(library, held)
    execute(database, f"ANALYZE vecscope.{library.collection.table.name}")
    result = search(library, meaning(settings=SearchSettings()), library.vectors[5])
    assert_answered_by(result, index)
    assert not is_by_full_vectors(result)
    assert numbers(result)[0] == 5


@pytest.mark.parametrize("held", [HALVES, BITS])
def test_where_it_does_not_answer_the_full_vectors_are_compared(
    database: Database, held: str
) -> None:
    """On few rows PostgreSQL compares them all: by halves or bits that would not be exact."""
    library = make(database, clustered(60))
    index = build(library, held)
    query = clustered(1, seed=8)[0]
    for settings in (SearchSettings(), EXACT):
        result = search(library, meaning(50, settings), query)
        assert_answered_by(result, None)
        assert is_by_full_vectors(result)
        assert numbers(result) == nearest(library, query)[:50]
    assert_answered_by(search(library, meaning(), query), index)


def test_a_question_that_halves_cannot_hold_is_asked_in_full(database: Database) -> None:
    library = make(database, clustered(60), distance=Distance.L2)
    build(library, HALVES)
    query = np.full(16, 100_000, dtype=np.float32)
    result = search(library, meaning(), query)
    assert is_by_full_vectors(result)
    assert numbers(result) == nearest(library, query)[:10]


# --- every way to ask ---------------------------------------------------------------------------


@pytest.mark.parametrize("held", [HALVES, BITS])
def test_a_filter_is_met_by_iterative_scan(database: Database, held: str) -> None:
    library = make(database, clustered(600))
    index = build(library, held)
    odd = [n for n in range(600) if n % 10 == 3]
    query = library.vectors[4]
    filters = (parse_filter("shelf=3"),)
    few = replace(THROUGH, ef_search=20)
    cut = replace(few, iterative_scan=IterativeScan.OFF)
    assert len(search(library, meaning(30, cut, filters=filters), query)) < 30
    result = search(library, meaning(30, few, filters=filters), query)
    assert_answered_by(result, index)
    assert result.settings["hnsw.iterative_scan"] == "strict_order"
    assert len(result) == 30
    assert set(numbers(result)) <= set(odd)
    truth = nearest(library, query, odd)[:30]
    assert len(set(numbers(result)) & set(truth)) >= (28 if held == HALVES else 22)


@pytest.mark.parametrize("held", [HALVES, BITS])
def test_a_threshold_is_of_the_full_distance(database: Database, held: str) -> None:
    library = make(database, clustered(500))
    index = build(library, held, IVFFLAT.spec(lists=4))
    query = library.vectors[7]
    order = nearest(library, query)
    distances = expected_distances(library.vectors, query, Distance.COSINE)
    between = float(distances[order[11]] + distances[order[12]]) / 2
    result = search(library, meaning(50, ALL_LISTS, max_distance=between), query)
    assert_answered_by(result, index)
    assert numbers(result) == order[:12]


@pytest.mark.parametrize("fusion", [Fusion.WEIGHTED, Fusion.RRF])
@pytest.mark.parametrize("held", [HALVES, BITS])
def test_the_vector_leg_of_a_hybrid_goes_by_it(
    database: Database, held: str, fusion: Fusion
) -> None:
    library = make(database, clustered(500))
    index = build(library, held, IVFFLAT.spec(lists=4))
    request = replace(meaning(10, ALL_LISTS), query="text 7", mode=Mode.HYBRID, pool=50)
    request = replace(request, fusion=fusion)
    result = search(library, request, library.vectors[7])
    assert_answered_by(result, index)
    assert numbers(result)[0] == 7  # by words and by meaning
    by_meaning = {n: rank for rank, n in enumerate(nearest(library, library.vectors[7]), start=1)}
    ranks = {number: hit.vector_rank for number, hit in zip(numbers(result), result, strict=True)}
    assert ranks[7] == 1
    told = [(rank, by_meaning[number]) for number, rank in ranks.items() if rank is not None]
    assert len(told) > 1
    # by halves two neighbours may change places at the end of the pool; 500 of 500 rows by bits
    assert all(abs(rank - true) <= 1 for rank, true in told)
    raw = search(library, replace(request, fusion=Fusion.RAW), library.vectors[7])
    assert is_by_full_vectors(raw)


@pytest.mark.parametrize("mode", [Mode.SIMILARITY, Mode.HYBRID])
@pytest.mark.parametrize("held", [HALVES, BITS])
def test_the_sql_and_the_python_that_are_shown_run_as_printed(
    database: Database, tmp_path: Path, held: str, mode: Mode
) -> None:
    library = make(database, clustered(300))
    index = build(library, held)
    request = replace(
        meaning(8, filters=(parse_filter("shelf>=2"),), category="odd", max_distance=0.9),
        query="text 5 or so",
        mode=mode,
        pool=20,
    )
    result = search(library, request, library.vectors[5])
    expected = [str(hit.document.id) for hit in result]
    assert len(expected) == 8
    script, program = sql_text(result).full, python_text(result).full
    assert ids_of_sql(database, script) == expected
    assert ids_of_python(database, program, tmp_path) == expected
    explained = script.replace("WITH ", "EXPLAIN WITH ", 1)
    with psycopg.connect(**connect_arguments(database.url), autocommit=True) as connection:
        cursor = connection.execute(explained.encode())
        while cursor.description is None or not cursor.description[0].name.startswith("QUERY"):
            assert cursor.nextset()
        assert index.name in "\n".join(line for (line,) in cursor.fetchall())


# --- what is said of it -------------------------------------------------------------------------


@pytest.mark.parametrize("held", [HALVES, BITS])
def test_the_reasons_are_those_of_its_own_index(database: Database, held: str) -> None:
    library = make(database, clustered(400))
    index = build(library, held)
    execute(database, f"ANALYZE vecscope.{library.collection.table.name}")

    def reasons(request: SearchRequest) -> tuple[str | None, list[CheckName], str]:
        result = search(library, request, library.vectors[5])
        found = database.query(explain_search, library.collection, request, result)
        return found.answered_by, [check.name for check in found.reasons], found.sentence

    answered_by, why, sentence = reasons(meaning())
    assert (answered_by, why) == (index.name, [])
    assert f"by their {held}" in sentence
    assert reasons(meaning(settings=EXACT))[1] == [CheckName.EXACT_SCAN]
    few = reasons(meaning(10_000, settings=SearchSettings()))
    assert (few[0], few[1]) == (None, [CheckName.TABLE_SIZE])


@pytest.mark.parametrize("held", [HALVES, BITS])
def test_the_comparison_and_the_x_ray_know_it(database: Database, held: str) -> None:
    library = make(database, clustered(800))
    index = build(library, held, IVFFLAT.spec(lists=20))
    columns = [
        ColumnSettings("exact", meaning(settings=EXACT)),
        ColumnSettings("own", meaning(settings=replace(THROUGH, probes=1))),
    ]
    service = SearchService(database, Settings(_env_file=None))
    query = clustered(1, seed=8)[0]

    compared = database.run(
        compare(service, database, library.collection, "any", columns, embedding=query)
    )
    certificate = compared.columns[1].certificate
    assert certificate is not None
    assert certificate.certified
    looked = database.run(
        analyse_misses(database, library.collection, query, approximate_columns(compared))
    )
    (column,) = looked.columns
    assert (column.index_name, column.certified) == (index.name, True)
    truth = [int(hit.document.external_id or "") for hit in column.truth]
    assert truth == nearest(library, query)[:10]
    assert column.missed  # one list of twenty
    if held == HALVES:  # all lists hold them all; by 16 bits some are never among the taken
        assert column.all_found_from is not None


# --- when it changes ----------------------------------------------------------------------------


@pytest.mark.parametrize("held", [HALVES, BITS])
def test_one_that_is_dropped_or_replaced_from_outside(database: Database, held: str) -> None:
    library = make(database, clustered(500))
    index = build(library, held)
    query, name = library.vectors[3], library.collection.table.name
    assert_answered_by(search(library, meaning(), query), index)

    execute(database, f'DROP INDEX vecscope."{index.name}"')
    for settings in (THROUGH, SearchSettings()):
        result = search(library, meaning(settings=settings), query)
        assert_answered_by(result, None)
        assert is_by_full_vectors(result)
        assert numbers(result) == nearest(library, query)[:10]
    assert own_index(library) is None

    execute(
        database,
        f"CREATE INDEX mine_{held} ON vecscope.{name} USING hnsw (embedding vector_cosine_ops)",
    )
    assert library.collection.indexed_by_expression  # it was, when it was read
    assert_answered_by(search(library, meaning(), query), own_index(library))
    # of another distance, and of a part of the vector: nothing that a search here could ask
    for element in (
        "(embedding::halfvec(16)) halfvec_l2_ops",
        "(subvector(embedding, 1, 8)::halfvec(8)) halfvec_cosine_ops",
    ):
        execute(
            database,
            f"DROP INDEX vecscope.mine_{held}",
            f"CREATE INDEX mine_{held} ON vecscope.{name} USING hnsw ({element})",
        )
        look_again(library)
        result = search(library, meaning(), query)
        assert_answered_by(result, None)
        assert numbers(result) == nearest(library, query)[:10]
    execute(
        database,
        f"DROP INDEX vecscope.mine_{held}",
        f"CREATE INDEX mine_{held} ON vecscope.{name} USING hnsw "
        "((embedding::halfvec(16)) halfvec_cosine_ops)",
    )
    assert_answered_by(search(library, meaning(), query), own_index(library))


def test_each_takes_the_place_of_the_one_before(database: Database) -> None:
    library = make(database, clustered(300))
    query = library.vectors[3]
    for held in ("", HALVES, BITS, HALVES, ""):
        index = build(library, held)
        assert database.query(summarise, library.collection).indexes == (index,)
        result = search(library, meaning(), query)
        assert_answered_by(result, index)
        assert is_by_full_vectors(result) == (not held)
    again = build(library, "")
    assert again.name != index.name
    build(library, BITS)
    database.run(drop_production_index(database, library.collection))
    assert own_index(library) is None
