"""`documents` and `export` as a person runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import CommandLine
from sqlalchemy import URL

LINES = [
    {
        "id": f"film {n}",
        "title": f"Film {n}",
        "text": f"A story of the number {n}.",
        "year": 1990 + n,
    }
    for n in range(6)
]


@pytest.fixture
def vecscope(migrated_url: URL, tmp_path: Path) -> CommandLine:
    found = CommandLine(migrated_url)
    source = tmp_path / "films.jsonl"
    source.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    found.json("ingest", source, "--collection", "Films")
    return found


def test_documents_are_listed_shown_deleted_and_come_back_from_an_export(
    vecscope: CommandLine, tmp_path: Path
) -> None:
    films = ("--collection", "Films")
    listed = vecscope.json("documents", "list", *films, "--where", "year=1993")
    assert [line["external_id"] for line in listed["documents"]] == ["film 3"]
    assert (listed["total"], listed["total_is_exact"]) == (1, True)

    shown = vecscope.json("documents", "show", "film 3", *films, "--neighbours", "2")
    assert (shown["content"], shown["metadata"]) == (LINES[3]["text"], {"year": 1993})
    assert (len(shown["embedding"]), len(shown["neighbours"])) == (256, 2)

    out = tmp_path / "out.jsonl"
    exported = vecscope.json("export", *films, "--out", out, "--embeddings")
    assert (exported["documents"], exported["path"]) == (6, str(out))
    code, _, err = vecscope.run("export", *films, "--out", out)
    assert (code, "is there already" in err) == (2, True)

    code, _, err = vecscope.run("documents", "delete", *films, "film 3")
    assert (code, "--yes" in err) == (2, True)
    deleted = vecscope.json("documents", "delete", *films, "--words", "number 3", "--yes")
    assert deleted["deleted"] == {"documents": 1, "external_ids": 1}
    code, _, err = vecscope.run("documents", "show", "film 3", *films)
    assert (code, "no document" in err) == (2, True)

    loaded = vecscope.json("ingest", out, *films)
    assert (loaded["stored"]["new"], loaded["stored"]["unchanged"]) == (1, 5)
    again = vecscope.json("documents", "show", "film 3", *films, "--neighbours", "2")
    for field in ("title", "content", "metadata", "category", "part", "embedding", "neighbours"):
        assert again[field] == shown[field]


def test_nothing_is_deleted_without_saying_what(vecscope: CommandLine) -> None:
    for arguments in ((), ("--all", "--words", "x")):
        code, _, _ = vecscope.run("documents", "delete", "--collection", "Films", *arguments)
        assert code == 2
    deleted = vecscope.json("documents", "delete", "--collection", "Films", "--all", "--yes")
    assert deleted["deleted"]["documents"] == 6
