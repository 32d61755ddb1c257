"""Layouts: coordinates by principal components, or by UMAP from neighbours computed before.

UMAP is imported here alone, and only in the worker's process: see :func:`import_umap`.
"""

from __future__ import annotations

import sys
import threading
import types
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from lib.projection.neighbours import IntArray, NeighbourGraph, unit
from lib.projection.settings import ProjectionSettings
from lib.vectors.distance import Distance, FloatArray

_NOISE = 1e-4  # of a width of 10, as umap-learn itself does it
_BLOCK = 8192
_IMPORTING = threading.Lock()


def pca_layout(vectors: FloatArray, dimensions: int, distance: Distance) -> FloatArray:
    """The first principal components: float32 (n, dimensions), centred.

    Under cosine of the unit vectors, since lengths mean nothing there. The sign of a component is
    free; it is such that its largest weight is positive. Exact, by the eigenvectors of the smaller
    of covariance and Gram matrix (Jolliffe 2002, "Principal Component Analysis", section 3.5).
    Components beyond the rank are 0.
    """
    from scipy.linalg import eigh

    rows = unit(vectors) if distance is Distance.COSINE else vectors
    n, d = rows.shape
    mean = rows.mean(axis=0, dtype=np.float64)
    coordinates = np.zeros((n, dimensions))
    count = min(dimensions, n, d)
    if d <= n:
        covariance = np.zeros((d, d))
        for start in range(0, n, _BLOCK):
            centred = rows[start : start + _BLOCK] - mean
            covariance += centred.T @ centred
        _, axes = eigh(covariance, subset_by_index=[d - count, d - 1])
    else:
        centred = rows - mean
        _, weights = eigh(centred @ centred.T, subset_by_index=[n - count, n - 1])
        axes = centred.T @ weights
        axes /= np.maximum(np.linalg.norm(axes, axis=0), np.finfo(float).tiny)
    axes = axes[:, ::-1]
    largest = np.abs(axes).argmax(axis=0)
    axes = axes * np.where(axes[largest, np.arange(count)] < 0, -1.0, 1.0)
    for start in range(0, n, _BLOCK):
        block = slice(start, start + _BLOCK)
        coordinates[block, :count] = (rows[block] - mean) @ axes
    return coordinates.astype(np.float32)


def umap_layout(
    graph: NeighbourGraph,
    start: FloatArray,
    settings: ProjectionSettings,
    on_epoch: Callable[[int, int], None] = lambda _done, _total: None,
) -> FloatArray:
    """UMAP (McInnes, Healy, Melville 2018) from known neighbours: float32 (n, dimensions).

    graph: at least n_neighbors − 1 neighbours a row, where there are as many. start: the first
    coordinates (n, dimensions), of any scale. One thread and a seed: the same result each time.
    on_epoch is told how many epochs of how many are done.

    These are the two steps of ``UMAP(precomputed_knn=…).fit``, called one by one: the class would
    check and copy the vectors, of which neither step makes any use.
    """
    umap = import_umap()
    rows = np.zeros((len(start), 1), dtype=np.float32)  # only their number is used
    random = np.random.RandomState(settings.seed)
    indices, distances = _umap_neighbours(graph, settings.n_neighbors)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "graph is not connected": islands are no mistake
        strengths, _, _ = umap.fuzzy_simplicial_set(
            rows,
            indices.shape[1],
            random,
            "precomputed",
            knn_indices=indices,
            knn_dists=distances,
        )
    a, b = umap.find_ab_params(1.0, settings.min_dist)
    epochs = settings.epochs_for(len(start))
    coordinates, _ = umap.simplicial_set_embedding(
        rows,
        strengths,
        settings.dimensions,
        initial_alpha=1.0,
        a=a,
        b=b,
        gamma=1.0,
        negative_sample_rate=5,
        n_epochs=epochs,
        init=_scaled_with_noise(start, random),
        random_state=random,
        metric="euclidean",
        metric_kwds={},
        densmap=False,
        densmap_kwds=None,
        output_dens=False,
        parallel=False,
        tqdm_kwds={
            "disable": False,
            "file": _EpochStream(on_epoch, epochs),
            "bar_format": "{n}",
            "mininterval": 0.2,
        },
    )
    return np.asarray(coordinates, dtype=np.float32)


def _umap_neighbours(graph: NeighbourGraph, n_neighbors: int) -> tuple[IntArray, FloatArray]:
    """(indices, distances) as umap-learn counts neighbours: each row is its own first one, and no
    distance is negative."""
    n = len(graph.indices)
    k = min(n_neighbors - 1, graph.k)
    indices = np.empty((n, k + 1), dtype=np.int32)
    distances = np.zeros((n, k + 1), dtype=np.float32)
    indices[:, 0] = np.arange(n)
    indices[:, 1:] = graph.indices[:, :k]
    distances[:, 1:] = graph.distances[:, :k]
    # The inner product has no 0. UMAP goes by how much farther than the first each one is.
    distances[:, 1:] -= np.minimum(distances[:, 1:2], 0)
    return indices, distances


def _scaled_with_noise(start: FloatArray, random: np.random.RandomState) -> FloatArray:
    """The first coordinates at the scale that UMAP expects, no two of them equal."""
    largest = float(np.abs(start).max()) or 1.0
    noise = random.normal(scale=_NOISE, size=start.shape)
    return np.asarray(start * (10.0 / largest) + noise, dtype=np.float32)


class _EpochStream:
    """The stream that tqdm writes its bar to: ``\\r12`` after twelve epochs."""

    def __init__(self, on_epoch: Callable[[int, int], None], total: int) -> None:
        self._on_epoch, self._total = on_epoch, total

    def write(self, text: str) -> None:
        if text.strip().isdigit():
            self._on_epoch(int(text), self._total)

    def flush(self) -> None:
        return


def import_umap() -> Any:
    """``umap.umap_``, imported so that it takes 2 s and not 20: for a process of its own.

    umap-learn imports pynndescent, which compiles its search for neighbours at import; we bring the
    neighbours, so it gets an empty module. And most of umap-learn's own functions are compiled anew
    in each process; here numba keeps what it compiled, in NUMBA_CACHE_DIR
    (docs/decisions/021-umap-is-imported-lean.md). A thread may begin with it while others compute.
    """
    import numba

    with _IMPORTING:
        search = types.ModuleType("pynndescent")
        search.NNDescent = None  # type: ignore[attr-defined]
        distances = types.ModuleType("pynndescent.distances")
        distances.named_distances = {}  # type: ignore[attr-defined]
        sparse = types.ModuleType("pynndescent.sparse")
        sparse.sparse_named_distances = {}  # type: ignore[attr-defined]
        compile_ = numba.njit

        def compile_and_keep(*args: Any, **options: Any) -> Any:
            return compile_(*args, **{**options, "cache": True})

        for module in (search, distances, sparse):
            sys.modules.setdefault(module.__name__, module)
        numba.njit = compile_and_keep
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that TensorFlow is not there
                from umap import umap_
        finally:
            numba.njit = compile_
    return umap_
