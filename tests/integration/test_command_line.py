"""The command line: what it prints where, with which exit code, and how it ends when told to."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import psycopg
import pytest
from command_line import CommandLine, Screen, clean_environment
from sqlalchemy import URL

from lib.cli.app import COMMANDS, root
from lib.settings import PROJECT_ROOT
from lib.store.url import connect_arguments

HIT_KEYS = [
    "id",
    "external_id",
    "title",
    "distance",
    "similarity",
    "vector_rank",
    "text_rank",
    "fused",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three files that can be read, one that cannot, and two that are hidden."""
    (tmp_path / "deep").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / "deep/notes.md").write_text("# Bread\n\nKnead the dough and let it rest.\n")
    (tmp_path / "tea.txt").write_text("Green tea\n\nPour water of eighty degrees on the leaves.\n")
    (tmp_path / "films.csv").write_text(
        "id,name,plot,genre\n1,Orbit,An astronaut is lost in space,drama\n"
        "2,Reef,A diver looks for her brother,drama\n3,Empty,,comedy\n"
    )
    (tmp_path / "photo.bin").write_bytes(b"\0\1\2")
    (tmp_path / ".hidden.txt").write_text("not for you")
    (tmp_path / ".git/config.txt").write_text("not for you")
    return tmp_path


# --- the whole way ------------------------------------------------------------------------------


def test_from_files_to_answers_and_back(screen: Screen, folder: Path) -> None:
    first = screen.json("ingest", folder, "--collection", "Mine", "--text-column", "plot")
    assert first["stored"] == {"new": 5, "changed": 0, "unchanged": 0, "repeated": 0}
    assert first["embedded"]["embedded"] == 5
    assert [(p["source"], p["reason"]) for p in first["problems"]] == [
        ("photo.bin", '"photo.bin" cannot be read: files ending in .bin are not known.')
    ]
    again = screen.json("ingest", folder, "--collection", "mine", "--text-column", "plot")
    assert (again["stored"]["unchanged"], again["embedded"]["embedded"]) == (5, 0)

    found = screen.json("search", "an astronaut in space", "--mode", "similarity", "--limit", 2)
    assert list(found["hits"][0]) == HIT_KEYS
    assert found["hits"][0]["external_id"] == "1"
    assert [hit["vector_rank"] for hit in found["hits"]] == [1, 2]
    assert found["hits"][0]["similarity"] == pytest.approx(1 - found["hits"][0]["distance"])
    assert found["plan"]["index"] is None
    assert found["milliseconds"].keys() == {"embedding", "database"}
    assert found["truncated_because"] is None
    assert "ORDER BY d.embedding <=>" in found["sql"]

    words = screen.json("search", "knead dough", "--mode", "text", "--content")
    assert [hit["external_id"] for hit in words["hits"]] == ["deep/notes.md"]
    assert "let it rest" in words["hits"][0]["content"]
    assert (words["matches"], words["milliseconds"]["embedding"]) == (1, None)
    assert words["truncated_because"].startswith("Only 1 of 10")

    dropped = screen.json("collections", "drop", "Mine", "--yes")
    assert dropped["dropped"]["documents"] == 5
    assert screen.json("collections", "list") == {"collections": []}


def test_the_plan_tells_whether_the_index_answered(screen: Screen, folder: Path) -> None:
    screen.json("ingest", folder, "--collection", "Mine")
    code, out, err = screen.run("search", "tea", "--ef-search", 50)
    assert code == 0
    assert "Green tea" in out
    assert "--ef-search had no effect" in err
    built = screen.json("index", "create", "--collection", "Mine", "--kind", "hnsw")
    assert built["options"] == {"m": 16, "ef_construction": 64}
    (index,) = screen.json("index", "list", "--collection", "Mine")["indexes"]
    assert (index["name"], index["valid"]) == (built["name"], True)
    assert screen.json("collections", "list")["collections"][0]["index"] == built["name"]

    similar = ("search", "tea", "--mode", "similarity")
    chosen = screen.json(*similar, "--ef-search", 50)
    assert (chosen["plan"]["index"], chosen["settings"]["hnsw.ef_search"]) == (built["name"], "50")
    assert screen.json(*similar, "--exact")["plan"]["index"] is None
    assert screen.json(*similar)["plan"]["index"] is None  # five rows: the planner knows better

    for storage, held in (("halfvec", "halfvec"), ("bit", "bits")):
        smaller = screen.json(
            *("index", "create", "--collection", "Mine", "--kind", "hnsw", "--storage", storage)
        )
        assert smaller["replaced"] == [built["name"]]
        (index,) = screen.json("index", "list", "--collection", "Mine")["indexes"]
        assert (index["name"], index["on"]) == (smaller["name"], held)
        chosen = screen.json(*similar, "--ef-search", 50)
        assert chosen["plan"]["index"] == smaller["name"]
        assert screen.json(*similar, "--exact")["plan"]["index"] is None
        built = smaller

    screen.json("index", "drop", "--collection", "Mine", "--yes")
    code, _, err = screen.run("index", "drop", "--collection", "Mine", "--yes")
    assert (code, err) == (2, "Error: “Mine” has no vector index.\n")


def test_sample_backfill_and_status(screen: Screen, migrated_url: URL) -> None:
    assert screen.json("sample", "--limit", 30)["stored"]["new"] == 30
    with psycopg.connect(**connect_arguments(migrated_url), autocommit=True) as connection:
        connection.execute(
            "UPDATE vecscope.documents_python_documentation SET embedding = NULL WHERE id IN "
            "(SELECT id FROM vecscope.documents_python_documentation LIMIT 7)"
        )
    status = screen.json("status")
    (collection,) = status["collections"]
    assert (collection["documents"], collection["embedded"]) == (30, 23)
    models = {model["name"]: model["missing"] for model in status["models"]}
    assert models["local/wordllama-256"] is None
    assert models["openai/text-embedding-3-small"] == "OPENAI_API_KEY"
    done = screen.json("backfill", "--collection", "python documentation")
    assert done["embedded"]["embedded"] == 7
    code, out, _ = screen.run("status")
    assert code == 0
    assert "Python documentation" in out
    assert "100%" in out


def test_a_name_from_a_file_cannot_steer_the_terminal(screen: Screen, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\x1b[2Jred\x1b[31m herring in the sea\n\nmore of it")
    screen.json("ingest", tmp_path, "--collection", "Mine")
    _, out, _ = screen.run("search", "herring")
    assert "herring" in out
    assert "\x1b" not in out


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("nonsense", "No such command"),
        ("search", "Give either a question"),
        ("search x", "There is no collection yet."),
        ("search x --collection Nowhere", "no collection called “Nowhere”"),
        ("search x --collection Here --limit 0", "limit is 0, outside 1–10,000"),
        ("search x --collection Here --limit many", "not a valid integer"),
        ("search x --collection Here --mode magic", "is not one of"),
        ("search x --collection Here --ef-search 5000", "ef_search is 5,000, outside 1–1,000"),
        ("search x --collection Here --exact --probes 3", "--exact compares every row"),
        ("search x --collection Here --vector-weight 2", "outside 0–1"),
        ("search x --collection Here --mode text --max-distance 1", "no distance to cut at"),
        ("search x --collection Here --max-distance nan", "not a number"),
        ("collections create HERE", "There is a collection called “HERE” already."),
        ("collections create New --model no/such", "no embedding model"),
        ("collections create New --model openai/text-embedding-3-small", "OPENAI_API_KEY"),
        ("collections create New --text-config klingon", "no full-text configuration"),
        ("collections drop Here", "asks before it changes anything"),
        ("ingest /no/such/file --collection New", "does not exist"),
        ("ingest README.md --collection New --delimiter ;;", "delimiter must be one character"),
        ("ingest README.md --collection New --encoding klingon", "not the name of a text encoding"),
        ("ingest Makefile --collection New", "None of these files can be read."),
        ("ingest . --collection Here --model openai/text-embedding-3-small", "embedded by local"),
        ("index create --collection Here --kind hnsw --lists 5", "HNSW has no option lists"),
        ("index create --collection Here --kind hnsw --m 60", "below 2 · m"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    screen: Screen,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: str,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").write_text("# Title\n\nText.")
    (tmp_path / "Makefile").write_text("all:")
    if "Here" in arguments or "HERE" in arguments:
        screen.json("collections", "create", "Here")
    code, out, err = screen.run(*arguments.split())
    assert code == 2
    assert out == ""
    assert err.startswith("Error: ")
    assert said in err
    assert "Traceback" not in err

    code, out, _ = screen.run(*arguments.split(), "--json")
    assert code == 2
    error = json.loads(out)["error"]
    assert error.keys() == {"message", "hint", "field"}
    assert said in error["message"] + error["hint"]
    names = [found["name"] for found in screen.json("collections", "list")["collections"]]
    assert "New" not in names  # nothing was made on the way


def test_two_files_of_one_name_are_refused(screen: Screen, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "same.txt").write_text(name)
    code, _, err = screen.run("ingest", tmp_path / "a", tmp_path / "b", "--collection", "Mine")
    assert code == 2
    assert "would both be called same.txt" in err
    assert screen.json("ingest", tmp_path, "--collection", "Mine")["stored"]["new"] == 2


def test_nothing_loaded_is_a_failure(screen: Screen, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    load = ("ingest", tmp_path / "table.csv", "--collection", "Mine", "--text-column", "plot")
    code, out, _ = screen.run(*load)
    assert code == 1
    assert 'There is no column "plot".' in out


def test_a_server_that_is_not_there(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:hunter2@127.0.0.1:9/nothing")
    code, out, err = screen.run("status")
    assert (code, out) == (1, "")
    assert err.startswith("Error: The database cannot be reached.\nHint: ")
    assert "hunter2" not in err


# --- as a process -------------------------------------------------------------------------------


def test_results_and_errors_come_out_of_their_own_ends(migrated_url: URL, folder: Path) -> None:
    command_line = CommandLine(migrated_url)
    code, out, err = command_line.run(
        "ingest", folder, "--collection", "Mine", "--json", VECSCOPE_LOG_LEVEL="info"
    )
    assert code == 0
    assert json.loads(out)["stored"]["new"] == 5
    assert "Loading " in err
    assert "event=load.done" in err  # the log, as key=value
    code, out, err = command_line.run("search", "x", "--collection", "Nowhere", "--json")
    assert code == 2
    assert json.loads(out)["error"]["field"] == "collection"
    assert err.splitlines() == [
        "Error: There is no collection called “Nowhere”.",
        "Hint: There is: Mine.",
    ]


def test_every_command_and_option_has_help() -> None:
    def without_help(command: click.Command, path: str) -> Iterator[str]:
        if not command.help:
            yield path
        for param in command.params:
            if isinstance(param, click.Option) and not param.help:
                yield f"{path} {param.opts[0]}"
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                found = command.get_command(context, name)
                assert found is not None
                yield from without_help(found, f"{path} {name}")

    assert list(without_help(root, "python -m lib")) == []


def test_help_is_there_for_all_and_comes_without_the_slow_imports() -> None:
    script = (
        "import sys; from lib.cli.app import main; main(['--help']); "
        "print(*({'sqlalchemy', 'numpy', 'litellm', 'umap'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    )
    *help_text, slow = done.stdout.splitlines()
    assert all(any(line.split()[:1] == [name] for line in help_text) for name in COMMANDS)
    assert slow == ""


def wait_until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    give_up = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < give_up
        time.sleep(0.02)


def long_table(folder: Path) -> Path:
    path = folder / "long.csv"
    rows = "".join(f"{n},some words about the number {n}\n" for n in range(30_000))
    path.write_text("id,text\n" + rows)
    return path


def rows_in(url: URL) -> int:
    with psycopg.connect(**connect_arguments(url), autocommit=True) as connection:
        try:
            row = connection.execute("SELECT count(*) FROM vecscope.documents_mine").fetchone()
        except psycopg.errors.UndefinedTable:
            return 0
    assert row is not None
    return int(row[0])


def test_ctrl_c_stops_in_good_order(migrated_url: URL, tmp_path: Path) -> None:
    command_line = CommandLine(migrated_url)
    process = command_line.start("ingest", long_table(tmp_path), "--collection", "Mine")
    wait_until(lambda: rows_in(migrated_url), process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert out == ""
    assert "was stopped." in err
    assert "Run the same command again" in err
    assert 0 < rows_in(migrated_url) <= 30_000
    assert command_line.json("status")["jobs"] == []  # cancelled, not interrupted


def test_sigterm_lets_go_of_the_bundled_server(tmp_path: Path) -> None:
    home = Path(tempfile.mkdtemp(prefix="vs-"))  # short: a socket's path is limited
    process = subprocess.Popen(
        [sys.executable, "-m", "lib", "ingest", long_table(tmp_path), "--collection", "Mine"],
        cwd=PROJECT_ROOT,
        env=clean_environment(VECSCOPE_HOME=str(home)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("Loading "):
                break
        assert (home / "postgres/postmaster.pid").exists()
        process.terminate()
        _, err = process.communicate(timeout=120)
        assert (process.returncode, err.splitlines()[-1]) == (143, "Error: Ended from outside.")
        assert not (home / "postgres/postmaster.pid").exists()
    finally:
        process.kill()
        shutil.rmtree(home)
