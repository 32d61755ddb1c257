"""TREC runs: all queries of a set asked with one request, and their answers in a file."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lib.errors import EmbeddingProblem, InvalidInput, VecscopeError
from lib.ingest.queries import IncomingQuery
from lib.progress import OnProgress, Step
from lib.search.request import SearchRequest
from lib.search.service import SearchService
from lib.search.trec import RankedDocument, rank_documents, run_lines
from lib.store.collections import Collection

# Queries that are asked at once, and that are answered before their lines are written.
_CONCURRENT_QUERIES = 4
_BATCH = 64


@dataclass(frozen=True)
class WrittenRun:
    """What a run's file holds, and which queries could not be asked."""

    answered: int
    lines: int
    problems: tuple[str, ...]


async def write_run(
    service: SearchService,
    collection: Collection,
    request: SearchRequest,
    queries: Sequence[IncomingQuery],
    path: Path,
    on_progress: OnProgress[Step],
) -> WrittenRun:
    """Asks every query with the request's settings. One that cannot be asked is left out and
    reported; the file appears under its name when it is whole.

    Raises what is wrong with the first query where none of the first batch can be asked: that is
    a matter of the settings.
    """
    request = replace(request, with_plan=False)
    tag = f"vecscope-{request.mode.value}"
    unfinished = path.with_name(f"{path.name}.part")
    answered = lines = 0
    problems: list[str] = []
    try:
        with unfinished.open("w", encoding="utf-8", newline="\n") as file:
            for batch in _batches(queries):
                answers = await _ask(service, collection, request, batch)
                for query, answer in zip(batch, answers, strict=True):
                    if isinstance(answer, VecscopeError):
                        problems.append(f"Question {query.external_id}: {answer}")
                        continue
                    answer_lines = list(run_lines(query.external_id, answer, tag))
                    file.writelines(answer_lines)
                    answered += 1
                    lines += len(answer_lines)
                if not answered and isinstance(answers[0], VecscopeError):
                    raise answers[0]
                share = answered / len(queries)
                await on_progress(Step(share, f"{answered:,} of {len(queries):,}"))
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return WrittenRun(answered, lines, tuple(problems))


def _batches(queries: Sequence[IncomingQuery]) -> Iterator[Sequence[IncomingQuery]]:
    for start in range(0, len(queries), _BATCH):
        yield queries[start : start + _BATCH]


async def _ask(
    service: SearchService,
    collection: Collection,
    request: SearchRequest,
    queries: Sequence[IncomingQuery],
) -> list[list[RankedDocument] | VecscopeError]:
    """An answer for each query. Raises DatabaseProblem, which is no single query's fault."""
    slots = asyncio.Semaphore(_CONCURRENT_QUERIES)

    async def ask(query: IncomingQuery) -> list[RankedDocument] | VecscopeError:
        async with slots:
            try:
                return await rank_documents(
                    service, collection, replace(request, query=query.text or "")
                )
            except (InvalidInput, EmbeddingProblem) as exc:
                return exc

    return list(await asyncio.gather(*map(ask, queries)))
