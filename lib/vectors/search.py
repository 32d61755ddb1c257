"""The searches: each runs one statement of :mod:`lib.vectors.statements` and says how it went.

Each search is a pair: ``prepare_…`` builds the statement and the settings, and the search runs just
these. It takes the session first and the table second, runs in the session's transaction, and
returns a :class:`SearchResult`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from lib.vectors.distance import FloatArray
from lib.vectors.hybrid import Fusion, HybridQuery, hybrid_statement
from lib.vectors.index_methods import IterativeScan
from lib.vectors.plans import Plan, explain
from lib.vectors.sql import printed
from lib.vectors.statements import (
    AccessPath,
    TextMatching,
    TextQuery,
    available_statement,
    candidate_rows_statement,
    is_category,
    nearest_statement,
    text_statement,
    threshold_statement,
)
from lib.vectors.table import VectorTable
from lib.vectors.tuning import RESULT_LIMIT, SearchSettings, apply_settings, set_local_text


@dataclass(frozen=True, slots=True)
class Document:
    """One row, as a search returns it; columns that the table lacks are None, its content empty."""

    id: Any
    content: str = ""
    title: str | None = None
    category: str | None = None
    external_id: str | None = None
    part: int | None = None
    metadata: Mapping[str, Any] | None = None

    @property
    def label(self) -> str:
        """What to call it: its title, or the best there is."""
        return self.title or self.external_id or str(self.id)


@dataclass(frozen=True, slots=True)
class Hit:
    """A document and why it is where it is.

    distance, similarity: None where the document has no embedding, or a zero one under cosine.
    vector_rank, text_rank: 1 is best; None where that leg did not find the document.
    text_value: ts_rank. fused: the value that a hybrid is ordered by, larger is better.
    """

    document: Document
    distance: float | None = None
    similarity: float | None = None
    vector_rank: int | None = None
    text_rank: int | None = None
    text_value: float | None = None
    fused: float | None = None


@dataclass(frozen=True)
class SearchResult(Sequence[Hit]):
    """The hits, best first, and all that is needed to believe them.

    settings: what was set for the transaction, by PostgreSQL's names. plan: where asked for.
    database_ms: the statement and its rows, on this side of the wire. matches: how many
    documents match the text, where a text was searched; more_match: that there may be more, since
    a long question's frequent words were not looked up everywhere. truncated_because: why there
    are fewer hits than asked for, None where there are not. index_fell_short: there are more, and
    the index did not bring them.
    """

    hits: tuple[Hit, ...]
    statement: Select[Any]
    asked: int
    settings: Mapping[str, str] = field(default_factory=dict)
    plan: Plan | None = None
    database_ms: float = 0.0
    embedding_ms: float | None = None
    matches: int | None = None
    more_match: bool = False
    truncated_because: str | None = None
    index_fell_short: bool = False

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def __getitem__(self, index: Any) -> Any:
        return self.hits[index]

    @property
    def pairs(self) -> list[tuple[Document, float]]:
        """(document, distance), for hits that have a distance."""
        return [(hit.document, hit.distance) for hit in self.hits if hit.distance is not None]

    @property
    def sql(self) -> str:
        """The whole transaction with its parameters written in, to paste into psql."""
        settings = set_local_text(dict(self.settings))
        return f"BEGIN;\n{settings}{printed(self.statement)};\nCOMMIT;"


@dataclass(frozen=True, eq=False)
class PreparedSearch:
    """A search before it runs: the very statement, and the settings of its transaction.

    Made by the ``prepare_…`` functions, run by :func:`run_search`.
    """

    table: VectorTable
    """As it is searched."""
    statement: Select[Any]
    limit: int
    settings: SearchSettings = field(default_factory=SearchSettings)
    complete: Complete | None = None
    """Looks at the result of :attr:`statement`, and says why there are fewer hits than asked for;
    None where the hits tell it themselves."""

    @property
    def unanswered(self) -> SearchResult:
        """The result before it has hits: to be shown, explained and exported."""
        return SearchResult((), self.statement, self.limit, self.settings.server_settings())


Complete = Callable[[AsyncSession, SearchResult], Awaitable[SearchResult]]


def prepare_similar(
    table: VectorTable,
    query_embedding: FloatArray,
    limit: int = RESULT_LIMIT.default,
    *,
    settings: SearchSettings | None = None,
    where: Sequence[ColumnElement[bool]] = (),
    access_path: AccessPath | None = None,
) -> PreparedSearch:
    """What :func:`search_similar_documents` runs."""
    chosen, source = settings or SearchSettings(), access_path or AccessPath(table, where)

    async def complete(db: AsyncSession, result: SearchResult) -> SearchResult:
        if len(result) == limit:
            return result
        gone = await _why_gone(db, access_path, query_embedding, result) if access_path else None
        if gone is not None:
            return replace(result, truncated_because=gone)
        return await _fewer(db, source, result, chosen, by_vector=len(result))

    statement = nearest_statement(
        table, query_embedding, limit, where=where, access_path=access_path
    )
    return PreparedSearch(table, statement, limit, chosen, complete)


def prepare_with_threshold(
    table: VectorTable,
    query_embedding: FloatArray,
    max_distance: float,
    limit: int = RESULT_LIMIT.default,
    *,
    settings: SearchSettings | None = None,
    where: Sequence[ColumnElement[bool]] = (),
    access_path: AccessPath | None = None,
) -> PreparedSearch:
    """What :func:`search_with_threshold` runs."""
    chosen, source = settings or SearchSettings(), access_path or AccessPath(table, where)

    async def complete(db: AsyncSession, result: SearchResult) -> SearchResult:
        if len(result) == limit:
            return result
        plan = result.plan or await explain(db, result.statement)
        if plan.vector_index is None:  # every row was compared: only the threshold cut
            return result
        before = select(func.count()).select_from(
            candidate_rows_statement(source, query_embedding, limit).subquery()
        )
        available = available_statement(source.table, limit, where=source.where)
        brought, there = [(await db.execute(count)).scalar_one() for count in (before, available)]
        if brought > len(result) or there <= len(result):  # the threshold cut, or that is all
            return result
        return await _fewer(db, source, result, chosen, by_vector=len(result))

    statement = threshold_statement(
        table, query_embedding, max_distance, limit, where=where, access_path=access_path
    )
    return PreparedSearch(table, statement, limit, chosen, complete)


def prepare_text(
    table: VectorTable,
    query_text: str,
    limit: int = RESULT_LIMIT.default,
    *,
    kind: TextQuery = TextQuery.WEB,
    matching: TextMatching | None = None,
    where: Sequence[ColumnElement[bool]] = (),
) -> PreparedSearch:
    """What :func:`search_text` runs."""
    statement = text_statement(table, query_text, limit, kind=kind, matching=matching, where=where)
    return PreparedSearch(table, statement, limit, complete=_complete_matches)


def prepare_hybrid(
    table: VectorTable, query: HybridQuery, *, settings: SearchSettings | None = None
) -> PreparedSearch:
    """What :func:`hybrid_search` runs."""
    chosen, source = (
        settings or SearchSettings(),
        query.access_path or AccessPath(table, query.where),
    )

    async def complete(db: AsyncSession, result: SearchResult) -> SearchResult:
        if len(result) >= query.limit or query.max_distance is not None:
            return result
        if query.fusion is Fusion.RAW:
            return _with_all_matches(result)
        by_vector = sum(hit.vector_rank is not None for hit in result)
        counted = replace(result, matches=result.matches or 0)
        return await _fewer(db, source, counted, chosen, by_vector=by_vector)

    return PreparedSearch(table, hybrid_statement(table, query), query.limit, chosen, complete)


async def _complete_matches(_db: AsyncSession, result: SearchResult) -> SearchResult:
    return _with_all_matches(result)


async def search_similar_documents(
    db: AsyncSession,
    table: VectorTable,
    query_embedding: FloatArray,
    limit: int = RESULT_LIMIT.default,
    *,
    settings: SearchSettings | None = None,
    where: Sequence[ColumnElement[bool]] = (),
    access_path: AccessPath | None = None,
    with_plan: bool = False,
) -> SearchResult:
    """The ``limit`` documents nearest to query_embedding (d,), nearest first; rows without an
    embedding are left out. access_path: the copy whose index is to find them.

    Raises DimensionMismatch, InvalidVector, LimitExceeded.
    """
    prepared = prepare_similar(
        table, query_embedding, limit, settings=settings, where=where, access_path=access_path
    )
    return await run_search(db, prepared, with_plan=with_plan)


async def search_with_threshold(
    db: AsyncSession,
    table: VectorTable,
    query_embedding: FloatArray,
    max_distance: float = 0.3,
    limit: int = RESULT_LIMIT.default,
    *,
    settings: SearchSettings | None = None,
    where: Sequence[ColumnElement[bool]] = (),
    access_path: AccessPath | None = None,
    with_plan: bool = False,
) -> SearchResult:
    """Of the ``limit`` nearest documents those with distance < max_distance, nearest first
    (:attr:`SearchResult.pairs` gives (document, distance)). The index finds the nearest, the
    threshold is applied after it.

    Fewer hits than ``limit`` is what a threshold is for, and no shortfall; but where the index
    brought fewer than ``limit`` before the threshold came, ``truncated_because`` says so.
    Raises as :func:`search_similar_documents`, and InvalidInput for an impossible threshold.
    """
    prepared = prepare_with_threshold(
        table,
        query_embedding,
        max_distance,
        limit,
        settings=settings,
        where=where,
        access_path=access_path,
    )
    return await run_search(db, prepared, with_plan=with_plan)


async def search_in_category(
    db: AsyncSession,
    table: VectorTable,
    query_embedding: FloatArray,
    category: str,
    limit: int = RESULT_LIMIT.default,
    *,
    settings: SearchSettings | None = None,
    with_plan: bool = False,
) -> SearchResult:
    """The ``limit`` nearest documents of one category.

    An approximate index finds first and filters then: where that left fewer than ``limit``,
    ``truncated_because`` says so, and whether iterative scan was on.
    Raises as :func:`search_similar_documents`, and InvalidInput without a category column.
    """
    return await search_similar_documents(
        db,
        table,
        query_embedding,
        limit,
        settings=settings,
        where=(is_category(table, category),),
        with_plan=with_plan,
    )


async def search_text(
    db: AsyncSession,
    table: VectorTable,
    query_text: str,
    limit: int = RESULT_LIMIT.default,
    *,
    kind: TextQuery = TextQuery.WEB,
    matching: TextMatching | None = None,
    where: Sequence[ColumnElement[bool]] = (),
    with_plan: bool = False,
) -> SearchResult:
    """The ``limit`` documents that match the text and rank highest: by ts_rank, or by what
    ``matching`` says.

    Raises InvalidInput for an empty text.
    """
    prepared = prepare_text(table, query_text, limit, kind=kind, matching=matching, where=where)
    return await run_search(db, prepared, with_plan=with_plan)


async def hybrid_search(
    db: AsyncSession,
    table: VectorTable,
    query: HybridQuery,
    *,
    settings: SearchSettings | None = None,
    with_plan: bool = False,
) -> SearchResult:
    """The best of a vector leg and a text leg, fused in one statement, by the formulas of
    :func:`~lib.vectors.hybrid.hybrid_statement`.

    Raises as :func:`search_similar_documents`, and InvalidInput for an empty text.
    """
    prepared = prepare_hybrid(table, query, settings=settings)
    return await run_search(db, prepared, with_plan=with_plan)


# --- running ------------------------------------------------------------------------------------


async def run_search(
    db: AsyncSession, prepared: PreparedSearch, *, with_plan: bool = False
) -> SearchResult:
    """Runs exactly the statement and the settings that were prepared.

    with_plan: explain it too, under the same settings.
    """
    settings = prepared.settings.server_settings()
    started = time.perf_counter()
    await apply_settings(db, settings)
    result = await db.execute(prepared.statement)
    names = tuple(result.keys())
    # Plain dicts: SQLAlchemy's mappings are slow to say that they lack a column.
    rows = [dict(zip(names, row, strict=True)) for row in result]
    database_ms = (time.perf_counter() - started) * 1000
    answered = replace(
        prepared.unanswered,
        hits=tuple(_hits(prepared.table, rows)),
        plan=await explain(db, prepared.statement) if with_plan else None,
        database_ms=database_ms,
        matches=_matches(rows),
        more_match=any(row.get("more_match") for row in rows[:1]),
    )
    return answered if prepared.complete is None else await prepared.complete(db, answered)


def _matches(rows: Sequence[Mapping[str, Any]]) -> int | None:
    """How many documents match the text; a search without a text leg has no such column."""
    if rows and "matches" in rows[0]:
        return int(rows[0]["matches"] or 0)
    return None


def _hits(table: VectorTable, rows: Sequence[Mapping[str, Any]]) -> Iterator[Hit]:
    attributes = tuple(table.document_columns)
    by_vector_alone = bool(rows) and "distance" in rows[0] and "vector_rank" not in rows[0]
    for position, row in enumerate(rows, start=1):
        distance = row.get("distance")
        if distance is not None and math.isnan(distance):
            if by_vector_alone:
                continue  # a zero vector has no cosine distance: it is no neighbour of anything
            distance = None
        yield Hit(
            document=Document(**{name: row[name] for name in attributes}),
            distance=distance,
            similarity=None if distance is None else table.distance.similarity(distance),
            vector_rank=position if by_vector_alone else row.get("vector_rank"),
            text_rank=row.get("text_rank"),
            text_value=row.get("text_value"),
            fused=row.get("fused"),
        )


def _with_all_matches(result: SearchResult) -> SearchResult:
    """A text search brings every match up to its limit, so fewer hits are all there are."""
    if len(result) == result.asked:
        return result
    reason = f"Only {len(result):,} of {result.asked:,}: no more documents match the words."
    return replace(result, matches=len(result), truncated_because=reason)


async def _why_gone(
    db: AsyncSession, access_path: AccessPath, query_embedding: FloatArray, result: SearchResult
) -> str | None:
    """Whether documents that the copy found are there no more; None where all are."""
    found = candidate_rows_statement(access_path, query_embedding, result.asked).subquery()
    brought = (await db.execute(select(func.count()).select_from(found))).scalar_one()
    gone = brought - len(result)
    if gone <= 0:
        return None
    return (
        f"Only {len(result):,} of {result.asked:,}: {gone:,} that the copy found are no more in "
        "the collection. Build the candidate again."
    )


async def _fewer(
    db: AsyncSession,
    source: AccessPath,
    result: SearchResult,
    settings: SearchSettings | None,
    *,
    by_vector: int,
) -> SearchResult:
    """Says why there are fewer hits than asked for; costs two short statements, only then.

    by_vector: how many of the hits the vectors brought; the words brought all that they could.
    """
    findable = (
        await db.execute(available_statement(source.table, result.asked, where=source.where))
    ).scalar_one()
    plan = result.plan or await explain(db, result.statement)
    available = len(result) + max(0, findable - by_vector)
    reason = shortfall_reason(
        found=len(result),
        asked=result.asked,
        available=available,
        vector_index=plan.vector_index,
        settings=settings or SearchSettings(),
        filtered=bool(source.where),
    )
    return replace(result, truncated_because=reason, index_fell_short=available > len(result))


def shortfall_reason(
    *,
    found: int,
    asked: int,
    available: int,
    vector_index: str | None,
    settings: SearchSettings,
    filtered: bool,
) -> str:
    """Why a search found fewer documents than asked, in words, and what would help."""
    which = "that pass the filter" if filtered else "with a usable embedding"
    if available <= found:
        return f"Only {found:,} of {asked:,}: there are no more documents {which}."
    index = f"the index {vector_index}" if vector_index else "the server"
    found_text = f"Only {found:,} of {asked:,}, though there are more {which}: "
    iterative = settings.iterative_scan not in (None, IterativeScan.OFF)
    if filtered:
        state = "was on, but reached its limit of rows" if iterative else "was off"
        further = "a higher limit of rows" if iterative else "iterative scan"
        return (
            f"{found_text}{index} finds first and filters then, and iterative "
            f"scan {state}. More probes or a higher ef_search, {further}, or the exact scan "
            "find the rest."
        )
    return (
        f"{found_text}{index} looked at too few of them. Raise ef_search (HNSW) "
        "or probes (IVFFlat), or take the exact scan."
    )
