"""What is stored: lists, one document in full, and what is removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from conftest import execute
from sqlalchemy import URL

from lib.errors import Busy, LimitExceeded, NotFound
from lib.ingest.incoming import IncomingDocument
from lib.ingest.load import store_documents
from lib.store import browse
from lib.store.browse import (
    Cursor,
    DocumentFilter,
    EmbeddingState,
    Order,
    Removal,
    Total,
    count_documents,
    count_removal,
    delete_documents,
    find_neighbours,
    get_document,
    list_documents,
    metadata_fields,
    metadata_values,
)
from lib.store.collections import Collection, create_collection, get_collection
from lib.store.database import Database
from lib.vectors.distance import Distance, Storage

DIMENSIONS = 3


def documents() -> list[IncomingDocument]:
    """40 ids with one to three parts; every fourth row has no embedding."""
    found = []
    for number in range(40):
        for part in range(1 + number % 3):
            has_vector = len(found) % 4 != 3
            found.append(
                IncomingDocument(
                    external_id=f"file {number:02}.md",
                    part=part,
                    title=f"Title {number % 7}" if number % 5 else None,
                    content=f"The text of {number}, part-{part}. 50% of_it is Größe.",
                    category=("red", "green", None)[number % 3],
                    metadata={"page": part + 1, "tags": ["a", f"t{number % 2}"], "ok": True},
                    embedding=vector(len(found)) if has_vector else None,
                )
            )
    return found


def vector(number: int) -> np.ndarray:
    return np.array([1.0, number, number % 5], dtype=np.float32)


@pytest.fixture
def shelf(database: Database) -> Shelf:
    return Shelf(database)


class Shelf:
    def __init__(self, database: Database) -> None:
        self.database = database
        self.rows = documents()
        self.collection = self.query_with_name(Storage.VECTOR, "Mine")
        self.query(store_documents, self.rows)

    def query_with_name(self, storage: Storage, name: str) -> Collection:
        return self.database.query(
            create_collection,
            name,
            model="local/any",
            dimensions=DIMENSIONS,
            storage=storage,
            distance=Distance.L2,
        )

    def query(self, work: Any, *args: Any, **options: Any) -> Any:
        return self.database.query(work, self.collection, *args, **options)

    def pages(self, order: Order, limit: int, where: DocumentFilter) -> list[list[Any]]:
        found: list[list[Any]] = []
        after: Cursor | None = None
        while True:
            page = self.query(list_documents, where, order=order, after=after, limit=limit)
            found.append(list(page.documents))
            after = page.following
            if after is None:
                return found


def keys(rows: Sequence[Any]) -> list[tuple[str, int]]:
    return [(row.external_id, row.part) for row in rows]


@pytest.mark.parametrize("order", list(Order))
def test_pages_hold_every_document_once_and_in_order(shelf: Shelf, order: Order) -> None:
    for limit in (1, 7, 79, 80):  # there are 79 rows
        pages = shelf.pages(order, limit, DocumentFilter())
        listed = [row for page in pages for row in page]
        assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)
        assert sorted(keys(listed)) == sorted(keys(shelf.rows))
        if order is Order.ID:
            assert keys(listed) == sorted(keys(shelf.rows))
        elif order is Order.TITLE:
            by_title = [(row.title or "", row.external_id, row.part) for row in listed]
            assert by_title == sorted(by_title)


def test_the_last_changed_comes_first(shelf: Shelf) -> None:
    changed = IncomingDocument(external_id="file 07.md", part=1, content="Another text")
    shelf.query(store_documents, [changed])
    first = shelf.query(list_documents, order=Order.CHANGED, limit=1).documents[0]
    assert (first.external_id, first.part, first.state) == ("file 07.md", 1, EmbeddingState.MISSING)


def test_a_page_in_between_is_not_moved_by_rows_before_it(shelf: Shelf) -> None:
    """As an offset would."""
    page = shelf.query(list_documents, limit=10)
    shelf.query(delete_documents, DocumentFilter(external_ids=("file 00.md",)))
    after = shelf.query(list_documents, after=page.following, limit=3)
    assert keys(after.documents) == sorted(keys(shelf.rows))[10:13]


def every(_row: IncomingDocument) -> bool:
    return True


def none(_row: IncomingDocument) -> bool:
    return False


FILTERS: list[tuple[DocumentFilter, Any]] = [
    (DocumentFilter(), every),
    (DocumentFilter(words="PART-2."), lambda row: row.part == 2),
    (DocumentFilter(words="of_it 50%"), every),
    (DocumentFilter(words="f_l"), none),  # no wildcard
    (DocumentFilter(words="%"), every),
    (DocumentFilter(words="\\"), none),
    (DocumentFilter(words="GRÖSSE"), none),  # ß has no capital to PostgreSQL
    (DocumentFilter(words="gro\u0308ße"), every),  # as it may be typed: two code points
    (DocumentFilter(words="12.md"), lambda row: "12" in row.external_id),
    (
        DocumentFilter(words="title 3"),
        lambda row: bool(row.title) and "3" in f"{row.title} {row.content} {row.external_id}",
    ),
    (DocumentFilter(category="red"), lambda row: row.category == "red"),
    (DocumentFilter(state=EmbeddingState.EMBEDDED), lambda row: row.embedding is not None),
    (DocumentFilter(state=EmbeddingState.MISSING), lambda row: row.embedding is None),
    (DocumentFilter(state=EmbeddingState.FAILED), none),
    (DocumentFilter(metadata=("page", "2")), lambda row: row.part == 1),
    (DocumentFilter(metadata=("tags", "t1")), lambda row: "t1" in row.metadata["tags"]),
    (DocumentFilter(metadata=("ok", "true")), every),
    (DocumentFilter(metadata=("nothing", "x")), none),
    (DocumentFilter(external_ids=("file 02.md",)), lambda row: row.external_id == "file 02.md"),
    (
        DocumentFilter(words="part-0", category="green", metadata=("tags", "t1")),
        lambda row: row.part == 0 and row.category == "green" and "t1" in row.metadata["tags"],
    ),
]


def test_a_filter_passes_what_it_says(shelf: Shelf) -> None:
    for where, passes in FILTERS:  # one collection for all of them: it is not written to
        wanted = sorted(keys([row for row in shelf.rows if passes(row)]))
        listed = shelf.query(list_documents, where, limit=1000).documents
        assert keys(listed) == wanted, where
        assert shelf.query(count_documents, where) == Total(len(wanted), is_exact=True)


def test_a_long_count_ends_early(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browse, "MOST_COUNTED", 78)
    assert shelf.query(count_documents) == Total(78, is_exact=False)
    assert shelf.query(count_documents, DocumentFilter(words="part-2")).is_exact


def test_a_page_has_a_most(shelf: Shelf) -> None:
    with pytest.raises(LimitExceeded):
        shelf.query(list_documents, limit=1001)


def test_a_reason_for_no_embedding_is_listed(shelf: Shelf, migrated_url: URL) -> None:
    execute(
        migrated_url,
        "UPDATE vecscope.documents_mine SET embedding_error = 'too long' "
        "WHERE embedding IS NULL AND part = 0",
    )
    failed = shelf.query(list_documents, DocumentFilter(state=EmbeddingState.FAILED)).documents
    assert {row.embedding_error for row in failed} == {"too long"}
    assert all(row.state is EmbeddingState.FAILED for row in failed)
    missing = shelf.query(count_documents, DocumentFilter(state=EmbeddingState.MISSING))
    assert len(failed) + missing.documents == sum(row.embedding is None for row in shelf.rows)


def test_fields_and_values_of_metadata_are_learnt(shelf: Shelf) -> None:
    assert sorted(shelf.query(metadata_fields)) == ["ok", "page", "tags"]
    assert shelf.query(metadata_values, "page") == ["1", "2", "3"]
    assert sorted(shelf.query(metadata_values, "tags")) == ["a", "t0", "t1"]
    assert shelf.query(metadata_values, "nothing") == []


# --- one document ---------------------------------------------------------------------------------


@pytest.mark.parametrize("storage", list(Storage))
def test_a_document_is_shown_with_all_that_is_stored(shelf: Shelf, storage: Storage) -> None:
    shelf.collection = shelf.query_with_name(storage, "Whole")
    shelf.query(store_documents, shelf.rows)
    found = shelf.query(get_document, "file 05.md", 1)
    stored = [row for row in shelf.rows if row.external_id == "file 05.md"]
    assert (found.part_count, keys(found.parts)) == (3, keys(stored))
    for part, row in zip(found.parts, stored, strict=True):
        assert (part.title, part.content, part.category) == (row.title, row.content, row.category)
        assert part.metadata == row.metadata
        if row.embedding is None:
            assert (part.embedding, part.norm, part.first_numbers) == (None, None, ())
            assert part.state is EmbeddingState.MISSING
        else:
            np.testing.assert_array_equal(part.embedding, row.embedding)
            assert part.norm == pytest.approx(float(np.linalg.norm(row.embedding)))
            assert part.first_numbers == tuple(row.embedding)


def test_of_very_many_parts_those_around_the_asked_one_are_read(shelf: Shelf) -> None:
    many = [IncomingDocument(external_id="book", part=n, content=f"part {n}") for n in range(250)]
    shelf.query(store_documents, many)
    found = shelf.query(get_document, "book", 230)
    assert (found.part_count, [part.part for part in found.parts]) == (250, list(range(200, 250)))
    beyond = shelf.query(get_document, "book", 999)
    assert [part.part for part in beyond.parts] == list(range(100))


def test_a_document_that_is_not_there_is_said(shelf: Shelf) -> None:
    with pytest.raises(NotFound, match=r"no document with the id “file 99\.md”"):
        shelf.query(get_document, "file 99.md")


def test_neighbours_are_the_exact_ones_and_not_itself(shelf: Shelf) -> None:
    asked = shelf.query(get_document, "file 11.md").parts[0]
    assert asked.embedding is not None
    embedded = [row for row in shelf.rows if row.embedding is not None]
    distances = {
        (row.external_id, row.part): float(np.linalg.norm(row.embedding - asked.embedding))
        for row in embedded
        if (row.external_id, row.part) != (asked.external_id, asked.part)
    }
    hits = shelf.query(find_neighbours, asked, limit=6)
    assert [hit.distance for hit in hits] == pytest.approx(sorted(distances.values())[:6])
    for hit in hits:
        place = (hit.document.external_id, hit.document.part)
        assert hit.distance == pytest.approx(distances[place])


def test_what_has_no_embedding_has_no_neighbours(shelf: Shelf) -> None:
    row = next(row for row in shelf.rows if row.embedding is None)
    found = shelf.query(get_document, row.external_id)
    part = next(part for part in found.parts if part.part == row.part)
    assert shelf.query(find_neighbours, part) == ()


# --- removing -------------------------------------------------------------------------------------


def test_documents_go_with_all_their_parts(shelf: Shelf) -> None:
    where = DocumentFilter(words="part-2.")
    gone = {row.external_id for row in shelf.rows if row.part == 2}
    mark = shelf.collection.revision
    expected = Removal(documents=3 * len(gone), external_ids=len(gone))
    assert shelf.query(count_removal, where) == expected
    assert shelf.query(delete_documents, where, at_most=expected.documents) == expected
    left = shelf.query(list_documents, limit=1000).documents
    assert keys(left) == sorted(keys([row for row in shelf.rows if row.external_id not in gone]))
    assert shelf.database.query(get_collection, "Mine").revision > mark


def test_more_than_was_said_yes_to_is_not_deleted(shelf: Shelf) -> None:
    where = DocumentFilter(category="red")
    said = shelf.query(count_removal, where)
    shelf.query(
        store_documents,
        [IncomingDocument(external_id="late", content="x", category="red")],
    )
    with pytest.raises(Busy, match="nothing was deleted"):
        shelf.query(delete_documents, where, at_most=said.documents)
    assert shelf.query(count_removal, where).documents == said.documents + 1


def test_deleting_nothing_changes_nothing(shelf: Shelf) -> None:
    before = shelf.database.query(get_collection, "Mine").revision
    assert shelf.query(delete_documents, DocumentFilter(words="nowhere")) == Removal(0, 0)
    assert shelf.database.query(get_collection, "Mine").revision == before
