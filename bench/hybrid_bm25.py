"""A hybrid with BM25 against one with ts_rank, on questions of 8–15 words.

100,000 short documents: windows of 20–60 words of real documentation, so that words are as rare
and as frequent as in a language; 256-dimensional vectors with an HNSW index. The questions are
windows too, asked for "any word". The ways take turns, in an order that changes; the question's
embedding is there already, so that the database is what is measured:

- ``text_ts_rank``, ``text_bm25``: the text leg alone;
- ``hybrid_ts_rank``, ``hybrid_bm25``: with the vector leg, pool 200, limit 10.

Run: python -m bench.hybrid_bm25 [--quick]. Prints JSON; `ratio` is hybrid_bm25 / hybrid_ts_rank at
the median.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from pgvector import Vector
from pgvector.psycopg import register_vector

from bench.search_overhead import DIMENSIONS, clustered
from lib.ingest.sample import sample_documents
from lib.log import configure_logging
from lib.search.bm25 import find_lexical_index, start_lexical_build
from lib.search.request import Mode, SearchRequest
from lib.search.service import SearchService
from lib.settings import Settings
from lib.store.collections import Collection, create_collection
from lib.store.database import Database
from lib.store.jobs import Jobs
from lib.store.open import open_database
from lib.store.url import connect_arguments
from lib.vectors.build import build_index
from lib.vectors.distance import FloatArray
from lib.vectors.index_methods import HNSW
from lib.vectors.statements import TextMethod, TextQuery

WAYS = {
    f"{mode.value}_{method.value}": (mode, method)
    for mode in (Mode.TEXT, Mode.HYBRID)
    for method in (TextMethod.TS_RANK, TextMethod.BM25)
}


def windows(words: Sequence[str], count: int, shortest: int, longest: int, seed: int) -> list[str]:
    pick = random.Random(seed)
    found = []
    for _ in range(count):
        length = pick.randint(shortest, longest)
        start = pick.randrange(len(words) - length)
        found.append(" ".join(words[start : start + length]))
    return found


def fill(database: Database, collection: Collection, texts: Sequence[str]) -> None:
    vectors = clustered(len(texts), np.random.default_rng(1))
    with psycopg.connect(**connect_arguments(database.url)) as connection:
        register_vector(connection)
        with (
            connection.cursor() as cursor,
            cursor.copy(
                f"COPY {collection.table.qualified_name} "
                "(external_id, content, embedding, content_hash) FROM STDIN (FORMAT binary)"
            ) as copy,
        ):
            copy.set_types(["text", "text", "vector", "bytea"])
            for number, (text, vector) in enumerate(zip(texts, vectors, strict=True)):
                copy.write_row((str(number), text, Vector(vector), b"x"))


def prepare(database: Database, rows: int, words: Sequence[str]) -> Collection:
    collection = database.query(
        create_collection, "Bench", model="local/wordllama-256", dimensions=DIMENSIONS
    )
    fill(database, collection, windows(words, rows, 20, 60, seed=1))

    async def build() -> None:
        jobs = Jobs(database)
        job = await start_lexical_build(jobs, database, collection)
        ended = await jobs.wait(job.id)
        assert ended.error is None, ended.error
        await build_index(database.engine, collection.table, HNSW.spec())

    database.run(build())
    with psycopg.connect(**connect_arguments(database.url), autocommit=True) as connection:
        connection.execute(f"VACUUM ANALYZE {collection.table.qualified_name}")
    return collection


def measure(database: Database, rows: int, rounds: int) -> dict[str, Any]:
    words = " ".join(document.content for document in sample_documents()).split()
    started = time.perf_counter()
    collection = prepare(database, rows, words)
    prepared_seconds = time.perf_counter() - started
    service = SearchService(database, Settings(_env_file=None))
    questions = windows(words, rounds + 10, 8, 15, seed=2)
    vectors = clustered(len(questions), np.random.default_rng(2))
    pick = random.Random(3)
    milliseconds: dict[str, list[float]] = {name: [] for name in WAYS}
    matches: list[int] = []

    def ask(name: str, question: str, vector: FloatArray) -> int | None:
        mode, method = WAYS[name]
        request = SearchRequest(question, mode, text_query=TextQuery.ANY, text_method=method)
        result = database.run(service.search(collection, request, embedding=vector))
        assert len(result) > 0
        return result.matches

    for number, (question, vector) in enumerate(zip(questions, vectors, strict=True)):
        for name in pick.sample(list(WAYS), len(WAYS)):
            begun = time.perf_counter()
            found = ask(name, question, vector)
            if number >= 10:  # the first ones warm up caches and prepared statements
                milliseconds[name].append((time.perf_counter() - begun) * 1000)
                if name == "text_ts_rank":
                    matches.append(found or 0)
    index = database.query(find_lexical_index, collection)
    assert index is not None
    median = {name: statistics.median(took) for name, took in milliseconds.items()}
    return {
        "benchmark": "hybrid_bm25",
        "rows": rows,
        "rounds": rounds,
        "words_a_document": round(index.average_length, 1),
        "different_words": index.lexemes,
        "index_bytes": index.size_bytes,
        "prepared_seconds": round(prepared_seconds, 1),
        "matches_median": round(statistics.median(matches)),
        "median_ms": {name: round(value, 2) for name, value in median.items()},
        "p95_ms": {
            name: round(statistics.quantiles(took, n=20)[18], 2)
            for name, took in milliseconds.items()
        },
        "text_ratio": round(median["text_bm25"] / median["text_ts_rank"], 2),
        "ratio": round(median["hybrid_bm25"] / median["hybrid_ts_rank"], 2),
        "aim": 5,
        "aim_ms": 100 if median["hybrid_ts_rank"] <= 50 else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="10,000 rows, 30 questions")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--rounds", type=int)
    options = parser.parse_args()
    configure_logging("warning")
    rows = options.rows or (10_000 if options.quick else 100_000)
    rounds = options.rounds or (30 if options.quick else 150)
    home = Path(tempfile.mkdtemp(prefix="vsb-"))
    database = open_database(Settings(_env_file=None, database_url=None, home=home))
    try:
        print(json.dumps(measure(database, rows, rounds), indent=2))
    finally:
        database.close()
        shutil.rmtree(home)


if __name__ == "__main__":
    main()
