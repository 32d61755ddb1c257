"""Recall on the map: which documents an index misses, and where on the map they lie."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from sqlalchemy import cast, func
from sqlalchemy.dialects.postgresql import ARRAY, UUID
from sqlalchemy.ext.asyncio import AsyncSession

from lib.errors import InvalidInput
from lib.limits import IntRange
from lib.projection.repository import Projection
from lib.store.candidates import Candidate
from lib.store.database import Database
from lib.vectors.distance import FloatArray
from lib.vectors.exact import exact_neighbours_in
from lib.vectors.plans import Certificate
from lib.vectors.recall import missed_neighbours
from lib.vectors.search import search_similar_documents
from lib.vectors.stream import stream_vectors
from lib.vectors.tuning import Scan, SearchSettings

QUERIES = IntRange(1, 5_000, 300)
K = IntRange(1, 100, 10)


@dataclass(frozen=True, eq=False)
class DocumentRecall:
    """The recall of an index over a projection's documents, n of them, asked for their neighbours.

    A document that was no query has no recall of its own, but it may be expected: be among the true
    neighbours of queries.
    """

    query_recall: FloatArray
    """float32 (n,): of a document that was a query its recall@k, NaN for others."""
    expected: npt.NDArray[np.int32]
    """int32 (n,): for how many queries it is among the true k nearest."""
    missed: npt.NDArray[np.int32]
    """int32 (n,): for how many of those the index did not return it."""
    queries: int
    k: int
    recall: float
    """Mean recall@k of the queries."""
    certified: bool
    """Whether the plan used the candidate's index."""
    reason: str
    """Why it is not certified."""

    @property
    def missed_share(self) -> FloatArray:
        """missed / expected, float32 (n,); NaN where it was not expected."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.missed / self.expected, dtype=np.float32)


async def measure_recall(
    database: Database,
    projection: Projection,
    candidate: Candidate,
    settings: SearchSettings,
    *,
    k: int = K.default,
    queries: int = QUERIES.default,
    seed: int = 0,
) -> DocumentRecall:
    """Searches the candidate's index for the nearest neighbours of a seeded sample of the map's
    documents, each left out of its own answer, and compares with the exact neighbours in the same
    copy. A neighbour that ties with the farthest one returned counts as returned.

    Raises InvalidInput where the candidate cannot be searched or has none of the documents,
    LimitExceeded for a value out of range.
    """
    K.check(k, "k")
    QUERIES.check(queries, "queries")
    settings = replace(settings, scan=Scan.INDEX)
    if not candidate.ready:
        raise InvalidInput(
            f"The candidate “{candidate.name}” is not ready.", hint="Wait until it is built."
        )
    sample = _sample_ids(projection, queries, seed)
    async with database.session() as db:
        query_ids, vectors = await _read_vectors(db, candidate, sample)
        if not query_ids:
            raise InvalidInput(
                f"The candidate “{candidate.name}” has none of the map's documents.",
                hint="It may be older than they are: build it anew.",
            )
        truth = await exact_neighbours_in(db, candidate.exact_table, vectors, k, exclude=query_ids)
    returned, certificate = await _search(database, candidate, query_ids, vectors, k, settings)
    query_recall = np.full(len(projection.ids), np.nan)
    expected = np.zeros(len(projection.ids), dtype=np.int32)
    missed = np.zeros(len(projection.ids), dtype=np.int32)
    index_of = projection.index_of
    for row, query_id in enumerate(query_ids):
        true_ids = [id_ for id_ in truth.ids[row].tolist() if id_ is not None]
        missed_ids = missed_neighbours(
            truth.ids[row].tolist(), truth.distances[row].tolist(), returned[row]
        )
        if true_ids:
            query_recall[index_of[query_id]] = 1.0 - len(missed_ids) / len(true_ids)
        for id_ in true_ids:
            if id_ in index_of:
                expected[index_of[id_]] += 1
                missed[index_of[id_]] += id_ in missed_ids
    has_truth = np.isfinite(query_recall)
    return DocumentRecall(
        query_recall=query_recall.astype(np.float32),
        expected=expected,
        missed=missed,
        queries=len(query_ids),
        k=k,
        recall=float(query_recall[has_truth].mean()) if has_truth.any() else 0.0,
        certified=certificate.certified,
        reason=certificate.reason,
    )


def _sample_ids(projection: Projection, count: int, seed: int) -> list[uuid.UUID]:
    """At most so many of the projection's documents, in their order."""
    ids: list[uuid.UUID] = projection.ids.tolist()
    if len(ids) <= count:
        return ids
    random = np.random.default_rng(seed)
    return [ids[index] for index in np.sort(random.choice(len(ids), count, replace=False))]


async def _search(
    database: Database,
    candidate: Candidate,
    query_ids: Sequence[uuid.UUID],
    vectors: FloatArray,
    k: int,
    settings: SearchSettings,
) -> tuple[list[dict[uuid.UUID, float | None]], Certificate]:
    """For each query the documents that the index returns → their distances; and whether its plan
    used the index."""
    returned: list[dict[uuid.UUID, float | None]] = []
    certificate = None
    for query_id, vector in zip(query_ids, vectors, strict=True):
        async with database.session() as db:
            result = await search_similar_documents(
                db,
                candidate.table,
                vector,
                k + 1,
                settings=settings,
                with_plan=certificate is None,
            )
        if result.plan is not None:
            certificate = result.plan.certify(candidate.index_name or "")
        others = [hit for hit in result if hit.document.id != query_id]
        returned.append({hit.document.id: hit.distance for hit in others[:k]})
    assert certificate is not None
    return returned, certificate


async def _read_vectors(
    db: AsyncSession, candidate: Candidate, ids: list[uuid.UUID]
) -> tuple[list[uuid.UUID], FloatArray]:
    """The ids that the candidate has, sorted, and their vectors (n, d)."""
    table = candidate.table
    requested = table.column(table.id) == func.any(cast(ids, ARRAY(UUID(as_uuid=True))))
    read_ids: list[uuid.UUID] = []
    blocks: list[FloatArray] = []
    async with aclosing(stream_vectors(db, table, where=[requested])) as stream:
        async for block_ids, vectors in stream:
            read_ids += block_ids
            blocks.append(vectors)
    if not read_ids:
        return [], np.empty((0, 1), dtype=np.float32)
    order = sorted(range(len(read_ids)), key=lambda row: read_ids[row])
    return [read_ids[row] for row in order], np.concatenate(blocks)[order]
