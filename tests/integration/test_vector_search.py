"""The searches against numpy, on random and on awkward data, for each distance and storage."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from sqlalchemy import URL, Text, Uuid, text

from lib.errors import DimensionMismatch, InvalidInput, InvalidVector, LimitExceeded
from lib.store.database import Database
from lib.vectors.build import build_index
from lib.vectors.distance import Distance, FloatArray, Storage
from lib.vectors.hybrid import Fusion, HybridQuery
from lib.vectors.index_methods import HNSW, IVFFLAT, IndexSpec, IterativeScan
from lib.vectors.search import (
    hybrid_search,
    search_in_category,
    search_similar_documents,
    search_text,
    search_with_threshold,
)
from lib.vectors.statements import TextQuery
from lib.vectors.tuning import Scan, SearchSettings
from tests.integration.vectors_fixture import (
    DIMENSIONS,
    Fixture,
    expected_distances,
    filled,
    make_table,
    one_database,
    random_vectors,
)


@pytest.fixture(scope="module")
def database(server_url: URL, template: str) -> Iterator[Database]:
    with one_database(server_url, template) as found:
        yield found


@pytest.fixture(params=list(Distance))
def distance(request: pytest.FixtureRequest) -> Distance:
    return request.param


@pytest.fixture(params=list(Storage))
def storage(request: pytest.FixtureRequest) -> Storage:
    return request.param


def test_nearest_are_numpys_nearest(
    database: Database, distance: Distance, storage: Storage
) -> None:
    vectors = random_vectors(300).astype(np.float16).astype(np.float32)  # exact in both storages
    found = filled(database, vectors, distance=distance, storage=storage)
    query = vectors[7] + np.float32(0.25)
    query = query.astype(np.float16).astype(np.float32)
    expected = expected_distances(vectors, query, distance)

    result = found.run(search_similar_documents, query, 12)

    assert [hit.document.id for hit in result] == np.argsort(expected)[:12].tolist()
    assert [hit.distance for hit in result] == pytest.approx(np.sort(expected)[:12], abs=1e-5)
    assert [hit.vector_rank for hit in result] == list(range(1, 13))
    assert result.truncated_because is None


def test_similarity_is_larger_for_closer_documents(database: Database, distance: Distance) -> None:
    found = filled(database, random_vectors(50), distance=distance)
    result = found.run(search_similar_documents, found.vectors[3], 50)
    similarities = [hit.similarity for hit in result]
    assert similarities == sorted(similarities, reverse=True)
    if distance is Distance.COSINE:
        assert similarities[0] == pytest.approx(1.0)


@pytest.mark.parametrize("spec", [IVFFLAT.spec(lists=4), HNSW.spec(m=8, ef_construction=32)])
def test_each_index_answers_its_own_distance(
    database: Database, distance: Distance, storage: Storage, spec: IndexSpec
) -> None:
    """A wrong operator class would leave the index unused: the plan must name it."""
    found = filled(database, random_vectors(500), distance=distance, storage=storage)
    built = database.run(build_index(database.engine, found.table, spec))
    everything = SearchSettings(probes=4, ef_search=500, scan=Scan.INDEX)

    result = found.run(
        search_similar_documents, found.vectors[0], 10, settings=everything, with_plan=True
    )

    assert result.plan is not None
    assert result.plan.certify(built.name).certified, result.plan.summary
    expected = np.argsort(expected_distances(found.vectors, found.vectors[0], distance))[:10]
    assert {hit.document.id for hit in result} == set(expected.tolist())


def test_exact_search_uses_no_index(database: Database) -> None:
    found = filled(database, random_vectors(500))
    database.run(build_index(database.engine, found.table, HNSW.spec()))
    result = found.run(
        search_similar_documents,
        found.vectors[0],
        5,
        settings=SearchSettings(scan=Scan.EXACT),
        with_plan=True,
    )
    assert result.plan is not None
    assert result.plan.vector_index is None
    assert result.plan.sequential == ("My Articles",)
    assert not result.plan.certify("anything").certified


def test_settings_end_with_the_transaction(database: Database) -> None:
    found = filled(database, random_vectors(20))
    exact = SearchSettings(scan=Scan.EXACT)
    found.run(search_similar_documents, found.vectors[0], 5, settings=exact)

    async def setting() -> str:
        async with database.session() as db:
            return (await db.execute(text("SHOW enable_indexscan"))).scalar_one()

    # More often than the pool has connections, so that the one that was used comes by.
    assert {database.run(setting()) for _ in range(5)} == {"on"}


def test_threshold_is_strict_and_applied_after_the_nearest(database: Database) -> None:
    found = filled(database, random_vectors(200), distance=Distance.L2)
    expected = np.sort(expected_distances(found.vectors, found.vectors[5], Distance.L2))
    between = float(expected[6] + expected[7]) / 2

    result = found.run(search_with_threshold, found.vectors[5], between, 50)
    assert [distance for _, distance in result.pairs] == pytest.approx(expected[:7], abs=1e-5)

    # strictly below: the row itself is at distance 0, and 0 < tiny but not 0 < 0
    limited = found.run(search_with_threshold, found.vectors[5], between, 3)
    assert len(limited) == 3


def test_threshold_still_uses_the_index(database: Database) -> None:
    """`WHERE distance < x` alone never does: the CTE is what makes it so."""
    found = filled(database, random_vectors(2000))
    built = database.run(build_index(database.engine, found.table, HNSW.spec()))
    result = found.run(search_with_threshold, found.vectors[0], 0.9, 10, with_plan=True)
    assert result.plan is not None
    assert result.plan.vector_index == built.name


def test_category_filters(database: Database) -> None:
    found = filled(database, random_vectors(100))
    expected = expected_distances(found.vectors, found.vectors[2], Distance.COSINE)
    odd = [int(i) for i in np.argsort(expected) if i % 2 == 1][:10]
    result = found.run(search_in_category, found.vectors[2], "odd", 10)
    assert [hit.document.id for hit in result] == odd
    assert {hit.document.category for hit in result} == {"odd"}


def test_category_says_when_the_index_filtered_too_much_away(database: Database) -> None:
    vectors = random_vectors(3000)
    rows = [(i, "t", "rare" if i % 100 == 0 else "common", v) for i, v in enumerate(vectors)]
    table = make_table(database, rows)
    found = Fixture(database, table, vectors)
    built = database.run(build_index(database.engine, table, HNSW.spec()))

    short = found.run(
        search_in_category,
        vectors[1],
        "rare",
        20,
        settings=SearchSettings(ef_search=20, scan=Scan.INDEX),
    )
    assert len(short) < 20
    assert short.truncated_because is not None
    assert built.name in short.truncated_because
    assert "iterative scan was off" in short.truncated_because

    whole = found.run(
        search_in_category,
        vectors[1],
        "rare",
        20,
        settings=SearchSettings(ef_search=20, scan=Scan.INDEX, iterative_scan=IterativeScan.STRICT),
    )
    assert len(whole) == 20
    assert whole.truncated_because is None


def test_ef_search_below_the_limit_is_said(database: Database) -> None:
    found = filled(database, random_vectors(2000))
    built = database.run(build_index(database.engine, found.table, HNSW.spec()))
    result = found.run(
        search_similar_documents,
        found.vectors[0],
        50,
        settings=SearchSettings(ef_search=10, scan=Scan.INDEX),
    )
    assert len(result) == 10
    assert result.truncated_because is not None
    assert built.name in result.truncated_because
    assert "ef_search" in result.truncated_because


# --- awkward data -------------------------------------------------------------------------------


def test_empty_table(database: Database) -> None:
    table = make_table(database, [])
    found = Fixture(database, table, random_vectors(1))
    for search in (search_similar_documents, search_with_threshold):
        assert len(found.run(search, found.vectors[0])) == 0
    result = found.run(search_similar_documents, found.vectors[0])
    assert result.truncated_because is not None
    assert "no more documents" in result.truncated_because
    assert len(found.run(hybrid_search, HybridQuery("any text", found.vectors[0]))) == 0


def test_one_row_and_a_limit_above_the_table(database: Database) -> None:
    found = filled(database, random_vectors(1))
    result = found.run(search_similar_documents, found.vectors[0], 100)
    assert [hit.document.id for hit in result] == [0]
    assert result.truncated_because == (
        "Only 1 of 100: there are no more documents with a usable embedding."
    )


def test_rows_without_an_embedding_are_left_out(database: Database) -> None:
    vectors = random_vectors(4)
    rows = [(i, "t", None, None if i == 2 else v) for i, v in enumerate(vectors)]
    found = Fixture(database, make_table(database, rows), vectors)
    assert {hit.document.id for hit in found.run(search_similar_documents, vectors[2])} == {0, 1, 3}


@pytest.mark.parametrize("indexed", [False, True])
def test_zero_vectors_have_no_cosine(database: Database, indexed: bool) -> None:
    vectors = random_vectors(30)
    vectors[[3, 9]] = 0
    found = filled(database, vectors)
    if indexed:
        database.run(build_index(database.engine, found.table, HNSW.spec()))
    result = found.run(
        search_similar_documents,
        vectors[0],
        30,
        settings=SearchSettings(ef_search=100, scan=Scan.INDEX if indexed else Scan.AUTO),
    )
    assert {hit.document.id for hit in result} == set(range(30)) - {3, 9}
    assert result.truncated_because is not None
    assert "no more documents" in result.truncated_because


def test_zero_vectors_have_an_l2_distance(database: Database) -> None:
    vectors = random_vectors(5)
    vectors[3] = 0
    found = filled(database, vectors, distance=Distance.L2)
    hits = {hit.document.id: hit for hit in found.run(search_similar_documents, vectors[0])}
    assert hits[3].distance == pytest.approx(float(np.linalg.norm(vectors[0])), abs=1e-5)


def test_ties_are_all_found(database: Database) -> None:
    vectors = np.repeat(random_vectors(5), 4, axis=0)
    found = filled(database, vectors)
    result = found.run(search_similar_documents, vectors[0], 4)
    assert {hit.document.id for hit in result} == {0, 1, 2, 3}
    assert [hit.distance for hit in result] == pytest.approx([0.0] * 4, abs=1e-6)


@pytest.mark.parametrize(
    ("query", "error"),
    [
        (np.ones(DIMENSIONS + 1, np.float32), DimensionMismatch),
        (np.full(DIMENSIONS, np.nan, np.float32), InvalidVector),
        (np.full(DIMENSIONS, np.inf, np.float32), InvalidVector),
        (np.zeros(DIMENSIONS, np.float32), InvalidVector),
        (np.ones((1, DIMENSIONS), np.float32), InvalidVector),
        (np.ones(0, np.float32), InvalidVector),
    ],
)
def test_unusable_query_vectors_are_refused(
    database: Database, query: FloatArray, error: type[Exception]
) -> None:
    found = filled(database, random_vectors(3))
    with pytest.raises(error):
        found.run(search_similar_documents, query)


def test_halfvec_refuses_what_it_cannot_hold(database: Database) -> None:
    found = filled(database, random_vectors(3), storage=Storage.HALFVEC)
    with pytest.raises(InvalidVector, match="halfvec"):
        found.run(search_similar_documents, np.full(DIMENSIONS, 70000, np.float32))


def test_unusable_limits_and_thresholds_are_refused(database: Database) -> None:
    found = filled(database, random_vectors(3))
    query = found.vectors[0]
    for limit in (0, -1, 10_001):
        with pytest.raises(LimitExceeded):
            found.run(search_similar_documents, query, limit)
    for threshold in (float("nan"), float("inf"), 0.0, -0.5):
        with pytest.raises(InvalidInput):
            found.run(search_with_threshold, query, threshold)
    with pytest.raises(LimitExceeded):
        SearchSettings(ef_search=1001)
    with pytest.raises(InvalidInput):
        SearchSettings(scan=Scan.EXACT, probes=3)


def test_any_id_type(database: Database) -> None:
    vectors = random_vectors(6)
    keys = [uuid.UUID(int=i) for i in range(6)]
    rows = [(key, "some text", None, v) for key, v in zip(keys, vectors, strict=True)]
    found = Fixture(database, make_table(database, rows, id_type=Uuid()), vectors)
    assert found.run(search_similar_documents, vectors[4], 1)[0].document.id == keys[4]
    assert {
        hit.document.id for hit in found.run(hybrid_search, HybridQuery("text", vectors[4]))
    } == set(keys)


def test_text_ids_and_quotes_in_values(database: Database) -> None:
    vectors = random_vectors(2)
    topic = 'O\'Brien; DROP TABLE "x" -- %s :name'
    rows = [("a'b", "one", topic, vectors[0]), ("%(x)s", "two", "other", vectors[1])]
    found = Fixture(database, make_table(database, rows, id_type=Text()), vectors)
    result = found.run(search_in_category, vectors[1], topic, 1)
    assert [hit.document.id for hit in result] == ["a'b"]


# --- the printed SQL ----------------------------------------------------------------------------


def test_the_printed_sql_finds_the_same(database: Database) -> None:
    """What a person copies from the page, run as one text, gives the same ids in the same
    order."""
    found = filled(database, random_vectors(60))
    query = found.vectors[8]
    settings = SearchSettings(ef_search=77)
    for result in (
        found.run(search_in_category, query, "odd", 7, settings=settings),
        found.run(search_with_threshold, query, 0.8, 7),
        found.run(search_text, "text 8's 100% :x", 7, kind=TextQuery.ANY),
        found.run(hybrid_search, HybridQuery("text 8", query, 7)),
        found.run(hybrid_search, HybridQuery("text 8", query, 7, 0.4, Fusion.RAW)),
    ):
        assert result.hits
        assert ids_of_script(database, result.sql) == [hit.document.id for hit in result]


def ids_of_script(database: Database, script: str) -> list[Any]:
    import psycopg

    from lib.store.url import connect_arguments

    with psycopg.connect(**connect_arguments(database.url), autocommit=True) as connection:
        cursor = connection.execute(script)  # no parameters: sent as it is
        while cursor.description is None or cursor.description[0].name != "id":
            assert cursor.nextset()
        return [row[0] for row in cursor.fetchall()]
