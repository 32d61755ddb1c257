"""A library whose candidates are measured by its own queries and their truth."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from candidates_fixture import Library

from lib.lab.measure import (
    BenchmarkSession,
    IndexBenchmark,
    open_benchmarks,
)
from lib.lab.measurement import SearchParameter
from lib.lab.queries import QueryBatch, given_batch, sample_queries
from lib.lab.truth import Truth, find_truth
from lib.search.filters import parse_filter
from lib.store.candidates import Candidate
from lib.vectors.distance import FloatArray

T = TypeVar("T")
K = 10
QUERIES = 60


class Lab:
    """A library, its queries and their truth."""

    def __init__(self, library: Library, *filters: str, given: FloatArray | None = None) -> None:
        self.library, self.database = library, library.database
        self.collection = library.collection
        self.filters = [parse_filter(each) for each in filters]
        self.batch: QueryBatch = (
            self.run(sample_queries(self.database, self.collection, QUERIES, 1))
            if given is None
            else given_batch(given, self.collection)
        )
        self.truth: Truth = self.run(
            find_truth(self.database, self.collection, self.batch, K, self.filters)
        )

    def run(self, work: Awaitable[T]) -> T:
        return self.database.run(work)  # type: ignore[arg-type]

    def with_bench(
        self,
        candidate: Candidate | None,
        use: Callable[[IndexBenchmark], Awaitable[T]],
        **options: Any,
    ) -> T:
        """Uses a bench on the database's loop."""

        async def work() -> T:
            async with open_benchmarks(self.database, self.collection) as benches:
                return await use(await self.add(benches, candidate, **options))

        return self.run(work())

    async def add(
        self, benches: BenchmarkSession, candidate: Candidate | None, **options: Any
    ) -> IndexBenchmark:
        options = {"k": K, "filters": self.filters} | options
        return await benches.add(candidate, self.batch, self.truth, **options)


def low(candidate: Candidate) -> SearchParameter:
    return SearchParameter(candidate.method, 11)
