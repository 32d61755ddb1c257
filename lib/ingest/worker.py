"""The process that reads one hostile file after the other: ``python -m lib.ingest.worker BYTES``.

It takes requests on stdin and answers on stdout, both in lines (:mod:`lib.ingest.protocol`), and
ends when stdin does. BYTES: how much memory it may have.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from lib.errors import ReadProblem, VecscopeError
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import MAX_NESTING, IncomingProblem
from lib.ingest.protocol import FileFacts, Finished, Item, Request, message_line, request_of
from lib.ingest.readers.registry import reader_for_extension
from lib.ingest.sections import Section, bounded
from lib.process import limit_memory, lower_limit, take_pipes

CPU_SECONDS = 120
"""For one result; the parent's clock is stricter, but this one needs no parent."""

_STDERR_BYTES = 16 * 1024 * 1024
_RETIRING_BYTES = 512 * 1024 * 1024


def main() -> None:
    limit_memory(int(sys.argv[1]))
    lower_limit("RLIMIT_CORE", 0)
    lower_limit("RLIMIT_FSIZE", _STDERR_BYTES)
    # Python refuses to convert longer numbers, since that takes quadratic time; ijson crashes where
    # it does. Here the clock is limited anyway.
    sys.set_int_max_str_digits(0)
    requests, answers = take_pipes(buffered=False)
    while line := requests.readline():
        _answer(request_of(line), answers)


def _answer(request: Request, answers: BinaryIO) -> None:
    source = FileSource.from_path(Path(request.path), name=request.name)
    found = FileFacts()
    ended = Finished()
    try:
        for item in _items(request, source):
            if found != (found := FileFacts.of(source)):
                answers.write(message_line(found, source.bytes_read))
            answers.write(message_line(item, source.bytes_read))
            _limit_cpu()
    except MemoryError:
        ended = Finished(out_of_memory=True, retires=True)
    except BrokenPipeError:
        sys.exit(1)  # nobody listens
    except Exception as exc:  # noqa: BLE001 - whatever a library does about a broken file
        ended = Finished(_problem(exc, source))
    if found != FileFacts.of(source):  # a table without any row has its columns all the same
        answers.write(message_line(FileFacts.of(source), source.bytes_read))
    retires = ended.retires or _peak_memory_bytes() > _RETIRING_BYTES
    ended = Finished(ended.problem, ended.out_of_memory, retires)
    answers.write(message_line(ended, source.bytes_read))
    if retires:
        sys.exit(0)


def _items(request: Request, source: FileSource) -> Iterator[Item]:
    _limit_cpu()
    reader = reader_for_extension(request.extension)
    assert reader is not None  # the parent asks by a reader's own extension
    for item in reader.read(source, request.options):
        if isinstance(item, Section):
            yield from bounded(item)
        else:
            assert isinstance(item, Item)  # no archive is read in this process
            yield item


def _problem(exc: Exception, source: FileSource) -> IncomingProblem:
    if isinstance(exc, ReadProblem):
        return IncomingProblem(source.name, exc.place, exc.message, exc.hint)
    if isinstance(exc, VecscopeError):
        return IncomingProblem(source.name, "", exc.message, exc.hint)
    if isinstance(exc, RecursionError):
        return IncomingProblem(
            source.name, "", f"The file is nested more than {MAX_NESTING} levels deep."
        )
    if isinstance(exc, UnicodeError) and source.encoding is not None:
        return IncomingProblem(
            source.name,
            "",
            f"The file cannot be read as {source.encoding}: {exc}.",
            "Choose another encoding.",
        )
    said = " ".join(str(exc).split())[:200]
    return IncomingProblem(
        source.name,
        "",
        f"The file is damaged, or not what its name says ({type(exc).__name__}: {said}).",
        "Open it in the program it was made with, and save it anew.",
    )


# --- limits -------------------------------------------------------------------------------------

try:
    import resource
except ImportError:  # Windows: the parent watches this process's memory and clock

    def _limit_cpu() -> None:
        return None

    def _peak_memory_bytes() -> int:
        return 0

else:
    _STATUS = Path("/proc/self/status")

    def _limit_cpu() -> None:
        """From now on: the kernel ends the process once it has computed for so long."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        lower_limit("RLIMIT_CPU", round(used.ru_utime + used.ru_stime) + CPU_SECONDS)

    def _peak_memory_bytes() -> int:
        # Of this program alone: on Linux getrusage counts the server that started it as well, and
        # then a large server's readers would all retire after one file.
        if _STATUS.exists():
            lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
            return int(lines["VmHWM"].split()[0]) * 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    main()
