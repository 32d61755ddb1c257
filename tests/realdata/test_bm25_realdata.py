"""BM25 on judged collections, where they are at hand, against an independent implementation."""

from __future__ import annotations

import os
from pathlib import Path

import bm25s
import numpy as np
import pytest
from sqlalchemy import text

from lib.ingest.beir import find_judged
from lib.ingest.incoming import IncomingDocument
from lib.ingest.load import store_documents
from lib.search.bm25 import bm25_matching, start_lexical_build
from lib.store.collections import create_collection
from lib.store.database import Database
from lib.store.jobs import Jobs
from lib.vectors.search import search_text
from lib.vectors.statements import TextQuery

DATA = Path(
    os.environ.get("VECSCOPE_SAMPLE_DATA")
    or Path(__file__).resolve().parents[3] / "shared" / "data"
)
TOP = 10


@pytest.mark.parametrize("name", ["med", "cisi"])
def test_the_top_10_of_every_question_are_an_independent_implementations(
    database: Database, name: str
) -> None:
    folder = find_judged(DATA / name) if (DATA / name).is_dir() else None
    if folder is None:
        pytest.skip(f"the judged collection {name} is not here")
    collection = database.query(create_collection, name, model="none", dimensions=2)
    documents = [d for d in folder.documents().read() if isinstance(d, IncomingDocument)]
    database.query(store_documents, collection, documents)

    async def build() -> None:
        jobs = Jobs(database)
        job = await start_lexical_build(jobs, database, collection)
        assert (await jobs.wait(job.id)).error is None

    database.run(build())

    async def lexemes(statement: str, **values: str) -> list[tuple[str, list[str]]]:
        async with database.session() as db:
            return [tuple(row) for row in await db.execute(text(statement), values)]

    stored = database.run(
        lexemes(
            f"SELECT d.external_id, array_agg(w.lexeme) FROM {collection.table.qualified_name} d, "
            "unnest(d.search_vector) AS w, unnest(w.positions) GROUP BY 1"
        )
    )
    retriever = bm25s.BM25(k1=1.2, b=0.75, method="lucene")
    retriever.index([words for _, words in stored], show_progress=False)
    place = {external_id: number for number, (external_id, _) in enumerate(stored)}

    queries = [query for stream in folder.query_streams() for query in stream.queries()]
    assert len(queries) >= 30
    for query in queries:
        ((_, words),) = database.run(
            lexemes("SELECT '', tsvector_to_array(to_tsvector('english', :q))", q=query.text)
        )
        known = [word for word in words if word in retriever.vocab_dict]
        expected = retriever.get_scores(known) * 2.2  # bm25s leaves the factor k1 + 1 out
        found = database.query(
            search_text,
            collection.table,
            query.text,
            TOP,
            matching=bm25_matching(collection, query.text, TextQuery.ANY),
        )
        best = np.sort(expected)[::-1][:TOP]
        values = [hit.text_value for hit in found]
        # Up to ties: the values of the ten best, and each document's own (bm25s has float32).
        assert values == pytest.approx(best, rel=1e-4)
        theirs = [expected[place[hit.document.external_id]] for hit in found]
        assert values == pytest.approx(theirs, rel=1e-4)
