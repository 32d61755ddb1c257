"""Texts into a managed table (the first phase of a load) against bare binary COPY of the same rows.

Both write into a table of one shape: the generated tsvector, its GIN index, the unique key. Ours
also cleans and hashes the texts, finds what is there already, and commits every batch. Reading a
file is not part of it, nor is embedding. The two take turns on empty tables.

Run: python -m bench.text_load [--quick]. Prints JSON; `ratio` is our rows per second / COPY's.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from lib.ingest.incoming import IncomingDocument
from lib.ingest.load import STORE_BATCH, store_documents
from lib.ingest.sample import sample_documents
from lib.settings import Settings
from lib.store.collections import Collection, create_collection, drop_collection
from lib.store.database import Database
from lib.store.open import open_database
from lib.store.url import connect_arguments

Row = tuple[str, str, str, str, dict[str, Any]]


def make_rows(count: int, words: int) -> list[Row]:
    """(external_id, title, content, category, metadata): words of real documentation."""
    vocabulary = [word for document in sample_documents(400) for word in document.content.split()]
    pick = random.Random(1)
    return [
        (
            f"row-{number}",
            " ".join(pick.choices(vocabulary, k=6)),
            " ".join(pick.choices(vocabulary, k=words)),
            f"category {number % 20}",
            {"number": number, "source": "bench"},
        )
        for number in range(count)
    ]


def make_collection(database: Database) -> Collection:
    return database.query(create_collection, "Bench", model="local/wordllama-256", dimensions=256)


def ours(database: Database, collection: Collection, rows: list[Row]) -> None:
    for start in range(0, len(rows), STORE_BATCH):
        documents = [
            IncomingDocument(
                external_id=external_id,
                title=title,
                content=content,
                category=category,
                metadata=metadata,
            )
            for external_id, title, content, category, metadata in rows[start : start + STORE_BATCH]
        ]
        database.query(store_documents, collection, documents)


def bare(database: Database, collection: Collection, rows: list[Row]) -> None:
    names = "external_id, title, content, category, metadata, content_hash"
    with (
        psycopg.connect(**connect_arguments(database.url)) as connection,
        connection.cursor() as cursor,
        cursor.copy(
            f"COPY {collection.table.qualified_name} ({names}) FROM STDIN (FORMAT binary)"
        ) as copy,
    ):
        copy.set_types(["text", "text", "text", "text", "jsonb", "bytea"])
        for external_id, title, content, category, metadata in rows:
            copy.write_row(
                (
                    external_id,
                    title,
                    content,
                    category,
                    Jsonb(metadata),
                    b"sixteen bytes...",
                )
            )


def measure(database: Database, rows: list[Row], rounds: int) -> dict[str, Any]:
    seconds: dict[str, list[float]] = {"ours": [], "bare": []}
    for number in range(rounds):
        ways = [("ours", ours), ("bare", bare)]
        for name, load in ways if number % 2 == 0 else ways[::-1]:
            collection = make_collection(database)
            with psycopg.connect(**connect_arguments(database.url), autocommit=True) as connection:
                connection.execute("CHECKPOINT")  # neither pays for what the other wrote
                started = time.perf_counter()
                load(database, collection, rows)
                seconds[name].append(time.perf_counter() - started)
                count = f"SELECT count(*) FROM {collection.table.qualified_name}"  # noqa: S608
                assert connection.execute(count).fetchone() == (len(rows),)
            database.query(drop_collection, collection)
    rate = {name: len(rows) / statistics.median(took) for name, took in seconds.items()}
    return {
        "benchmark": "text_load",
        "rows": len(rows),
        "rounds": rounds,
        "rows_per_second": {name: round(value) for name, value in rate.items()},
        "ratio": round(rate["ours"] / rate["bare"], 2),
        "aim": 0.5,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="10,000 rows, one round")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--words", type=int, default=60)
    options = parser.parse_args()
    rows = make_rows(options.rows or (10_000 if options.quick else 50_000), options.words)
    rounds = options.rounds or (1 if options.quick else 3)
    home = Path(tempfile.mkdtemp(prefix="vsb-"))
    database = open_database(Settings(_env_file=None, database_url=None, home=home))
    try:
        print(json.dumps(measure(database, rows, rounds), indent=2))
    finally:
        database.close()
        shutil.rmtree(home)


if __name__ == "__main__":
    main()
