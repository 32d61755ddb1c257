"""Uploaded files on disk: they outlive the page, so that a load can go on and be resumed."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Protocol

import structlog

from lib.errors import DiskFull, from_exception
from lib.ingest.file_source import FileSource

log = structlog.get_logger(__name__)

KEPT_DAYS = 14
"""How long the files of a load that did not end well, and lists of problems, are kept."""

_CHUNK_BYTES = 1 << 20


class Upload(Protocol):
    """A file as a page has it."""

    @property
    def name(self) -> str: ...

    def read(self, size: int, /) -> bytes: ...


def save_uploads(home: Path, files: Iterable[Upload]) -> list[FileSource]:
    """Writes the files below ``home``, each from where it stands, and gives them as sources that
    have the names of the uploads.

    Raises DiskFull, and OSError where the folder cannot be written; nothing is left then.
    """
    with _new_folder(home) as folder:
        sources = []
        for number, file in enumerate(files):
            # The name is a stranger's: only its ending gets to the disk, for those who look.
            path = folder / f"{number}{_ending(file.name)}"
            _write(path, file)
            sources.append(FileSource.from_path(path, name=file.name))
    return sources


def save_upload_folder(home: Path, files: Mapping[str, Upload]) -> Path:
    """Writes the files below ``home``, each at its place in one folder, and gives the folder.

    files: place → file; the places must be known to be harmless. Raises as :func:`save_uploads`.
    """
    with _new_folder(home) as folder:
        for place, file in files.items():
            path = folder / place
            path.parent.mkdir(exist_ok=True)
            _write(path, file)
    return folder


def _write(path: Path, file: Upload) -> None:
    with path.open("xb") as copy:
        while chunk := file.read(_CHUNK_BYTES):
            copy.write(chunk)


@contextmanager
def _new_folder(home: Path) -> Iterator[Path]:
    """Removed again where the writing fails."""
    folder = _uploads(home) / uuid.uuid4().hex
    folder.mkdir(parents=True)
    try:
        yield folder
    except BaseException as exc:
        shutil.rmtree(folder, ignore_errors=True)
        known = from_exception(exc)
        if isinstance(known, DiskFull):
            raise DiskFull(
                f"The disk is full: there is no room for the uploaded files in {home}.",
                hint="Free some space, or load them from where they are, on the command line.",
            ) from exc
        raise


def delete_uploads(home: Path, paths: Iterable[Path]) -> None:
    """Removes the folders of saved uploads; any other path is left alone."""
    for folder in {path.absolute().parent for path in paths}:
        if folder.parent == _uploads(home):
            shutil.rmtree(folder, ignore_errors=True)


def clean_up(home: Path, *, kept_days: float = KEPT_DAYS) -> None:
    """Removes what old loads left: saved uploads and lists of problems."""
    before = time.time() - kept_days * 86400
    for folder in (*_folders(_uploads(home)), *_folders(home / "jobs")):
        try:
            if folder.stat().st_mtime < before:
                shutil.rmtree(folder)
        except OSError as exc:  # of another user, or gone meanwhile
            log.warning("uploads.not_removed", folder=str(folder), error=exc.strerror)


def _uploads(home: Path) -> Path:
    return home.absolute() / "uploads"


def _folders(parent: Path) -> list[Path]:
    return [path for path in parent.iterdir() if path.is_dir()] if parent.is_dir() else []


def _ending(name: str) -> str:
    ending = PurePosixPath(name).suffix
    return ending if ending.isascii() and ending[1:].isalnum() and len(ending) <= 16 else ""
