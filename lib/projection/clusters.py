"""Clusters: points that belong together, and the words that set them apart from the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib.progress import ignore_progress
from lib.projection.neighbours import IntArray
from lib.projection.process import no_vectors, run_task
from lib.projection.reading import read_vectors, task_header
from lib.projection.repository import Clusters
from lib.projection.settings import ClusterMethod, ClusterSettings
from lib.projection.terms import name_clusters
from lib.store.collections import Collection
from lib.store.database import Database

if TYPE_CHECKING:
    from lib.projection.repository import Projection


async def cluster(
    database: Database,
    collection: Collection,
    projection: Projection,
    settings: ClusterSettings | None = None,
) -> Clusters:
    """The projection's points in clusters, named by the words that set each apart.

    HDBSCAN on the coordinates, or k-means on the vectors, which are read again for that; documents
    that are gone are in no cluster then. Takes seconds, in a process of its own.
    Raises InvalidInput where there is too little left to group.
    """
    settings = settings or ClusterSettings()
    if settings.method is ClusterMethod.HDBSCAN:
        header = task_header("clusters", collection, 0)
        blocks = no_vectors()
    else:
        header = task_header("clusters", collection, len(projection.ids))
        blocks = read_vectors(database, collection, projection.ids, ignore_progress)
    header["clusters"] = settings.to_json()
    _, arrays = await run_task(
        header, {"coordinates": projection.coordinates}, blocks, ignore_progress
    )
    labels: IntArray = arrays["labels"]
    async with database.session() as db:
        names, words = await name_clusters(db, collection, projection.ids, labels)
    return Clusters(settings, labels, names, words)
