"""The map against plain UMAP: 10,000 × 256, each in a fresh process, from its start to coordinates.

Plain is what a notebook does: ``umap.UMAP(metric="cosine", random_state=42).fit_transform(x)``.
Ours is a whole build as the job has it done (vectors through a pipe, exact neighbours, UMAP, and
what plain does not have: fidelity and clusters). Each runs twice: with numba's cache empty, as on a
machine that never did this, and again with what the first run left there. Trustworthiness of both
is measured by the same function, with k = 15 at 1,000 points against all. Seconds by the wall, and
seconds of CPU, which a busy machine colours less.

Run: python -m bench.projection [--large]. Prints JSON; `ratio` is how many times quicker ours is to
the coordinates, `whole_ratio` to the end.
--large: 50,000 × 256 as well, once, with the caches full; plain takes many minutes then.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import numpy as np

from bench.search_overhead import DIMENSIONS, clustered
from lib.projection.fidelity import fidelity
from lib.projection.process import Block, run_task
from lib.projection.protocol import PhaseShare
from lib.projection.settings import ClusterSettings, ProjectionSettings
from lib.vectors.distance import Distance

SETTINGS = ProjectionSettings()
PLAIN = """
import sys, numpy as np, umap
x = np.load(sys.argv[1])
np.save(sys.argv[2], umap.UMAP(metric="cosine", random_state=42).fit_transform(x))
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--large", action="store_true", help="50,000 rows as well")
    parser.add_argument("--ours", type=Path, nargs=2, metavar=("VECTORS", "COORDINATES"))
    options = parser.parse_args()
    if options.ours:
        asyncio.run(build(*options.ours))
        return
    with tempfile.TemporaryDirectory(prefix="vsb-") as folder:
        found = {
            "benchmark": "projection",
            "dimensions": DIMENSIONS,
            "10,000 rows": compare(Path(folder), 10_000, ("empty", "full")),
            "aims": {"10,000 rows": 3, "50,000 rows": 2, "trustworthiness_lower_by": 0.01},
        }
        if options.large:
            found["50,000 rows"] = compare(Path(folder), 50_000, ("full",))
    print(json.dumps(found, indent=2))


def compare(folder: Path, rows: int, caches: tuple[str, ...]) -> dict[str, Any]:
    vectors = clustered(rows, np.random.default_rng(7))
    np.save(folder / "x.npy", vectors)
    ours = [sys.executable, "-m", "bench.projection", "--ours"]
    plain = [sys.executable, "-c", PLAIN]
    found: dict[str, Any] = {}
    for cache in caches:
        by_ours = measure(ours, folder, "ours")
        by_plain = measure(plain, folder, "plain")
        phases = json.loads((folder / "ours.json").read_text())
        to_coordinates = by_ours["seconds"] - phases["fidelity"] - phases["clusters"]
        found[f"cache {cache}"] = {
            "plain": by_plain,
            "ours": by_ours,
            "phase_seconds": phases,
            "ratio": round(by_plain["seconds"] / to_coordinates, 2),
            "whole_ratio": round(by_plain["seconds"] / by_ours["seconds"], 2),
            "whole_cpu_ratio": round(by_plain["cpu_seconds"] / by_ours["cpu_seconds"], 2),
        }
    for name in ("plain", "ours"):
        drawn = np.load(folder / f"{name}.npy")
        measured, _, _ = fidelity(vectors, drawn, Distance.COSINE, k=15, seed=0)
        found[f"{name}_trustworthiness"] = round(measured.trustworthiness, 4)
        found[f"{name}_continuity"] = round(measured.continuity, 4)
    return found


def measure(command: list[str], folder: Path, name: str) -> dict[str, float]:
    """In a fresh process, with a cache and a home of its own kind."""
    environment = {
        **os.environ,
        "VECSCOPE_HOME": str(folder / "home"),
        "PYTHONPATH": str(Path(__file__).resolve().parents[1]),
    }
    if name == "plain":
        environment["NUMBA_CACHE_DIR"] = str(folder / "plain-cache")
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [*command, str(folder / "x.npy"), str(folder / f"{name}.npy")],
        env=environment,
        check=True,
        stdout=sys.stderr,
    )
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1)}


async def build(source: Path, out: Path) -> None:
    """The work of a build, without a database: the vectors come from a file."""
    vectors = np.load(source)
    began: dict[str, float] = {}

    async def blocks() -> AsyncGenerator[Block]:
        for first in range(0, len(vectors), 8192):
            part = vectors[first : first + 8192]
            yield np.arange(first, first + len(part)), part

    async def on_progress(progress: PhaseShare) -> None:
        began.setdefault(progress.phase, time.perf_counter())

    header = {
        "task": "layout",
        "rows": len(vectors),
        "dimensions": vectors.shape[1],
        "distance": Distance.COSINE.value,
        "settings": SETTINGS.to_json(),
        "clusters": ClusterSettings().to_json(),
    }
    _, arrays = await run_task(header, {}, blocks(), on_progress)
    times = [*began.values(), time.perf_counter()]
    each = zip(began, times, times[1:], strict=False)
    phases = {phase: round(end - start, 1) for phase, start, end in each}
    out.with_suffix(".json").write_text(json.dumps(phases))
    np.save(out, arrays["coordinates"])


if __name__ == "__main__":
    main()
