"""The most memory that a load of a csv takes, for a small and for a large file.

Each load is a process of its own (`python -m lib ingest --no-embed`), whose peak resident memory
the system tells when it ends; the server's memory is not in it.

Run: python -m bench.load_memory [--quick]. Prints JSON; `growth_megabytes` is what counts.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lib.settings import PROJECT_ROOT

_MEASURE = """
import json, resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, text=True)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps({"peak": peak, "code": done.returncode, "out": done.stdout}))
"""


def write_csv(path: Path, size_bytes: int) -> None:
    """Rows of about 1 kB: words that are mostly not unique, as in a text."""
    pick = random.Random(1)
    words = [f"word{number}" for number in range(5000)]
    number = 0
    with path.open("w") as file:
        file.write("id,title,text,category\n")
        while file.tell() < size_bytes:
            block = []
            for _ in range(1000):
                text = " ".join(pick.choices(words, k=110))
                block.append(f"row-{number},Row {number},{text},category {number % 20}\n")
                number += 1
            file.write("".join(block))


def measure(home: Path, size_bytes: int) -> dict[str, float]:
    path = home / f"{size_bytes}.csv"
    write_csv(path, size_bytes)
    command = [sys.executable, "-m", "lib", "ingest", str(path), "--no-embed", "--json"]
    command += ["--collection", f"Of {size_bytes}"]
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    environment["VECSCOPE_HOME"] = str(home)
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, *command],
        cwd=PROJECT_ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
        text=True,
    )
    seconds = time.perf_counter() - started
    measured = json.loads(done.stdout)
    assert measured["code"] == 0, measured["out"]
    path.unlink()
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes there, kilobytes elsewhere
    return {
        "csv_megabytes": round(size_bytes / 1e6),
        "rows": json.loads(measured["out"])["stored"]["new"],
        "seconds": round(seconds, 1),
        "peak_megabytes": round(measured["peak"] * unit / 1e6, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="2 MB and 20 MB")
    parser.add_argument("--small", type=int, default=100, help="megabytes")
    parser.add_argument("--large", type=int, default=1000, help="megabytes")
    options = parser.parse_args()
    if options.quick:
        options.small, options.large = 2, 20
    home = Path(tempfile.mkdtemp(prefix="vsb-"))  # short: a socket's path is limited
    try:
        loads = [measure(home, size * 1_000_000) for size in (options.small, options.large)]
    finally:
        shutil.rmtree(home)
    growth = loads[1]["peak_megabytes"] - loads[0]["peak_megabytes"]
    result = {"benchmark": "load_memory", "loads": loads, "growth_megabytes": round(growth, 1)}
    print(json.dumps({**result, "aim_megabytes": 100}, indent=2))


if __name__ == "__main__":
    main()
