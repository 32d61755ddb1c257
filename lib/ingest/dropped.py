"""Files that were dropped on a page → what a load takes: on disk, each as a person wants it read.

A folder in BEIR form is known by its names; vectors bring the file with their texts, and some
bring queries.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Generic, TypeVar

from lib.errors import InvalidInput, VecscopeError
from lib.ingest.beir import JudgedFolder, find_judged
from lib.ingest.document_stream import Feed, file_feed, unread_feed
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingProblem
from lib.ingest.jobs import start_load
from lib.ingest.queries import QueryFeed
from lib.ingest.read_options import ReadOptions
from lib.ingest.readers.registry import reader_for
from lib.ingest.readers.row_texts import EXTENSIONS as TEXTS_EXTENSIONS
from lib.ingest.readers.row_texts import STEMS as TEXTS_STEMS
from lib.ingest.readers.vectors import is_vector_file
from lib.ingest.service import DocumentService, LoadOptions
from lib.ingest.uploads import Upload, drop_uploads, spool_folder, spool_uploads
from lib.ingest.vectors import NEIGHBOURS, TEST, VectorFileFacts, vector_queries
from lib.store.collections import Collection
from lib.store.jobs import Job, Jobs

_JUDGED = re.compile(
    r"(corpus|queries)\.jsonl(\.gz)?|qrels\.tsv(\.gz)?|qrels/[\w-]{1,50}\.tsv(\.gz)?"
)


F = TypeVar("F", bound=Upload)


@dataclass(frozen=True)
class SortedOut(Generic[F]):
    """Dropped files, in their order.

    judged: place in the BEIR folder that some of them make → file. looked: those to be looked
    into, rest: those to be loaded without; unread: those that no reader knows, each with the
    problem.
    """

    judged: dict[str, F]
    looked: list[F]
    rest: list[F]
    unread: list[tuple[F, IncomingProblem]]


@dataclass(frozen=True)
class Chosen:
    """A dropped file, and how it is to be read. texts: those of its vectors; facts: about them."""

    upload: Upload
    options: ReadOptions
    texts: Upload | None = None
    facts: VectorFileFacts | None = None


@dataclass(frozen=True)
class Ready(Generic[F]):
    """What is to be loaded; judged and unread as in SortedOut."""

    chosen: list[Chosen]
    judged: dict[str, F]
    unread: list[IncomingProblem]


@dataclass(frozen=True)
class Prepared:
    """What is on disk now and waits for its load; queries: to be stored before, since their files
    are gone with the load."""

    feeds: list[Feed]
    queries: list[QueryFeed]


def sort_out(files: Sequence[F], most_looked: int) -> SortedOut[F]:
    """Of the others, those to be looked into are of as many formats as there are. Files of vectors
    all are: whether they fit into a collection, their names do not tell."""
    places = judged_places([file.name for file in files])
    found: SortedOut[F] = SortedOut({}, [], [], [])
    readable: list[F] = []
    for file in files:
        if file.name in places:
            found.judged[places[file.name]] = file
            continue
        try:
            reader_for(file.name)
        except InvalidInput as exc:
            found.unread.append((file, IncomingProblem(file.name, "", exc.message, exc.hint)))
        else:
            readable.append(file)
    # The texts of vectors are found among the others, so that the vectors come first.
    vectors = [file for file in readable if is_vector_file(file.name)]
    others = _varied([file for file in readable if not is_vector_file(file.name)])
    found.looked.extend([*vectors, *others[:most_looked]])
    found.rest.extend(others[most_looked:])
    return found


def _varied(files: Sequence[F]) -> list[F]:
    """The first of each ending by name, then the second of each, and so on."""
    seen: Counter[str] = Counter()
    ranked = []
    for file in sorted(files, key=lambda file: file.name):
        ending = PurePosixPath(file.name).suffix.lower()
        ranked.append((seen[ending], file))
        seen[ending] += 1
    return [file for _, file in sorted(ranked, key=lambda one: one[0])]


def with_rest(chosen: Sequence[Chosen], files: SortedOut[F], options: ReadOptions) -> Ready[F]:
    """What was chosen, and the files that were not looked into, but for texts of vectors."""
    texts = [one.texts for one in chosen]
    rest = [Chosen(file, options) for file in files.rest if file not in texts]
    return Ready([*chosen, *rest], files.judged, [problem for _, problem in files.unread])


def prepare(home: Path, collection: Collection, ready: Ready[F], judged_name: str) -> Prepared:
    """Writes the files below ``home``, where they outlive the page.

    judged_name: of the BEIR folder. Raises DiskFull, OSError.
    """
    feeds: list[Feed] = []
    queries: list[QueryFeed] = []
    files = [one.upload for one in ready.chosen]
    texts = [one.texts for one in ready.chosen if one.texts is not None]
    sources = spool_uploads(home, [*files, *texts]) if files else []
    texts_sources = iter(sources[len(files) :])
    for one, source in zip(ready.chosen, sources, strict=False):
        options = one.options
        if one.texts is not None:
            options = replace(options, texts=str(next(texts_sources).path))
        feeds.append(file_feed(source, options))
        if one.facts is not None and one.facts.has_queries:
            queries.append(_queries(source, one.facts, collection))
    if ready.judged:
        folder = replace(_spooled(home, ready.judged), folder=Path(judged_name))
        if folder.corpus is not None:
            feeds.append(folder.documents())
        queries += folder.query_feeds()
    feeds += [unread_feed(problem) for problem in ready.unread]
    return Prepared(feeds, queries)


async def start_prepared(
    jobs: Jobs,
    documents: DocumentService,
    collection: Collection,
    prepared: Prepared,
    options: LoadOptions,
) -> Job:
    """As :func:`~lib.ingest.jobs.start_load`; where that is refused, the files go from the disk."""
    try:
        return await start_load(jobs, documents, collection, prepared.feeds, options)
    except VecscopeError:
        paths = [feed.source.path for feed in prepared.feeds if feed.source and feed.source.path]
        await asyncio.to_thread(drop_uploads, documents.settings.home, paths)
        raise


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


def texts_beside(file: F, files: SortedOut[F]) -> tuple[dict[str, F], str | None]:
    """The files in the same folder that may have the texts of a file of vectors, and the name of
    the one that has them by its name."""
    own = PurePosixPath(file.name)
    beside = {
        other.name: other
        for other in (*files.looked, *files.rest)
        if other.name != file.name
        and PurePosixPath(other.name).parent == own.parent
        and PurePosixPath(other.name).suffix.lower().removeprefix(".") in TEXTS_EXTENSIONS
    }
    ranked = []
    for name in beside:
        stem = PurePosixPath(name).stem.lower()
        if stem == own.stem.lower():
            ranked.append((-2, name))
        elif stem.startswith(own.stem.lower()) and stem.rpartition("_")[2] in TEXTS_STEMS:
            ranked.append((-1, name))
        elif stem in TEXTS_STEMS:
            ranked.append((TEXTS_STEMS.index(stem), name))
    return beside, min(ranked)[1] if ranked else None


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


def _queries(source: FileSource, facts: VectorFileFacts, collection: Collection) -> QueryFeed:
    assert source.path is not None
    return vector_queries(
        FileSource.from_path(source.path, name=source.name),
        dimensions=collection.dimensions,
        distance=collection.distance,
        dataset=TEST,
        truth=FileSource.from_path(source.path, name=source.name)
        if NEIGHBOURS in facts.datasets
        else None,
        truth_dataset=NEIGHBOURS,
        base=source.name,
        name=PurePosixPath(source.name).stem,
    )
