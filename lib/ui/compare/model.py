"""The Compare page's model: what the page shows of a collection, and the answers side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lib.lab.candidates import default_candidates, start_candidate_builds
from lib.search.compare import ColumnSettings, Comparison
from lib.search.miss_analysis import MissAnalysis, compare_with_misses
from lib.store.candidates import Candidate, list_candidates, newest_ready
from lib.store.collections import (
    Collection,
    CollectionSummary,
    list_collections,
    summarise,
)
from lib.store.jobs import Job
from lib.ui.search.options import SearchOptions
from lib.ui.shared.model import QueryingModel
from lib.ui.shared.session_cache import CacheKey, cached
from lib.vectors.catalog import IndexDescription
from lib.vectors.index_methods import IndexMethod, index_methods


@dataclass(frozen=True)
class ComparisonKey(CacheKey[tuple[Comparison, MissAnalysis]]):
    """A question's comparison."""

    collection: Collection
    indexes: Sequence[IndexDescription]
    query: str
    columns: Sequence[ColumnSettings]


class CompareModel(QueryingModel):
    """What the Compare page shows of the collections, and the candidates that it builds."""

    def collections(self) -> list[Collection]:
        return self.database.query(list_collections)

    def summary(self, collection: Collection) -> CollectionSummary:
        """As it is now: an index may just have been built. Raises NotFound."""
        return self.database.query(summarise, collection)

    def options(self, summary: CollectionSummary, candidates: Sequence[Candidate]) -> SearchOptions:
        """What the settings of a column can be chosen from."""
        collection = summary.collection
        return SearchOptions(
            summary, self.categories(collection), self.fields(collection), candidates
        )

    # --- its candidates ---

    def candidates(self, collection: Collection) -> list[Candidate]:
        """As they are now: the page waits for those that are being built."""
        return self.database.query(list_candidates, collection)

    def missing_methods(self, candidates: Sequence[Candidate]) -> list[IndexMethod]:
        """The index methods of which no candidate can be searched."""
        return [kind for kind in index_methods() if newest_ready(candidates, kind) is None]

    def running_jobs(self, collection: Collection) -> list[Job]:
        return self.database.run(self.jobs.recent(collection_id=collection.id, active_only=True))

    def build_candidates(self, summary: CollectionSummary, methods: Sequence[IndexMethod]) -> None:
        """Starts the build of a candidate of each method, as the guidelines have it for this many
        documents. Raises Busy."""
        collection = summary.collection
        offered = default_candidates(summary.embedded, collection.dimensions, collection.storage)
        specs = [spec for spec in offered if spec.index.method in methods]
        self.database.run(start_candidate_builds(self.jobs, self.database, collection, specs))

    # --- the answers ---

    def compare(
        self, summary: CollectionSummary, query: str, columns: Sequence[ColumnSettings]
    ) -> tuple[Comparison, MissAnalysis]:
        """The answers side by side, and what each index missed. Raises what
        :func:`~lib.search.compare.compare` raises."""
        collection = summary.collection
        return cached(
            ComparisonKey(collection, summary.indexes, query, columns),
            lambda: self.database.run(
                compare_with_misses(self.services.search, self.database, collection, query, columns)
            ),
        )
