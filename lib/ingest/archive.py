"""Files inside files: zip archives, read without being unpacked as a whole."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, BinaryIO

from lib.errors import InvalidInput, ReadProblem
from lib.ingest.incoming import IncomingDocument, IncomingProblem
from lib.ingest.source import ReadOptions, Source

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_DEPTH = 2
"""An archive in an archive is read; one in that is not."""

MAX_DIRECTORY_BYTES = 16 * 1024 * 1024
"""zipfile makes of an archive's directory up to 20 times as much in memory. Room for more than
100,000 files."""

MAX_RATIO = 200
FREE_BYTES = 256 * 1024 * 1024
"""All of an archive unpacked may have MAX_RATIO times its own size, and at least FREE_BYTES. Text
packs to a tenth, a log to a fiftieth; the most that is possible is a thousandth."""

_UNPACK_IT = "Unpack it, and load the folder."
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)
_KNOWN_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
# Python's bzip2 gives all that its input unpacks to at once: 45 bytes may be 900,000.
_BZIP2_BYTES = 4096
_PIECE_BYTES = 1 << 16
_ENCRYPTED = 0x1
_IS_UTF8 = 0x800


class _Budget:
    """How many bytes the outermost archive and all inside it may still unpack to."""

    def __init__(self, archive_bytes: int) -> None:
        self.bytes_left = max(FREE_BYTES, MAX_RATIO * archive_bytes)


class _Packed(Source):
    """A file inside an archive; budget: of that archive."""

    def __init__(
        self,
        name: str,
        open_stream: Callable[[], BinaryIO],
        *,
        size_bytes: int,
        container: Source,
        budget: _Budget,
        path: Path | None = None,
    ) -> None:
        super().__init__(name, open_stream, size_bytes=size_bytes, path=path, container=container)
        self.budget = budget


def open_archive(stream: IO[bytes]) -> zipfile.ZipFile:
    """Raises zipfile.BadZipFile, also where its directory is longer than MAX_DIRECTORY_BYTES."""
    return zipfile.ZipFile(_Bounded(stream))


def read_zip(source: Source, options: ReadOptions) -> Iterator[IncomingDocument | IncomingProblem]:
    """The files inside, each by its own reader, named "archive.zip/folder/file.md".

    Hidden files are skipped. Refused, each with its problem: what is encrypted, named with ".."
    or an absolute path, twice of one name, packed by a rare method, or unpacks to far more than
    the archive could honestly hold.

    Raises ReadProblem where the archive is damaged or in too many others.
    """
    if source.depth >= MAX_DEPTH:
        raise ReadProblem(
            f"The archive is inside of {source.depth} others, and was not opened.",
            source=source.name,
            hint=_UNPACK_IT,
        )
    with source.on_disk() as path, path.open("rb") as stream:
        try:
            archive = _Archive(stream, source)
        except _BROKEN as exc:
            raise ReadProblem(
                f"The archive is damaged or cut off ({exc}).",
                source=source.name,
                hint="Get it anew, or repair it with a program for archives.",
            ) from None
        yield from archive.read(options)


class _Archive:
    def __init__(self, stream: BinaryIO, source: Source) -> None:
        self._zip = open_archive(stream)
        self._source = source
        if isinstance(source, _Packed):
            self.budget = source.budget
        else:
            self.budget = _Budget(source.size_bytes or 0)

    def open(self, member: zipfile.ZipInfo) -> BinaryIO:
        try:
            packed = self._zip.open(member)
        except _BROKEN as exc:
            raise _damaged(exc) from None
        most = _BZIP2_BYTES if member.compress_type == zipfile.ZIP_BZIP2 else _PIECE_BYTES
        return io.BufferedReader(_Gently(packed, most), buffer_size=most)

    def read(self, options: ReadOptions) -> Iterator[IncomingDocument | IncomingProblem]:
        seen: set[str] = set()
        done_bytes = 0
        for member in self._zip.infolist():
            if self._source.outermost.cancelled:
                raise ReadProblem("The reading was cancelled.", source=self._source.name)
            name = _readable_name(member)
            if not member.is_dir() and not _is_hidden(name):
                reason, hint = self._refusal(member, name, seen)
                full_name = f"{self._source.name}/{name}"
                if reason:
                    yield IncomingProblem(full_name, "", reason, hint)
                else:
                    seen.add(name)
                    self.budget.bytes_left -= member.file_size
                    yield from self._read_member(full_name, member, options)
            done_bytes += member.compress_size
            self._source.advance(done_bytes / (self._source.size_bytes or 1))

    def _refusal(self, member: zipfile.ZipInfo, name: str, seen: set[str]) -> tuple[str, str]:
        """(reason, hint), both empty where the file can be read."""
        if not _is_inside(name):
            return "Its path leads out of the archive.", "Pack the archive anew."
        if name in seen:
            return "The archive holds another file of that name.", "Rename one of them."
        if member.flag_bits & _ENCRYPTED:
            return (
                "It is protected by a password.",
                "Unpack the archive with its password, and load the folder.",
            )
        if member.compress_type not in _KNOWN_METHODS:
            return f"It is packed by a rare method (number {member.compress_type}).", _UNPACK_IT
        # zipfile gives no more than the size that is declared.
        if member.file_size > self.budget.bytes_left:
            return (
                f"It would unpack to {member.file_size:,} bytes: is the archive a zip bomb?",
                "If you trust it, unpack it and load the folder.",
            )
        return "", ""

    def _read_member(
        self, name: str, member: zipfile.ZipInfo, options: ReadOptions
    ) -> Iterator[IncomingDocument | IncomingProblem]:
        from lib.ingest.readers import read  # which knows this module

        def packed(open_stream: Callable[[], BinaryIO], path: Path | None = None) -> Source:
            return _Packed(
                name,
                open_stream,
                size_bytes=member.file_size,
                container=self._source,
                budget=self.budget,
                path=path,
            )

        stream = packed(lambda: self.open(member))
        try:
            if stream.first_bytes(2) != b"PK":
                yield from read(stream, options)
                return
            # An archive in the archive, or a format that is one: it is read out of order.
            with stream.on_disk() as path:
                yield from read(packed(lambda: path.open("rb"), path), options)
        except InvalidInput as exc:
            yield IncomingProblem(name, "", exc.message, exc.hint)
        except OSError as exc:
            yield IncomingProblem(name, "", f"The file could not be read: {exc}.")


def _readable_name(member: zipfile.ZipInfo) -> str:
    """Archives of macOS have names in UTF-8 without saying so."""
    name = member.filename
    if not member.flag_bits & _IS_UTF8:
        with suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/")


def _is_inside(name: str) -> bool:
    return not (
        name.startswith("/") or re.match("[A-Za-z]:", name) or ".." in PurePosixPath(name).parts
    )


def _is_hidden(name: str) -> bool:
    """As in a folder; and what macOS puts beside the files."""
    return any(
        part == "__MACOSX" or (part.startswith(".") and part.strip("."))
        for part in PurePosixPath(name).parts
    )


def _damaged(exc: Exception) -> OSError:
    return OSError(f"it is damaged inside the archive ({exc})")


class _Bounded(io.RawIOBase):
    """A seekable file that refuses to be read in long pieces: zipfile reads a directory whole, and
    nothing else in pieces of this size."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:
            position = self.tell()
            size = self.seek(0, io.SEEK_END) - position
            self.seek(position)
        if size > MAX_DIRECTORY_BYTES:
            raise zipfile.BadZipFile(f"its directory is longer than {MAX_DIRECTORY_BYTES >> 20} MB")
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


class _Gently(io.RawIOBase):
    """A packed file, read in pieces of at most ``most`` bytes; its errors are OSErrors, which
    every reader knows."""

    def __init__(self, stream: IO[bytes], most: int) -> None:
        self._stream = stream
        self._most = most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        try:
            chunk = self._stream.read(min(len(view), self._most))
        except (*_BROKEN, OSError) as exc:
            if isinstance(exc, OSError) and exc.errno is not None:  # of the disk, not of bzip2
                raise
            raise _damaged(exc) from None
        view[: len(chunk)] = chunk
        return len(chunk)

    def close(self) -> None:
        self._stream.close()
        super().close()
