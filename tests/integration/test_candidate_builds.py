"""Several candidates by one job."""

from __future__ import annotations

import pytest

from lib.errors import IndexRefused
from lib.lab.candidates import start_candidate_builds
from lib.store.candidates import list_candidates, parse_candidate
from lib.store.database import Database
from lib.store.jobs import JobStatus
from lib.vectors.distance import Storage
from lib.vectors.index_methods import index_methods
from tests.integration.candidates_fixture import Library, clustered


def test_they_are_built_one_after_the_other(database: Database) -> None:
    library = Library(database, clustered(200))
    specs = [
        parse_candidate(text, 200, library.collection.storage)
        for text in ("ivfflat:lists=4", "hnsw:m=4,ef_construction=16@bit")
    ]
    job = database.run(start_candidate_builds(library.jobs, database, library.collection, specs))
    ended = database.run(library.jobs.wait(job.id, 60))
    assert ended.status is JobStatus.DONE, ended.error
    found = database.query(list_candidates, library.collection)
    assert {candidate.method for candidate in found} == set(index_methods())
    assert all(candidate.ready and candidate.rows == 200 for candidate in found)


def test_nothing_is_built_where_one_is_refused(database: Database) -> None:
    library = Library(database, clustered(20))
    specs = [
        parse_candidate(text, 20, Storage.VECTOR)
        for text in ("hnsw@vector", "ivfflat:lists=1000@bit")
    ]
    with pytest.raises(IndexRefused):
        database.run(start_candidate_builds(library.jobs, database, library.collection, specs))
    assert database.query(list_candidates, library.collection) == []
