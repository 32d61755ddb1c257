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
from lib.search.service import POOL_CHARACTERS, SearchService, rerank
from lib.settings import LOCAL_MODEL, Settings
from lib.store.collections import Collection, create_collection
from lib.store.database import Database
from lib.ui.search.model import SearchModel
from lib.vectors.build import build_index
from lib.vectors.index_methods import IVFFlat
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


def asking(database: Database, collection: Collection, request: SearchRequest) -> SearchModel:
    return SearchModel(database, SearchService(database, SETTINGS), collection, request)


def test_files_have_the_whole_text_that_a_pool_cuts(
    database: Database, collection: Collection
) -> None:
    asked = asking(database, collection, SearchRequest("owl at night", limit=3))
    pool = asked.pool()
    assert max(len(hit.document.content) for hit in pool) == POOL_CHARACTERS
    answers = [hit.document.external_id for hit in rerank(pool, asked.request)]
    rows = list(csv.DictReader(io.StringIO(asked.csv().decode("utf-8-sig"))))
    assert [row["external_id"] for row in rows] == answers
    assert LONG in [row["content"] for row in rows]
    lines = [json.loads(line) for line in asked.jsonl().decode().splitlines()]
    assert [line["external_id"] for line in lines] == answers


def test_what_the_index_missed_is_marked(database: Database, collection: Collection) -> None:
    """The words find documents that are nearer than some that the index brought, in lists that it
    did not look into."""
    database.run(build_index(database.engine, collection.table, IVFFlat(lists=20)))
    question = "tea and bread"
    one = SearchSettings(probes=1, scan=Scan.INDEX)
    asked = asking(database, collection, SearchRequest(question, limit=60, settings=one))
    pool = asked.pool()
    answers = asked.answers(pool, rerank(pool, asked.request))
    brought = {hit.document.id: hit.distance for hit in pool if hit.vector_rank is not None}
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
    asked = asking(database, collection, SearchRequest(question, limit=60, settings=everything))
    pool = asked.pool()
    assert not any(each.missed for each in asked.answers(pool, rerank(pool, asked.request)))


def test_how_many_have_any_of_the_words(database: Database, collection: Collection) -> None:
    plain = SearchRequest("owl fox zeppelin", Mode.HYBRID, text_query=TextQuery.PLAIN)
    assert asking(database, collection, plain).matches_with_any() == 6 + 6 + 1
    none = SearchRequest("zeppelin airship", Mode.TEXT)
    assert asking(database, collection, none).matches_with_any() == 0
