"""A map that is looked at: what a page shows of it, fetched only where it is asked for."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from lib.errors import InvalidInput
from lib.projection.clusters import find_clusters
from lib.projection.coloring import ColorBy, Coloring, color_options, make_coloring
from lib.projection.distances import distance_between, distances_to
from lib.projection.document_details import DocumentDetails, load_document_details
from lib.projection.outliers import label_mismatches, near_duplicates, outliers
from lib.projection.placing import QueryPlacement, place_query
from lib.projection.recall import DocumentRecall, measure_recall
from lib.projection.repository import Projection, get_projection
from lib.projection.settings import KEPT_NEIGHBOURS, ClusterSettings
from lib.projection.terms import distinctive_terms
from lib.search.hits_export import hits_csv, hits_jsonl
from lib.search.request import Mode, SearchRequest
from lib.search.service import SearchService
from lib.store.candidates import Candidate
from lib.store.collections import Collection
from lib.store.database import Database
from lib.vectors.distance import FloatArray
from lib.vectors.search import Document, Hit, SearchResult
from lib.vectors.tuning import Scan, SearchSettings

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Question:
    """A question and where its answers lie. vector: (d,), None where the collection has no model.
    place: None where it could not be placed; why says so. hits: places on the map of the result's
    hits that are on it, the best first; missing: how many are not."""

    text: str
    vector: FloatArray | None
    result: SearchResult
    place: QueryPlacement | None
    why_not: str
    hits: tuple[int, ...]
    missing: int

    @property
    def at(self) -> tuple[float, ...] | None:
        """Its place, None where it has none."""
        return None if self.place is None else tuple(float(x) for x in self.place.position)


@dataclass(frozen=True)
class ClusterName:
    """at: the middle of the cluster on the map. points: how many it has."""

    text: str
    at: tuple[float, ...]
    points: int


@dataclass(frozen=True)
class Apart:
    """How far two documents are from each other. distance: the true one, by the collection's
    distance. drawn: on the map, in widths of it. true_rank, drawn_rank: as which neighbour of the
    first one the second comes, 1 is nearest; None below the true neighbours that were kept."""

    distance: float
    drawn: float
    true_rank: int | None
    drawn_rank: int


@dataclass(frozen=True)
class Row:
    """One document of a list. kept: the share of its true neighbours that stand near it."""

    title: str
    category: str | None
    find_clusters: str | None
    kept: float
    beginning: str


@dataclass(frozen=True, eq=False)
class Line:
    """Something found: its figure, and the places on the map that it is about."""

    title: str
    other: str
    value: float
    places: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class MapModel:
    """Methods raise what the service's and the database's raise."""

    database: Database
    service: SearchService
    collection: Collection
    projection: Projection
    details: DocumentDetails

    @classmethod
    def open(
        cls,
        database: Database,
        service: SearchService,
        collection: Collection,
        projection_id: uuid.UUID,
    ) -> MapModel:
        """Raises NotFound where the map is gone."""

        async def work(db: AsyncSession) -> tuple[Projection, DocumentDetails]:
            projection = await get_projection(db, collection, projection_id)
            return projection, await load_document_details(db, collection, projection.ids.tolist())

        projection, details = database.query(work)
        return cls(database, service, collection, projection, details)

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for the same map and clusters of the same state of the collection."""
        projection = self.projection
        return self.collection, projection.id, projection.points, projection.clusters.settings

    def clustered(self, settings: ClusterSettings | None) -> MapModel:
        """The same map with other clusters, which are not kept; None leaves those it was drawn
        with. Takes seconds."""
        if settings is None:
            return self
        found = find_clusters(self.database, self.collection, self.projection, settings)
        clusters = self.database.run(found)
        return replace(self, projection=replace(self.projection, clusters=clusters))

    def lose(
        self, candidate: Candidate, probes: int | None, ef_search: int | None
    ) -> DocumentRecall:
        """What a candidate's index does not find of this map's documents."""
        asked = measure_recall(
            self.database, self.projection, candidate, probes=probes, ef_search=ef_search
        )
        return self.database.run(asked)

    def places(self, ids: Sequence[str]) -> IntArray:
        """Of documents by their ids; those that are not on the map are left out."""
        if not ids:  # the usual case, of each time that the page is drawn
            return np.array([], dtype=np.int64)
        known = {id_.hex: place for id_, place in self.projection.index_of.items()}
        return np.array([known[id_] for id_ in ids if id_ in known], dtype=np.int64)

    def ids(self, places: Sequence[int]) -> list[str]:
        """What :meth:`places` takes, short enough for an address."""
        return [self.projection.ids[place].hex for place in places]

    # --- colours ---------------------------------------------------------------------------------

    def colors(self, *, asked: bool, tried: bool) -> list[str]:
        """What the points can be coloured by. asked: whether a question was placed; tried: whether
        an index was."""
        extra = [ColorBy.DISTANCE] * asked + [ColorBy.MISSED] * tried
        return [*color_options(self.projection, self.details), *extra]

    def coloring(
        self, by: str, question: FloatArray | None = None, missed: DocumentRecall | None = None
    ) -> Coloring:
        """question: its vector (d,), for DISTANCE; lost: for LOST. Raises InvalidInput for what is
        not there."""
        values = None
        if by == ColorBy.DISTANCE and question is not None:
            values = self.distances(question)
        elif by == ColorBy.MISSED and missed is not None:
            values = missed.missed_share.astype(np.float64)
        return make_coloring(by, self.projection, self.details, values)

    # --- questions ------------------------------------------------------------------------------

    def ask_all(self, request: SearchRequest, texts: Sequence[str]) -> list[Question]:
        """Several questions with the same settings, in their order."""
        return [self.ask(replace(request, query=text)) for text in texts]

    def ask(self, request: SearchRequest) -> Question:
        """The request's hits, and the question's place by its exact nearest neighbours."""
        run, search = self.database.run, self.service.search
        place, why_not = None, "This collection has no model that could embed the question."
        vector = None
        if self.collection.has_model:
            vector, _ = run(self.service.embed(self.collection, request.query))
        result = run(search(self.collection, request, embedding=vector))
        at = self.projection.index_of
        hits = tuple(at[hit.document.id] for hit in result if hit.document.id in at)
        if vector is not None:
            near = SearchRequest(
                request.query,
                Mode.SIMILARITY,
                limit=KEPT_NEIGHBOURS,
                settings=SearchSettings(scan=Scan.EXACT),
            )
            nearest = run(search(self.collection, near, embedding=vector))
            try:
                place = place_query(self.projection, [(d.id, far) for d, far in nearest.pairs])
                why_not = ""
            except InvalidInput as exc:
                why_not = exc.message
        missing = len(result) - len(hits)
        return Question(request.query, vector, result, place, why_not, hits, missing)

    def distances(self, question: FloatArray) -> npt.NDArray[np.float64]:
        """Of all points to the question's vector (d,), (n,); NaN for documents that are gone."""
        found = self.database.query(distances_to, self.collection, self.projection, question)
        return found.astype(np.float64)

    # --- what was selected ----------------------------------------------------------------------

    def rows(self, places: Sequence[int]) -> list[Row]:
        """What is known of these documents."""
        details, clusters = self.details, self.projection.clusters
        found = []
        for place in places:
            label = int(clusters.labels[place])
            found.append(
                Row(
                    details.titles[place],
                    details.categories[place],
                    clusters.names[label] if label >= 0 else None,
                    float(self.projection.local_fidelity[place]),
                    details.snippets[place],
                )
            )
        return found

    def words(self, places: Sequence[int]) -> tuple[str, ...]:
        """That set these documents apart from the others."""
        return self.database.query(distinctive_terms, self.collection, self._uuids(places))

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

    def apart(self, first: int, second: int) -> Apart:
        """Raises NotFound where one of the two has no embedding any more."""
        ids = self._uuids([first, second])
        projection = self.projection
        at = projection.coordinates.astype(np.float64)
        drawn = np.linalg.norm(at - at[first], axis=1)
        drawn[first] = -1
        rank = None
        if projection.neighbours is not None:
            (found,) = np.nonzero(projection.neighbours.indices[first] == second)
            rank = int(found[0]) + 1 if len(found) else None
        return Apart(
            distance=self.database.query(distance_between, self.collection, *ids),
            drawn=float(drawn[second] / (np.ptp(at, axis=0).max() or 1.0)),
            true_rank=rank,
            drawn_rank=int(np.count_nonzero(drawn < drawn[second])),
        )

    def _uuids(self, places: Sequence[int]) -> list[uuid.UUID]:
        return [self.projection.ids[place] for place in places]

    # --- what stands out ------------------------------------------------------------------------

    @property
    def usual_distance(self) -> float:
        """Between a document and its nearest neighbours, the median; 0 without neighbours."""
        graph = self.projection.neighbours
        return 0.0 if graph is None else float(np.median(graph.distances))

    def near_duplicates(self, max_distance: float) -> list[Line]:
        titles = self.details.titles
        return [
            Line(titles[p.first], titles[p.second], p.distance, (p.first, p.second))
            for p in near_duplicates(self.projection, max_distance)
        ]

    def outliers(self) -> list[Line]:
        return [
            Line(self.details.titles[found.index], "", found.mean_distance, (found.index,))
            for found in outliers(self.projection)
        ]

    def label_mismatches(self) -> list[Line]:
        return [
            Line(
                self.details.titles[found.index],
                f"{found.category} among {found.neighbour_category}",
                found.share,
                (found.index,),
            )
            for found in label_mismatches(self.projection, self.details.categories)
        ]

    def cluster_names(self) -> list[ClusterName]:
        """Each at the median of its points, which no straggler moves."""
        clusters, at = self.projection.clusters, self.projection.coordinates
        found = []
        for label, name in enumerate(clusters.names):
            members = at[clusters.labels == label]
            if len(members):
                middle: Any = np.median(members, axis=0)
                at_middle = tuple(float(each) for each in middle)
                found.append(ClusterName(name, at_middle, len(members)))
        return found
