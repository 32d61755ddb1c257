"""Vectors of the tests' own, and what files of them are read as."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lib.ingest.columns import ColumnChoice
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingDocument, IncomingProblem
from lib.ingest.read import read
from lib.ingest.read_options import ReadOptions

RANDOM = np.random.default_rng(7)
ROWS = RANDOM.normal(size=(23, 6)).astype(np.float32)
GUESS = ReadOptions(columns=ColumnChoice(embedding=None))


def documents(path: Path, options: ReadOptions | None = None) -> list[IncomingDocument]:
    """All that the file gives, which must be documents."""
    found = list(read(FileSource.from_path(path), options))
    assert all(isinstance(item, IncomingDocument) for item in found), found
    return found  # type: ignore[return-value]


def vectors_of(found: Sequence[IncomingDocument | IncomingProblem]) -> np.ndarray[Any, Any]:
    return np.stack([item.embedding for item in found if isinstance(item, IncomingDocument)])


def problem_of(path: Path, options: ReadOptions | None = None) -> IncomingProblem:
    """The file's only result, which must be a problem."""
    (problem,) = read(FileSource.from_path(path), options)
    assert isinstance(problem, IncomingProblem)
    assert not problem.stored
    return problem
