"""``search --compare`` on a collection that is embedded by the local model."""

from __future__ import annotations

import json
from pathlib import Path

from command_line import CommandLine
from sqlalchemy import URL

ON = ("--collection", "Words")


def test_compare_on_the_command_line(migrated_url: URL, tmp_path: Path) -> None:
    shell = CommandLine(migrated_url)
    colours = ["red", "green", "blue", "grey", "black", "white", "brown", "pink"]
    animals = ["cat", "dog", "horse", "mouse", "bird", "fish", "snake", "bear", "fox", "wolf"]
    file = tmp_path / "words.jsonl"
    file.write_text(
        "".join(
            json.dumps({"id": f"{colour} {animal}", "text": f"the {colour} {animal}"}) + "\n"
            for colour in colours
            for animal in animals
        )
    )
    shell.json("ingest", file, *ON)

    code, _, err = shell.run("search", "a green snake", *ON, "--compare")
    assert (code, "no IVFFlat and HNSW candidate" in err) == (2, True)
    assert '--collection "Words" --index ivfflat --index hnsw' in err

    shell.json("candidates", "build", *ON, "--index", "ivfflat:lists=20", "--index", "hnsw")
    more_than_a_list = "30"
    ask = ("search", "a green snake", *ON, "--compare", "--limit", more_than_a_list, "--probes")
    few = shell.json(*ask, "1")
    assert [c["label"] for c in few["columns"]] == ["exact", "IVFFlat", "HNSW"]
    assert [c["certified"] for c in few["columns"]] == [None, True, True]
    flat, graph = few["xray"]["columns"]
    assert (flat["parameter"], flat["setting"], graph["parameter"]) == ("probes", 1, "ef_search")
    truth = [hit["external_id"] for hit in few["columns"][0]["hits"]]
    found = {hit["external_id"] for hit in few["columns"][1]["hits"]}
    missed = [m["external_id"] for m in flat["missed"]]
    assert missed
    assert missed == [id_ for id_ in truth if id_ not in found]

    enough = shell.json(*ask, str(flat["all_found_at"]))
    assert enough["xray"]["columns"][0]["missed"] == []
    code, out, _ = shell.run(*ask, "1")
    assert code == 0
    assert f"IVFFlat with probes = 1 misses {len(missed)}" in out
    assert f"All are found with probes = {flat['all_found_at']}." in out
