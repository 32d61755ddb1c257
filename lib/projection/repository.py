"""The repository of projections: one row for each, its arrays as bytes.

A row is written when its projection is complete, and never before: a build that was cancelled,
failed or was killed leaves nothing (docs/decisions/020-a-map-is-one-row.md).
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Row, Select, delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from lib.actors import LOCAL, Actor, writes
from lib.errors import InvalidInput, NotFound
from lib.projection.clustering import NO_CLUSTER
from lib.projection.fidelity import Fidelity
from lib.projection.neighbours import IntArray, NeighbourGraph
from lib.projection.settings import ClusterSettings, Method, ProjectionSettings
from lib.store.collections import Collection
from lib.store.names import NameLookup
from lib.store.records import CollectionRecord, ProjectionRecord
from lib.vectors.distance import Distance, FloatArray

_LOOKUP = NameLookup("map", field="projection", advice="Build one first.")


@dataclass(frozen=True)
class ProjectionSummary:
    """A projection without its points."""

    id: uuid.UUID
    collection_id: uuid.UUID
    name: str
    settings: ProjectionSettings
    distance: Distance
    points: int
    placed_points: int
    """How many of the points were placed later."""
    documents: int
    """How many documents had an embedding when it was built."""
    left_out: int
    """How many of the documents that were to be laid out have no distance to anything."""
    stale: bool
    """Whether the collection was written to since."""
    fidelity: Fidelity
    versions: Mapping[str, str]
    build_seconds: float
    """Reading the vectors included."""
    created_at: datetime

    @property
    def method(self) -> Method:
        return self.settings.method

    @property
    def dimensions(self) -> int:
        return self.settings.dimensions

    @property
    def parameters(self) -> dict[str, Any]:
        """The settings by name, for people and machines."""
        return self.settings.to_json()

    @property
    def sampled(self) -> bool:
        """Whether there were more documents than were laid out."""
        return self.points - self.placed_points + self.left_out < self.documents


@dataclass(frozen=True, eq=False)
class Points:
    """The points of a projection, n of them, as arrays in one order."""

    ids: npt.NDArray[np.object_]
    """uuid.UUID (n,), the documents."""
    coordinates: FloatArray
    """float32 (n, 2 or 3)."""
    placed: npt.NDArray[np.bool_]
    """bool (n,): placed later, by their nearest neighbours."""
    local_fidelity: FloatArray
    """float32 (n,): the share of a point's true nearest neighbours that are among its nearest on
    the map; NaN where it was not measured."""
    neighbours: NeighbourGraph | None
    """None where they were not computed; those of a placed point were all laid out."""


@dataclass(frozen=True, eq=False)
class Clusters:
    """A clustering of a projection's points."""

    settings: ClusterSettings
    labels: IntArray
    """int32 (n,): NO_CLUSTER, or an index into ``names`` and ``terms``. 0 is the cluster that was
    the largest when they were computed; a placed point has the label of most of its neighbours."""
    names: tuple[str, ...]
    """Of each cluster: its first terms."""
    terms: tuple[tuple[str, ...], ...]
    """Of each cluster: its distinctive terms, the most distinctive first."""

    @property
    def sizes(self) -> tuple[int, ...]:
        counts = np.bincount(self.labels[self.labels >= 0], minlength=len(self.names))
        return tuple(int(count) for count in counts)

    @property
    def outside(self) -> int:
        """How many points are in no cluster."""
        return int(np.count_nonzero(self.labels == NO_CLUSTER))


@dataclass(frozen=True, eq=False)
class Projection(ProjectionSummary, Points):
    """A projection with its points and their clusters."""

    clusters: Clusters

    @cached_property
    def index_of(self) -> Mapping[uuid.UUID, int]:
        """Document id → its index in the arrays."""
        return {id_: index for index, id_ in enumerate(self.ids.tolist())}

    def graph(self) -> NeighbourGraph:
        """The neighbours. Raises InvalidInput where there are none."""
        if self.neighbours is None:
            raise InvalidInput(
                f"“{self.name}” was built without computing neighbours, as PCA of many documents "
                "is.",
                hint="Build a UMAP map.",
            )
        return self.neighbours


def point_columns(points: Points, labels: IntArray) -> dict[str, Any]:
    """The columns of a projection's row that hold its points and their cluster labels (n,)."""
    graph = points.neighbours
    return {
        "ids": points.ids.tolist(),
        "points": len(points.ids),
        "placed_points": int(points.placed.sum()),
        "coordinates": points.coordinates.astype("<f4").tobytes(),
        "placed": np.packbits(points.placed).tobytes(),
        "local_fidelity": points.local_fidelity.astype("<f4").tobytes(),
        "neighbour_indices": None if graph is None else graph.indices.astype("<i4").tobytes(),
        "neighbour_distances": None if graph is None else graph.distances.astype("<f4").tobytes(),
        "labels": labels.astype("<i4").tobytes(),
    }


async def list_projections(db: AsyncSession, collection: Collection) -> list[ProjectionSummary]:
    """All of the collection's, the newest first."""
    if collection.is_shadow:
        return []  # maps belong to the collection's own vectors
    rows = await db.execute(_summary_query(collection).order_by(ProjectionRecord.created_at.desc()))
    return [ProjectionSummary(**_summary_fields(row)) for row in rows]


async def get_projection(
    db: AsyncSession, collection: Collection, name_or_id: uuid.UUID | str
) -> Projection:
    """With its points; by id, or by name (capitals do not matter). Raises NotFound, naming what
    there is."""
    summary = await find_projection(db, collection, name_or_id)
    r = ProjectionRecord
    row = (
        await db.execute(
            _summary_query(collection)
            .add_columns(
                r.ids,
                r.coordinates,
                r.placed,
                r.local_fidelity,
                r.neighbour_indices,
                r.neighbour_distances,
                r.labels,
                r.clusters,
            )
            .where(r.id == summary.id)
        )
    ).one_or_none()
    if row is None:
        raise _LOOKUP.not_found(name_or_id, collection.name)
    return Projection(
        **_summary_fields(row),
        **_point_fields(row, summary.dimensions),
        clusters=_clusters(row),
    )


async def find_projection(
    db: AsyncSession, collection: Collection, name_or_id: uuid.UUID | str
) -> ProjectionSummary:
    """As :func:`get_projection`, without the points."""
    return _LOOKUP.find(await list_projections(db, collection), name_or_id, collection.name)


@writes("projections.delete")
async def delete_projection(
    db: AsyncSession, projection: ProjectionSummary, *, actor: Actor = LOCAL
) -> None:
    """Raises NotFound where it is gone already."""
    deleted = await db.execute(
        delete(ProjectionRecord)
        .where(ProjectionRecord.id == projection.id)
        .returning(ProjectionRecord.id)
    )
    if deleted.first() is None:
        raise NotFound(f"The map “{projection.name}” is gone already.")


def _point_fields(row: Row[Any], dimensions: int) -> dict[str, Any]:
    """The fields of :class:`Points`, from a row with the columns of :func:`point_columns`."""
    ids = np.empty(len(row.ids), dtype=object)
    ids[:] = row.ids
    n = len(ids)
    graph = None
    if row.neighbour_indices is not None:
        graph = NeighbourGraph(
            np.frombuffer(row.neighbour_indices, "<i4").reshape(n, -1),
            np.frombuffer(row.neighbour_distances, "<f4").reshape(n, -1),
        )
    return {
        "ids": ids,
        "coordinates": np.frombuffer(row.coordinates, "<f4").reshape(n, dimensions),
        "placed": np.unpackbits(np.frombuffer(row.placed, np.uint8), count=n).astype(bool),
        "local_fidelity": np.frombuffer(row.local_fidelity, "<f4"),
        "neighbours": graph,
    }


def _clusters(row: Row[Any]) -> Clusters:
    return Clusters(
        settings=ClusterSettings.from_json(row.clusters["settings"]),
        labels=np.frombuffer(row.labels, "<i4"),
        names=tuple(row.clusters["names"]),
        terms=tuple(tuple(terms) for terms in row.clusters["words"]),
    )


def _summary_query(collection: Collection) -> Select[Any]:
    r = ProjectionRecord
    return (
        select(
            r.id,
            r.collection_id,
            r.name,
            r.parameters,
            r.distance,
            r.points,
            r.placed_points,
            r.documents,
            r.left_out,
            # Compared with the row as it is now: the caller's Collection may be older.
            (r.revision != CollectionRecord.revision).label("stale"),
            r.fidelity,
            r.versions,
            r.build_seconds,
            r.created_at,
        )
        .join(CollectionRecord, CollectionRecord.id == r.collection_id)
        .where(r.collection_id == collection.id)
    )


def _summary_fields(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": row.id,
        "collection_id": row.collection_id,
        "name": row.name,
        "settings": ProjectionSettings.from_json(row.parameters),
        "distance": Distance(row.distance),
        "points": row.points,
        "placed_points": row.placed_points,
        "documents": row.documents,
        "left_out": row.left_out,
        "stale": row.stale,
        "fidelity": Fidelity(**row.fidelity),
        "versions": row.versions,
        "build_seconds": row.build_seconds,
        "created_at": row.created_at,
    }
