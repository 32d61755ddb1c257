"""The production index of a managed collection: at most one approximate index, replaced only by
a valid one."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from lib.actors import LOCAL, Actor, writes
from lib.errors import NotFound
from lib.progress import Step
from lib.store.collections import Collection
from lib.store.database import Database
from lib.store.jobs import Job, JobContext, JobKind, Jobs
from lib.vectors.build import BuildProgress, build_index, drop_index
from lib.vectors.catalog import IndexDescription, choose_index, list_indexes
from lib.vectors.ddl import index_name
from lib.vectors.index_methods import IndexSpec
from lib.vectors.table import VectorTable
from lib.vectors.tuning import BuildSettings


async def find_index(db: AsyncSession, collection: Collection) -> IndexDescription | None:
    """The production index as it is now; None where every search is an exact scan."""
    return choose_index(await list_indexes(db, collection.table))


async def searched_table(db: AsyncSession, collection: Collection) -> VectorTable:
    """The collection's table, to be searched by what its production index holds."""
    index = await find_index(db, collection)
    return collection.table if index is None else index.searched_table(collection.table)


@writes("indexes.build")
async def start_index_build(
    jobs: Jobs,
    database: Database,
    collection: Collection,
    spec: IndexSpec,
    settings: BuildSettings | None = None,
    afterwards: Callable[[str], Awaitable[dict[str, Any]]] | None = None,
    *,
    table: VectorTable | None = None,
    actor: Actor = LOCAL,
) -> Job:
    """Builds the index as a job, without locking readers or writers out, then drops the others.

    afterwards: done with the index's name when it is there; what it returns joins the result.
    table: the collection's, with what the index is to hold; by default the column as it is.
    Raises Busy while another build runs on the collection.
    """
    table = table or collection.table

    async def work(context: JobContext) -> dict[str, Any]:
        async def on_progress(progress: BuildProgress) -> None:
            await context.report(Step(progress.share, progress.phase))

        name = await _free_name(database, table, spec)
        built = await build_index(
            database.engine,
            table,
            spec,
            name=name,
            settings=settings,
            concurrently=True,
            on_progress=on_progress,
        )
        replaced = await _drop_others(database, collection, keep=built.name)
        await context.report(Step(1.0, f"Built in {built.seconds:.1f} s"), force=True)
        more = {} if afterwards is None else await afterwards(built.name)
        return {**asdict(built), "kind": spec.method.name, "replaced": replaced, **more}

    stored = table.indexed_as.label
    return await jobs.start(
        JobKind.INDEX,
        f"Building {spec.method.label} on "
        + (f"{stored} of {collection.name}" if stored else collection.name),
        work,
        collection_id=collection.id,
        exclusive_key=f"index:{collection.id}",
        parameters={"kind": spec.method.name, **spec.options},
        actor=actor,
    )


@writes("indexes.drop")
async def drop_production_index(
    database: Database, collection: Collection, *, actor: Actor = LOCAL
) -> list[str]:
    """Drops all approximate indexes of the collection; searches are exact scans then.

    Raises NotFound where there is none.
    """
    dropped = await _drop_others(database, collection, keep=None)
    if not dropped:
        raise NotFound(f"“{collection.name}” has no vector index.")
    return dropped


async def _free_name(database: Database, table: VectorTable, spec: IndexSpec) -> str:
    """The usual name; another one where an index of just these options is to be built again."""
    name = index_name(table, spec)
    async with database.session() as db:
        taken = {index.name for index in await list_indexes(db, table)}
    return name if name not in taken else f"{name[:54]}_{uuid.uuid4().hex[:8]}"


async def _drop_others(
    database: Database, collection: Collection, *, keep: str | None
) -> list[str]:
    async with database.session() as db:
        names = [index.name for index in await list_indexes(db, collection.table)]
    dropped = [name for name in names if name != keep]
    for name in dropped:
        await drop_index(database.engine, collection.table, name)
    return dropped
