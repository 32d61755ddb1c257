"""``map …`` on the command line."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import Screen
from maps_fixture import compiled_home

ON = ("--collection", "Words")


def test_a_map_on_the_command_line(
    screen: Screen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VECSCOPE_HOME", compiled_home())
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((40, 8)).astype(np.float32)
    lines = [
        {"id": f"d{n}", "title": "=1+1" if n == 0 else f"Title {n}", "text": f"text {n}"}
        for n in range(40)
    ]

    def load(count: int) -> None:
        file = tmp_path / "words.parquet"
        rows = [
            line | {"embedding": vector.tolist()}
            for line, vector in zip(lines[:count], vectors, strict=False)
        ]
        pq.write_table(pa.Table.from_pylist(rows), file)
        screen.json("ingest", file, *ON, "--embedding-column", "embedding")

    load(30)
    code, _, err = screen.run("map", "export", *ON, "--out", tmp_path / "map.csv")
    assert (code, "has no map" in err) == (2, True)
    built = screen.json("map", "build", *ON, "--method", "pca", "--name", "Quick")["map"]
    assert (built["points"], built["stale"], built["placed"]) == (30, False, 0)
    assert 0 < built["fidelity"]["trustworthiness"] <= 1

    load(40)
    (listed,) = screen.json("map", "list", *ON)["maps"]
    assert listed == built | {"stale": True}
    placed = screen.json("map", "place", *ON)
    assert (placed["placed"], placed["remaining"]) == (10, 0)
    assert screen.json("map", "list", *ON)["maps"][0]["stale"] is False

    written = screen.json("map", "export", "quick", *ON, "--out", tmp_path / "map.csv")
    assert written["size_bytes"] == (tmp_path / "map.csv").stat().st_size
    with (tmp_path / "map.csv").open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    screen.json("map", "export", *ON, "--out", tmp_path / "map.parquet")
    table = pq.read_table(tmp_path / "map.parquet").to_pylist()
    assert [row["id"] for row in rows] == [row["id"] for row in table]
    assert sorted(row["title"] for row in rows)[0] == "'=1+1"
    assert sorted(row["title"] for row in table)[0] == "=1+1"
    assert sum(row["placed"] for row in table) == 10
    for row, typed in zip(rows, table, strict=True):
        assert float(row["x"]) == pytest.approx(typed["x"])
        assert float(row["y"]) == pytest.approx(typed["y"])
    code, _, err = screen.run("map", "export", *ON, "--out", tmp_path / "map.csv")
    assert (code, "is there already" in err) == (2, True)
    code, _, err = screen.run("map", "export", *ON, "--out", tmp_path / "map.png")
    assert (code, "neither in .csv nor in .parquet" in err) == (2, True)

    found = screen.json("map", "neighbours", *ON, "--document", "d3")["neighbours"]
    distances = np.linalg.norm(vectors[:30] - vectors[3], axis=1)  # what such vectors get
    order = np.argsort(distances)[1:16]  # of those that were laid out
    assert [row["title"] for row in found] == [lines[n]["title"] for n in order]
    np.testing.assert_allclose([row["distance"] for row in found], distances[order], atol=1e-6)
    drawn = {row["title"]: np.array([row["x"], row["y"]]) for row in table}
    away = np.linalg.norm(drawn["Title 3"] - drawn[found[0]["title"]])
    assert found[0]["drawn"] == pytest.approx(float(away), abs=1e-5)
    code, out, _ = screen.run("map", "neighbours", *ON, "--document", "d3")
    assert (code, "rank on the map" in out) == (0, True)
    code, _, err = screen.run("map", "neighbours", *ON, "--document", "nobody")
    assert code == 2

    code, _, err = screen.run("map", "build", *ON, "--min-dist", "2")
    assert (code, "outside 0–1" in err) == (2, True)
    assert screen.json("map", "delete", "Quick", *ON, "--yes")["deleted"] == "Quick"
    assert screen.json("map", "list", *ON)["maps"] == []
