"""Runs a task in a process of its own, so that neither the loop nor Python's lock is held."""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog

from lib.errors import InvalidInput, VecscopeError
from lib.process import WorkerProcess
from lib.progress import OnProgress
from lib.projection.protocol import PhaseShare, read_message, write_message
from lib.settings import load_settings
from lib.vectors.distance import FloatArray

Block = tuple[npt.NDArray[np.int64], FloatArray]
"""Places (b,) and the vectors (b, d) that belong there."""
Answer = tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]

# Address space for Python, numba and what is compared at once; and what each thread of BLAS
# reserves for its stack, heap and buffer without using it.
_FIXED_BYTES, _THREAD_BYTES = 6 * 1024**3, 256 * 1024**2
_ROW_BYTES = 4096  # a point's neighbours, graph and cluster tree

_log = structlog.get_logger(__name__)


async def run_task(
    header: Mapping[str, Any],
    arrays: Mapping[str, npt.NDArray[Any]],
    blocks: AsyncGenerator[Block],
    on_progress: OnProgress[PhaseShare],
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
                await on_progress(PhaseShare(said["phase"], said["share"]))
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
        self._process = WorkerProcess(
            "lib.projection.worker",
            [str(memory_bytes)],
            environment={"NUMBA_CACHE_DIR": str(_numba_cache())},
        )
        self._reader: threading.Thread | None = None

    async def send(self, header: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
        if self._reader is None:
            self._loop = asyncio.get_running_loop()
            self._reader = threading.Thread(target=self._read, name="map-worker", daemon=True)
            self._reader.start()
        try:
            await asyncio.to_thread(write_message, self._process.stdin, header, arrays)
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
                message = read_message(self._process.stdout)
            except ValueError:  # not ours, or closed
                message = None
            self._loop.call_soon_threadsafe(self._messages.put_nowait, message)

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        self._process.wait()
        if self._reader is not None:
            self._reader.join()
        self._process.close()

    def _died(self) -> VecscopeError:
        died = self._process.died()
        _log.error("map_worker_died", code=died.code, stderr_tail=died.stderr_tail)
        lacks_memory = any(phrase in died.stderr_tail for phrase in ("MemoryError", "bad_alloc"))
        if died.signal_name == "SIGKILL" or lacks_memory:
            return _out_of_memory()
        return VecscopeError(
            f"The process that computes the map ended unexpectedly ({died.how}).",
            hint="The log says more. Try again, or take fewer points.",
        )


def _out_of_memory() -> VecscopeError:
    return VecscopeError(
        "There was not enough memory for the map.", hint="Take fewer points, then try again."
    )


def _numba_cache() -> Path:
    """Where numba keeps what it compiled for this machine. It can be lost at any time, so where
    home cannot be written to, the system's own place for such things will do."""
    folder = load_settings().home / "numba"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = Path(tempfile.gettempdir()) / "vecscope-numba"
        folder.mkdir(exist_ok=True)
    return folder
