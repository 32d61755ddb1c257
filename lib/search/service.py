"""A question in, a SearchResult out: what pages and the command line call."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import structlog
from sqlalchemy import ColumnElement, Uuid, literal
from sqlalchemy.ext.asyncio import AsyncSession

from lib.embedding.service import create_service
from lib.errors import InvalidInput, InvalidVector
from lib.search.bm25 import bm25_matching, has_lexical_index
from lib.search.example import Example, example_vector
from lib.search.filters import conditions
from lib.search.fusion import fuse
from lib.search.request import Mode, SearchRequest
from lib.settings import Settings
from lib.store.candidates import Candidate, get_candidate
from lib.store.collections import Collection
from lib.store.database import Database
from lib.store.production import searched_table
from lib.vectors.catalog import IndexDescription
from lib.vectors.ddl import operator_class
from lib.vectors.distance import FloatArray, IndexedAs
from lib.vectors.hybrid import Fusion, HybridQuery
from lib.vectors.index_methods import IterativeScan, index_methods
from lib.vectors.plans import Plan, explain
from lib.vectors.search import (
    PreparedSearch,
    SearchResult,
    prepare_hybrid,
    prepare_similar,
    prepare_text,
    prepare_with_threshold,
    run_search,
)
from lib.vectors.statements import (
    AccessPath,
    TextMatching,
    TextMethod,
    candidate_rows_statement,
    check_query_text,
    full_text,
    is_category,
)
from lib.vectors.table import VectorTable
from lib.vectors.tuning import (
    ITERATIVE_SCAN_SINCE,
    POOL,
    Scan,
    SearchSettings,
    apply_settings,
    pgvector_version,
)

log = structlog.get_logger(__name__)

# A pool brings hundreds of texts where a page shows ten: enough of each for its best passage.
POOL_CHARACTERS = 8_000


class SearchService:
    """Searches collections."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._pgvector: tuple[int, ...] | None = None

    async def search(
        self,
        collection: Collection,
        request: SearchRequest,
        *,
        whole_pool: bool = False,
        embedding: FloatArray | None = None,
    ) -> SearchResult:
        """Embeds the question where the mode needs it, then runs one statement.

        whole_pool: of a hybrid, all that both legs found (see :meth:`fetch_pool`). embedding: the
        question's, where it is there already.
        Raises InvalidInput (and its kinds; also where a collection without a model is not searched
        by words), EmbeddingProblem, DatabaseProblem.
        """
        request, embedding, embedding_ms = await self._with_embedding(
            collection, request, embedding
        )
        async with self._database.session() as db:
            prepared = await self._prepare(db, collection, request, embedding, whole_pool)
            result = await run_search(db, prepared, with_plan=request.with_plan)
        log.info(
            "search.done",
            collection=collection.slug,
            mode=request.mode.value,
            hits=len(result),
            embedding_ms=None if embedding_ms is None else round(embedding_ms, 2),
            database_ms=round(result.database_ms, 2),
        )
        return replace(result, embedding_ms=embedding_ms)

    async def search_like(
        self, collection: Collection, example: Example, request: SearchRequest
    ) -> SearchResult:
        """What is nearest to an example, the documents that it is made of left out. Of the request
        all settings hold; its mode is SIMILARITY, or HYBRID with words beside the example.

        Raises what :func:`~lib.search.example.example_vector` and :meth:`search` raise.
        """
        started = time.perf_counter()
        vector = await example_vector(self._database, self._settings, collection, example)
        embedding_ms = (time.perf_counter() - started) * 1000
        found = await self.search(collection, without_example(request, example), embedding=vector)
        return replace(found, embedding_ms=embedding_ms)

    async def embed_example(self, collection: Collection, example: Example) -> FloatArray:
        """The vector (d,) of an example. Raises what
        :func:`~lib.search.example.example_vector` raises."""
        return await example_vector(self._database, self._settings, collection, example)

    async def prepare(
        self,
        collection: Collection,
        request: SearchRequest,
        *,
        embedding: FloatArray | None = None,
    ) -> PreparedSearch:
        """The very statement and settings that :meth:`search` runs. Nothing is searched, so that
        they can be shown and explained without an answer.

        Raises as :meth:`search`.
        """
        request, embedding, _ = await self._with_embedding(collection, request, embedding)
        async with self._database.session() as db:
            return await self._prepare(db, collection, request, embedding)

    async def embed(self, collection: Collection, query: str) -> tuple[FloatArray, float]:
        """The question's vector (d,), and the milliseconds that it took.

        Raises InvalidInput, EmbeddingProblem.
        """
        started = time.perf_counter()
        service = create_service(collection.model, self._settings, collection.dimensions)
        embedding = await service.get_embedding(check_query_text(query))
        return embedding, (time.perf_counter() - started) * 1000

    async def fetch_pool(
        self,
        collection: Collection,
        request: SearchRequest,
        *,
        embedding: FloatArray | None = None,
    ) -> SearchResult:
        """For a hybrid by WEIGHTED or RRF: both legs' whole pool, so that :func:`rerank` can answer
        for any weight, distance and either fusion without the server. Long texts are cut to
        POOL_CHARACTERS. Any other request is answered as by :meth:`search`.
        """
        if not can_rerank(request):
            return await self.search(collection, request, embedding=embedding)
        key = pool_key(request)
        return await self.search(collection, key, whole_pool=True, embedding=embedding)

    async def nearest_distances(
        self,
        collection: Collection,
        request: SearchRequest,
        limit: int = POOL.default,
        *,
        embedding: FloatArray | None = None,
    ) -> list[float]:
        """The distances of the question's ``limit`` nearest documents under the request's filters
        and settings, nearest first: what a threshold would cut."""
        wide = replace(request, mode=Mode.SIMILARITY, max_distance=None, limit=limit)
        result = await self.search(collection, wide, embedding=embedding)
        return [hit.distance for hit in result if hit.distance is not None]

    async def plan_of(
        self, collection: Collection, result: SearchResult, *, analyze: bool = False
    ) -> Plan:
        """The plan of a result's statement under its settings. analyze: run it again, and count.

        collection: the one that was searched.
        """
        async with self._database.session() as db:
            await apply_settings(db, dict(result.settings))
            plan = await explain(db, result.statement, analyze=analyze)
        log.debug("search.explained", collection=collection.slug, index=plan.vector_index)
        return plan

    async def _with_embedding(
        self, collection: Collection, request: SearchRequest, embedding: FloatArray | None
    ) -> tuple[SearchRequest, FloatArray | None, float | None]:
        """The checked request, its embedding (d,), and the milliseconds that embedding took; None
        where the mode needs none, or it was there already."""
        check_request(request)
        if embedding is None or request.mode.uses_text:
            request = replace(request, query=check_query_text(request.query))
        if not request.mode.uses_vectors:
            return request, None, None
        if embedding is not None:
            return request, embedding, None
        embedding, embedding_ms = await self.embed(collection, request.query)
        return request, embedding, embedding_ms

    async def _prepare(
        self,
        db: AsyncSession,
        collection: Collection,
        request: SearchRequest,
        embedding: FloatArray | None,
        whole_pool: bool = False,
    ) -> PreparedSearch:
        """The one place where a mode becomes a statement. embedding (d,): None for a search by
        keywords alone."""
        matching = await self._matching(db, collection, request) if request.mode.uses_text else None
        if embedding is None:
            return prepare_text(
                collection.table,
                request.query,
                request.limit,
                kind=request.text_kind,
                matching=matching,
                where=filter_conditions(collection.table, request),
            )
        route = await self._choose_route(db, collection, request, embedding)
        where = filter_conditions(route.table, request)
        if request.mode is Mode.HYBRID:
            query = HybridQuery(
                request.query,
                embedding,
                request.limit,
                request.vector_weight,
                request.fusion,
                text_query=request.text_kind,
                pool=request.pool,
                max_distance=request.max_distance,
                matching=matching,
                whole_pool=whole_pool,
                content_characters=POOL_CHARACTERS if whole_pool else None,
                where=where,
                access_path=route.access_path,
            )
            return prepare_hybrid(route.table, query, settings=route.settings)
        if request.max_distance is not None:
            return prepare_with_threshold(
                route.table,
                embedding,
                request.max_distance,
                request.limit,
                settings=route.settings,
                where=where,
                access_path=route.access_path,
            )
        return prepare_similar(
            route.table,
            embedding,
            request.limit,
            settings=route.settings,
            where=where,
            access_path=route.access_path,
        )

    async def _choose_route(
        self,
        db: AsyncSession,
        collection: Collection,
        request: SearchRequest,
        embedding: FloatArray,
    ) -> _Route:
        """Raises as :func:`choose_access_path`.

        An index on halfvec or bits answers only a query that orders by these, which would not be
        exact if the planner compared every row. So it is asked first: where it would not take the
        index, the query is by the full vectors.
        """
        table = collection.table
        access_path = await choose_access_path(db, collection, request)
        if (
            access_path is None
            and collection.indexed_by_expression
            and may_go_by_expression(request)
        ):
            table = await searched_table(db, collection)
        if not table.is_indexed_by_expression:
            settings = await self._settings_for(db, request, access_path)
            return _Route(table, access_path, settings)
        own = AccessPath(table, filter_conditions(table, request))
        settings = await self._settings_for(db, request, own)
        try:
            nearest = candidate_rows_statement(own, embedding, rows_by_vector(request))
        except InvalidVector:  # halfvec cannot hold it
            return _Route(collection.table, None, settings)
        await apply_settings(db, settings.server_settings())
        used = (await explain(db, nearest)).vector_index is not None
        return _Route(table if used else collection.table, None, settings)

    async def _settings_for(
        self, db: AsyncSession, request: SearchRequest, access_path: AccessPath | None
    ) -> SearchSettings:
        if self._pgvector is None:  # once a process: an extension is not updated under a server
            self._pgvector = await pgvector_version(db)
        return effective_settings(
            request,
            iterative_scan_exists=self._pgvector >= ITERATIVE_SCAN_SINCE,
            access_path=access_path,
        )

    async def _matching(
        self, db: AsyncSession, collection: Collection, request: SearchRequest
    ) -> TextMatching:
        if request.text_method is not TextMethod.BM25:
            return full_text(
                collection.table, request.query, request.text_kind, request.text_method
            )
        if not await has_lexical_index(db, collection):
            raise InvalidInput(
                f"“{collection.name}” has no BM25 index yet.",
                hint="Build it on the Collections page or by `python -m lib bm25 build`, or rank "
                "by ts_rank.",
                field="text_method",
            )
        return bm25_matching(collection, request.query, request.text_kind, request.bm25)


@dataclass(frozen=True)
class _Route:
    """What a search by vectors goes by."""

    table: VectorTable
    """The collection's, as it is to be searched."""
    access_path: AccessPath | None = None
    """The request's candidate."""
    settings: SearchSettings = field(default_factory=SearchSettings)


def may_go_by_expression(request: SearchRequest) -> bool:
    """Whether an index on halfvec or bits may answer: neither an exact scan nor the raw sum asks an
    index."""
    raw = request.mode is Mode.HYBRID and request.fusion is Fusion.RAW
    return request.settings.scan is not Scan.EXACT and not raw


def rows_by_vector(request: SearchRequest) -> int:
    """How many rows the vectors are to bring."""
    if request.mode is Mode.SIMILARITY:
        return request.limit
    return max(request.pool, request.limit)


def check_request(request: SearchRequest) -> None:
    """Raises InvalidInput for settings that mean nothing to a search by keywords alone."""
    if request.mode is not Mode.TEXT:
        return
    if request.max_distance is not None:
        raise InvalidInput(
            "A keyword search has no distance to cut at.",
            hint="Search by vectors (semantic or hybrid), or leave the threshold out.",
            field="max_distance",
        )
    if request.candidate_id is not None:
        raise InvalidInput(
            "A keyword search asks no vector index, so a candidate means nothing to it.",
            hint="Search by vectors (semantic or hybrid).",
            field="candidate",
        )


def without_example(request: SearchRequest, example: Example) -> SearchRequest:
    """The request with the documents that an example is made of left out."""
    return replace(request, leave_out=(*request.leave_out, *example.documents))


def asks_an_index(request: SearchRequest, *, has_index: bool) -> bool:
    """Whether a vector index could answer: otherwise what answers is known without its plan."""
    return has_index and request.mode.uses_vectors and request.settings.scan is not Scan.EXACT


def answering_index(
    request: SearchRequest, own: IndexDescription | None, candidates: Sequence[Candidate]
) -> IndexDescription | None:
    """The index that may answer: that of the candidate which the request names, else the
    collection's own."""
    for each in candidates:
        if each.id == request.candidate_id and each.index_name is not None:
            table = each.table
            return IndexDescription(
                name=each.index_name,
                method=each.method,
                options=each.index.options,
                operator_class=operator_class(table, each.method),
                size_bytes=each.index_bytes or 0,
                valid=each.ready,
            )
    return own


def filter_conditions(table: VectorTable, request: SearchRequest) -> list[ColumnElement[bool]]:
    """The request's filters over the table's own columns."""
    where = conditions(table, request.filters)
    if request.category is not None:
        where.append(is_category(table, request.category))
    row_id = table.column(table.id)
    return where + [row_id != literal(document, Uuid()) for document in request.leave_out]


async def choose_access_path(
    db: AsyncSession, collection: Collection, request: SearchRequest
) -> AccessPath | None:
    """The request's candidate, if it names one. Raises NotFound, and InvalidInput where it is not
    ready."""
    if request.candidate_id is None:
        return None
    candidate = await get_candidate(db, collection, request.candidate_id)
    if not candidate.ready:
        raise InvalidInput(
            f"The candidate “{candidate.name}” cannot be searched: {candidate.state.value}.",
            hint="Build it again, or take another one.",
            field="candidate",
        )
    exact = request.settings.scan is Scan.EXACT  # by the full vectors, where its index has bits
    table = candidate.exact_table if exact else candidate.table
    return AccessPath(table, tuple(filter_conditions(table, request)))


def can_rerank(request: SearchRequest) -> bool:
    """Whether the fused order can be made from a bounded pool: RAW takes every match."""
    return request.mode is Mode.HYBRID and request.fusion is not Fusion.RAW


def pool_key(request: SearchRequest) -> SearchRequest:
    """The request without what :func:`rerank` can change: the same key, the same pool. A limit
    above the pool stays in, since a leg fetches at least as many as are wanted."""
    if not can_rerank(request):
        return request
    usual = SearchRequest(query="")
    return replace(
        request,
        vector_weight=usual.vector_weight,
        fusion=usual.fusion,
        max_distance=None,
        limit=request.limit if request.limit > request.pool else usual.limit,
    )


def rerank(pool: SearchResult, request: SearchRequest) -> SearchResult:
    """The request's answer out of its pool (:meth:`SearchService.fetch_pool`): the same hits in
    the same order as asking the server. What cannot be reranked is its own answer already."""
    if not can_rerank(request):
        return pool
    fused = fuse(pool.hits, request.vector_weight, request.fusion)
    if request.max_distance is not None:
        near = request.max_distance
        fused = [hit for hit in fused if hit.distance is not None and hit.distance < near]
    hits = fused[: request.limit]
    short = None
    if len(hits) < request.limit and request.max_distance is None:
        short = pool.truncated_because or (
            f"Only {len(hits):,} of {request.limit:,}: that is all that both sides found together."
        )
    return replace(
        pool,
        hits=tuple(hits),
        asked=request.limit,
        truncated_because=short,
        index_fell_short=short is not None and pool.index_fell_short,
    )


def effective_settings(
    request: SearchRequest, *, iterative_scan_exists: bool, access_path: AccessPath | None = None
) -> SearchSettings:
    """The request's settings, with what nobody chose filled in so that an index does not return
    fewer rows than asked for: ef_search at least the rows wanted, and iterative scan on where a
    filter follows the index. A candidate is there for its index, so that one is taken. What was
    chosen stays as it is.

    access_path: the request's candidate, or the table by the halves or bits of its own index. An
    index on bits is to bring more rows than are wanted, and scans on where they are more than
    ef_search can be."""
    settings = request.settings
    if request.candidate_id is not None and settings.scan is Scan.AUTO:
        settings = replace(settings, scan=Scan.INDEX)
    if settings.scan is Scan.EXACT:
        return settings
    wanted = rows_by_vector(request)
    wanted = wanted if access_path is None else access_path.fetched(wanted)
    most = wanted
    for method in index_methods():
        parameter = method.search_parameter
        if not parameter.bounds_result:
            continue
        most = min(most, parameter.range.high)
        if settings.value_of(method) is None and wanted > parameter.range.default:
            settings = settings.with_value(method, min(wanted, parameter.range.high))
    by_bits = access_path is not None and access_path.table.indexed_as is IndexedAs.BINARY
    goes_on = request.filtered or (by_bits and wanted > most)
    if settings.iterative_scan is None and goes_on and iterative_scan_exists:
        settings = replace(settings, iterative_scan=IterativeScan.STRICT)
    return settings
