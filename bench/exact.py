"""The lab's truth, by blocked matrix products, against pgvector's own exact scan.

100,000 × 256 rows, k = 100, cosine. Ours answers 1,000 queries in one pass over the table, reading
it included; pgvector's scan answers some of the same queries one after another on one connection,
and its median is multiplied. Both must find the same rows.

Run: python -m bench.exact [--quick]. Prints JSON; `ratio` is how many times quicker ours is.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.search_overhead import DIMENSIONS, clustered, prepare
from lib.settings import Settings
from lib.store.database import Database
from lib.store.open import open_database
from lib.vectors.exact import ExactSearch, exact_neighbours_in
from lib.vectors.search import search_similar_documents
from lib.vectors.stream import stream_vectors
from lib.vectors.tuning import Scan, SearchSettings

K = 100
SCANNED = 30  # queries that pgvector's scan answers


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="10,000 rows, 200 queries")
    options = parser.parse_args()
    rows, queries = (10_000, 200) if options.quick else (100_000, 1_000)
    home = Path(tempfile.mkdtemp(prefix="vsb-"))
    database = open_database(Settings(_env_file=None, database_url=None, home=home))
    try:
        print(json.dumps(measure(database, rows, queries), indent=2))
    finally:
        database.close()
        shutil.rmtree(home)


def measure(database: Database, rows: int, count: int) -> dict[str, Any]:
    table = prepare(database, rows, indexed=False).table
    queries = clustered(count, np.random.default_rng(2))

    async def ours() -> tuple[float, float, Any]:
        """(seconds for reading alone, seconds for all, neighbours)."""
        async with database.session() as db:
            started = time.perf_counter()
            async for _ in stream_vectors(db, table):
                pass
            reading = time.perf_counter() - started
            started = time.perf_counter()
            found = await exact_neighbours_in(db, table, queries, K)
            return reading, time.perf_counter() - started, found

    async def scan(query: Any) -> tuple[float, list[Any]]:
        async with database.session() as db:
            result = await search_similar_documents(
                db, table, query, K, settings=SearchSettings(scan=Scan.EXACT)
            )
        return result.database_ms / 1000, [hit.document.id for hit in result]

    ExactSearch(queries, K, table.distance).add(list(range(K)), queries[:K])  # BLAS wakes up
    seconds: list[float] = []
    scans: list[float] = []
    agreeing = []
    for _ in range(3):  # in turns, so that a busy machine is unfair to neither
        reading, took, found = database.run(ours())
        seconds.append(took)
        for number in range(len(scans), len(scans) + SCANNED // 3):
            took, ids = database.run(scan(queries[number]))
            scans.append(took)
            agreeing.append(len(set(ids) & set(found.ids[number])) / K)
    per_query = statistics.median(scans)
    ours_seconds = statistics.median(seconds)
    return {
        "benchmark": "exact",
        "rows": rows,
        "dimensions": DIMENSIONS,
        "queries": count,
        "k": K,
        "seconds": round(ours_seconds, 2),
        "reading_seconds": round(reading, 2),
        "scan_ms_a_query": round(per_query * 1000, 1),
        "scan_seconds": round(per_query * count, 1),
        "agreement": round(float(np.mean(agreeing)), 4),
        "ratio": round(per_query * count / ours_seconds, 1),
        "aim": 20,
    }


if __name__ == "__main__":
    main()
