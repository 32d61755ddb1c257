"""Files that were dropped on a page → what a load takes: on disk, each as a person wants it read.

A folder in BEIR form is known by its names; vectors bring the file with their texts, and some
bring queries.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from lib.ingest.beir import JudgedFolder, find_judged
from lib.ingest.feeds import Feed, file_feed, unread_feed
from lib.ingest.incoming import IncomingProblem
from lib.ingest.queries import QueryFeed
from lib.ingest.readers.row_texts import EXTENSIONS as TEXTS_EXTENSIONS
from lib.ingest.readers.vectors import is_vector_file
from lib.ingest.source import ReadOptions, Source
from lib.ingest.uploads import Upload, spool_folder, spool_uploads
from lib.ingest.vectors import NEIGHBOURS, TEST, VectorFileFacts, vector_queries
from lib.store.collections import Collection

_JUDGED = re.compile(
    r"(corpus|queries)\.jsonl(\.gz)?|qrels\.tsv(\.gz)?|qrels/[\w-]{1,50}\.tsv(\.gz)?"
)
_TEXTS_STEMS = ("texts", "documents", "titles", "words", "labels", "names", "ids", "metadata")


@dataclass(frozen=True)
class Chosen:
    """A dropped file, and how it is to be read. texts: those of its vectors; facts: about them."""

    upload: Upload
    options: ReadOptions
    texts: Upload | None = None
    facts: VectorFileFacts | None = None


@dataclass(frozen=True)
class Prepared:
    """What is on disk now and waits for its load; queries: to be stored before."""

    feeds: list[Feed]
    queries: list[QueryFeed]


def prepare(
    home: Path,
    collection: Collection,
    chosen: Sequence[Chosen],
    judged: Mapping[str, Upload],
    judged_name: str,
    unread: Sequence[IncomingProblem],
) -> Prepared:
    """Writes the files below ``home``, where they outlive the page.

    judged: place in the BEIR folder → file, as :func:`judged_places` gives them. unread: of files
    that no reader knows, for the list of problems. Raises DiskFull, OSError.
    """
    feeds: list[Feed] = []
    queries: list[QueryFeed] = []
    texts = [file.texts for file in chosen if file.texts is not None]
    sources = spool_uploads(home, [file.upload for file in chosen] + texts) if chosen else []
    texts_sources = iter(sources[len(chosen) :])
    for file, source in zip(chosen, sources, strict=False):
        options = file.options
        if file.texts is not None:
            options = replace(options, texts=str(next(texts_sources).path))
        feeds.append(file_feed(source, options))
        if file.facts is not None and file.facts.has_queries:
            queries.append(_queries(source, file.facts, collection))
    if judged:
        folder = replace(_spooled(home, judged), folder=Path(judged_name))
        if folder.corpus is not None:
            feeds.append(folder.documents())
        queries += folder.query_feeds()
    feeds += [unread_feed(problem) for problem in unread]
    return Prepared(feeds, queries)


def judged_places(names: Sequence[str]) -> dict[str, str]:
    """Name → place in the folder in BEIR form that these files make; empty where they make none."""
    for name in names:
        path = PurePosixPath(name)
        if path.name in {"queries.jsonl", "queries.jsonl.gz"}:
            places = {}
            for other in names:
                if PurePosixPath(other).is_relative_to(path.parent):
                    place = PurePosixPath(other).relative_to(path.parent).as_posix()
                    if _JUDGED.fullmatch(place):
                        places[other] = place
            if any(place.startswith(("corpus.", "qrels")) for place in places.values()):
                return places
    return {}


def likely_texts(name: str, others: Sequence[str]) -> str | None:
    """Which of the other files has the texts of a file of vectors, by its name."""
    own = PurePosixPath(name)
    found = []
    for other in candidate_texts(name, others):
        stem = PurePosixPath(other).stem.lower()
        if stem == own.stem.lower():
            found.append((-2, other))
        elif stem.startswith(own.stem.lower()) and stem.rpartition("_")[2] in _TEXTS_STEMS:
            found.append((-1, other))
        elif stem in _TEXTS_STEMS:
            found.append((_TEXTS_STEMS.index(stem), other))
    return min(found)[1] if found else None


def candidate_texts(name: str, others: Sequence[str]) -> list[str]:
    """The files in the same folder that may have the texts of a file of vectors."""
    own = PurePosixPath(name)
    return [
        other
        for other in others
        if other != name
        and PurePosixPath(other).parent == own.parent
        and PurePosixPath(other).suffix.lower().removeprefix(".") in TEXTS_EXTENSIONS
        and is_vector_file(name)
    ]


class OnDisk:
    """A dropped file on disk for as long as this lives, for readers that need its path."""

    def __init__(self, name: str, content: bytes | memoryview) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="vecscope-look-")
        self.path = Path(self._folder.name, f"texts{PurePosixPath(name).suffix}")
        self.path.write_bytes(content)


def _spooled(home: Path, judged: Mapping[str, Upload]) -> JudgedFolder:
    found = find_judged(spool_folder(home, judged))
    assert found is not None  # judged_places looks for no less
    return found


def _queries(source: Source, facts: VectorFileFacts, collection: Collection) -> QueryFeed:
    assert source.path is not None
    return vector_queries(
        Source.from_path(source.path, name=source.name),
        dimensions=collection.dimensions,
        distance=collection.distance,
        dataset=TEST,
        truth=Source.from_path(source.path, name=source.name)
        if NEIGHBOURS in facts.datasets
        else None,
        truth_dataset=NEIGHBOURS,
        base=source.name,
        name=PurePosixPath(source.name).stem,
    )
