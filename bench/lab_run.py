"""A whole experiment of the lab against the sum of what it cannot do without: its builds and its
queries.

Two candidates (IVFFlat and HNSW as the guidelines have them), 100,000 × 256 rows, cosine, 500
queries, the default sweep and target. Wall time from start to end, over: copying and building both,
and all the time that clients spent waiting for answers (the pass that gives the recall, the rounds,
the rounds with several clients). What is beyond is truth, starting the clients, plans, the passes
of the search for the target, and keeping it all.

Run: python -m bench.lab_run [--quick]. Prints JSON; `ratio` is to be 1.3 at the most.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.search_overhead import DIMENSIONS, prepare
from lib.lab.candidates import default_candidates
from lib.lab.experiment import Experiment
from lib.lab.measure import CLIENT_QUERIES
from lib.lab.measurement import Measurement, Protocol
from lib.lab.recommend import recommend
from lib.lab.repository import get_experiment
from lib.lab.run import start_experiment
from lib.lab.spec import ExperimentSpec, QuerySource
from lib.settings import Settings
from lib.store.candidates import list_candidates
from lib.store.database import Database
from lib.store.jobs import Jobs
from lib.store.open import open_database

AIM = 1.3


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="10,000 rows, 100 queries")
    options = parser.parse_args()
    rows, queries = (10_000, 100) if options.quick else (100_000, 500)
    home = Path(tempfile.mkdtemp(prefix="vsb-"))
    settings = Settings(_env_file=None, database_url=None, home=home)
    database = open_database(settings)
    try:
        print(json.dumps(measure(database, settings, rows, queries), indent=2))
    finally:
        database.close()
        shutil.rmtree(home)


def measure(database: Database, settings: Settings, rows: int, queries: int) -> dict[str, Any]:
    collection = prepare(database, rows, indexed=False)
    spec = ExperimentSpec.for_protocol(
        Protocol.VECSCOPE,
        default_candidates(rows, DIMENSIONS, collection.storage),
        queries=QuerySource(count=queries),
    )

    async def run() -> Any:
        jobs = Jobs(database)
        job = await start_experiment(jobs, database, settings, collection, spec)
        return await jobs.wait(job.id)

    started = time.perf_counter()
    job = database.run(run())
    whole_seconds = time.perf_counter() - started
    assert job.error is None, job.error
    experiment = database.query(get_experiment, collection)
    candidates = database.query(list_candidates, collection)
    build_seconds = sum(
        (each.copy_seconds or 0.0) + (each.build_seconds or 0.0) for each in candidates
    )
    query_seconds = sum(waited_seconds(each) for each in experiment.measurements)
    recommendation = recommend(experiment)
    assert experiment.data is not None
    return {
        "benchmark": "lab_run",
        "rows": rows,
        "dimensions": DIMENSIONS,
        "queries": queries,
        "settings": len(experiment.measurements),
        "whole_seconds": round(whole_seconds, 1),
        "build_seconds": round(build_seconds, 1),
        "query_seconds": round(query_seconds, 1),
        "truth_seconds": round(experiment.data.truth_seconds, 1),
        "ratio": round(whole_seconds / (build_seconds + query_seconds), 3),
        "aim": AIM,
        "phases": phases(job.result["lines"]),
        "advice": recommendation and recommendation.headline,
        "certified": certified(experiment),
    }


def waited_seconds(measurement: Measurement) -> float:
    """How long clients waited for answers: one pass for the recall and the rounds, by the median
    latency of each query; and the rounds with several clients, whose time is queries / rate."""
    one_pass = float(measurement.latencies_ms.sum()) / 1000
    together = sum(
        clients
        * max(-(-measurement.queries // clients), min(measurement.queries, CLIENT_QUERIES))
        / rate
        for clients, rate in measurement.qps.items()
        if clients > 1
    )
    return (1 + measurement.rounds) * one_pass + measurement.rounds * together


def certified(experiment: Experiment) -> str:
    good = sum(each.certified for each in experiment.measurements)
    return f"{good} of {len(experiment.measurements)}"


def phases(lines: list[str]) -> list[str]:
    """The console's lines of what took how long."""
    return [line for line in lines if "recall" not in line]


if __name__ == "__main__":
    main()
