"""Runs a task in a process of its own, so that neither the loop nor Python's lock is held."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import structlog

from lib.errors import InvalidInput, VecscopeError
from lib.projection.protocol import read_message, write_message
from lib.settings import PROJECT_ROOT, load_settings
from lib.vectors.distance import FloatArray

Block = tuple[npt.NDArray[np.int64], FloatArray]
"""Places (b,) and the vectors (b, d) that belong there."""
Report = Callable[[str, float], Awaitable[None]]
"""Told a phase, and which share (0–1) of it is done."""
Answer = tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]

# Address space for Python, numba and what is compared at once; and what each thread of BLAS
# reserves for its stack, heap and buffer without using it.
_FIXED_BYTES, _THREAD_BYTES = 6 * 1024**3, 256 * 1024**2
_ROW_BYTES = 4096  # a point's neighbours, graph and cluster tree
# A provider's key is nothing for it; where it runs is.
_NOT_FOR_IT = ("_API_KEY", "DATABASE_URL")

_log = structlog.get_logger(__name__)


async def run_task(
    header: Mapping[str, Any],
    arrays: Mapping[str, npt.NDArray[Any]],
    blocks: AsyncGenerator[Block],
    report: Report,
) -> Answer:
    """Has the worker do it, and gives its answer.

    header: ``task``, ``rows``, ``dimensions`` and what the task asks for. blocks: the vectors, of
    which one block is held here at a time. Cancelling kills the process.
    Raises InvalidInput where the worker refused, VecscopeError where it ended without an answer.
    """
    worker = _Worker(_memory_bytes(header["rows"], header["dimensions"]))
    try:
        await worker.send(header, arrays)
        async with aclosing(blocks):  # also when this is cancelled: it holds a connection
            async for places, vectors in blocks:
                await worker.send({}, {"places": places, "vectors": vectors})
        await worker.send({"end": True}, {})
        while True:
            said, found = await worker.next()
            if "phase" in said:
                await report(said["phase"], said["share"])
            elif "result" in said:
                return said["result"], found
            elif "failed" in said:
                raise InvalidInput(**said["failed"])
            else:
                raise _out_of_memory()
    finally:
        worker.kill()
        await asyncio.shield(asyncio.to_thread(worker.close))


async def no_vectors() -> AsyncGenerator[Block]:
    """For a task that needs none."""
    return
    yield


def check_memory(rows: int, dimensions: int) -> None:
    """Raises InvalidInput where so many vectors would not fit into what is free now."""
    import psutil  # type: ignore[import-untyped]

    wanted, free = _held_bytes(rows, dimensions), psutil.virtual_memory().available
    if wanted > free:
        raise InvalidInput(
            f"A map of {rows:,} points with {dimensions:,} dimensions takes up to "
            f"{wanted / 1e9:,.1f} GB of memory, and {free / 1e9:,.1f} GB are free.",
            hint="Lay out fewer points.",
            field="limit",
        )


def _held_bytes(rows: int, dimensions: int) -> int:
    """The vectors, their unit copy, and one more for the library that clusters them."""
    return rows * (3 * 4 * dimensions + _ROW_BYTES)


def _memory_bytes(rows: int, dimensions: int) -> int:
    threads = (os.cpu_count() or 1) * _THREAD_BYTES
    return _FIXED_BYTES + threads + _held_bytes(rows, dimensions)


class _Worker:
    def __init__(self, memory_bytes: int) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._messages: asyncio.Queue[Answer | None] = asyncio.Queue()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        paths = [str(PROJECT_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        kept = {k: v for k, v in os.environ.items() if not k.endswith(_NOT_FOR_IT)}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "lib.projection.worker", str(memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env={
                **kept,
                "PYTHONPATH": os.pathsep.join(paths),
                "NUMBA_CACHE_DIR": str(_compiled()),
            },
            # Ctrl-C in a terminal is for the parent, which ends its jobs in good order.
            start_new_session=True,
        )
        self._reader: threading.Thread | None = None

    async def send(self, header: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
        if self._reader is None:
            self._loop = asyncio.get_running_loop()
            self._reader = threading.Thread(target=self._read, name="map-worker", daemon=True)
            self._reader.start()
        try:
            await asyncio.to_thread(write_message, _open(self._process.stdin), header, arrays)
        except (BrokenPipeError, ValueError):  # closed by close(), where this was cancelled
            raise self._died() from None

    async def next(self) -> Answer:
        message = await self._messages.get()
        if message is None:
            raise self._died()
        return message

    def _read(self) -> None:
        assert self._loop is not None
        message: Answer | None = ({}, {})
        while message is not None:
            try:
                message = read_message(_open(self._process.stdout))
            except ValueError:  # not ours, or closed
                message = None
            self._loop.call_soon_threadsafe(self._messages.put_nowait, message)

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        self._process.wait()
        if self._reader is not None:
            self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                _open(pipe).close()
            except BrokenPipeError:
                continue
        self._said.close()

    def _died(self) -> VecscopeError:
        code = self._process.wait()
        size = self._said.seek(0, os.SEEK_END)
        self._said.seek(max(0, size - 4096))
        said = self._said.read().decode("utf-8", "replace")
        _log.error("map_worker_died", code=code, said=said)
        if code == -signal.SIGKILL or "MemoryError" in said or "bad_alloc" in said:
            return _out_of_memory()
        return VecscopeError(
            f"The process that computes the map ended unexpectedly ({code}).",
            hint="The log says more. Try again, or take fewer points.",
        )


def _open(pipe: IO[bytes] | None) -> Any:
    assert pipe is not None
    return pipe


def _out_of_memory() -> VecscopeError:
    return VecscopeError(
        "There was not enough memory for the map.", hint="Take fewer points, then try again."
    )


def _compiled() -> Path:
    """Where numba keeps what it compiled for this machine. It can be lost at any time, so where
    home cannot be written to, the system's own place for such things will do."""
    folder = load_settings().home / "numba"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = Path(tempfile.gettempdir()) / "vecscope-numba"
        folder.mkdir(exist_ok=True)
    return folder
