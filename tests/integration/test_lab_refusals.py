"""What the lab does not certify, and what it says when it cannot measure: plans by another way,
stale candidates, servers and processes that end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psutil
import psycopg
import pytest
from candidates_fixture import Library, clustered
from lab_fixture import K, Lab, low
from sqlalchemy import URL
from vectors_fixture import one_database

from lib.errors import DatabaseProblem, DatabaseUnreachable, InvalidInput, NotFound
from lib.lab.measure import (
    IndexBenchmark,
    measure_all,
    open_benchmarks,
)
from lib.lab.measurement import Measurement, SearchParameter
from lib.lab.truth import find_truth
from lib.progress import Step
from lib.store.candidates import Candidate
from lib.store.database import Database
from lib.store.url import connect_arguments
from lib.vectors.index_methods import HNSW, IVFFLAT
from lib.vectors.tuning import Scan
from tests.conftest import execute


@pytest.fixture(scope="module")
def shared(server_url: URL, template: str) -> Iterator[Database]:
    with one_database(server_url, template) as found:
        yield found


@pytest.fixture(scope="module")
def lab(shared: Database) -> Lab:
    return Lab(Library(shared, clustered(1500), name="Measured"))


@pytest.fixture(scope="module")
def hnsw(lab: Lab) -> Candidate:
    return lab.library.build(HNSW.spec(m=8, ef_construction=32))


# --- certificates --------------------------------------------------------------------------------


def test_not_certified_where_the_planner_prefers_to_compare_every_row(shared: Database) -> None:
    """200 rows are compared sooner than an index is looked into."""
    library = Library(shared, clustered(200), name=f"{uuid.uuid4()}")
    candidate = library.build(HNSW.spec(m=8, ef_construction=32))
    lab = Lab(library)
    left = lab.with_bench(candidate, lambda bench: bench.measure(low(candidate), 1), scan=Scan.AUTO)
    assert not left.certified
    assert left.plan_index is None
    assert left.reason == f"The plan used no vector index, not {candidate.index_name}."
    forced = lab.with_bench(candidate, lambda bench: bench.measure(low(candidate), 1))
    assert forced.certified, forced.reason


def test_not_certified_where_index_scans_are_disabled(database: Database) -> None:
    library = Library(database, clustered(1500))
    candidate = library.build(HNSW.spec(m=8, ef_construction=32))
    lab = Lab(library)
    name = database.url.database
    execute(database.url, f"ALTER DATABASE {name} SET enable_indexscan = off")
    measured = lab.with_bench(
        candidate, lambda bench: bench.measure(low(candidate), 1), scan=Scan.AUTO
    )
    assert not measured.certified
    assert "no vector index" in measured.reason


def test_not_certified_where_the_index_is_dropped_before(database: Database) -> None:
    library = Library(database, clustered(300))
    candidate = library.build(HNSW.spec(m=8, ef_construction=32))
    lab = Lab(library)
    execute(database.url, f"DROP INDEX vecscope.{candidate.index_name}")
    measured = lab.with_bench(candidate, lambda bench: bench.measure(low(candidate), 1))
    assert not measured.certified
    assert "no vector index" in measured.reason
    assert (measured.recalls == 1).all()  # which is not the index's


def test_not_certified_where_the_index_is_dropped_in_the_middle(database: Database) -> None:
    library = Library(database, clustered(300))
    candidate = library.build(HNSW.spec(m=8, ef_construction=32))
    lab = Lab(library)

    async def work() -> list[Measurement]:
        async with open_benchmarks(database, lab.collection) as benches:
            bench = await lab.add(benches, candidate)

            async def drop(step: Step) -> None:
                if step.share == 1 / 2:  # after the look
                    await asyncio.to_thread(drop_index)

            return await measure_all([(bench, low(candidate))], 1, on_progress=drop)

    def drop_index() -> None:
        with psycopg.connect(**connect_arguments(database.url), autocommit=True) as connection:
            connection.execute(f"DROP INDEX vecscope.{candidate.index_name}")

    (measured,) = lab.run(work())
    assert not measured.certified
    assert "scanned 0 times in 70 queries" in measured.reason  # 60, and 10 to warm up


def test_the_exact_scan_of_a_collection_that_changes_meanwhile(database: Database) -> None:
    library = Library(database, clustered(300))
    candidate = library.build(HNSW.spec(m=8, ef_construction=32))
    lab = Lab(library)

    async def work() -> list[Measurement]:
        async with open_benchmarks(database, lab.collection) as benches:
            exact, copy = await lab.add(benches, None), await lab.add(benches, candidate)

            async def write(step: Step) -> None:
                if step.share == 1 / 4:
                    await asyncio.to_thread(change)

            wanted = [(exact, SearchParameter(None)), (copy, low(candidate))]
            return await measure_all(wanted, 1, on_progress=write)

    def change() -> None:
        with psycopg.connect(**connect_arguments(database.url), autocommit=True) as connection:
            connection.execute("UPDATE vecscope.collections SET change_mark = change_mark + 1")

    exact, copy = lab.run(work())
    assert not exact.certified
    assert exact.reason == "“Library” was written to meanwhile."
    assert copy.certified  # nobody writes to a copy


# --- what cannot be measured ---------------------------------------------------------------------


def test_what_does_not_fit_is_refused(lab: Lab, hnsw: Candidate) -> None:
    with pytest.raises(InvalidInput, match="has no setting probes"):
        lab.with_bench(hnsw, lambda bench: bench.measure_recall(SearchParameter(IVFFLAT, 1)))
    other = lab.run(find_truth(lab.database, lab.collection, lab.batch.head(5), K))

    async def mixed() -> None:
        async with open_benchmarks(lab.database, lab.collection) as benches:
            await benches.add(hnsw, lab.batch, other, k=K)

    with pytest.raises(InvalidInput, match="5 queries, not of these 60"):
        lab.run(mixed())
    with pytest.raises(InvalidInput, match="has 10 neighbours, not 11"):
        lab.with_bench(hnsw, lambda bench: bench.measure_recall(low(hnsw)), k=K + 1)


def test_a_stale_candidate_is_refused(database: Database) -> None:
    library = Library(database, clustered(300))
    candidate = library.build(HNSW.spec(m=8, ef_construction=32))
    library.add(clustered(5), first=300)
    lab = Lab(library)  # the truth is of now
    with pytest.raises(InvalidInput, match="written to between the two"):
        lab.with_bench(candidate, lambda bench: bench.measure_recall(low(candidate)))


def test_a_dropped_table_is_said(database: Database) -> None:
    library = Library(database, clustered(300))
    candidate = library.build(HNSW.spec(m=8, ef_construction=32))
    lab = Lab(library)
    execute(database.url, f"DROP TABLE {candidate.table.qualified_name}")
    with pytest.raises(NotFound):
        lab.with_bench(candidate, lambda bench: bench.measure_recall(low(candidate)))


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def kept_busy(
    lab: Lab, candidate: Candidate, hurt: Callable[[IndexBenchmark], Any]
) -> tuple[int, ...]:
    """Measures for as long as it takes until ``hurt`` ends it; the processes it had."""
    pids: list[int] = []

    async def work() -> None:
        async with open_benchmarks(lab.database, lab.collection, (1, 2)) as benches:
            bench = await lab.add(benches, candidate)
            pids.extend(bench.clients.pids)

            async def at(step: Step) -> None:
                if step.share == 2 / 21:
                    await asyncio.to_thread(hurt, bench)

            await measure_all([(bench, low(candidate))], 20, on_progress=at)

    try:
        lab.run(work())
    finally:
        assert pids
        assert all(is_gone(pid) for pid in pids)
    raise AssertionError("nothing ended it")


def sessions(lab: Lab, pids: Sequence[int]) -> list[Any]:
    """(pid,) of those that the server still has."""
    known = ",".join(map(str, pids))
    return lab.library.ask(f"SELECT pid FROM pg_stat_activity WHERE pid IN ({known})")


def test_the_server_goes_away_in_the_middle(lab: Lab, hnsw: Candidate) -> None:
    def end_a_session(bench: IndexBenchmark) -> None:
        with psycopg.connect(**connect_arguments(lab.database.url), autocommit=True) as connection:
            pid = bench.clients.backend_pids[0]
            connection.execute("SELECT pg_terminate_backend(%s, 60000)", (pid,))

    with pytest.raises(DatabaseUnreachable):
        kept_busy(lab, hnsw, end_a_session)


def test_a_measuring_process_dies(lab: Lab, hnsw: Candidate) -> None:
    with pytest.raises(DatabaseProblem, match=r"ended unexpectedly \(SIGKILL\)"):
        kept_busy(lab, hnsw, lambda bench: os.kill(bench.clients.pids[1], signal.SIGKILL))


def test_being_cancelled_ends_the_processes(lab: Lab, hnsw: Candidate) -> None:
    """In the middle of a pass over the queries, not between two."""
    started: list[IndexBenchmark] = []

    async def work() -> None:
        async with open_benchmarks(lab.database, lab.collection) as benches:
            bench = await lab.add(benches, hnsw)
            started.append(bench)
            await bench.ask(bench.settings_of(low(hnsw)), [0] * 2_000_000)

    future = lab.database.submit(work())
    while not started:
        time.sleep(0.01)
    clients = started[0].clients
    while not lab.library.ask(
        "SELECT 1 FROM pg_stat_activity WHERE query ~ 'LIMIT 11' "
        f"AND pid = {clients.backend_pids[0]}"
    ):
        time.sleep(0.01)
    assert not is_gone(clients.pids[0])
    future.cancel()
    while not is_gone(clients.pids[0]):
        time.sleep(0.01)
    while sessions(lab, clients.backend_pids):  # the server notices as well
        time.sleep(0.01)


def test_the_process_ends_with_its_parent(lab: Lab) -> None:
    """Its parent is killed: nobody tells it, but stdin ends."""
    code = (
        "import subprocess, sys, time\n"
        "p = subprocess.Popen([sys.executable, '-m', 'lib.lab.worker'], stdin=subprocess.PIPE,"
        " stdout=subprocess.PIPE)\n"
        "print(p.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert not is_gone(pid)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    while not is_gone(pid):
        time.sleep(0.01)


def test_the_password_is_no_argument(lab: Lab, hnsw: Candidate) -> None:
    async def arguments(bench: IndexBenchmark) -> list[str]:
        return [*psutil.Process(bench.clients.pids[0]).cmdline()]

    assert lab.with_bench(hnsw, arguments)[1:] == ["-P", "-m", "lib.lab.worker"]
