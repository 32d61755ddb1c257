"""nDCG@10 of each way to search, on the two judged collections of ../shared/data.

Everything goes through the command line, as a user would have it: documents in by ``ingest``, the
BM25 index by ``bm25 build``, each way's answers by ``search --queries … --run-out …``. The figures
are ir-measures'. It runs on a bundled server of its own, in a temporary folder.

Run: python -m docs.search_quality [--data FOLDER] [--write]. Prints a table in Markdown; --write
puts it into docs/search-quality.md, between its two marks.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ir_measures
from ir_measures import R, nDCG
from sqlalchemy import URL

from lib.ingest.beir import JudgedFolder, find_judged, read_judgments
from lib.ingest.file_source import FileSource
from lib.ingest.queries import IncomingJudgment
from lib.store.embedded import start_embedded

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "search-quality.md"
MARKS = ("<!-- table: made by docs/search_quality.py -->", "<!-- end of table -->")
COLLECTIONS = ("med", "cisi")
MEASURES = (nDCG @ 10, R @ 100)
WEIGHTS = (0.3, 0.5, 0.7)


@dataclass(frozen=True)
class Way:
    """One way to search: what it is called, and its arguments on the command line."""

    name: str
    arguments: tuple[str, ...]


def ways() -> Iterator[Way]:
    yield Way("vector", ("--mode", "similarity"))
    for method in ("ts_rank", "ts_rank_cd", "bm25"):
        yield Way(f"text, any word, {method}", text(method, "any"))
    yield Way("text, all words, ts_rank", text("ts_rank", "plain"))
    for fusion in ("weighted", "rrf"):
        for method in ("ts_rank", "bm25"):
            for weight in WEIGHTS:
                yield Way(
                    f"hybrid, {fusion}, {method}, w = {weight}",
                    (
                        *("--mode", "hybrid", "--fusion", fusion, "--text-method", method),
                        *("--vector-weight", str(weight)),
                    ),
                )
    yield Way("hybrid, raw, ts_rank, w = 0.5", ("--mode", "hybrid", "--fusion", "raw"))


def text(method: str, kind: str) -> tuple[str, ...]:
    return ("--mode", "text", "--text-method", method, "--text-query", kind)


def vecscope(url: URL, *arguments: str | Path) -> None:
    """Runs a command of Vecscope on the database."""
    kept = {name: value for name, value in os.environ.items() if "VECSCOPE_" not in name}
    subprocess.run(
        [sys.executable, "-m", "lib", *map(str, arguments), "--json"],
        cwd=ROOT,
        env=kept | {"DATABASE_URL": url.render_as_string(hide_password=False)},
        stdout=subprocess.DEVNULL,
        check=True,
    )


def judgments(folder: JudgedFolder) -> list[ir_measures.Qrel]:
    (path,) = folder.judgments.values()
    return [
        ir_measures.Qrel(found.query, found.document, found.grade)
        for found in read_judgments(FileSource.from_path(path))
        if isinstance(found, IncomingJudgment)
    ]


def measure(url: URL, home: Path, name: str, folder: JudgedFolder) -> dict[str, dict[Any, float]]:
    """Way → measure → mean over the judged queries."""
    vecscope(url, "ingest", folder.folder, "--collection", name)
    vecscope(url, "bm25", "build", "--collection", name)
    qrels, found = judgments(folder), {}
    for way in ways():
        run = home / "answers.run"
        vecscope(
            url,
            *("search", "--collection", name, "--queries", folder.queries, "--limit", "100"),
            *("--run-out", run, *way.arguments),
        )
        answers = ir_measures.read_trec_run(str(run))
        found[way.name] = ir_measures.calc_aggregate(MEASURES, qrels, answers)
    return found


def table(found: dict[str, dict[str, dict[Any, float]]]) -> str:
    """The best of each column in bold."""
    columns = [(name, measure) for name in found for measure in MEASURES]
    best = {
        (name, measure): max(values[measure] for values in found[name].values())
        for name, measure in columns
    }

    def cell(way: str, name: str, measure: Any) -> str:
        value = found[name][way][measure]
        return f"**{value:.3f}**" if value == best[name, measure] else f"{value:.3f}"

    lines = [
        "| way to search | " + " | ".join(f"{name} {measure}" for name, measure in columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    for way in ways():
        cells = (cell(way.name, name, measure) for name, measure in columns)
        lines.append(f"| {way.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--write", action="store_true", help="put the table into the page")
    options = parser.parse_args()
    folders = {}
    for name in COLLECTIONS:
        folder = find_judged(options.data / name) if (options.data / name).is_dir() else None
        if folder is None:
            sys.exit(f"There is no judged collection in {options.data / name}: nothing measured.")
        folders[name] = folder
    home = Path(tempfile.mkdtemp(prefix="vsq-"))
    server = start_embedded(home)
    try:
        found = {name: measure(server.url, home, name, folder) for name, folder in folders.items()}
    finally:
        server.release()
        shutil.rmtree(home)
    made = table(found)
    sys.stdout.write(made + "\n")
    if options.write:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(MARKS[0])
        after = rest.partition(MARKS[1])[2]
        page = f"{before}{MARKS[0]}\n{made}\n{MARKS[1]}{after}"
        PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
