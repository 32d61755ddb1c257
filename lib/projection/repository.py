"""Projections as they are kept: one row each, its arrays as bytes.

A row is written when its projection is whole, and never before: a build that was cancelled, failed
or killed leaves nothing (docs/decisions/020-a-map-is-one-row.md).
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

from lib.errors import InvalidInput, NotFound
from lib.projection.fidelity import Fidelity
from lib.projection.grouping import NO_CLUSTER
from lib.projection.neighbours import Graph, IntArray
from lib.projection.settings import ClusterSettings, Method, ProjectionSettings
from lib.store.collections import Collection
from lib.store.records import CollectionRecord, ProjectionRecord
from lib.vectors.distance import Distance, FloatArray


@dataclass(frozen=True)
class ProjectionSummary:
    """A projection without its points.

    points: how many it has, ``placed`` of them put in later. documents: how many had an embedding
    when it was built; left_out: of those that were chosen, how many have no distance to anything.
    stale: the collection was written to since. build_seconds: reading included.
    """

    id: uuid.UUID
    collection_id: uuid.UUID
    name: str
    settings: ProjectionSettings
    distance: Distance
    points: int
    placed_points: int
    documents: int
    left_out: int
    stale: bool
    fidelity: Fidelity
    versions: Mapping[str, str]
    build_seconds: float
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
class Projection(ProjectionSummary):
    """A projection with its points, n of them.

    ids: object array (n,) of uuid.UUID. coordinates: float32 (n, 2 or 3). placed: bool (n,), put in
    later by their neighbours. local_fidelity: float32 (n,), the share of a point's true nearest
    that are among its nearest on the map, NaN where it was not measured. neighbours: None where
    they were not looked for; a placed point's are among the others. clusters: as found when it was
    built; a placed point is in that of most of its neighbours.
    """

    ids: npt.NDArray[np.object_]
    coordinates: FloatArray
    placed: npt.NDArray[np.bool_]
    local_fidelity: FloatArray
    neighbours: Graph | None
    clusters: Clusters

    @cached_property
    def place_of(self) -> Mapping[uuid.UUID, int]:
        """Document id → its place in the arrays."""
        return {id_: place for place, id_ in enumerate(self.ids.tolist())}

    def graph(self) -> Graph:
        """The neighbours. Raises InvalidInput where there are none."""
        if self.neighbours is None:
            raise InvalidInput(
                f"“{self.name}” was made without looking for neighbours, as PCA of many documents "
                "is.",
                hint="Build a UMAP map.",
            )
        return self.neighbours


@dataclass(frozen=True)
class Points:
    """The arrays of a projection, as in :class:`Projection`."""

    ids: npt.NDArray[np.object_]
    coordinates: FloatArray
    placed: npt.NDArray[np.bool_]
    local_fidelity: FloatArray
    neighbours: Graph | None
    labels: npt.NDArray[np.int32]

    def to_columns(self) -> dict[str, Any]:
        graph = self.neighbours
        return {
            "ids": self.ids.tolist(),
            "points": len(self.ids),
            "placed_points": int(self.placed.sum()),
            "coordinates": self.coordinates.astype("<f4").tobytes(),
            "placed": np.packbits(self.placed).tobytes(),
            "local_fidelity": self.local_fidelity.astype("<f4").tobytes(),
            "neighbour_indices": None if graph is None else graph.indices.astype("<i4").tobytes(),
            "neighbour_distances": None
            if graph is None
            else graph.distances.astype("<f4").tobytes(),
            "labels": self.labels.astype("<i4").tobytes(),
        }


async def list_projections(db: AsyncSession, collection: Collection) -> list[ProjectionSummary]:
    """All of the collection's, the newest first."""
    if collection.is_next:
        return []  # they are of its own vectors
    rows = await db.execute(_facts(collection).order_by(ProjectionRecord.created_at.desc()))
    return [ProjectionSummary(**_summary(row)) for row in rows]


async def get_projection(
    db: AsyncSession, collection: Collection, wanted: uuid.UUID | str
) -> Projection:
    """With its points; by id, or by name (capitals do not matter). Raises NotFound, naming what
    there is."""
    summary = await find_projection(db, collection, wanted)
    r = ProjectionRecord
    row = (
        await db.execute(
            _facts(collection)
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
        raise _unknown(collection, wanted, [])
    points = points_of(row, summary.dimensions)
    clusters = Clusters(
        settings=ClusterSettings.from_json(row.clusters["settings"]),
        labels=points.labels,
        names=tuple(row.clusters["names"]),
        words=tuple(tuple(words) for words in row.clusters["words"]),
    )
    return Projection(
        **_summary(row),
        ids=points.ids,
        coordinates=points.coordinates,
        placed=points.placed,
        local_fidelity=points.local_fidelity,
        neighbours=points.neighbours,
        clusters=clusters,
    )


async def find_projection(
    db: AsyncSession, collection: Collection, wanted: uuid.UUID | str
) -> ProjectionSummary:
    """As :func:`get_projection`, without the points."""
    found = await list_projections(db, collection)
    for summary in found:
        if wanted in (summary.id, str(summary.id)):
            return summary
    for summary in found:
        if isinstance(wanted, str) and summary.name.casefold() == wanted.casefold():
            return summary
    raise _unknown(collection, wanted, found)


async def delete_projection(db: AsyncSession, projection: ProjectionSummary) -> None:
    """Raises NotFound where it is gone already."""
    gone = await db.execute(
        delete(ProjectionRecord)
        .where(ProjectionRecord.id == projection.id)
        .returning(ProjectionRecord.id)
    )
    if gone.first() is None:
        raise NotFound(f"The map “{projection.name}” is gone already.")


def points_of(row: Any, dimensions: int) -> Points:
    """The arrays out of a row that has the columns of :meth:`Points.to_columns`."""
    ids = np.empty(len(row.ids), dtype=object)
    ids[:] = row.ids
    n = len(ids)
    graph = None
    if row.neighbour_indices is not None:
        graph = Graph(
            np.frombuffer(row.neighbour_indices, "<i4").reshape(n, -1),
            np.frombuffer(row.neighbour_distances, "<f4").reshape(n, -1),
        )
    placed = np.unpackbits(np.frombuffer(row.placed, np.uint8), count=n).astype(bool)
    return Points(
        ids=ids,
        coordinates=np.frombuffer(row.coordinates, "<f4").reshape(n, dimensions),
        placed=placed,
        local_fidelity=np.frombuffer(row.local_fidelity, "<f4"),
        neighbours=graph,
        labels=np.frombuffer(row.labels, "<i4"),
    )


def _facts(collection: Collection) -> Select[Any]:
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
            # The mark is the row's of now: the caller's Collection may be older.
            (r.change_mark != CollectionRecord.change_mark).label("stale"),
            r.fidelity,
            r.versions,
            r.build_seconds,
            r.created_at,
        )
        .join(CollectionRecord, CollectionRecord.id == r.collection_id)
        .where(r.collection_id == collection.id)
    )


def _summary(row: Row[Any]) -> dict[str, Any]:
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


def _unknown(
    collection: Collection, wanted: uuid.UUID | str, found: list[ProjectionSummary]
) -> NotFound:
    names = ", ".join(f"“{summary.name}”" for summary in found[:10])
    return NotFound(
        f"“{collection.name}” has no such map (any more)."
        if isinstance(wanted, uuid.UUID)
        else f"“{collection.name}” has no map called “{wanted}”.",
        hint=f"There is: {names}." if names else "Build one first.",
        field="projection",
    )


@dataclass(frozen=True)
class Clusters:
    """labels: int32 (n,), NO_CLUSTER or a place in ``names`` and ``words``; 0 is the cluster that
    was the largest when they were found. words: of each cluster, what sets it apart first. names:
    of its first words."""

    settings: ClusterSettings
    labels: IntArray
    names: tuple[str, ...]
    words: tuple[tuple[str, ...], ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        counts = np.bincount(self.labels[self.labels >= 0], minlength=len(self.names))
        return tuple(int(count) for count in counts)

    @property
    def outside(self) -> int:
        """How many points are in no cluster."""
        return int(np.count_nonzero(self.labels == NO_CLUSTER))
