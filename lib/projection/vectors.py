"""Reading a collection's vectors for the worker, each with its row index in the task."""

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
    """The ids as an object array (n,), which numpy would otherwise try to convert."""
    array = np.empty(len(ids), dtype=object)
    array[:] = ids
    return array


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
    """The vectors of these documents in blocks, each vector with its index in ``ids``; those of
    deleted documents do not come. The connection is released with the last block, long before the
    computing ends."""
    index_of = {id_: index for index, id_ in enumerate(ids.tolist())}
    read = 0
    await on_progress(PhaseShare("reading", 0.0))
    async with (
        database.session() as db,
        aclosing(stream_vectors(db, collection.table)) as blocks,
    ):
        async for block_ids, vectors in blocks:
            requested = [row for row, id_ in enumerate(block_ids) if id_ in index_of]
            if not requested:
                continue
            indices = np.array([index_of[block_ids[row]] for row in requested], dtype=np.int64)
            read += len(indices)
            yield indices, vectors[requested]
            await on_progress(PhaseShare("reading", read / len(ids)))


async def count_embedded(db: AsyncSession, collection: Collection) -> int:
    """How many of the collection's documents have an embedding."""
    table = collection.table
    count = select(func.count(table.column(table.embedding))).select_from(table.rows)
    return int(await db.scalar(count) or 0)


async def lock_collection(db: AsyncSession, collection: Collection) -> int:
    """The collection's revision; until the transaction ends nobody can drop the collection.

    Raises NotFound where it was dropped, or where its vectors are another model's now.
    """
    record = CollectionRecord
    revision = await db.scalar(
        select(record.revision)
        .where(record.id == collection.id, record.model == collection.model)
        .with_for_update(read=True, key_share=True)
    )
    if revision is None:
        raise collection_gone(collection)
    return revision


async def is_collection_gone(database: Database, collection: Collection) -> bool:
    """Whether it was dropped, or has another model's vectors now."""
    record = CollectionRecord
    async with database.session() as db:
        id_ = await db.scalar(
            select(record.id).where(record.id == collection.id, record.model == collection.model)
        )
    return id_ is None


def collection_gone(collection: Collection) -> NotFound:
    return NotFound(
        f"“{collection.name}” was dropped or re-embedded while its map was being worked on."
    )
