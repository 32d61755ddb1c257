"""``lab`` on the command line, in this process and, where it is to be killed, as one of its own."""

from __future__ import annotations

import csv
import io
import json
import time
from pathlib import Path

import numpy as np
import psycopg
import pytest
from candidates_fixture import Library, clustered
from command_line import CommandLine, Screen

from lib.store.database import Database
from lib.store.url import connect_arguments

GRAPH = "hnsw:m=4,ef_construction=16"
QUICK = ("--queries", 20, "--rounds", 1, "--clients", 1)


@pytest.fixture
def library(database: Database) -> Library:
    return Library(database, clustered(500))


def test_an_experiment_from_run_to_drop(library: Library, screen: Screen, tmp_path: Path) -> None:
    run = ("lab", "run", "--collection", "Library", *QUICK)
    indexes = ("--index", GRAPH, "--index", "ivfflat:lists=8@halfvec")
    named = ("--ef-search", "11,40", "--probes", "1,8")
    found = screen.json(*run, *indexes, *named, "--name", "First", "--seed", 3)
    assert found["collection"] == "Library"
    assert found["experiment"]["state"] == "done"
    assert found["spec"]["queries"]["seed"] == 3
    assert [each["text"] for each in found["candidates"]] == [
        f"{GRAPH}@vector",
        "ivfflat:lists=8@halfvec",
    ]
    asked = [
        (each["spec"], each["parameter"]["value"], each["certified"])
        for each in found["measurements"]
    ]
    assert asked == [
        (f"{GRAPH}@vector", 11, True),
        (f"{GRAPH}@vector", 40, True),
        ("ivfflat:lists=8@halfvec", 1, True),
        ("ivfflat:lists=8@halfvec", 8, True),
        (None, None, True),
    ]
    for each in found["measurements"]:
        assert 0 <= each["recall"]["low"] <= each["recall"]["mean"] <= each["recall"]["high"] <= 1
        assert each["latency_ms"]["p50"] <= each["latency_ms"]["p95"] <= each["latency_ms"]["p99"]
        assert each["qps"]["1"] > 0
        assert each["truncated"] == 0
    assert found["candidates"][0]["rows"] == 500
    assert found["candidates"][0]["build_seconds"] > 0
    assert found["environment"]["pgvector"]

    # The same index asked with a value that finds less than is demanded, and one that finds enough.
    again = (*run, "--index", GRAPH)
    best = found["measurements"][1]["recall"]["mean"]
    code, out, err = screen.run(*again, "--ef-search", 40, "--fail-under", best, "--json")
    assert code == 0, err
    assert json.loads(out)["experiment"]["state"] == "done"
    code, out, err = screen.run(
        *again, "--ef-search", 11, "--seed", 3, "--fail-under", 1, "--name", "Second"
    )
    lowest = found["measurements"][0]["recall"]["mean"]
    assert (code, "Below 100 %" in err) == ((1, True) if lowest < 1 else (0, False)), err
    assert "ef_search 11" in out

    listed = screen.json("lab", "list", "--collection", "Library")["experiments"]
    assert [each["name"] for each in listed][::2] == ["Second", "First"]
    assert screen.json("lab", "show", "--collection", "Library", "First") == found
    _, out, _ = screen.run("lab", "show", "First", "--collection", "Library")
    assert "certified" in out

    compared = screen.json("lab", "compare", "First", "Second", "--collection", "Library")
    (same,) = [each for each in compared["measurements"] if each["spec"] is not None]
    assert (same["setting"], same["recall_change"]) == ("ef_search 11", 0)
    assert compared["only_before"] == ["ivfflat:lists=8@halfvec"]
    code, out, _ = screen.run("lab", "compare", "First", "Second", "--collection", "Library")
    assert (code, "ef_search 11" in out) == (0, True)

    export = ("lab", "export", "First", "--collection", "Library")
    for name in ("first.json", "first.csv", "first.html"):
        assert screen.run(*export, "--out", tmp_path / name)[0] == 0
    assert json.loads((tmp_path / "first.json").read_text()) == found
    rows = list(csv.DictReader(io.StringIO((tmp_path / "first.csv").read_text("utf-8-sig"))))
    assert [row["value"] for row in rows] == ["11", "40", "1", "8", ""]
    assert (tmp_path / "first.html").read_text().startswith("<!doctype html>")
    code, _, err = screen.run(*export, "--out", tmp_path / "first.json")
    assert (code, "is there already" in err) == (2, True)
    code, _, err = screen.run(*export, "--out", tmp_path / "first.txt")
    assert (code, ".txt is no ending" in err) == (2, True)
    if found["recommendation"]["winner"]:
        _, out, _ = screen.run(*export, "--as", "migration")
        assert "autocommit_block" in out

    assert screen.json("lab", "drop", "First", "--yes", "--collection", "Library") == {
        "collection": "Library",
        "dropped": "First",
    }
    code, _, err = screen.run("lab", "show", "First", "--collection", "Library")
    assert (code, "no experiment called “First”" in err) == (2, True)
    assert len(screen.json("candidates", "list", "--collection", "Library")["candidates"]) == 2


def test_the_vectors_of_a_file_are_asked(library: Library, screen: Screen, tmp_path: Path) -> None:
    np.save(tmp_path / "mine.npy", clustered(15, seed=8))
    run = ("lab", "run", "--collection", "Library", "--index", GRAPH, "--ef-search", 40, *QUICK)
    found = screen.json(*run, "--query-file", tmp_path / "mine.npy", "--no-target")
    assert found["data"]["queries"] == 15
    assert found["spec"]["queries"]["name"] == "mine.npy"
    assert found["recommendation"] is None
    np.save(tmp_path / "wide.npy", np.ones((15, 99), dtype=np.float32))
    code, _, err = screen.run(*run, "--query-file", tmp_path / "wide.npy")
    assert code == 2
    assert "99" in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--index", "hnsw:m=200"), "m is 200"),
        (("--index", "ivfflat:lists=501"), "501 lists"),
        (("--index", GRAPH, "--k", 500), "k is 500"),
        (("--index", GRAPH, "--probes", "1,x"), "no list of numbers"),
        (("--index", GRAPH, "--target-recall", 95), "outside 0–1"),
        (("--index", GRAPH, "--fail-under", 95), "outside 0–1"),
        (("--index", GRAPH, "--query-set", "None such"), "None such"),
        (("--resume", "None such"), "None such"),
        (("--index", GRAPH, "--queries", 0), "queries is 0"),
        (("--index", GRAPH, "--protocol", "ann-benchmarks", "--k", 20), "k = 10, not 20"),
    ],
)
def test_bad_input_gets_a_sentence(
    library: Library, screen: Screen, options: tuple[object, ...], said: str
) -> None:
    code, out, err = screen.run("lab", "run", "--collection", "Library", *options)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err
    assert library.tables() == set()


@pytest.mark.parametrize(
    ("trigger", "tables_left"),
    [
        ("BEFORE UPDATE ON vecscope.candidates", 0),  # while its candidate is being built
        ("BEFORE INSERT ON vecscope.measurements", 1),  # while it keeps its first measurement
    ],
)
def test_a_killed_run_says_so_and_goes_on(
    library: Library, database: Database, trigger: str, tables_left: int
) -> None:
    """The run waits for a lock of the test's own, wherever the trigger puts it, and is killed."""
    command = CommandLine(database.url)
    ours = "database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    with psycopg.connect(**connect_arguments(database.url), autocommit=True) as connection:

        def until(statement: str, count: int) -> None:
            while connection.execute(statement).fetchall()[0][0] != count:
                assert process.poll() is None or count == 0, process.communicate()
                time.sleep(0.1)

        connection.execute("SELECT pg_advisory_lock(42)")
        connection.execute(
            f"""
            CREATE FUNCTION wait_here() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                PERFORM pg_advisory_xact_lock_shared(42);
                RETURN NEW;
            END $$;
            CREATE TRIGGER wait_here {trigger} FOR EACH ROW EXECUTE FUNCTION wait_here();
            """
        )
        process = command.start(
            *("lab", "run", "--collection", "Library", "--index", GRAPH, "--name", "Mine"),
            *("--ef-search", "40", *map(str, QUICK)),
        )
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 42"
        until(f"{waiting} AND NOT granted AND {ours}", 1)
        process.kill()
        process.communicate()
        connection.execute("SELECT pg_advisory_unlock_all()")
        # The server notices that its client is gone; until then the table cannot be dropped.
        until(
            "SELECT count(*) FROM pg_locks JOIN pg_class ON pg_class.oid = relation "
            f"WHERE relname ~ '^candidate_' AND {ours}",
            0,
        )

    shown = command.json("lab", "show", "Mine", "--collection", "Library")
    assert shown["experiment"]["state"] == "interrupted"
    assert shown["experiment"]["error"] == "The process that ran it ended."
    assert shown["measurements"] == []
    assert len(library.tables()) == tables_left
    ready = [str(each.id) for each in library.candidates() if each.ready]
    done = command.json("lab", "run", "--collection", "Library", "--resume", "Mine")
    assert done["experiment"]["state"] == "done"
    assert len(done["measurements"]) == 2
    assert len(library.tables()) == 1
    if ready:
        assert [each["id"] for each in done["candidates"]] == ready
