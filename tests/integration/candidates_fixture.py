"""A managed collection with vectors of the test's own, and candidates of it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
from sqlalchemy import insert, text

from lib.lab.candidates import start_candidate_builds
from lib.store.candidates import Candidate, CandidateSpec, get_candidate, list_candidates
from lib.store.collections import Collection, create_collection, mark_changed
from lib.store.database import Database
from lib.store.jobs import Job, Jobs
from lib.vectors.distance import Distance, ElementType, FloatArray, Storage
from lib.vectors.index_methods import IndexSpec

DIMENSIONS = 16


def clustered(count: int, clusters: int = 40, *, seed: int = 3) -> FloatArray:
    """Vectors around some centres, so that a query near a border has neighbours in several."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((clusters, DIMENSIONS))
    picked = centres[rng.integers(clusters, size=count)]
    return (picked + 0.6 * rng.standard_normal((count, DIMENSIONS))).astype(np.float32)


class Library:
    """The collection; document n has the external id str(n) and vectors[n]."""

    def __init__(
        self,
        database: Database,
        vectors: Sequence[Any],
        *,
        distance: Distance = Distance.COSINE,
        dimensions: int = DIMENSIONS,
        storage: Storage = Storage.VECTOR,
        name: str = "Library",
    ) -> None:
        self.database = database
        self.jobs = database.run(_jobs(database))
        self.collection: Collection = database.query(
            create_collection,
            name,
            model="local/wordllama-256",
            dimensions=dimensions,
            distance=distance,
            storage=storage,
        )
        self.vectors = vectors
        if len(vectors):
            self.add(vectors)

    def add(self, vectors: Sequence[Any], first: int = 0) -> None:
        rows = [
            {
                "id": uuid.UUID(int=number),
                "external_id": str(number),
                "content": f"text {number}",
                "category": "even" if number % 2 == 0 else "odd",
                "metadata": {"shelf": number % 10},
                "embedding": vector,
                "content_hash": b"",
            }
            for number, vector in enumerate(vectors, start=first)
        ]

        async def work() -> None:
            async with self.database.session() as db:
                await db.execute(insert(self.collection.documents), rows)
                await mark_changed(db, self.collection)

        self.database.run(work())

    def start(self, spec: IndexSpec, storage: ElementType | None = None) -> Job:
        held = storage or ElementType.of(self.collection.storage)
        specs = [CandidateSpec(spec, held)]
        return self.database.run(
            start_candidate_builds(self.jobs, self.database, self.collection, specs)
        )

    def build(self, spec: IndexSpec, storage: ElementType | None = None) -> Candidate:
        job = self.start(spec, storage)
        ended = self.database.run(self.jobs.wait(job.id))
        assert ended.status.value == "done", ended.error
        assert ended.result is not None
        (built,) = ended.result["candidates"]
        return self.database.query(get_candidate, self.collection, uuid.UUID(built["candidate_id"]))

    def candidates(self) -> list[Candidate]:
        return self.database.query(list_candidates, self.collection)

    def ask(self, statement: str) -> list[Any]:
        async def work() -> list[Any]:
            async with self.database.session() as db:
                return [tuple(row) for row in await db.execute(text(statement))]

        return self.database.run(work())

    def tables(self) -> set[str]:
        """The candidates' tables that there are."""
        return {
            name
            for (name,) in self.ask(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'vecscope' "
                "AND tablename ~ '^candidate_'"
            )
        }


async def _jobs(database: Database) -> Jobs:
    return Jobs(database)
