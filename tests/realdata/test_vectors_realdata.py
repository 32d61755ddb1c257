"""Real vectors and judged collections, where they are at hand, through the command line."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import URL

from lib.store.collections import Collection, get_collection, summarise
from lib.store.database import Database
from lib.vectors.distance import Distance, Storage
from lib.vectors.search import search_similar_documents
from tests.integration.command_line import CommandLine

DATA = Path(
    os.environ.get("VECSCOPE_SAMPLE_DATA")
    or Path(__file__).resolve().parents[3] / "shared" / "data"
)
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the sample data is not here")


@pytest.fixture
def cli(migrated_url: URL) -> CommandLine:
    return CommandLine(migrated_url)


@pytest.fixture
def query(database: Database) -> Callable[..., Any]:
    return database.query


def nearest(query: Callable[..., Any], collection: Collection, vector: Any) -> list[float]:
    """Distances of the ten nearest, nearest first: real vectors repeat, so that ids may tie."""
    found = query(search_similar_documents, collection.table, vector, 10)
    return [distance for _, distance in found.pairs]


@pytest.mark.parametrize("name", ["med", "cisi"])
def test_every_judgment_points_at_a_stored_document(
    cli: CommandLine, query: Callable[..., Any], name: str
) -> None:
    folder = DATA / name
    loaded = cli.json("ingest", folder, "--collection", name)
    with gzip.open(folder / "corpus.jsonl.gz", "rt", encoding="utf-8") as file:
        documents = [json.loads(line) for line in file]
    lines = (folder / "qrels.tsv").read_text().splitlines()[1:]
    assert loaded["stored"]["new"] == len(documents)
    assert loaded["problem_count"] == 0
    (query_set,) = loaded["query_sets"]
    assert query_set["queries"] == len((folder / "queries.jsonl").read_text().splitlines())
    assert query_set["judgments"] == len(lines)
    assert query_set["judged"] == len({line.split("\t")[0] for line in lines})
    assert query_set["missing_documents"] == query_set["unknown_queries"] == 0
    assert query(summarise, query(get_collection, name)).missing == 0


@pytest.mark.parametrize(
    ("path", "rows", "dimensions", "distance"),
    [
        ("openai-1536/vectors.npy", 2161, 1536, Distance.COSINE),
        ("openai-1536/movies-es/vectors_3_small.npy", 62, 1536, Distance.COSINE),
        ("openai-1536/movies-es/vectors_ada_002.npy", 62, 1536, Distance.COSINE),
        ("emoji2vec/vectors.npy", 1661, 300, Distance.COSINE),
    ],
)
def test_vectors_load_and_the_nearest_are_those_of_numpy(
    cli: CommandLine,
    query: Callable[..., Any],
    path: str,
    rows: int,
    dimensions: int,
    distance: Distance,
) -> None:
    loaded = cli.json("ingest", DATA / path, "--collection", "Given")
    assert loaded["stored"]["new"] == rows
    assert loaded["problem_count"] == 0
    collection = query(get_collection, "Given")
    assert (collection.dimensions, collection.distance) == (dimensions, distance)
    assert collection.storage is Storage.VECTOR
    vectors = np.load(DATA / path)
    for row in (0, rows // 2, rows - 1):
        wanted = np.sort(distance.between(vectors[row], vectors))[:10]
        found = nearest(query, collection, vectors[row])
        np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_texts_are_those_beside_the_vectors(cli: CommandLine) -> None:
    cli.json("ingest", DATA / "openai-1536/movies-es/vectors_3_small.npy", "--collection", "Films")
    (hit,) = cli.json("search", "Aladdín", "--collection", "Films", "--content")["hits"]
    assert (hit["content"], hit["metadata"]) == ("Aladdín", {"row": 1})
    cli.json("ingest", DATA / "emoji2vec", "--collection", "Emoji")
    shown = cli.json("collections", "list")["collections"]
    assert {found["name"]: found["documents"] for found in shown} == {"Films": 62, "Emoji": 1661}


def test_3072_dimensions_are_stored_and_indexed_only_as_halfvec(
    cli: CommandLine, query: Callable[..., Any]
) -> None:
    folder = DATA / "cifar-sample"
    full = cli.json("ingest", folder, "--collection", "Full", "--storage", "vector")
    assert (full["stored"]["new"], full["problem_count"]) == (1000, 0)  # with labels.npy
    index = ("index", "create", "--kind", "hnsw", "--collection")
    code, _, err = cli.run(*index, "Full")
    assert code != 0
    assert "3,072 dimensions cannot be indexed: pgvector's limit is 2,000" in err
    assert "halfvec, which can be indexed up to 4,000 dimensions" in err
    vectors = np.load(folder / "base.npz")["base"].astype(np.float32)
    collection = query(get_collection, "Full")
    wanted = np.sort(np.linalg.norm(vectors - vectors[17], axis=1))[:10]
    np.testing.assert_allclose(nearest(query, collection, vectors[17]), wanted, rtol=1e-5)
    half = cli.json("ingest", folder, "--collection", "Half")
    assert half["stored"]["new"] == 1000
    assert query(get_collection, "Half").storage is Storage.HALFVEC
    assert cli.run(*index, "Half")[0] == 0
    assert query(summarise, query(get_collection, "Half")).index is not None
