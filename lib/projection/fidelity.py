"""Fidelity: how much of the true neighbourhoods a map preserves, as a whole and at each point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_never

import numpy as np
import numpy.typing as npt

from lib.projection.neighbours import IntArray, NeighbourGraph, unit
from lib.serial import to_json
from lib.vectors.distance import Distance, FloatArray

SAMPLE_POINTS = 1_000
"""On larger maps so many points, drawn with the seed, are compared with all others."""
_BLOCK_VALUES = 16_000_000  # doubles at once: 128 MB


@dataclass(frozen=True)
class Fidelity:
    """Measures of a whole map, all 0–1, from some points compared with all others."""

    trustworthiness: float
    """1 where the k nearest of every point on the map are among its true k nearest."""
    continuity: float
    """1 where the true k nearest of every point are among its k nearest on the map."""
    local: float
    """Mean share of a point's true k nearest that are among its k nearest on the map."""
    k: int
    """So many neighbours of each point were compared."""
    points: int
    """At so many points it was measured."""
    of: int
    """So many points the map has."""

    @property
    def sampled(self) -> bool:
        return self.points < self.of

    def to_json(self) -> dict[str, Any]:
        return to_json(self)


def fidelity(
    vectors: FloatArray,
    coordinates: FloatArray,
    distance: Distance,
    *,
    k: int,
    seed: int,
    max_points: int = SAMPLE_POINTS,
) -> tuple[Fidelity, npt.NDArray[np.int64], FloatArray]:
    """The measures, the points they were taken at, and the share of preserved neighbours of each.

    Trustworthiness: 1 − 2 / (n k (2n − 3k − 1)) · Σᵢ Σⱼ (r(i, j) − k) over the points j that are
    among i's k nearest on the map but not in truth, r(i, j) being j's true rank; continuity the
    same with truth and map exchanged (Venna & Kaski 2001, "Neighborhood preservation in nonlinear
    projection methods"). With a sample, the mean over its points. Equally near points share the
    better rank. k is lowered to below n / 2, where the measures end.
    """
    n = len(vectors)
    k = max(1, min(k, (n - 1) // 2))
    points = np.arange(n)
    if n > max_points:
        points = np.sort(np.random.default_rng(seed).choice(n, max_points, replace=False))
    intrusions = extrusions = 0.0
    shares = np.empty(len(points), dtype=np.float32)
    true_rows = unit(vectors) if distance is Distance.COSINE else vectors
    step = max(1, _BLOCK_VALUES // n)
    for first in range(0, len(points), step):
        block = points[first : first + step]
        true_keys = _distance_keys(true_rows, block, distance)
        map_keys = _distance_keys(coordinates, block, Distance.L2)
        true_nearest = np.argpartition(true_keys, k - 1, axis=1)[:, :k]
        map_nearest = np.argpartition(map_keys, k - 1, axis=1)[:, :k]
        for row in range(len(block)):
            is_true = np.isin(map_nearest[row], true_nearest[row])
            is_on_map = np.isin(true_nearest[row], map_nearest[row])
            intrusions += _excess_ranks(true_keys[row], map_nearest[row][~is_true], k)
            extrusions += _excess_ranks(map_keys[row], true_nearest[row][~is_on_map], k)
            shares[first + row] = is_true.mean()
    scale = 2.0 / (len(points) * k * (2 * n - 3 * k - 1))
    measured = Fidelity(
        trustworthiness=1.0 - scale * intrusions,
        continuity=1.0 - scale * extrusions,
        local=float(shares.mean()),
        k=k,
        points=len(points),
        of=n,
    )
    return measured, points, shares


def _distance_keys(
    rows: FloatArray, queries: npt.NDArray[np.int64], distance: Distance
) -> npt.NDArray[np.float64]:
    """(q, n) numbers that order the rows as their distances from the query rows do; infinite at
    the query row itself."""
    keys = np.empty((len(queries), len(rows)))
    asked = rows[queries].astype(np.float64)
    for start in range(0, len(rows), 8192):
        part = rows[start : start + 8192].astype(np.float64)
        products = -(asked @ part.T)
        match distance:
            case Distance.COSINE | Distance.INNER_PRODUCT:
                pass
            case Distance.L2:
                products += (part**2).sum(axis=1) / 2
            case _:
                assert_never(distance)
        keys[:, start : start + 8192] = products
    keys[np.arange(len(queries)), queries] = np.inf
    return keys


def _excess_ranks(keys: npt.NDArray[np.float64], indices: IntArray, k: int) -> float:
    """Σ (rank − k) over the rows ``indices``, a rank being 1 for the nearest."""
    if not len(indices):
        return 0.0
    ranks = 1 + np.count_nonzero(keys[None, :] < keys[indices, None], axis=1)
    return float(np.maximum(ranks - k, 0).sum())


def local_fidelity(truth: NeighbourGraph, coordinates: FloatArray) -> FloatArray:
    """For each point the share (0–1) of its true k nearest that are among its k nearest on the map:
    float32 (n,)."""
    return preserved_share(truth.indices, map_neighbours(coordinates, truth.k))


def map_neighbours(coordinates: FloatArray, k: int) -> IntArray:
    """(n, k): of each point the k nearest other points on the map, as indices."""
    from scipy.spatial import cKDTree

    n = len(coordinates)
    _, nearest = cKDTree(coordinates).query(coordinates, k=k + 1)
    # Points that lie on each other may come before the point itself, or crowd it out.
    itself = nearest == np.arange(n)[:, None]
    itself[~itself.any(axis=1), -1] = True
    return np.asarray(nearest[~itself].reshape(n, k), dtype=np.int32)


def preserved_share(true_nearest: IntArray, map_nearest: IntArray) -> FloatArray:
    """The share of each row of ``true_nearest`` (n, k) that is in the same row of ``map_nearest``
    (n, m): float32 (n,)."""
    shares = np.empty(len(true_nearest), dtype=np.float32)
    for first in range(0, len(true_nearest), 8192):
        rows = slice(first, first + 8192)
        is_on_map = (true_nearest[rows, :, None] == map_nearest[rows, None, :]).any(axis=2)
        shares[rows] = is_on_map.mean(axis=1)
    return shares
