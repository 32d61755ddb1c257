"""Judged collections in BEIR form: corpus.jsonl, queries.jsonl and qrels, each also gzipped.

The form is that of the BEIR benchmark: ``_id``, ``title`` and ``text`` in the corpus, ``_id`` and
``text`` in the queries, ``query-id``, ``corpus-id`` and ``score`` in the judgments, which are one
file (``qrels.tsv``) or one a split (``qrels/test.tsv``). TREC's four columns are read as well.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from lib.errors import InvalidInput, ReadProblem
from lib.ingest.columns import ColumnChoice
from lib.ingest.document_stream import DocumentStream, file_stream
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingDocument, IncomingProblem, storable_id
from lib.ingest.queries import IncomingJudgment, IncomingQuery, QueryKind, QueryStream
from lib.ingest.read import read
from lib.ingest.read_options import ReadOptions
from lib.ingest.readers.text import open_lines

_CORPUS = ReadOptions(encoding="utf-8", columns=ColumnChoice(text=("text",), external_id="_id"))
_QUERIES = ReadOptions(
    encoding="utf-8",
    columns=ColumnChoice(text=("text",), title="", category="", external_id="_id"),
)
_LONGEST_LINE_CHARACTERS = 10_000
_LARGEST_GRADE = 2**31 - 1


@dataclass(frozen=True)
class JudgedFolder:
    """The files of a collection in BEIR form.

    corpus: None where only queries and judgments are there. judgments: split ("test", or "" where
    there are no splits) → file.
    """

    folder: Path
    corpus: Path | None
    queries: Path
    judgments: Mapping[str, Path]

    def documents(self) -> DocumentStream:
        """The corpus. Raises InvalidInput where there is none."""
        if self.corpus is None:
            raise InvalidInput(f"There is no corpus.jsonl in {self.folder.name}.")
        return file_stream(_source(self.corpus), _CORPUS)

    def query_streams(self, splits: Sequence[str] = ()) -> list[QueryStream]:
        """One query set: all queries, with the judgments of the one file. Of several splits, a set
        each, of the queries that it judges.

        splits: only these. Raises InvalidInput, naming what there is, where one is not there.
        """
        for split in splits:
            if split not in self.judgments:
                there = ", ".join(name for name in self.judgments if name) or "no splits"
                raise InvalidInput(
                    f"There is no split “{split}” in {self.folder.name}.",
                    hint=f"There is: {there}.",
                    field="split",
                )
        name = self.folder.resolve().name or "queries"
        if not self.judgments:
            return [QueryStream(name, QueryKind.TEXT, self._read_queries)]
        return [
            QueryStream(
                f"{name} ({split})" if split else name,
                QueryKind.TEXT,
                self._read_queries,
                lambda path=path: read_judgments(_source(path)),  # type: ignore[misc]
                judged_only=bool(split),
            )
            for split, path in self.judgments.items()
            if not splits or split in splits
        ]

    def _read_queries(self) -> Iterator[IncomingQuery | IncomingProblem]:
        return read_queries(_source(self.queries))


def find_judged(folder: Path) -> JudgedFolder | None:
    """The collection in BEIR form that a folder holds; None where it holds none."""
    queries = _jsonl(folder, "queries")
    if queries is None:
        return None
    corpus = _jsonl(folder, "corpus")
    whole = next((path for path in sorted(folder.glob("qrels.tsv*")) if _is_tsv(path)), None)
    splits = {
        path.name.split(".")[0]: path
        for path in sorted((folder / "qrels").glob("*"))
        if _is_tsv(path)
    }
    judgments = splits or ({} if whole is None else {"": whole})
    if corpus is None and not judgments:
        return None
    return JudgedFolder(folder, corpus, queries, judgments)


def read_queries(source: FileSource) -> Iterator[IncomingQuery | IncomingProblem]:
    """queries.jsonl. What cannot be read is a problem in the stream."""
    for incoming in read(source, _QUERIES):
        if isinstance(incoming, IncomingDocument):
            yield IncomingQuery(external_id=incoming.external_id, text=incoming.content)
        else:
            yield incoming


def read_judgments(source: FileSource) -> Iterator[IncomingJudgment | IncomingProblem]:
    """A file of judgments: query, document, grade with tabs between them and a header, or TREC's
    form (query, iteration, document, grade). What cannot be read is a problem in the stream."""
    hint = "A line is: query id, document id and grade, with tabs between them."
    try:
        with open_lines(
            source,
            ReadOptions(encoding="utf-8"),
            newline=None,
            max_characters=_LONGEST_LINE_CHARACTERS,
        ) as lines:
            while line := lines.next_line():
                if not line.strip():
                    continue
                try:
                    judgment = _judgment(line)
                except InvalidInput as exc:
                    if lines.number == 1 and _is_header(line):
                        continue
                    place = f"line {lines.number:,}"
                    yield IncomingProblem(source.name, place, exc.message, hint)
                else:
                    yield judgment
            yield from lines.problems()
    except ReadProblem as exc:
        yield IncomingProblem(source.name, exc.place, exc.message, exc.hint)
    except OSError as exc:
        reason = exc.strerror or type(exc).__name__
        yield IncomingProblem(source.name, "", f"The file could not be read: {reason}.")


def _judgment(line: str) -> IncomingJudgment:
    fields = line.strip("\r\n").split("\t")
    if len(fields) < 3:  # an id may hold spaces only where tabs part the columns
        fields = line.split()
    if len(fields) == 4:  # TREC's second column, the iteration, tells nothing
        del fields[1]
    if len(fields) != 3:
        raise InvalidInput(f"The line has {len(fields):,} columns.")
    query, document, grade = fields
    try:
        value = float(grade)
    except ValueError:
        raise InvalidInput("The grade is no number.") from None
    if not value.is_integer() or abs(value) > _LARGEST_GRADE:
        raise InvalidInput(f"The grade is {value:g}, and not a whole number.")
    return IncomingJudgment(storable_id(query), storable_id(document), int(value))


def _is_header(line: str) -> bool:
    return not any(character.isdigit() for character in line.split()[-1])


def _is_tsv(path: Path) -> bool:
    return path.name.endswith((".tsv", ".tsv.gz")) and path.is_file()


def _jsonl(folder: Path, stem: str) -> Path | None:
    paths = [folder / f"{stem}.jsonl", folder / f"{stem}.jsonl.gz"]
    return next((path for path in paths if path.is_file()), None)


def _source(path: Path) -> FileSource:
    """The file, or what is inside it where it is gzipped."""
    if path.suffix != ".gz":
        return FileSource.from_path(path)
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4))
        # A gzip file ends with its content's length, modulo 2³²: good enough for a progress bar.
        size_bytes = int.from_bytes(file.read(4), "little")
    return FileSource(path.stem, lambda: cast(BinaryIO, _Gzip(path)), size_bytes=size_bytes)


class _Gzip(gzip.GzipFile):
    """Says what is wrong with a broken file; its own errors are of three families."""

    def read(self, size: int | None = -1) -> bytes:
        try:
            return super().read(size)
        except (gzip.BadGzipFile, EOFError, zlib.error):
            raise ReadProblem(
                "The file is no whole gzip file: it breaks off, or its bytes were changed.",
                source=str(self.name),
                hint="Copy or download it again.",
            ) from None
