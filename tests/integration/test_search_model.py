"""What the Search page shows of a question, fetched only where it is looked at."""

from __future__ import annotations

import csv
import io
import json

import pytest

from lib.ingest.incoming import IncomingDocument
from lib.ingest.load import store_documents
from lib.ingest.service import DocumentService
from lib.search.request import Mode, SearchRequest
from lib.search.service import POOL_CHARACTERS, SearchService
from lib.services import Services
from lib.settings import LOCAL_MODEL, Settings
from lib.store.collections import Collection, create_collection
from lib.store.database import Database
from lib.store.jobs import Jobs
from lib.ui.search.model import Search, SearchModel
from lib.vectors.build import build_index
from lib.vectors.index_methods import IVFFLAT
from lib.vectors.statements import TextQuery
from lib.vectors.tuning import Scan, SearchSettings

SETTINGS = Settings(_env_file=None)
LONG = "An owl at night. " * 800


@pytest.fixture
def collection(database: Database) -> Collection:
    found = database.query(create_collection, "Animals", model=LOCAL_MODEL, dimensions=256)
    kinds = ("owl", "fox", "ship", "tea", "mouse", "rose", "stone", "moon", "bread", "clock")
    documents = [
        IncomingDocument(external_id=f"{kind}-{n}", content=f"A {kind} number {n} of {kind}s")
        for kind in kinds
        for n in range(6)
    ]
    documents.append(IncomingDocument(external_id="long", content=LONG))
    database.query(store_documents, found, documents)
    database.run(DocumentService(database, SETTINGS).backfill_embeddings(found))
    return found


def search(database: Database, collection: Collection, request: SearchRequest) -> Search:
    services = Services(
        SETTINGS,
        database,
        Jobs(database),
        DocumentService(database, SETTINGS),
        SearchService(database, SETTINGS),
    )
    return SearchModel(services).search(collection, request)


def test_files_have_the_whole_text_that_a_pool_cuts(
    database: Database, collection: Collection
) -> None:
    asked = search(database, collection, SearchRequest("owl at night", limit=3))
    assert max(len(hit.document.content) for hit in asked.pool) == POOL_CHARACTERS
    answers = [hit.document.external_id for hit in asked.result]
    rows = list(csv.DictReader(io.StringIO(asked.csv().decode("utf-8-sig"))))
    assert [row["external_id"] for row in rows] == answers
    assert LONG in [row["content"] for row in rows]
    lines = [json.loads(line) for line in asked.jsonl().decode().splitlines()]
    assert [line["external_id"] for line in lines] == answers


def test_what_the_index_missed_is_marked(database: Database, collection: Collection) -> None:
    """The words find documents that are nearer than some that the index brought, in lists that it
    did not look into."""
    database.run(build_index(database.engine, collection.table, IVFFLAT.spec(lists=20)))
    question = "tea and bread"
    one = SearchSettings(probes=1, scan=Scan.INDEX)
    asked = search(database, collection, SearchRequest(question, limit=60, settings=one))
    answers = asked.answers()
    brought = {hit.document.id: hit.distance for hit in asked.pool if hit.vector_rank is not None}
    exact = SearchRequest(question, Mode.SIMILARITY, limit=61)
    nearest = {
        hit.document.id: hit.distance
        for hit in database.run(SearchService(database, SETTINGS).search(collection, exact))
    }
    farthest = max(distance for distance in brought.values() if distance is not None)
    for answer in answers:
        document = answer.hit.document.id
        nearer = nearest[document] is not None and nearest[document] < farthest  # type: ignore[operator]
        assert answer.missed == (document not in brought and nearer)
    everything = SearchSettings(probes=20, scan=Scan.INDEX)
    asked = search(database, collection, SearchRequest(question, limit=60, settings=everything))
    assert not any(answer.missed for answer in asked.answers())


def test_how_many_have_any_of_the_words(database: Database, collection: Collection) -> None:
    plain = SearchRequest("owl fox zeppelin", Mode.HYBRID, text_query=TextQuery.PLAIN)
    assert search(database, collection, plain).any_word_matches() == 6 + 6 + 1
    none = SearchRequest("zeppelin airship", Mode.TEXT)
    assert search(database, collection, none).any_word_matches() == 0
