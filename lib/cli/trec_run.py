"""``search --queries``: a whole file of questions, and their answers as a TREC run."""

from __future__ import annotations

import time
from pathlib import Path

import click

from lib.cli.output import note, one_line, print_json
from lib.cli.session import Progress
from lib.errors import InvalidInput
from lib.evaluation.runs import write_run
from lib.formats import format_duration
from lib.ingest.beir import read_queries
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingProblem
from lib.ingest.queries import IncomingQuery
from lib.progress import Step
from lib.search.request import SearchRequest
from lib.services import Services
from lib.store.collections import Collection

_SHOWN_PROBLEMS = 20


def ask_query_file(
    services: Services,
    collection: Collection,
    request: SearchRequest,
    queries_path: Path,
    run_path: Path,
    *,
    as_json: bool,
) -> None:
    """Asks every question of the file with the request's settings, writes the run, and says what
    became of it.

    Raises InvalidInput where the file has no question, and what
    :func:`~lib.evaluation.runs.write_run` raises.
    """
    started = time.perf_counter()
    queries, problems = _read(queries_path)
    if not queries:
        raise InvalidInput(
            f"There is no question in {queries_path.name}.",
            hint=problems[0] if problems else "The file is empty.",
        )
    progress = Progress(f"Asking {len(queries):,} questions")

    async def show(step: Step) -> None:
        progress.at(step.share, step.message)

    try:
        run = services.database.run(
            write_run(services.search, collection, request, queries, run_path, show)
        )
    finally:
        progress.end()
    seconds = time.perf_counter() - started
    problems += run.problems
    for problem in problems[:_SHOWN_PROBLEMS]:
        note(one_line(problem))
    if as_json:
        print_json(
            {
                "collection": collection.name,
                "mode": request.mode,
                "queries": run.answered,
                "lines": run.lines,
                "run": run_path,
                "seconds": round(seconds, 3),
                "problems": problems,
            }
        )
    else:
        click.echo(
            f"{run.answered:,} questions, {run.lines:,} lines, in {format_duration(seconds)}: "
            f"{run_path}"
        )


def _read(path: Path) -> tuple[list[IncomingQuery], list[str]]:
    queries, problems = [], []
    for incoming in read_queries(FileSource.from_path(path)):
        if isinstance(incoming, IncomingProblem):
            problems.append(f"{incoming.source}, {incoming.place}: {incoming.reason}")
        else:
            queries.append(incoming)
    return queries, problems
