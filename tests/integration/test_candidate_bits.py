"""Candidates whose index holds bits: what they find is what numpy finds, and it is certified."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from candidates_fixture import DIMENSIONS, Library, clustered
from vectors_fixture import execute, expected_distances

from lib.errors import IndexRefused
from lib.lab.candidates import check_candidate
from lib.search.diagnosis.report import explain_search
from lib.search.filters import conditions, parse_filter
from lib.search.request import Mode, SearchRequest
from lib.search.service import SearchService
from lib.settings import Settings
from lib.store.candidates import Candidate, parse_candidate
from lib.store.database import Database
from lib.vectors.distance import Distance, ElementType, FloatArray, Storage
from lib.vectors.index_methods import HNSW, IVFFLAT, IndexSpec
from lib.vectors.plans import Plan, explain
from lib.vectors.search import SearchResult
from lib.vectors.statements import candidate_statement
from lib.vectors.tuning import Scan, SearchSettings, apply_settings

BIT = ElementType.BIT
ALL_LISTS = SearchSettings(probes=4, scan=Scan.INDEX)


def ask(
    library: Library,
    candidate: Candidate,
    query: FloatArray,
    k: int,
    oversampling: int,
    settings: SearchSettings = ALL_LISTS,
    filters: tuple[str, ...] = (),
) -> tuple[list[int], list[float], Plan]:
    """(document numbers, distances, plan) of the candidate's own statement."""
    where = conditions(candidate.table, [parse_filter(each) for each in filters])
    statement = candidate_statement(candidate.table, query, k, where, oversampling)

    async def work() -> tuple[list[int], list[float], Plan]:
        async with library.database.session() as db:
            await apply_settings(db, settings.server_settings())
            rows = (await db.execute(statement)).all()
            plan = await explain(db, statement)
        return [row.id.int for row in rows], [row.distance for row in rows], plan

    return library.database.run(work())


def random_vectors(count: int, dimensions: int, *, seed: int = 1) -> FloatArray:
    return np.random.default_rng(seed).standard_normal((count, dimensions)).astype(np.float32)


def hamming(vectors: FloatArray, query: FloatArray) -> np.ndarray:
    return ((vectors > 0) != (query > 0)).sum(axis=1)


def without_a_tie(distances: np.ndarray, k: int) -> int:
    """An oversampling at which the last row taken by its bits is nearer than the next."""
    ordered = np.sort(distances)
    found = [n for n in range(2, 40) if ordered[n * k - 1] < ordered[n * k]]
    assert found, "the data has ties throughout"
    return found[0]


@pytest.mark.parametrize("distance", list(Distance))
@pytest.mark.parametrize("storage", list(Storage))
def test_hamming_finds_and_the_full_vectors_rank(
    database: Database, distance: Distance, storage: Storage
) -> None:
    vectors = random_vectors(400, 64).astype(np.float16).astype(np.float32)
    library = Library(database, vectors, distance=distance, storage=storage, dimensions=64)
    flat = library.build(IVFFLAT.spec(lists=4), BIT)
    assert flat.table.storage is storage  # the full vectors, as the collection stores them
    k, ranked_anew = 3, 0
    for query in random_vectors(10, 64, seed=8).astype(np.float16).astype(np.float32):
        by_bits = hamming(vectors, query)
        oversampling = without_a_tie(by_bits, k)
        pool = np.argsort(by_bits, kind="stable")[: oversampling * k]
        distances = expected_distances(vectors, query, distance)
        best = pool[np.argsort(distances[pool])][:k]
        ids, found, plan = ask(library, flat, query, k, oversampling)
        assert ids == best.tolist()
        assert found == pytest.approx(distances[best], rel=1e-3, abs=1e-3)
        assert plan.certify(flat.index_name or "").certified
        ranked_anew += ids != pool[:k].tolist()
    assert ranked_anew  # or the bits alone would have done


def test_a_graph_of_bits_is_certified_and_finds_nearly_all(database: Database) -> None:
    vectors = clustered(1000)
    library = Library(database, vectors)
    graph = library.build(HNSW.spec(), BIT)
    assert graph.name == "HNSW m 16, ef_construction 64, bit, re-ranked"
    ((definition,),) = library.ask(
        f"SELECT indexdef FROM pg_indexes WHERE tablename = '{graph.table.name}'"
    )
    assert f"(binary_quantize(embedding))::bit({DIMENSIONS})) bit_hamming_ops" in definition
    settings = SearchSettings(ef_search=600, scan=Scan.INDEX)
    hits = 0
    for query in clustered(20, seed=8):
        truth = np.argsort(expected_distances(vectors, query, Distance.COSINE))[:10]
        ids, _, plan = ask(library, graph, query, 10, 60, settings)
        assert plan.certify(graph.index_name or "").certified
        hits += len(set(ids) & set(truth.tolist()))
    assert hits / 200 > 0.9


def test_filters_are_applied_before_the_bits_are_cut(database: Database) -> None:
    vectors = clustered(400)
    library = Library(database, vectors)
    flat = library.build(IVFFLAT.spec(lists=4), BIT)
    odd = [n for n in range(400) if n % 2 and n % 10 == 3]
    distances = expected_distances(vectors, vectors[3], Distance.COSINE)
    expected = sorted(odd, key=lambda n: distances[n])[:5]
    ids, _, _ = ask(library, flat, vectors[3], 5, len(odd), filters=("category=odd", "shelf=3"))
    assert ids == expected


def test_it_is_not_certified_where_the_index_did_not_answer(database: Database) -> None:
    library = Library(database, clustered(300))
    flat = library.build(IVFFLAT.spec(lists=4), BIT)
    query = library.vectors[0]

    def certified(settings: SearchSettings) -> bool:
        plan = ask(library, flat, query, 5, 10, settings)[2]
        return plan.certify(flat.index_name or "").certified

    assert certified(ALL_LISTS)
    assert not certified(SearchSettings(scan=Scan.EXACT))
    execute(database, f"DROP INDEX vecscope.{flat.index_name}")
    assert not certified(ALL_LISTS)


def test_the_exact_table_compares_every_row_in_full(database: Database) -> None:
    vectors = clustered(300)
    library = Library(database, vectors)
    flat = library.build(IVFFLAT.spec(lists=4), BIT)
    exact = replace(flat, table=flat.exact_table)
    for query in clustered(5, seed=8):
        truth = np.argsort(expected_distances(vectors, query, Distance.COSINE))[:20]
        ids, _, plan = ask(library, exact, query, 20, 1, SearchSettings(scan=Scan.EXACT))
        assert ids == truth.tolist()
        assert plan.vector_index is None


@pytest.mark.parametrize("mode", [Mode.SIMILARITY, Mode.HYBRID])
def test_a_request_goes_through_it(database: Database, mode: Mode) -> None:
    """More rows are wanted of the index than ef_search is by itself."""
    vectors = clustered(500)
    library = Library(database, vectors)
    graph = library.build(HNSW.spec(), BIT)
    service = SearchService(database, Settings(_env_file=None))
    request = SearchRequest(
        "text 7", mode, limit=20, pool=20, candidate_id=graph.id, with_plan=True
    )

    def search(request: SearchRequest) -> SearchResult:
        return database.run(service.search(library.collection, request, embedding=vectors[7]))

    found = search(request)
    assert found.settings["hnsw.ef_search"] == "200"
    assert len(found) == 20
    assert found[0].document.content == "text 7"
    assert found.plan is not None
    assert found.plan.certify(graph.index_name or "").certified
    diagnosis = database.query(explain_search, library.collection, request, found)
    assert diagnosis.answered_by == graph.index_name
    assert "by their bits" in diagnosis.sentence

    exact = replace(request, settings=SearchSettings(scan=Scan.EXACT), mode=Mode.SIMILARITY)
    truth = np.argsort(expected_distances(vectors, vectors[7], Distance.COSINE))[:20]
    assert [int(hit.document.external_id or "") for hit in search(exact)] == truth.tolist()


# --- what makes no sense --------------------------------------------------------------------------


def check(library: Library, index: IndexSpec | str) -> tuple[str, ...]:
    spec = parse_candidate(str(index), 100, library.collection.storage)
    return library.database.run(check_candidate(library.database, library.collection, spec))


def test_vectors_without_a_change_of_sign_are_refused(database: Database) -> None:
    library = Library(database, np.abs(clustered(200)) + 0.1)
    with pytest.raises(IndexRefused, match="have the same bits") as refused:
        check(library, "hnsw@bit")
    assert "subtract the mean" in refused.value.hint
    check(library, "hnsw@halfvec")


def test_bits_that_tell_little_are_warned_of(database: Database) -> None:
    vectors = np.abs(clustered(200)) + 0.1
    vectors[::20, 0] *= -1
    little, few, _disk = check(Library(database, vectors), "hnsw@bit")
    assert "200 different vectors have 2 different bit patterns" in little
    assert f"{DIMENSIONS} bits a row, which is few" in few


@pytest.mark.parametrize("distance", list(Distance))
def test_lengths_that_differ_matter_to_all_but_cosine(
    database: Database, distance: Distance
) -> None:
    vectors = clustered(200)
    vectors[::2] *= 3
    warnings = check(Library(database, vectors, distance=distance), "hnsw@bit")
    told = [warning for warning in warnings if "lengths differ" in warning]
    assert len(told) == (0 if distance is Distance.COSINE else 1)


def test_bits_are_the_way_out_for_what_is_too_wide(database: Database) -> None:
    wide = Library(database, random_vectors(20, 4001), dimensions=4001)
    with pytest.raises(IndexRefused, match="4,001 dimensions") as refused:
        check(wide, "hnsw@halfvec")
    assert "bits up to 64,000" in refused.value.hint
    built = wide.build(HNSW.spec(), BIT)
    assert built.rows == 20
