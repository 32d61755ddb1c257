"""Loading and embedding as jobs, and going on with a load that did not get to its end."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lib.actors import LOCAL, Actor, writes
from lib.errors import InvalidInput, NotFound
from lib.ingest.columns import ColumnChoice
from lib.ingest.document_stream import DocumentStream, file_stream, sample_stream, unreadable_stream
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingProblem
from lib.ingest.pipeline import LoadOptions, LoadProgress
from lib.ingest.problems import ProblemFile, problems_path
from lib.ingest.read_options import ReadOptions
from lib.ingest.service import DocumentService
from lib.ingest.uploads import clean_up, delete_uploads
from lib.store.collections import Collection, list_collections
from lib.store.jobs import Job, JobContext, JobKind, Jobs, JobStatus

MAX_RESUMABLE_SOURCES = 10_000
"""A job keeps the list of its files, so that it can be resumed; of more, it would be too long."""

_RESUMABLE = (JobStatus.CANCELLED, JobStatus.FAILED, JobStatus.INTERRUPTED)


def load_key(collection: Collection) -> str:
    """One load or backfill a collection at a time: two would embed the same rows twice."""
    return f"load:{collection.id}"


@writes("documents.load")
async def start_load(
    jobs: Jobs,
    documents: DocumentService,
    collection: Collection,
    streams: Sequence[DocumentStream],
    options: LoadOptions | None = None,
    *,
    actor: Actor = LOCAL,
) -> Job:
    """Loads the feeds in the background, which a page need not wait for.

    Uploads that were saved for it are removed when it is done. Raises Busy while the collection
    is being loaded, InvalidInput where the parts of a file would be longer than its model takes.
    """
    chosen = options or LoadOptions()
    streams = sorted(streams, key=lambda stream: stream.unreadable is not None)
    fitting = [stream.fit_to(collection) for stream in streams]
    names = ", ".join(stream.name for stream in streams[:3])
    more = f" and {len(streams) - 3} more" if len(streams) > 3 else ""
    home = documents.settings.home
    await asyncio.to_thread(clean_up, home)

    async def work(context: JobContext) -> dict[str, Any]:
        result = await _load(context, documents, collection, fitting, chosen, actor)
        paths = [stream.source.path for stream in streams if stream.source and stream.source.path]
        await asyncio.to_thread(delete_uploads, home, paths)
        return result

    return await jobs.start(
        JobKind.LOAD,
        f"Loading {names}{more} into {collection.name}",
        work,
        collection_id=collection.id,
        exclusive_key=load_key(collection),
        parameters=_parameters(fitting, chosen),
        actor=actor,
    )


@writes("documents.load")
async def start_sample_load(
    jobs: Jobs,
    documents: DocumentService,
    collection: Collection,
    limit: int | None = None,
    *,
    actor: Actor = LOCAL,
) -> Job:
    """Loads the documentation of Python and of the installed packages.

    limit: at most so many documents.
    """

    async def work(context: JobContext) -> dict[str, Any]:
        return await _load(
            context, documents, collection, [sample_stream(limit)], LoadOptions(), actor
        )

    return await jobs.start(
        JobKind.SAMPLE,
        f"Loading the sample into {collection.name}",
        work,
        collection_id=collection.id,
        exclusive_key=load_key(collection),
        actor=actor,
    )


@writes("documents.embed")
async def start_backfill(
    jobs: Jobs, documents: DocumentService, collection: Collection, *, actor: Actor = LOCAL
) -> Job:
    """Embeds what has no embedding yet."""

    async def work(context: JobContext) -> dict[str, Any]:
        counts = await documents.backfill_embeddings(
            collection, on_progress=context.report, actor=actor
        )
        return {"embedded": asdict(counts)}

    return await jobs.start(
        JobKind.BACKFILL,
        f"Embedding what is missing in {collection.name}",
        work,
        collection_id=collection.id,
        exclusive_key=load_key(collection),
        actor=actor,
    )


async def _load(
    context: JobContext,
    documents: DocumentService,
    collection: Collection,
    streams: Sequence[DocumentStream],
    options: LoadOptions,
    actor: Actor,
) -> dict[str, Any]:
    async def on_progress(progress: LoadProgress) -> None:
        await context.report(progress, detail=progress.to_json(), force=progress.last)

    problem_file = ProblemFile(problems_path(documents.settings.home, context.job_id))
    summary = await documents.load(
        collection, streams, on_progress, options=options, problem_file=problem_file, actor=actor
    )
    return summary.to_json()


# --- going on -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _LoadedFile:
    """A file of a load, as the job's record keeps it."""

    name: str
    path: Path
    size_bytes: int
    changed_ns: int
    options: ReadOptions

    @property
    def is_unchanged(self) -> bool:
        stat = self.path.stat()
        return (stat.st_size, stat.st_mtime_ns) == (self.size_bytes, self.changed_ns)


def can_resume(job: Job) -> bool:
    """Whether it is a load that did not get to its end and whose files are known."""
    return (
        job.kind is JobKind.LOAD and job.status in _RESUMABLE and bool(job.parameters.get("files"))
    )


@writes("documents.load")
async def resume_load(
    jobs: Jobs, documents: DocumentService, job_id: uuid.UUID, *, actor: Actor = LOCAL
) -> Job:
    """Goes on with a load that was cancelled, interrupted or failed, as a new job.

    Files that were stored to their end and have not changed since are not read again; of the
    others, what is stored already is not written or embedded again.

    Raises NotFound where the job, its collection or a file is gone, InvalidInput where the job is
    none that can be resumed, and what :func:`start_load` raises.
    """
    job = await jobs.get(job_id)
    if job.active:
        raise InvalidInput("This load is still running.")
    if not can_resume(job):
        raise InvalidInput(
            "There is nothing to go on with: "
            + (
                "this load is done." if job.status is JobStatus.DONE else "its files are not known."
            ),
            hint="Load the files again: what is stored already is not done twice.",
        )
    collection = await _collection_of(documents, job)
    options = LoadOptions(**job.parameters["options"])
    files = [_file(entry, job.parameters["read"]) for entry in job.parameters["files"]]
    streams = await asyncio.to_thread(_streams, files, _done_before(job, options))
    streams += [
        unreadable_stream(IncomingProblem(**entry)) for entry in job.parameters.get("unread", ())
    ]
    return await start_load(jobs, documents, collection, streams, options, actor=actor)


def _done_before(job: Job, options: LoadOptions) -> int:
    # To replace all, every row has to be seen again.
    return 0 if options.replace_all else int((job.result or {}).get("sources_done", 0))


def _streams(files: Sequence[_LoadedFile], done: int) -> list[DocumentStream]:
    streams = []
    for number, file in enumerate(files):
        try:
            # At least one, so that there is a load: it also embeds what is missing.
            if number < min(done, len(files) - 1) and file.is_unchanged:
                continue
            streams.append(
                file_stream(FileSource.from_path(file.path, name=file.name), file.options)
            )
        except OSError as exc:
            raise NotFound(
                f"{file.name} is not there any more ({exc.strerror}).",
                hint="Load the files again: what is stored already is not done twice.",
            ) from exc
    return streams


async def _collection_of(documents: DocumentService, job: Job) -> Collection:
    async with documents.database.session() as db:
        for collection in await list_collections(db):
            if collection.id == job.collection_id:
                return collection
    raise NotFound("The collection of this load is gone.")


def _parameters(streams: Sequence[DocumentStream], options: LoadOptions) -> dict[str, Any]:
    """What the record of a load keeps: the first names, and all that is needed to resume it.

    ``read`` holds the different ReadOptions, which are mostly one for all files; a file is [name,
    path, size, time of change, which of the options].
    """
    parameters: dict[str, Any] = {
        "sources": [stream.name for stream in streams[:20]],
        "options": asdict(options),
    }
    if len(streams) > MAX_RESUMABLE_SOURCES:
        return parameters
    read: list[dict[str, Any]] = []
    files: list[list[Any]] = []
    for stream in streams:
        if stream.unreadable is not None:
            continue  # after all others, whose places are counted
        if stream.source is None or stream.source.path is None or stream.options is None:
            return parameters  # such as a file in memory: it is gone with this process
        chosen = asdict(stream.options)
        if chosen not in read:
            read.append(chosen)
        path = stream.source.path.absolute()
        try:
            stat = path.stat()
        except OSError:  # gone already: the load will say so
            return parameters
        place = read.index(chosen)
        files.append([stream.name, str(path), stat.st_size, stat.st_mtime_ns, place])
    unread = [asdict(stream.unreadable) for stream in streams if stream.unreadable is not None]
    return {**parameters, "read": read, "files": files, "unread": unread}


def _file(entry: Sequence[Any], read: Sequence[dict[str, Any]]) -> _LoadedFile:
    name, path, size_bytes, changed_ns, place = entry
    chosen = dict(read[place])
    columns = dict(chosen.pop("columns"))
    columns["text"] = tuple(columns["text"])
    options = ReadOptions(columns=ColumnChoice(**columns), **chosen)
    return _LoadedFile(name, Path(path), size_bytes, changed_ns, options)
