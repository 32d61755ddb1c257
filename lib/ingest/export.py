"""A collection out: JSON Lines or Parquet, streamed, in a form that loads back to the same."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar

import numpy as np
from sqlalchemy import Select, Text, cast, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from lib.actors import LOCAL, Actor, writes
from lib.errors import InvalidInput
from lib.ingest.own_export import COLUMNS, EMBEDDING
from lib.store.browse import EVERYTHING, DocumentFilter, conditions
from lib.store.collections import Collection
from lib.store.database import Database
from lib.store.jobs import Job, JobContext, JobKind, Jobs
from lib.vectors.binary import binary_expression, decode_vector
from lib.vectors.distance import Storage

P = ParamSpec("P")
T = TypeVar("T")

# Of the longest documents that is 60 MB of text.
_BATCH_ROWS = 250
_MINUS_ZERO = re.compile(r"-0(?=[,\]])")
# A row group of Parquet: large enough to compress well, small enough to be held in memory.
_GROUP_ROWS = 20_000
_GROUP_BYTES = 16 << 20


class ExportFormat(StrEnum):
    """What a file can be."""

    JSONL = "jsonl"
    PARQUET = "parquet"

    @property
    def label(self) -> str:
        return {"jsonl": "JSON Lines", "parquet": "Parquet"}[self.value]


def format_of(path: Path) -> ExportFormat:
    """By the file's ending. Raises InvalidInput."""
    try:
        return ExportFormat(path.suffix.lower().removeprefix("."))
    except ValueError:
        raise InvalidInput(
            f"“{path.name}” ends neither in .jsonl nor in .parquet.",
            hint="The ending says what is written: name.jsonl or name.parquet.",
            field="out",
        ) from None


@dataclass(frozen=True, slots=True)
class Exported:
    """A file that was written. path: all of it."""

    path: str
    documents: int
    size_bytes: int
    with_embeddings: bool
    seconds: float


@writes("documents.export")
async def start_export(
    jobs: Jobs,
    database: Database,
    collection: Collection,
    path: Path,
    *,
    with_embeddings: bool = False,
    where: DocumentFilter = EVERYTHING,
    actor: Actor = LOCAL,
) -> Job:
    """Writes the documents that pass to a file, in the background; the job's result is
    :class:`Exported`.

    The file is there once it is whole. Raises InvalidInput for its ending, and Busy while the same
    file is being written.
    """
    file_format = format_of(path)

    async def work(context: JobContext) -> dict[str, Any]:
        found = await export_documents(
            database, collection, path, with_embeddings=with_embeddings, where=where, job=context
        )
        return asdict(found)

    return await jobs.start(
        JobKind.EXPORT,
        f"Exporting {collection.name} as {file_format.label}",
        work,
        collection_id=collection.id,
        exclusive_key=f"export:{path.absolute()}",
        parameters={"path": str(path), "with_embeddings": with_embeddings},
        actor=actor,
    )


def export_folder(home: Path) -> Path:
    """Where the page's exports lie."""
    return home / "exports"


@writes("documents.export")
async def start_kept_export(
    jobs: Jobs,
    database: Database,
    home: Path,
    collection: Collection,
    file_format: ExportFormat,
    *,
    with_embeddings: bool = False,
    where: DocumentFilter = EVERYTHING,
    actor: Actor = LOCAL,
) -> Job:
    """:func:`start_export` into :func:`export_folder`: one file for each way to export a
    collection, so that they do not pile up."""
    extras = "-filtered" * (not where.is_empty) + "-embeddings" * with_embeddings
    path = export_folder(home) / f"{collection.slug}{extras}.{file_format.value}"
    return await start_export(
        jobs,
        database,
        collection,
        path,
        with_embeddings=with_embeddings,
        where=where,
        actor=actor,
    )


async def export_documents(
    database: Database,
    collection: Collection,
    path: Path,
    *,
    with_embeddings: bool = False,
    where: DocumentFilter = EVERYTHING,
    job: JobContext | None = None,
) -> Exported:
    """Writes the documents that pass, by external id and part, as they were at one moment.

    Raises InvalidInput for a path that cannot be written.
    """
    started = time.perf_counter()
    file_format = format_of(path)
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writer: _Writer = await _in_thread(
            _WRITERS[file_format], unfinished, collection, with_embeddings
        )
    except asyncio.CancelledError:  # its thread went on, and has made the file by now
        unfinished.unlink(missing_ok=True)
        raise
    except OSError as exc:
        raise InvalidInput(
            f"{path} cannot be written: {exc.strerror or type(exc).__name__}.", field="out"
        ) from exc
    done = 0
    try:
        try:
            async with database.session() as db:
                total = await _count(db, collection, where)
                statement = _statement(collection, where, writer.embedding(collection))
                rows = await db.stream(statement.execution_options(yield_per=_BATCH_ROWS))
                async for batch in rows.partitions():
                    await _in_thread(writer.write, batch)
                    done += len(batch)
                    if job is not None:
                        await job.progress(done, total, f"Wrote {done:,} of {total:,} documents")
        finally:
            await _in_thread(writer.close)
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    return Exported(
        str(path.absolute()),
        done,
        path.stat().st_size,
        with_embeddings,
        time.perf_counter() - started,
    )


async def _in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """As asyncio.to_thread, but a cancel waits for the thread, which nothing can stop: else the
    file would be closed under its hands."""
    task = asyncio.create_task(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    finally:
        await asyncio.wait({task})


async def _count(db: AsyncSession, collection: Collection, where: DocumentFilter) -> int:
    rows = collection.documents
    statement = select(func.count()).select_from(rows).where(*conditions(collection, where))
    return int((await db.execute(statement)).scalar_one())


def _statement(collection: Collection, where: DocumentFilter, embedding: Any) -> Select[Any]:
    """The metadata as PostgreSQL writes it: no number in it passes through Python's floats."""
    c = collection.documents.c
    fields = [cast(c[name], Text) if name == "metadata" else c[name] for name in COLUMNS]
    named = [field.label(name) for field, name in zip(fields, COLUMNS, strict=True)]
    return (
        select(*named, *([] if embedding is None else [embedding.label(EMBEDDING)]))
        .where(*conditions(collection, where))
        .order_by(c.external_id, c.part)
    )


# --- the two formats ----------------------------------------------------------------------------


class _Writer(Protocol):
    def embedding(self, collection: Collection) -> Any:
        """The embedding as the writer wants it from the server; None for none."""

    def write(self, rows: Sequence[Any]) -> None: ...

    def close(self) -> None: ...


class _JsonLines:
    def __init__(self, path: Path, _collection: Collection, with_embeddings: bool) -> None:
        self._with_embeddings = with_embeddings
        self._file = path.open("w", encoding="utf-8", newline="\n", buffering=1 << 20)

    def embedding(self, collection: Collection) -> Any:
        """As text, which is JSON too: pgvector writes the shortest number that is the same
        float32 again."""
        return cast(collection.documents.c.embedding, Text) if self._with_embeddings else None

    def write(self, rows: Sequence[Any]) -> None:
        self._file.writelines(self._line(row) for row in rows)

    def _line(self, row: Any) -> str:
        texts = (row.external_id, row.title, row.content, row.category)
        external_id, title, content, category = (
            json.dumps(value, ensure_ascii=False) for value in texts
        )
        embedding = ""
        if self._with_embeddings:
            # As a whole number −0 would lose its sign.
            numbers = _MINUS_ZERO.sub("-0.0", row.embedding or "null")
            embedding = f', "{EMBEDDING}": {numbers}'
        return (
            f'{{"external_id": {external_id}, "part": {row.part}, "title": {title}, '
            f'"content": {content}, "category": {category}, "metadata": {row.metadata}'
            f"{embedding}}}\n"
        )

    def close(self) -> None:
        self._file.close()


class _Parquet:
    def __init__(self, path: Path, collection: Collection, with_embeddings: bool) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._storage = collection.storage
        self._with_embeddings = with_embeddings
        fields = [pa.field(name, pa.int32() if name == "part" else pa.string()) for name in COLUMNS]
        if with_embeddings:
            self._vectors = pa.list_(pa.float32(), collection.dimensions)
            fields.append(pa.field(EMBEDDING, self._vectors))
        said = {
            "vecscope_collection": collection.name,
            "vecscope_model": collection.model,
            "vecscope_distance": collection.distance.value,
            "vecscope_exported_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        self._schema = pa.schema(fields, metadata=said)
        self._file = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._rows: list[Any] = []
        self._bytes = 0

    def embedding(self, collection: Collection) -> Any:
        if not self._with_embeddings:
            return None
        return binary_expression(collection.documents.c.embedding, collection.storage)

    def write(self, rows: Sequence[Any]) -> None:
        self._rows.extend(rows)
        self._bytes += sum(
            len(row.content) + len(row.metadata) + len(getattr(row, EMBEDDING, None) or b"")
            for row in rows
        )
        if len(self._rows) >= _GROUP_ROWS or self._bytes >= _GROUP_BYTES:
            self._write_group()

    def _write_group(self) -> None:
        import pyarrow as pa

        arrays = [
            pa.array([getattr(row, name) for row in self._rows], self._schema.field(name).type)
            for name in COLUMNS
        ]
        if self._with_embeddings:
            sent = [row.embedding for row in self._rows]
            arrays.append(_vector_array(sent, self._storage, self._vectors))
        self._file.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        self._rows, self._bytes = [], 0

    def close(self) -> None:
        if self._rows:
            self._write_group()
        self._file.close()


def _vector_array(sent: Sequence[bytes | None], storage: Storage, kind: Any) -> Any:
    """A fixed-size list for each, null where there is no embedding. kind: the list's type."""
    import pyarrow as pa

    none = np.zeros(kind.list_size, dtype=np.float32)
    values = [none if one is None else decode_vector(one, storage) for one in sent]
    flat = pa.array(np.concatenate(values), pa.float32())
    missing = pa.array([one is None for one in sent], pa.bool_())
    return pa.FixedSizeListArray.from_arrays(flat, type=kind, mask=missing)


_WRITERS: dict[ExportFormat, Callable[[Path, Collection, bool], _Writer]] = {
    ExportFormat.JSONL: _JsonLines,
    ExportFormat.PARQUET: _Parquet,
}
