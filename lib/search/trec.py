"""A search's answers as lines of a TREC run: ``query Q0 document rank score tag``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from lib.search.request import Mode, SearchRequest
from lib.search.service import SearchService, can_rerank, rerank
from lib.store.collections import Collection
from lib.vectors.search import Hit
from lib.vectors.tuning import RESULT_LIMIT

RankedDocument = tuple[str, float]
"""External id and value; larger is better."""


async def rank_documents(
    service: SearchService, collection: Collection, request: SearchRequest
) -> list[RankedDocument]:
    """The ``limit`` best documents by external id, best first. A document in several parts stands
    where its best part does; where parts took places away, more are fetched.

    Raises as :meth:`~lib.search.service.SearchService.search`.
    """
    result = await service.search(collection, request)
    found = best_parts(result, request.mode)
    if len(found) >= request.limit or len(result) < request.limit:
        return found
    if can_rerank(request):  # all that there is; a higher limit would be another pool
        pool = await service.fetch_pool(collection, request)
        whole = rerank(pool, replace(request, limit=len(pool)))
        return best_parts(whole, request.mode)[: request.limit]
    wider = request
    while len(found) < request.limit <= len(result) and wider.limit < RESULT_LIMIT.high:
        wider = replace(wider, limit=min(4 * wider.limit, RESULT_LIMIT.high))
        result = await service.search(collection, wider)
        found = best_parts(result, request.mode)
        if len(result) < wider.limit:
            break
    return found[: request.limit]


def best_parts(hits: Iterable[Hit], mode: Mode) -> list[RankedDocument]:
    """Each external id once, at its best hit; the row's own id where the table has none other."""
    found: dict[str, float] = {}
    for hit in hits:
        document = hit.document
        name = document.external_id if document.external_id is not None else str(document.id)
        found.setdefault(name, _value(hit, mode))
    return list(found.items())


def _value(hit: Hit, mode: Mode) -> float:
    value = {Mode.SIMILARITY: hit.similarity, Mode.TEXT: hit.text_value, Mode.HYBRID: hit.fused}
    return value[mode] or 0.0


def run_lines(query_id: str, documents: Iterable[RankedDocument], tag: str) -> Iterator[str]:
    """The lines of one question, each with its newline.

    Tools read the score alone, as float32, and order equal ones as they like; so scores fall
    strictly here, equal ones by the least step. White space in an id is written as %20 and the
    like, since it would end the column.
    """
    before = np.float32(np.inf)
    for rank, (document, value) in enumerate(documents, start=1):
        before = min(np.float32(value), np.nextafter(before, np.float32(-np.inf)))
        yield f"{_as_column(query_id)} Q0 {_as_column(document)} {rank} {before:.9g} {tag}\n"


def _as_column(name: str) -> str:
    def percent(found: re.Match[str]) -> str:
        return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "replace"))

    return re.sub(r"\s", percent, name)
