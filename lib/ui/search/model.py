"""One question, or one example, put to a collection: what a page shows of it, each thing fetched
only where it is looked at."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from lib.search.example import Example
from lib.search.explain import Diagnosis, explain_search
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
from lib.search.service import SearchService, pool_key, without_example
from lib.search.snippets import Snippet, make_snippet
from lib.store.collections import Collection
from lib.store.database import Database
from lib.vectors.distance import FloatArray
from lib.vectors.plans import Plan
from lib.vectors.search import Hit, SearchResult
from lib.vectors.statements import TextQuery


@dataclass(frozen=True)
class Answer:
    """A hit as it is shown. parts: of a hybrid, what the vector and the text leg add to its fused
    value. missed: it is nearer than what the vector leg brought, so that the index missed it."""

    hit: Hit
    snippet: Snippet
    parts: tuple[float, float] | None = None
    missed: bool = False


@dataclass(frozen=True, eq=False)
class Weighing:
    """ranks: (hits of the pool, weights), 1 is first. changes: the weights at which another
    document becomes the first."""

    ranks: npt.NDArray[np.int64]
    changes: tuple[float, ...]


@dataclass(frozen=True)
class ThresholdPreview:
    """What a threshold cuts of the nearest documents' distances. below: how many it lets through.
    gap: the widest one, a suggestion."""

    distances: Sequence[float]
    threshold: float
    below: int
    gap: DistanceGap | None


@dataclass(frozen=True)
class SearchExport:
    """A search in four languages. settings: as JSON. command: None where there is none."""

    sql: CodeText
    python: CodeText
    settings: str
    command: str | None


@dataclass(frozen=True, eq=False)
class SearchModel:
    """example, embedding (d,): set by :meth:`like`; a question is embedded by the service. Methods
    raise what the service's raise."""

    database: Database
    service: SearchService
    collection: Collection
    request: SearchRequest
    example: Example | None = None
    embedding: FloatArray | None = None

    def embed(self, example: Example) -> FloatArray:
        """The vector (d,) to ask by. Raises what :func:`~lib.search.example.example_vector`
        raises."""
        return self.database.run(self.service.embed_example(self.collection, example))

    def like(self, example: Example, embedding: FloatArray) -> SearchModel:
        """An example in place of the question: by similarity, without the documents that it is
        made of. embedding: its vector."""
        alone = replace(self.request, query="", mode=Mode.SIMILARITY)
        asked = without_example(alone, example)
        return replace(self, request=asked, example=example, embedding=embedding)

    @property
    def pool_key(self) -> tuple[object, ...]:
        """What a pool depends on, besides the documents."""
        return self.collection.address, self.example, pool_key(self.request)

    @property
    def distances_key(self) -> tuple[object, ...]:
        """What :meth:`distances` depends on, besides the documents: no threshold."""
        wide = replace(pool_key(self.request), max_distance=None)
        return self.collection.address, self.example, wide

    @property
    def shape_key(self) -> tuple[object, ...]:
        """What the way to the nearest neighbours depends on: everything but the question."""
        return self.collection.address, replace(pool_key(self.request), query="", leave_out=())

    def pool(self) -> SearchResult:
        """What :func:`~lib.search.service.rerank` answers from."""
        return self.database.run(
            self.service.fetch_pool(self.collection, self.request, embedding=self.embedding)
        )

    def plan(self, pool: SearchResult) -> Plan:
        """How the server got a pool; nothing is searched again."""
        return self.database.run(self.service.plan_of(self.collection, pool))

    def answers(self, pool: SearchResult, result: SearchResult) -> list[Answer]:
        """The hits of a result with their best passages. pool: what it was ranked from."""
        request, language = self.request, self.collection.text_config
        parts: Sequence[tuple[float, float] | None] = [None] * len(result)
        if request.mode is Mode.HYBRID:
            parts = contributions(pool.hits, result.hits, request.vector_weight, request.fusion)
        farthest = _farthest_found(pool.hits)
        return [
            Answer(
                hit,
                make_snippet(hit.document.content, request.query, language=language),
                part,
                missed=hit.vector_rank is None
                and hit.distance is not None
                and hit.distance < farthest,
            )
            for hit, part in zip(result.hits, parts, strict=True)
        ]

    def weighing(self, pool: SearchResult, weights: Sequence[float]) -> Weighing:
        """The range of the weight at a glance."""
        hits, fusion = pool.hits, self.request.fusion
        leaders = leader_intervals(hits, fusion) if hits else []
        changes = tuple(later.start for later in leaders[1:])
        return Weighing(ranks_by_weight(hits, fusion, weights), changes)

    def distances(self) -> list[float]:
        """Of the nearest documents, nearest first."""
        return self.database.run(
            self.service.nearest_distances(self.collection, self.request, embedding=self.embedding)
        )

    def matches_with_any(self) -> int:
        """How many documents have at least one word of the question, filters held."""
        any_word = replace(
            self.request, mode=Mode.TEXT, text_query=TextQuery.ANY, limit=1, max_distance=None
        )
        found = self.database.run(self.service.search(self.collection, any_word))
        return found.matches or 0

    def diagnosis(self) -> Diagnosis:
        """How the server answers, by searching once more."""
        return self.database.query(explain_search, self.collection, self.request, self._prepared())

    def taken_along(self) -> SearchExport:
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
        return hits_csv(self._whole())

    def jsonl(self) -> bytes:
        """The same as :func:`~lib.search.hits_export.hits_jsonl`."""
        return hits_jsonl(self._whole())

    def _whole(self) -> Sequence[Hit]:
        found = self.service.search(self.collection, self.request, embedding=self.embedding)
        return self.database.run(found).hits

    def _prepared(self) -> SearchResult:
        return self.database.run(
            self.service.prepare(self.collection, self.request, embedding=self.embedding)
        )


def _farthest_found(pool: Sequence[Hit]) -> float:
    """The largest distance of what the vector leg brought; -inf where it brought nothing."""
    found = [hit.distance for hit in pool if hit.vector_rank is not None]
    return max((distance for distance in found if distance is not None), default=-math.inf)


def threshold_preview(distances: Sequence[float], threshold: float) -> ThresholdPreview:
    """What a threshold does to these distances."""
    return ThresholdPreview(
        distances, threshold, count_below(distances, threshold), widest_gap(distances)
    )
