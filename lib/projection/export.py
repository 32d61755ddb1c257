"""A map as a file to take along: one line a point, as CSV or Parquet."""

from __future__ import annotations

import csv
import io
import secrets
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from lib.errors import InvalidInput, VecscopeError, from_exception
from lib.projection.facts import DocumentFacts
from lib.projection.repository import Projection
from lib.search.hits_export import harmless

AXES = ("x", "y", "z")


class MapFormat(StrEnum):
    CSV = "csv"
    PARQUET = "parquet"


def map_format_of(path: Path) -> MapFormat:
    """By the name's ending. Raises InvalidInput."""
    try:
        return MapFormat(path.suffix.lower().removeprefix("."))
    except ValueError:
        raise InvalidInput(
            f"“{path.name}” ends neither in .csv nor in .parquet.",
            hint="The ending says what is written: name.csv or name.parquet.",
            field="out",
        ) from None


def map_columns(
    projection: Projection, facts: DocumentFacts, places: Sequence[int] | None = None
) -> dict[str, list[Any]]:
    """Column → its values: id, title, category, x, y (and z), placed, local_fidelity, cluster and
    cluster_name; None where there is none. facts: of the projection's ids. places: of some points
    only, in that order."""
    chosen = np.arange(len(projection.ids)) if places is None else np.asarray(places, dtype=int)
    labels = projection.clusters.labels[chosen].tolist()
    names = projection.clusters.names
    local = projection.local_fidelity[chosen].tolist()
    drawn = projection.coordinates[chosen]
    return {
        "id": [str(id_) for id_ in projection.ids[chosen]],
        "title": [facts.titles[at] for at in chosen.tolist()],
        "category": [facts.categories[at] for at in chosen.tolist()],
        **{axis: column.tolist() for axis, column in zip(AXES, drawn.T, strict=False)},
        "placed": projection.placed[chosen].tolist(),
        "local_fidelity": [None if share != share else share for share in local],
        "cluster": [None if label < 0 else label for label in labels],
        "cluster_name": [None if label < 0 else names[label] for label in labels],
    }


def map_csv(
    projection: Projection, facts: DocumentFacts, places: Sequence[int] | None = None
) -> bytes:
    """:func:`map_columns` as UTF-8 with a byte-order mark, which tells Excel; a text that a
    spreadsheet would take for a formula has an apostrophe before it."""
    columns = map_columns(projection, facts, places)
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow([harmless(value) for value in row])
    return stream.getvalue().encode("utf-8-sig", "replace")


def map_parquet(
    projection: Projection, facts: DocumentFacts, places: Sequence[int] | None = None
) -> bytes:
    """:func:`map_columns` as Parquet; coordinates are float32, as they were computed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {
        **dict.fromkeys(("id", "title", "category", "cluster_name"), pa.string()),
        **dict.fromkeys((*AXES, "local_fidelity"), pa.float32()),
        "placed": pa.bool_(),
        "cluster": pa.int32(),
    }
    columns = map_columns(projection, facts, places)
    table = pa.table({name: pa.array(values, kinds[name]) for name, values in columns.items()})
    stream = io.BytesIO()
    pq.write_table(table, stream, compression="zstd")
    return stream.getvalue()


def write_map(projection: Projection, facts: DocumentFacts, path: Path) -> int:
    """As the ending of ``path`` says; the bytes written. A file is there whole or not at all.

    Raises InvalidInput for another ending, VecscopeError where it cannot be written.
    """
    write = {MapFormat.CSV: map_csv, MapFormat.PARQUET: map_parquet}[map_format_of(path)]
    content = write(projection, facts)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    except OSError as exc:
        beside.unlink(missing_ok=True)
        known = from_exception(exc)
        raise known or VecscopeError(
            f"{path} cannot be written: {exc.strerror}.", hint="Take another place."
        ) from exc
    return len(content)


def drawn_neighbours(projection: Projection, place: int) -> Iterator[dict[str, Any]]:
    """A point's true nearest neighbours, nearest first: ``place``, ``distance`` (the true one),
    ``drawn`` (on the map, in its own units) and ``rank_on_map``, 1 for the nearest there.

    Raises InvalidInput where the map has no neighbours.
    """
    graph = projection.graph()
    away = np.linalg.norm(projection.coordinates - projection.coordinates[place], axis=1)
    away[place] = np.inf
    for other, distance in zip(
        graph.indices[place].tolist(), graph.distances[place].tolist(), strict=True
    ):
        yield {
            "place": other,
            "distance": distance,
            "drawn": float(away[other]),
            "rank_on_map": 1 + int(np.count_nonzero(away < away[other])),
        }
