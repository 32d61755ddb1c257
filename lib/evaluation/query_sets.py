"""Query sets: queries, as text or vectors, and the grades given to documents for them.

Every function takes the session first. A judgment names its document by external id, as a file
does: whether that document is stored is looked up when it is asked for, never remembered.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar
from typing import cast as cast_type

import numpy as np
from sqlalchemy import (
    ColumnElement,
    Select,
    Table,
    Text,
    cast,
    delete,
    exists,
    func,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from lib.actors import LOCAL, Actor, writes
from lib.errors import InvalidInput, NotFound
from lib.ingest.incoming import IncomingProblem
from lib.ingest.queries import IncomingJudgment, IncomingQuery, QueryKind, QueryStream
from lib.store.collections import Collection
from lib.store.names import names_hint
from lib.store.records import JudgmentRecord, QueryRecord, QuerySetRecord
from lib.vectors.distance import FloatArray

NAME_LENGTH = 200
MAX_PROBLEMS = 1000
_BATCH = 1000
# Tables, not classes: a list of rows is then inserted as such, without ORM objects.
_QUERIES = cast_type(Table, QueryRecord.__table__)
_JUDGMENTS = cast_type(Table, JudgmentRecord.__table__)

T = TypeVar("T", IncomingQuery, IncomingJudgment)


@dataclass(frozen=True)
class QuerySet:
    """Queries of one collection."""

    id: uuid.UUID
    collection_id: uuid.UUID
    name: str
    kind: QueryKind
    description: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class QuerySetSummary:
    """A query set in numbers."""

    query_set: QuerySet
    queries: int
    judged: int
    """Queries with a judgment."""
    with_truth: int
    """Queries that brought their nearest neighbours."""
    judgments: int
    missing: int
    """Judgments whose document is not stored in the collection."""


@dataclass(frozen=True, eq=False)
class Query:
    """One query, as text, as a vector, or both."""

    id: uuid.UUID
    external_id: str
    text: str | None
    embedding: FloatArray | None
    """float32 array (d,)."""
    truth: tuple[str, ...] | None
    """The external ids of its exact nearest neighbours, nearest first, where they came along."""


@dataclass(frozen=True, slots=True)
class Judgment:
    """A grade given to a (query, document)."""

    query_id: uuid.UUID
    document: str
    """Its external id."""
    grade: int
    """0 is “not relevant”."""


@dataclass(frozen=True)
class SavedQuerySet:
    """A query set as it was saved from a file, and what of the file was not."""

    query_set: QuerySet
    queries: int
    judgments: int
    removed_queries: int
    unknown_queries: int
    """Judgments that were left out, since no query has their id."""
    problem_count: int
    problems: tuple[IncomingProblem, ...] = field(default=(), repr=False)
    """The first MAX_PROBLEMS."""


@writes("query_sets.save")
async def save_query_set(
    db: AsyncSession,
    collection: Collection,
    stream: QueryStream,
    *,
    name: str | None = None,
    actor: Actor = LOCAL,
) -> SavedQuerySet:
    """Stores a query set, or replaces the contents of the one of that name, in the session's
    transaction. A query keeps its id as long as its external id comes again.

    name: in place of the feed's. Raises InvalidInput for a name that is empty or too long, and
    where there is no query at all (nothing is changed then).
    """
    name = _checked_name(name or stream.name)
    query_set = await _make_or_find(db, collection, name, stream)
    judged = await _judged_queries(stream) if stream.judged_only else None
    reading = _Reading()
    # The position tells what came again: it is set to -1 before, and what has it then is deleted.
    of_set = QueryRecord.query_set_id == query_set.id
    await db.execute(update(QueryRecord).where(of_set).values(position=-1))
    ids = await _save_queries(db, query_set, reading.batches(stream.queries), judged)
    if not ids:
        first = f" The first problem: {reading.problems[0].reason}" if reading.problems else ""
        raise InvalidInput(f"There is no query in “{name}”.{first}", field="queries")
    deleted = await db.execute(
        delete(QueryRecord).where(of_set, QueryRecord.position == -1).returning(QueryRecord.id)
    )
    await db.execute(delete(JudgmentRecord).where(JudgmentRecord.query_id.in_(_ids(query_set))))
    unknown = await _save_judgments(db, ids, reading.batches(stream.judgments))
    return SavedQuerySet(
        query_set=query_set,
        queries=len(ids),
        judgments=await _count(db, JudgmentRecord.query_id.in_(_ids(query_set))),
        removed_queries=len(deleted.all()),
        unknown_queries=unknown,
        problem_count=reading.problem_count,
        problems=tuple(reading.problems),
    )


async def list_query_sets(db: AsyncSession, collection: Collection) -> list[QuerySetSummary]:
    """Those of a collection, by name."""
    records = await db.scalars(
        select(QuerySetRecord)
        .where(QuerySetRecord.collection_id == collection.id)
        .order_by(func.lower(QuerySetRecord.name))
    )
    return [await summarise_query_set(db, collection, _query_set(record)) for record in records]


async def get_query_set(db: AsyncSession, collection: Collection, name: str) -> QuerySet:
    """By name; capitals do not matter where that leaves one. Raises NotFound, naming what there
    is."""
    records = (
        await db.scalars(
            select(QuerySetRecord)
            .where(QuerySetRecord.collection_id == collection.id)
            .order_by(QuerySetRecord.name)
        )
    ).all()
    for same in (str, str.casefold):
        found = [record for record in records if same(record.name) == same(name)]
        if len(found) == 1:
            return _query_set(found[0])
    raise NotFound(
        f"“{collection.name}” has no query set called “{name}”.",
        hint=names_hint([record.name for record in records], "Import one first."),
        field="query_set",
    )


async def summarise_query_set(
    db: AsyncSession, collection: Collection, query_set: QuerySet
) -> QuerySetSummary:
    """Counts, in three statements."""
    queries, with_truth = (
        await db.execute(
            select(func.count(), func.count(QueryRecord.truth)).where(
                QueryRecord.query_set_id == query_set.id
            )
        )
    ).one()
    of_set = JudgmentRecord.query_id.in_(_ids(query_set))
    judgments, judged = (
        await db.execute(
            select(func.count(), func.count(JudgmentRecord.query_id.distinct())).where(of_set)
        )
    ).one()
    missing = await _count(db, of_set, ~_is_stored(collection))
    return QuerySetSummary(query_set, queries, judged, with_truth, judgments, missing)


async def list_queries(
    db: AsyncSession, query_set: QuerySet, *, limit: int | None = None, offset: int = 0
) -> list[Query]:
    """In the order of the file they came from."""
    records = await db.scalars(
        select(QueryRecord)
        .where(QueryRecord.query_set_id == query_set.id)
        .order_by(QueryRecord.position)
        .limit(limit)
        .offset(offset)
    )
    return [_query(record) for record in records]


async def list_judgments(db: AsyncSession, query_set: QuerySet) -> list[Judgment]:
    """All of a set, by query and document."""
    rows = await db.execute(
        select(JudgmentRecord.query_id, JudgmentRecord.document, JudgmentRecord.grade)
        .where(JudgmentRecord.query_id.in_(_ids(query_set)))
        .order_by(JudgmentRecord.query_id, JudgmentRecord.document)
    )
    return [Judgment(*row) for row in rows]


async def missing_documents(
    db: AsyncSession, collection: Collection, query_set: QuerySet, limit: int = 100
) -> list[str]:
    """External ids that are judged, but not stored."""
    rows = await db.scalars(
        select(JudgmentRecord.document)
        .where(JudgmentRecord.query_id.in_(_ids(query_set)), ~_is_stored(collection))
        .distinct()
        .order_by(JudgmentRecord.document)
        .limit(limit)
    )
    return list(rows)


@writes("query_sets.drop")
async def drop_query_set(db: AsyncSession, query_set: QuerySet, *, actor: Actor = LOCAL) -> None:
    """With its queries and judgments. Raises NotFound where it is gone already."""
    record = await db.get(QuerySetRecord, query_set.id)
    if record is None:
        raise NotFound(f"The query set “{query_set.name}” is gone already.")
    await db.delete(record)


# --- inside -------------------------------------------------------------------------------------


class _Reading:
    """Reads in a thread, a batch at a time, and gathers what could not be read."""

    def __init__(self) -> None:
        self.problems: list[IncomingProblem] = []
        self.problem_count = 0

    async def batches(
        self, read: Callable[[], Iterator[T | IncomingProblem]]
    ) -> AsyncGenerator[list[T]]:
        stream = read()
        while batch := await asyncio.to_thread(lambda: list(islice(stream, _BATCH))):
            good: list[T] = []
            for incoming in batch:
                if isinstance(incoming, IncomingProblem):
                    self.problem_count += incoming.count
                    self.problems.append(incoming)
                else:
                    good.append(incoming)
            del self.problems[MAX_PROBLEMS:]
            if good:
                yield good


def _checked_name(name: str) -> str:
    name = " ".join(name.split())
    if not name or not name.isprintable():
        raise InvalidInput("A query set needs a name that can be shown.", field="name")
    if len(name) > NAME_LENGTH:
        raise InvalidInput(
            f"The name has {len(name)} characters, the most is {NAME_LENGTH}.", field="name"
        )
    return name


async def _make_or_find(
    db: AsyncSession, collection: Collection, name: str, stream: QueryStream
) -> QuerySet:
    """The row is locked until the end: of two loads of one set, the second waits."""
    values = {
        "kind": stream.kind.value,
        "description": stream.description,
        "updated_at": func.now(),
    }
    record = await db.scalar(
        insert(QuerySetRecord)
        .values(collection_id=collection.id, name=name, **values)
        .on_conflict_do_update(index_elements=["collection_id", "name"], set_=values)
        .returning(QuerySetRecord),
        execution_options={"populate_existing": True},
    )
    assert record is not None
    return _query_set(record)


async def _judged_queries(stream: QueryStream) -> set[str]:
    """The external ids of the queries that have a judgment. Problems are left to the second
    reading, in which the same come again."""
    judged: set[str] = set()
    async for judgments in _Reading().batches(stream.judgments):
        judged.update(judgment.query for judgment in judgments)
    return judged


async def _save_queries(
    db: AsyncSession,
    query_set: QuerySet,
    batches: AsyncGenerator[list[IncomingQuery]],
    judged: set[str] | None,
) -> dict[str, uuid.UUID]:
    """External id → id. judged: only these; None for all."""
    ids: dict[str, uuid.UUID] = {}
    position = 0
    async for queries in batches:
        rows = {
            query.external_id: {
                "query_set_id": query_set.id,
                "external_id": query.external_id,
                "position": position + offset,
                "text": query.text,
                "embedding": query.embedding,
                "truth": None if query.truth is None else list(query.truth),
            }
            for offset, query in enumerate(queries)
            if judged is None or query.external_id in judged
        }
        position += len(queries)
        if rows:
            ids |= await _upsert_queries(db, list(rows.values()))
    return ids


async def _save_judgments(
    db: AsyncSession,
    ids: Mapping[str, uuid.UUID],
    batches: AsyncGenerator[list[IncomingJudgment]],
) -> int:
    """The number of judgments that were left out, since no query has their id."""
    unknown = 0
    async for judgments in batches:
        known = [judgment for judgment in judgments if judgment.query in ids]
        unknown += len(judgments) - len(known)
        await _insert_judgments(db, ids, known)
    return unknown


async def _upsert_queries(db: AsyncSession, rows: list[dict[str, Any]]) -> dict[str, uuid.UUID]:
    statement = insert(_QUERIES)
    new = statement.excluded
    found = await db.execute(
        statement.on_conflict_do_update(
            index_elements=["query_set_id", "external_id"],
            set_={name: new[name] for name in ("position", "text", "embedding", "truth")},
        ).returning(_QUERIES.c.external_id, _QUERIES.c.id),
        rows,
    )
    return {row.external_id: row.id for row in found}


async def _insert_judgments(
    db: AsyncSession, ids: Mapping[str, uuid.UUID], judgments: Sequence[IncomingJudgment]
) -> None:
    """Of a (query, document) that is judged twice, the last grade holds."""
    rows = {
        (judgment.query, judgment.document): {
            "query_id": ids[judgment.query],
            "document": judgment.document,
            "grade": judgment.grade,
        }
        for judgment in judgments
    }
    if rows:
        statement = insert(_JUDGMENTS)
        await db.execute(
            statement.on_conflict_do_update(
                index_elements=["query_id", "document"], set_={"grade": statement.excluded.grade}
            ),
            list(rows.values()),
        )


def _ids(query_set: QuerySet) -> Select[uuid.UUID]:
    return select(QueryRecord.id).where(QueryRecord.query_set_id == query_set.id)


def _is_stored(collection: Collection) -> ColumnElement[bool]:
    """Whether the judgment's document is in the collection, in however many parts."""
    table = collection.table
    external_id = table.column(table.external_id or table.id)
    return exists().where(cast(external_id, Text) == JudgmentRecord.document)


async def _count(db: AsyncSession, *where: ColumnElement[bool]) -> int:
    statement = select(func.count()).select_from(JudgmentRecord).where(*where)
    return int((await db.execute(statement)).scalar_one())


def _query_set(record: QuerySetRecord) -> QuerySet:
    return QuerySet(
        id=record.id,
        collection_id=record.collection_id,
        name=record.name,
        kind=QueryKind(record.kind),
        description=record.description,
        created_at=record.created_at,
        updated_at=record.updated_at,
    )


def _query(record: QueryRecord) -> Query:
    embedding = record.embedding
    return Query(
        id=record.id,
        external_id=record.external_id,
        text=record.text,
        embedding=None if embedding is None else np.asarray(embedding, dtype=np.float32),
        truth=None if record.truth is None else tuple(record.truth),
    )
