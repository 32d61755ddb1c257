"""The Search page's model: what the page shows of a collection, and of one search of it.

Each thing is fetched only where it is looked at, and kept in the session cache under a typed key.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from lib.search.diagnosis.report import Diagnosis, explain_search
from lib.search.example import Example, document_labels
from lib.search.export import CodeText, command_line, python_text, request_to_json, sql_text
from lib.search.fusion import (
    DistanceGap,
    contributions,
    count_below,
    leader_intervals,
    ranks_by_weight,
    widest_gap,
)
from lib.search.hits_export import hits_csv, hits_jsonl
from lib.search.request import Mode, SearchRequest
from lib.search.saved import SavedSearch, delete_saved, get_saved, list_saved, save_search
from lib.search.service import (
    answering_index,
    asks_an_index,
    can_rerank,
    pool_key,
    rerank,
    without_example,
)
from lib.search.snippets import Snippet, make_snippet
from lib.services import Services
from lib.store.collections import (
    Collection,
    CollectionSummary,
    list_searchable,
)
from lib.ui.search.options import SearchOptions
from lib.ui.shared.model import QueryingModel
from lib.ui.shared.session_cache import CacheKey, cached
from lib.vectors.catalog import IndexDescription
from lib.vectors.distance import FloatArray
from lib.vectors.plans import Plan
from lib.vectors.search import Hit, SearchResult
from lib.vectors.statements import TextQuery


@dataclass(frozen=True)
class Answer:
    """A hit as it is shown."""

    hit: Hit
    snippet: Snippet
    parts: tuple[float, float] | None = None
    """Of a hybrid, what the vector and the text leg add to its fused value."""
    missed: bool = False
    """It is nearer than what the vector leg brought, so that the index missed it."""


@dataclass(frozen=True, eq=False)
class WeightRanks:
    """How a pool is ranked at each vector weight."""

    ranks: npt.NDArray[np.int64]
    """(hits of the pool, weights), 1 is first."""
    changes: tuple[float, ...]
    """The weights at which another document becomes the first."""


@dataclass(frozen=True)
class ThresholdPreview:
    """What a distance threshold does to a question's nearest documents."""

    distances: Sequence[float]
    threshold: float
    below: int
    """How many documents it lets through."""
    gap: DistanceGap | None
    """The widest one, a suggestion."""


@dataclass(frozen=True)
class SearchExport:
    """A search to run elsewhere, in four languages."""

    sql: CodeText
    python: CodeText
    settings: str
    """As JSON."""
    command: str | None
    """None where the command line has none for it."""


# --- what the session cache keeps ---------------------------------------------------------------


@dataclass(frozen=True)
class ExampleVectorKey(CacheKey[FloatArray]):
    """The vector of an example."""

    collection: Collection
    example: Example


@dataclass(frozen=True)
class _SearchKey:
    """What everything depends on that a search of a collection brings."""

    collection: Collection
    index: IndexDescription | None
    example: Example | None
    request: SearchRequest
    """Without what the value does not depend on."""


@dataclass(frozen=True)
class PoolKey(_SearchKey, CacheKey[SearchResult]):
    """The pool of a search: whatever reranking changes is left out."""


@dataclass(frozen=True)
class PlanKey(_SearchKey, CacheKey[Plan]):
    """The plan of a search: the question is left out too."""


@dataclass(frozen=True)
class DistancesKey(_SearchKey, CacheKey[list[float]]):
    """The distances of the nearest documents: the threshold is left out."""


@dataclass(frozen=True)
class AnyWordMatchesKey(_SearchKey, CacheKey[int]):
    """How many documents have at least one word of the question."""


@dataclass(frozen=True)
class DiagnosisKey(_SearchKey, CacheKey[Diagnosis]):
    """The diagnosis of a search, with all of its settings."""


# --- a collection -------------------------------------------------------------------------------


class SearchModel(QueryingModel):
    """What the Search page shows of the collections, and what it saves."""

    def collections(self) -> list[Collection]:
        """Those that can be searched."""
        return self.database.query(list_searchable)

    def options(self, summary: CollectionSummary) -> SearchOptions:
        """What the settings of a search can be chosen from."""
        collection = summary.collection
        return SearchOptions(
            summary,
            self.categories(collection),
            self.fields(collection),
            self.candidates(collection),
        )

    def document_labels(
        self, collection: Collection, ids: Sequence[uuid.UUID]
    ) -> dict[uuid.UUID, str]:
        """What to call documents; one that is gone is left out."""
        return self.database.query(document_labels, collection, ids)

    def search(
        self, collection: Collection, request: SearchRequest, example: Example | None = None
    ) -> Search:
        """A search of the collection. With an example in place of the question: by vectors alone,
        and without the documents that the example is made of.

        Raises what :func:`~lib.search.example.example_vector` raises, for an example.
        """
        index = answering_index(
            request, self.summary(collection).index, self.candidates(collection)
        )
        embedding = None
        if example is not None:
            embedding = cached(
                ExampleVectorKey(collection, example),
                lambda: self.database.run(self.services.search.embed_example(collection, example)),
            )
            by_vectors = replace(request, query="", mode=Mode.SIMILARITY)
            request = without_example(by_vectors, example)
        return Search(self.services, collection, request, index, example, embedding)

    # --- saved searches ---

    def saved_searches(self, collection: Collection) -> list[SavedSearch]:
        """All of the collection's, by name."""
        return self.database.query(list_saved, collection)

    def saved_search(self, collection: Collection, slug: str) -> SavedSearch:
        """Raises NotFound."""
        return self.database.query(get_saved, collection, slug)

    def save(
        self,
        collection: Collection,
        name: str,
        request: SearchRequest,
        example: Example | None,
        *,
        replaces: bool,
    ) -> SavedSearch:
        """Raises InvalidInput, AlreadyExists."""
        return self.database.query(
            save_search, collection, name, request, example=example, replaces=replaces
        )

    def delete_saved(self, collection: Collection, slug: str) -> None:
        """Raises NotFound."""
        self.database.query(delete_saved, collection, slug)


# --- one search ---------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Search:
    """One search of a collection: its answer, what the answer came from, and how to run it
    elsewhere. Made by :meth:`SearchModel.search`; its methods raise what the service's raise."""

    services: Services
    collection: Collection
    request: SearchRequest
    index: IndexDescription | None
    """The one that may answer."""
    example: Example | None = None
    embedding: FloatArray | None = None
    """The example's, (d,); a question is embedded by the service."""

    @cached_property
    def pool(self) -> SearchResult:
        """What :attr:`result` is ranked from."""
        return cached(
            PoolKey(*self._state, pool_key(self.request)),
            lambda: self.services.database.run(
                self.services.search.fetch_pool(
                    self.collection, self.request, embedding=self.embedding
                )
            ),
        )

    @cached_property
    def result(self) -> SearchResult:
        """The request's answer out of the pool: moving a slider asks the server nothing."""
        return rerank(self.pool, self.request)

    @property
    def can_rerank(self) -> bool:
        """Whether there is a weight to look at."""
        return can_rerank(self.request)

    @property
    def plan(self) -> Plan | None:
        """How the server got the pool; nothing is searched again. None where no vector index could
        answer."""
        if not asks_an_index(self.request, has_index=self.index is not None):
            return None
        shape = replace(pool_key(self.request), query="", leave_out=())
        return cached(
            PlanKey(*self._state, shape),
            lambda: self.services.database.run(
                self.services.search.plan_of(self.collection, self.pool)
            ),
        )

    def answers(self) -> list[Answer]:
        """The hits of the result with their best passages."""
        pool, result, request = self.pool, self.result, self.request
        parts: Sequence[tuple[float, float] | None] = [None] * len(result)
        if request.mode is Mode.HYBRID:
            parts = contributions(pool.hits, result.hits, request.vector_weight, request.fusion)
        farthest = _farthest_of_vector_leg(pool.hits)
        return [
            Answer(
                hit,
                make_snippet(
                    hit.document.content, request.query, language=self.collection.text_config
                ),
                part,
                missed=hit.vector_rank is None
                and hit.distance is not None
                and hit.distance < farthest,
            )
            for hit, part in zip(result.hits, parts, strict=True)
        ]

    def weight_ranks(self, weights: Sequence[float]) -> WeightRanks:
        """The pool's ranks over the range of the weight."""
        hits, fusion = self.pool.hits, self.request.fusion
        leaders = leader_intervals(hits, fusion) if hits else []
        changes = tuple(later.start for later in leaders[1:])
        return WeightRanks(ranks_by_weight(hits, fusion, weights), changes)

    def threshold_preview(self, threshold: float) -> ThresholdPreview:
        """What a threshold does to the nearest documents."""
        wide = replace(pool_key(self.request), max_distance=None)
        distances = cached(
            DistancesKey(*self._state, wide),
            lambda: self.services.database.run(
                self.services.search.nearest_distances(
                    self.collection, self.request, embedding=self.embedding
                )
            ),
        )
        below = count_below(distances, threshold)
        return ThresholdPreview(distances, threshold, below, widest_gap(distances))

    def any_word_matches(self) -> int:
        """How many documents have at least one word of the question, filters held."""
        any_word = replace(
            self.request, mode=Mode.TEXT, text_query=TextQuery.ANY, limit=1, max_distance=None
        )

        def count() -> int:
            result = self.services.database.run(
                self.services.search.search(self.collection, any_word)
            )
            return result.matches or 0

        return cached(AnyWordMatchesKey(*self._state, pool_key(self.request)), count)

    def diagnosis(self) -> Diagnosis:
        """How the server answers, by searching once more."""
        return cached(
            DiagnosisKey(*self._state, self.request),
            lambda: self.services.database.query(
                explain_search, self.collection, self.request, self._prepared()
            ),
        )

    def export(self) -> SearchExport:
        """The search to run elsewhere; nothing is searched."""
        prepared = self._prepared()
        settings = json.dumps(request_to_json(self.request), indent=2, ensure_ascii=False)
        return SearchExport(
            sql_text(prepared),
            python_text(prepared),
            settings,
            command_line(self.request, self.collection.name, self.example),
        )

    def csv(self) -> bytes:
        """The answers as :func:`~lib.search.hits_export.hits_csv`, with all of their text, which a
        pool cuts short."""
        return hits_csv(self._full_hits())

    def jsonl(self) -> bytes:
        """The same as :func:`~lib.search.hits_export.hits_jsonl`."""
        return hits_jsonl(self._full_hits())

    @property
    def _state(self) -> tuple[Collection, IndexDescription | None, Example | None]:
        return self.collection, self.index, self.example

    def _full_hits(self) -> Sequence[Hit]:
        search = self.services.search.search(
            self.collection, self.request, embedding=self.embedding
        )
        return self.services.database.run(search).hits

    def _prepared(self) -> SearchResult:
        prepared = self.services.database.run(
            self.services.search.prepare(self.collection, self.request, embedding=self.embedding)
        )
        return prepared.unanswered


def _farthest_of_vector_leg(pool: Sequence[Hit]) -> float:
    """The largest distance of what the vector leg brought; -inf where it brought nothing."""
    distances = [hit.distance for hit in pool if hit.vector_rank is not None]
    return max((distance for distance in distances if distance is not None), default=-math.inf)
