"""What the worker is given of a collection: its vectors, each with its place."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from lib.errors import NotFound
from lib.progress import OnProgress
from lib.projection.process import Block
from lib.projection.protocol import PhaseShare
from lib.store.collections import Collection
from lib.store.database import Database
from lib.store.records import CollectionRecord
from lib.vectors.stream import stream_vectors


def id_array(ids: Sequence[Any]) -> npt.NDArray[np.object_]:
    found = np.empty(len(ids), dtype=object)
    found[:] = ids
    return found


def task_header(task: str, collection: Collection, rows: int) -> dict[str, Any]:
    return {
        "task": task,
        "rows": rows,
        "dimensions": collection.dimensions,
        "distance": collection.distance.value,
    }


async def read_vectors(
    database: Database,
    collection: Collection,
    ids: npt.NDArray[np.object_],
    on_progress: OnProgress[PhaseShare],
) -> AsyncGenerator[Block]:
    """The vectors of these documents, each with its place among ``ids``; those that are gone do
    not come. The connection is let go with the last of them, long before the computing ends."""
    place_of = {id_: place for place, id_ in enumerate(ids.tolist())}
    read = 0
    await on_progress(PhaseShare("reading", 0.0))
    async with (
        database.session() as db,
        aclosing(stream_vectors(db, collection.table)) as blocks,
    ):
        async for found, vectors in blocks:
            wanted = [(place_of[id_], row) for row, id_ in enumerate(found) if id_ in place_of]
            if not wanted:
                continue
            places, rows = np.array(wanted, dtype=np.int64).T
            read += len(places)
            yield places, vectors[rows]
            await on_progress(PhaseShare("reading", read / len(ids)))


async def count_embedded(db: AsyncSession, collection: Collection) -> int:
    """How many of the collection's documents have an embedding."""
    table = collection.table
    count = select(func.count(table.column(table.embedding))).select_from(table.rows)
    return int(await db.scalar(count) or 0)


async def hold(db: AsyncSession, collection: Collection) -> int:
    """The change mark; until the transaction ends nobody drops the collection.

    Raises NotFound where somebody did, or where its vectors are another model's now.
    """
    record = CollectionRecord
    mark = await db.scalar(
        select(record.change_mark)
        .where(record.id == collection.id, record.model == collection.model)
        .with_for_update(read=True, key_share=True)
    )
    if mark is None:
        raise gone(collection)
    return mark


async def is_gone(database: Database, collection: Collection) -> bool:
    record = CollectionRecord
    async with database.session() as db:
        found = await db.scalar(
            select(record.id).where(record.id == collection.id, record.model == collection.model)
        )
    return found is None


def gone(collection: Collection) -> NotFound:
    return NotFound(
        f"“{collection.name}” was dropped or embedded again while its map was being worked on."
    )
