"""Documents in: what is stored, what is embedded again and what not, and what a failure leaves.

The embedding provider is a real HTTP server of the test's; its vectors are known beforehand.
"""

from __future__ import annotations

import asyncio
import io
from typing import Any

import numpy as np
import pytest

from lib.embedding.service import EmbeddingBatch, Usage
from lib.errors import (
    AlreadyExists,
    Busy,
    InvalidInput,
    NotFound,
    ProviderRejected,
)
from lib.ingest.document_stream import DocumentStream, file_stream
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingDocument
from lib.ingest.jobs import start_backfill, start_load
from lib.ingest.load import next_unembedded, store_documents, store_embeddings
from lib.store.collections import (
    create_collection,
    drop_collection,
    get_collection,
    list_categories,
    list_collections,
    summarise,
)
from lib.store.jobs import Job, JobStatus
from lib.store.production import drop_production_index, start_index_build
from lib.vectors.distance import Distance, Storage
from lib.vectors.index_methods import HNSW, IVFFLAT, IndexSpec
from tests.integration.loading_fixture import (
    DIMENSIONS,
    MODEL,
    ROWS,
    TEXTS_A_REQUEST,
    Shelf,
    Sql,
    given,
    table_of,
)
from tests.unit.provider_server import Misbehaviour, vector_of

# --- the same again, and what has changed ---------------------------------------------------------


def test_the_same_again_writes_and_embeds_nothing(shelf: Shelf, sql: Sql) -> None:
    first = shelf.load(table_of(ROWS))
    assert (first.stored.new, first.embedded.embedded) == (40, 40)
    for external_id, content, vector in sql(
        "SELECT external_id, content, embedding FROM vecscope.documents_mine"
    ):
        assert content == f"the text of number {external_id}"
        np.testing.assert_allclose(vector.to_numpy(), vector_of(content, DIMENSIONS), rtol=1e-6)
    assert len(shelf.texts_sent()) == 40
    state = "SELECT id, xmin::text, updated_at FROM vecscope.documents_mine ORDER BY id"
    mark = "SELECT change_mark FROM vecscope.collections"
    before = sql(state), sql(mark)

    again = shelf.load(table_of(ROWS))
    assert (again.stored.unchanged, again.stored.new, again.stored.changed) == (40, 0, 0)
    assert again.embedded.embedded == 0
    assert shelf.texts_sent() == []
    assert (sql(state), sql(mark)) == before


def test_a_changed_text_is_embedded_anew_and_a_changed_category_is_not(
    shelf: Shelf, sql: Sql
) -> None:
    shelf.load(table_of(ROWS))
    shelf.texts_sent()
    changed = [(1, "something else", "odd"), (2, "the text of number 2", "other"), *ROWS[2:]]
    summary = shelf.load(table_of(changed))
    assert (summary.stored.changed, summary.stored.unchanged) == (2, 38)
    assert shelf.texts_sent() == ["something else"]
    found = sql(
        "SELECT content, category, embedding FROM vecscope.documents_mine "
        "WHERE external_id IN ('1', '2') ORDER BY external_id"
    )
    assert [row[:2] for row in found] == [
        ("something else", "odd"),
        ("the text of number 2", "other"),
    ]
    for content, _, vector in found:
        np.testing.assert_allclose(vector.to_numpy(), vector_of(content, DIMENSIONS), rtol=1e-6)


def test_an_id_that_comes_twice_is_one_document(shelf: Shelf, sql: Sql) -> None:
    summary = shelf.load(table_of([(1, "first", "a"), (2, "second", "a"), (1, "third", "a")]))
    assert (summary.stored.new, summary.stored.repeated) == (2, 1)
    query = "SELECT content FROM vecscope.documents_mine ORDER BY external_id"
    assert sql(query) == ["third", "second"]


def test_what_cannot_be_stored_is_a_problem_and_the_rest_goes_on(shelf: Shelf, sql: Sql) -> None:
    rows = [("good", "a text", ""), ("blank", " ", ""), ("long", "x" * 250_001, "")]
    summary = shelf.load(table_of([*rows, ("longest", "word " * 50_000, "")]))
    assert [problem.reason for problem in summary.problems] == [
        'There is no text in "text".',
        "The text has 250,001 characters, more than the 250,000 that full-text search can hold.",
    ]
    assert summary.problem_count == 2
    query = "SELECT external_id FROM vecscope.documents_mine ORDER BY 1"
    assert sql(query) == ["good", "longest"]


def test_awkward_texts_come_back_as_they_were(shelf: Shelf, sql: Sql) -> None:
    texts = ['say "hi", it\'s \\N \\. {1,2}', "a\0b", "🙂 naïve\ttab\nline", "$$; DROP TABLE x; --"]
    documents = [
        IncomingDocument(external_id=text, title=text, content=text, metadata={"k": text})
        for text in texts
    ]
    assert shelf.load(given(documents)).stored.new == 4
    found = sql(
        "SELECT external_id, title, content, metadata->>'k' FROM vecscope.documents_mine "
        "ORDER BY created_at, id"
    )
    stored = [text.replace("\0", "") for text in texts]  # PostgreSQL has no NUL
    titles = [" ".join(text.split()) for text in stored]  # a title is one line
    expected = [(text, title, text, text) for text, title in zip(stored, titles, strict=True)]
    assert sorted(found) == sorted(expected)


# --- files of several parts -----------------------------------------------------------------------


def text_file(paragraphs: int, name: str = "long.txt") -> DocumentStream:
    content = "\n\n".join(f"Paragraph {n}. " + "word " * 300 for n in range(paragraphs))
    return file_stream(FileSource.from_bytes(name, content.encode()))


def test_a_shorter_version_of_a_file_drops_its_later_parts(shelf: Shelf, sql: Sql) -> None:
    parts = "SELECT part FROM vecscope.documents_mine WHERE external_id = %s ORDER BY part"
    shelf.load(text_file(6), text_file(3, "other.txt"))
    before = len(sql(parts, "long.txt")), len(sql(parts, "other.txt"))
    summary = shelf.load(text_file(2))
    left = len(sql(parts, "long.txt"))
    assert 0 < left < before[0]
    assert summary.removed_parts == before[0] - left
    assert len(sql(parts, "other.txt")) == before[1]


class _BreaksOff(io.BytesIO):
    """A file on a disk that fails after the first 4,000 bytes."""

    def read(self, _size: int | None = -1) -> bytes:
        if self.tell() >= 4000:
            raise OSError(5, "Input/output error")
        return super().read(4000)


def test_a_file_that_breaks_off_keeps_the_parts_it_had(shelf: Shelf, sql: Sql) -> None:
    whole = text_file(6)
    shelf.load(whole)
    count = "SELECT count(*) FROM vecscope.documents_mine"
    before = sql(count)
    content = "\n\n".join(f"Paragraph {n}. " + "word " * 300 for n in range(6)).encode()
    broken = file_stream(
        FileSource("long.txt", lambda: _BreaksOff(content), size_bytes=len(content))
    )
    summary = shelf.load(broken)
    assert "could not be read" in summary.problems[0].reason
    assert summary.removed_parts == 0
    assert sql(count) == before


# --- a provider that fails ------------------------------------------------------------------------


def test_a_provider_that_fails_in_the_middle_is_repaired_by_a_backfill(
    shelf: Shelf, sql: Sql
) -> None:
    shelf.provider.plan(Misbehaviour(), Misbehaviour(status=401, body="no"))
    failed = shelf.wait(start_load(shelf.jobs, shelf.documents, shelf.collection, [table_of(ROWS)]))
    assert failed.status is JobStatus.FAILED
    assert "HTTP 401" in (failed.error or "")
    assert failed.result["stored"]["new"] == 40
    counts = failed.result["embedded"]
    assert (counts["embedded"], counts["failed"]) == (TEXTS_A_REQUEST, 8)
    errors = sql("SELECT embedding_error FROM vecscope.documents_mine WHERE embedding IS NULL")
    assert len(errors) == 8
    assert all("HTTP 401" in error for error in errors)
    assert shelf.query(summarise, shelf.collection).failed == 8
    job = shelf.wait(start_backfill(shelf.jobs, shelf.documents, shelf.collection))
    assert (job.status, job.result["embedded"]["embedded"]) == (JobStatus.DONE, 8)
    left = "SELECT count(*) FROM vecscope.documents_mine WHERE embedding IS NULL"
    assert sql(f"{left} OR embedding_error IS NOT NULL") == [0]


def test_a_provider_that_fails_from_the_start_leaves_the_texts(shelf: Shelf, sql: Sql) -> None:
    shelf.provider.always = Misbehaviour(status=401, body="no")
    job = shelf.wait(start_load(shelf.jobs, shelf.documents, shelf.collection, [table_of(ROWS)]))
    assert job.status is JobStatus.FAILED
    assert "HTTP 401" in (job.error or "")
    assert sql("SELECT count(*), count(embedding) FROM vecscope.documents_mine") == [(40, 0)]
    shelf.provider.always = None
    assert shelf.load(table_of(ROWS)).embedded.embedded == 40


def test_a_text_that_is_refused_does_not_cost_the_others_theirs(shelf: Shelf, sql: Sql) -> None:
    shelf.provider.refuse = lambda text: text.endswith("number 7")
    summary = shelf.load(table_of(ROWS))
    assert (summary.embedded.embedded, summary.embedded.failed) == (39, 1)
    query = "SELECT external_id FROM vecscope.documents_mine WHERE embedding_error IS NOT NULL"
    assert sql(query) == ["7"]


def test_a_text_that_changed_while_it_was_embedded_is_not_given_the_old_vector(
    shelf: Shelf, sql: Sql
) -> None:
    old = IncomingDocument(external_id="1", content="old")
    other = IncomingDocument(external_id="2", content="other")
    shelf.query(store_documents, shelf.collection, [old, other])
    rows = shelf.query(next_unembedded, shelf.collection, None, 10)
    new = IncomingDocument(external_id="1", content="new")
    shelf.query(store_documents, shelf.collection, [new])
    vectors = np.stack([vector_of(row.text, DIMENSIONS) for row in rows])
    batch = EmbeddingBatch(vectors, {}, (), Usage())
    shelf.query(store_embeddings, shelf.collection, rows, batch)
    embedded = "SELECT content FROM vecscope.documents_mine WHERE embedding IS NOT NULL ORDER BY 1"
    assert sql(embedded) == ["other"]
    shelf.run(shelf.documents.backfill_embeddings(shelf.collection))
    assert sql(embedded) == ["new", "other"]


def test_a_cancelled_load_keeps_what_the_model_gave(shelf: Shelf, sql: Sql) -> None:
    rows = [(n, f"text {n}", "a") for n in range(520)]
    requests_before = 16  # the first batch, 500 rows
    shelf.provider.plan(*[Misbehaviour()] * requests_before, Misbehaviour(hang=True))
    embedded = "SELECT count(embedding) FROM vecscope.documents_mine"

    async def work() -> Job:
        job = await start_load(shelf.jobs, shelf.documents, shelf.collection, [table_of(rows)])
        async with asyncio.timeout(60):
            while len(shelf.provider.requests) <= requests_before:
                await asyncio.sleep(0.01)
        await shelf.jobs.cancel(job.id)
        return await shelf.jobs.wait(job.id)

    assert shelf.run(work()).status is JobStatus.CANCELLED
    assert sql(embedded) == [500]
    assert shelf.load(table_of(rows)).embedded.embedded == 20
    assert sql(embedded) == [520]


# --- two at once ----------------------------------------------------------------------------------


def test_two_loads_at_once_do_not_embed_the_same_rows_twice(shelf: Shelf) -> None:
    shelf.provider.always = Misbehaviour(hang=True)

    async def work() -> Job:
        load = (shelf.jobs, shelf.documents, shelf.collection, [table_of(ROWS)])
        first = await start_load(*load)
        with pytest.raises(Busy, match=r"Loading rows\.csv into Mine.* is still running"):
            await start_load(*load)
        with pytest.raises(Busy):
            await start_backfill(shelf.jobs, shelf.documents, shelf.collection)
        await shelf.jobs.cancel(first.id)
        return await shelf.jobs.wait(first.id)

    assert shelf.run(work()).status is JobStatus.CANCELLED


@pytest.mark.parametrize("made_again", [False, True])
def test_a_collection_dropped_during_its_load(shelf: Shelf, sql: Sql, made_again: bool) -> None:
    shelf.provider.slow_seconds = 0.3

    async def work() -> Job:
        job = await start_load(shelf.jobs, shelf.documents, shelf.collection, [table_of(ROWS)])
        async with asyncio.timeout(60):
            while not shelf.provider.requests:
                await asyncio.sleep(0.01)
        async with shelf.database.session() as db:
            await drop_collection(db, shelf.collection)
        if made_again:
            async with shelf.database.session() as db:
                await create_collection(db, "Mine", model=MODEL, dimensions=DIMENSIONS)
        return await shelf.jobs.wait(job.id)

    job = shelf.run(work())
    assert job.status is JobStatus.FAILED
    assert job.error_id is None  # a failure that is known
    tables = "SELECT count(*) FROM pg_tables WHERE tablename ~ '^documents_'"
    assert sql(tables) == [int(made_again)]
    assert sql("SELECT count(*) FROM vecscope.collections") == [int(made_again)]
    if made_again:
        assert sql("SELECT count(*) FROM vecscope.documents_mine") == [0]


def test_what_was_read_for_a_dropped_collection_is_not_put_into_its_successor(
    shelf: Shelf, sql: Sql
) -> None:
    old = shelf.collection
    shelf.query(drop_collection, old)
    shelf.create("Mine")
    document = IncomingDocument(external_id="1", content="for the old one")
    with pytest.raises(NotFound, match=r"Mine.* is gone"):
        shelf.query(store_documents, old, [document])
    assert sql("SELECT count(*) FROM vecscope.documents_mine") == [0]


# --- one document, and searching ------------------------------------------------------------------


def test_create_and_search(shelf: Shelf) -> None:
    collection, documents = shelf.collection, shelf.documents
    long = "long " * 200
    for content in ("near", "far", long):
        counts = shelf.run(documents.create(collection, content, category="a"))
        assert counts.new == 1
    found = shelf.run(documents.search(collection, "near"))
    query = vector_of("near", DIMENSIONS).astype(float)
    expected = {}
    for content in ("near", "far", long.strip()):
        vector = vector_of(content, DIMENSIONS).astype(float)
        cosine = vector @ query / np.linalg.norm(vector) / np.linalg.norm(query)
        expected[content[:500]] = 1 - cosine
    assert {item.preview.strip(): item.distance for item in found} == pytest.approx(
        {preview.strip(): distance for preview, distance in expected.items()}, abs=1e-6
    )
    assert [item.distance for item in found] == sorted(item.distance for item in found)
    assert all(item.similarity == pytest.approx(1 - item.distance) for item in found)
    assert max(len(item.preview) for item in found) == 500
    with pytest.raises(InvalidInput, match="text"):
        shelf.run(documents.create(collection, "  "))


def test_a_created_document_outlives_the_provider_s_failure(shelf: Shelf, sql: Sql) -> None:
    shelf.provider.plan(Misbehaviour(status=401, body="no"))
    with pytest.raises(ProviderRejected):
        shelf.run(shelf.documents.create(shelf.collection, "kept", external_id="1"))
    state = "SELECT content, embedding IS NULL FROM vecscope.documents_mine"
    assert sql(state) == [("kept", True)]
    shelf.run(shelf.documents.backfill_embeddings(shelf.collection))
    assert sql(state) == [("kept", False)]


def test_halfvec(shelf: Shelf, sql: Sql) -> None:
    shelf.collection = shelf.create("Halves", storage=Storage.HALFVEC, distance=Distance.L2)
    shelf.load(table_of(ROWS))
    query = "SELECT DISTINCT pg_typeof(embedding)::text FROM vecscope.documents_halves"
    assert sql(query) == ["halfvec"]
    found = shelf.run(shelf.documents.search(shelf.collection, ROWS[11][1], 5))
    target = vector_of(ROWS[11][1], DIMENSIONS)
    distances = sorted(
        float(np.linalg.norm(vector_of(text, DIMENSIONS) - target)) for _, text, _ in ROWS
    )
    assert [item.distance for item in found] == pytest.approx(distances[:5], abs=5e-3)
    assert found[0].preview == ROWS[11][1]


# --- collections ----------------------------------------------------------------------------------


def test_names_become_tables(shelf: Shelf, sql: Sql) -> None:
    long = "a name that goes on and on " * 2 + "until it is 80 characters"
    names = {
        "Größe & Ünïcode!": "groe_unicode",
        "日本語": "collection",
        "中文": "collection_2",
        "1st": "1st",
        '"; DROP TABLE x; --': "drop_table_x",
        f"{long}1": "a_name_that_goes_on_and_on_a_name_that_goes_on_a",
        f"{long}2": "a_name_that_goes_on_and_on_a_name_that_goes_on_2",
    }
    made = {name: shelf.create(name) for name in names}
    assert {name: collection.slug for name, collection in made.items()} == names
    tables = set(sql("SELECT tablename FROM pg_tables WHERE schemaname = 'vecscope'"))
    assert {f"documents_{slug}" for slug in names.values()} <= tables
    assert shelf.query(get_collection, "größe & ünïcode!") == made["Größe & Ünïcode!"]
    assert shelf.query(get_collection, "collection_2") == made["中文"]
    assert len(shelf.query(list_collections)) == len(names) + 1


@pytest.mark.parametrize("name", ["mine", "MINE", "  Mine "])
def test_a_name_that_differs_in_capitals_alone_is_taken(shelf: Shelf, name: str) -> None:
    with pytest.raises(AlreadyExists, match="already"):
        shelf.create(name)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("", {}),
        ("x" * 81, {}),
        ("bell\a", {}),
        ("Good", {"text_config": "klingon"}),
        ("Good", {"text_config": "english'; --"}),
    ],
)
def test_a_collection_that_cannot_be_made_leaves_nothing(
    shelf: Shelf, sql: Sql, name: str, options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput):
        shelf.create(name, **options)
    assert sql("SELECT name FROM vecscope.collections") == ["Mine"]


def test_collections_made_at_once_get_tables_of_their_own(shelf: Shelf) -> None:
    async def make(name: str) -> str:
        async with shelf.database.session() as db:
            made = await create_collection(db, name, model=MODEL, dimensions=DIMENSIONS)
            return made.slug

    async def work() -> list[str]:
        return await asyncio.gather(*(make(name) for name in ("a b", "a-b", "a.b", "a+b")))

    assert sorted(shelf.run(work())) == ["a_b", "a_b_2", "a_b_3", "a_b_4"]


def test_the_summary_counts_what_is_there(shelf: Shelf, sql: Sql) -> None:
    shelf.provider.refuse = lambda text: text.endswith("number 7")
    shelf.load(table_of(ROWS))
    shelf.query(
        store_documents,
        shelf.collection,
        [IncomingDocument(external_id="new", content="not embedded yet", category="odd")],
    )
    summary = shelf.query(summarise, shelf.collection)
    documents, embedded, failed, size = sql(
        "SELECT count(*), count(embedding), count(*) FILTER (WHERE embedding_error > ''), "
        "pg_total_relation_size('vecscope.documents_mine') FROM vecscope.documents_mine"
    )[0]
    assert (documents, embedded, failed) == (41, 39, 1)
    assert (summary.documents, summary.embedded, summary.failed) == (41, 39, 1)
    assert summary.missing == 2
    assert summary.embedded_share == pytest.approx(39 / 41)
    assert summary.size_bytes == size
    assert summary.index is None
    assert shelf.query(list_categories, shelf.collection) == [("odd", 21), ("even", 20)]


# --- the production index -------------------------------------------------------------------------

_VALID = (
    "SELECT indexname FROM pg_indexes JOIN pg_class ON relname = indexname "
    "JOIN pg_index ON indexrelid = pg_class.oid "
    "WHERE tablename = 'documents_mine' AND indisvalid AND indexdef ~ 'USING (hnsw|ivfflat)'"
)


def build(shelf: Shelf, spec: IndexSpec) -> Job:
    return shelf.wait(start_index_build(shelf.jobs, shelf.database, shelf.collection, spec))


def test_the_production_index_is_replaced_by_a_valid_one_only(shelf: Shelf, sql: Sql) -> None:
    shelf.load(table_of(ROWS))
    first = build(shelf, HNSW.spec())
    assert first.status is JobStatus.DONE
    assert sql(_VALID) == [first.result["name"]]

    refused = build(shelf, IVFFLAT.spec(lists=1000))  # more lists than rows
    assert refused.status is JobStatus.FAILED
    assert "1,000 lists" in (refused.error or "")
    assert sql(_VALID) == [first.result["name"]]

    second = build(shelf, IVFFLAT.spec(lists=10))
    assert second.result["replaced"] == [first.result["name"]]
    assert sql(_VALID) == [second.result["name"]]

    again = build(shelf, IVFFLAT.spec(lists=10))  # the same again, such as after many new rows
    assert sql(_VALID) == [again.result["name"]]
    assert again.result["name"] != second.result["name"]

    dropped = shelf.run(drop_production_index(shelf.database, shelf.collection))
    assert dropped == [again.result["name"]]
    assert sql(_VALID) == []
    with pytest.raises(NotFound, match="no vector index"):
        shelf.run(drop_production_index(shelf.database, shelf.collection))


def test_an_empty_collection_is_not_indexed(shelf: Shelf) -> None:
    job = build(shelf, HNSW.spec())
    assert job.status is JobStatus.FAILED
    assert "no row with an embedding" in (job.error or "")
