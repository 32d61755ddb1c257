"""From `streamlit run app.py` to the first page, against the smallest Streamlit app there can be.

The first page counts as there when its script has run to the end for a browser: a WebSocket is
opened and the page asked for, as a browser does. The database folder exists already, its server is
down, so that each start brings it up. Each start is a process of its own; the two apps take turns.
Which of the slow packages the start imported is told by running the page once under AppTest
(wordllama is none of them: the app loads it behind the first page, on purpose).

Run: python -m bench.cold_start [--quick]. Prints JSON; `ratio` is ours / the smallest app's.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import connect

from lib.settings import PROJECT_ROOT

SLOW = ("litellm", "umap", "numba", "sklearn")
GIVE_UP_SECONDS = 60


def first_page_seconds(app: Path, environment: dict[str, str]) -> dict[str, float]:
    """Seconds from the command to the HTTP answer and to the end of the first script."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", str(app)]
    options = [f"--server.port={port}", "--server.address=127.0.0.1", "--server.headless=true"]
    started = time.perf_counter()
    process = subprocess.Popen(
        [*command, *options],
        cwd=PROJECT_ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        address = f"127.0.0.1:{port}"
        while True:
            try:
                urllib.request.urlopen(f"http://{address}/", timeout=1).close()
                break
            except OSError:
                if process.poll() is not None or time.perf_counter() - started > GIVE_UP_SECONDS:
                    raise
                time.sleep(0.01)
        answered = time.perf_counter() - started
        run_script(address)
        return {"http": answered, "first_page": time.perf_counter() - started}
    finally:
        process.terminate()
        process.wait()


def run_script(address: str) -> None:
    """What a browser does with a page: ask for it, and read until its script has ended."""
    with connect(
        f"ws://{address}/_stcore/stream", subprotocols=["streamlit"], max_size=None
    ) as socket_:
        ask = BackMsg()
        ask.rerun_script.query_string = ""
        socket_.send(ask.SerializeToString())
        while True:
            said = ForwardMsg()
            said.ParseFromString(socket_.recv(GIVE_UP_SECONDS))
            if said.WhichOneof("type") == "script_finished":
                if said.script_finished != ForwardMsg.FINISHED_SUCCESSFULLY:
                    raise RuntimeError("the page's script did not end well")
                return


def slow_imports(environment: dict[str, str]) -> list[str]:
    script = (
        "import sys; from streamlit.testing.v1 import AppTest; "
        "page = AppTest.from_file('app.py', default_timeout=60).run(); "
        "assert not page.exception, page.exception; "
        f"print(*({set(SLOW)!r} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=PROJECT_ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted(done.stdout.splitlines()[-1].split())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="one round")
    parser.add_argument("--rounds", type=int)
    options = parser.parse_args()
    rounds = options.rounds or (1 if options.quick else 5)
    folder = Path(tempfile.mkdtemp(prefix="vsb-"))
    smallest = folder / "smallest.py"
    smallest.write_text("import streamlit as st\n\nst.write('hello')\n")
    kept = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    environment = {**kept, "VECSCOPE_HOME": str(folder / "home"), "PYTHONPATH": str(PROJECT_ROOT)}
    apps = {"ours": PROJECT_ROOT / "app.py", "smallest": smallest}
    try:
        slow = slow_imports(environment)  # makes the data folder too
        seconds: dict[str, list[dict[str, float]]] = {name: [] for name in apps}
        for number in range(rounds):
            for name in list(apps) if number % 2 == 0 else list(apps)[::-1]:
                seconds[name].append(first_page_seconds(apps[name], environment))
        print(json.dumps(report(seconds, slow, rounds), indent=2))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def report(
    seconds: dict[str, list[dict[str, float]]], slow: list[str], rounds: int
) -> dict[str, Any]:
    medians = {
        name: {
            step: round(statistics.median(took[step] for took in all_took), 2)
            for step in ("http", "first_page")
        }
        for name, all_took in seconds.items()
    }
    return {
        "benchmark": "cold_start",
        "rounds": rounds,
        "seconds": medians,
        "ratio": round(medians["ours"]["first_page"] / medians["smallest"]["first_page"], 2),
        "aim_seconds": 2.5,
        "slow_packages_imported": slow,
    }


if __name__ == "__main__":
    main()
