"""Clients of the server that are processes of their own, so that neither this process's event loop
nor Python's lock is in the way of what is measured (:mod:`lib.lab.worker`)."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from pickle import UnpicklingError, dump, load
from typing import Any

import structlog
from sqlalchemy import URL

from lib.errors import DatabaseProblem
from lib.lab import protocol as wire
from lib.store.url import connect_arguments

_ROOT = Path(__file__).resolve().parents[2]
_log = structlog.get_logger(__name__)


class Clients:
    """So many processes, each with a connection. They all end with the first that dies, and where
    the waiting for them is cancelled."""

    def __init__(self, count: int) -> None:
        self._processes = [_Process() for _ in range(count)]
        self.backend_pids: tuple[int, ...] = ()
        """Of their sessions on the server, once they are connected."""

    def __len__(self) -> int:
        return len(self._processes)

    @property
    def pids(self) -> tuple[int, ...]:
        return tuple(process.pid for process in self._processes)

    async def ask(self, messages: Sequence[wire.Message]) -> list[Any]:
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
            if isinstance(reply, wire.Failed):
                raise reply.error
        return replies

    async def tell_all(self, message: wire.Message) -> None:
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
        connected = await clients.ask([wire.Connect(connect_arguments(url))] * count)
        clients.backend_pids = tuple(each.backend_pid for each in connected)
        yield clients
    finally:
        clients.close()


def _ask_all(processes: Sequence[_Process], messages: Sequence[wire.Message]) -> list[Any]:
    for process, message in zip(processes, messages, strict=True):
        process.send(message)
    return [process.receive() for process in processes]


class _Process:
    def __init__(self) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed by kill()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "lib.lab.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(
                    [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
                ),
                "PYTHONUTF8": "1",
            },
            # Ctrl-C in a terminal is for the parent, which ends its jobs in good order.
            start_new_session=True,
        )
        self._killed = False

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, message: wire.Message) -> None:
        assert self._process.stdin is not None
        try:
            dump(message, self._process.stdin, protocol=5)
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):  # ValueError: closed by kill()
            raise self._died() from None

    def receive(self) -> wire.Reply:
        assert self._process.stdout is not None
        try:
            reply: wire.Reply = load(self._process.stdout)
        except (EOFError, UnpicklingError, ValueError, OSError):
            raise self._died() from None
        return reply

    def kill(self) -> None:
        if self._killed:
            return
        self._killed = True
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._said):
            assert pipe is not None
            with suppress(BrokenPipeError):  # what was not sent has nobody to go to
                pipe.close()

    def _died(self) -> DatabaseProblem:
        code = self._process.wait()
        if not self._killed:
            size = self._said.seek(0, os.SEEK_END)
            self._said.seek(max(0, size - 4096))
            said = self._said.read().decode("utf-8", "replace")
            _log.error("measuring_process_died", pid=self.pid, code=code, said=said)
        how = f"signal {-code}" if code < 0 else f"return code {code}"
        return DatabaseProblem(
            f"The process that measured ended unexpectedly ({how}).",
            hint="Start again; the log has what it said last.",
        )
