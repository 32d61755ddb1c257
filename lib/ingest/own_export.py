"""The form that a collection is exported in, and how a reader knows it and reads it back.

One row a document, with just these columns. In JSON Lines the metadata is an object and the
embedding a list of numbers; in Parquet the metadata is JSON in a text, and the embedding a
fixed-size list of float32.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.errors import InvalidInput
from lib.ingest.columns import ColumnChoice, ColumnMapping
from lib.ingest.incoming import IncomingDocument

if TYPE_CHECKING:
    from lib.vectors.distance import FloatArray  # slow: it brings SQLAlchemy

COLUMNS = ("external_id", "part", "title", "content", "category", "metadata")
EMBEDDING = "embedding"

OWN_MAPPING = ColumnMapping(("content",), "title", "category", "external_id")
"""What a preview shows of it; ``part``, ``metadata`` and the embedding have no choice in it."""


def is_own_export(columns: Iterable[str], choice: ColumnChoice) -> bool:
    """Just our columns, in any order, with or without the embedding, and no other choice made for
    them than our own."""
    return set(columns) - {EMBEDDING} == set(COLUMNS) and all(
        chosen in (nothing, own)
        for chosen, nothing, own in (
            (choice.text, (), OWN_MAPPING.text),
            (choice.title, None, OWN_MAPPING.title),
            (choice.category, None, OWN_MAPPING.category),
            (choice.external_id, None, OWN_MAPPING.external_id),
        )
    )


class OwnRowMapper:
    """In place of :class:`~lib.ingest.columns.RowMapper`: takes every field as it is."""

    def document(self, row: Mapping[str, Any], _fallback_id: str = "") -> IncomingDocument:
        """Raises InvalidInput, saying which field cannot be used."""
        metadata = row.get("metadata")
        if isinstance(metadata, str):
            metadata = _parsed(metadata)
        return IncomingDocument(
            external_id=_text(row, "external_id"),
            part=_part(row.get("part")),
            title=None if row.get("title") is None else _text(row, "title"),
            content=_text(row, "content"),
            category=None if row.get("category") is None else _text(row, "category"),
            metadata=_mapping(metadata),
            embedding=_vector(row.get(EMBEDDING)),
        )


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise InvalidInput(f"The field {name} is not a text.", field=name)
    return value


def _part(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise InvalidInput("The field part is not a whole number from 0.", field="part")
    return value


def _parsed(metadata: str) -> Any:
    try:
        return json.loads(metadata)
    except (ValueError, RecursionError):
        raise InvalidInput("The field metadata is no JSON.", field="metadata") from None


def _mapping(metadata: Any) -> Mapping[str, Any]:
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise InvalidInput("The field metadata is not an object.", field="metadata")
    return metadata


def _vector(value: Any) -> FloatArray | None:
    if value is None:
        return None
    try:
        with np.errstate(over="ignore"):  # what is infinite is refused where it is to be stored
            vector = np.asarray(value, dtype=np.float32)
    except (TypeError, ValueError):
        vector = np.empty(0, dtype=np.float32)
    if vector.ndim != 1 or not vector.size:
        raise InvalidInput("The field embedding is not a list of numbers.", field=EMBEDDING)
    return vector
