"""Recall on the map: which documents an index does not find, and where on the map they lie."""

from __future__ import annotations

import uuid
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

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
from lib.vectors.search import search_similar_documents
from lib.vectors.stream import stream_vectors
from lib.vectors.tuning import Scan, SearchSettings

QUERIES = IntRange(1, 5_000, 300)
K = IntRange(1, 100, 10)
_TIE_TOLERANCE = 1e-6  # the server adds up in float32


@dataclass(frozen=True)
class LostDocuments:
    """For each point of a projection, n of them; NaN and 0 where nothing is known.

    found_share: float32 (n,), of a point that was a query, the share of its true k nearest that
    the index found. due: int32 (n,), for how many queries it was among the true k nearest; lost:
    int32 (n,), in how many of those the index did not return it. recall: the mean share over the
    queries. certified: whether the plan used the candidate's index, and why not.
    """

    found_share: FloatArray
    due: npt.NDArray[np.int32]
    lost: npt.NDArray[np.int32]
    queries: int
    k: int
    recall: float
    certified: bool
    reason: str

    @property
    def lost_share(self) -> FloatArray:
        """lost / due, float32 (n,); NaN where it was due nowhere."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.lost / self.due, dtype=np.float32)


async def lost_documents(
    database: Database,
    projection: Projection,
    candidate: Candidate,
    *,
    probes: int | None = None,
    ef_search: int | None = None,
    k: int = K.default,
    queries: int = QUERIES.default,
    seed: int = 0,
) -> LostDocuments:
    """Asks the candidate's index for the nearest of a seeded sample of the map's documents, each
    left out of its own answer, and compares with the exact answer over the same copy.

    A neighbour that is as near as the last one returned counts as found.
    Raises InvalidInput where the candidate cannot be searched or knows none of the documents,
    LimitExceeded for a value out of range.
    """
    K.check(k, "k")
    QUERIES.check(queries, "queries")
    settings = SearchSettings(probes=probes, ef_search=ef_search, scan=Scan.INDEX)
    if not candidate.ready:
        raise InvalidInput(
            f"The candidate “{candidate.name}” is not ready.", hint="Wait until it is built."
        )
    random = np.random.default_rng(seed)
    ids = projection.ids.tolist()
    if len(ids) > queries:
        ids = [ids[at] for at in np.sort(random.choice(len(ids), queries, replace=False))]
    async with database.session() as db:
        asked, vectors = await _vectors(db, candidate, ids)
        if not asked:
            raise InvalidInput(
                f"The candidate “{candidate.name}” holds none of the map's documents.",
                hint="It may be older than they are: build it anew.",
            )
        truth = await exact_neighbours_in(db, candidate.exact_table, vectors, k, exclude=asked)
    at = projection.place_of
    share = np.full(len(projection.ids), np.nan, dtype=np.float32)
    due = np.zeros(len(projection.ids), dtype=np.int32)
    lost = np.zeros(len(projection.ids), dtype=np.int32)
    shares, certificate = [], None
    for number, id_ in enumerate(asked):
        async with database.session() as db:
            found = await search_similar_documents(
                db,
                candidate.table,
                vectors[number],
                k + 1,
                settings=settings,
                with_plan=certificate is None,
            )
        if found.plan is not None:
            certificate = found.plan.certify(candidate.index_name or "")
        returned = [(hit.document.id, hit.distance) for hit in found if hit.document.id != id_][:k]
        missed = missed_neighbours(truth.ids[number], truth.distances[number], returned)
        wanted = [each for each in truth.ids[number].tolist() if each is not None]
        if wanted:
            shares.append(1.0 - len(missed) / len(wanted))
            share[at[id_]] = shares[-1]
        for each in wanted:
            if each in at:
                due[at[each]] += 1
                lost[at[each]] += each in missed
    assert certificate is not None
    return LostDocuments(
        found_share=share,
        due=due,
        lost=lost,
        queries=len(asked),
        k=k,
        recall=float(np.mean(shares)) if shares else 0.0,
        certified=certificate.certified,
        reason=certificate.reason,
    )


def missed_neighbours(
    truth: npt.NDArray[np.object_],
    distances: npt.NDArray[np.float64],
    returned: list[tuple[Any, float | None]],
) -> set[uuid.UUID]:
    """The true neighbours that were not returned, but for those that tie with the farthest."""
    found = {id_ for id_, _ in returned}
    known = [far for far in distances.tolist() if np.isfinite(far)]
    farthest = known[-1] if known else np.inf
    tolerance = _TIE_TOLERANCE * max(1.0, abs(farthest))
    missed = [
        (far, id_)
        for id_, far in zip(truth.tolist(), distances.tolist(), strict=True)
        if id_ is not None and id_ not in found
    ]
    # Another document in the farthest's place, as near as it, is as good an answer.
    spare = sum(
        1
        for id_, far in returned
        if id_ not in set(truth.tolist()) and far is not None and far <= farthest + tolerance
    )
    tied = [id_ for far, id_ in missed if far >= farthest - tolerance][:spare]
    return {id_ for _, id_ in missed} - set(tied)


async def _vectors(
    db: AsyncSession, candidate: Candidate, ids: list[uuid.UUID]
) -> tuple[list[Any], FloatArray]:
    table = candidate.table
    wanted = table.column(table.id) == func.any(cast(ids, ARRAY(UUID(as_uuid=True))))
    found: list[Any] = []
    blocks: list[FloatArray] = []
    async with aclosing(stream_vectors(db, table, where=[wanted])) as stream:
        async for block_ids, vectors in stream:
            found += block_ids
            blocks.append(vectors)
    order = sorted(range(len(found)), key=lambda place: found[place])
    vectors = np.concatenate(blocks) if blocks else np.empty((0, 1), dtype=np.float32)
    return [found[place] for place in order], vectors[order]
