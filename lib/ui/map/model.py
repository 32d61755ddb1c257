"""The Map page's model: the maps of a collection, and what the page shows of one map.

Each thing is fetched only where it is looked at, and kept in the session cache under a typed key.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from lib.errors import InvalidInput
from lib.projection.build import estimated_seconds, start_projection
from lib.projection.clusters import find_clusters
from lib.projection.coloring import (
    ColorBy,
    Coloring,
    color_options,
    describe_coloring,
    make_coloring,
)
from lib.projection.distances import distance_between, distances_to
from lib.projection.document_details import (
    DocumentDetails,
    load_document_details,
    load_documents,
)
from lib.projection.outliers import label_mismatches, near_duplicates, outliers
from lib.projection.placing import QueryPlacement, place_documents, place_query
from lib.projection.recall import DocumentRecall, measure_recall
from lib.projection.repository import (
    Projection,
    ProjectionSummary,
    delete_projection,
    get_projection,
    list_projections,
)
from lib.projection.settings import KEPT_NEIGHBOURS, ClusterSettings, ProjectionSettings
from lib.projection.terms import distinctive_terms
from lib.search.hits_export import hits_csv, hits_jsonl
from lib.search.request import Mode, SearchRequest
from lib.services import Services
from lib.store.candidates import Candidate
from lib.store.collections import (
    Collection,
    CollectionSummary,
)
from lib.store.jobs import Job, JobKind
from lib.ui.map.points import MapPoints, map_points
from lib.ui.shared.model import QueryingModel
from lib.ui.shared.session_cache import CacheKey, cached
from lib.vectors.distance import FloatArray
from lib.vectors.search import Hit, SearchResult
from lib.vectors.tuning import Scan, SearchSettings

IntArray = npt.NDArray[np.int64]
Indices = Sequence[int]
"""Of points, in a projection's arrays."""


class MapSlot(StrEnum):
    """Which of the two maps side by side."""

    FIRST = "first"
    SECOND = "beside"


# --- what the page shows ------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Question:
    """A question, where it lies on a map, and its hits."""

    text: str
    vector: FloatArray | None
    """(d,); None where the collection has no model."""
    result: SearchResult
    placement: QueryPlacement | None
    """None where it could not be placed."""
    why_not_placed: str
    hits: tuple[int, ...]
    """Indices of the points of the result's hits, the best first."""
    hits_not_on_map: int

    @property
    def position(self) -> tuple[float, ...] | None:
        """Its coordinates on the map, None where it could not be placed."""
        if self.placement is None:
            return None
        return tuple(float(x) for x in self.placement.position)


@dataclass(frozen=True)
class ClusterName:
    """The name of a cluster, as it stands on the map."""

    text: str
    position: tuple[float, ...]
    """The median of the cluster's points, which no single far one moves."""
    points: int
    """How many points the cluster has."""


@dataclass(frozen=True)
class PairDistance:
    """How far two documents are from each other, in truth and on the map."""

    distance: float
    """The true one, by the collection's distance."""
    map_distance: float
    """In widths of the map."""
    true_rank: int | None
    """As which neighbour of the first one the second comes, 1 is nearest; None where it is not
    among the nearest that are stored."""
    map_rank: int


@dataclass(frozen=True)
class SelectedDocument:
    """One row of the table of selected documents."""

    title: str
    category: str | None
    cluster: str | None
    local_fidelity: float
    """The share of its true neighbours that are preserved on the map."""
    snippet: str


@dataclass(frozen=True)
class DataIssue:
    """One row of a list of near-duplicates, outliers or label mismatches."""

    title: str
    other: str
    """The other title, or the categories; empty where there is none."""
    value: float
    """The distance, or the share."""
    indices: tuple[int, ...]
    """The points it is about."""


# --- keys of the session cache ------------------------------------------------------------------


@dataclass(frozen=True)
class MapIdentity:
    """Which map is looked at, and where: everything that is shown of it depends on this."""

    slot: MapSlot
    collection: Collection
    summary: ProjectionSummary


@dataclass(frozen=True)
class _MapKey:
    """What the keys of one map's values have in common."""

    map: MapIdentity

    @property
    def slot(self) -> str:
        """The two maps side by side are cached side by side."""
        return self.map.slot.value


@dataclass(frozen=True)
class ProjectionKey(_MapKey, CacheKey[tuple[Projection, DocumentDetails]]):
    """A projection with its points, and the details of its documents."""


@dataclass(frozen=True)
class ClusteredKey(_MapKey, CacheKey[Projection]):
    """A projection with other clusters than it was built with."""

    settings: ClusterSettings


@dataclass(frozen=True)
class PointsKey(_MapKey, CacheKey[MapPoints]):
    """The points of a map with their hover texts."""


@dataclass(frozen=True)
class ColoringKey(_MapKey, CacheKey[Coloring]):
    """The colours of a map's points."""

    clusters: ClusterSettings
    by: str
    question: str
    recall: DocumentRecall | None


@dataclass(frozen=True)
class QuestionsKey(_MapKey, CacheKey[Sequence[Question]]):
    """Questions with their positions on a map and their hits."""

    request: SearchRequest
    texts: tuple[str, ...]


@dataclass(frozen=True)
class TermsKey(_MapKey, CacheKey[tuple[str, ...]]):
    """The distinctive terms of selected documents."""

    indices: tuple[int, ...]


# --- a collection's maps ------------------------------------------------------------------------


class MapModel(QueryingModel):
    """What the Map page shows of a collection, and what it builds and deletes.

    Methods raise what the services' and the database's raise.
    """

    def maps(self, collection: Collection) -> Sequence[ProjectionSummary]:
        """The newest first."""
        return self.database.query(list_projections, collection)

    def running_jobs(self, collection: Collection) -> list[Job]:
        """That build maps, or place documents on them."""
        active = self.database.run(self.jobs.recent(collection_id=collection.id, active_only=True))
        return [job for job in active if job.kind is JobKind.PROJECTION]

    def estimated_seconds(
        self, summary: CollectionSummary, settings: Sequence[ProjectionSettings]
    ) -> float:
        """How long it takes to build such maps, one after the other."""
        dimensions = summary.collection.dimensions
        return sum(estimated_seconds(summary.embedded, dimensions, each) for each in settings)

    def build(self, collection: Collection, settings: Sequence[ProjectionSettings]) -> None:
        """Starts a job for each map."""
        for map_settings in settings:
            self.database.run(start_projection(self.jobs, self.database, collection, map_settings))

    def place_new_documents(self, collection: Collection, summary: ProjectionSummary) -> None:
        """Starts a job that places the documents that are not on the map yet."""
        self.database.run(place_documents(self.jobs, self.database, collection, summary))

    def delete(self, summary: ProjectionSummary) -> None:
        self.database.query(delete_projection, summary)

    def view(
        self,
        slot: MapSlot,
        collection: Collection,
        summary: ProjectionSummary,
        clusters: ClusterSettings | None,
    ) -> MapView:
        """One map to look at. clusters: others than it was built with; None leaves those.

        Raises NotFound where the map is gone.
        """
        identity = MapIdentity(slot, collection, summary)
        projection, details = cached(
            ProjectionKey(identity), lambda: self._load(collection, summary)
        )
        if clusters is not None:
            built = projection
            projection = cached(
                ClusteredKey(identity, clusters),
                lambda: self._with_clusters(collection, built, clusters),
            )
        return MapView(self.services, identity, projection, details)

    def _load(
        self, collection: Collection, summary: ProjectionSummary
    ) -> tuple[Projection, DocumentDetails]:
        projection = self.database.query(get_projection, collection, summary.id)
        details = self.database.query(load_document_details, collection, projection.ids.tolist())
        return projection, details

    def _with_clusters(
        self, collection: Collection, projection: Projection, settings: ClusterSettings
    ) -> Projection:
        clusters = self.database.run(find_clusters(self.database, collection, projection, settings))
        return replace(projection, clusters=clusters)


# --- one map ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class MapView:
    """One map as the page shows it. Made by :meth:`MapModel.view`; its methods raise what the
    services' and the database's raise."""

    services: Services
    identity: MapIdentity
    projection: Projection
    details: DocumentDetails

    @property
    def slot(self) -> MapSlot:
        return self.identity.slot

    @property
    def collection(self) -> Collection:
        return self.identity.collection

    @property
    def points(self) -> MapPoints:
        return cached(
            PointsKey(self.identity),
            lambda: map_points(self.projection.coordinates, self.details),
        )

    def cluster_names(self) -> list[ClusterName]:
        clusters = self.projection.clusters
        names = []
        for label, text in enumerate(clusters.names):
            members = self.projection.coordinates[clusters.labels == label]
            if len(members):
                median: Any = np.median(members, axis=0)
                names.append(ClusterName(text, tuple(map(float, median)), len(members)))
        return names

    def measure_recall(self, candidate: Candidate, settings: SearchSettings) -> DocumentRecall:
        """The recall of a candidate's index over this map's documents."""
        return self.services.database.run(
            measure_recall(self.services.database, self.projection, candidate, settings)
        )

    # --- colours ---

    def color_options(self, *, has_question: bool, has_recall: bool) -> list[str]:
        """What the points can be coloured by. has_question: whether there is a question;
        has_recall: whether an index was measured."""
        options = color_options(self.projection, self.details)
        if has_question and self.collection.has_model:
            options.append(ColorBy.DISTANCE)
        if has_recall:
            options.append(ColorBy.MISSED)
        return options

    def coloring(
        self, by: str, question: Question | None = None, recall: DocumentRecall | None = None
    ) -> Coloring:
        """One of the color options; the first one where this map does not have it, as the second of
        two maps has no recall. question: for DISTANCE; recall: for MISSED."""
        options = self.color_options(
            has_question=question is not None, has_recall=recall is not None
        )
        if by not in options:
            by = options[0]
        return cached(
            ColoringKey(
                self.identity,
                self.projection.clusters.settings,
                by,
                "" if question is None else question.text,
                recall,
            ),
            lambda: make_coloring(
                by, self.projection, self.details, self._color_values(by, question, recall)
            ),
        )

    def describe(self, coloring: Coloring) -> str:
        """One sentence on how to read the colours."""
        return describe_coloring(coloring, self.projection)

    def _color_values(
        self, by: str, question: Question | None, recall: DocumentRecall | None
    ) -> npt.NDArray[np.float64] | None:
        if by == ColorBy.DISTANCE and question is not None and question.vector is not None:
            return self.distances(question.vector)
        if by == ColorBy.MISSED and recall is not None:
            return recall.missed_share.astype(np.float64)
        return None

    def distances(self, vector: FloatArray) -> npt.NDArray[np.float64]:
        """From a vector (d,) to all points, (n,); NaN for documents that were deleted."""
        distances = self.services.database.query(
            distances_to, self.collection, self.projection, vector
        )
        return distances.astype(np.float64)

    # --- questions ---

    def questions(self, request: SearchRequest, texts: Sequence[str]) -> Sequence[Question]:
        """Several questions with the same settings, in their order."""
        return cached(
            QuestionsKey(self.identity, request, tuple(texts)),
            lambda: [self.question(replace(request, query=text)) for text in texts],
        )

    def question(self, request: SearchRequest) -> Question:
        """The request's hits, and the position of its query among its exact nearest neighbours."""
        run, service = self.services.database.run, self.services.search
        vector = None
        if self.collection.has_model:
            vector, _ = run(service.embed(self.collection, request.query))
        result = run(service.search(self.collection, request, embedding=vector))
        placement, why_not_placed = self._place(request.query, vector)
        index_of = self.projection.index_of
        hits = tuple(index_of[hit.document.id] for hit in result if hit.document.id in index_of)
        return Question(
            text=request.query,
            vector=vector,
            result=result,
            placement=placement,
            why_not_placed=why_not_placed,
            hits=hits,
            hits_not_on_map=len(result) - len(hits),
        )

    def _place(self, query: str, vector: FloatArray | None) -> tuple[QueryPlacement | None, str]:
        """Where a query lies, or why it cannot be placed."""
        if vector is None:
            return None, "This collection has no model that could embed the question."
        nearest = self.services.database.run(
            self.services.search.search(
                self.collection,
                SearchRequest(
                    query,
                    Mode.SIMILARITY,
                    limit=KEPT_NEIGHBOURS,
                    settings=SearchSettings(scan=Scan.EXACT),
                ),
                embedding=vector,
            )
        )
        hits = [(document.id, distance) for document, distance in nearest.pairs]
        try:
            return place_query(self.projection, hits), ""
        except InvalidInput as exc:
            return None, exc.message

    # --- the selection ---

    def indices(self, hex_ids: Sequence[str]) -> IntArray:
        """Of documents by their ids, as a link has them; those not on the map are left out."""
        if not hex_ids:  # the usual case, at each run of the page
            return np.array([], dtype=np.int64)
        index_of = {id_.hex: index for id_, index in self.projection.index_of.items()}
        return np.array([index_of[id_] for id_ in hex_ids if id_ in index_of], dtype=np.int64)

    def hex_ids(self, indices: Indices) -> list[str]:
        """What :meth:`indices` takes, short enough for a link."""
        return [self.projection.ids[index].hex for index in indices]

    def document_ids(self, indices: Indices) -> list[uuid.UUID]:
        return [self.projection.ids[index] for index in indices]

    def documents(self, indices: Indices) -> list[SelectedDocument]:
        """What is known of these documents, without asking the server."""
        details, clusters = self.details, self.projection.clusters
        labels = clusters.labels[list(indices)].tolist()
        return [
            SelectedDocument(
                title=details.titles[index],
                category=details.categories[index],
                cluster=clusters.names[label] if label >= 0 else None,
                local_fidelity=float(self.projection.local_fidelity[index]),
                snippet=details.snippets[index],
            )
            for index, label in zip(indices, labels, strict=True)
        ]

    def terms(self, indices: Indices) -> tuple[str, ...]:
        """That distinguish these documents from the others."""
        return cached(
            TermsKey(self.identity, tuple(indices)),
            lambda: self.services.database.query(
                distinctive_terms, self.collection, self.document_ids(indices)
            ),
        )

    def csv(self, indices: Indices) -> bytes:
        return hits_csv(self._hits(indices))

    def jsonl(self, indices: Indices) -> bytes:
        return hits_jsonl(self._hits(indices))

    def _hits(self, indices: Indices) -> list[Hit]:
        """Those that still exist."""
        ids = self.document_ids(indices)
        documents = self.services.database.query(load_documents, self.collection, ids)
        return [Hit(documents[id_]) for id_ in ids if id_ in documents]

    def pair_distance(self, first: int, second: int) -> PairDistance:
        """Raises NotFound where one of the two has no embedding any more."""
        projection = self.projection
        coordinates = projection.coordinates.astype(np.float64)
        away = np.linalg.norm(coordinates - coordinates[first], axis=1)
        away[first] = -1
        true_rank = None
        if projection.neighbours is not None:
            (ranks,) = np.nonzero(projection.neighbours.indices[first] == second)
            true_rank = int(ranks[0]) + 1 if len(ranks) else None
        return PairDistance(
            distance=self.services.database.query(
                distance_between, self.collection, projection.ids[first], projection.ids[second]
            ),
            map_distance=float(away[second] / (np.ptp(coordinates, axis=0).max() or 1.0)),
            true_rank=true_rank,
            map_rank=int(np.count_nonzero(away < away[second])),
        )

    # --- data issues ---

    @property
    def median_neighbour_distance(self) -> float:
        """Between a document and its nearest neighbours; 0 without neighbours."""
        graph = self.projection.neighbours
        return 0.0 if graph is None else float(np.median(graph.distances))

    def near_duplicates(self, max_distance: float) -> list[DataIssue]:
        titles = self.details.titles
        return [
            DataIssue(
                title=titles[pair.first],
                other=titles[pair.second],
                value=pair.distance,
                indices=(pair.first, pair.second),
            )
            for pair in near_duplicates(self.projection, max_distance)
        ]

    def outliers(self) -> list[DataIssue]:
        return [
            DataIssue(
                title=self.details.titles[outlier.index],
                other="",
                value=outlier.mean_distance,
                indices=(outlier.index,),
            )
            for outlier in outliers(self.projection)
        ]

    def label_mismatches(self) -> list[DataIssue]:
        return [
            DataIssue(
                title=self.details.titles[mismatch.index],
                other=f"{mismatch.category} among {mismatch.neighbour_category}",
                value=mismatch.share,
                indices=(mismatch.index,),
            )
            for mismatch in label_mismatches(self.projection, self.details.categories)
        ]
