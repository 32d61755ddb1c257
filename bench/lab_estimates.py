"""What the lab says that candidates will take, against what they take: twelve of one collection,
two IVFFlat and two HNSW, each as vector, as halfvec and as bit. None is calibrated by another.

Run: python -m bench.lab_estimates [--quick]. Prints JSON; `ratio` is the median of estimated / real
seconds, `within_2x` the share of candidates whose time was between half and twice the estimate,
`index_off` and `table_off` the largest errors of the sizes, as shares of the real ones.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.search_overhead import DIMENSIONS, prepare
from lib.lab.candidates import start_candidate_builds
from lib.lab.collection_stats import collect_stats
from lib.lab.estimates import estimate
from lib.settings import Settings
from lib.store.candidates import list_candidates, parse_candidate
from lib.store.collections import Collection
from lib.store.database import Database
from lib.store.jobs import Job, Jobs
from lib.store.open import open_database
from lib.vectors.distance import ElementType

INDEXES = (
    "ivfflat:lists=20",
    "ivfflat:lists=100",
    "hnsw:m=8,ef_construction=32",
    "hnsw:m=16,ef_construction=64",
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="5,000 rows")
    rows = 5_000 if parser.parse_args().quick else 50_000
    home = Path(tempfile.mkdtemp(prefix="vsb-"))
    database = open_database(Settings(_env_file=None, database_url=None, home=home))
    try:
        print(json.dumps(measure(database, prepare(database, rows, indexed=False)), indent=2))
    finally:
        database.close()
        shutil.rmtree(home)


def measure(database: Database, collection: Collection) -> dict[str, Any]:
    specs = [
        parse_candidate(f"{index}@{storage.value}", 0, storage)
        for index in INDEXES
        for storage in ElementType
    ]
    stats = replace(database.run(collect_stats(database, collection, specs)), built=())

    async def build() -> Job:
        jobs = Jobs(database)
        job = await start_candidate_builds(jobs, database, collection, specs)
        return await jobs.wait(job.id)

    ended = database.run(build())
    assert ended.error is None, ended.error
    found = []
    for built in reversed(database.query(list_candidates, collection)):
        expected = estimate(stats, built.spec)
        assert built.build_seconds
        assert built.index_bytes
        assert built.table_bytes
        found.append(
            {
                "candidate": str(built.spec),
                "build_seconds": round(built.build_seconds, 2),
                "seconds_ratio": round(expected.build_seconds / built.build_seconds, 2),
                "index_bytes": built.index_bytes,
                "index_ratio": round(expected.index_bytes / built.index_bytes, 3),
                "table_ratio": round(expected.table_bytes / built.table_bytes, 3),
            }
        )
    ratios = [each["seconds_ratio"] for each in found]
    return {
        "benchmark": "lab_estimates",
        "rows": stats.rows,
        "dimensions": DIMENSIONS,
        "load": round(os.getloadavg()[0], 1),
        "ratio": statistics.median(ratios),
        "within_2x": round(statistics.mean(0.5 <= ratio <= 2 for ratio in ratios), 2),
        "index_off": round(max(abs(each["index_ratio"] - 1) for each in found), 3),
        "table_off": round(max(abs(each["table_ratio"] - 1) for each in found), 3),
        "candidates": found,
    }


if __name__ == "__main__":
    main()
