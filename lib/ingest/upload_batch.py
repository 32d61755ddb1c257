"""Uploads on their way into a load: dropped files are classified, a person sees previews of some
and says how they are read, and all are saved to disk as streams for the load.

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

from lib.actors import LOCAL, Actor, writes
from lib.errors import InvalidInput, VecscopeError
from lib.ingest.beir import JudgedFolder, find_judged
from lib.ingest.document_stream import DocumentStream, file_stream, unreadable_stream
from lib.ingest.incoming import IncomingProblem
from lib.ingest.jobs import start_load
from lib.ingest.pipeline import LoadOptions
from lib.ingest.queries import QueryStream
from lib.ingest.read_options import ReadOptions
from lib.ingest.readers.registry import reader_for
from lib.ingest.readers.row_texts import EXTENSIONS as TEXTS_EXTENSIONS
from lib.ingest.readers.row_texts import STEMS as TEXTS_STEMS
from lib.ingest.readers.vectors import is_vector_file
from lib.ingest.service import DocumentService
from lib.ingest.uploads import Upload, delete_uploads, save_upload_folder, save_uploads
from lib.ingest.vectors import VectorFileFacts, queries_of_vector_file
from lib.store.collections import Collection
from lib.store.jobs import Job, Jobs

_BEIR_FILE = re.compile(
    r"(corpus|queries)\.jsonl(\.gz)?|qrels\.tsv(\.gz)?|qrels/[\w-]{1,50}\.tsv(\.gz)?"
)


F = TypeVar("F", bound=Upload)


@dataclass(frozen=True)
class FileToLoad(Generic[F]):
    """A file, and how it is to be read."""

    file: F
    options: ReadOptions

    texts: F | None = None
    """Of a file of vectors: the file with their texts."""

    vectors: VectorFileFacts | None = None
    """Of a file with vectors: what is known of them."""


@dataclass(frozen=True)
class VectorTexts(Generic[F]):
    """Files that may have the texts of a file of vectors."""

    candidates: Mapping[str, F]
    """Name → file."""

    likely: str | None
    """The name of the one that has them by its name."""


@dataclass(frozen=True)
class UploadBatch(Generic[F]):
    """Dropped files, by what becomes of them."""

    beir_files: dict[str, F]
    """Path in the folder in BEIR form that some of them make → file."""

    to_preview: list[F]
    """Files whose first documents are shown before the load."""

    without_preview: list[F]
    """Readable files that are loaded without."""

    unreadable: list[tuple[F, IncomingProblem]]
    """Files that no reader knows, each with its problem."""

    @property
    def readable(self) -> list[F]:
        """All but those of the folder in BEIR form."""
        return [*self.to_preview, *self.without_preview]

    def texts_for(self, vectors: F) -> VectorTexts[F]:
        """The files in the same folder that may have the texts of a file of vectors."""
        path = PurePosixPath(vectors.name)
        candidates = {
            file.name: file
            for file in self.readable
            if file.name != vectors.name
            and PurePosixPath(file.name).parent == path.parent
            and PurePosixPath(file.name).suffix.lower().removeprefix(".") in TEXTS_EXTENSIONS
        }
        ranked = []
        for name in candidates:
            stem = PurePosixPath(name).stem.lower()
            if stem == path.stem.lower():
                ranked.append((-2, name))
            elif stem.startswith(path.stem.lower()) and stem.rpartition("_")[2] in TEXTS_STEMS:
                ranked.append((-1, name))
            elif stem in TEXTS_STEMS:
                ranked.append((TEXTS_STEMS.index(stem), name))
        return VectorTexts(candidates, min(ranked)[1] if ranked else None)

    def files_to_load(
        self, previewed: Sequence[FileToLoad[F]], options: ReadOptions
    ) -> list[FileToLoad[F]]:
        """The previewed files as a person wants them read, and those without a preview by the
        options; not those that are the texts of vectors."""
        texts = [file_to_load.texts for file_to_load in previewed]
        others = [FileToLoad(file, options) for file in self.without_preview if file not in texts]
        return [*previewed, *others]


@dataclass(frozen=True)
class SavedUploads:
    """Uploads on disk, ready to be loaded."""

    streams: list[DocumentStream]

    query_streams: list[QueryStream]
    """To be stored before the load, since their files are gone with it."""


def classify_uploads(files: Sequence[F], max_previews: int) -> UploadBatch[F]:
    """Sorts dropped files by what becomes of them.

    The previewed ones are of as many formats as there are. Files of vectors are all previewed:
    whether they fit into a collection, their names do not tell.
    """
    beir_paths = find_beir_paths([file.name for file in files])
    batch: UploadBatch[F] = UploadBatch({}, [], [], [])
    readable: list[F] = []
    for file in files:
        if file.name in beir_paths:
            batch.beir_files[beir_paths[file.name]] = file
            continue
        try:
            reader_for(file.name)
        except InvalidInput as exc:
            problem = IncomingProblem(file.name, "", exc.message, exc.hint)
            batch.unreadable.append((file, problem))
        else:
            readable.append(file)
    # The texts of vectors are chosen among the others, so that the vectors come first.
    vectors = [file for file in readable if is_vector_file(file.name)]
    others = _alternating_formats([file for file in readable if not is_vector_file(file.name)])
    batch.to_preview.extend([*vectors, *others[:max_previews]])
    batch.without_preview.extend(others[max_previews:])
    return batch


def _alternating_formats(files: Sequence[F]) -> list[F]:
    """The first of each ending by name, then the second of each, and so on."""
    counts: Counter[str] = Counter()
    ranked = []
    for file in sorted(files, key=lambda file: file.name):
        ending = PurePosixPath(file.name).suffix.lower()
        ranked.append((counts[ending], file))
        counts[ending] += 1
    return [file for _, file in sorted(ranked, key=lambda pair: pair[0])]


def save_batch(
    home: Path,
    collection: Collection,
    batch: UploadBatch[F],
    files: Sequence[FileToLoad[F]],
    beir_name: str,
) -> SavedUploads:
    """Writes the files below ``home``, where they outlive the page.

    beir_name: of the folder in BEIR form. Raises DiskFull, OSError.
    """
    saved = SavedUploads([], [])
    texts = [file.texts for file in files if file.texts is not None]
    sources = save_uploads(home, [*(file.file for file in files), *texts]) if files else []
    texts_sources = iter(sources[len(files) :])
    for file, source in zip(files, sources, strict=False):
        options = file.options
        if file.texts is not None:
            options = replace(options, texts=str(next(texts_sources).path))
        saved.streams.append(file_stream(source, options))
        if file.vectors is not None and file.vectors.has_queries:
            saved.query_streams.append(
                queries_of_vector_file(
                    source,
                    file.vectors,
                    dimensions=collection.dimensions,
                    distance=collection.distance,
                )
            )
    if batch.beir_files:
        folder = replace(_saved_beir_folder(home, batch.beir_files), folder=Path(beir_name))
        if folder.corpus is not None:
            saved.streams.append(folder.documents())
        saved.query_streams.extend(folder.query_streams())
    saved.streams.extend(unreadable_stream(problem) for _, problem in batch.unreadable)
    return saved


@writes("documents.load")
async def start_saved_load(
    jobs: Jobs,
    documents: DocumentService,
    collection: Collection,
    saved: SavedUploads,
    options: LoadOptions,
    *,
    actor: Actor = LOCAL,
) -> Job:
    """As :func:`~lib.ingest.jobs.start_load`; where that is refused, the files go from the disk."""
    try:
        return await start_load(jobs, documents, collection, saved.streams, options, actor=actor)
    except VecscopeError:
        paths = [
            stream.source.path for stream in saved.streams if stream.source and stream.source.path
        ]
        await asyncio.to_thread(delete_uploads, documents.settings.home, paths)
        raise


def find_beir_paths(names: Sequence[str]) -> dict[str, str]:
    """Name → path in the folder in BEIR form that these files make; empty where they make none."""
    for name in names:
        path = PurePosixPath(name)
        if path.name in {"queries.jsonl", "queries.jsonl.gz"}:
            paths = {}
            for other in names:
                if PurePosixPath(other).is_relative_to(path.parent):
                    inner = PurePosixPath(other).relative_to(path.parent).as_posix()
                    if _BEIR_FILE.fullmatch(inner):
                        paths[other] = inner
            if any(inner.startswith(("corpus.", "qrels")) for inner in paths.values()):
                return paths
    return {}


class OnDisk:
    """A dropped file on disk for as long as this lives, for readers that need its path."""

    def __init__(self, name: str, content: bytes | memoryview) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="vecscope-look-")
        self.path = Path(self._folder.name, f"texts{PurePosixPath(name).suffix}")
        self.path.write_bytes(content)


def _saved_beir_folder(home: Path, files: Mapping[str, Upload]) -> JudgedFolder:
    folder = find_judged(save_upload_folder(home, files))
    assert folder is not None  # find_beir_paths looks for no less
    return folder
