"""Files on disk that ``ingest`` loads: folders are walked, and test collections told apart."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.errors import InvalidInput
from lib.ingest.beir import JudgedFolder, find_judged
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingProblem
from lib.ingest.readers.registry import reader_for


@dataclass(frozen=True)
class FilesOnDisk:
    """The files below the paths that were named."""

    sources: list[FileSource]
    problems: list[IncomingProblem]
    unreadable: list[IncomingProblem]
    """Those of the problems that are no matter of the file's kind."""


def split_beir_folders(paths: Sequence[Path]) -> tuple[list[JudgedFolder], list[Path]]:
    """The folder in BEIR form, if there is one, and the other paths.

    Raises InvalidInput where there are two: their ids are numbers mostly, the same ones in each.
    """
    beir_folders = {
        path: folder
        for path in paths
        if path.is_dir() and (folder := find_judged(path)) is not None and folder.corpus is not None
    }
    if len(beir_folders) > 1:
        raise InvalidInput(
            f"{' and '.join(map(str, beir_folders))} are test collections, whose ids may be the "
            "same.",
            hint="Load each into a collection of its own.",
        )
    return list(beir_folders.values()), [path for path in paths if path not in beir_folders]


def find_files(paths: Sequence[Path]) -> FilesOnDisk:
    """Raises InvalidInput where two files would have the same name, and so the same ids."""
    sources: list[FileSource] = []
    problems: list[IncomingProblem] = []
    unreadable: list[IncomingProblem] = []
    paths_by_name: dict[str, Path] = {}
    for path, name in _walk(paths, unreadable):
        try:
            if not path.is_file():
                raise InvalidInput("It is no ordinary file.")
            reader_for(name)
            source = FileSource.from_path(path, name=name)
        except InvalidInput as exc:
            problems.append(IncomingProblem(name, "", exc.message, exc.hint))
        except OSError as exc:
            unreadable.append(IncomingProblem(name, "", f"It cannot be read: {exc.strerror}."))
        else:
            other = paths_by_name.setdefault(source.name, path)
            if other != path:
                raise InvalidInput(
                    f"{other} and {path} would both be called {source.name}, and one would replace "
                    "the other.",
                    hint="Name the folder above them instead.",
                )
            sources.append(source)
    return FilesOnDisk(sources, [*problems, *unreadable], unreadable)


def _walk(paths: Sequence[Path], problems: list[IncomingProblem]) -> Iterator[tuple[Path, str]]:
    """(file, its name: its path inside the folder that was named), each file once, by name."""
    yielded: set[Path] = set()

    def not_listed(exc: OSError) -> None:
        problems.append(IncomingProblem(str(exc.filename), "", f"{exc.strerror}."))

    for path in paths:
        if not path.is_dir():
            named_files = [(path, path.name)]
        else:
            named_files = []
            for folder, folders, files in os.walk(path, onerror=not_listed):
                folders[:] = sorted(name for name in folders if not name.startswith("."))
                for name in sorted(files):
                    if not name.startswith("."):
                        file = Path(folder, name)
                        named_files.append((file, file.relative_to(path).as_posix()))
        for file, name in named_files:
            if file.resolve() not in yielded:
                yielded.add(file.resolve())
                yield file, name
