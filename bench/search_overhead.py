"""What `search_similar_documents` costs over the same SQL sent by bare psycopg.

100,000 × 256 rows in a managed table with an HNSW index, k = 10, a query of its own each time. The
ways take turns, in an order that changes, so that a busy machine is unfair to none:

- ``bare``: psycopg, sync, one connection, the statement prepared, the same columns fetched;
- ``in_session``: the search alone, in a session that is open and has its transaction;
- ``in_loop``: a session (BEGIN, COMMIT) and the search, awaited on the Database's loop;
- ``search``: what a page does, `Database.run` from another thread around that.

Run: python -m bench.search_overhead [--quick]. Prints JSON; `ratio` is search / bare at the median.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from pgvector import Vector
from pgvector.psycopg import register_vector
from sqlalchemy import select

from lib.settings import Settings
from lib.store.collections import Collection, create_collection
from lib.store.database import Database
from lib.store.open import open_database
from lib.store.url import connect_arguments
from lib.vectors.build import build_index
from lib.vectors.distance import FloatArray
from lib.vectors.index_methods import HNSW
from lib.vectors.search import SearchResult, search_similar_documents

DIMENSIONS = 256
LIMIT = 10


def clustered(count: int, rng: np.random.Generator) -> FloatArray:
    """Around some hundred centres, as embeddings are; evenly spread ones would all be far."""
    centres = rng.standard_normal((200, DIMENSIONS))
    picked = centres[rng.integers(len(centres), size=count)]
    return (picked + 0.7 * rng.standard_normal((count, DIMENSIONS))).astype(np.float32)


def fill(connection: psycopg.Connection[Any], table: str, vectors: FloatArray) -> None:
    register_vector(connection)
    with (
        connection.cursor() as cursor,
        cursor.copy(
            f"COPY {table} (external_id, title, content, embedding, content_hash) "
            "FROM STDIN (FORMAT binary)"
        ) as copy,
    ):
        copy.set_types(["text", "text", "text", "vector", "bytea"])
        for number, vector in enumerate(vectors):
            text = f"the text of number {number} " * 10
            copy.write_row((str(number), f"Number {number}", text, Vector(vector), b"x"))
    connection.commit()


def prepare(database: Database, rows: int, *, indexed: bool = True) -> Collection:
    async def make() -> Collection:
        async with database.session() as db:
            return await create_collection(
                db, "Bench", model="local/wordllama-256", dimensions=DIMENSIONS
            )

    collection = database.run(make())
    with psycopg.connect(**connect_arguments(database.url)) as connection:
        fill(connection, collection.table.qualified_name, clustered(rows, np.random.default_rng(1)))
    if indexed:
        database.run(build_index(database.engine, collection.table, HNSW.spec()))
    with psycopg.connect(**connect_arguments(database.url), autocommit=True) as connection:
        connection.execute(f"VACUUM ANALYZE {collection.table.qualified_name}")
    return collection


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="10,000 rows, 300 rounds")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--rounds", type=int)
    options = parser.parse_args()
    rows = options.rows or (10_000 if options.quick else 100_000)
    rounds = options.rounds or (300 if options.quick else 1500)
    home = Path(tempfile.mkdtemp(prefix="vsb-"))
    database = open_database(Settings(_env_file=None, database_url=None, home=home))
    try:
        print(json.dumps(measure(database, rows, rounds), indent=2))
    finally:
        database.close()
        shutil.rmtree(home)


def measure(database: Database, rows: int, rounds: int) -> dict[str, Any]:
    collection = prepare(database, rows)
    columns = ", ".join(f"d.{name}" for name in collection.table.document_columns.values())
    statement = (
        f"SELECT {columns}, d.embedding <=> %s AS distance "  # noqa: S608 — names of our own
        f"FROM {collection.table.qualified_name} AS d "
        f"WHERE d.embedding IS NOT NULL ORDER BY d.embedding <=> %s LIMIT {LIMIT}"
    )

    async def search(query: FloatArray) -> SearchResult:
        async with database.session() as db:
            return await search_similar_documents(db, collection.table, query, LIMIT)

    async def timed_in_session(query: FloatArray) -> float:
        async with database.session() as db:
            await db.execute(select(1))
            started = time.perf_counter()
            await search_similar_documents(db, collection.table, query, LIMIT)
            return time.perf_counter() - started

    async def timed_search(query: FloatArray) -> float:
        started = time.perf_counter()
        await search(query)
        return time.perf_counter() - started

    with psycopg.connect(
        **connect_arguments(database.url), autocommit=True, prepare_threshold=0
    ) as connection:
        register_vector(connection)
        connection.execute("SET plan_cache_mode = force_custom_plan")  # as ours has it

        def bare(query: FloatArray) -> list[Any]:
            vector = Vector(query)
            return connection.execute(statement, [vector, vector]).fetchall()

        def timed(work: Callable[[FloatArray], object]) -> Callable[[FloatArray], float]:
            def run(query: FloatArray) -> float:
                started = time.perf_counter()
                work(query)
                return time.perf_counter() - started

            return run

        ways: dict[str, Callable[[FloatArray], float]] = {
            "bare": timed(bare),
            "in_session": lambda query: database.run(timed_in_session(query)),
            "in_loop": lambda query: database.run(timed_search(query)),
            "search": timed(lambda query: database.run(search(query))),
        }
        queries = clustered(rounds + 50, np.random.default_rng(1))
        assert [hit.document.id for hit in database.run(search(queries[0]))] == [
            row[0] for row in bare(queries[0])
        ]
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        pick = random.Random(1)
        for number, query in enumerate(queries):
            for name in pick.sample(list(ways), len(ways)):
                took = ways[name](query)
                if number >= 50:  # the first ones warm up caches and prepared statements
                    seconds[name].append(took)
    median_ms = {name: statistics.median(took) * 1000 for name, took in seconds.items()}
    return {
        "benchmark": "search_overhead",
        "rows": rows,
        "dimensions": DIMENSIONS,
        "rounds": rounds,
        "median_ms": {name: round(value, 3) for name, value in median_ms.items()},
        "in_session_ratio": round(median_ms["in_session"] / median_ms["bare"], 2),
        "in_loop_ratio": round(median_ms["in_loop"] / median_ms["bare"], 2),
        "ratio": round(median_ms["search"] / median_ms["bare"], 2),
        "aim": 1.5,
    }


if __name__ == "__main__":
    main()
