"""Query sets: stored, replaced, counted against the documents that are there, and dropped."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import numpy as np
import pytest

from lib.errors import InvalidInput, NotFound
from lib.evaluation.query_sets import (
    drop_query_set,
    get_query_set,
    list_judgments,
    list_queries,
    list_query_sets,
    missing_documents,
    save_query_set,
    summarise_query_set,
)
from lib.ingest.incoming import IncomingDocument, IncomingProblem
from lib.ingest.load import store_documents
from lib.ingest.queries import IncomingJudgment, IncomingQuery, QueryKind, QueryStream
from lib.store.collections import Collection, create_collection, drop_collection
from lib.store.database import Database

T = TypeVar("T")
Query = Callable[..., Any]


@pytest.fixture
def query(database: Database) -> Query:
    def run(work: Callable[..., Coroutine[Any, Any, T]], *args: Any, **kwargs: Any) -> T:
        async def unit() -> T:
            async with database.session() as db:
                return await work(db, *args, **kwargs)

        return database.run(unit())

    return run


@pytest.fixture
def collection(query: Query) -> Collection:
    made: Collection = query(create_collection, "Fruit", model="none", dimensions=2)
    documents = [
        IncomingDocument(external_id="d1", content="Red."),
        IncomingDocument(external_id="d2", content="Yellow, first part.", part=0),
        IncomingDocument(external_id="d2", content="Yellow, second part.", part=1),
    ]
    query(store_documents, made, documents)
    return made


def stream(
    queries: Sequence[tuple[str, str]],
    judgments: Sequence[tuple[str, str, int]] = (),
    problems: Sequence[IncomingProblem] = (),
    **options: Any,
) -> QueryStream:
    return QueryStream(
        "questions",
        QueryKind.TEXT,
        lambda: iter([*problems, *(IncomingQuery(external_id=i, text=t) for i, t in queries)]),
        lambda: iter([IncomingJudgment(*judgment) for judgment in judgments]),
        **options,
    )


def test_what_was_saved_is_found_again_and_counted(query: Query, collection: Collection) -> None:
    problem = IncomingProblem("queries.jsonl", "line 4", "It is no JSON.")
    saved = query(
        save_query_set,
        collection,
        stream(
            [("q2", "yellow"), ("q1", "red"), ("q3", "blue")],
            [("q1", "d1", 2), ("q1", "d9", 1), ("q2", "d2", 1), ("q7", "d1", 1), ("q1", "d1", 3)],
            [problem],
        ),
    )
    assert (saved.queries, saved.judgments, saved.unknown_queries) == (3, 3, 1)
    assert saved.problems == (problem,)
    (summary,) = query(list_query_sets, collection)
    assert summary.query_set == query(get_query_set, collection, "QUESTIONS")
    assert (summary.queries, summary.judged, summary.judgments, summary.missing) == (3, 2, 3, 1)
    assert query(missing_documents, collection, summary.query_set) == ["d9"]
    queries = query(list_queries, summary.query_set)
    assert [(q.external_id, q.text) for q in queries] == [
        ("q2", "yellow"),
        ("q1", "red"),
        ("q3", "blue"),
    ]
    named = {q.id: q.external_id for q in queries}
    judgments = query(list_judgments, summary.query_set)
    assert {(named[j.query_id], j.document, j.grade) for j in judgments} == {
        ("q1", "d1", 3),  # the later of two
        ("q1", "d9", 1),
        ("q2", "d2", 1),
    }
    assert query(list_queries, summary.query_set, limit=1, offset=1)[0].external_id == "q1"


def test_a_document_that_comes_later_is_no_longer_missing(
    query: Query, collection: Collection
) -> None:
    saved = query(save_query_set, collection, stream([("q1", "red")], [("q1", "d3", 1)]))
    assert query(summarise_query_set, collection, saved.query_set).missing == 1
    document = IncomingDocument(external_id="d3", content="Green.")
    query(store_documents, collection, [document])
    assert query(summarise_query_set, collection, saved.query_set).missing == 0


def test_saving_again_replaces_the_contents_and_keeps_ids(
    query: Query, collection: Collection
) -> None:
    first = query(
        save_query_set,
        collection,
        stream([("q1", "red"), ("q2", "yellow")], [("q1", "d1", 1), ("q2", "d2", 1)]),
    )
    before = {q.external_id: q.id for q in query(list_queries, first.query_set)}
    second = query(
        save_query_set, collection, stream([("q3", "green"), ("q1", "dark red")], [("q1", "d2", 1)])
    )
    assert second.query_set.id == first.query_set.id
    assert (second.queries, second.judgments, second.removed_queries) == (2, 1, 1)
    after = query(list_queries, first.query_set)
    assert [(q.external_id, q.text) for q in after] == [("q3", "green"), ("q1", "dark red")]
    assert after[1].id == before["q1"]
    assert [(j.query_id, j.document) for j in query(list_judgments, first.query_set)] == [
        (before["q1"], "d2")
    ]


def test_a_file_without_queries_leaves_what_is_stored(query: Query, collection: Collection) -> None:
    saved = query(save_query_set, collection, stream([("q1", "red")]))
    problem = IncomingProblem("queries.jsonl", "", "The file is empty.")
    with pytest.raises(InvalidInput, match=r"no query in “questions”.*The file is empty"):
        query(save_query_set, collection, stream([], problems=[problem]))
    assert len(query(list_queries, saved.query_set)) == 1
    with pytest.raises(InvalidInput, match="needs a name"):
        query(save_query_set, collection, stream([("q1", "red")]), name=" ")


def test_of_a_split_only_the_judged_queries_are_taken(query: Query, collection: Collection) -> None:
    queries = [(f"q{number}", f"question {number}") for number in range(3000)]
    split = stream(queries, [("q2999", "d1", 1), ("q5", "d2", 1)], judged_only=True)
    saved = query(save_query_set, collection, split, name="test")
    found = query(list_queries, saved.query_set)
    assert [q.external_id for q in found] == ["q5", "q2999"]


def test_queries_as_vectors_come_back_as_they_were(query: Query, collection: Collection) -> None:
    vectors = np.array([[0.1, -2.5], [1e-20, 3e20]], dtype=np.float32)
    incoming = [
        IncomingQuery(external_id="0", embedding=vectors[0], truth=("d2", "d1")),
        IncomingQuery(external_id="1", embedding=vectors[1]),
    ]
    saved = query(
        save_query_set, collection, QueryStream("test", QueryKind.VECTOR, lambda: iter(incoming))
    )
    assert saved.query_set.kind is QueryKind.VECTOR
    found = query(list_queries, saved.query_set)
    np.testing.assert_array_equal([q.embedding for q in found], vectors)
    assert [q.truth for q in found] == [("d2", "d1"), None]
    assert query(summarise_query_set, collection, saved.query_set).with_truth == 1


def test_dropped_alone_or_with_the_collection(query: Query, collection: Collection) -> None:
    saved = query(save_query_set, collection, stream([("q1", "red")], [("q1", "d1", 1)]))
    query(drop_query_set, saved.query_set)
    with pytest.raises(NotFound, match="no query set called “questions”"):
        query(get_query_set, collection, "questions")
    with pytest.raises(NotFound, match="gone already"):
        query(drop_query_set, saved.query_set)
    saved = query(save_query_set, collection, stream([("q1", "red")], [("q1", "d1", 1)]))
    query(drop_collection, collection)
    assert query(list_judgments, saved.query_set) == []
