"""What a measurement depends on besides the index: it goes with every experiment."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import func, literal_column, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from lib.store.collections import Collection
from lib.vectors.distance import Distance, Storage
from lib.vectors.tuning import pgvector_version

SERVER_SETTINGS = (
    "shared_buffers",
    "work_mem",
    "maintenance_work_mem",
    "effective_cache_size",
    "max_parallel_workers_per_gather",
    "max_parallel_maintenance_workers",
    "jit",
    "random_page_cost",
    "effective_io_concurrency",
    "track_io_timing",
)


@dataclass(frozen=True)
class Environment:
    """What an experiment was measured on: server, machine and collection."""

    postgres: str
    """Such as "18.4"."""

    pgvector: str
    """Such as "0.8.5"."""

    settings: Mapping[str, str]
    """Those of SERVER_SETTINGS that the server has, as it shows them."""

    cpus: int
    """Of this machine, which is the server's only where they are the same."""

    machine: str

    python: str

    local_server: bool
    """Whether it is reached without a network."""

    rows: int
    """With an embedding."""

    dimensions: int

    distance: Distance

    storage: Storage

    load_average: float | None
    """Of this machine over a minute; None where there is none."""


async def find_environment(db: AsyncSession, collection: Collection) -> Environment:
    """Of now: take one at the start and, for the load, :func:`load_average` at the end."""
    table = collection.table
    rows = await db.scalar(
        select(func.count())
        .select_from(table.rows)
        .where(table.column(table.embedding).is_not(None))
    )
    found = await db.execute(
        text("SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY(:names)"),
        {"names": list(SERVER_SETTINGS)},
    )
    settings: dict[str, str] = {row.name: row[1] for row in found}
    version, local = (
        await db.execute(
            select(
                func.current_setting("server_version"),
                literal_column(
                    "inet_server_addr() IS NULL OR inet_server_addr() = inet_client_addr()"
                ),
            )
        )
    ).one()
    return Environment(
        postgres=version.split(" ")[0],
        pgvector=".".join(map(str, await pgvector_version(db))),
        settings={name: settings[name] for name in SERVER_SETTINGS if name in settings},
        cpus=os.cpu_count() or 1,
        machine=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        local_server=bool(local),
        rows=int(rows or 0),
        dimensions=collection.dimensions,
        distance=collection.distance,
        storage=collection.storage,
        load_average=load_average(),
    )


def load_average() -> float | None:
    """Of this machine, over the last minute; None on Windows, which has none."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None
