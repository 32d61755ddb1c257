"""The texts, labels or ids that lie beside a file of vectors: row n of one belongs to row n of the
other."""

from __future__ import annotations

import csv
import json
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.errors import ReadProblem
from lib.ingest.columns import unique_names
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingProblem
from lib.ingest.read_options import ReadOptions
from lib.ingest.readers.text import LineStream, open_lines

EXTENSIONS = ("jsonl", "ndjson", "csv", "tsv", "txt", "npy")

# Of several files with as many rows, the one whose name comes first here.
STEMS = (
    "texts",
    "documents",
    "titles",
    "words",
    "labels",
    "names",
    "ids",
    "metadata",
)
_LONGEST_LINE_CHARACTERS = 50_000_000
_LONGEST_FIELD_CHARACTERS = 10_000_000

Row = dict[str, Any]


@dataclass(frozen=True)
class RowTexts:
    """A file with as many rows as there are vectors. has_header: of a table."""

    path: Path
    has_header: bool = True

    @property
    def all_text(self) -> bool:
        """Whether every value comes as text, numbers too."""
        return self.path.suffix.lower() in {".csv", ".tsv"}

    def rows(self) -> Generator[Row | None]:
        """Column → value for each row; None for one that cannot be read. Raises ReadProblem."""
        if self.path.suffix.lower() == ".npy":
            yield from _labels(self.path)
            return
        with open_lines(
            FileSource.from_path(self.path),
            ReadOptions(),
            newline="" if self.all_text else "\n",
            max_characters=_LONGEST_LINE_CHARACTERS,
        ) as lines:
            if self.all_text:
                yield from self._table_rows(lines)
            elif self.path.suffix.lower() == ".txt":
                yield from ({"text": line.rstrip("\r\n")} for line in _each(lines))
            else:
                yield from (_object(line) for line in _each(lines) if line.strip())

    def _table_rows(self, lines: LineStream) -> Iterator[Row | None]:
        csv.field_size_limit(_LONGEST_FIELD_CHARACTERS)
        delimiter = "\t" if self.path.suffix.lower() == ".tsv" else ","
        try:
            cells = (row for row in csv.reader(_each(lines), delimiter=delimiter) if row)
            first = next(cells, [])
            header = unique_names(first if self.has_header else [""] * len(first))
            if not self.has_header:
                yield dict(zip(header, first, strict=True))
            for row in cells:
                yield dict(zip(header, row, strict=True)) if len(row) == len(header) else None
        except csv.Error as exc:
            raise ReadProblem(
                f"The table beside the vectors cannot be read: {exc}.", source=self.path.name
            ) from None


def find_texts(
    source: FileSource, chosen: str | None, rows: int | None
) -> tuple[RowTexts | None, IncomingProblem | None]:
    """The file with the texts of a file of vectors, and a note where the likely one does not fit.

    chosen: its path; "" for none; None: looked for beside the vectors, by name ("vectors.jsonl" or
    "labels.txt" for vectors.npy) and by its number of rows. rows: of the vectors, if known.
    Raises ReadProblem where the chosen one does not fit.
    """
    if chosen is not None:
        if not chosen:
            return None, None
        texts, count = _fitting(Path(chosen), rows)
        if texts is None:
            raise ReadProblem(_misfit(Path(chosen), count, rows), source=source.name)
        return texts, None
    problem = None
    for path in _beside(source):
        try:
            texts, count = _fitting(path, rows)
        except ReadProblem:
            continue  # no texts after all
        if texts is not None:
            return texts, None
        problem = problem or IncomingProblem(
            source.name, "", f"{_misfit(path, count, rows)} It was not taken.", stored=True
        )
    return None, problem


def _beside(source: FileSource) -> list[Path]:
    """Files that may hold the texts, the likeliest first."""
    if source.path is None or source.container is not None:
        return []
    own = source.path
    ranked = []
    for path in own.parent.iterdir():
        extension = path.suffix.lower().removeprefix(".")
        if path == own or extension not in EXTENSIONS or not path.is_file():
            continue
        stem = path.stem.lower()
        if path.stem == own.stem:
            rank = -2
        elif stem.startswith(own.stem.lower()) and stem.rpartition("_")[2] in STEMS:
            rank = -1
        elif stem in STEMS:
            rank = STEMS.index(stem)
        else:
            continue
        ranked.append((rank, EXTENSIONS.index(extension), path))
    return [path for _, _, path in sorted(ranked)]


def _fitting(path: Path, rows: int | None) -> tuple[RowTexts | None, int]:
    """The file where it has that many rows, and how many it has."""
    texts = RowTexts(path)
    count = sum(1 for _ in texts.rows())
    if rows is None or count == rows:
        return texts, count
    if texts.all_text and count + 1 == rows:
        return RowTexts(path, has_header=False), count + 1
    return None, count


def _misfit(path: Path, count: int, rows: int | None) -> str:
    return f"“{path.name}” has {count:,} rows, and there are {rows:,} vectors."


def _each(lines: LineStream) -> Iterator[str]:
    while line := lines.next_line():
        yield line


def _object(line: str) -> Row | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict):
        return value
    return {"text": value} if isinstance(value, str) else None


def _labels(path: Path) -> Iterator[Row]:
    try:
        labels = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as exc:
        raise ReadProblem(f"It is no npy file of labels: {exc}", source=path.name) from None
    if labels.ndim != 1 or labels.dtype.kind not in "iuUS":
        raise ReadProblem("It holds no labels, which are one column of texts or whole numbers.")
    for label in labels:
        yield {
            "label": label.decode("utf-8", "replace") if isinstance(label, bytes) else str(label)
        }
