"""Experiments as they run, on small collections: what they find, and what becomes of one that is
cancelled, loses its server, or whose collection changes under it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import psycopg
import pytest
from candidates_fixture import DIMENSIONS, Library, clustered

from lib.errors import AlreadyExists, Busy, IndexRefused, InvalidInput, NotFound
from lib.lab.experiment import Experiment, ExperimentState
from lib.lab.measure import open_benchmarks
from lib.lab.measurement import EXACT_NAME, Protocol, SearchParameter
from lib.lab.queries import given_batch
from lib.lab.recommend import recommend
from lib.lab.repository import (
    delete_experiment,
    get_experiment,
    list_experiments,
    load_queries,
    rename_experiment,
)
from lib.lab.run import check_experiment, resume_experiment, start_experiment
from lib.lab.spec import ExperimentSpec, QueryKind, QuerySource, Target
from lib.lab.truth import find_truth
from lib.search.filters import Filter
from lib.settings import Settings
from lib.store.candidates import parse_candidate
from lib.store.database import Database
from lib.store.jobs import Job
from lib.store.url import connect_arguments
from lib.vectors.distance import Storage
from lib.vectors.index_methods import HNSW, IVFFLAT, IterativeScan

GRAPH = "hnsw:m=4,ef_construction=16"
LISTS = "ivfflat:lists=12"
VECTORS = clustered(700)


def wanted(*texts: str, **others: Any) -> ExperimentSpec:
    """Quick: few queries, one round, one client, few values; values=None: those of the lab."""
    candidates = tuple(parse_candidate(text, 0, Storage.VECTOR) for text in texts)
    named = others.pop("values", {})
    values = {} if named is None else {"probes": (1, 12), "ef_search": (11, 80), **named}
    few = {"rounds": 1, "queries": QuerySource(count=24)}
    return ExperimentSpec(candidates, values=values, **{**few, **others})


def start(library: Library, spec: ExperimentSpec, **others: Any) -> Job:
    return library.database.run(
        start_experiment(
            library.jobs, library.database, Settings(), library.collection, spec, **others
        )
    )


def run(library: Library, spec: ExperimentSpec, **others: Any) -> Experiment:
    return ended(library, start(library, spec, **others))


def ended(library: Library, job: Job, status: str = "done") -> Experiment:
    job = library.database.run(library.jobs.wait(job.id))
    assert job.status.value == status, (job.status, job.error)
    return read(library, job.parameters["experiment_id"])


def read(library: Library, wanted: str | None = None) -> Experiment:
    return library.database.query(get_experiment, library.collection, wanted)


def values(experiment: Experiment, candidate: str) -> list[int | None]:
    return [each.setting.value for each in experiment.ordered if each.candidate == candidate]


# --- what is found ------------------------------------------------------------------------------


def test_a_run_measures_what_was_asked_and_recommends(database: Database) -> None:
    library = Library(database, VECTORS)
    found = run(library, wanted(LISTS, GRAPH), name="First")
    assert (found.name, found.state, found.changed) == ("First", ExperimentState.DONE, "")
    lists, graph = found.facts
    assert (lists.text, graph.text) == (f"{LISTS}@vector", f"{GRAPH}@vector")
    assert values(found, lists.name) == [1, 12]
    assert values(found, graph.name) == [11, 80]
    assert values(found, EXACT_NAME) == [None]
    assert all(each.certified for each in found.measurements), found.measurements
    assert found.exact is not None
    assert found.exact.recall.mean.value == 1.0
    every_list = found.measurements_of(lists.name)[-1]
    assert every_list.recall.mean.value == 1.0  # with all lists the search is exact
    assert found.data is not None
    assert (found.data.rows, found.data.queries, found.data.selectivity) == (700, 24, 1.0)
    assert found.environment["pgvector"]
    recommendation = recommend(found)
    assert recommendation is not None
    assert recommendation.winner is not None
    assert recommendation.measurement is not None
    assert recommendation.measurement.certified

    # The same again builds nothing and finds no truth: both are there.
    again = run(library, wanted(LISTS, GRAPH), name="Second")
    assert [each.id for each in again.facts] == [lists.id, graph.id]
    assert [each.reused for each in found.facts + again.facts] == [False, False, True, True]
    assert again.data is not None
    assert again.data.truth_seconds == 0
    # The same index asked the same queries finds the same.
    recalls = [
        {(each.candidate, each.setting): each.recall for each in one.measurements}
        for one in (found, again)
    ]
    assert recalls[0] == recalls[1]
    listed = database.query(list_experiments, library.collection)
    assert [(each.name, each.measured) for each in listed] == [("Second", 5), ("First", 5)]


def test_the_recall_is_that_of_numpy(database: Database) -> None:
    library = Library(database, VECTORS)
    found = run(library, wanted(LISTS, values={"probes": (1,)}, target=None))
    (lists,) = found.facts
    (measurement,) = found.measurements_of(lists.name)
    batch = database.query(load_queries, library.collection, found.id)
    assert batch is not None
    table = library.ask(
        "SELECT table_name FROM vecscope.candidates"  # the one there is
    )[0][0]
    with psycopg.connect(**connect_arguments(database.url), autocommit=True) as connection:
        connection.execute("SET enable_seqscan = off; SET ivfflat.probes = 1")
        recalls = []
        unit = VECTORS / np.linalg.norm(VECTORS.astype(float), axis=1, keepdims=True)
        for vector, own in zip(batch.vectors, batch.own_ids, strict=True):
            assert isinstance(own, uuid.UUID)
            distances = 1 - unit @ (vector / np.linalg.norm(vector.astype(float)))
            distances[own.int] = np.inf
            nearest = {int(number) for number in np.argsort(distances)[:10]}
            rows = connection.execute(
                f"SELECT id FROM vecscope.{table} ORDER BY embedding <=> %s::vector LIMIT 11",
                [str(vector.tolist())],
            ).fetchall()
            got = [id_.int for (id_,) in rows if id_ != own][:10]
            recalls.append(len(nearest & {*got}) / 10)
    assert measurement.recalls.tolist() == recalls
    assert measurement.recall.mean.value == pytest.approx(np.mean(recalls))
    assert 0.2 < np.mean(recalls) < 1


def test_the_target_is_the_smallest_setting_that_reaches_it(database: Database) -> None:
    library = Library(database, VECTORS)
    spec = wanted(LISTS, GRAPH, values=None, target=Target(0.9))
    found = run(library, spec)
    (lists, graph) = found.facts
    batch = database.query(load_queries, library.collection, found.id)
    assert batch is not None
    candidates = {each.id: each for each in library.candidates()}

    async def lower_ends(facts: Any, setting: SearchParameter, below: int) -> list[float]:
        """Of the recall, at the setting and at the one below it, measured anew."""
        truth = await find_truth(database, library.collection, batch, 10)
        async with open_benchmarks(database, library.collection) as benches:
            bench = await benches.add(candidates[facts.id], batch, truth, k=10)
            figures = [
                await bench.recall_only(SearchParameter(setting.method, value))
                for value in (setting.value, below)
            ]
        return [each.mean.low for each in figures]

    for facts, target_result in zip((lists, graph), found.target_results, strict=True):
        assert target_result.reached, target_result.problem
        setting = target_result.setting
        assert setting is not None
        assert setting.value is not None
        assert setting in [each.setting for each in found.measurements_of(facts.name)]
        lowest = 1 if facts.method is IVFFLAT else 11  # its own row, and ten more
        below = max(setting.value - 1, lowest)
        at, under = database.run(lower_ends(facts, setting, below))
        just = 0.9 - 1e-12  # in other steps of addition it is still 0.9
        assert at >= just
        assert under < just or setting.value == lowest


def test_where_none_reaches_the_target_it_says_what_would(database: Database) -> None:
    library = Library(database, VECTORS)
    found = run(library, wanted(f"{GRAPH}@bit", oversampling=1, target=Target(0.99)))
    (target_result,) = found.target_results
    assert (target_result.reached, target_result.setting) == (False, None)
    assert "below 99 %" in target_result.problem
    assert "oversampling" in target_result.remedy
    recommendation = recommend(found)
    assert recommendation is not None
    assert recommendation.winner is None


def test_under_a_filter_each_way_to_scan_on_is_measured(database: Database) -> None:
    library = Library(database, VECTORS)
    spec = wanted(
        LISTS,
        GRAPH,
        filters=(Filter.parse("shelf=3"),),
        iterative_scans=tuple(IterativeScan),
        values={"probes": (2,), "ef_search": (20,)},
        target=Target(0.5),
    )
    found = run(library, spec)
    assert found.data is not None
    assert found.data.selectivity == pytest.approx(0.1)
    scans = {
        facts.method: [
            each.setting.iterative_scan for each in found.ordered if each.candidate == facts.name
        ]
        for facts in found.facts
    }
    assert scans == {
        IVFFLAT: [IterativeScan.OFF, IterativeScan.RELAXED],
        HNSW: list(IterativeScan),
    }
    off, strict, relaxed = (each for each in found.ordered if each.candidate == found.facts[1].name)
    # 20 rows by the graph leave about 2 of 10; scanning on finds the rest.
    assert off.short > 0
    assert strict.short == relaxed.short == 0
    assert strict.recall.mean.value > off.recall.mean.value
    # Of the ways to scan on the outcome takes one that reaches the target.
    assert found.target_results[1].setting is not None
    assert found.target_results[1].setting.iterative_scan is not IterativeScan.OFF


def test_vectors_that_are_all_equal_are_ties_and_no_misses(database: Database) -> None:
    library = Library(database, np.ones((60, DIMENSIONS), dtype=np.float32))
    found = run(library, wanted(GRAPH, k=5, values={"ef_search": (20,)}))
    measurement = found.measurements_of(found.facts[0].name)[0]
    assert measurement.recall.mean.value == 1.0
    assert found.data is not None
    assert found.data.tied == found.data.queries


def test_given_vectors_are_kept_and_asked(database: Database) -> None:
    library = Library(database, VECTORS)
    batch = given_batch(clustered(12, seed=8), library.collection, "my.npy")
    source = QuerySource(QueryKind.FILE, 10, name="my.npy")
    with pytest.raises(InvalidInput, match="come with it"):
        start(library, wanted(GRAPH, queries=source))
    found = run(
        library, wanted(GRAPH, queries=source, values={"ef_search": (40,)}), file_queries=batch
    )
    kept = database.query(load_queries, library.collection, found.id)
    assert kept is not None
    assert np.array_equal(kept.vectors, batch.vectors[:10])
    assert kept.own_ids == (None,) * 10


def test_queries_that_there_are_not_and_that_cannot_be_asked_are_said(database: Database) -> None:
    vectors = VECTORS[:80].copy()
    vectors[::4] = 0
    library = Library(database, vectors)
    found = run(library, wanted(GRAPH, k=3, queries=QuerySource(count=100)))
    assert found.data is not None
    assert (found.data.queries, found.data.left_out) == (60, 40)  # zeros have no cosine
    assert "Asked for 100 queries, and there are 60." in found.data.notes
    assert any("zeros" in note for note in found.data.notes)


# --- what is refused before anything is built ---------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "error", "said"),
    [
        (wanted(GRAPH, k=40), InvalidInput, "k is 40, and “Library” has 40 rows"),
        (wanted(GRAPH, k=1000), InvalidInput, "k is 1,000"),
        (wanted("ivfflat:lists=41"), IndexRefused, "cannot give 41 lists"),
        (
            wanted(GRAPH, filters=(Filter.parse("category=neither"),)),
            InvalidInput,
            "category=neither leaves none of the 40 rows",
        ),
    ],
)
def test_what_cannot_be_is_refused_first(
    database: Database, spec: ExperimentSpec, error: type[Exception], said: str
) -> None:
    library = Library(database, VECTORS[:40])
    with pytest.raises(error, match=said):
        start(library, spec)
    assert database.query(list_experiments, library.collection) == []
    assert library.tables() == set()


def test_more_rows_than_hnsw_returns_are_refused(database: Database) -> None:
    library = Library(database, np.tile(VECTORS, (2, 1)))
    with pytest.raises(InvalidInput, match="at most 1,000 rows"):
        database.run(
            check_experiment(database, library.collection, wanted(GRAPH, k=1000, values=None))
        )


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ({"candidates": ()}, "0 candidates"),
        ({"k": 0}, "k is 0"),
        ({"protocol": Protocol.ANN_BENCHMARKS, "k": 20}, "k = 10, not 20"),
        ({"rounds": 0}, "rounds is 0"),
        ({"clients": (2,)}, "1 among them"),
        ({"values": {"ef_search": (2000,)}}, "ef_search is 2,000"),
        ({"values": {"probes": ()}}, "0 values of probes"),
        ({"iterative_scans": (IterativeScan.STRICT,)}, "there is no filter"),
    ],
)
def test_a_spec_that_means_nothing_is_refused(others: dict[str, Any], said: str) -> None:
    given = {"candidates": (parse_candidate(GRAPH, 0, Storage.VECTOR),), **others}
    with pytest.raises(InvalidInput, match=said):
        ExperimentSpec(**given)


def test_a_candidate_named_twice_is_refused() -> None:
    with pytest.raises(InvalidInput, match="named twice"):
        wanted(GRAPH, GRAPH)


# --- one that does not get to its end -----------------------------------------------------------


@contextmanager
def stopped_after(library: Library, count: int) -> Iterator[psycopg.Connection[Any]]:
    """Until the block ends no more than ``count`` measurements are kept: the next one waits for a
    lock that the block holds, so that the run is where it is for as long as a test likes."""
    with psycopg.connect(**connect_arguments(library.database.url), autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(42)")
        connection.execute(
            f"""
            CREATE FUNCTION wait_here() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF (SELECT count(*) FROM vecscope.measurements) >= {count} THEN
                    PERFORM pg_advisory_xact_lock_shared(42);
                END IF;
                RETURN NEW;
            END $$;
            CREATE TRIGGER wait_here BEFORE INSERT ON vecscope.measurements
            FOR EACH ROW EXECUTE FUNCTION wait_here();
            """
        )
        try:
            yield connection
        finally:
            connection.execute("SELECT pg_advisory_unlock_all()")


def until_it_waits(library: Library, job: Job, connection: psycopg.Connection[Any]) -> None:
    while not connection.execute(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = 42 "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    ).fetchall()[0][0]:
        now = library.database.run(library.jobs.get(job.id))
        assert now.active, now.error
        time.sleep(0.05)


def measured_rows(library: Library) -> list[Any]:
    return library.ask("SELECT id, candidate, value FROM vecscope.measurements ORDER BY id")


def test_a_cancelled_run_keeps_what_it_has_and_goes_on(database: Database) -> None:
    library = Library(database, VECTORS)
    with stopped_after(library, 2) as connection:
        job = start(library, wanted(LISTS, GRAPH), name="Mine")
        until_it_waits(library, job, connection)
        with pytest.raises(Busy, match="Mine"):
            start(library, wanted(GRAPH))
        running = read(library)
        assert (running.name, running.state, len(running.measurements)) == (
            "Mine",
            ExperimentState.RUNNING,
            2,
        )
        with pytest.raises(Busy):
            database.query(delete_experiment, running)
        shown = database.run(library.jobs.get(job.id)).result
        assert shown is not None
        assert shown["phase"] == "sweep"
        assert any("built in" in line for line in shown["lines"])
        database.run(library.jobs.cancel(job.id))
        found = ended(library, job, "cancelled")
    assert (found.state, found.state.can_resume) == (ExperimentState.CANCELLED, True)
    before = measured_rows(library)
    assert len(before) == 2
    candidates = {each.id for each in library.candidates()}

    job = database.run(
        resume_experiment(library.jobs, database, Settings(), library.collection, found)
    )
    found = ended(library, job)
    assert found.state is ExperimentState.DONE
    assert {each.id for each in library.candidates()} == candidates
    assert measured_rows(library)[:2] == before  # not measured again
    assert len(found.measurements) == 5
    with pytest.raises(InvalidInput, match="nothing to go on with"):
        database.run(
            resume_experiment(library.jobs, database, Settings(), library.collection, found)
        )


def test_a_server_that_goes_away_is_said_and_the_run_goes_on_later(database: Database) -> None:
    library = Library(database, VECTORS)
    with stopped_after(library, 1) as connection:
        job = start(library, wanted(GRAPH))
        until_it_waits(library, job, connection)
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        found = ended(library, job, "failed")
    assert found.state is ExperimentState.FAILED
    assert "Measuring the settings was broken off" in found.error
    assert "resume" in found.hint
    job = database.run(
        resume_experiment(library.jobs, database, Settings(), library.collection, found)
    )
    assert ended(library, job).state is ExperimentState.DONE


def test_a_collection_that_changes_meanwhile_is_said(database: Database) -> None:
    library = Library(database, VECTORS)
    with stopped_after(library, 1) as connection:
        job = start(library, wanted(GRAPH))
        until_it_waits(library, job, connection)
        library.add(clustered(5, seed=9), first=5000)
    found = ended(library, job)
    assert "was written to while it was measured" in found.changed
    assert found.stale
    assert found.data is not None
    assert found.data.rows == 700  # of the state that all of it is of
    recommendation = recommend(found)
    assert recommendation is not None
    assert found.changed in recommendation.text


def test_a_run_that_goes_on_after_a_change_measures_the_state_it_began_with(
    database: Database,
) -> None:
    library = Library(database, VECTORS)
    with stopped_after(library, 1) as connection:
        job = start(library, wanted(GRAPH))
        until_it_waits(library, job, connection)
        database.run(library.jobs.cancel(job.id))
        found = ended(library, job, "cancelled")
    library.add(clustered(5, seed=9), first=5000)
    first = measured_rows(library)
    job = database.run(
        resume_experiment(library.jobs, database, Settings(), library.collection, found)
    )
    found = ended(library, job)
    assert found.data is not None
    assert (found.data.rows, found.stale) == (700, True)
    assert measured_rows(library)[:1] == first


def test_a_candidate_of_another_state_is_not_measured(database: Database) -> None:
    library = Library(database, VECTORS)
    old = run(library, wanted(GRAPH))
    assert not old.stale
    library.add(clustered(5, seed=9), first=5000)
    assert read(library).stale
    assert database.query(list_experiments, library.collection)[0].stale
    found = run(library, wanted(GRAPH))
    assert not found.stale
    assert found.data is not None
    assert found.data.rows == 705
    assert found.facts[0].id != old.facts[0].id
    assert found.facts[0].rows == 705


# --- keeping them -------------------------------------------------------------------------------


def test_experiments_are_renamed_found_and_deleted(database: Database) -> None:
    library = Library(database, VECTORS[:60])
    spec = wanted(GRAPH, k=3, target=None, queries=QuerySource(count=5))
    first, second = run(library, spec), run(library, spec)
    assert first.name.startswith("HNSW, ")
    assert first.name != second.name
    assert first.target_results == ()
    assert (
        database.query(rename_experiment, first, "  Before \n the change ") == "Before the change"
    )
    assert read(library, "before THE change").id == first.id
    assert read(library).id == second.id
    with pytest.raises(AlreadyExists, match="Before the change"):
        database.query(rename_experiment, second, "Before the change")
    with pytest.raises(InvalidInput):
        database.query(rename_experiment, second, " ")
    with pytest.raises(AlreadyExists, match="called “before the change”"):
        start(library, spec, name="before the change")
    with pytest.raises(NotFound, match="no experiment called “Other”") as caught:
        read(library, "Other")
    assert "Before the change" in caught.value.hint
    database.query(delete_experiment, first)
    with pytest.raises(NotFound, match="gone already"):
        database.query(delete_experiment, first)
    left = {row[0] for row in library.ask("SELECT experiment_id FROM vecscope.measurements")}
    assert left == {second.id}
    assert len(library.candidates()) == 1  # it stays
