"""What the lab measures, against an independent computation."""

from __future__ import annotations

import math
import os
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import psycopg
import pytest
from candidates_fixture import DIMENSIONS, Library, clustered
from lab_fixture import QUERIES, K, Lab
from pgvector import Vector
from sqlalchemy import URL
from vectors_fixture import expected_distances, one_database

from lib.lab import protocol as wire
from lib.lab.clients import open_clients
from lib.lab.environment import find_environment
from lib.lab.measure import (
    measure_all,
    open_benchmarks,
)
from lib.lab.measurement import EXACT_NAME, Measurement, Protocol, SearchParameter
from lib.progress import Step
from lib.store.candidates import Candidate
from lib.store.database import Database
from lib.store.url import connect_arguments
from lib.vectors.distance import Distance, ElementType, FloatArray, Storage, vector_text
from lib.vectors.index_methods import HNSW, IVFFLAT, IndexSpec, IterativeScan


def with_ties() -> FloatArray:
    """Clustered, with 40 rows that are one and the same, and each of 100 more twice."""
    vectors = clustered(1500)
    vectors[:40] = vectors[0]
    vectors[100:200] = vectors[200:300]
    return vectors


@pytest.fixture(scope="module")
def shared(server_url: URL, template: str) -> Iterator[Database]:
    with one_database(server_url, template) as found:
        yield found


# --- recall, to the last digit -------------------------------------------------------------------


def asked_apart(
    lab: Lab, candidate: Candidate, sql: str, settings: dict[str, str]
) -> list[list[int]]:
    """The numbers of the documents that the candidate's index gives, by plain SQL on a connection
    of the test's own; a query's own row is taken out."""
    found = []
    with psycopg.connect(**connect_arguments(lab.database.url), autocommit=True) as connection:
        for name, value in settings.items():
            connection.execute("SELECT set_config(%s, %s, false)", (name, value))
        for vector, own in zip(lab.batch.vectors, lab.batch.own_ids, strict=True):
            statement = sql.format(
                table=candidate.table.qualified_name,
                query=vector_text(vector),
                limit=K if own is None else K + 1,
            )
            plan = connection.execute(f"EXPLAIN {statement}").fetchall()
            assert any(str(candidate.index_name) in line for (line,) in plan)
            ids = [row[0] for row in connection.execute(statement)]
            found.append([id_.int for id_ in ids if id_ != own][:K])
    return found


def recalls_apart(lab: Lab, found: list[list[int]], rows: Sequence[int]) -> list[float]:
    """By numpy over all the rows, sorted; the true distances are of the library's own vectors."""
    recalls = []
    for vector, own, numbers in zip(lab.batch.vectors, lab.batch.own_ids, found, strict=True):
        vectors = np.asarray(lab.library.vectors)
        distances = expected_distances(vectors, vector, lab.collection.distance)
        there = np.sort([distances[n] for n in rows if uuid.UUID(int=n) != own])[:K]
        hits = sum(distances[n] <= there[-1] + 1e-12 * max(1, abs(there[-1])) for n in numbers)
        recalls.append(hits / len(there))
    return recalls


OPERATORS = {Distance.COSINE: "<=>", Distance.L2: "<->", Distance.INNER_PRODUCT: "<#>"}
PLAIN = "SELECT id FROM {{table}} {where} ORDER BY embedding {operator} '{{query}}' LIMIT {{limit}}"
BITS = (
    "WITH a AS MATERIALIZED (SELECT id, embedding FROM {{table}} {where} "
    f"ORDER BY binary_quantize(embedding)::bit({DIMENSIONS}) <~> "
    "binary_quantize('{{query}}'::vector) LIMIT 10 * {{limit}}) "
    "SELECT id FROM a ORDER BY embedding {operator} '{{query}}' LIMIT {{limit}}"
)
INDEXES = [
    (HNSW.spec(m=2, ef_construction=8), SearchParameter(HNSW, 11)),
    (IVFFLAT.spec(lists=40), SearchParameter(IVFFLAT, 1)),
]


@pytest.fixture(scope="module", params=Distance)
def tied(shared: Database, request: pytest.FixtureRequest) -> Lab:
    return Lab(Library(shared, with_ties(), distance=request.param, name=f"{uuid.uuid4()}"))


@pytest.mark.parametrize(
    ("storage", "spec", "setting"),
    [
        *((storage, *INDEXES[0]) for storage in ElementType),
        (ElementType.VECTOR, *INDEXES[1]),
    ],
)
def test_recall_is_that_of_numpy_to_the_last_digit(
    tied: Lab, storage: ElementType, spec: IndexSpec, setting: SearchParameter
) -> None:
    lab, distance = tied, tied.collection.distance
    candidate = lab.library.build(spec, storage)
    recall_pass = lab.with_bench(candidate, lambda bench: bench.measure_recall(setting))
    form = BITS if storage is ElementType.BIT else PLAIN
    sql = form.format(operator=OPERATORS[distance], where="")
    settings = {"enable_seqscan": "off", "enable_sort": "off"}
    settings[f"{spec.method.name}.{setting.name}"] = str(setting.value)
    found = asked_apart(lab, candidate, sql, settings)
    wanted = recalls_apart(lab, found, range(1500))
    assert recall_pass.recalls.tolist() == wanted
    assert recall_pass.figures().mean.value == math.fsum(wanted) / QUERIES
    assert 0.1 < recall_pass.figures().mean.value < 1  # it could have been otherwise
    assert recall_pass.short == sum(len(row) < K for row in found)
    by_id = [
        len(set(row) & {id_.int for id_ in ids}) / K
        for row, ids in zip(found, lab.truth.ids, strict=True)
    ]
    assert recall_pass.id_recalls.tolist() == by_id
    assert recall_pass.certificate.certified, recall_pass.certificate.reason
    assert recall_pass.plan_index == candidate.index_name


def test_equal_rows_are_hits_by_distance_and_not_by_id(shared: Database) -> None:
    library = Library(shared, with_ties(), name=f"{uuid.uuid4()}")
    candidate = library.build(HNSW.spec(m=16, ef_construction=64))
    lab = Lab(library, given=with_ties()[:1])  # 40 rows are as near as can be
    assert lab.truth.tied.tolist() == [True]
    recall_pass = lab.with_bench(
        candidate, lambda bench: bench.measure_recall(SearchParameter(HNSW, 100))
    )
    assert recall_pass.recalls.tolist() == [1.0]
    assert recall_pass.id_recalls[0] < 1  # which ten of the forty is chance


@pytest.mark.parametrize("iterative", [IterativeScan.OFF, IterativeScan.RELAXED])
def test_a_filter(shared: Database, iterative: IterativeScan) -> None:
    library = Library(shared, with_ties(), name=f"{uuid.uuid4()}")
    candidate = library.build(HNSW.spec(m=4, ef_construction=16))
    lab = Lab(library, "category=even", "shelf=4")
    setting = SearchParameter(HNSW, 12, iterative)
    recall_pass = lab.with_bench(candidate, lambda bench: bench.measure_recall(setting))
    where = "WHERE category = 'even' AND (metadata ->> 'shelf')::int = 4"
    settings = {
        "enable_seqscan": "off",
        "enable_sort": "off",
        "hnsw.ef_search": "12",
        "hnsw.iterative_scan": iterative.value,
    }
    sql = PLAIN.format(operator="<=>", where=where)
    found = asked_apart(lab, candidate, sql, settings)
    wanted = recalls_apart(lab, found, range(4, 1500, 10))
    assert recall_pass.recalls.tolist() == wanted
    assert recall_pass.short == sum(len(row) < K for row in found)
    # One row in ten passes: twelve looked at leave one, and to look on is what fills up.
    assert (recall_pass.short > QUERIES / 2) is (iterative is IterativeScan.OFF)


def test_recall_is_by_what_there_is(shared: Database) -> None:
    """Six rows pass the filter, so that six is all."""
    vectors = clustered(60)
    library = Library(shared, vectors, name=f"{uuid.uuid4()}")
    candidate = library.build(HNSW.spec(m=16, ef_construction=64))
    lab = Lab(library, "shelf=4", given=vectors[:5] + 0.01)
    recall_pass = lab.with_bench(
        candidate, lambda bench: bench.measure_recall(SearchParameter(HNSW, 100))
    )
    assert lab.truth.found.tolist() == [6] * 5
    assert recall_pass.recalls.tolist() == [1.0] * 5
    assert recall_pass.short == 0


def test_a_collection_of_halves(shared: Database) -> None:
    vectors = with_ties()
    library = Library(shared, vectors, storage=Storage.HALFVEC, name=f"{uuid.uuid4()}")
    lab = Lab(library, given=vectors[300:340] + 0.003)
    recall_pass = lab.with_bench(None, lambda bench: bench.measure_recall(SearchParameter(None)))
    assert recall_pass.recalls.tolist() == [1.0] * 40  # what is asked for is asked in halves too


def test_the_exact_scan_finds_all(shared: Database) -> None:
    library = Library(shared, with_ties(), name=f"{uuid.uuid4()}")
    lab = Lab(library, "category=odd")
    measured = lab.with_bench(None, lambda bench: bench.measure(SearchParameter(None), 1))
    assert measured.candidate == EXACT_NAME
    assert (measured.recalls == 1).all()
    assert (measured.certified, measured.plan_index) == (True, None)
    assert "every row was compared" in measured.reason


# --- figures -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lab(shared: Database) -> Lab:
    return Lab(Library(shared, clustered(1500), name="Measured"))


@pytest.fixture(scope="module")
def hnsw(lab: Lab) -> Candidate:
    return lab.library.build(HNSW.spec(m=8, ef_construction=32))


def test_several_candidates_and_settings_in_mixed_rounds(lab: Lab, hnsw: Candidate) -> None:
    ivfflat = lab.library.build(IVFFLAT.spec(lists=20))
    steps: list[Step] = []

    async def work() -> list[Measurement]:
        async with open_benchmarks(lab.database, lab.collection, (1, 3)) as benches:
            one = await lab.add(benches, hnsw)
            two = await lab.add(benches, ivfflat)

            async def note(step: Step) -> None:
                steps.append(step)

            return await measure_all(
                [
                    (one, SearchParameter(HNSW, 11)),
                    (two, SearchParameter(IVFFLAT, 20)),
                    (one, SearchParameter(HNSW, 200)),
                ],
                2,
                seed=3,
                on_progress=note,
            )

    measured = lab.run(work())
    assert [(m.candidate, m.setting.value) for m in measured] == [
        (hnsw.name, 11),
        (ivfflat.name, 20),
        (hnsw.name, 200),
    ]
    assert [step.share for step in steps] == [done / 9 for done in range(1, 10)]
    orders = [[step.message.split(":")[0] for step in steps[at : at + 3]] for at in (0, 3, 6)]
    assert all(len(set(order)) == 3 for order in orders)
    assert len({tuple(order) for order in orders}) > 1  # of this seed
    first, all_lists, high = measured
    assert all_lists.recall.mean.value == 1
    assert first.recall.mean.value <= high.recall.mean.value
    for each in measured:
        assert each.certified, each.reason
        assert (each.k, each.queries, each.rounds) == (K, QUERIES, 2)
        assert each.recalls.shape == each.latencies_ms.shape == (QUERIES,)
        assert 0 < each.latency.p50_ms <= each.latency.p95_ms <= each.latency.p99_ms
        assert each.latency.server_ms is not None
        assert each.latency.server_ms > 0
        assert set(each.qps) == {1, 3}
        assert min(each.qps.values()) > 0
        assert each.short == 0
        assert each.buffers
    assert (high.buffers or 0) > (first.buffers or 0)


def test_the_best_round_of_ann_benchmarks(lab: Lab, hnsw: Candidate) -> None:
    """Of the same rounds, the best is no slower than the median of them in any figure's mean."""
    best = lab.with_bench(
        hnsw,
        lambda bench: bench.measure(SearchParameter(HNSW, 40), 3, protocol=Protocol.ANN_BENCHMARKS),
    )
    assert best.rounds == 3
    # One round counts: the latencies of the queries are those that the figures are of.
    assert best.latency.p50_ms == pytest.approx(float(np.quantile(best.latencies_ms, 0.5)))
    assert best.latency.p99_ms == pytest.approx(float(np.quantile(best.latencies_ms, 0.99)))


def test_a_query_is_a_prepared_statement_from_its_first_time_on(lab: Lab) -> None:
    """As in an application that cares: parsing it again each time is no part of what an index
    costs. The session's list of them is asked by the query itself."""
    sql = "SELECT count(*) FROM pg_prepared_statements WHERE %(query)s::vector IS NOT NULL"
    vector = Vector(np.ones(DIMENSIONS)).to_binary()

    async def work() -> list[list[Any]]:
        async with open_clients(lab.database.url, 1) as clients:
            await clients.tell_all(
                wire.Load("own", sql, "query", {}, [vector], is_halfvec=False, index=None)
            )
            (answers,) = await clients.ask([wire.Ask("own", {}, [0, 0], with_ids=True)])
            return answers.ids

    assert lab.run(work()) == [[1], [1]]


def test_the_environment(lab: Lab, server_url: URL) -> None:
    with psycopg.connect(**connect_arguments(server_url)) as connection:
        version = connection.execute("SHOW server_version").fetchone()
        memory = connection.execute("SHOW shared_buffers").fetchone()
    found = lab.database.query(find_environment, lab.collection)
    assert version is not None
    assert memory is not None
    assert version[0].startswith(found.postgres)
    assert found.settings["shared_buffers"] == memory[0]
    assert (found.rows, found.dimensions, found.distance) == (1500, 16, Distance.COSINE)
    assert found.cpus == os.cpu_count()
    assert found.local_server
    assert found.pgvector.count(".") == 2
