"""BM25 against an independent implementation, and the triggers against an index built afresh."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import bm25s
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from lib.errors import InvalidInput, NotFound
from lib.ingest.incoming import IncomingDocument
from lib.ingest.load import store_documents
from lib.search import bm25
from lib.search.bm25 import (
    BM25,
    bm25_matching,
    drop_lexical_index,
    find_lexical_index,
    start_lexical_build,
)
from lib.search.request import Mode, SearchRequest
from lib.search.service import SearchService
from lib.settings import Settings
from lib.store.collections import Collection, create_collection, drop_collection
from lib.store.database import Database
from lib.store.jobs import Jobs
from lib.vectors.search import search_text
from lib.vectors.statements import TextMethod, TextQuery

WORDS = ["apple", "pear", "plum", "grape", "melon", "cherry", "peach", "lemon", "fig", "kiwi"]


def random_texts(count: int, seed: int = 5) -> list[str]:
    """Texts whose words are as unevenly spread as those of a language."""
    rng = np.random.default_rng(seed)
    shares = 1 / np.arange(1, len(WORDS) + 1)
    return [
        " ".join(rng.choice(WORDS, size=rng.integers(1, 30), p=shares / shares.sum()))
        for _ in range(count)
    ]


class Library:
    """A collection of texts, without embeddings."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.jobs = database.run(_jobs(database))
        self.collection: Collection = database.query(
            create_collection,
            "Fruit",
            model="local/wordllama-256",
            dimensions=4,
            text_config="simple",
        )

    def store(self, texts: Sequence[str], first: int = 0) -> None:
        documents = [
            IncomingDocument(external_id=str(number), content=content)
            for number, content in enumerate(texts, start=first)
        ]
        self.database.query(store_documents, self.collection, documents)

    def build(self) -> None:
        job = self.database.run(start_lexical_build(self.jobs, self.database, self.collection))
        ended = self.database.run(self.jobs.wait(job.id))
        assert ended.status.value == "done", ended.error

    def values(self, question: str, **options: Any) -> dict[str, float]:
        """External id → BM25 value of every document that matches."""
        kind = options.pop("kind", TextQuery.ANY)
        matching = bm25_matching(self.collection, question, kind, BM25(**options))
        result = self.database.query(
            search_text, self.collection.table, question, 10_000, kind=kind, matching=matching
        )
        return {hit.document.external_id: hit.text_value for hit in result}

    def tables(self) -> dict[str, list[Any]]:
        """All that the index holds, in an order and by names that do not depend on its history."""

        async def work() -> dict[str, list[Any]]:
            async with self.database.session() as db:
                lexemes = await db.execute(
                    text(
                        "SELECT lexeme, documents FROM vecscope.lexemes_fruit "
                        "WHERE documents <> 0 ORDER BY lexeme"
                    )
                )
                postings = await db.execute(
                    text(
                        "SELECT l.lexeme, p.document_id, p.tf, p.length "
                        "FROM vecscope.postings_fruit AS p JOIN vecscope.lexemes_fruit AS l "
                        "USING (lexeme_id) ORDER BY 1, 2"
                    )
                )
                totals = await db.execute(
                    text("SELECT documents, total_length FROM vecscope.lexical_indexes")
                )
                return {
                    "lexemes": [tuple(row) for row in lexemes],
                    "postings": [tuple(row) for row in postings],
                    "totals": [tuple(row) for row in totals],
                }

        return self.database.run(work())


async def _jobs(database: Database) -> Jobs:
    return Jobs(database)


@pytest.fixture
def library(database: Database) -> Library:
    return Library(database)


def reference(texts: Sequence[str], question: str, k1: float, b: float) -> dict[str, float]:
    """bm25s' Lucene form, which leaves the constant factor (k1 + 1) out."""
    retriever = bm25s.BM25(k1=k1, b=b, method="lucene")
    retriever.index([content.split() for content in texts], show_progress=False)
    known = [word for word in dict.fromkeys(question.split()) if word in retriever.vocab_dict]
    values = retriever.get_scores(known) if known else np.zeros(len(texts))
    return {
        str(number): float(value) * (k1 + 1) for number, value in enumerate(values) if value > 0
    }


@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (0.9, 0.4), (2.0, 0.0), (0.5, 1.0)])
def test_values_are_those_of_an_independent_implementation(
    library: Library, k1: float, b: float
) -> None:
    texts = random_texts(300)
    library.store(texts)
    library.build()
    for question in ("apple", "kiwi fig", "plum pear plum nothing", " ".join(WORDS)):
        expected = reference(texts, question, k1, b)
        # bm25s keeps float32
        assert library.values(question, k1=k1, b=b) == pytest.approx(expected, rel=1e-4)


def test_values_of_a_table_worked_by_hand(library: Library) -> None:
    """N = 2, df = 1, idf = ln(1 + 1.5/1.5) = ln 2; avgdl = 3; document 0: tf 2, dl 4."""
    library.store(["fig fig plum pear", "pear apple"])
    library.build()
    expected = np.log(2) * 2 * 2.2 / (2 + 1.2 * (0.25 + 0.75 * 4 / 3))
    assert library.values("fig") == pytest.approx({"0": expected})


@pytest.mark.parametrize(
    ("kind", "question"),
    [
        (TextQuery.PLAIN, "kiwi apple fig"),
        (TextQuery.WEB, "kiwi apple"),
        (TextQuery.WEB, "kiwi or lemon"),
        (TextQuery.WEB, "apple -pear kiwi"),
        (TextQuery.WEB, '"apple pear" plum'),
    ],
)
def test_a_value_does_not_depend_on_what_must_occur(
    library: Library, kind: TextQuery, question: str
) -> None:
    library.store(random_texts(300))
    library.build()
    of_all = library.values(question.replace('"', ""))
    found = library.values(question, kind=kind)
    assert 0 < len(found) <= len(of_all)
    assert found == pytest.approx({key: of_all[key] for key in found})


def test_a_long_question_is_bounded_and_its_values_stay_whole(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.store(random_texts(300))
    library.build()
    question = "apple pear plum grape melon cherry peach lemon fig kiwi"
    whole = library.values(question)
    rarest = {key for key in whole if key in library.values("kiwi")}

    monkeypatch.setattr(bm25, "MOST_POSTINGS", 1)  # the rarest word alone is looked up
    monkeypatch.setattr(bm25, "MOST_RESCORED", 40)
    matching = bm25_matching(library.collection, question)
    found = library.database.query(
        search_text, library.collection.table, question, 10, matching=matching
    )
    assert (found.matches, found.more_match) == (len(rarest), True)
    assert len(found) == 10
    values = {hit.document.external_id: hit.text_value for hit in found}
    assert set(values) <= rarest
    assert values == pytest.approx({key: whole[key] for key in values})
    assert list(values.values()) == sorted(values.values(), reverse=True)

    of_a_category = library.database.query(
        search_text,
        library.collection.table,
        question,
        10,
        matching=matching,
        where=[library.collection.table.column("external_id") != "0"],
    )
    assert not of_a_category.more_match  # with a filter, no word is left out
    assert of_a_category.matches == len(whole.keys() - {"0"})


def test_every_word_or_a_phrase_can_be_asked_for(library: Library) -> None:
    library.store(["apple pear", "apple", "pear apple", "plum"])
    library.build()
    assert set(library.values("apple pear", kind=TextQuery.ANY)) == {"0", "1", "2"}
    assert set(library.values("apple pear", kind=TextQuery.PLAIN)) == {"0", "2"}
    assert set(library.values('"apple pear"', kind=TextQuery.WEB)) == {"0"}
    assert set(library.values("apple -pear", kind=TextQuery.WEB)) == {"1"}


def test_an_empty_collection_and_unknown_words(library: Library) -> None:
    library.build()
    assert library.values("apple") == {}
    library.store(["apple"])
    assert library.values("nothing here") == {}
    assert set(library.values("apple")) == {"0"}


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("store"),
            st.integers(0, 6),
            st.lists(
                st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join), min_size=1, max_size=4
            ),
        ),
        st.tuples(st.just("delete"), st.integers(0, 9), st.none()),
        st.tuples(st.just("touch"), st.none(), st.none()),
        st.tuples(st.just("truncate"), st.none(), st.none()),
    ),
    min_size=1,
    max_size=8,
)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=STEPS)
def test_an_index_kept_by_triggers_equals_one_built_afresh(
    library: Library, steps: list[tuple[str, Any, Any]]
) -> None:
    statements = {
        "delete": "DELETE FROM vecscope.documents_fruit WHERE external_id = :id",
        "touch": "UPDATE vecscope.documents_fruit SET category = 'x', embedding = '[1,2,3,4]'",
        "truncate": "TRUNCATE vecscope.documents_fruit",
    }

    async def run(statement: str, values: dict[str, str]) -> None:
        async with library.database.session() as db:
            await db.execute(text(statement), values)

    library.database.run(run(statements["truncate"], {}))
    library.build()
    for step, first, texts in steps:
        if step == "store":
            # an empty text cannot be stored by a load, but by hand
            library.store([content or "…" for content in texts], first)
        else:
            values = {"id": str(first)} if step == "delete" else {}
            library.database.run(run(statements[step], values))
    kept = library.tables()
    library.build()
    assert kept == library.tables()


def test_the_service_asks_for_the_index_and_then_uses_it(library: Library) -> None:
    library.store(["apple pear", "apple apple apple", "plum"])
    service = SearchService(library.database, Settings(_env_file=None))
    request = SearchRequest(
        "apple", mode=Mode.TEXT, text_query=TextQuery.ANY, text_method=TextMethod.BM25
    )
    with pytest.raises(InvalidInput, match="no BM25 index"):
        library.database.run(service.search(library.collection, request))
    library.build()
    result = library.database.run(service.search(library.collection, request))
    assert [hit.document.external_id for hit in result] == ["1", "0"]
    assert result.matches == 2


def test_it_goes_when_it_is_dropped_and_with_its_collection(library: Library) -> None:
    library.store(["apple"])
    library.build()
    found = library.database.query(find_lexical_index, library.collection)
    assert found is not None
    assert (found.documents, found.average_length, found.lexemes) == (1, 1.0, 1)
    assert found.size_bytes > 0
    library.database.query(drop_lexical_index, library.collection)
    assert library.database.query(find_lexical_index, library.collection) is None
    with pytest.raises(NotFound):
        library.database.query(drop_lexical_index, library.collection)
    library.store(["pear"], 1)  # no trigger is left behind
    library.build()
    library.database.query(drop_collection, library.collection)

    async def left() -> list[str]:
        async with library.database.session() as db:
            rows = await db.execute(
                text("SELECT relname FROM pg_class WHERE relname ~ '(lexemes|postings)_fruit'")
            )
            return list(rows.scalars())

    assert library.database.run(left()) == []


@pytest.mark.parametrize(("k1", "b"), [(-0.1, 0.5), (10.1, 0.5), (1.2, -0.1), (1.2, 1.1)])
def test_settings_have_limits(k1: float, b: float) -> None:
    with pytest.raises(InvalidInput):
        BM25(k1, b)
