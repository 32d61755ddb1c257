"""Reads files in worker processes: what a hostile or broken file does there ends there.

A parser that crashes, hangs or eats memory costs its own process, never the server's; the file gets
its problem and the next file goes on. Processes are used again for the next file.
"""

from __future__ import annotations

import atexit
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lib.errors import ReadProblem
from lib.ingest.file_source import FileSource
from lib.ingest.protocol import (
    MAX_LINE_BYTES,
    FileFacts,
    Finished,
    Item,
    Message,
    ProtocolError,
    Request,
    message_of,
    request_line,
)
from lib.ingest.read_options import ReadOptions
from lib.process import WorkerDied, WorkerProcess


@dataclass(frozen=True)
class ReadLimits:
    """What one reading process may take."""

    memory_bytes: int = 2 * 1024**3
    """Address space on Linux, resident memory elsewhere."""
    seconds: float = 60.0
    """Until its next result."""


DEFAULT_LIMITS = ReadLimits()

_IDLE_SECONDS = 60.0
_MAX_IDLE = 2
_LOOK_SECONDS = 0.25
_ENVIRONMENT = {
    # Each thread of these libraries reserves address space; one thread is enough.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}
_OUT_OF_MEMORY = ("memoryerror", "bad_alloc", "memory allocation of", "out of memory")
_SAVE_ANEW = "Open it in the program it was made with, and save it anew."


def read_isolated(
    extension: str, source: FileSource, options: ReadOptions, limits: ReadLimits | None = None
) -> Iterator[Item]:
    """What the reader for ``extension`` gives, read in another process.

    Raises ReadProblem where the reader did, where it took more than ``limits``, where it crashed,
    and where ``source`` was cancelled; OSError where the file cannot be read or no process started.
    """
    limits = limits or DEFAULT_LIMITS
    top = source.outermost
    with source.on_disk() as path:
        with path.open("rb"):  # an unreadable file is said by its own error
            pass
        worker = _take(limits)
        stop_before, top.stop_reading = top.stop_reading, worker.kill
        is_free = False
        try:
            for message in worker.read(Request(str(path), source.name, extension, options), source):
                if top.cancelled:
                    raise ReadProblem("The reading was cancelled.", source=source.name)
                if isinstance(message, FileFacts):
                    message.tell(source)
                elif isinstance(message, Finished):
                    is_free = not message.retires
                    if message.out_of_memory:
                        raise _needs_memory(limits, source)
                    if message.problem is not None:
                        yield message.problem
                else:
                    yield message
        except WorkerDied as exc:
            if top.cancelled:
                raise ReadProblem("The reading was cancelled.", source=source.name) from None
            raise _why(exc, limits, source) from None
        finally:
            top.stop_reading = stop_before
            if is_free:
                _give_back(worker)
            else:  # it broke off, or nobody wants the rest
                worker.kill()
                worker.close()


class _Worker:
    def __init__(self, limits: ReadLimits) -> None:
        self.limits = limits
        self._process = WorkerProcess(
            "lib.ingest.worker", [str(limits.memory_bytes)], environment=_ENVIRONMENT
        )
        self._waiting_since: float | None = None
        self._ended_for = ""

    def read(self, request: Request, source: FileSource) -> Iterator[Message]:
        """Ends after Finished. Raises WorkerDied."""
        self._process.forget_stderr()
        done = threading.Event()
        watch = threading.Thread(target=self._watch, args=(done,), name="reader-watch", daemon=True)
        watch.start()
        try:
            self._send(request_line(request))
            while True:
                message, position = self._next()
                source.advance(position / source.size_bytes if source.size_bytes else 0.0)
                yield message
                if isinstance(message, Finished):
                    return
        finally:
            done.set()
            watch.join()

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        """Ends the process, which reads to the end of stdin."""
        self._process.close()

    def _send(self, line: bytes) -> None:
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._died() from None

    def _next(self) -> tuple[Message, int]:
        self._waiting_since = time.monotonic()
        line = self._process.stdout.readline(MAX_LINE_BYTES)
        self._waiting_since = None
        if not line.endswith(b"\n"):
            if line:  # it writes without an end, or died within a line
                self._process.kill()
            raise self._died()
        try:
            return message_of(line)
        except ProtocolError:
            self._process.kill()
            raise self._died() from None

    def _watch(self, done: threading.Event) -> None:
        """Ends the process where it takes too long or, where the kernel does not see to that, too
        much."""
        memory = None if sys.platform == "linux" else _memory_of(self._process.pid)
        while not done.wait(_LOOK_SECONDS):
            since = self._waiting_since
            if since is not None and time.monotonic() - since > self.limits.seconds:
                self._ended_for = "time"
            elif memory is not None and memory() > self.limits.memory_bytes:
                self._ended_for = "memory"
            if self._ended_for:
                self._process.kill()
                return

    def _died(self) -> WorkerDied:
        return self._process.died(self._ended_for)


def _memory_of(pid: int) -> Callable[[], int]:
    import psutil  # type: ignore[import-untyped]

    process = psutil.Process(pid)

    def resident_bytes() -> int:
        try:
            return int(process.memory_info().rss)
        except psutil.Error:
            return 0

    return resident_bytes


def _needs_memory(limits: ReadLimits, source: FileSource) -> ReadProblem:
    return ReadProblem(
        f"Reading the file took more than {limits.memory_bytes >> 20:,} MB of memory.",
        source=source.name,
        hint="Split the file, or save it in a simpler format such as CSV or plain text.",
    )


def _why(died: WorkerDied, limits: ReadLimits, source: FileSource) -> ReadProblem:
    name = died.signal_name
    if died.reason == "time" or name == "SIGXCPU":
        return ReadProblem(
            f"The reader of this file gave nothing for {limits.seconds:.0f} seconds and was ended.",
            source=source.name,
            hint=_SAVE_ANEW,
        )
    stderr = died.stderr_tail.lower()
    if (
        died.reason == "memory"
        or name == "SIGKILL"
        or any(phrase in stderr for phrase in _OUT_OF_MEMORY)
    ):
        return _needs_memory(limits, source)
    if name == "SIGABRT":  # how most libraries in C and Rust end where no memory is left
        return ReadProblem(
            "The reader of this file gave up (SIGABRT): it may have needed more than "
            f"{limits.memory_bytes >> 20:,} MB of memory.",
            source=source.name,
            hint=_SAVE_ANEW,
        )
    return ReadProblem(
        f"The reader of this file ended unexpectedly ({died.how}).",
        source=source.name,
        hint=_SAVE_ANEW,
    )


# --- processes that wait for the next file ------------------------------------------------------

_idle: list[_Worker] = []
_lock = threading.Lock()
_expiry: threading.Timer | None = None


def _take(limits: ReadLimits) -> _Worker:
    with _lock:
        fitting = [worker for worker in _idle if worker.limits == limits]
        if fitting:
            _idle.remove(fitting[-1])
    if fitting and fitting[-1].is_alive:
        return fitting[-1]
    if fitting:
        fitting[-1].close()
    return _Worker(limits)


def _give_back(worker: _Worker) -> None:
    global _expiry
    with _lock:
        _idle.append(worker)
        superfluous = _idle[:-_MAX_IDLE]
        del _idle[:-_MAX_IDLE]
        if _expiry is not None:
            _expiry.cancel()
        _expiry = threading.Timer(_IDLE_SECONDS, close_idle)
        _expiry.daemon = True
        _expiry.start()
    for other in superfluous:
        other.close()


def close_idle() -> None:
    """Ends the processes that wait for a file."""
    with _lock:
        workers = list(_idle)
        _idle.clear()
    for worker in workers:
        worker.close()


atexit.register(close_idle)
