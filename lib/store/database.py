"""Database: the one event-loop thread and the one async engine of a process."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import select
import sys
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import psycopg
import sqlalchemy
from psycopg.pq import TransactionStatus
from sqlalchemy import URL, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.pool import ConnectionPoolEntry, PoolResetState

from lib.errors import (
    DatabaseProblem,
    DatabaseUnreachable,
    StatementCancelled,
    from_exception,
)
from lib.store.url import connect_defaults

if TYPE_CHECKING:
    from lib.store.embedded import EmbeddedServer

T = TypeVar("T")
P = ParamSpec("P")

# How long a unit of work waits for a server that is just being restarted.
RECONNECT_SECONDS = 3.0
# A connection that was idle for longer is asked before use: a firewall may have forgotten it.
IDLE_SECONDS = 30.0
# How long close() waits for running work to end.
CLOSE_SECONDS = 15.0


class Database:
    """The border between sync callers and the async core.

    A daemon thread runs one event loop, which owns one engine: an engine's connections belong to
    the loop that made them, while Streamlit runs each script in a thread of its own.
    """

    def __init__(
        self,
        url: URL,
        *,
        pool_size: int = 8,
        max_overflow: int = 8,
        embedded: EmbeddedServer | None = None,
    ) -> None:
        """Does no I/O: the first connection is made by the first unit of work.

        embedded: the bundled server, where it is that one: started again where it is down, and
        released by close().
        """
        self.url = url
        self.engine: AsyncEngine = _make_engine(url, pool_size, max_overflow)
        self._sessions = async_sessionmaker(self.engine, expire_on_commit=False)
        self._embedded = embedded
        self._before_close: list[Callable[[], Awaitable[None]]] = []
        self._close_lock = threading.Lock()
        self._closed = False
        self._loop = _new_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="database", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    @property
    def data_folder(self) -> Path | None:
        """Of the bundled server; None of another one, whose disk cannot be seen from here."""
        return None if self._embedded is None else self._embedded.data

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Starts a coroutine on the loop; cancelling the future cancels it."""
        if self._closed:
            coroutine.close()
            raise DatabaseProblem("The database connection was closed.")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def run(self, coroutine: Coroutine[Any, Any, T], *, timeout_seconds: float | None = None) -> T:
        """Runs a coroutine on the loop and waits for it, from any thread but the loop's own.

        Where the waiting ends early (Ctrl-C, a time limit), the coroutine is cancelled, and with
        it the statement on the server, so that no connection stays behind.

        Raises what the coroutine raises, and StatementCancelled after ``timeout_seconds``.
        """
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise RuntimeError("Database.run() would wait for itself on the loop's own thread")
        future = self.submit(coroutine)
        try:
            return future.result(timeout_seconds)
        except concurrent.futures.TimeoutError as exc:
            if future.done():  # the coroutine's own TimeoutError
                raise
            future.cancel()
            raise StatementCancelled(
                f"The database did not answer within {timeout_seconds:g} s.", hint="Try again."
            ) from exc
        except BaseException:
            future.cancel()
            raise

    def query(
        self,
        work: Callable[Concatenate[AsyncSession, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Runs a function that takes a session first, as one unit of work, and waits for it."""

        async def unit() -> T:
            async with self.session() as session:
                return await work(session, *args, **kwargs)

        return self.run(unit())

    def session(self) -> AbstractAsyncContextManager[AsyncSession]:
        """One unit of work: commits at the end, rolls back on an error.

        A server that is being restarted is waited for (RECONNECT_SECONDS). Driver errors come out
        as VecscopeError.
        """
        return self._session()

    @asynccontextmanager
    async def _session(self) -> AsyncGenerator[AsyncSession]:
        session = self._sessions()
        try:
            try:
                await self._connect(session)
                yield session
                # Gives the connection back too. AsyncSession's own context manager would close in
                # a task of its own after that, which a search would feel.
                await session.commit()
            except BaseException:
                await asyncio.shield(session.close())
                raise
        except Exception as exc:
            known = from_exception(exc)
            if known is None or known is exc:
                raise
            raise known from exc

    async def _connect(self, session: AsyncSession) -> None:
        """Takes a connection now, since only a unit of work that has not begun can be repeated."""
        give_up = time.monotonic() + RECONNECT_SECONDS
        embedded = self._embedded
        while True:
            try:
                await session.connection()
            except sqlalchemy.exc.OperationalError as exc:
                if not isinstance(from_exception(exc), DatabaseUnreachable):
                    raise
                await session.rollback()
                if embedded is not None:  # down or recovering: ours to start, however long it takes
                    await asyncio.to_thread(embedded.ensure_running)
                    embedded = None
                    give_up = time.monotonic() + RECONNECT_SECONDS
                elif time.monotonic() > give_up:
                    raise
                else:
                    await asyncio.sleep(0.1)
            else:
                return

    def before_close(self, action: Callable[[], Awaitable[None]]) -> None:
        """Has something done on the loop before running work is cancelled and the pool closed."""
        self._before_close.append(action)

    def close(self) -> None:
        """Ends running work, the pool, the thread and the hold on the bundled server. Idempotent.

        Waits at most some seconds for work that does not end.
        """
        with self._close_lock:
            if self._closed:
                return
            self._closed = True
        atexit.unregister(self.close)
        try:
            with suppress(concurrent.futures.TimeoutError):
                asyncio.run_coroutine_threadsafe(self._wind_up(), self._loop).result(CLOSE_SECONDS)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5)
            if not self._thread.is_alive():
                self._loop.close()
            if self._embedded is not None:
                self._embedded.release()

    async def _wind_up(self) -> None:
        try:
            for action in self._before_close:
                await action()
        finally:
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.engine.dispose()


def _new_loop() -> asyncio.AbstractEventLoop:
    if sys.platform == "win32":  # psycopg cannot use the Proactor loop
        return asyncio.SelectorEventLoop()
    return asyncio.new_event_loop()


# ------------------------------------------------------------------ the engine


def _make_engine(url: URL, pool_size: int, max_overflow: int) -> AsyncEngine:
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=max_overflow,
        connect_args=connect_defaults(url),
        pool_reset_on_return=None,  # see roll_back
    )

    @event.listens_for(engine.sync_engine, "reset")
    def roll_back(
        connection: DBAPIConnection, record: ConnectionPoolEntry, state: PoolResetState
    ) -> None:
        """Where there is something to roll back: asking for it is not for nothing."""
        driver: Any = record.driver_connection
        is_idle = driver.pgconn.transaction_status == TransactionStatus.IDLE
        if not is_idle and not state.terminate_only:
            connection.rollback()

    @event.listens_for(engine.sync_engine, "connect")
    def set_constants(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
        # A generic plan may differ from the one that EXPLAIN showed for the same statement, and
        # then a certificate would lie (docs/decisions/006-every-plan-is-a-custom-plan.md).
        cursor = connection.cursor()
        cursor.execute("SET plan_cache_mode = force_custom_plan")
        cursor.close()
        connection.commit()

    @event.listens_for(engine.sync_engine, "checkin")
    def note_time(_connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
        record.info["idle_since"] = time.monotonic()

    @event.listens_for(engine.sync_engine, "checkout")
    def replace_stale(
        connection: DBAPIConnection, record: ConnectionPoolEntry, _proxy: object
    ) -> None:
        """Instead of SQLAlchemy's pre-ping, which costs a round trip on every checkout
        (docs/decisions/005-a-pooled-connection-is-looked-at-not-pinged.md)."""
        idle_seconds = time.monotonic() - record.info.get("idle_since", time.monotonic())
        driver: Any = record.driver_connection
        if not driver.closed and _is_quiet(driver.pgconn.socket) and idle_seconds < IDLE_SECONDS:
            return
        try:
            engine.sync_engine.dialect.do_ping(connection)
        except psycopg.Error as exc:  # all older connections go too; then a new one is made
            raise InvalidatePoolError from exc

    return engine


def _is_quiet(socket: int) -> bool:
    """Whether nothing was said on an idle connection.

    A server that ends a session says so, or closes the socket; both make it readable. There is
    nothing else to be said to an idle session that listens to no channel.
    """
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(socket, select.POLLIN)
        return not poll.poll(0)
    return not select.select([socket], [], [], 0)[0]
