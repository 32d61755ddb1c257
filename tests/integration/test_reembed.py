"""A collection is embedded again by another model, beside its own vectors, and switched.

The second model is a real HTTP server of the test's; its vectors are known beforehand.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import psycopg
import pytest
from command_line import CommandLine
from conftest import execute
from pgvector.psycopg import register_vector
from sqlalchemy import URL

from lib.errors import Busy, InvalidInput, NotFound
from lib.ingest.incoming import IncomingDocument
from lib.ingest.jobs import load_key, start_backfill
from lib.ingest.load import next_unembedded, store_documents, store_embeddings
from lib.ingest.reembed import (
    discard_reembedding,
    estimate_reembedding,
    shadow_state,
    start_reembedding,
    start_switch,
)
from lib.ingest.service import DocumentService
from lib.search.request import Mode, SearchRequest
from lib.search.service import SearchService
from lib.settings import LOCAL_MODEL, Settings
from lib.store import migrations
from lib.store.collections import (
    Collection,
    create_collection,
    get_collection,
    get_searchable,
    list_searchable,
    summarise,
)
from lib.store.database import Database
from lib.store.jobs import Job, JobKind, Jobs, JobStatus
from lib.store.production import start_index_build
from lib.store.url import connect_arguments
from lib.vectors.distance import Distance, Storage
from lib.vectors.index_methods import HNSW
from tests.unit.provider_server import Misbehaviour, ProviderServer, vector_of

T = TypeVar("T")
DIMENSIONS = 8
SECOND = "openai-compatible/tiny"
TEXTS = [f"the text of number {number}" for number in range(1200)]


@pytest.fixture
def provider() -> Iterator[ProviderServer]:
    server = ProviderServer(DIMENSIONS)
    yield server
    server.close()


class Shelf:
    """A collection that is embedded by the local model."""

    def __init__(self, database: Database, provider: ProviderServer, url: URL) -> None:
        settings = Settings(
            _env_file=None,
            openai_base_url=provider.base_url,
            embedding_deadline_seconds=5,
            embedding_concurrency=2,
        )
        self.database, self.url, self.settings = database, url, settings
        self.documents = DocumentService(database, settings)
        self.jobs = Jobs(database)
        self.query(create_collection, "Mine", model=LOCAL_MODEL, dimensions=256)

    @property
    def collection(self) -> Collection:
        """As it is now."""
        return self.query(get_collection, "Mine")

    @property
    def following(self) -> Collection:
        found = self.collection.as_shadow
        assert found is not None
        return found

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.database.run(work)

    def query(self, work: Callable[..., Coroutine[Any, Any, T]], *args: Any, **kwargs: Any) -> T:
        return self.database.query(work, *args, **kwargs)

    def wait(self, starting: Coroutine[Any, Any, Job]) -> Job:
        async def work() -> Job:
            return await self.jobs.wait((await starting).id, 60)

        return self.run(work())

    def store(self, texts: list[str], *, first: int = 0, embed: bool = True) -> None:
        documents = [
            IncomingDocument(external_id=f"{first + number:05}", content=text)
            for number, text in enumerate(texts)
        ]
        self.query(store_documents, self.collection, documents)
        if embed:
            self.run(self.documents.backfill_embeddings(self.collection))

    def fill(self) -> Job:
        return self.wait(start_reembedding(self.jobs, self.documents, self.collection, SECOND))

    def switch(self, **options: Any) -> Job:
        return self.wait(start_switch(self.jobs, self.documents, self.collection, **options))

    def rows(self, columns: str) -> list[Any]:
        with psycopg.connect(**connect_arguments(self.url)) as connection:
            register_vector(connection)
            statement = f"SELECT {columns} FROM vecscope.documents_mine ORDER BY external_id"
            return connection.execute(statement).fetchall()

    def columns(self) -> set[str]:
        statement = (
            "SELECT column_name FROM information_schema.columns "
            "WHERE table_name = 'documents_mine' AND column_name LIKE '%embedding%'"
        )
        with psycopg.connect(**connect_arguments(self.url)) as connection:
            return {row[0] for row in connection.execute(statement)}

    def search(self, collection: Collection, query: str) -> list[str | None]:
        request = SearchRequest(query, mode=Mode.SIMILARITY, limit=3)
        found = self.run(SearchService(self.database, self.settings).search(collection, request))
        return [hit.document.external_id for hit in found]


@pytest.fixture
def shelf(database: Database, provider: ProviderServer, migrated_url: URL) -> Shelf:
    return Shelf(database, provider, migrated_url)


def assert_embedded_by_second(rows: list[Any]) -> None:
    """rows: (content, vector)."""
    for content, vector in rows:
        np.testing.assert_array_equal(vector.to_numpy(), vector_of(content, DIMENSIONS))


OLD = {"embedding", "embedding_error"}
BOTH = {*OLD, "next_embedding", "next_embedding_error"}


def test_both_models_are_searched_and_then_it_is_the_second(shelf: Shelf) -> None:
    shelf.store(TEXTS)
    old = shelf.rows("embedding")
    mark = shelf.collection.revision

    job = shelf.fill()
    assert (job.status, job.result["embedded"]["embedded"]) == (JobStatus.DONE, 1200)
    assert_embedded_by_second(shelf.rows("content, next_embedding"))
    assert shelf.rows("embedding") == old
    assert shelf.collection.revision == mark  # what was there is as it was
    assert [found.address for found in shelf.query(list_searchable)] == ["mine", "mine~next"]
    by_second = shelf.search(shelf.query(get_searchable, "mine~next"), TEXTS[77])
    assert by_second[0] == "00077"
    assert shelf.search(shelf.collection, TEXTS[77])[0] == "00077"
    assert shelf.columns() == BOTH

    switched = shelf.switch()
    assert switched.status is JobStatus.DONE
    assert (switched.result["switched_from"], switched.result["missing"]) == (LOCAL_MODEL, 0)
    now = shelf.collection
    assert (now.model, now.dimensions, now.storage) == (SECOND, DIMENSIONS, Storage.VECTOR)
    assert (now.as_shadow, now.distance) == (None, Distance.COSINE)
    assert now.revision > mark
    assert shelf.columns() == OLD
    assert_embedded_by_second(shelf.rows("content, embedding"))
    assert shelf.search(now, TEXTS[77]) == by_second


def test_what_is_loaded_meanwhile_comes_with_the_switch(shelf: Shelf) -> None:
    shelf.store(TEXTS[:50])
    shelf.fill()
    shelf.store(["a new text", "another new text"], first=50)
    shelf.store(["a changed text"])  # number 0
    assert shelf.rows("next_embedding")[0] == (None,)  # not that of the text that was there
    assert shelf.query(shadow_state, shelf.following).untried == 3
    assert shelf.switch().status is JobStatus.DONE
    rows = shelf.rows("content, embedding")
    assert len(rows) == 52
    assert rows[0][0] == "a changed text"
    assert_embedded_by_second(rows)


def test_a_cancelled_job_goes_on_where_it_was(shelf: Shelf, provider: ProviderServer) -> None:
    shelf.store(TEXTS)
    provider.slow_seconds = 0.05

    async def begin_and_cancel() -> Job:
        job = await start_reembedding(shelf.jobs, shelf.documents, shelf.collection_value, SECOND)
        while not job.done:
            await asyncio.sleep(0.02)
            job = await shelf.jobs.get(job.id)
        with pytest.raises(Busy):
            await start_reembedding(shelf.jobs, shelf.documents, shelf.collection_value, SECOND)
        await shelf.jobs.cancel(job.id)
        return await shelf.jobs.wait(job.id, 90)

    shelf.collection_value = shelf.collection  # read here: the loop cannot wait for itself
    assert shelf.run(begin_and_cancel()).status is JobStatus.CANCELLED
    done = shelf.query(shadow_state, shelf.following).embedded
    assert 0 < done < len(TEXTS)
    provider.slow_seconds = 0.0
    provider.requests.clear()
    assert shelf.fill().status is JobStatus.DONE
    assert sum(len(request.texts) for request in provider.requests) <= len(TEXTS) - done + 1
    assert shelf.query(shadow_state, shelf.following).embedded == len(TEXTS)


def test_what_the_second_model_refuses_must_be_agreed_to(
    shelf: Shelf, provider: ProviderServer
) -> None:
    shelf.store(TEXTS[:20])
    provider.refuse = lambda text: text.endswith("number 7")
    assert shelf.fill().result["embedded"]["failed"] == 1
    refused = shelf.switch()
    assert refused.status is JobStatus.FAILED
    assert "could not embed 1 of 20" in (refused.error or "")
    assert (shelf.collection.model, shelf.columns()) == (LOCAL_MODEL, BOTH)
    assert shelf.switch(even_if_incomplete=True).result["missing"] == 1
    assert shelf.query(summarise, shelf.collection).failed == 1


def test_a_provider_that_is_away_leaves_all_as_it_was(
    shelf: Shelf, provider: ProviderServer
) -> None:
    shelf.store(TEXTS[:20])
    shelf.fill()
    shelf.store(["late"], first=20)
    provider.always = Misbehaviour(status=401)
    assert shelf.switch().status is JobStatus.FAILED
    assert (shelf.collection.model, shelf.columns()) == (LOCAL_MODEL, BOTH)


def test_a_discarded_one_leaves_nothing(shelf: Shelf) -> None:
    shelf.store(TEXTS[:20])
    shelf.fill()
    shelf.run(discard_reembedding(shelf.jobs, shelf.documents, shelf.collection))
    assert (shelf.collection.as_shadow, shelf.columns()) == (None, OLD)
    shelf.store(["changed"])  # no trigger looks for the columns that are gone
    for again in (discard_reembedding, start_switch):
        with pytest.raises(NotFound, match="not being embedded again"):
            shelf.run(again(shelf.jobs, shelf.documents, shelf.collection))


def test_batches_that_come_late_are_not_written(shelf: Shelf, database: Database) -> None:
    """Such as of a job of another process that was cut off for a while."""
    shelf.store(TEXTS[:20], embed=False)
    before = shelf.collection
    rows = shelf.query(next_unembedded, before, None, 100)
    service = shelf.documents._embedding(before)
    batch = shelf.run(service.get_embeddings_batch([row.text for row in rows]))
    shelf.fill()
    shelf.switch()
    execute(shelf.url, "ALTER TABLE vecscope.documents_mine ALTER embedding TYPE vector")
    with pytest.raises(NotFound, match="not embedded by local"):
        shelf.query(store_embeddings, before, rows, batch)
    assert_embedded_by_second(shelf.rows("content, embedding"))


def test_an_index_can_be_built_before_the_switch(shelf: Shelf) -> None:
    shelf.store(TEXTS[:200])
    old = shelf.wait(start_index_build(shelf.jobs, shelf.database, shelf.collection, HNSW.spec()))
    shelf.fill()
    new = shelf.wait(start_index_build(shelf.jobs, shelf.database, shelf.following, HNSW.spec()))
    assert shelf.query(summarise, shelf.collection).index.name == old.result["name"]
    switched = shelf.switch()
    assert switched.result["dropped_indexes"] == [old.result["name"]]
    assert switched.result["index"] == new.result["name"]
    assert shelf.query(summarise, shelf.collection).index.name == new.result["name"]


def test_no_switch_while_it_is_loaded_or_filled(shelf: Shelf) -> None:
    shelf.store(TEXTS[:20])
    shelf.fill()
    collection = shelf.collection

    async def while_running(kind: JobKind, key: str) -> Job | None:
        async def hang(_context: Any) -> None:
            await asyncio.sleep(60)

        other = await shelf.jobs.start(
            kind, "The other", hang, collection_id=collection.id, exclusive_key=key
        )
        try:
            job = await start_switch(shelf.jobs, shelf.documents, collection)
            return await shelf.jobs.wait(job.id, 90)
        finally:
            await shelf.jobs.cancel(other.id)
            await shelf.jobs.wait(other.id, 30)

    with pytest.raises(Busy, match="The other"):
        shelf.run(while_running(JobKind.LOAD, load_key(collection)))
    filling = shelf.run(while_running(JobKind.REEMBED, f"reembed:{collection.id}"))
    assert filling is not None
    assert "The other" in (filling.error or "")
    assert shelf.collection.model == LOCAL_MODEL


def test_one_model_at_a_time(shelf: Shelf) -> None:
    shelf.store(TEXTS[:5])
    shelf.fill()
    for model, words in ((LOCAL_MODEL, "already"), ("openai-compatible/other", "being embedded")):
        with pytest.raises(InvalidInput, match=words):
            shelf.run(start_reembedding(shelf.jobs, shelf.documents, shelf.collection, model))


def test_a_backfill_of_the_old_vectors_goes_on_beside_it(shelf: Shelf) -> None:
    shelf.store(TEXTS, embed=False)
    collection = shelf.collection

    async def both() -> list[Job]:
        started = [
            await start_reembedding(shelf.jobs, shelf.documents, collection, SECOND),
            await start_backfill(shelf.jobs, shelf.documents, collection),
        ]
        return [await shelf.jobs.wait(job.id, 60) for job in started]

    assert [job.status for job in shelf.run(both())] == [JobStatus.DONE] * 2
    assert all(old is not None for (old,) in shelf.rows("embedding"))
    assert_embedded_by_second(shelf.rows("content, next_embedding"))


def test_an_estimate_asks_no_provider(shelf: Shelf, provider: ProviderServer) -> None:
    shelf.store(TEXTS, embed=False)
    paid = shelf.run(estimate_reembedding(shelf.documents, shelf.collection, SECOND))
    assert (paid.documents, paid.cost_usd, paid.seconds, paid.extra_bytes) == (
        1200,
        None,
        None,
        None,
    )
    assert paid.tokens == pytest.approx(1200 * 6, rel=0.25)  # "the text of number 12"
    assert provider.requests == []
    other = shelf.query(create_collection, "Other", model=SECOND, dimensions=DIMENSIONS)
    texts = [IncomingDocument(external_id=str(n), content="some words") for n in range(100)]
    shelf.query(store_documents, other, texts)
    free = shelf.run(estimate_reembedding(shelf.documents, other, LOCAL_MODEL))
    assert (free.cost_usd, free.extra_bytes) == (0.0, 100 * (4 * 256 + 8))
    assert free.seconds is not None


def test_the_migration_goes_down_and_up_in_the_middle_of_it(shelf: Shelf) -> None:
    shelf.store(TEXTS[:20])
    old = shelf.rows("content, embedding")
    shelf.fill()
    migrations.downgrade(shelf.url, "006")
    assert shelf.columns() == OLD
    execute(shelf.url, "UPDATE vecscope.documents_mine SET content_hash = 'x'")  # no trigger left
    migrations.migrate(shelf.url)
    assert (shelf.collection.as_shadow, shelf.rows("content, embedding")) == (None, old)
    assert shelf.fill().status is JobStatus.DONE
    assert_embedded_by_second(shelf.rows("content, next_embedding"))


def test_the_command_line_leads_through_it(
    migrated_url: URL, provider: ProviderServer, tmp_path: Path
) -> None:
    vecscope = CommandLine(migrated_url)
    notes = tmp_path / "notes.txt"
    notes.write_text("A note about the deep sea.")
    vecscope.json("ingest", notes, "--collection", "Notes")

    def run(*arguments: str) -> Any:
        code, out, err = vecscope.run(
            *arguments, "--json", VECSCOPE_OPENAI_BASE_URL=provider.base_url
        )
        assert code == 0, err
        return json.loads(out)

    notes_of = ("--collection", "Notes")
    assert run("reembed", "status", *notes_of)["next"] is None
    assert run("reembed", "estimate", *notes_of, "--model", SECOND)["documents"] == 1
    assert run("reembed", "start", *notes_of, "--model", SECOND)["embedded"] == 1
    assert run("reembed", "status", *notes_of)["next"]["model"] == SECOND
    hits = run("search", "sea", "--collection", "Notes~next", "--mode", "similarity")["hits"]
    assert len(hits) == 1
    assert (
        len(run("documents", "show", "notes.txt", "--collection", "Notes~next")["embedding"]) == 8
    )
    assert len(run("documents", "show", "notes.txt", *notes_of)["embedding"]) == 256
    code, _, err = vecscope.run("ingest", notes, "--collection", "Notes~next")
    assert (code, len(run("collections", "list")["collections"])) == (0, 2), err  # a name like any
    assert run("reembed", "discard", *notes_of, "--yes")["discarded"] == SECOND
    run("reembed", "start", *notes_of, "--model", SECOND)
    assert vecscope.run("reembed", "switch", *notes_of)[0] == 2  # asks, and nobody is there
    assert run("reembed", "switch", *notes_of, "--yes")["switched_to"] == SECOND
    assert run("reembed", "status", *notes_of)["model"] == SECOND
