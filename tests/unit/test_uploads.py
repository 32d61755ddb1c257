"""Uploaded files on disk: written in pieces, removed in the end, never outside their folder."""

from __future__ import annotations

import errno
import io
import os
import time
from pathlib import Path

import pytest

from lib.errors import DiskFull
from lib.ingest.uploads import KEPT_DAYS, clean_up, delete_uploads, save_uploads


class Upload(io.BytesIO):
    def __init__(self, name: str, content: bytes) -> None:
        super().__init__(content)
        self.name = name


class NoRoom(Upload):
    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell():
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().read(size)


def test_uploads_keep_name_and_content(tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    names = ["a/b.PDF", "../../etc/passwd", "x" * 300 + ".csv", "no ending", "a/b.PDF", "ü.t/xt"]
    sources = save_uploads(tmp_path, [Upload(name, content) for name in names])
    assert [source.name for source in sources] == names
    paths = [source.path for source in sources if source.path]
    assert all(path.read_bytes() == content for path in paths)
    assert {path.parent.parent for path in paths} == {tmp_path / "uploads"}
    assert paths[0].suffix == ".PDF"
    other = tmp_path / "mine.csv"
    other.touch()
    delete_uploads(tmp_path, [*paths, other])
    assert {path.name for path in tmp_path.rglob("*")} == {"uploads", "mine.csv"}


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DiskFull, match="no room for the uploaded files"):
        save_uploads(tmp_path, [Upload("a.txt", b"text"), NoRoom("b.txt", bytes(2_000_000))])
    assert list((tmp_path / "uploads").iterdir()) == []


def test_what_old_loads_left_is_removed(tmp_path: Path) -> None:
    clean_up(tmp_path)  # there is nothing yet
    old = [tmp_path / "uploads" / "old", tmp_path / "jobs" / "old"]
    new = [tmp_path / "uploads" / "new", tmp_path / "jobs" / "new", tmp_path / "postgres" / "old"]
    for folder in (*old, *new):
        folder.mkdir(parents=True)
        (folder / "file").touch()
    before = time.time() - (KEPT_DAYS + 1) * 86400
    for folder in (*old, new[2]):
        os.utime(folder, (before, before))
    clean_up(tmp_path)
    assert [folder.exists() for folder in (*old, *new)] == [False, False, True, True, True]
