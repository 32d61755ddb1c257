"""Export of a map to a file, CSV or Parquet: one row for each point."""

from __future__ import annotations

import csv
import io
import math
import secrets
from enum import StrEnum
from pathlib import Path
from typing import Any

from lib.errors import InvalidInput, VecscopeError, from_exception
from lib.projection.document_details import DocumentDetails
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


def map_columns(projection: Projection, details: DocumentDetails) -> dict[str, list[Any]]:
    """Column → its values: id, title, category, x, y (and z), placed, local_fidelity, cluster and
    cluster_name; None where there is none. details: of the projection's documents."""
    labels = projection.clusters.labels.tolist()
    names = projection.clusters.names
    shares = projection.local_fidelity.tolist()
    return {
        "id": [str(id_) for id_ in projection.ids.tolist()],
        "title": list(details.titles),
        "category": list(details.categories),
        **{
            axis: column.tolist()
            for axis, column in zip(AXES, projection.coordinates.T, strict=False)
        },
        "placed": projection.placed.tolist(),
        "local_fidelity": [None if math.isnan(share) else share for share in shares],
        "cluster": [None if label < 0 else label for label in labels],
        "cluster_name": [None if label < 0 else names[label] for label in labels],
    }


def map_csv(projection: Projection, details: DocumentDetails) -> bytes:
    """:func:`map_columns` as UTF-8 with a byte-order mark, which tells Excel; a text that a
    spreadsheet would take for a formula has an apostrophe before it."""
    columns = map_columns(projection, details)
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow([harmless(value) for value in row])
    return stream.getvalue().encode("utf-8-sig", "replace")


def map_parquet(projection: Projection, details: DocumentDetails) -> bytes:
    """:func:`map_columns` as Parquet; coordinates are float32, as they were computed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {
        **dict.fromkeys(("id", "title", "category", "cluster_name"), pa.string()),
        **dict.fromkeys((*AXES, "local_fidelity"), pa.float32()),
        "placed": pa.bool_(),
        "cluster": pa.int32(),
    }
    columns = map_columns(projection, details)
    table = pa.table({name: pa.array(values, types[name]) for name, values in columns.items()})
    stream = io.BytesIO()
    pq.write_table(table, stream, compression="zstd")
    return stream.getvalue()


def write_map(projection: Projection, details: DocumentDetails, path: Path) -> int:
    """Writes the format that the ending of ``path`` says, and returns the number of bytes. The
    file is written completely or not at all.

    Raises InvalidInput for another ending, VecscopeError where it cannot be written.
    """
    match map_format_of(path):
        case MapFormat.CSV:
            content = map_csv(projection, details)
        case MapFormat.PARQUET:
            content = map_parquet(projection, details)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as exc:
        temporary.unlink(missing_ok=True)
        known = from_exception(exc)
        raise known or VecscopeError(
            f"{path} cannot be written: {exc.strerror}.", hint="Choose another path."
        ) from exc
    return len(content)
