"""The queries that an index is measured by: rows of the collection, a query set, or given vectors.

Never random vectors, which lie where no document is, and never the first rows by id, which came
together and are alike.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import ColumnElement, Text, cast, func, literal, select
from sqlalchemy.ext.asyncio import AsyncSession

from lib.embedding.service import Role, create_service
from lib.errors import InvalidInput, NotFound, VecscopeError
from lib.ingest.columns import ColumnChoice
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingProblem
from lib.ingest.read import read
from lib.ingest.read_options import ReadOptions
from lib.ingest.readers.registry import reader_for
from lib.ingest.vectors import TEST, inspect_vectors
from lib.limits import IntRange
from lib.settings import Settings
from lib.store.collections import Collection
from lib.store.database import Database
from lib.store.records import QueryRecord, QuerySetRecord
from lib.vectors.binary import binary_expression, decode_vector
from lib.vectors.distance import FloatArray, Storage, check_embedding

QUERY_COUNT = IntRange(1, 10_000, 500)
_PAGE_SPARE = 32
_LABEL_CHARACTERS = 200


@dataclass(frozen=True, eq=False)
class QueryBatch:
    """Queries of one collection.

    vectors: float32 array (q, d), each of which the collection's distance is defined for, to the
    precision that it stores. labels: what to call each. own_ids: for a query that is a row of the
    collection that row's id, which is no neighbour of it; else None. source: where they come from,
    for people. notes: what is to be said about them, such as that there are fewer than asked for.
    """

    vectors: FloatArray
    labels: tuple[str, ...]
    own_ids: tuple[Hashable | None, ...]
    source: str
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def has_own(self) -> bool:
        return any(id_ is not None for id_ in self.own_ids)

    def head(self, count: int) -> QueryBatch:
        """The first of them: for what is dear, such as the exact scan."""
        return replace(
            self,
            vectors=self.vectors[:count],
            labels=self.labels[:count],
            own_ids=self.own_ids[:count],
        )


async def sample_queries(
    database: Database,
    collection: Collection,
    count: int,
    seed: int = 0,
    where: Sequence[ColumnElement[bool]] = (),
) -> QueryBatch:
    """Rows at random, the same ones for the same seed as long as the rows are the same; each is
    left out of its own truth. where: conditions over ``collection.table``.

    They come in the order of a hash of seed and id: the order is that of chance, and needs no state
    of the server's. Raises LimitExceeded, InvalidInput where there is no row to ask by.
    """
    QUERY_COUNT.check(count, "queries")
    picked: list[tuple[Any, str, FloatArray]] = []
    zero = 0
    offset = 0
    async with database.session() as db:
        while len(picked) < count:
            page_size = count - len(picked) + _PAGE_SPARE
            page = await _sample_page(db, collection, seed, where, page_size, offset)
            offset += len(page)
            for id_, label, vector in page:
                if _usable(vector, collection):
                    picked.append((id_, label, vector))
                else:
                    zero += 1
            if len(page) < page_size:
                break
    if not picked:
        raise InvalidInput(
            f"“{collection.name}” has no row to ask by: none has an embedding that the "
            f"{collection.distance.label} is defined for.",
            hint="Embed its documents first.",
            field="queries",
        )
    picked = picked[:count]
    return QueryBatch(
        vectors=np.stack([vector for _, _, vector in picked]),
        labels=tuple(label for _, label, _ in picked),
        own_ids=tuple(id_ for id_, _, _ in picked),
        source=f"{_rows(len(picked))} at random (seed {seed})",
        notes=_notes(count, len(picked), zero),
    )


async def _sample_page(
    db: AsyncSession,
    collection: Collection,
    seed: int,
    where: Sequence[ColumnElement[bool]],
    limit: int,
    offset: int,
) -> list[tuple[Any, str, FloatArray]]:
    table = collection.table
    id_ = table.column(table.id)
    embedding = table.column(table.embedding)
    place = func.md5(func.concat(literal(f"{seed}:", Text()), cast(id_, Text)))
    picked = (
        select(id_.label("id"), place.label("place"))
        .where(embedding.is_not(None), *where)
        .order_by(place, id_)
        .limit(limit)
        .offset(offset)
        .cte("picked")
        .prefix_with("MATERIALIZED")
    )
    names = [table.column(name) for name in (table.title, table.external_id) if name is not None]
    label = func.coalesce(*(cast(name, Text) for name in names), cast(id_, Text))
    rows = await db.execute(
        select(id_, label.label("label"), binary_expression(embedding, table.storage))
        .join_from(picked, table.rows, id_ == picked.c.id)
        .order_by(picked.c.place, picked.c.id)
    )
    return [
        (row[0], row[1][:_LABEL_CHARACTERS], decode_vector(row[2], table.storage)) for row in rows
    ]


def _usable(vector: FloatArray, collection: Collection) -> bool:
    try:
        _checked(vector, collection)
    except InvalidInput:
        return False
    return True


def _checked(vector: npt.ArrayLike, collection: Collection) -> FloatArray:
    """To the precision of the collection's storage: a query meets halves as halves."""
    array = check_embedding(
        vector,
        dimensions=collection.dimensions,
        distance=collection.distance,
        storage=collection.storage,
    )
    if collection.storage is Storage.HALFVEC:
        return array.astype(np.float16).astype(np.float32)
    return array


async def query_set_batch(
    database: Database,
    settings: Settings,
    collection: Collection,
    name: str,
    count: int | None = None,
) -> QueryBatch:
    """The queries of a query set, in its order: vectors as they are, texts embedded by the
    collection's model.

    Raises NotFound, LimitExceeded, InvalidInput (no query can be used: the first reason),
    EmbeddingProblem.
    """
    records = await _query_records(database, collection, name, _at_most(count))
    texts = [record.text for record in records if record.embedding is None and record.text]
    embedded: Iterator[FloatArray | VecscopeError] = iter(())
    if texts:
        service = create_service(collection.model, settings, collection.dimensions)
        batch = await service.get_embeddings_batch(texts, Role.QUERY)
        embedded = iter(batch.outcomes)
    taken = _Taken(collection)
    for record in records:
        label = record.text or record.external_id
        if record.embedding is not None:
            taken.add(label, np.asarray(record.embedding, dtype=np.float32))
            continue
        outcome = next(embedded)
        if isinstance(outcome, VecscopeError):
            taken.refuse(label, outcome)
        else:
            taken.add(label, outcome)
    return taken.batch(f"the query set “{name}”", count)


async def check_query_set(database: Database, collection: Collection, name: str) -> None:
    """Raises as :func:`query_set_batch` where there is no such query set, or no query in it."""
    await _query_records(database, collection, name, 1)


async def _query_records(
    database: Database, collection: Collection, name: str, count: int
) -> list[QueryRecord]:
    of_collection = QuerySetRecord.collection_id == collection.id
    async with database.session() as db:
        found = await db.scalar(
            select(QuerySetRecord.id)
            .where(of_collection, func.lower(QuerySetRecord.name) == name.lower())
            .order_by(QuerySetRecord.name != name)
            .limit(1)
        )
        if found is None:
            sets = await db.scalars(
                select(QuerySetRecord.name).where(of_collection).order_by(QuerySetRecord.name)
            )
            names = ", ".join(list(sets)[:10])
            raise NotFound(
                f"“{collection.name}” has no query set called “{name}”.",
                hint=f"There is: {names}." if names else "Import one first.",
                field="query_set",
            )
        return list(
            await db.scalars(
                select(QueryRecord)
                .where(QueryRecord.query_set_id == found)
                .order_by(QueryRecord.position)
                .limit(count)
            )
        )


def given_batch(
    vectors: npt.ArrayLike, collection: Collection, source: str = "given vectors"
) -> QueryBatch:
    """Vectors (q, d) of a person's own; those that cannot be searched by are left out, and said.

    Raises InvalidInput where that leaves none: the first reason.
    """
    taken = _Taken(collection)
    for number, vector in enumerate(np.asarray(vectors, dtype=np.float32), start=1):
        taken.add(f"row {number:,}", vector)
    return taken.batch(source, None)


async def file_batch(
    source: FileSource,
    collection: Collection,
    count: int | None = None,
    settings: Settings | None = None,
) -> QueryBatch:
    """The vectors of a file: npy, fvecs and the like, HDF5 in ann-benchmarks' form (its queries),
    or a table (csv, jsonl, parquet) with a column of vectors.

    settings: where they are given and the collection has a model, the texts of a file without
    vectors are embedded by it: each row of a table, each line of any other file.
    Raises InvalidInput where no reader knows the file or no vector can be used, ReadProblem,
    LimitExceeded, EmbeddingProblem.
    """
    if settings is not None and collection.has_model:
        most = _at_most(count)
        if await asyncio.to_thread(inspect_vectors, source) is None:
            texts = await asyncio.to_thread(_read_texts, source, most)
            return await _text_batch(texts, source.name, collection, settings, count)
    return await asyncio.to_thread(_read_file, source, collection, count)


async def _text_batch(
    texts: Sequence[str],
    name: str,
    collection: Collection,
    settings: Settings,
    count: int | None,
) -> QueryBatch:
    taken = _Taken(collection)
    if texts:
        service = create_service(collection.model, settings, collection.dimensions)
        embedded = await service.get_embeddings_batch(list(texts), Role.QUERY)
        for text, outcome in zip(texts, embedded.outcomes, strict=True):
            if isinstance(outcome, VecscopeError):
                taken.refuse(text, outcome)
            else:
                taken.add(text, outcome)
    return taken.batch(name, count)


def _read_texts(source: FileSource, most: int) -> list[str]:
    """Different ones, in their order."""
    options = ReadOptions(overlap_tokens=0)  # else a line would come twice
    of_rows = reader_for(source.name).has_columns
    found: dict[str, None] = {}
    for item in read(source, options):
        if isinstance(item, IncomingProblem) or not item.content:
            continue
        lines = [item.content] if of_rows else item.content.splitlines()
        found |= {text: None for line in lines if (text := " ".join(line.split()))}
        if len(found) >= most:
            break
    return list(found)[:most]


def _read_file(source: FileSource, collection: Collection, count: int | None) -> QueryBatch:
    most = _at_most(count)
    facts = inspect_vectors(source)
    if facts is None:
        raise InvalidInput(
            f"{source.name} has no vectors.",
            hint="Give npy, fvecs, HDF5, or a table with a column of vectors.",
            field="query_file",
        )
    options = ReadOptions(
        texts="",
        dataset=TEST if facts.has_queries else None,
        columns=ColumnChoice(embedding=facts.column),
    )
    taken = _Taken(collection)
    for number, item in enumerate(read(source, options), start=1):
        if number > most:
            break
        if isinstance(item, IncomingProblem):
            if not item.stored:
                taken.refuse(f"row {number:,}", InvalidInput(item.reason, hint=item.hint))
        elif item.embedding is None:
            taken.refuse(f"row {number:,}", InvalidInput("It has no vector."))
        else:
            taken.add(f"row {number:,}", item.embedding)
    return taken.batch(source.name, count)


def _at_most(count: int | None) -> int:
    return QUERY_COUNT.high if count is None else QUERY_COUNT.check(count, "queries")


class _Taken:
    """Gathers queries, and the reasons of those that cannot be asked."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._vectors: list[FloatArray] = []
        self._labels: list[str] = []
        self._refused: list[tuple[str, VecscopeError]] = []

    def add(self, label: str, vector: npt.ArrayLike) -> None:
        try:
            self._vectors.append(_checked(vector, self._collection))
        except InvalidInput as exc:
            self.refuse(label, exc)
        else:
            self._labels.append(label[:_LABEL_CHARACTERS])

    def refuse(self, label: str, why: VecscopeError) -> None:
        self._refused.append((label, why))

    def batch(self, source: str, asked: int | None) -> QueryBatch:
        """Raises what the first was refused for where there is none."""
        if not self._vectors:
            if self._refused:
                raise self._refused[0][1]
            raise InvalidInput(f"There is no query in {source}.", field="queries")
        notes = list(_notes(asked, len(self._vectors), 0))
        if self._refused:
            label, why = self._refused[0]
            notes.append(
                f"{len(self._refused):,} of them cannot be asked and were left out. "
                f"The first, “{label[:60]}”: {why.message}"
            )
        return QueryBatch(
            vectors=np.stack(self._vectors),
            labels=tuple(self._labels),
            own_ids=(None,) * len(self._vectors),
            source=source,
            notes=tuple(notes),
        )


def _notes(asked: int | None, there: int, zero: int) -> tuple[str, ...]:
    notes = []
    if asked is not None and there < asked:
        notes.append(f"Asked for {asked:,} queries, and there are {there:,}.")
    if zero:
        notes.append(f"{_rows(zero)} of zeros left out: they have no cosine distance.")
    return tuple(notes)


def _rows(count: int) -> str:
    return f"{count:,} row" if count == 1 else f"{count:,} rows"
