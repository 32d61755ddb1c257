"""Vectors that exist already and judged collections: loaded by the command line, then searched."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
import pytest
from command_line import CommandLine
from sqlalchemy import URL

from lib.errors import IndexRefused, InvalidInput
from lib.evaluation.query_sets import list_queries, list_query_sets
from lib.ingest.service import DocumentService
from lib.search.request import Mode, SearchRequest
from lib.search.service import SearchService
from lib.settings import NO_MODEL, Settings
from lib.store.collections import Collection, create_collection, get_collection, summarise
from lib.store.database import Database
from lib.vectors.ddl import check_buildable
from lib.vectors.distance import Distance, Storage
from lib.vectors.index_methods import HNSW
from lib.vectors.search import search_similar_documents

T = TypeVar("T")
Query = Callable[..., Any]

RANDOM = np.random.default_rng(11)
ROWS = RANDOM.normal(size=(200, 8)).astype(np.float32)


@pytest.fixture
def cli(migrated_url: URL) -> CommandLine:
    return CommandLine(migrated_url)


@pytest.fixture
def query(database: Database) -> Query:
    def run(work: Callable[..., Coroutine[Any, Any, T]], *args: Any, **kwargs: Any) -> T:
        async def unit() -> T:
            async with database.session() as db:
                return await work(db, *args, **kwargs)

        return database.run(unit())

    return run


def nearest(query: Query, collection: Collection, vector: Any, limit: int) -> list[str]:
    found = query(search_similar_documents, collection.table, vector, limit)
    return [document.external_id for document, _ in found.pairs]


def by_numpy(vector: Any, rows: Any, limit: int) -> list[int]:
    return list(np.argsort(np.linalg.norm(rows - vector, axis=1))[:limit])


# --- vectors ------------------------------------------------------------------------------------


def test_given_vectors_are_searched_as_numpy_does(
    cli: CommandLine, query: Query, tmp_path: Path
) -> None:
    np.save(tmp_path / "vectors.npy", ROWS)
    texts = [{"id": f"d{n}", "text": f"word{n} here"} for n in range(len(ROWS))]
    (tmp_path / "texts.jsonl").write_text("\n".join(map(json.dumps, texts)))
    loaded = cli.json("ingest", tmp_path, "--collection", "Given")
    assert (loaded["stored"]["new"], loaded["problem_count"]) == (200, 0)  # the texts not as well
    collection = query(get_collection, "Given")
    assert (collection.model, collection.dimensions) == (NO_MODEL, 8)
    assert collection.distance is Distance.L2  # their norms are not 1
    for _ in range(5):
        vector = RANDOM.normal(size=8).astype(np.float32)
        wanted = [f"d{row}" for row in by_numpy(vector, ROWS, 10)]
        assert nearest(query, collection, vector, 10) == wanted
    again = cli.json("ingest", tmp_path / "vectors.npy", "--collection", "Given")
    assert again["stored"]["unchanged"] == 200


def test_without_a_model_words_still_find_and_nothing_breaks(
    cli: CommandLine, database: Database, query: Query, tmp_path: Path
) -> None:
    rows = [{"text": f"word{n} here", "embedding": row.tolist()} for n, row in enumerate(ROWS)]
    del rows[3]["embedding"]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    cli.json("ingest", tmp_path / "a.jsonl", "--collection", "Given")
    collection = query(get_collection, "Given")
    assert not collection.has_model
    hits = cli.json("search", "word7", "--collection", "Given")["hits"]
    assert [hit["external_id"] for hit in hits] == ["a.jsonl#8"]
    code, _, err = cli.run("search", "word7", "--collection", "Given", "--mode", "similarity")
    assert code == 2
    assert "came without a model" in err
    assert cli.json("backfill", "--collection", "Given")["embedded"]["embedded"] == 0
    assert query(summarise, collection).missing == 1  # the row without a vector
    settings = Settings(_env_file=None)
    with pytest.raises(InvalidInput, match="came without a model"):
        database.run(SearchService(database, settings).search(collection, SearchRequest("word7")))
    only_words = SearchRequest("word7", mode=Mode.TEXT)
    assert len(database.run(SearchService(database, settings).search(collection, only_words))) == 1
    database.run(DocumentService(database, settings).create(collection, "One more text"))
    assert query(summarise, collection).missing == 2
    assert [c["model"] for c in cli.json("collections", "list")["collections"]] == [NO_MODEL]
    assert cli.run("status")[0] == 0


def test_what_cannot_be_compared_is_refused_row_by_row(
    cli: CommandLine, query: Query, tmp_path: Path
) -> None:
    rows = (ROWS / np.linalg.norm(ROWS, axis=1, keepdims=True))[:30]
    rows[2, 1], rows[4, 0], rows[6] = np.nan, np.inf, 0
    np.save(tmp_path / "a.npy", rows)
    loaded = cli.json("ingest", tmp_path / "a.npy", "--collection", "Awkward")
    assert loaded["stored"]["new"] == 27
    problems = {problem["place"]: problem["reason"] for problem in loaded["problems"]}
    assert list(problems) == ["a.npy#3", "a.npy#5", "a.npy#7"]
    assert "all zeros" in problems["a.npy#7"]
    # Under L2 a zero vector is as good as any.
    loaded = cli.json("ingest", tmp_path / "a.npy", "--collection", "L2", "--distance", "l2")
    assert loaded["stored"]["new"] == 28
    lines = [{"text": "ragged", "embedding": row.tolist()} for row in ROWS[:20]]
    lines[9]["embedding"] = [1, 2, 3]
    (tmp_path / "b.jsonl").write_text("\n".join(map(json.dumps, lines)))
    loaded = cli.json("ingest", tmp_path / "b.jsonl", "--collection", "Ragged")
    assert loaded["stored"]["new"] == 19
    (problem,) = loaded["problems"]
    assert "3 dimensions, the column has 8" in problem["reason"]


def test_vectors_of_a_named_model_and_what_does_not_fit_it(
    cli: CommandLine, query: Query, tmp_path: Path
) -> None:
    model = "openai/text-embedding-3-small"
    large = RANDOM.normal(size=(5, 1536)).astype(np.float32)
    np.save(tmp_path / "large.npy", large)
    np.save(tmp_path / "small.npy", ROWS)
    cli.json("ingest", tmp_path / "large.npy", "--collection", "Named", "--model", model)
    collection = query(get_collection, "Named")
    assert (collection.model, collection.distance) == (model, Distance.COSINE)
    assert query(summarise, collection).embedded == 5
    for arguments, reason in [
        (("large.npy", "--collection", "Named"), "does not tell what made its vectors"),
        (("small.npy", "--collection", "Named", "--model", model), "8 dimensions"),
        (("small.npy", "--collection", "New", "--model", model), "1536 dimensions, not 8"),
        (("large.npy", "--collection", "Named", "--distance", "l2"), "has the distance cosine"),
    ]:
        code, _, err = cli.run("ingest", tmp_path / arguments[0], *arguments[1:])
        assert (code, reason in err) == (2, True), err
    loaded = cli.json("ingest", tmp_path, "--collection", "All")  # the first file decides
    assert (loaded["stored"]["new"], loaded["problem_count"]) == (5, len(ROWS))


def test_a_tables_vectors_are_stored_only_where_they_fit_or_are_asked_for(
    cli: CommandLine, query: Query, tmp_path: Path
) -> None:
    rows = [{"text": f"word{n} here", "embedding": [float(n)] * 256} for n in range(1, 5)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    cli.json("collections", "create", "Local")
    code, _, err = cli.run("ingest", tmp_path / "a.jsonl", "--collection", "Local")
    assert code == 0
    assert "become metadata" in err
    collection = query(get_collection, "Local")
    assert nearest(query, collection, [1.0] * 256, 4) != []
    hits = cli.json("search", "word2", "--collection", "Local", "--content")["hits"]
    assert hits[0]["metadata"]["embedding"] == [2.0] * 256
    column = ("--embedding-column", "embedding")
    loaded = cli.json("ingest", tmp_path / "a.jsonl", "--collection", "Asked", *column)
    assert loaded["stored"]["new"] == 4
    assert not query(get_collection, "Asked").has_model


def test_ann_benchmarks_form_becomes_documents_and_queries(
    cli: CommandLine, query: Query, tmp_path: Path
) -> None:
    tests = RANDOM.normal(size=(10, 8)).astype(np.float32)
    truth = np.array([by_numpy(row, ROWS, 5) for row in tests], dtype=np.int32)
    with h5py.File(tmp_path / "random-8-euclidean.hdf5", "w") as file:
        file["train"], file["test"], file["neighbors"] = ROWS, tests, truth
        file.attrs["distance"] = "euclidean"
    loaded = cli.json("ingest", tmp_path / "random-8-euclidean.hdf5", "--collection", "Ann")
    (query_set,) = loaded["query_sets"]
    assert (query_set["name"], query_set["queries"]) == ("random-8-euclidean", 10)
    assert query_set["with_truth"] == 10
    collection = query(get_collection, "Ann")
    (summary,) = query(list_query_sets, collection)
    queries = query(list_queries, summary.query_set)
    for item in queries:
        assert tuple(nearest(query, collection, item.embedding, 5)) == item.truth


def test_3072_dimensions_are_stored_as_vector_but_indexed_as_halfvec(query: Query) -> None:
    options: dict[str, Any] = {"model": NO_MODEL, "dimensions": 3072, "distance": Distance.L2}
    full = query(create_collection, "Full", storage=Storage.VECTOR, **options)
    with pytest.raises(IndexRefused, match=r"Store the embeddings as halfvec"):
        check_buildable(full.table, HNSW.spec(), 1000)
    half = query(create_collection, "Half", **options)
    assert half.storage is Storage.HALFVEC
    check_buildable(half.table, HNSW.spec(), 1000)


# --- judged collections -------------------------------------------------------------------------


def judged_folder(folder: Path) -> Path:
    folder.mkdir()
    corpus = [{"_id": f"d{n}", "title": f"Title {n}", "text": f"Text {n}."} for n in range(5)]
    queries = [{"_id": f"q{n}", "text": f"question {n}"} for n in range(3)]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)))
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (folder / "qrels").mkdir()
    header = "query-id\tcorpus-id\tscore\n"
    (folder / "qrels" / "test.tsv").write_text(f"{header}q0\td0\t1\nq1\td3\t2\nq1\td9\t1\n")
    (folder / "qrels" / "dev.tsv").write_text(f"{header}q2\td4\t1\nq8\td4\t1\n")
    return folder


def test_a_judged_collection_and_its_query_sets_on_the_command_line(
    cli: CommandLine, tmp_path: Path
) -> None:
    folder = judged_folder(tmp_path / "tiny")
    loaded = cli.json("ingest", folder, "--collection", "Tiny")
    assert loaded["stored"]["new"] == 5
    counts = {
        found["name"]: (found["queries"], found["judgments"], found["missing_documents"])
        for found in loaded["query_sets"]
    }
    assert counts == {"tiny (dev)": (1, 1, 0), "tiny (test)": (2, 3, 1)}
    assert [found["unknown_queries"] for found in loaded["query_sets"]] == [1, 0]
    listed = cli.json("query-sets", "list", "--collection", "Tiny")["query_sets"]
    assert [found["name"] for found in listed] == ["tiny (dev)", "tiny (test)"]
    shown = cli.json("query-sets", "show", "tiny (test)", "--collection", "Tiny")["query_set"]
    assert [query["text"] for query in shown["queries_shown"]] == ["question 0", "question 1"]
    assert shown["missing"] == ["d9"]
    arguments = ("--collection", "Tiny", "--split", "test", "--as", "mine")
    imported = cli.json("query-sets", "import", folder, *arguments)["query_sets"]
    assert [found["name"] for found in imported] == ["mine"]
    dropped = cli.json("query-sets", "drop", "mine", "--collection", "Tiny", "--yes")["dropped"]
    assert dropped["judgments"] == 3
    code, _, err = cli.run("query-sets", "show", "mine", "--collection", "Tiny")
    assert code == 2
    assert "no query set called “mine”" in err


def test_broken_queries_do_not_cost_the_documents(cli: CommandLine, tmp_path: Path) -> None:
    folder = judged_folder(tmp_path / "tiny")
    (folder / "queries.jsonl").write_text("no json\n")
    loaded = cli.json("ingest", folder, "--collection", "Tiny")
    assert loaded["stored"]["new"] == 5
    assert "query_sets" not in loaded
    assert {problem["source"] for problem in loaded["problems"]} == {"tiny (dev)", "tiny (test)"}


def test_two_judged_folders_at_once_are_refused(cli: CommandLine, tmp_path: Path) -> None:
    folders = judged_folder(tmp_path / "one"), judged_folder(tmp_path / "two")
    code, _, err = cli.run("ingest", *folders, "--collection", "Both")
    assert code == 2
    assert "whose ids may be the same" in err
