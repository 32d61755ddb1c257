"""Clustering algorithms: labels int32 (n,), 0 for the largest cluster, NO_CLUSTER for noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lib.projection.neighbours import IntArray, unit
from lib.projection.settings import ClusterSettings
from lib.vectors.distance import Distance, FloatArray

NO_CLUSTER = -1
_MAX_POINTS = 50_000  # HDBSCAN takes the square of the points; the rest joins its nearest
_MIN_SAMPLES = 5


def density_clusters(coordinates: FloatArray, settings: ClusterSettings) -> IntArray:
    """HDBSCAN (Campello, Moulavi, Sander 2013) on the coordinates (n, 2 or 3): labels (n,)."""
    from sklearn.cluster import HDBSCAN

    n = len(coordinates)
    sample = np.arange(n)
    if n > _MAX_POINTS:
        random = np.random.default_rng(settings.seed)
        sample = np.sort(random.choice(n, _MAX_POINTS, replace=False))
    size = min(settings.min_size_for(len(sample)), len(sample))
    sample_labels = HDBSCAN(
        min_cluster_size=max(2, size), min_samples=min(_MIN_SAMPLES, len(sample)), copy=True
    ).fit_predict(coordinates[sample])
    labels = np.full(n, NO_CLUSTER, dtype=np.int32)
    labels[sample] = np.maximum(sample_labels, NO_CLUSTER)
    if n > _MAX_POINTS:
        _label_by_nearest(coordinates, labels, sample)
    return number_by_size(labels)


def _label_by_nearest(coordinates: FloatArray, labels: IntArray, sample: Any) -> None:
    """Gives each point outside the sample the label of the sampled point nearest to it."""
    from scipy.spatial import cKDTree

    others = np.setdiff1d(np.arange(len(labels)), sample)
    _, nearest = cKDTree(coordinates[sample]).query(coordinates[others])
    labels[others] = labels[sample[nearest]]


def kmeans_clusters(vectors: FloatArray, distance: Distance, settings: ClusterSettings) -> IntArray:
    """k-means on the vectors (n, d), of unit length under cosine: labels (n,)."""
    from sklearn.cluster import KMeans

    rows = unit(vectors) if distance is Distance.COSINE else vectors
    count = min(settings.count, len(rows))
    labels = KMeans(count, n_init=1, random_state=settings.seed).fit_predict(rows)
    return number_by_size(labels.astype(np.int32))


def majority_label(labels: IntArray, weights: npt.NDArray[np.float64]) -> IntArray:
    """The label with the largest sum of weights in each row (n, k): (n,).

    NO_CLUSTER counts like any other label; a tie goes to the larger cluster, and last to
    NO_CLUSTER.
    """
    weight_of = np.empty(weights.shape)
    for column in range(labels.shape[1]):
        same = labels == labels[:, column, None]
        weight_of[:, column] = np.where(same, weights, 0.0).sum(axis=1)
    is_heaviest = weight_of == weight_of.max(axis=1, keepdims=True)
    last = np.uint32(2**32 - 1)  # NO_CLUSTER, read without a sign
    winners: npt.NDArray[np.uint32] = np.where(is_heaviest, labels.view(np.uint32), last).min(
        axis=1
    )
    return winners.view(np.int32)


def number_by_size(labels: IntArray) -> IntArray:
    """The same clusters, renumbered from the largest; equal sizes in the order of their first
    points."""
    clusters, firsts, counts = np.unique(labels[labels >= 0], return_index=True, return_counts=True)
    order = np.lexsort((firsts, -counts))
    number = np.full(int(clusters.max(initial=-1)) + 2, NO_CLUSTER, dtype=np.int32)
    number[clusters[order]] = np.arange(len(clusters))
    return number[labels]  # NO_CLUSTER is the last index
