"""A map that is looked at: what a page shows of it, each thing fetched only where it is asked for."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from lib.errors import InvalidInput
from lib.projection.facts import DocumentFacts, document_facts
from lib.projection.finds import near_duplicates, outliers, strangers
from lib.projection.placing import QueryPlace, place_query
from lib.projection.settings import KEPT_NEIGHBOURS
from lib.projection.stored import Projection, get_projection
from lib.projection.words import words_apart
from lib.search.hits_export import hits_csv, hits_jsonl
from lib.search.request import Mode, SearchRequest
from lib.search.service import SearchService
from lib.store.collections import Collection
from lib.store.database import Database
from lib.store.documents import received_embedding, sent_embedding
from lib.vectors.distance import FloatArray
from lib.vectors.search import Document, Hit, SearchResult
from lib.vectors.statements import distance_to
from lib.vectors.tuning import Scan, SearchSettings

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Question:
    """A question and where its answers lie. place: None where it could not be placed; why says
    so. hits: places on the map of the result's hits that are on it, the best first; missing: how
    many are not."""

    text: str
    result: SearchResult
    place: QueryPlace | None
    why_not: str
    hits: tuple[int, ...]
    missing: int


@dataclass(frozen=True)
class Apart:
    """How far two documents are from each other. distance: the true one, by the collection's
    distance. drawn: on the map, in widths of it. true_rank, drawn_rank: as which neighbour of the
    first one the second comes, 1 is nearest; None below the true neighbours that were kept."""

    distance: float
    drawn: float
    true_rank: int | None
    drawn_rank: int


@dataclass(frozen=True, eq=False)
class Line:
    """Something found: its figure, and the places on the map that it is about."""

    title: str
    other: str
    value: float
    places: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Viewing:
    """Methods raise what the service's and the database's raise."""

    database: Database
    service: SearchService
    collection: Collection
    projection: Projection
    facts: DocumentFacts

    @classmethod
    def open(
        cls,
        database: Database,
        service: SearchService,
        collection: Collection,
        projection_id: uuid.UUID,
    ) -> Viewing:
        """Raises NotFound where the map is gone."""

        async def work(db: AsyncSession) -> tuple[Projection, DocumentFacts]:
            projection = await get_projection(db, collection, projection_id)
            return projection, await document_facts(db, collection, projection.ids.tolist())

        projection, facts = database.query(work)
        return cls(database, service, collection, projection, facts)

    def places(self, ids: Sequence[str]) -> IntArray:
        """Of documents by their ids; those that are not on the map are left out."""
        known = {id_.hex: place for id_, place in self.projection.place_of.items()}
        return np.array([known[id_] for id_ in ids if id_ in known], dtype=np.int64)

    def ids(self, places: Sequence[int]) -> list[str]:
        """What :meth:`places` takes, short enough for an address."""
        return [self.projection.ids[place].hex for place in places]

    # --- questions ------------------------------------------------------------------------------

    def ask(self, request: SearchRequest) -> Question:
        """The request's hits, and the question's place by its exact nearest neighbours."""
        run = self.database.run
        result = run(self.service.search(self.collection, request))
        at = self.projection.place_of
        hits = tuple(at[hit.document.id] for hit in result if hit.document.id in at)
        place, why_not = None, "This collection has no model that could embed the question."
        if self.collection.has_model:
            near = SearchRequest(
                request.query,
                Mode.SIMILARITY,
                limit=KEPT_NEIGHBOURS,
                settings=SearchSettings(scan=Scan.EXACT),
            )
            nearest = run(self.service.search(self.collection, near))
            try:
                place = place_query(
                    self.projection,
                    [
                        (hit.document.id, hit.distance)
                        for hit in nearest
                        if hit.distance is not None
                    ],
                )
                why_not = ""
            except InvalidInput as exc:
                why_not = exc.message
        return Question(request.query, result, place, why_not, hits, len(result) - len(hits))

    def distances(self, query: str) -> npt.NDArray[np.float64]:
        """Of all points to the question, (n,); NaN for documents that are gone."""
        vector, _ = self.database.run(self.service.embed(self.collection, query))
        return self.database.query(self._distances, vector)

    async def _distances(self, db: AsyncSession, vector: FloatArray) -> npt.NDArray[np.float64]:
        table = self.collection.table
        rows = await db.execute(
            select(table.column(table.id), distance_to(table, vector)).where(
                table.column(table.embedding).is_not(None)
            )
        )
        found = np.full(len(self.projection.ids), np.nan)
        at = self.projection.place_of
        for id_, distance in rows:
            place = at.get(id_)
            if place is not None:
                found[place] = distance
        return found

    # --- what was selected ----------------------------------------------------------------------

    def words(self, places: Sequence[int]) -> tuple[str, ...]:
        """That set these documents apart from the others."""
        return self.database.query(words_apart, self.collection, self._uuids(places))

    def csv(self, places: Sequence[int]) -> bytes:
        return hits_csv(self._hits(places))

    def jsonl(self, places: Sequence[int]) -> bytes:
        return hits_jsonl(self._hits(places))

    def _hits(self, places: Sequence[int]) -> list[Hit]:
        wanted = self._uuids(places)
        found = self.database.query(self._documents, wanted)
        return [Hit(found[id_]) for id_ in wanted if id_ in found]

    async def _documents(
        self, db: AsyncSession, ids: Sequence[uuid.UUID]
    ) -> dict[uuid.UUID, Document]:
        table = self.collection.table
        columns = [table.column(name).label(key) for key, name in table.document_columns.items()]
        rows = await db.execute(select(*columns).where(table.column(table.id).in_(ids)))
        return {row.id: Document(**row._mapping) for row in rows}

    def apart(self, first: int, second: int) -> Apart | None:
        """None where one of the two has no embedding any more."""
        ids = self._uuids([first, second])
        vectors = self.database.query(self._vectors, ids)
        if len(vectors) < 2:
            return None
        projection = self.projection
        at = projection.coordinates.astype(np.float64)
        drawn = np.linalg.norm(at - at[first], axis=1)
        drawn[first] = -1
        rank = None
        if projection.neighbours is not None:
            (found,) = np.nonzero(projection.neighbours.indices[first] == second)
            rank = int(found[0]) + 1 if len(found) else None
        return Apart(
            distance=float(
                self.collection.distance.between(vectors[ids[0]], vectors[ids[1]][None, :])[0]
            ),
            drawn=float(drawn[second] / (np.ptp(at, axis=0).max() or 1.0)),
            true_rank=rank,
            drawn_rank=int(np.count_nonzero(drawn < drawn[second])),
        )

    async def _vectors(
        self, db: AsyncSession, ids: Sequence[uuid.UUID]
    ) -> dict[uuid.UUID, FloatArray]:
        table, storage = self.collection.table, self.collection.storage
        sent = sent_embedding(table.column(table.embedding), storage)
        row_id = table.column(table.id)
        rows = await db.execute(select(row_id, sent).where(row_id.in_(ids), sent.is_not(None)))
        return {id_: received_embedding(each, storage) for id_, each in rows}

    def _uuids(self, places: Sequence[int]) -> list[uuid.UUID]:
        return [self.projection.ids[place] for place in places]

    # --- what stands out ------------------------------------------------------------------------

    def near_duplicates(self, max_distance: float) -> list[Line]:
        titles = self.facts.titles
        return [
            Line(titles[p.first], titles[p.second], p.distance, (p.first, p.second))
            for p in near_duplicates(self.projection, max_distance)
        ]

    def outliers(self) -> list[Line]:
        return [
            Line(self.facts.titles[found.place], "", found.mean_distance, (found.place,))
            for found in outliers(self.projection)
        ]

    def strangers(self) -> list[Line]:
        return [
            Line(
                self.facts.titles[found.place],
                f"{found.category} among {found.other}",
                found.share,
                (found.place,),
            )
            for found in strangers(self.projection, self.facts.categories)
        ]

    def cluster_middles(self) -> list[tuple[str, tuple[float, ...], int]]:
        """(name, middle, points) of each cluster: the median, which no straggler moves."""
        clusters, at = self.projection.clusters, self.projection.coordinates
        found: list[tuple[str, tuple[float, ...], int]] = []
        for label, name in enumerate(clusters.names):
            members = at[clusters.labels == label]
            if len(members):
                middle: Any = np.median(members, axis=0)
                found.append((name, tuple(float(each) for each in middle), len(members)))
        return found
