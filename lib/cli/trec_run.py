"""``search --queries``: a whole file of questions, and their answers as a TREC run."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import click

from lib.cli.output import note, one_line, print_json
from lib.cli.session import Progress
from lib.errors import EmbeddingProblem, InvalidInput, VecscopeError
from lib.ingest.beir import read_queries
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingProblem
from lib.ingest.queries import IncomingQuery
from lib.search.request import SearchRequest
from lib.search.trec import RankedDocument, rank_documents, run_lines
from lib.services import Services
from lib.store.collections import Collection

# Questions that are asked at once, and that are answered before their lines are written.
_AT_ONCE = 4
_BATCH = 64
_SHOWN_PROBLEMS = 20


def write_run(
    services: Services,
    collection: Collection,
    request: SearchRequest,
    queries_path: Path,
    run_path: Path,
    *,
    as_json: bool,
) -> None:
    """Asks every question with the request's settings. One that cannot be asked is left out and
    said; the file appears under its name when it is whole.

    Raises what is wrong with the first question where none of the first ones can be asked: that
    is a matter of the settings.
    """
    started = time.perf_counter()
    queries, problems = _read(queries_path)
    if not queries:
        raise InvalidInput(
            f"There is no question in {queries_path.name}.",
            hint=problems[0] if problems else "The file is empty.",
        )
    request = replace(request, with_plan=False)
    tag = f"vecscope-{request.mode.value}"
    unfinished = run_path.with_name(f"{run_path.name}.part")
    progress = Progress(f"Asking {len(queries):,} questions")
    asked = lines = 0
    try:
        with unfinished.open("w", encoding="utf-8", newline="\n") as file:
            for batch in _batches(queries):
                answers = services.database.run(_ask(services, collection, request, batch))
                for query, answer in zip(batch, answers, strict=True):
                    if isinstance(answer, VecscopeError):
                        problems.append(f"Question {query.external_id}: {answer}")
                        continue
                    written = list(run_lines(query.external_id, answer, tag))
                    file.writelines(written)
                    asked, lines = asked + 1, lines + len(written)
                if not asked and isinstance(answers[0], VecscopeError):
                    raise answers[0]
                progress.at(asked / len(queries), f"{asked:,} of {len(queries):,}")
        unfinished.replace(run_path)
    finally:
        progress.end()
        unfinished.unlink(missing_ok=True)
    seconds = time.perf_counter() - started
    for problem in problems[:_SHOWN_PROBLEMS]:
        note(one_line(problem))
    if as_json:
        print_json(
            {
                "collection": collection.name,
                "mode": request.mode,
                "queries": asked,
                "lines": lines,
                "run": run_path,
                "seconds": round(seconds, 3),
                "problems": problems,
            }
        )
    else:
        click.echo(f"{asked:,} questions, {lines:,} lines, in {seconds:.1f} s: {run_path}")


def _read(path: Path) -> tuple[list[IncomingQuery], list[str]]:
    queries, problems = [], []
    for incoming in read_queries(FileSource.from_path(path)):
        if isinstance(incoming, IncomingProblem):
            problems.append(f"{incoming.source}, {incoming.place}: {incoming.reason}")
        else:
            queries.append(incoming)
    return queries, problems


def _batches(queries: Sequence[IncomingQuery]) -> Iterator[list[IncomingQuery]]:
    for start in itertools.count(0, _BATCH):
        batch = list(queries[start : start + _BATCH])
        if not batch:
            return
        yield batch


async def _ask(
    services: Services,
    collection: Collection,
    request: SearchRequest,
    queries: Sequence[IncomingQuery],
) -> list[list[RankedDocument] | VecscopeError]:
    """An answer for each question. Raises DatabaseProblem, which is no single question's fault."""
    slots = asyncio.Semaphore(_AT_ONCE)

    async def ask(query: IncomingQuery) -> list[RankedDocument] | VecscopeError:
        async with slots:
            asked = replace(request, query=query.text or "")
            try:
                return await rank_documents(services.search, collection, asked)
            except (InvalidInput, EmbeddingProblem) as exc:
                return exc

    return list(await asyncio.gather(*map(ask, queries)))
