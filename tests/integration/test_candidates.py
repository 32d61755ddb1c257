"""Candidates: what is copied, what is left after a cancel or a crash, and what they are worth."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import psycopg
import pytest
from candidates_fixture import DIMENSIONS, Library, clustered
from command_line import CommandLine
from conftest import execute
from sqlalchemy import URL
from vectors_fixture import expected_distances

from lib.errors import Busy, IndexRefused, InvalidInput, NotFound
from lib.lab.candidates import clean_interrupted
from lib.search.filters import conditions, parse_filter
from lib.search.request import Mode, SearchRequest
from lib.search.service import SearchService
from lib.settings import PROJECT_ROOT, Settings
from lib.store import migrations
from lib.store.candidates import (
    Candidate,
    CandidateState,
    drop_candidate,
    get_candidate,
    newest_ready,
)
from lib.store.collections import drop_collection
from lib.store.database import Database
from lib.store.jobs import JobStatus
from lib.store.url import connect_arguments
from lib.vectors.distance import Distance, ElementType, FloatArray
from lib.vectors.hybrid import Fusion, HybridQuery
from lib.vectors.index_methods import HNSW, IVFFLAT, parse_spec_text
from lib.vectors.search import (
    SearchResult,
    hybrid_search,
    search_similar_documents,
    search_with_threshold,
)
from lib.vectors.statements import AccessPath
from lib.vectors.tuning import Scan, SearchSettings


def test_a_candidate_is_a_copy_with_one_index(database: Database) -> None:
    library = Library(database, [*clustered(300), None, None])
    flat = library.build(IVFFLAT.spec(lists=10))
    graph = library.build(HNSW.spec(m=4, ef_construction=16))

    assert library.tables() == {flat.table.name, graph.table.name}
    assert flat.table.name != graph.table.name
    assert [c.name for c in library.candidates()] == [graph.name, flat.name]
    assert flat.name == "IVFFlat lists 10"
    for candidate in (flat, graph):
        assert (candidate.state, candidate.rows, candidate.stale) == ("ready", 300, False)
        table = candidate.table.qualified_name
        (indexes,) = library.ask(
            "SELECT count(*), min(indexname), min(indexdef), "
            f"pg_relation_size('vecscope.{candidate.index_name}'), pg_table_size('{table}') "
            f"FROM pg_indexes WHERE tablename = '{candidate.table.name}'"
        )
        assert indexes[:2] == (1, candidate.index_name)
        assert "vector_cosine_ops" in indexes[2]
        assert indexes[3:] == (candidate.index_bytes, candidate.table_bytes)
        documents = library.collection.table.qualified_name
        both = "SELECT id, embedding::text, category, metadata FROM"
        difference = f"({both} {documents} WHERE embedding IS NOT NULL) EXCEPT ALL {both} {table}"
        assert library.ask(difference) == []
    assert graph.maintenance_work_mem == library.ask("SHOW maintenance_work_mem")[0][0]
    assert graph.build_seconds is not None


def test_the_same_index_twice_gets_its_own_table_and_name(database: Database) -> None:
    library = Library(database, clustered(50))
    first, second = (library.build(HNSW.spec(m=4, ef_construction=8)) for _ in range(2))
    assert first.table.name != second.table.name
    assert second.name == f"{first.name} (2)"
    assert newest_ready(library.candidates(), HNSW) == second
    assert newest_ready(library.candidates(), IVFFLAT) is None


def test_a_candidate_of_halves(database: Database) -> None:
    library = Library(database, clustered(100), distance=Distance.L2)
    half = library.build(HNSW.spec(), ElementType.HALFVEC)
    assert half.name == "HNSW m 16, ef_construction 64, halfvec"
    (kind,) = library.ask(
        f"SELECT pg_typeof(embedding)::text FROM {half.table.qualified_name} LIMIT 1"
    )
    assert kind == ("halfvec",)
    (definition,) = library.ask(
        f"SELECT indexdef FROM pg_indexes WHERE tablename = '{half.table.name}'"
    )
    assert "halfvec_l2_ops" in definition[0]


def test_a_write_makes_it_stale_and_building_again_fresh(database: Database) -> None:
    library = Library(database, clustered(60))
    before = library.build(HNSW.spec())
    library.add(clustered(1, seed=9), first=60)
    (listed,) = library.candidates()
    assert listed.id == before.id
    assert listed.stale
    after = library.build(HNSW.spec())
    assert (after.stale, after.rows) == (False, 61)
    assert newest_ready(library.candidates(), HNSW) == after


def test_what_is_refused_is_refused_before_copying(database: Database) -> None:
    library = Library(database, [*clustered(20), None])
    with pytest.raises(IndexRefused, match="20 rows cannot give 21 lists"):
        library.start(IVFFLAT.spec(lists=21))
    wide = Library(database, [], dimensions=2001, name="Wide")
    with pytest.raises(IndexRefused, match="2,001 dimensions") as refused:
        wide.start(HNSW.spec())
    assert "halfvec" in refused.value.hint
    with pytest.raises(IndexRefused, match="no row with an embedding"):
        wide.start(HNSW.spec(), ElementType.HALFVEC)
    assert library.ask("SELECT count(*) FROM vecscope.jobs") == [(0,)]
    assert library.ask("SELECT count(*) FROM vecscope.candidates") == [(0,)]


def test_a_wide_collection_has_its_way_out_in_halves(database: Database) -> None:
    library = Library(database, np.eye(3, 2001, dtype=np.float32), dimensions=2001)
    assert library.build(HNSW.spec(), ElementType.HALFVEC).rows == 3


def test_a_failed_build_says_why_and_leaves_no_table(database: Database) -> None:
    """A value that no half can hold fails in the copying."""
    vectors = clustered(30)
    vectors[7, 0] = 1e6
    library = Library(database, vectors)
    job = library.start(HNSW.spec(), ElementType.HALFVEC)
    ended = database.run(library.jobs.wait(job.id))
    assert ended.status is JobStatus.FAILED
    (failed,) = library.candidates()
    assert failed.state is CandidateState.FAILED
    assert "out of range for type halfvec" in (failed.error or "")
    assert "out of range for type halfvec" in (ended.error or "")
    assert library.tables() == set()
    good = library.build(HNSW.spec())
    assert [c.id for c in library.candidates()] == [good.id]  # the failed one is replaced


# --- searching through one ------------------------------------------------------------------------


def nearest(library: Library, query: FloatArray, limit: int) -> list[int]:
    """numpy, in float64, for cosine."""
    distances = expected_distances(library.vectors, query, Distance.COSINE)
    return [int(n) for n in np.argsort(distances)[:limit]]


def search(
    library: Library, candidate: Candidate, query: FloatArray, **options: Any
) -> SearchResult:
    settings = SearchSettings(
        probes=options.pop("probes", None),
        ef_search=options.pop("ef_search", None),
        scan=Scan.INDEX,
    )
    filters = options.pop("filters", ())
    text = options.pop("text", None)
    limit = options.pop("limit", 10)
    table = library.collection.table
    narrowed = {
        "where": conditions(table, filters),
        "access_path": AccessPath(candidate.table, conditions(candidate.table, filters)),
    }
    ask = partial(library.database.query, settings=settings, with_plan=True)
    if text is not None:
        hybrid = HybridQuery(text, query, limit, **narrowed, **options)
        found = ask(hybrid_search, table, hybrid)
    else:
        chosen = options.pop("search", search_similar_documents)
        after = options.pop("after", ())
        found = ask(chosen, table, query, *after, limit, **narrowed, **options)
    assert found.plan is not None
    assert found.plan.certify(candidate.index_name or "").certified
    return found


def ids(result: SearchResult) -> list[int]:
    return [int(hit.document.external_id or "") for hit in result]


def test_its_recall_is_what_numpy_says(database: Database) -> None:
    """All lists are the exact answer; one list is what lies in the list that is nearest."""
    library = Library(database, clustered(2000))
    flat, graph = library.build(IVFFLAT.spec(lists=40)), library.build(HNSW.spec())
    rng = np.random.default_rng(1)
    recalls = {"one list": 0.0, "graph": 0.0}
    queries = rng.standard_normal((20, DIMENSIONS)).astype(np.float32)
    for query in queries:
        truth = nearest(library, query, 10)
        distances = expected_distances(library.vectors, query, Distance.COSINE)
        everything = search(library, flat, query, probes=40)
        assert ids(everything) == truth
        assert everything[0].document.content == f"text {truth[0]}"
        for name, result in (
            ("one list", search(library, flat, query, probes=1)),
            ("graph", search(library, graph, query, ef_search=100)),
        ):
            recalls[name] += len(set(ids(result)) & set(truth)) / 10 / len(queries)
            found = [hit.distance for hit in result]
            assert found == pytest.approx([distances[n] for n in ids(result)], abs=1e-6)
            assert found == sorted(found)
    assert recalls["one list"] < 0.9  # or the data would not show what an index misses
    assert recalls["graph"] > 0.95


def test_filters_and_thresholds_go_through_it(database: Database) -> None:
    library = Library(database, clustered(500))
    flat = library.build(IVFFLAT.spec(lists=5))
    query = library.vectors[3]
    order = nearest(library, query, 500)
    odd_on_shelf_3 = [n for n in order if n % 10 == 3]
    filters = (parse_filter("category=odd"), parse_filter("shelf=3"))
    assert ids(search(library, flat, query, probes=5, filters=filters)) == odd_on_shelf_3[:10]

    distances = expected_distances(library.vectors, query, Distance.COSINE)
    limit = float((distances[order[4]] + distances[order[5]]) / 2)
    near = search(library, flat, query, probes=5, search=search_with_threshold, after=(limit,))
    assert ids(near) == order[:5]
    assert near.truncated_because is None


def test_a_hybrid_goes_through_it(database: Database) -> None:
    """The vector leg is the candidate's, the text leg the collection's; halves cost some digits."""
    library = Library(database, clustered(300))
    half = library.build(IVFFLAT.spec(lists=4), ElementType.HALFVEC)
    query = library.vectors[3]
    found = search(library, half, query, probes=4, text="7", pool=5, limit=6)
    assert sorted(ids(found)) == sorted({*nearest(library, query, 5), 7})
    assert {hit.vector_rank for hit in found} == {1, 2, 3, 4, 5, None}
    with pytest.raises(InvalidInput, match="no index takes part"):
        search(library, half, query, text="7", fusion=Fusion.RAW)


def test_documents_that_are_gone_are_told(database: Database) -> None:
    library = Library(database, clustered(100))
    flat = library.build(IVFFLAT.spec(lists=2))
    query = library.vectors[0]
    truth = nearest(library, query, 10)
    library.ask(
        f"DELETE FROM {library.collection.table.qualified_name} "
        f"WHERE external_id = '{truth[4]}' RETURNING 1"
    )
    left = search(library, flat, query, probes=2)
    assert ids(left) == [n for n in truth if n != truth[4]]
    assert "1 that the copy found are no more" in (left.truncated_because or "")


def test_a_request_names_its_candidate(database: Database) -> None:
    library = Library(database, clustered(300))
    flat = library.build(IVFFLAT.spec(lists=10))
    service = SearchService(database, Settings(_env_file=None))
    request = SearchRequest("text 5", Mode.SIMILARITY, candidate_id=flat.id, with_plan=True)
    query = library.vectors[5]

    def ask(request: SearchRequest) -> SearchResult:
        return database.run(service.search(library.collection, request, embedding=query))

    found = ask(request)
    assert found.plan is not None
    assert found.plan.certify(flat.index_name or "").certified  # on a table this small, too
    assert found.embedding_ms is None
    with pytest.raises(InvalidInput, match="asks no vector index"):
        ask(replace(request, mode=Mode.TEXT))
    with pytest.raises(NotFound):
        ask(replace(request, candidate_id=uuid.uuid4()))
    library.ask("UPDATE vecscope.candidates SET state = 'failed' RETURNING 1")
    with pytest.raises(InvalidInput, match="failed"):
        ask(request)


# --- cancel, crash ------------------------------------------------------------------------------


def slow(library: Library) -> HNSW:
    """A build that takes seconds for the rows there are."""
    assert len(library.vectors) >= 4000
    return HNSW.spec(m=24, ef_construction=300)


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def is_building(library: Library) -> bool:
    """In this test's own database: the server shows the builds of all of them."""
    return bool(
        library.ask(
            "SELECT 1 FROM pg_stat_progress_create_index WHERE datname = current_database()"
        )
    )


def test_a_cancelled_build_leaves_nothing(database: Database) -> None:
    library = Library(database, clustered(6000))
    job = library.start(slow(library))
    wait_for(lambda: is_building(library))
    (building,) = library.candidates()
    assert building.state is CandidateState.BUILDING
    with pytest.raises(Busy, match="is being built"):
        database.query(drop_candidate, building)
    with pytest.raises(Busy, match="still running"):
        library.start(HNSW.spec())

    database.run(library.jobs.cancel(job.id))
    assert database.run(library.jobs.wait(job.id)).status is JobStatus.CANCELLED
    assert library.candidates() == []
    assert library.tables() == set()
    assert not is_building(library)


def test_dropping_the_collection_under_a_build_leaves_nothing(database: Database) -> None:
    library = Library(database, clustered(4000))
    job = library.start(slow(library))
    wait_for(lambda: is_building(library))
    database.query(drop_collection, library.collection)
    ended = database.run(library.jobs.wait(job.id))
    assert ended.status is JobStatus.FAILED
    assert "dropped or embedded again" in (ended.error or "")
    assert library.tables() == set()


KILLED = """
import sys, uuid
from sqlalchemy import make_url
from lib.lab.candidates import start_candidate_builds
from lib.store.candidates import parse_candidate
from lib.store.collections import get_collection
from lib.store.database import Database
from lib.store.jobs import Jobs

database = Database(make_url(sys.argv[1]))
collection = database.query(get_collection, "Library")

async def build():
    jobs = Jobs(database)
    specs = [parse_candidate("hnsw:m=32,ef_construction=400@vector", 0, collection.storage)]
    job = await start_candidate_builds(jobs, database, collection, specs)
    await jobs.wait(job.id)

database.run(build())
"""


def test_kill_9_in_the_middle_is_cleaned_up(database: Database) -> None:
    library = Library(database, clustered(6000))
    address = database.url.render_as_string(hide_password=False)
    process = subprocess.Popen([sys.executable, "-c", KILLED, address], cwd=PROJECT_ROOT)
    wait_for(lambda: is_building(library))
    process.kill()
    process.wait()
    assert len(library.tables()) == 1  # the server still builds for a client that is gone

    def recover() -> list[str]:
        return [job.kind.value for job in database.run(library.jobs.recover())]

    wait_for(lambda: recover() == ["candidate"])
    assert database.run(clean_interrupted(database)) == ["HNSW m 32, ef_construction 400"]
    wait_for(lambda: database.run(clean_interrupted(database)) == [] and not library.tables())
    assert not is_building(library)
    (left,) = library.candidates()
    assert left.state is CandidateState.INTERRUPTED
    assert not left.ready
    database.query(drop_candidate, left)
    assert library.candidates() == []


def test_cleaning_up_leaves_running_builds_and_finished_ones_alone(database: Database) -> None:
    library = Library(database, clustered(6000))
    ready = library.build(IVFFLAT.spec(lists=10))
    job = library.start(slow(library))
    wait_for(lambda: is_building(library))
    assert database.run(clean_interrupted(database)) == []
    assert len(library.tables()) == 2
    database.run(library.jobs.cancel(job.id))
    database.run(library.jobs.wait(job.id))
    assert [c.id for c in library.candidates()] == [ready.id]


# --- going ----------------------------------------------------------------------------------------


def test_found_and_dropped_by_name_or_id(database: Database) -> None:
    library = Library(database, clustered(30))
    candidate = library.build(HNSW.spec())
    for wanted in (candidate.id, str(candidate.id), candidate.name.upper()):
        assert database.query(get_candidate, library.collection, wanted) == candidate
    with pytest.raises(NotFound) as missing:
        database.query(get_candidate, library.collection, "other")
    assert candidate.name in missing.value.hint
    database.query(drop_candidate, candidate)
    assert library.tables() == set()
    with pytest.raises(NotFound):
        database.query(get_candidate, library.collection, uuid.uuid4())


def test_they_go_with_their_collection(database: Database) -> None:
    library, other = (Library(database, clustered(30), name=name) for name in ("A", "B"))
    library.build(HNSW.spec())
    kept = other.build(HNSW.spec())
    database.query(drop_collection, library.collection)
    assert library.tables() == {kept.table.name}
    assert library.ask("SELECT table_name FROM vecscope.candidates") == [(kept.table.name,)]


def test_down_and_up_with_a_candidate(migrated_url: URL, database: Database) -> None:
    library = Library(database, clustered(30))
    kept = library.build(HNSW.spec())
    library.build(HNSW.spec(), ElementType.BIT)
    database.close()
    migrations.downgrade(migrated_url, "008")  # which knows no bits
    with psycopg.connect(**connect_arguments(migrated_url)) as connection:
        left = connection.execute(
            "SELECT array_agg(tablename) FROM pg_tables WHERE tablename ~ '^candidate_'"
        ).fetchone()
    assert left == ([kept.table.name],)
    migrations.downgrade(migrated_url, "004")
    with psycopg.connect(**connect_arguments(migrated_url)) as connection:
        left = connection.execute(
            "SELECT count(*) FILTER (WHERE tablename ~ '^candidate'), "
            "count(*) FILTER (WHERE tablename = 'documents_library') "
            "FROM pg_tables WHERE schemaname = 'vecscope'"
        ).fetchone()
    assert left == (0, 1)
    migrations.migrate(migrated_url)
    execute(migrated_url, "SELECT 1 FROM vecscope.candidates")


# --- the command line -----------------------------------------------------------------------------


def test_index_texts() -> None:
    assert parse_spec_text("ivfflat:lists=7", 10) == IVFFLAT.spec(lists=7)
    assert parse_spec_text("ivfflat", 250_000) == IVFFLAT.spec(lists=250)
    assert parse_spec_text("hnsw", 10) == HNSW.spec()
    assert parse_spec_text(" HNSW: m=8, ef_construction=32", 10) == HNSW.spec(
        m=8, ef_construction=32
    )
    for wrong in ("flat", "hnsw:m=many", "hnsw:m", "hnsw:lists=10", "ivfflat:lists=0", ""):
        with pytest.raises(InvalidInput):
            parse_spec_text(wrong, 10)


def test_on_the_command_line(migrated_url: URL, database: Database) -> None:
    library = Library(database, clustered(100))
    shell = CommandLine(migrated_url)
    on = ("--collection", "Library")
    built = shell.json(
        "candidates", "build", *on, "--index", "hnsw:m=4", "--index", "ivfflat:lists=5"
    )
    assert [(c["kind"], c["options"], c["rows"]) for c in built["candidates"]] == [
        ("hnsw", {"m": 4, "ef_construction": 64}, 100),
        ("ivfflat", {"lists": 5}, 100),
    ]
    library.add(clustered(1), first=100)
    listed = shell.json("candidates", "list", *on)["candidates"]
    assert {c["name"] for c in listed} == {c["name"] for c in built["candidates"]}
    assert all(c["stale"] and c["state"] == "ready" and c["index_bytes"] > 0 for c in listed)

    name = built["candidates"][0]["name"]
    assert shell.json("candidates", "drop", name, *on, "--yes")["dropped"] == [name]
    assert len(library.tables()) == 1
    code, _, err = shell.run("candidates", "build", *on, "--index", "ivfflat:lists=1000")
    assert (code, "cannot give 1,000 lists" in err) == (2, True)
    assert shell.json("candidates", "drop", "--all", *on, "--yes")["dropped"] != []
    assert library.tables() == set()
