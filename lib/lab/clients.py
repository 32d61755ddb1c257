"""Clients of the server that are processes of their own, so that neither this process's event loop
nor Python's lock is in the way of what is measured (:mod:`lib.lab.worker`)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pickle import UnpicklingError, dump, load
from typing import Any

import psycopg
import structlog
from sqlalchemy import URL

from lib.errors import DatabaseProblem
from lib.lab import protocol
from lib.process import PASSED_ON, WorkerProcess
from lib.store.url import connect_arguments

# Where libpq and its libraries look for what they read besides; none of it is secret.
_CLIENT_FILES = ("PGSERVICEFILE", "PGSYSCONFDIR", "KRB5_CONFIG", "KRB5CCNAME", "OPENSSL_CONF")
_log = structlog.get_logger(__name__)


class Clients:
    """Worker processes that measure, each with a connection of its own. They all end with the first
    that dies, and where the waiting for them is cancelled."""

    def __init__(self, count: int) -> None:
        self._processes = [_Process() for _ in range(count)]
        self.backend_pids: tuple[int, ...] = ()
        """Of their sessions on the server, once they are connected."""

    def __len__(self) -> int:
        return len(self._processes)

    @property
    def pids(self) -> tuple[int, ...]:
        return tuple(process.pid for process in self._processes)

    async def ask(self, messages: Sequence[protocol.Message]) -> list[Any]:
        """The first client gets the first message, and so on; all at the same time.

        Raises what a client met, DatabaseProblem where one died.
        """
        asked = self._processes[: len(messages)]
        try:
            replies = await asyncio.to_thread(_ask_all, asked, messages)
        except BaseException:
            self.close()  # the thread that waits for them ends with them
            raise
        for reply in replies:
            if isinstance(reply, protocol.Failed):
                raise reply.error
        return replies

    async def tell_all(self, message: protocol.Message) -> None:
        """The same to each."""
        await self.ask([message] * len(self))

    def close(self) -> None:
        """Idempotent. Kills: the server ends a session whose client is gone."""
        for process in self._processes:
            process.kill()


@asynccontextmanager
async def open_clients(url: URL, count: int) -> AsyncGenerator[Clients]:
    """Starts them and connects. Raises DatabaseUnreachable, LoginFailed and the like."""
    clients = Clients(count)
    try:
        arguments = {**_libpq_defaults(), **connect_arguments(url)}
        connected = await clients.ask([protocol.Connect(arguments)] * count)
        clients.backend_pids = tuple(reply.backend_pid for reply in connected)
        yield clients
    finally:
        clients.close()


def _ask_all(processes: Sequence[_Process], messages: Sequence[protocol.Message]) -> list[Any]:
    for process, message in zip(processes, messages, strict=True):
        process.send(message)
    return [process.receive() for process in processes]


class _Process:
    def __init__(self) -> None:
        self._process = WorkerProcess("lib.lab.worker", passed_on=(*PASSED_ON, *_CLIENT_FILES))
        self._killed = False

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, message: protocol.Message) -> None:
        try:
            dump(message, self._process.stdin, protocol=5)
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):  # ValueError: closed by kill()
            raise self._died() from None

    def receive(self) -> protocol.Reply:
        try:
            reply: protocol.Reply = load(self._process.stdout)
        except (EOFError, UnpicklingError, ValueError, OSError):
            raise self._died() from None
        return reply

    def kill(self) -> None:
        if self._killed:
            return
        self._killed = True
        self._process.kill()
        self._process.wait()
        self._process.close()

    def _died(self) -> DatabaseProblem:
        died = self._process.died()
        if not self._killed:
            _log.error(
                "measuring_process_died", pid=self.pid, code=died.code, stderr_tail=died.stderr_tail
            )
        return DatabaseProblem(
            f"The process that measured ended unexpectedly ({died.how}).",
            hint="Start again; the log has what it said last.",
        )


def _libpq_defaults() -> dict[str, str]:
    """What libpq takes from this process's environment where a URL leaves it open, such as the
    password in PGPASSWORD: the worker does not get that environment, so it is told."""
    defaults = {}
    for option in psycopg.pq.Conninfo.get_defaults():
        if option.envvar is not None and (value := os.environ.get(option.envvar.decode())):
            defaults[option.keyword.decode()] = value
    return defaults
