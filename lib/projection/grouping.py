"""Which points belong together, as labels: int32 (n,), the largest group is 0."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lib.projection.neighbours import IntArray, unit
from lib.projection.settings import ClusterSettings
from lib.vectors.distance import Distance, FloatArray

NO_CLUSTER = -1
_MOST = 50_000  # HDBSCAN takes the square of the points; the rest joins its nearest
_MIN_SAMPLES = 5


def crowds(coordinates: FloatArray, settings: ClusterSettings) -> IntArray:
    """HDBSCAN (Campello, Moulavi, Sander 2013) on the coordinates (n, 2 or 3): labels (n,)."""
    from sklearn.cluster import HDBSCAN

    n = len(coordinates)
    chosen = np.arange(n)
    if n > _MOST:
        chosen = np.sort(np.random.default_rng(settings.seed).choice(n, _MOST, replace=False))
    size = min(settings.min_size_for(len(chosen)), len(chosen))
    found = HDBSCAN(
        min_cluster_size=max(2, size), min_samples=min(_MIN_SAMPLES, len(chosen)), copy=True
    ).fit_predict(coordinates[chosen])
    labels = np.full(n, NO_CLUSTER, dtype=np.int32)
    labels[chosen] = np.maximum(found, NO_CLUSTER)
    if n > _MOST:
        _join(coordinates, labels, chosen)
    return by_size(labels)


def _join(coordinates: FloatArray, labels: IntArray, chosen: Any) -> None:
    """Gives the other points the label of the chosen one that is nearest on the map."""
    from scipy.spatial import cKDTree

    others = np.setdiff1d(np.arange(len(labels)), chosen)
    _, nearest = cKDTree(coordinates[chosen]).query(coordinates[others])
    labels[others] = labels[chosen[nearest]]


def groups(vectors: FloatArray, distance: Distance, settings: ClusterSettings) -> IntArray:
    """k-means on the vectors (n, d), of unit length under cosine: labels (n,)."""
    from sklearn.cluster import KMeans

    rows = unit(vectors) if distance is Distance.COSINE else vectors
    count = min(settings.count, len(rows))
    found = KMeans(count, n_init=1, random_state=settings.seed).fit_predict(rows)
    return by_size(found.astype(np.int32))


def voted(labels: IntArray, weights: npt.NDArray[np.float64]) -> IntArray:
    """The label with the most weight in each row (n, k): (n,). NO_CLUSTER is one like the others;
    where two have the same, it is the larger cluster's, and NO_CLUSTER last."""
    weight_of = np.empty(weights.shape)
    for column in range(labels.shape[1]):
        same = labels == labels[:, column, None]
        weight_of[:, column] = np.where(same, weights, 0.0).sum(axis=1)
    most = weight_of == weight_of.max(axis=1, keepdims=True)
    last = np.uint32(2**32 - 1)  # NO_CLUSTER, read without a sign
    found: npt.NDArray[np.uint32] = np.where(most, labels.view(np.uint32), last).min(axis=1)
    return found.view(np.int32)


def by_size(labels: IntArray) -> IntArray:
    """The same clusters, numbered from the largest; of equal ones the first point's comes first."""
    kinds, firsts, counts = np.unique(labels[labels >= 0], return_index=True, return_counts=True)
    order = np.lexsort((firsts, -counts))
    number = np.full(int(kinds.max(initial=-1)) + 2, NO_CLUSTER, dtype=np.int32)
    number[kinds[order]] = np.arange(len(kinds))
    return number[labels]  # NO_CLUSTER is the last place
