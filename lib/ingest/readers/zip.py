"""The reader for zip archives: the files in them, without unpacking the archive as a whole."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, BinaryIO

from lib.errors import ReadProblem
from lib.ingest.archive import open_archive
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingProblem
from lib.ingest.members import MAX_DEPTH, Member
from lib.ingest.read_options import ReadOptions

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

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


def read_zip(source: FileSource, _options: ReadOptions) -> Iterator[Member | IncomingProblem]:
    """The files in the archive, named "archive.zip/folder/file.md".

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
        yield from archive.members()


class _UnpackBudget:
    """How many bytes the outermost archive and all inside it may still unpack to."""

    def __init__(self, archive_bytes: int) -> None:
        self.bytes_left = max(FREE_BYTES, MAX_RATIO * archive_bytes)


class ZipMemberSource(FileSource):
    """A file in a zip archive."""

    def __init__(
        self,
        name: str,
        open_stream: Callable[[], BinaryIO],
        *,
        size_bytes: int,
        container: FileSource,
        budget: _UnpackBudget,
        path: Path | None = None,
    ) -> None:
        super().__init__(name, open_stream, size_bytes=size_bytes, path=path, container=container)
        self.budget = budget
        """Of the outermost archive."""


class _ZipMember(Member):
    """A file in a zip archive, not yet opened."""

    def __init__(self, archive: _Archive, info: zipfile.ZipInfo, name: str) -> None:
        self._archive = archive
        self._info = info
        self._name = name

    @contextmanager
    def open(self, container: FileSource) -> Iterator[FileSource]:
        packed = self._source(container, lambda: self._archive.open(self._info))
        if packed.first_bytes(2) != b"PK":
            yield packed
            return
        # An archive in the archive, or a format that is one: it is read out of order.
        with packed.on_disk() as path:
            yield self._source(container, lambda: path.open("rb"), path)

    def problem(self, container: FileSource, reason: str, hint: str = "") -> IncomingProblem:
        return IncomingProblem(f"{container.name}/{self._name}", "", reason, hint)

    def _source(
        self, container: FileSource, open_stream: Callable[[], BinaryIO], path: Path | None = None
    ) -> ZipMemberSource:
        return ZipMemberSource(
            f"{container.name}/{self._name}",
            open_stream,
            size_bytes=self._info.file_size,
            container=container,
            budget=self._archive.budget,
            path=path,
        )


class _Archive:
    """An open zip archive."""

    def __init__(self, stream: BinaryIO, source: FileSource) -> None:
        self._zip = open_archive(stream)
        self._source = source
        if isinstance(source, ZipMemberSource):
            self.budget = source.budget
        else:
            self.budget = _UnpackBudget(source.size_bytes or 0)

    def open(self, info: zipfile.ZipInfo) -> BinaryIO:
        """The unpacked content. Raises OSError where it is damaged."""
        try:
            packed = self._zip.open(info)
        except _BROKEN as exc:
            raise _damaged(exc) from None
        piece_bytes = _BZIP2_BYTES if info.compress_type == zipfile.ZIP_BZIP2 else _PIECE_BYTES
        return io.BufferedReader(_ChunkedReader(packed, piece_bytes), buffer_size=piece_bytes)

    def members(self) -> Iterator[Member | IncomingProblem]:
        names: set[str] = set()
        done_bytes = 0
        for info in self._zip.infolist():
            if self._source.outermost.cancelled:
                raise ReadProblem("The reading was cancelled.", source=self._source.name)
            name = _readable_name(info)
            if not info.is_dir() and not _is_hidden(name):
                member = _ZipMember(self, info, name)
                reason, hint = self._refusal(info, name, names)
                if reason:
                    yield member.problem(self._source, reason, hint)
                else:
                    names.add(name)
                    self.budget.bytes_left -= info.file_size
                    yield member
            done_bytes += info.compress_size
            self._source.advance(done_bytes / (self._source.size_bytes or 1))

    def _refusal(self, info: zipfile.ZipInfo, name: str, names: set[str]) -> tuple[str, str]:
        """(reason, hint), both empty where the file can be read. names: of the files before it."""
        if not _is_inside(name):
            return "Its path leads out of the archive.", "Pack the archive anew."
        if name in names:
            return "The archive holds another file of that name.", "Rename one of them."
        if info.flag_bits & _ENCRYPTED:
            return (
                "It is protected by a password.",
                "Unpack the archive with its password, and load the folder.",
            )
        if info.compress_type not in _KNOWN_METHODS:
            return f"It is packed by a rare method (number {info.compress_type}).", _UNPACK_IT
        # zipfile gives no more than the size that is declared.
        if info.file_size > self.budget.bytes_left:
            return (
                f"It would unpack to {info.file_size:,} bytes: is the archive a zip bomb?",
                "If you trust it, unpack it and load the folder.",
            )
        return "", ""


def _readable_name(info: zipfile.ZipInfo) -> str:
    """Archives of macOS have names in UTF-8 without saying so."""
    name = info.filename
    if not info.flag_bits & _IS_UTF8:
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


class _ChunkedReader(io.RawIOBase):
    """A packed file, read in pieces of bounded size; its errors are OSErrors, which every reader
    knows."""

    def __init__(self, stream: IO[bytes], piece_bytes: int) -> None:
        self._stream = stream
        self._piece_bytes = piece_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        try:
            chunk = self._stream.read(min(len(view), self._piece_bytes))
        except (*_BROKEN, OSError) as exc:
            if isinstance(exc, OSError) and exc.errno is not None:  # of the disk, not of bzip2
                raise
            raise _damaged(exc) from None
        view[: len(chunk)] = chunk
        return len(chunk)

    def close(self) -> None:
        self._stream.close()
        super().close()
