"""Search by example: more like these documents, this text or this vector, and less like those."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Text, bindparam, cast, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from lib.embedding.service import EmbeddingService, Role, create_service
from lib.embedding.tokens import counter_for
from lib.errors import InvalidInput, InvalidVector, NotFound
from lib.settings import Settings
from lib.store.collections import Collection
from lib.store.database import Database
from lib.vectors.binary import binary_expression, decode_vector
from lib.vectors.distance import FloatArray, check_embedding
from lib.vectors.statements import sendable

UNLIKE_WEIGHT = 0.5
MOST_DOCUMENTS = 1000
MOST_CHARACTERS = 1_000_000
"""Of a pasted text; a longer one is a document, to be loaded."""


@dataclass(frozen=True, slots=True)
class Example:
    """What the answers are to be like: documents by their id, a text of any length, a vector, or
    several of these. unlike: documents to be away from.

    Raises InvalidInput where there is nothing to be like.
    """

    like: tuple[uuid.UUID, ...] = ()
    unlike: tuple[uuid.UUID, ...] = ()
    text: str = ""
    vector: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not self.like and not self.text.strip() and self.vector is None:
            raise InvalidInput(
                "There is nothing to be like.",
                hint="Give a document, a text or a vector.",
                field="like",
            )
        if len(self.documents) > MOST_DOCUMENTS:
            raise InvalidInput(
                f"{len(self.documents):,} documents are too many for an example; "
                f"{MOST_DOCUMENTS:,} is the most.",
                field="like",
            )
        if len(self.text) > MOST_CHARACTERS:
            raise InvalidInput(
                f"The text has {len(self.text):,} characters; {MOST_CHARACTERS:,} is the most.",
                hint="Load it as a document, then ask for more like that.",
                field="text",
            )

    @property
    def documents(self) -> tuple[uuid.UUID, ...]:
        """Those that it is made of, and that are no answers themselves."""
        return tuple(dict.fromkeys((*self.like, *self.unlike)))

    @classmethod
    def parse(
        cls,
        collection: Collection,
        like: tuple[uuid.UUID, ...],
        unlike: tuple[uuid.UUID, ...],
        text: str,
        vector: str,
    ) -> Example:
        """vector: as it was typed, empty for none.

        Raises InvalidInput, InvalidVector, DimensionMismatch.
        """
        return cls(like, unlike, text, parse_vector(vector, collection) if vector else None)


def parse_vector(text: str, collection: Collection) -> tuple[float, ...]:
    """A vector as JSON, checked against the collection.

    Raises InvalidVector, DimensionMismatch.
    """
    try:
        numbers = json.loads(text, parse_constant=float)
    except (ValueError, RecursionError) as exc:
        place = f" at character {exc.pos + 1}" if isinstance(exc, json.JSONDecodeError) else ""
        raise InvalidVector(
            f"The vector is no JSON{place}.", hint="Write it as [0.1, -0.2, …]."
        ) from None
    if not isinstance(numbers, list):
        raise InvalidVector("The vector is no list.", hint="Write it as [0.1, -0.2, …].")
    for dimension, number in enumerate(numbers, start=1):
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise InvalidVector(f"Dimension {dimension} of the vector is no number.")
    return tuple(map(float, checked(numbers, collection)))


def checked(vector: Any, collection: Collection) -> FloatArray:
    """Raises InvalidVector, DimensionMismatch."""
    return check_embedding(
        vector,
        dimensions=collection.dimensions,
        distance=collection.distance,
        storage=collection.storage,
    )


async def find_ids(
    db: AsyncSession, collection: Collection, names: Sequence[str]
) -> tuple[uuid.UUID, ...]:
    """The documents that are meant: by id or by external id, which stands for all of its parts.

    Raises NotFound, naming the first that is not there.
    """
    table = collection.table
    row_id, external_id = table.column(table.id), table.column(str(table.external_id))
    found: list[uuid.UUID] = []
    for name in names:
        value = bindparam("name", sendable(name), type_=Text(), unique=True)
        same = or_(external_id == value, cast(row_id, Text) == value)
        order = table.column(str(table.part))
        ids = (await db.scalars(select(row_id).where(same).order_by(order))).all()
        if not ids:
            raise NotFound(
                f"“{collection.name}” has no document with the id “{name}”.", field="like"
            )
        found += ids
    return tuple(dict.fromkeys(found))


async def document_labels(
    db: AsyncSession, collection: Collection, ids: Sequence[uuid.UUID]
) -> dict[uuid.UUID, str]:
    """What to call documents; one that is gone is left out."""
    table = collection.table
    row_id = table.column(table.id)
    names = [table.column(name) for name in (table.title, table.external_id) if name is not None]
    rows = await db.execute(select(row_id, *names).where(row_id.in_(ids)))
    return {row[0]: next(filter(None, row[1:]), str(row[0])) for row in rows}


async def example_vector(
    database: Database, settings: Settings, collection: Collection, example: Example
) -> FloatArray:
    """The vector (d,) to search by.

    Of a single document or vector its own. Of several things (Rocchio 1971, "Relevance feedback in
    information retrieval", over unit vectors so that none counts more for its length):

        q = s · unit( mean(unit(p)) − 0.5 · mean(unit(n)) )

    p: the vectors to be like, n: those to be unlike (UNLIKE_WEIGHT), s: the mean length of the p,
    so that distances other than cosine keep their meaning. A text that is longer than the model
    takes counts as one p: the mean of its parts' vectors (:func:`text_vector`).

    Raises NotFound (a document is gone), InvalidInput (one has no embedding; the collection has no
    model for a text), InvalidVector (they cancel each other out), EmbeddingProblem.
    """
    async with database.session() as db:
        stored = await _stored_vectors(db, collection, example.documents)
    like = [stored[document] for document in example.like]
    if example.vector is not None:
        like.append(checked(example.vector, collection))
    if example.text.strip():
        service = create_service(collection.model, settings, collection.dimensions)
        like.append(await text_vector(service, example.text))
    unlike = [stored[document] for document in example.unlike]
    if len(like) == 1 and not unlike:
        return checked(like[0], collection)
    pull = _mean_direction(like)
    away = pull - UNLIKE_WEIGHT * _mean_direction(unlike) if unlike else pull
    length = float(np.linalg.norm(away))
    if length < 1e-6:
        raise InvalidVector(
            "What to be like and what to be unlike cancel each other out.",
            hint="Leave one of them away.",
        )
    mean_length = float(np.mean([np.linalg.norm(vector) for vector in like]))
    return checked(mean_length * away / length, collection)


def _mean_direction(vectors: Sequence[FloatArray]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The mean of the unit vectors, (d,) in float64; a zero vector has no direction and adds
    nothing."""
    stacked = np.stack(vectors).astype(np.float64)
    lengths = np.linalg.norm(stacked, axis=1, keepdims=True)
    return np.asarray((stacked / np.where(lengths == 0, 1, lengths)).mean(axis=0))


async def _stored_vectors(
    db: AsyncSession, collection: Collection, ids: Sequence[uuid.UUID]
) -> dict[uuid.UUID, FloatArray]:
    if not ids:
        return {}
    table = collection.table
    row_id = table.column(table.id)
    embedding = binary_expression(table.column(table.embedding), collection.storage)
    rows = await db.execute(select(row_id, embedding).where(row_id.in_(ids)))
    found = {row[0]: row[1] for row in rows}
    gone = [wanted for wanted in ids if wanted not in found]
    if gone:
        these = f"{len(gone):,} of the example's {len(ids):,} documents are"
        if len(ids) == 1:
            these = "The document of this example is"
        raise NotFound(
            f"{these} not in “{collection.name}” (any more): {', '.join(map(str, gone[:3]))}"
            f"{', …' if len(gone) > 3 else '.'}",
            hint="Leave out of the example what is gone, or ask by another one.",
            field="like",
        )
    for wanted in ids:
        if found[wanted] is None:
            raise InvalidInput(
                f"The document {wanted} has no embedding yet, so nothing can be like it.",
                hint="Embed it: python -m lib backfill.",
                field="like",
            )
    return {name: decode_vector(sent, collection.storage) for name, sent in found.items()}


# --- a text of any length -----------------------------------------------------------------------


async def text_vector(service: EmbeddingService, text: str) -> FloatArray:
    """The vector (d,) of a text as a document's: of one that the model takes whole its own, else
    the mean of its parts', each by how long it is.

    Raises InvalidInput, EmbeddingProblem.
    """
    parts = split_text(service, text)
    batch = await service.get_embeddings_batch(parts, Role.DOCUMENT)
    for problem in batch.problems.values():
        raise problem
    lengths = [len(part) for part in parts]
    mean = np.average(batch.vectors.astype(np.float64), axis=0, weights=lengths)
    return mean.astype(np.float32)


def split_text(service: EmbeddingService, text: str) -> list[str]:
    """Parts that the model takes whole, ending between words where there are any."""
    text = " ".join(sendable(text).split())
    most, counter = service.model.max_tokens, counter_for(service.model)
    if most is None:
        return [text]
    parts = []
    while text:
        part, was_cut = counter.cut(text, most)
        space = part.rfind(" ")
        if was_cut and space > len(part) // 2:
            part = part[:space]
        parts.append(part or text[:1])
        text = text[len(parts[-1]) :].lstrip()
    return parts
