"""Estimates against what is built; what a build says while it runs; a cancel while it copies."""

from __future__ import annotations

import re
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import psycopg
import pytest
from candidates_fixture import DIMENSIONS, Library, clustered
from command_line import Screen
from sqlalchemy import URL

from lib.errors import DatabaseProblem, IndexRefused
from lib.lab.build_progress import BuildStep
from lib.lab.candidates import build_candidate, check_candidate, start_candidate_builds
from lib.lab.collection_stats import collect_stats
from lib.lab.estimates import MIB, check_spec, estimate
from lib.store.candidates import disk_bytes, drop_candidate, find_ready, parse_candidate
from lib.store.database import Database
from lib.store.jobs import JobStatus
from lib.store.url import connect_arguments
from lib.vectors.build import BuildProgress, build_index
from lib.vectors.catalog import list_indexes
from lib.vectors.distance import Distance, ElementType
from lib.vectors.index_costs import hnsw_memory_bytes, ivfflat_memory_bytes
from lib.vectors.index_methods import HNSW, IVFFLAT
from lib.vectors.tuning import BuildSettings


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def spec_of(library: Library, text: str) -> Any:
    return parse_candidate(text, len(library.vectors), library.collection.storage)


@pytest.mark.parametrize(("rows", "dimensions"), [(2000, 16), (300, 700)])
def test_sizes_are_as_expected(database: Database, rows: int, dimensions: int) -> None:
    """Vectors of 700 numbers are kept in the TOAST table, their halves are not."""
    vectors = np.random.default_rng(2).standard_normal((rows, dimensions)).astype(np.float32)
    library = Library(database, vectors, dimensions=dimensions)
    specs = [
        spec_of(library, f"{index}@{storage.value}")
        for index in ("ivfflat:lists=4", "hnsw:m=6,ef_construction=12")
        for storage in ElementType
    ]
    stats = database.run(collect_stats(database, library.collection, specs))
    assert (stats.rows, stats.dimensions, stats.built) == (rows, dimensions, ())
    job = database.run(start_candidate_builds(library.jobs, database, library.collection, specs))
    ended = database.run(library.jobs.wait(job.id))
    assert ended.status is JobStatus.DONE, ended.error
    either_way = (4 / 2 + 1) * 8192  # each list's last page is full or nearly empty, by chance
    for candidate in library.candidates():
        expected = estimate(stats, candidate.spec)
        near = pytest.approx(expected.index_bytes, rel=0.1, abs=either_way)
        assert candidate.index_bytes == near, candidate.name
        assert candidate.table_bytes == pytest.approx(expected.table_bytes, rel=0.1), candidate.name
    stats = database.run(collect_stats(database, library.collection))
    assert {each.spec for each in stats.built} == set(specs)
    assert {(each.rows, each.dimensions) for each in stats.built} == {(rows, dimensions)}


def test_the_memory_is_what_the_server_says(database: Database) -> None:
    """pgvector names what k-means wants, and the row at which a graph is full."""
    vectors = np.random.default_rng(2).standard_normal((2500, 64)).astype(np.float32)
    library = Library(database, vectors, dimensions=64)
    table, held, small = library.collection.table, 64 * 4 + 8, BuildSettings(1, 0)

    samples_alone = BuildSettings(3, 0)  # their room is looked at before what they are used for
    with pytest.raises(DatabaseProblem, match="memory required is") as refused:
        database.run(
            build_index(database.engine, table, IVFFLAT.spec(lists=100), settings=samples_alone)
        )
    (megabytes,) = re.findall(r"memory required is (\d+) MB", str(refused.value))
    assert int(megabytes) == ivfflat_memory_bytes(2500, held, 100) // MIB + 1

    spec = HNSW.spec(m=8, ef_construction=16)
    built = database.run(build_index(database.engine, table, spec, settings=small))
    (fitted,) = re.findall(r"after (\d+) tuples", " ".join(built.notices))
    assert hnsw_memory_bytes(int(fitted), held, 8) == pytest.approx(MIB, rel=0.1)


def test_memory_that_is_short_is_refused_or_warned_of(database: Database) -> None:
    vectors = np.random.default_rng(2).standard_normal((2500, 64)).astype(np.float32)
    library = Library(database, vectors, dimensions=64)
    small = BuildSettings(1, 0)

    def check(text: str) -> tuple[str, ...]:
        spec = spec_of(library, text)
        return database.run(check_candidate(database, library.collection, spec, small))

    with pytest.raises(IndexRefused, match="k-means over 100 lists needs 4 MB") as refused:
        check("ivfflat:lists=100")
    assert "Set maintenance_work_mem to 4 MB" in refused.value.hint
    warning, _disk = check("hnsw:m=8,ef_construction=16")
    assert "maintenance_work_mem is 1 MB" in warning
    assert "Set it to 2 MB" in warning


def test_what_is_of_no_use_is_refused(database: Database) -> None:
    zeros = Library(database, np.zeros((30, DIMENSIONS), np.float32), name="Zeros")
    same = Library(
        database, np.ones((30, DIMENSIONS), np.float32), name="Same", distance=Distance.L2
    )
    few = Library(database, clustered(30), name="Few")

    def check(library: Library, text: str) -> tuple[str, ...]:
        spec = spec_of(library, text)
        return database.run(check_candidate(database, library.collection, spec))

    with pytest.raises(IndexRefused, match="All vectors are zero"):
        check(zeros, "hnsw")
    with pytest.raises(IndexRefused, match="30 rows cannot give 31 lists"):
        check(few, "ivfflat:lists=31")
    assert "all equal" in check(same, "hnsw")[0]
    assert "fewer than ten rows each" in check(few, "ivfflat:lists=10")[0]
    assert [warning for warning in check(few, "hnsw") if "disk" not in warning] == []
    stats = database.run(collect_stats(database, few.collection))  # without knowing what is asked
    assert stats.free_bytes is None  # this server is not the bundled one, as far as we know
    assert check_spec(stats, few.collection, spec_of(few, "hnsw")) == ()
    assert check_spec(stats, few.collection, spec_of(few, "ivfflat:lists=3")) == ()
    few.add(np.zeros((20, DIMENSIONS), np.float32), first=30)
    with pytest.raises(IndexRefused, match="30 rows cannot give 31 lists"):
        check(few, "ivfflat:lists=31")


# --- while it runs --------------------------------------------------------------------------------


def test_the_notice_of_a_full_memory_comes_while_it_builds(database: Database) -> None:
    """The build takes many seconds; it is cancelled as soon as the notice is told."""
    library = Library(database, clustered(6000))
    table = library.collection.table
    seen: list[BuildProgress] = []
    told = threading.Event()

    async def note(progress: BuildProgress) -> None:
        seen.append(progress)
        if any("no longer fits" in notice for notice in progress.notices):
            told.set()

    building = database.submit(
        build_index(
            database.engine,
            table,
            HNSW.spec(m=24, ef_construction=400),
            settings=BuildSettings(1, 0),
            on_progress=note,
            poll_seconds=0.05,
        )
    )
    assert told.wait(120)
    assert not building.done()
    building.cancel()
    builds = "SELECT count(*) FROM pg_stat_progress_create_index WHERE datname = current_database()"
    wait_for(lambda: library.ask(builds) == [(0,)])
    assert database.query(list_indexes, table) == []
    done = [each.rows_done for each in seen if each.phase == "Loading rows"]
    assert done == sorted(done)
    assert 0 < done[-1] < 6000


def test_the_job_tells_each_candidate_and_phase(database: Database) -> None:
    library = Library(database, clustered(500))
    steps: list[BuildStep] = []

    async def note(step: BuildStep) -> None:
        steps.append(step)

    job = library.start(HNSW.spec())  # a candidate belongs to a job
    database.run(library.jobs.wait(job.id))
    for text in ("ivfflat:lists=5", "hnsw@bit"):
        steps.clear()
        spec = spec_of(library, text)
        database.run(
            build_candidate(database, library.collection, spec, job_id=job.id, on_progress=note)
        )
        phases = list(dict.fromkeys(step.phase for step in steps))
        assert phases[:2] == ["Copying the vectors", "Collecting statistics"]
        shares = [step.share for step in steps]
        assert shares == sorted(shares)
        assert 0 <= shares[0] <= shares[-1] <= 1


def test_a_cancel_while_copying_leaves_nothing(migrated_url: URL, database: Database) -> None:
    """The copying is held by a lock that is taken at its first word."""
    library = Library(database, clustered(100))
    documents = library.collection.table.qualified_name
    spec = spec_of(library, "hnsw")
    job_id = library.start(HNSW.spec()).id
    database.run(library.jobs.wait(job_id))
    (ready,) = library.candidates()

    with psycopg.connect(**connect_arguments(migrated_url)) as holder:

        async def hold(step: BuildStep) -> None:
            if step.phase == "Copying the vectors":
                holder.execute(f"LOCK TABLE {documents} IN ACCESS EXCLUSIVE MODE")

        building = database.submit(
            build_candidate(database, library.collection, spec, job_id=job_id, on_progress=hold)
        )
        waiting = (
            "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) "
            "WHERE NOT granted AND datname = current_database() AND query LIKE 'INSERT INTO%'"
        )
        wait_for(lambda: library.ask(waiting) == [(1,)])
        assert len(library.tables()) == 2
        building.cancel()
        wait_for(lambda: len(library.candidates()) == 1)
        holder.rollback()
    assert [each.id for each in library.candidates()] == [ready.id]
    assert library.tables() == {ready.table.name}
    assert library.ask(waiting) == [(0,)]


# --- afterwards -----------------------------------------------------------------------------------


def test_one_that_is_there_need_not_be_built_again(database: Database) -> None:
    library = Library(database, clustered(60))
    first, second = (library.build(HNSW.spec(), storage) for storage in (None, ElementType.BIT))

    def ready(text: str) -> uuid.UUID | None:
        found = database.query(find_ready, library.collection, spec_of(library, text))
        return None if found is None else found.id

    assert ready("hnsw") == first.id
    assert ready("hnsw@bit") == second.id
    assert ready("hnsw@halfvec") is None
    assert ready("hnsw:m=8") is None
    newer = library.build(HNSW.spec())
    assert ready("hnsw") == newer.id
    found = library.candidates()
    (taken,) = library.ask(
        "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' "
        "AND relname ~ '^candidate_'"
    )
    assert disk_bytes(found) == int(taken[0])
    database.query(drop_candidate, newer)
    assert ready("hnsw") == first.id
    library.add(clustered(1), first=60)
    assert ready("hnsw") is None  # they are stale


def test_a_failure_in_the_middle_keeps_what_was_finished(database: Database) -> None:
    """No half can hold a million: the second candidate fails in the copying."""
    vectors = clustered(60)
    vectors[3, 0] = 1e6
    library = Library(database, vectors)
    specs = [spec_of(library, text) for text in ("hnsw", "hnsw@halfvec")]
    job = database.run(start_candidate_builds(library.jobs, database, library.collection, specs))
    ended = database.run(library.jobs.wait(job.id))
    assert ended.status is JobStatus.FAILED
    assert ended.result is not None
    (kept,) = ended.result["candidates"]
    assert [each.name for each in library.candidates() if each.ready] == [kept["name"]]


def test_estimates_on_the_command_line(screen: Screen, database: Database) -> None:
    Library(database, clustered(200))
    on = ("--collection", "Library")
    found = screen.json("candidates", "estimate", *on)
    assert [each["candidate"] for each in found["candidates"]] == [
        "ivfflat:lists=10@vector",
        "hnsw:m=16,ef_construction=64@vector",
    ]
    assert all(each["index_bytes"] > 0 and each["rows"] == 200 for each in found["candidates"])
    assert "cannot be asked" in found["disk"]
    built = screen.json("candidates", "build", *on, "--index", "hnsw@bit")["candidates"]
    assert [(each["storage"], each["rows"]) for each in built] == [("bit", 200)]
    code, _, err = screen.run("candidates", "estimate", *on, "--index", "hnsw@byte")
    assert (code, "no storage of a candidate" in err) == (2, True)
