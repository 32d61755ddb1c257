"""How fast a load is, against what it cannot be faster than, in one run.

- ``embedded``: a csv of texts, read, stored and embedded by the local model, against the bare
  model on the same texts, in batches of the same size. Two lengths of text.
- ``texts``: a csv of short rows without embedding, against bare binary COPY of the same rows, into
  a table of the very same shape (generated tsvector, GIN index, unique key, primary key) and into
  a heap of the same columns that has none of that.

The ways take turns on empty tables, and the median counts. Beside the rates stands the processor
time of both processes: on a busy machine it tells more than the clock.

Run: python -m bench.load_speed [--quick]. Prints JSON; the ratios can be compared.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
import structlog
from psycopg.types.json import Jsonb

from lib.embedding.service import create_service
from lib.ingest.document_stream import file_stream
from lib.ingest.file_source import FileSource
from lib.ingest.load import EMBED_BATCH
from lib.ingest.pipeline import LoadOptions
from lib.ingest.sample import sample_documents
from lib.ingest.service import DocumentService
from lib.settings import LOCAL_MODEL, Settings
from lib.store.collections import Collection, create_collection, drop_collection
from lib.store.open import open_database
from lib.store.url import connect_arguments

HEADER = ("id", "title", "text", "category", "number")
Row = tuple[str, str, str, str, int]


@dataclass(frozen=True)
class Took:
    """seconds by the clock; of processor time, of this process and of the server."""

    seconds: float
    client_cpu_seconds: float
    server_cpu_seconds: float


class Bench:
    def __init__(self, home: Path) -> None:
        self.settings = Settings(_env_file=None, database_url=None, home=home)
        self.home = home
        self.database = open_database(self.settings)
        self.documents = DocumentService(self.database, self.settings)
        pid = next(home.rglob("postmaster.pid")).read_text().split()[0]
        self._server = psutil.Process(int(pid))

    def server_cpu_seconds(self) -> float:
        """Of all that is alive; a session that has ended counts with the postmaster's children."""
        total = 0.0
        for process in (self._server, *self._server.children()):
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
            if process == self._server:
                total += times.children_user + times.children_system
        return total

    def timed(self, work: Callable[[], object]) -> Took:
        with psycopg.connect(**connect_arguments(self.database.url), autocommit=True) as connection:
            connection.execute("CHECKPOINT")  # nobody pays for what another wrote
        server, client, clock = (
            self.server_cpu_seconds(),
            time.process_time(),
            time.perf_counter(),
        )
        work()
        return Took(
            time.perf_counter() - clock,
            time.process_time() - client,
            self.server_cpu_seconds() - server,
        )

    def on_empty(self, work: Callable[[Collection], object], rows: int) -> Took:
        collection = self.database.query(
            create_collection, "Bench", model=LOCAL_MODEL, dimensions=256
        )
        took = self.timed(lambda: work(collection))
        with psycopg.connect(**connect_arguments(self.database.url)) as connection:
            count = f"SELECT count(*) FROM {collection.table.qualified_name}"  # noqa: S608
            assert connection.execute(count).fetchone() == (rows,)
        self.database.query(drop_collection, collection)
        return took

    def load(self, collection: Collection, path: Path, *, embed: bool) -> None:
        stream = file_stream(FileSource.from_path(path))
        options = LoadOptions(embed=embed)
        summary = self.database.run(self.documents.load(collection, [stream], options=options))
        assert summary.problem_count == 0
        assert not embed or summary.embedded.embedded == summary.stored.new


def make_rows(count: int, words: int) -> list[Row]:
    """Plain words of real documentation."""
    vocabulary = [
        word
        for document in sample_documents(2000)
        for word in document.content.split()
        if word.isalpha()
    ]
    pick = random.Random(1)
    return [
        (
            f"row-{number}",
            f"Row {number}",
            " ".join(pick.choices(vocabulary, k=words)),
            f"category {number % 20}",
            number * 7 % 1000,
        )
        for number in range(count)
    ]


def write_csv(path: Path, rows: list[Row]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        writer.writerows(rows)


# --- with embedding -------------------------------------------------------------------------------


def measure_embedded(bench: Bench, count: int, words: int, rounds: int) -> dict[str, Any]:
    rows = make_rows(count, words)
    path = bench.home / "rows.csv"
    write_csv(path, rows)
    texts = [f"{title}\n{text}" for _, title, text, _, _ in rows]
    service = create_service(LOCAL_MODEL, bench.settings)
    bench.database.run(service.get_embedding("loads the model"))

    async def embed() -> None:
        for start in range(0, count, EMBED_BATCH):
            await service.get_embeddings_batch(texts[start : start + EMBED_BATCH])

    ways: dict[str, Callable[[], Took]] = {
        "load": lambda: bench.on_empty(
            lambda collection: bench.load(collection, path, embed=True), count
        ),
        "bare_model": lambda: bench.timed(lambda: bench.database.run(embed())),
    }
    took = in_turns(ways, rounds)
    return {
        "documents": count,
        "words": words,
        **described(took, count, "documents_per_second"),
        "ratio": ratio(took, "bare_model", "load"),
        "aim": 0.8,
    }


# --- texts only -----------------------------------------------------------------------------------


def copy_rows(bench: Bench, table: str, rows: list[Row]) -> None:
    """What the load writes, but for the cleaning, the hashes and the look at what is there."""
    names = "external_id, title, content, category, metadata, content_hash"
    with (
        psycopg.connect(**connect_arguments(bench.database.url)) as connection,
        connection.cursor() as cursor,
        cursor.copy(f"COPY {table} ({names}) FROM STDIN (FORMAT binary)".encode()) as copy,
    ):
        copy.set_types(["text", "text", "text", "text", "jsonb", "bytea"])
        for external_id, title, text, category, number in rows:
            metadata = Jsonb({"number": number})
            copy.write_row((external_id, title, text, category, metadata, b"sixteen bytes..."))


def copy_into_heap(bench: Bench, rows: list[Row]) -> None:
    with psycopg.connect(**connect_arguments(bench.database.url), autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE vecscope.bench_heap (external_id text, title text, content text, "
            "category text, metadata jsonb, content_hash bytea)"
        )
    copy_rows(bench, "vecscope.bench_heap", rows)
    with psycopg.connect(**connect_arguments(bench.database.url), autocommit=True) as connection:
        connection.execute("DROP TABLE vecscope.bench_heap")


def measure_texts(bench: Bench, count: int, words: int, rounds: int) -> dict[str, Any]:
    rows = make_rows(count, words)
    path = bench.home / "rows.csv"
    write_csv(path, rows)
    ways: dict[str, Callable[[], Took]] = {
        "load": lambda: bench.on_empty(
            lambda collection: bench.load(collection, path, embed=False), count
        ),
        "copy_same_table": lambda: bench.on_empty(
            lambda collection: copy_rows(bench, collection.table.qualified_name, rows), count
        ),
        "copy_heap": lambda: bench.timed(lambda: copy_into_heap(bench, rows)),
    }
    took = in_turns(ways, rounds)
    return {
        "rows": count,
        "words": words,
        "csv_megabytes": round(path.stat().st_size / 1e6, 1),
        **described(took, count, "rows_per_second"),
        "ratio": ratio(took, "copy_same_table", "load"),
        "ratio_to_heap": ratio(took, "copy_heap", "load"),
        "aim": 0.3,
    }


# --- all ------------------------------------------------------------------------------------------


def in_turns(ways: dict[str, Callable[[], Took]], rounds: int) -> dict[str, list[Took]]:
    took: dict[str, list[Took]] = {name: [] for name in ways}
    for number in range(rounds):
        names = list(ways) if number % 2 == 0 else list(ways)[::-1]
        for name in names:
            took[name].append(ways[name]())
    return took


def median(took: list[Took]) -> float:
    return statistics.median(item.seconds for item in took)


def ratio(took: dict[str, list[Took]], baseline: str, name: str) -> float:
    return round(median(took[baseline]) / median(took[name]), 2)


def described(took: dict[str, list[Took]], count: int, rate: str) -> dict[str, Any]:
    cpu = {
        name: {
            "client": round(statistics.median(item.client_cpu_seconds for item in items), 2),
            "server": round(statistics.median(item.server_cpu_seconds for item in items), 2),
        }
        for name, items in took.items()
    }
    return {
        rate: {name: round(count / median(items)) for name, items in took.items()},
        "cpu_seconds": cpu,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="small sizes, one round")
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.quick:
        options.documents, options.rows, options.rounds = 2000, 20_000, 1
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    home = Path(tempfile.mkdtemp(prefix="vsb-"))  # short: a socket's path is limited
    bench = Bench(home)
    try:
        result = {
            "benchmark": "load_speed",
            "cores": os.cpu_count(),
            "load_average": round(os.getloadavg()[0], 1),
            "rounds": options.rounds,
            "embedded": [
                measure_embedded(bench, options.documents, words, options.rounds)
                for words in (60, 200)
            ],
            "texts": measure_texts(bench, options.rows, 8, options.rounds),
        }
    finally:
        bench.database.close()
        shutil.rmtree(home)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
