"""The process that computes: ``python -m lib.projection.worker BYTES``, one task each.

It takes the task and its vectors on stdin and answers on stdout (:mod:`lib.projection.protocol`),
and ends when stdin does, so that it never outlives its parent. BYTES: how much memory it may have.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from lib.errors import InvalidInput, VecscopeError
from lib.process import limit_memory, take_pipes
from lib.projection.clustering import NO_CLUSTER, density_clusters, kmeans_clusters, majority_label
from lib.projection.fidelity import fidelity, local_fidelity, preserved_share
from lib.projection.layout import import_umap, pca_layout, umap_layout
from lib.projection.neighbours import (
    IntArray,
    NeighbourGraph,
    all_neighbours,
    nearest,
    subgraph,
    unit,
    usable_rows,
)
from lib.projection.protocol import PhaseShare, read_message, write_message
from lib.projection.settings import (
    KEPT_NEIGHBOURS,
    MIN_POINTS,
    ClusterMethod,
    ClusterSettings,
    Method,
    ProjectionSettings,
)
from lib.projection.weights import neighbour_weights, weighted_means
from lib.vectors.distance import Distance, FloatArray

Report = Callable[[PhaseShare], None]
"""A function of this process, which has no event loop."""
Result = tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]

PCA_NEIGHBOURS_ROWS = 20_000
"""PCA is the quick picture: of more rows it does not look for neighbours."""
_ROUNDING = 1e-6
_VERSIONS = ("umap-learn", "numba", "scikit-learn", "scipy", "numpy")


@dataclass(frozen=True)
class Task:
    """One task with all that it needs."""

    header: dict[str, Any]
    vectors: FloatArray
    """float32 (n, d)."""
    received: npt.NDArray[np.bool_]
    """bool (n,): which of the vectors came."""
    arrays: dict[str, npt.NDArray[Any]]
    """The other arrays, by name."""

    @property
    def distance(self) -> Distance:
        return Distance(self.header["distance"])


def main() -> None:
    limit_memory(int(sys.argv[1]))
    orders, answers = take_pipes()

    def report(progress: PhaseShare) -> None:
        write_message(answers, asdict(progress))

    try:
        task = receive(orders)
        threading.Thread(target=_end_with, args=(orders,), daemon=True).start()
        header, arrays = _TASKS[task.header["task"]](task, report)
        write_message(answers, {"result": header}, arrays)
    except MemoryError:
        write_message(answers, {"out_of_memory": True})
    except VecscopeError as exc:
        said = {"message": exc.message, "hint": exc.hint, "field": exc.field}
        write_message(answers, {"failed": said})
    except Exception:  # noqa: BLE001 - what it was goes to the parent's log
        traceback.print_exc()
        os._exit(1)
    # Threads of libraries, and ours that waits for the parent, need not be waited for.
    os._exit(0)


def receive(pipe: BinaryIO) -> Task:
    """The task, and all that belongs to it."""
    first = read_message(pipe)
    if first is None:
        os._exit(1)
    header, arrays = first
    vectors = np.zeros((header["rows"], header["dimensions"]), dtype=np.float32)
    received = np.zeros(len(vectors), dtype=bool)
    while (message := read_message(pipe)) is not None:
        kind, block = message
        if kind.get("end"):
            return Task(header, vectors, received, arrays)
        vectors[block["places"]] = block["vectors"]
        received[block["places"]] = True
    os._exit(1)


def _end_with(pipe: BinaryIO) -> None:
    pipe.read(1)
    os._exit(1)


# --- the tasks ----------------------------------------------------------------------------------


def lay_out(task: Task, report: Report) -> Result:
    """Coordinates, neighbours and fidelity of the rows that have a distance, and their clusters."""
    settings = ProjectionSettings.from_json(task.header["settings"])
    usable = task.received & usable_rows(task.vectors, task.distance)
    vectors = task.vectors if usable.all() else task.vectors[usable]
    _check(vectors, int(np.count_nonzero(task.received)), task.distance)
    if settings.method is Method.UMAP:  # meanwhile, on the other core
        threading.Thread(target=import_umap, daemon=True).start()
    graph = _neighbours(task, settings, usable, vectors, report)
    report(PhaseShare("layout", 0.0))
    coordinates = pca_layout(vectors, settings.dimensions, task.distance)
    if settings.method is Method.UMAP:
        assert graph is not None
        coordinates = umap_layout(
            graph,
            coordinates,
            settings,
            lambda done, total: report(PhaseShare("layout", done / total)),
        )
    report(PhaseShare("fidelity", 0.0))
    measured, points, shares = fidelity(
        vectors, coordinates, task.distance, k=KEPT_NEIGHBOURS, seed=settings.seed
    )
    arrays: dict[str, npt.NDArray[Any]] = {"usable": usable, "coordinates": coordinates}
    if graph is None:
        local = np.full(len(vectors), np.nan, dtype=np.float32)
        local[points] = shares
    else:
        stored = graph.first(min(KEPT_NEIGHBOURS, graph.k))
        local = local_fidelity(stored, coordinates)
        arrays |= {"indices": stored.indices, "distances": stored.distances}
    report(PhaseShare("clusters", 0.0))
    clusters = ClusterSettings.from_json(task.header["clusters"])
    arrays["labels"] = density_clusters(coordinates, clusters)
    arrays["local"] = local
    versions = {name: version(name) for name in _VERSIONS}
    return {"fidelity": measured.to_json(), "versions": versions}, arrays


def _check(vectors: FloatArray, received: int, distance: Distance) -> None:
    if len(vectors) < MIN_POINTS:
        without = received - len(vectors)
        raise InvalidInput(
            f"Only {len(vectors):,} documents can be laid out: {without:,} of {received:,} have an "
            "embedding that is all zeros, which has no direction.",
            hint=f"A map needs at least {MIN_POINTS}.",
        )
    is_cosine = distance is Distance.COSINE
    rows = unit(vectors) if is_cosine else vectors
    if np.ptp(rows, axis=0).max() <= _ROUNDING * np.abs(rows[0]).max():
        what = "have the same direction" if is_cosine else "are equal"
        raise InvalidInput(
            f"All {len(vectors):,} embeddings {what}, so there is nothing to lay out.",
            hint="Check what they were made from.",
        )


def _neighbours(
    task: Task,
    settings: ProjectionSettings,
    usable: npt.NDArray[np.bool_],
    vectors: FloatArray,
    report: Report,
) -> NeighbourGraph | None:
    """As many neighbours as layout and fidelity need: an index's where they came with the task,
    exact ones otherwise; None for PCA of many rows."""
    if "indices" in task.arrays:
        return subgraph(NeighbourGraph(task.arrays["indices"], task.arrays["distances"]), usable)
    if settings.method is Method.PCA and len(vectors) > PCA_NEIGHBOURS_ROWS:
        return None
    report(PhaseShare("neighbours", 0.0))
    k = KEPT_NEIGHBOURS
    if settings.method is Method.UMAP:
        k = max(k, settings.n_neighbors - 1)
    return all_neighbours(
        vectors, k, task.distance, lambda share: report(PhaseShare("neighbours", share))
    )


def place(task: Task, report: Report) -> Result:
    """Coordinates and clusters for the rows from ``map_rows`` on, by their nearest ones among those
    before."""
    map_rows = task.header["map_rows"]
    usable = task.received & usable_rows(task.vectors, task.distance)
    on_map = np.flatnonzero(usable[:map_rows])
    new = map_rows + np.flatnonzero(usable[map_rows:])
    if len(on_map) < MIN_POINTS:
        raise InvalidInput(
            f"Only {len(on_map):,} documents of the map are still in the collection.",
            hint="Build the map anew.",
        )
    if not len(new):
        raise InvalidInput(
            "None of the missing documents can be placed: they are gone, or their embeddings are "
            "all zeros."
        )
    graph = _nearest_on_map(task, new, on_map, report)
    coordinates = task.arrays["coordinates"][on_map]
    labels = task.arrays["labels"][on_map]
    placed = weighted_means(coordinates[graph.indices], graph.distances)
    return {}, {
        "usable": usable[map_rows:],
        "coordinates": placed,
        "local": preserved_share(graph.indices, _nearest_points(coordinates, placed, graph.k)),
        "labels": majority_label(labels[graph.indices], neighbour_weights(graph.distances)),
        "indices": on_map[graph.indices].astype(np.int32),
        "distances": graph.distances,
    }


def _nearest_on_map(
    task: Task, new: npt.NDArray[np.intp], on_map: npt.NDArray[np.intp], report: Report
) -> NeighbourGraph:
    """Of each new row its nearest rows among those on the map, as indices into ``on_map``."""
    report(PhaseShare("neighbours", 0.0))
    known = task.vectors[on_map]
    blocks = []
    for first in range(0, len(new), 8192):
        queries = task.vectors[new[first : first + 8192]]
        blocks.append(nearest(queries, known, KEPT_NEIGHBOURS, task.distance))
        report(PhaseShare("neighbours", min(first + 8192, len(new)) / len(new)))
    return NeighbourGraph(
        np.concatenate([block.indices for block in blocks]),
        np.concatenate([block.distances for block in blocks]),
    )


def _nearest_points(coordinates: FloatArray, positions: FloatArray, k: int) -> IntArray:
    """(p, k): of each position the k nearest points, as indices into ``coordinates``."""
    from scipy.spatial import cKDTree

    _, indices = cKDTree(coordinates).query(positions, k=k)
    return np.asarray(indices, dtype=np.int32).reshape(len(positions), k)


def cluster(task: Task, report: Report) -> Result:
    """Labels of the points: density clusters of the coordinates, or k-means of the vectors."""
    report(PhaseShare("clusters", 0.0))
    settings = ClusterSettings.from_json(task.header["clusters"])
    coordinates = task.arrays["coordinates"]
    if settings.method is ClusterMethod.HDBSCAN:
        return {}, {"labels": density_clusters(coordinates, settings)}
    usable = task.received & usable_rows(task.vectors, task.distance)
    if np.count_nonzero(usable) < settings.count:
        raise InvalidInput(
            f"{np.count_nonzero(usable):,} documents of the map are still in the collection, fewer "
            f"than the {settings.count:,} clusters that were asked for.",
            field="count",
        )
    labels = np.full(len(coordinates), NO_CLUSTER, dtype=np.int32)
    labels[usable] = kmeans_clusters(task.vectors[usable], task.distance, settings)
    return {}, {"labels": labels}


_TASKS: dict[str, Callable[[Task, Report], Result]] = {
    "layout": lay_out,
    "place": place,
    "clusters": cluster,
}


if __name__ == "__main__":
    main()
