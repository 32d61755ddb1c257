"""`search` and `words` on the command line: ranking, filters, and whole files of questions."""

from __future__ import annotations

import json
from pathlib import Path

import ir_measures
import pytest
from command_line import Screen

FILMS = [
    {"id": "orbit", "text": "An astronaut is lost in space", "genre": "drama", "year": 1990},
    {"id": "reef", "text": "A diver looks for her brother", "genre": "drama", "year": 2003},
    {"id": "moon", "text": "Space, space and more space", "genre": "comedy", "year": 2015},
    {"id": "bread", "text": "Two bakers and a lost recipe", "genre": "comedy", "year": 2020},
]


@pytest.fixture
def films(screen: Screen, tmp_path: Path) -> Path:
    """A folder with questions, next to a collection of FILMS."""
    table = tmp_path / "films.jsonl"
    table.write_text("".join(json.dumps(film) + "\n" for film in FILMS))
    screen.json("ingest", table, "--collection", "Films", "--category-column", "genre")
    (tmp_path / "queries.jsonl").write_text(
        '{"_id": "q1", "text": "lost in space"}\n{"_id": "q 2", "text": "a diver"}\n'
        '{"_id": "q3", "text": ""}\n{"_id": "q4", "text": "nothing of that kind"}\n'
    )
    return tmp_path


def found(screen: Screen, *arguments: object) -> list[str]:
    return [hit["external_id"] for hit in screen.json("search", *arguments)["hits"]]


def test_the_word_index_comes_and_goes(screen: Screen, films: Path) -> None:
    ask = ("space", "--mode", "text", "--text-method", "bm25")
    code, _, err = screen.run("search", *ask)
    assert code == 2
    assert "bm25 build" in err
    assert screen.json("words", "status", "--collection", "films")["words"] is None
    built = screen.json("words", "build", "--collection", "films")["words"]
    assert built["documents"] == 4
    assert screen.json("words", "status", "--collection", "films")["words"] == built
    assert found(screen, *ask) == ["moon", "orbit"]
    # k1 = 0: how often no longer counts, b = 1: the shorter document first
    assert found(screen, *ask, "--k1", 0, "--b", 1)[0] in {"moon", "orbit"}
    code, out, _ = screen.run("search", *ask)
    assert (code, "bm25 " in out) == (0, True)
    screen.json("words", "drop", "--collection", "films", "--yes")
    assert screen.json("words", "status", "--collection", "films")["words"] is None
    assert screen.run("words", "drop", "--collection", "films", "--yes")[0] == 2


def test_filters_narrow_every_mode(screen: Screen, films: Path) -> None:
    for mode in ("similarity", "text", "hybrid"):
        ask = ("lost space", "--mode", mode, "--text-query", "any")
        assert set(found(screen, *ask, "--filter", "year>=2003", "--filter", "year<=2015")) <= {
            "reef",
            "moon",
        }
        assert "moon" in found(screen, *ask, "--filter", "year=2015")
        assert found(screen, *ask, "--filter", "year=1066") == []
        both = found(screen, *ask, "--category", "drama", "--filter", "year=1990,2015")
        assert both == ["orbit"]


def test_a_file_of_questions_becomes_a_run(screen: Screen, films: Path) -> None:
    run = films / "answers.run"
    ask = ("search", "--queries", films / "queries.jsonl", "--run-out", run)
    ask = (*ask, "--mode", "text", "--text-query", "any")
    said = screen.json(*ask, "--limit", 3)
    assert {key: said[key] for key in ("queries", "lines", "mode", "run")} == {
        "queries": 3,
        "lines": 4,
        "mode": "text",
        "run": str(run),
    }
    (problem,) = said["problems"]
    assert "line 3" in problem
    lines = [line.split() for line in run.read_text().splitlines()]
    assert [line[:4] for line in lines[:3]] == [
        ["q1", "Q0", "orbit", "1"],
        ["q1", "Q0", lines[1][2], "2"],
        ["q1", "Q0", lines[2][2], "3"],
    ]
    assert lines[3][:4] == ["q%202", "Q0", "reef", "1"]
    one = screen.json("search", "lost in space", "--mode", "text", "--text-query", "any")
    assert [line[2] for line in lines[:3]] == [hit["external_id"] for hit in one["hits"]]
    # another reader of such files puts the documents into the same order
    scores = [
        (r.doc_id, r.score) for r in ir_measures.read_trec_run(str(run)) if r.query_id == "q1"
    ]
    assert sorted(scores, key=lambda pair: -pair[1]) == scores
    assert len({score for _, score in scores}) == 3


@pytest.mark.parametrize("mode", ["similarity", "text", "hybrid"])
def test_parts_of_one_document_are_one_line(screen: Screen, tmp_path: Path, mode: str) -> None:
    book = " ".join(f"The sea was calm on day {n}, the captain wrote." for n in range(600))
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/book.txt").write_text(book)
    (tmp_path / "docs/note.txt").write_text("The captain of a sea that was never calm.")
    screen.json("ingest", tmp_path / "docs", "--collection", "Books")
    (tmp_path / "q.jsonl").write_text('{"_id": "1", "text": "the captain and the calm sea"}\n')
    run = tmp_path / "run"
    said = screen.json(
        *("search", "--queries", tmp_path / "q.jsonl", "--run-out", run),
        *("--mode", mode, "--limit", 2, "--text-query", "any", "--pool", 50),
    )
    assert said["lines"] == 2
    documents = [line.split()[2] for line in run.read_text().splitlines()]
    assert sorted(documents) == ["book.txt", "note.txt"]


def test_more_like_an_example(screen: Screen, films: Path) -> None:
    like = found(screen, "--like", "orbit")
    assert like[0] == "moon"
    assert sorted(like) == ["bread", "moon", "reef"]
    assert sorted(found(screen, "--like", "orbit", "--unlike", "moon")) == ["bread", "reef"]
    assert found(screen, "--like", "orbit", "--filter", "year>=2016") == ["bread"]
    (first,) = screen.json("search", "space", "--mode", "text", "--limit", 1)["hits"]
    assert found(screen, "--like", first["id"]) == found(screen, "--like", first["external_id"])
    vector = json.dumps([0.1] * 256)
    assert len(found(screen, "--vector", vector)) == len(FILMS)
    code, _, err = screen.run("search", "--vector", "[1, 2]")
    assert (code, "2 dimensions, the column has 256" in err) == (2, True)


def test_why_no_index_answered(screen: Screen, films: Path) -> None:
    ask = ("search", "space", "--mode", "similarity", "--explain")
    said = screen.json(*ask)["diagnosis"]
    assert said["answered_by"] is None
    assert [check["name"] for check in said["checks"] if check["ok"] is False] == ["index"]
    built = screen.json("index", "create", "--collection", "films", "--kind", "hnsw")
    said = screen.json(*ask, "--scan", "index")["diagnosis"]
    assert said["answered_by"] == built["name"]
    assert said["figures"]["rows_visited"] == len(FILMS)
    code, out, _ = screen.run(*ask, "--exact")
    assert code == 0
    assert "The exact scan was asked for" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("search", "Give either a question, or"),
        ("search x --queries queries.jsonl --run-out r", "Give either a question, or"),
        ("search --queries queries.jsonl", "need each other"),
        ("search x --run-out r", "need each other"),
        ("search --queries empty.jsonl --run-out r", "There is no question in empty.jsonl"),
        ("search --queries queries.jsonl --run-out r --pool 0", "pool is 0"),
        ("search --queries queries.jsonl --run-out r --text-method bm25", "no BM25 index"),
        ("search x --like orbit", "Give either a question"),
        ("search --unlike orbit", "nothing to be like"),
        ("search --like orbit --mode text", "by similarity"),
        ("search --like nobody", "no document with the id “nobody”"),
        ("search x --filter year>=", "nothing follows >="),
        ("search x --filter category>=3", "a category is a word"),
        ("search x --text-method bm25 --b 2", "b is 2, outside 0–1"),
    ],
)
def test_what_cannot_be_asked(
    screen: Screen, films: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, said: str
) -> None:
    monkeypatch.chdir(films)
    (films / "empty.jsonl").write_text("")
    code, out, err = screen.run(*arguments.split())
    assert (code, out) == (2, "")
    assert said in err
    assert not list(films.glob("r*"))  # no half of a run is left
