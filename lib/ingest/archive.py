"""Zip files, opened without trusting their directory; books and Office files are zip files too."""

from __future__ import annotations

import io
import zipfile
from typing import IO

MAX_DIRECTORY_BYTES = 16 * 1024 * 1024
"""zipfile makes of an archive's directory up to 20 times as much in memory. Room for more than
100,000 files."""


def open_archive(stream: IO[bytes]) -> zipfile.ZipFile:
    """Raises zipfile.BadZipFile, also where its directory is longer than MAX_DIRECTORY_BYTES."""
    return zipfile.ZipFile(BoundedFile(stream))


class BoundedFile(io.RawIOBase):
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
