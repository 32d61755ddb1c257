"""Clusters of a map that is stored already, by another method or with other settings."""

from __future__ import annotations

from lib.progress import ignore_progress
from lib.projection.neighbours import IntArray
from lib.projection.process import no_vectors, run_task
from lib.projection.repository import Clusters, Projection
from lib.projection.settings import ClusterMethod, ClusterSettings
from lib.projection.terms import name_clusters
from lib.projection.vectors import read_vectors, task_header
from lib.store.collections import Collection
from lib.store.database import Database


async def find_clusters(
    database: Database,
    collection: Collection,
    projection: Projection,
    settings: ClusterSettings | None = None,
) -> Clusters:
    """Clusters of the projection's points, each named by its most distinctive terms.

    HDBSCAN on the coordinates, or k-means on the vectors, which are read again for that; documents
    that were deleted since are in no cluster then. Takes seconds, in a process of its own.
    Raises InvalidInput where fewer documents are left than clusters were asked for.
    """
    settings = settings or ClusterSettings()
    match settings.method:
        case ClusterMethod.HDBSCAN:
            header = task_header("clusters", collection, 0)
            blocks = no_vectors()
        case ClusterMethod.KMEANS:
            header = task_header("clusters", collection, len(projection.ids))
            blocks = read_vectors(database, collection, projection.ids, ignore_progress)
    header["clusters"] = settings.to_json()
    arrays = {"coordinates": projection.coordinates}
    _, answer = await run_task(header, arrays, blocks, ignore_progress)
    labels: IntArray = answer["labels"]
    async with database.session() as db:
        names, terms = await name_clusters(db, collection, projection.ids, labels)
    return Clusters(settings, labels, names, terms)
