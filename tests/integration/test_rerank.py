"""A pool that was fetched once answers as the server would, and costs one statement."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import event

from lib.ingest.incoming import IncomingDocument
from lib.ingest.load import store_documents
from lib.ingest.service import DocumentService
from lib.search.request import Mode, SearchRequest
from lib.search.service import SearchService, rerank
from lib.settings import LOCAL_MODEL, Settings
from lib.store.collections import Collection, create_collection
from lib.store.database import Database
from lib.vectors.hybrid import Fusion

WORDS = [
    "harbour",
    "engine",
    "bread",
    "violin",
    "glacier",
    "tax",
    "violet",
    "copper",
    "orbit",
    "letter",
]


@pytest.fixture
def collection(database: Database) -> Collection:
    rng = np.random.default_rng(3)
    found = database.query(create_collection, "Words", model=LOCAL_MODEL, dimensions=256)
    documents = [
        IncomingDocument(
            external_id=str(number),
            content=" ".join(rng.choice(WORDS, size=rng.integers(2, 12))),
        )
        for number in range(120)
    ]
    database.query(store_documents, found, documents)
    service = DocumentService(database, Settings(_env_file=None))
    database.run(service.backfill_embeddings(found))
    return found


@contextmanager
def statements_of(database: Database) -> Iterator[list[str]]:
    """What is sent to the server meanwhile."""
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        sent.append(statement)

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    yield sent
    event.remove(database.engine.sync_engine, "before_cursor_execute", note)


@pytest.mark.parametrize("fusion", [Fusion.WEIGHTED, Fusion.RRF])
@pytest.mark.parametrize("max_distance", [None, 0.55])
def test_reranking_gives_what_the_server_gives(
    database: Database, collection: Collection, fusion: Fusion, max_distance: float | None
) -> None:
    service = SearchService(database, Settings(_env_file=None))
    asked = SearchRequest(
        "violin harbour", fusion=fusion, pool=40, max_distance=max_distance, vector_weight=0.5
    )
    pool = database.run(service.fetch_pool(collection, asked))
    assert len(pool) > asked.limit
    if max_distance is not None:  # it must cut some and leave some
        near = [hit for hit in pool if hit.distance is not None and hit.distance < max_distance]
        assert 0 < len(near) < len(pool)
    with statements_of(database) as sent:
        answers = {
            (weight, limit): rerank(pool, replace(asked, vector_weight=weight, limit=limit))
            for weight in (0.0, 0.2, 0.5, 0.85, 1.0)
            for limit in (1, 10, 25)
        }
    assert sent == []
    for (weight, limit), answer in answers.items():
        request = replace(asked, vector_weight=weight, limit=limit)
        expected = database.run(service.search(collection, request))
        assert [hit.document.id for hit in answer] == [hit.document.id for hit in expected]
        assert [hit.fused for hit in answer] == pytest.approx([hit.fused for hit in expected])
        assert [hit.text_rank for hit in answer] == [hit.text_rank for hit in expected]


@pytest.mark.parametrize("mode", list(Mode))
def test_a_search_is_one_statement(database: Database, collection: Collection, mode: Mode) -> None:
    """Besides the settings of its transaction, where there are any."""
    service = SearchService(database, Settings(_env_file=None))
    request = SearchRequest("bread OR tax", mode=mode)
    database.run(service.fetch_pool(collection, request))  # what is looked up once a process
    with statements_of(database) as sent:
        database.run(service.fetch_pool(collection, request))
    searches = [statement for statement in sent if "set_config" not in statement]
    assert len(searches) == 1, sent
    assert len(sent) <= 2
