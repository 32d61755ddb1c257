"""What a move of the weight's slider costs the server: the whole script of the Search page again.

The sample collection, a hybrid search with its pool at hand. `move` changes the weight, `ask` the
question (which goes to the model and the database), `empty` draws the page without a question:
what Streamlit and the settings cost alone. The three take turns. Streamlit's own test runner runs
the script, in this process and without a browser, on the real services and database.

Run: python -m bench.slider_move [--rounds N]. Prints JSON; `ratio` is move / ask at the median.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time

from streamlit.testing.v1 import AppTest

from lib.ingest.jobs import start_sample_load
from lib.ingest.sample import SAMPLE_NAME, SAMPLE_QUESTIONS
from lib.log import configure_logging
from lib.services import make_collection
from lib.settings import PROJECT_ROOT
from lib.store.collections import summarise
from lib.ui.shared.page import services as services_of_the_pages

AIM_MS = 60


def load_sample() -> int:
    """Documents that can be searched."""
    services = services_of_the_pages()
    run, jobs = services.database.run, services.jobs
    collection = run(make_collection(services, SAMPLE_NAME))
    job = run(start_sample_load(jobs, services.documents, collection))
    ended = run(jobs.wait(job.id))
    assert ended.error is None, ended.error
    return services.database.query(summarise, collection).embedded


def took_ms(app: AppTest) -> float:
    begun = time.perf_counter()
    app.run()
    assert not app.exception
    return (time.perf_counter() - begun) * 1000


def measure(rounds: int) -> dict[str, list[float]]:
    app = AppTest.from_file(str(PROJECT_ROOT / "app.py"), default_timeout=120).run()
    app.switch_page("pages/search.py").run()
    found: dict[str, list[float]] = {"move": [], "ask": [], "empty": []}
    for number in range(rounds + 3):
        question = f"{SAMPLE_QUESTIONS[number % len(SAMPLE_QUESTIONS)]} {number}"
        app.text_input(key="q").set_value("")
        times = {"empty": took_ms(app)}
        app.text_input(key="q").set_value(question)
        times["ask"] = took_ms(app)
        app.slider(key="w").set_value((number % 19 + 1) / 20)
        times["move"] = took_ms(app)
        if number >= 3:  # the first ones import and compile
            for name, milliseconds in times.items():
                found[name].append(milliseconds)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    configure_logging("warning")
    home = tempfile.mkdtemp(prefix="vss-")
    os.environ.update(VECSCOPE_HOME=home, VECSCOPE_LOG_LEVEL="warning")
    os.environ.pop("DATABASE_URL", None)
    try:
        documents = load_sample()
        times = measure(options.rounds)
    finally:
        services_of_the_pages().database.close()
        shutil.rmtree(home)
    median = {name: statistics.median(found) for name, found in times.items()}
    print(
        json.dumps(
            {
                "benchmark": "slider_move",
                "documents": documents,
                "rounds": options.rounds,
                "median_ms": {name: round(value, 1) for name, value in median.items()},
                "p95_ms": {
                    name: round(statistics.quantiles(found, n=20)[18], 1)
                    for name, found in times.items()
                },
                "ratio": round(median["move"] / median["ask"], 2),
                "aim_ms": AIM_MS,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
