"""Builds and drops an index, and tells how far a build is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.schema import CreateIndex

from lib.errors import (
    AlreadyExists,
    NotFound,
    from_exception,
)
from lib.vectors.catalog import list_indexes
from lib.vectors.ddl import check_buildable, drop_statement, index_name, make_index
from lib.vectors.index_methods import IndexSpec, index_methods
from lib.vectors.statements import available_statement
from lib.vectors.table import VectorTable
from lib.vectors.tuning import (
    BuildSettings,
    apply_settings,
)


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """pg_stat_progress_create_index, in words.

    done, total: rows or pages of 8 kB. share: 0–1 of this phase, None where unknown. rows_done: in
    this phase, 0 where it does not say. notices: what the server has said so far.
    """

    phase: str
    done: int
    total: int
    rows_done: int = 0
    notices: tuple[str, ...] = ()

    @property
    def share(self) -> float | None:
        return min(1.0, self.done / self.total) if self.total else None


@dataclass(frozen=True, slots=True)
class BuiltIndex:
    """What a build left: its notices hold pgvector's word when an HNSW graph outgrew memory."""

    name: str
    seconds: float
    index_bytes: int
    notices: tuple[str, ...]


_PROGRESS = text(
    """
    SELECT phase, tuples_done, tuples_total, blocks_done, blocks_total
    FROM pg_stat_progress_create_index WHERE pid = :pid
    """
)


def _phase_label(server_name: str) -> str:
    """PostgreSQL's own name where no index method has a label for it, as in a CONCURRENTLY build.

    pgvector names a phase alike in all of its methods.
    """
    for method in index_methods():
        for phase in method.phases:
            if phase.server_name == server_name:
                return phase.label
    return "Preparing" if server_name == "initializing" else server_name.capitalize()


async def build_index(
    engine: AsyncEngine,
    table: VectorTable,
    spec: IndexSpec,
    *,
    name: str | None = None,
    settings: BuildSettings | None = None,
    concurrently: bool = False,
    on_progress: Callable[[BuildProgress], Awaitable[None]] | None = None,
    poll_seconds: float = 0.5,
) -> BuiltIndex:
    """Builds the index and reports progress; cancelling the task cancels it on the server.

    A broken CONCURRENTLY build leaves an invalid index behind, which is dropped here.
    Raises IndexRefused, AlreadyExists, and what the server says.
    """
    name = name or index_name(table, spec)
    create = CreateIndex(make_index(table, spec, name, concurrently=concurrently))
    wanted = (settings or BuildSettings()).server_settings()
    notices: list[str] = []
    async with _autocommit(engine) as connection:
        await _check_free(connection, table, name)
        check_buildable(table, spec, await _count_usable(connection, table, spec))
        async with _session_settings(connection, wanted), _notices(connection, notices):
            pid = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
            started = time.perf_counter()

            async def tell(now: BuildProgress) -> None:
                if on_progress is not None:
                    await on_progress(replace(now, notices=tuple(notices)))

            building = asyncio.ensure_future(connection.execute(create))
            try:
                await _watch(engine, pid, building, tell, poll_seconds)
            except BaseException as exc:
                # Cancelling twice would interrupt psycopg while it cancels on the server, and
                # the server would build on.
                if not building.cancelling():
                    building.cancel()
                await asyncio.gather(building, return_exceptions=True)
                # An index of that name that was there before is not ours to drop.
                if not isinstance(from_exception(exc), AlreadyExists):
                    await asyncio.shield(_drop_broken(engine, table, name))
                raise
            seconds = time.perf_counter() - started
        built = next(i for i in await list_indexes(connection, table) if i.name == name)
    return BuiltIndex(name, seconds, built.size_bytes, tuple(notices))


async def _watch(
    engine: AsyncEngine,
    pid: int,
    building: asyncio.Future[Any],
    on_progress: Callable[[BuildProgress], Awaitable[None]],
    poll_seconds: float,
) -> None:
    """Waits for the build, and says from time to time how far it is. Raises what it raises."""
    while not (await asyncio.wait({building}, timeout=poll_seconds))[0]:
        if now := await build_progress(engine, pid):
            await on_progress(now)
    await building


@asynccontextmanager
async def _autocommit(engine: AsyncEngine) -> AsyncGenerator[AsyncConnection]:
    """A connection whose statements are transactions of their own, as CONCURRENTLY asks for;
    driver errors come out as VecscopeError."""
    try:
        async with engine.connect() as plain:
            yield await plain.execution_options(isolation_level="AUTOCOMMIT")
    except Exception as exc:
        known = from_exception(exc)
        if known is None or known is exc:
            raise
        raise known from exc


@asynccontextmanager
async def _session_settings(
    connection: AsyncConnection, settings: dict[str, str]
) -> AsyncGenerator[None]:
    """Settings for the statements inside; the connection goes back to the pool without them."""
    await apply_settings(connection, settings, for_session=True)
    try:
        yield
    finally:
        if not connection.invalidated:  # that one is closed, not used again
            for key in settings:
                await connection.exec_driver_sql(f"RESET {key}")


@asynccontextmanager
async def _notices(connection: AsyncConnection, notices: list[str]) -> AsyncGenerator[None]:
    """Collects what the server says beside the results of the statements inside."""

    def note(diagnostic: Any) -> None:
        notices.append(str(diagnostic.message_primary))

    driver: Any = (await connection.get_raw_connection()).driver_connection
    driver.add_notice_handler(note)
    try:
        yield
    finally:
        driver.remove_notice_handler(note)


async def _check_free(connection: AsyncConnection, table: VectorTable, name: str) -> None:
    """Before CREATE INDEX CONCURRENTLY would find out: a second one waits for the first, which
    waits for the second's snapshot, and PostgreSQL ends one of them for the deadlock."""
    for found in await list_indexes(connection, table):
        if found.name == name:
            raise AlreadyExists(
                f"{table.qualified_name} has an index called {name} already"
                + ("." if found.valid else ", and it is not valid: unfinished or broken."),
                hint="Drop it first, or take another name.",
            )


async def _count_usable(connection: AsyncConnection, table: VectorTable, spec: IndexSpec) -> int:
    """How many rows an index can learn from, counted no further than it needs."""
    counted = available_statement(table, spec.rows_needed)
    return int((await connection.execute(counted)).scalar_one())


async def build_progress(engine: AsyncEngine, pid: int) -> BuildProgress | None:
    """How far the build in that server process is, None where none runs."""
    async with engine.connect() as connection:
        row = (await connection.execute(_PROGRESS, {"pid": pid})).first()
    if row is None:
        return None
    by_tuples = bool(row.tuples_total)
    return BuildProgress(
        phase=_phase_label(row.phase),
        done=row.tuples_done if by_tuples else row.blocks_done,
        total=row.tuples_total if by_tuples else row.blocks_total,
        rows_done=row.tuples_done or 0,
    )


async def _drop_broken(engine: AsyncEngine, table: VectorTable, name: str) -> None:
    """Removes what an interrupted CONCURRENTLY build left, never a valid index."""
    async with _autocommit(engine) as connection:
        for found in await list_indexes(connection, table):
            if found.name == name and not found.valid:
                await connection.execute(drop_statement(table, name))


async def drop_index(engine: AsyncEngine, table: VectorTable, name: str) -> None:
    """Raises NotFound where the table has no approximate index of that name."""
    async with _autocommit(engine) as connection:
        if name not in {found.name for found in await list_indexes(connection, table)}:
            raise NotFound(f"{table.qualified_name} has no vector index called {name}.")
        await connection.execute(drop_statement(table, name))
