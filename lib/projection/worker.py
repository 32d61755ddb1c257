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
from lib.projection.fidelity import fidelity, kept_share, local_fidelity
from lib.projection.grouping import NO_CLUSTER, crowds, groups, voted
from lib.projection.layout import import_umap, pca_layout, umap_layout
from lib.projection.neighbours import Graph, all_neighbours, nearest, only, unit, usable_rows
from lib.projection.protocol import PhaseShare, read_message, write_message
from lib.projection.settings import (
    FEWEST,
    KEPT_NEIGHBOURS,
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
    """vectors: float32 (n, d). received: bool (n,), which of them came. arrays: what else did."""

    header: dict[str, Any]
    vectors: FloatArray
    received: npt.NDArray[np.bool_]
    arrays: dict[str, npt.NDArray[Any]]

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
        kept = graph.first(min(KEPT_NEIGHBOURS, graph.k))
        local = local_fidelity(kept, coordinates)
        arrays |= {"indices": kept.indices, "distances": kept.distances}
    report(PhaseShare("clusters", 0.0))
    clusters = ClusterSettings.from_json(task.header["clusters"])
    arrays["labels"] = crowds(coordinates, clusters)
    arrays["local"] = local
    versions = {name: version(name) for name in _VERSIONS}
    return {"fidelity": measured.to_json(), "versions": versions}, arrays


def _check(vectors: FloatArray, received: int, distance: Distance) -> None:
    if len(vectors) < FEWEST:
        without = received - len(vectors)
        raise InvalidInput(
            f"Only {len(vectors):,} documents can be laid out: {without:,} of {received:,} have an "
            "embedding that is all zeros, which has no direction.",
            hint=f"A map needs at least {FEWEST}.",
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
) -> Graph | None:
    """As many as the layout and the fidelity ask for; those of an index where they came along."""
    if "indices" in task.arrays:
        return only(Graph(task.arrays["indices"], task.arrays["distances"]), usable)
    if settings.method is Method.PCA and len(vectors) > PCA_NEIGHBOURS_ROWS:
        return None
    report(PhaseShare("neighbours", 0.0))
    wanted = KEPT_NEIGHBOURS
    if settings.method is Method.UMAP:
        wanted = max(wanted, settings.n_neighbors - 1)
    return all_neighbours(
        vectors, wanted, task.distance, lambda share: report(PhaseShare("neighbours", share))
    )


def place(task: Task, report: Report) -> Result:
    """Coordinates and clusters for the rows from ``map_rows`` on, by their nearest ones among those
    before."""
    map_rows, k = task.header["map_rows"], KEPT_NEIGHBOURS
    usable = task.received & usable_rows(task.vectors, task.distance)
    on_map = np.flatnonzero(usable[:map_rows])
    new = np.flatnonzero(usable[map_rows:])
    if len(on_map) < FEWEST:
        raise InvalidInput(
            f"Only {len(on_map):,} documents of the map are still in the collection.",
            hint="Build the map anew.",
        )
    if not len(new):
        raise InvalidInput(
            "None of the documents that are missing has a place: they are gone, or their "
            "embeddings are all zeros."
        )
    report(PhaseShare("neighbours", 0.0))
    known = task.vectors[on_map]
    parts = []
    for first in range(0, len(new), 8192):
        asked = task.vectors[map_rows + new[first : first + 8192]]
        parts.append(nearest(asked, known, k, task.distance))
        report(PhaseShare("neighbours", min(first + 8192, len(new)) / len(new)))
    near = Graph(
        np.concatenate([part.indices for part in parts]),
        np.concatenate([part.distances for part in parts]),
    )
    coordinates = task.arrays["coordinates"]
    drawn_at = coordinates[on_map]
    placed = weighted_means(drawn_at[near.indices], near.distances)
    from scipy.spatial import cKDTree

    _, drawn = cKDTree(drawn_at).query(placed, k=near.k)
    drawn = np.asarray(drawn, dtype=np.int32).reshape(near.indices.shape)
    return {}, {
        "usable": usable[map_rows:],
        "coordinates": placed,
        "local": kept_share(near.indices, drawn),
        "labels": voted(
            task.arrays["labels"][on_map][near.indices], neighbour_weights(near.distances)
        ),
        "indices": on_map[near.indices].astype(np.int32),
        "distances": near.distances,
    }


def find_clusters(task: Task, report: Report) -> Result:
    report(PhaseShare("clusters", 0.0))
    settings = ClusterSettings.from_json(task.header["clusters"])
    coordinates = task.arrays["coordinates"]
    if settings.method is ClusterMethod.HDBSCAN:
        return {}, {"labels": crowds(coordinates, settings)}
    usable = task.received & usable_rows(task.vectors, task.distance)
    if np.count_nonzero(usable) < settings.count:
        raise InvalidInput(
            f"{np.count_nonzero(usable):,} documents of the map are still in the collection, fewer "
            f"than the {settings.count:,} groups that were asked for.",
            field="count",
        )
    labels = np.full(len(coordinates), NO_CLUSTER, dtype=np.int32)
    labels[usable] = groups(task.vectors[usable], task.distance, settings)
    return {}, {"labels": labels}


_TASKS: dict[str, Callable[[Task, Report], Result]] = {
    "layout": lay_out,
    "place": place,
    "clusters": find_clusters,
}


if __name__ == "__main__":
    main()
