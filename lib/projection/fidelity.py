"""How much of the neighbourhoods a map keeps: for the whole, and for each point."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lib.projection.neighbours import Graph, IntArray, unit
from lib.vectors.distance import Distance, FloatArray

SAMPLE_POINTS = 1_000
"""On larger maps so many points, drawn with the seed, are compared with all others."""
_BLOCK_VALUES = 16_000_000  # doubles at once: 128 MB


@dataclass(frozen=True)
class Fidelity:
    """trustworthiness: 1 where no point has strangers among its k nearest on the map. continuity:
    1 where none of its true k nearest were torn away. local: mean share of a point's true k
    nearest that are among its k nearest on the map. All 0–1; measured with k neighbours at
    ``points`` of ``of`` points, each compared with all others."""

    trustworthiness: float
    continuity: float
    local: float
    k: int
    points: int
    of: int

    @property
    def sampled(self) -> bool:
        return self.points < self.of

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def fidelity(
    vectors: FloatArray,
    coordinates: FloatArray,
    distance: Distance,
    *,
    k: int,
    seed: int,
    most: int = SAMPLE_POINTS,
) -> tuple[Fidelity, npt.NDArray[np.int64], FloatArray]:
    """The measures, the points they were taken at, and those points' own shares of neighbours kept.

    Trustworthiness: 1 − 2 / (n k (2n − 3k − 1)) · Σᵢ Σⱼ (r(i, j) − k) over the points j that are
    among i's k nearest on the map but not in truth, r(i, j) being j's true rank; continuity the
    same with truth and map exchanged (Venna & Kaski 2001, "Neighborhood preservation in nonlinear
    projection methods"). With a sample, the mean over its points. Equally near ones share the
    better rank. k is lowered to below n / 2, where the measures end.
    """
    n = len(vectors)
    k = max(1, min(k, (n - 1) // 2))
    points = np.arange(n)
    if n > most:
        points = np.sort(np.random.default_rng(seed).choice(n, most, replace=False))
    strangers = torn = 0.0
    shares = np.empty(len(points), dtype=np.float32)
    true_rows = unit(vectors) if distance is Distance.COSINE else vectors
    step = max(1, _BLOCK_VALUES // n)
    for first in range(0, len(points), step):
        chosen = points[first : first + step]
        truth = _keys(true_rows, chosen, distance)
        drawn = _keys(coordinates, chosen, Distance.L2)
        near_truth = np.argpartition(truth, k - 1, axis=1)[:, :k]
        near_drawn = np.argpartition(drawn, k - 1, axis=1)[:, :k]
        for row in range(len(chosen)):
            kept = np.isin(near_drawn[row], near_truth[row])
            lost = ~np.isin(near_truth[row], near_drawn[row])
            strangers += _excess(truth[row], near_drawn[row][~kept], k)
            torn += _excess(drawn[row], near_truth[row][lost], k)
            shares[first + row] = kept.mean()
    scale = 2.0 / (len(points) * k * (2 * n - 3 * k - 1))
    measured = Fidelity(
        trustworthiness=1.0 - scale * strangers,
        continuity=1.0 - scale * torn,
        local=float(shares.mean()),
        k=k,
        points=len(points),
        of=n,
    )
    return measured, points, shares


def _keys(
    rows: FloatArray, chosen: npt.NDArray[np.int64], distance: Distance
) -> npt.NDArray[np.float64]:
    """(c, n) numbers that order the rows as their distances from the chosen rows do; infinite at
    the row itself."""
    found = np.empty((len(chosen), len(rows)))
    asked = rows[chosen].astype(np.float64)
    for start in range(0, len(rows), 8192):
        part = rows[start : start + 8192].astype(np.float64)
        keys = -(asked @ part.T)
        if distance is Distance.L2:
            keys += (part**2).sum(axis=1) / 2
        found[:, start : start + 8192] = keys
    found[np.arange(len(chosen)), chosen] = np.inf
    return found


def _excess(keys: npt.NDArray[np.float64], places: IntArray, k: int) -> float:
    """Σ (rank − k) of the places, a rank being 1 for the nearest."""
    if not len(places):
        return 0.0
    ranks = 1 + np.count_nonzero(keys[None, :] < keys[places, None], axis=1)
    return float(np.maximum(ranks - k, 0).sum())


def local_fidelity(truth: Graph, coordinates: FloatArray) -> FloatArray:
    """For each point the share (0–1) of its true k nearest that are among its k nearest on the map:
    float32 (n,)."""
    return kept_share(truth.indices, map_neighbours(coordinates, truth.k))


def map_neighbours(coordinates: FloatArray, k: int) -> IntArray:
    """(n, k) the nearest other points on the map, as places."""
    from scipy.spatial import cKDTree

    n = len(coordinates)
    _, found = cKDTree(coordinates).query(coordinates, k=k + 1)
    # Points that lie on each other may come before the point itself, or crowd it out.
    itself = found == np.arange(n)[:, None]
    itself[~itself.any(axis=1), -1] = True
    return np.asarray(found[~itself].reshape(n, k), dtype=np.int32)


def kept_share(truth: IntArray, drawn: IntArray) -> FloatArray:
    """The share of each row of ``truth`` (n, k) that is in the same row of ``drawn`` (n, m)."""
    shares = np.empty(len(truth), dtype=np.float32)
    for first in range(0, len(truth), 8192):
        part = slice(first, first + 8192)
        among = (truth[part, :, None] == drawn[part, None, :]).any(axis=2)
        shares[part] = among.mean(axis=1)
    return shares
