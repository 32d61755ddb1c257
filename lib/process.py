"""Worker processes: a module of ours that runs as a child process and talks over its pipes.

The parent starts one with :class:`WorkerProcess`; the child begins with :func:`take_pipes`. What
they say to each other is the business of each protocol module: lines of JSON where a hostile file
may have taken the child over (:mod:`lib.ingest.protocol`), pickles where a microsecond counts
(:mod:`lib.lab.protocol`), raw arrays where there are gigabytes (:mod:`lib.projection.protocol`).

The standard library alone: the process that reads files loads no library before it needs it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, cast

PASSED_ON = (
    # where programs, libraries and files are
    *("PATH", "HOME", "TMPDIR", "TMP", "TEMP", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
    *("SYSTEMROOT", "USERPROFILE", "APPDATA", "LOCALAPPDATA"),
    # language and time
    *("LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LC_COLLATE", "LC_MESSAGES", "LC_NUMERIC"),
    *("LC_TIME", "LC_MONETARY", "TZ"),
    # Python
    *("PYTHONPATH", "PYTHONHOME", "PYTHONHASHSEED", "PYTHONDONTWRITEBYTECODE"),
    *("PYTHONPYCACHEPREFIX", "PYTHONFAULTHANDLER", "PYTHONMALLOC", "PYTHONUTF8"),
    # how many threads the numerical libraries start, and which code they choose
    *("OMP_NUM_THREADS", "OMP_THREAD_LIMIT", "OMP_PROC_BIND", "OMP_PLACES", "MKL_NUM_THREADS"),
    *("OPENBLAS_NUM_THREADS", "OPENBLAS_CORETYPE", "VECLIB_MAXIMUM_THREADS"),
    *("NUMBA_NUM_THREADS", "NUMBA_THREADING_LAYER", "NUMBA_CACHE_DIR", "NUMBA_CPU_NAME"),
    *("NUMBA_CPU_FEATURES", "NUMBA_DISABLE_JIT", "LOKY_MAX_CPU_COUNT"),
)
"""The environment variables that a worker gets, where they are set. Whole names, no patterns: a
key of a provider, a password and the address of the database are in none of them."""

_ROOT = Path(__file__).resolve().parents[1]
_STDERR_TAIL_BYTES = 4096


class WorkerDied(Exception):
    """The process ended before it had answered."""

    def __init__(self, code: int, stderr_tail: str, reason: str = "") -> None:
        super().__init__(reason)
        self.code = code
        """Its return code, the negative number of a signal that ended it."""
        self.stderr_tail = stderr_tail
        """The end of what it wrote to stderr."""
        self.reason = reason
        """Why its parent ended it, where that did."""

    @property
    def signal_name(self) -> str:
        """The signal that ended it, such as SIGKILL; empty where it ended by itself."""
        if self.code >= 0:
            return ""
        try:
            return signal.Signals(-self.code).name
        except ValueError:
            return f"signal {-self.code}"

    @property
    def how(self) -> str:
        """For a sentence: "SIGKILL", or "return code 3"."""
        return self.signal_name or f"return code {self.code}"


class WorkerProcess:
    """``python -m module arguments``, its pipes, and the end of its stderr."""

    def __init__(
        self,
        module: str,
        arguments: Sequence[str] = (),
        *,
        environment: Mapping[str, str] | None = None,
        passed_on: Sequence[str] = PASSED_ON,
    ) -> None:
        """environment: variables that it gets besides those of ``passed_on``, or in their place.

        Nothing secret belongs in ``arguments``: every user of the machine can read them.
        Raises OSError where no process can be started.
        """
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env=_environment(passed_on, environment or {}),
                # Ctrl-C in a terminal is for the parent, which ends its jobs in good order. And a
                # process group of its own, which kill() ends with all that it started.
                start_new_session=True,
            )
        except BaseException:
            self._stderr.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stdin(self) -> BinaryIO:
        return cast(BinaryIO, self._process.stdin)

    @property
    def stdout(self) -> BinaryIO:
        return cast(BinaryIO, self._process.stdout)

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """Ends it and what it started, at once. May be called from any thread, and again."""
        if not self.is_alive:
            return
        if hasattr(os, "killpg"):
            with suppress(ProcessLookupError, PermissionError):  # it has just ended
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()

    def wait(self) -> int:
        """Its return code, once it has ended."""
        return self._process.wait()

    def close(self, timeout_seconds: float = 5.0) -> None:
        """Closes its pipes, at which a worker ends by itself, and kills it where it does not."""
        for pipe in (self.stdin, self.stdout):
            with suppress(BrokenPipeError):  # what was not sent has nobody to go to
                pipe.close()
        try:
            self._process.wait(timeout=timeout_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
        self._stderr.close()

    def forget_stderr(self) -> None:
        """What it wrote so far is not of the work that begins now."""
        self._stderr.seek(0)
        self._stderr.truncate()

    def died(self, reason: str = "") -> WorkerDied:
        """To be raised where its pipes are at their end. Waits for its return code."""
        code = self._process.wait()
        if self._stderr.closed:  # by close(), from another thread
            return WorkerDied(code, "", reason)
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - _STDERR_TAIL_BYTES))
        return WorkerDied(code, self._stderr.read().decode("utf-8", "replace"), reason)


def _environment(passed_on: Sequence[str], own: Mapping[str, str]) -> dict[str, str]:
    environment = {name: os.environ[name] for name in passed_on if name in os.environ}
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**environment, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUTF8": "1", **own}


# --- in the child -------------------------------------------------------------------------------


def take_pipes(*, buffered: bool = True) -> tuple[BinaryIO, BinaryIO]:
    """Where the orders come from, and where the answers go.

    From now on stdin is empty and stdout is stderr: what a library prints must not get between the
    answers.
    """
    orders = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb", buffering=-1 if buffered else 0)
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    return orders, answers


def limit_memory(memory_bytes: int) -> None:
    """Of this process's address space. macOS takes no notice, and Windows has no such limit."""
    lower_limit("RLIMIT_AS", memory_bytes)


def lower_limit(name: str, value: int) -> None:
    """A limit of this process by its name in :mod:`resource`, where the system has it and allows
    it; never higher than the one that an administrator has set."""
    try:
        import resource
    except ImportError:  # Windows
        return
    limit = getattr(resource, name)
    hard = resource.getrlimit(limit)[1]
    with suppress(OSError, ValueError):  # macOS refuses some
        resource.setrlimit(limit, (value if hard < 0 else min(value, hard), hard))
