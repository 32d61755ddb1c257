"""File sources: where the bytes of a file come from, and what a reader finds out about it."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from lib.ingest.columns import ColumnMapping

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


@dataclass(frozen=True)
class ArrayFacts:
    """What a file of vectors says of itself."""

    rows: int | None
    """None where only reading tells."""

    dtype: str

    distance: str = ""
    """As the file names it, or empty."""

    datasets: tuple[str, ...] = ()
    """The names of the arrays in it, where they have names."""

    texts: str | None = None
    """The path of the file that has their texts."""


class FileSource:
    """A file to read: a named stream of bytes, and what is found out about it while it is read.

    name: the file's name or its path inside the folder that is loaded; its extension chooses the
    reader, and ids of documents are made from it. open_stream: gives the stream from its start;
    it is called more than once (a preview, then the reading). size_bytes: None if unknown.

    path: where it is on disk, None where it is not. container: the archive or mail it is inside.

    Set by readers: ``encoding``, ``delimiter``, ``header``, ``mapping`` and ``array``.
    """

    def __init__(
        self,
        name: str,
        open_stream: Callable[[], BinaryIO],
        *,
        size_bytes: int | None = None,
        path: Path | None = None,
        container: FileSource | None = None,
    ) -> None:
        # A file name that is no UTF-8 holds lone surrogates: kept apart, but storable.
        self.name = name.encode("utf-8", "backslashreplace").decode("utf-8")
        self.size_bytes = size_bytes
        self.path = path
        self.container = container
        self.cancelled = False
        self.stop_reading: Callable[[], None] | None = None
        self._open_stream = open_stream
        self._bytes_read = 0
        self.encoding: str | None = None
        self.delimiter: str | None = None
        self.header: tuple[str, ...] = ()
        self.mapping: ColumnMapping | None = None
        self.array: ArrayFacts | None = None

    @classmethod
    def from_path(cls, path: Path, *, name: str | None = None) -> FileSource:
        """A file on disk; raises OSError where it is not there."""
        size_bytes = path.stat().st_size
        return cls(name or path.name, lambda: path.open("rb"), size_bytes=size_bytes, path=path)

    @classmethod
    def from_bytes(cls, name: str, content: bytes | memoryview) -> FileSource:
        """A file in memory, such as an uploaded one."""
        return cls(name, lambda: io.BytesIO(content), size_bytes=len(content))

    def reopened(self) -> FileSource:
        """The same file on disk, of which nothing has been read yet."""
        assert self.path is not None
        return FileSource.from_path(self.path, name=self.name)

    @property
    def outermost(self) -> FileSource:
        """The file that a person chose: the archive around all archives, or this."""
        return self if self.container is None else self.container.outermost

    @property
    def depth(self) -> int:
        """How many containers are around it."""
        return 0 if self.container is None else self.container.depth + 1

    @contextmanager
    def on_disk(self) -> Iterator[Path]:
        """A path that holds the bytes: a temporary file where there is no other."""
        if self.path is not None:
            yield self.path
            return
        with tempfile.TemporaryDirectory(prefix="vecscope-") as folder:
            path = Path(folder, "file")
            with self._open_stream() as stream, path.open("xb") as copy:
                shutil.copyfileobj(stream, copy, 1 << 20)
            yield path

    def advance(self, share: float) -> None:
        """For readers that do not read the stream in order: how much of it is done, 0 to 1."""
        self._bytes_read = max(self._bytes_read, round((self.size_bytes or 0) * min(share, 1.0)))

    def cancel(self) -> None:
        """From any thread: no more of it is wanted. A reader in another process is ended, even
        where it hangs; what it gave so far stays good."""
        outermost = self.outermost
        outermost.cancelled = True
        if (stop := outermost.stop_reading) is not None:
            stop()

    @property
    def bytes_read(self) -> int:
        """How far the reading has come; at the end it is the file's size."""
        return self._bytes_read

    def first_bytes(self, count: int) -> bytes:
        """The first ``count`` bytes, or all there are; not counted as progress."""
        with self._open_stream() as stream:
            return stream.read(count)

    def open_plain(self) -> BinaryIO:
        """The stream from its start, not counted as progress."""
        return self._open_stream()

    def open(self) -> io.BufferedReader:
        """The stream from its start; ``bytes_read`` follows it."""
        self._bytes_read = 0
        return io.BufferedReader(_Counted(self._open_stream(), self), buffer_size=1 << 18)

    def _count(self, count: int) -> None:
        self._bytes_read += count


class _Counted(io.RawIOBase):
    def __init__(self, stream: BinaryIO, source: FileSource) -> None:
        self._stream = stream
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        chunk = self._stream.read(len(view))
        view[: len(chunk)] = chunk
        self._source._count(len(chunk))
        return len(chunk)

    def close(self) -> None:
        self._stream.close()
        super().close()
