"""The lab's truth and the lab's clock, each against what it has to be measured by.

100,000 × 256 rows, cosine. In turns, so that a busy machine is unfair to none:

- the truth of 1,000 queries, k = 100, read from the database, computed and kept, against pgvector's
  own exact scan (some of the queries, one after another on one connection; its median times 1,000)
  and against a flat search by faiss-cpu, whose vectors are in memory already and normalised;
- the p50 of one setting of an HNSW candidate as the lab measures it, against a bare psycopg loop
  over the same queries, in a process of its own too: one connection, the same statement prepared,
  binary both ways.

Run: python -m bench.lab [--quick]. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import statistics
import tempfile
import time
import uuid
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import psycopg
from pgvector import Vector
from pgvector.psycopg import register_vector

from bench.search_overhead import DIMENSIONS, clustered, prepare
from lib.lab.candidates import start_candidate_builds
from lib.lab.measure import open_benchmarks
from lib.lab.measurement import SearchParameter
from lib.lab.queries import given_batch, sample_queries
from lib.lab.truth import find_truth
from lib.settings import Settings
from lib.store.candidates import Candidate, CandidateSpec, get_candidate
from lib.store.collections import Collection
from lib.store.database import Database
from lib.store.jobs import Jobs
from lib.store.open import open_database
from lib.store.url import connect_arguments
from lib.vectors.distance import ElementType, FloatArray
from lib.vectors.index_methods import HNSW
from lib.vectors.search import search_similar_documents
from lib.vectors.stream import stream_vectors
from lib.vectors.tuning import Scan, SearchSettings

TRUTH_K, K = 100, 10
SCANNED = 10  # queries that pgvector's scan answers in each turn
EF_SEARCH = 40
TURNS = 3
TIMED_TURNS = 8
PIECE, WARM_UP = 25, 5  # so many queries before the other takes its turn


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="10,000 rows, 200 queries")
    options = parser.parse_args()
    rows, queries = (10_000, 200) if options.quick else (100_000, 1_000)
    home = Path(tempfile.mkdtemp(prefix="vsb-"))
    database = open_database(Settings(_env_file=None, database_url=None, home=home))
    try:
        collection = prepare(database, rows, indexed=False)
        found = {
            "benchmark": "lab",
            "rows": rows,
            "dimensions": DIMENSIONS,
            "truth": truth(database, collection, queries),
            "latency": latency(database, collection, queries // 2),
        }
        print(json.dumps(found, indent=2))
    finally:
        database.close()
        shutil.rmtree(home)


def truth(database: Database, collection: Collection, count: int) -> dict[str, Any]:
    table = collection.table
    rng = np.random.default_rng(2)
    rows, ids = read(database, collection)

    async def scan(query: Any) -> tuple[float, list[Any]]:
        async with database.session() as db:
            result = await search_similar_documents(
                db, table, query, TRUTH_K, settings=SearchSettings(scan=Scan.EXACT)
            )
        return result.database_ms / 1000, [hit.document.id for hit in result]

    index = faiss.IndexFlatIP(DIMENSIONS)
    index.add(normalised(rows))
    index.search(normalised(rows[:64]), TRUTH_K)  # its threads wake up
    ours: list[float] = []
    flat: list[float] = []
    scans: list[float] = []
    agreement: dict[str, list[float]] = {"pgvector": [], "faiss": []}
    for turn in range(TURNS):
        # Other queries each time: what is kept must not be found again.
        batch = given_batch(clustered(count, rng), collection)
        started = time.perf_counter()
        found = database.run(find_truth(database, collection, batch, TRUTH_K))
        ours.append(time.perf_counter() - started)
        assert not found.from_cache
        started = time.perf_counter()
        _, places = index.search(normalised(batch.vectors), TRUTH_K)
        flat.append(time.perf_counter() - started)
        for number in range(turn, turn + SCANNED):
            seconds, nearest = database.run(scan(batch.vectors[number]))
            scans.append(seconds)
            agreement["pgvector"].append(shared(nearest, found.ids[number]))
        for number in range(count):
            agreement["faiss"].append(
                shared([ids[place] for place in places[number]], found.ids[number])
            )
    per_scan = statistics.median(scans)
    return {
        "queries": count,
        "k": TRUTH_K,
        "seconds": round(statistics.median(ours), 2),
        "reading_seconds": round(read_seconds(database, collection), 2),
        "pgvector_ms_a_query": round(1000 * per_scan, 1),
        "ratio_to_pgvector": round(per_scan * count / statistics.median(ours), 1),
        "aim_to_pgvector": 20,
        "faiss_seconds": round(statistics.median(flat), 2),
        "ratio_to_faiss": round(statistics.median(ours) / statistics.median(flat), 2),
        "aim_to_faiss": 2,
        "agreement": {name: round(float(np.mean(each)), 5) for name, each in agreement.items()},
    }


def read(database: Database, collection: Collection) -> tuple[FloatArray, list[Any]]:
    async def work() -> tuple[FloatArray, list[Any]]:
        ids: list[Any] = []
        blocks = []
        async with database.session() as db:
            async for some, block in stream_vectors(db, collection.table):
                ids += some
                blocks.append(block)
        return np.concatenate(blocks), ids

    return database.run(work())


def read_seconds(database: Database, collection: Collection) -> float:
    async def work() -> float:
        started = time.perf_counter()
        async with database.session() as db:
            async for _ in stream_vectors(db, collection.table):
                pass
        return time.perf_counter() - started

    return statistics.median(database.run(work()) for _ in range(TURNS))


def normalised(vectors: FloatArray) -> FloatArray:
    return np.ascontiguousarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def shared(one: list[Any], other: Any) -> float:
    return len(set(one) & set(other)) / TRUTH_K


def latency(database: Database, collection: Collection, count: int) -> dict[str, Any]:
    candidate = build(database, collection)
    setting = SearchParameter(HNSW, EF_SEARCH)
    settings: dict[str, str] = {}
    lab: list[float] = []
    bare: list[float] = []

    async def work() -> tuple[float, bool]:
        batch = await sample_queries(database, collection, count, 1)
        exact = await find_truth(database, collection, batch, K)
        async with open_benchmarks(database, collection) as benches:
            bench = await benches.add(candidate, batch, exact, k=K)
            settings.update(bench.settings_of(setting))
            recall_pass = await bench.measure_recall(setting)
            chance = random.Random(3)
            with Loop(
                connect_arguments(database.url),
                candidate.table.qualified_name,
                batch.vectors,
                bench.limit,
                settings,
            ) as loop:
                loop.round(range(count))
                for _ in range(TIMED_TURNS):
                    order = chance.sample(range(count), count)
                    for start in range(0, count, PIECE):
                        warm_up = chance.choices(range(count), k=WARM_UP)
                        piece = order[start : start + PIECE]
                        for one in chance.sample((lab, bare), 2):
                            if one is lab:
                                answers = await bench.ask(settings, piece, warm_up=warm_up)
                                lab.extend(answers.seconds)
                            else:
                                bare.extend(loop.round([*warm_up, *piece])[WARM_UP:])
        return recall_pass.figures().mean.value, recall_pass.certificate.certified

    recall, certified = database.run(work())
    ours, theirs = statistics.median(lab), statistics.median(bare)
    return {
        "queries": count,
        "ef_search": EF_SEARCH,
        "recall": round(recall, 4),
        "certified": certified,
        "lab_p50_ms": round(1000 * ours, 4),
        "bare_p50_ms": round(1000 * theirs, 4),
        "ratio": round(ours / theirs, 3),
        # Of the quickest tenth, which a busy machine leaves alone.
        "ratio_p10": round(float(np.quantile(lab, 0.1) / np.quantile(bare, 0.1)), 3),
        "aim": "0.9 to 1.1",
    }


def build(database: Database, collection: Collection) -> Candidate:
    spec = CandidateSpec(HNSW.spec(), ElementType.VECTOR)

    async def work() -> Candidate:
        jobs = Jobs(database)
        job = await start_candidate_builds(jobs, database, collection, [spec])
        ended = await jobs.wait(job.id)
        assert ended.result is not None, ended.error
        made = uuid.UUID(ended.result["candidates"][0]["candidate_id"])
        async with database.session() as db:
            return await get_candidate(db, collection, made)

    return database.run(work())


class Loop:
    """What anyone would write by hand, in a process of its own."""

    def __init__(self, *arguments: Any) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._ours, self._theirs = spawn.Pipe()
        self._process = spawn.Process(target=answer, args=(self._theirs, *arguments), daemon=True)

    def __enter__(self) -> Loop:
        self._process.start()
        self._theirs.close()  # else nobody would notice that it died
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()

    def round(self, order: Any) -> list[float]:
        """Seconds, in this order."""
        self._ours.send(list(order))
        seconds: list[float] = self._ours.recv()
        return seconds


def answer(
    pipe: Connection,
    arguments: dict[str, Any],
    table: str,
    vectors: FloatArray,
    limit: int,
    settings: dict[str, str],
) -> None:
    if hasattr(os, "setsid"):  # as the lab's clients: Linux shares the machine out by session
        os.setsid()
    connection = psycopg.connect(**arguments, autocommit=True)
    register_vector(connection)
    for name, value in settings.items():
        connection.execute("SELECT set_config(%s, %s, false)", (name, value))
    connection.execute("SET plan_cache_mode = force_custom_plan")
    sql = (
        f"SELECT id, embedding <=> %(query)b FROM {table} "  # noqa: S608 - a name of ours
        f"WHERE embedding IS NOT NULL ORDER BY embedding <=> %(query)b LIMIT {limit}"
    )
    queries = [Vector(vector) for vector in vectors]
    while True:
        cursor = connection.cursor(binary=True)
        seconds = []
        for place in pipe.recv():
            started = time.perf_counter()
            cursor.execute(sql, {"query": queries[place]}, prepare=True).fetchall()
            seconds.append(time.perf_counter() - started)
        pipe.send(seconds)


if __name__ == "__main__":
    main()
