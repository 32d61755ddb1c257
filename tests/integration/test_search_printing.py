"""The printed SQL, the printed Python and the printed command find what the search found."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from command_line import clean_environment
from sqlalchemy import URL, event

from lib.ingest.incoming import IncomingDocument
from lib.ingest.load import store_documents
from lib.search.bm25 import start_lexical_build
from lib.search.export import python_text, sql_text
from lib.search.filters import parse_filter
from lib.search.request import Mode, SearchRequest
from lib.search.service import SearchService
from lib.settings import LOCAL_MODEL, Settings
from lib.store.collections import Collection, create_collection
from lib.store.database import Database
from lib.store.jobs import Jobs
from lib.store.url import connect_arguments
from lib.vectors.build import build_index
from lib.vectors.distance import Distance, Storage
from lib.vectors.hybrid import Fusion
from lib.vectors.index_methods import HNSW, IterativeScan
from lib.vectors.search import SearchResult, search_similar_documents
from lib.vectors.statements import TextMethod, TextQuery
from lib.vectors.tuning import Scan, SearchSettings
from tests.integration.vectors_fixture import filled, one_database, random_vectors

QUESTION = "it's 100% lost: space & \"time\" \\ 'now'"
ANY = TextQuery.ANY
FILTERS = (parse_filter("year>=1992"), parse_filter("tags=a,b'c"), parse_filter("seen"))
SETTINGS = SearchSettings(ef_search=120, iterative_scan=IterativeScan.STRICT, scan=Scan.INDEX)
REQUESTS = {
    "similarity": SearchRequest(QUESTION, Mode.SIMILARITY, settings=SETTINGS),
    "threshold": SearchRequest(QUESTION, Mode.SIMILARITY, max_distance=0.9),
    "category and filters": SearchRequest(
        QUESTION, Mode.SIMILARITY, category="it's", filters=FILTERS
    ),
    **{
        f"text by {method.value}": SearchRequest(
            QUESTION, Mode.TEXT, text_method=method, text_query=ANY, filters=FILTERS[:1]
        )
        for method in TextMethod
    },
    "text, web": SearchRequest("lost -space", Mode.TEXT),
    "text, plain, bm25": SearchRequest(
        "lost space", Mode.TEXT, text_query=TextQuery.PLAIN, text_method=TextMethod.BM25
    ),
    **{
        f"hybrid {fusion.value} by {method.value}": SearchRequest(
            QUESTION,
            Mode.HYBRID,
            fusion=fusion,
            text_method=method,
            vector_weight=0.4,
            pool=20,
            max_distance=0.95 if method is TextMethod.BM25 else None,
            settings=SETTINGS if fusion is Fusion.RRF else SearchSettings(),
        )
        for fusion in Fusion
        for method in (TextMethod.TS_RANK, TextMethod.BM25)
    },
}


@pytest.fixture(scope="module")
def database(server_url: URL, template: str) -> Iterator[Database]:
    with one_database(server_url, template) as found:
        yield found


@pytest.fixture(scope="module")
def collection(database: Database) -> Collection:
    """80 documents with the local model's vectors, an HNSW index and a word index."""
    found = database.query(create_collection, "Films", model=LOCAL_MODEL, dimensions=256)
    rng = np.random.default_rng(4)
    words = ["lost", "found", "space", "time", "now", "ship", "diver", "sea", "moon", "bread"]
    documents = [
        IncomingDocument(
            external_id=str(number),
            title=" ".join(rng.choice(words, 2)),
            content=" ".join(rng.choice(words, rng.integers(3, 30))),
            category="it's" if number % 2 else "other",
            metadata={"year": 1980 + number, "tags": ["a", "x"], "seen": True},
        )
        for number in range(80)
    ]
    database.query(store_documents, found, documents)

    async def embed_and_build() -> None:
        from lib.ingest.service import DocumentService

        await DocumentService(database, Settings(_env_file=None)).backfill_embeddings(found)
        jobs = Jobs(database)
        job = await start_lexical_build(jobs, database, found)
        assert (await jobs.wait(job.id)).error is None
        await build_index(database.engine, found.table, HNSW.spec())

    database.run(embed_and_build())
    return found


def ask(database: Database, collection: Collection, request: SearchRequest) -> SearchResult:
    service = SearchService(database, Settings(_env_file=None))
    result = database.run(service.search(collection, request))
    assert len(result) > 0
    return result


def ids_of_sql(database: Database, script: str) -> list[str]:
    """Of the last statement that gives rows, run as one script."""
    with psycopg.connect(**connect_arguments(database.url), autocommit=True) as connection:
        cursor = connection.execute(script.encode())
        rows: list[Any] = []
        while True:
            if cursor.description is not None:
                rows = cursor.fetchall()
            if not cursor.nextset():
                return [str(row[0]) for row in rows]


def ids_of_python(database: Database, program: str, folder: Path) -> list[str]:
    path = folder / "program.py"
    path.write_text(program, encoding="utf-8")
    address = database.url.render_as_string(hide_password=False)
    done = subprocess.run(
        [sys.executable, path],
        cwd=folder,  # away from lib: it stands alone
        env=clean_environment(DATABASE_URL=address),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [line.split()[0] for line in done.stdout.splitlines()]


@pytest.mark.parametrize("name", REQUESTS)
def test_the_printed_search_finds_the_same(
    database: Database, collection: Collection, tmp_path: Path, name: str
) -> None:
    result = ask(database, collection, REQUESTS[name])
    expected = [str(hit.document.id) for hit in result]
    sql, program = sql_text(result), python_text(result)
    assert ids_of_sql(database, sql.full) == expected
    assert ids_of_python(database, program.full, tmp_path) == expected
    assert 'literal_column("(' not in program.full  # nothing had to be left as SQL
    if REQUESTS[name].mode.uses_vectors:
        for printed in (sql, program):
            assert "… 256 numbers]" in printed.abbreviated
            assert "…" not in printed.full.replace(QUESTION, "")


@contextmanager
def sent_to(database: Database) -> Iterator[list[tuple[str, str]]]:
    """Each statement that is sent to the server meanwhile, with its parameters."""
    sent: list[tuple[str, str]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: object, *_: object):  # type: ignore[no-untyped-def]
        sent.append((statement, repr(parameters)))

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    yield sent
    event.remove(database.engine.sync_engine, "before_cursor_execute", note)


@pytest.mark.parametrize("name", REQUESTS)
def test_a_prepared_search_is_the_very_statement(
    database: Database, collection: Collection, name: str
) -> None:
    service = SearchService(database, Settings(_env_file=None))
    prepared = database.run(service.prepare(collection, REQUESTS[name])).unanswered
    with sent_to(database) as searched:
        found = ask(database, collection, REQUESTS[name])
    assert prepared.sql == found.sql
    assert (prepared.settings, prepared.asked) == (found.settings, found.asked)
    assert prepared.hits == ()

    async def run(statement: Any) -> None:
        async with database.session() as db:
            await db.execute(statement)

    with sent_to(database) as shown:
        database.run(run(prepared.statement))
    [statement] = [each for each in shown if each[0].lstrip().startswith(("SELECT", "WITH"))]
    assert searched.count(statement) == 1  # the text and all of its parameters
    assigned = " ".join(parameters for text, parameters in searched if "set_config" in text)
    for setting, value in prepared.settings.items():
        assert f"'{setting}'" in assigned
        assert f"'{value}'" in assigned


@pytest.mark.parametrize("storage", Storage)
def test_a_users_own_table_under_awkward_names(
    database: Database, tmp_path: Path, storage: Storage
) -> None:
    fixture = filled(database, random_vectors(30), distance=Distance.L2, storage=storage)
    result = fixture.run(search_similar_documents, fixture.vectors[3], 5)
    expected = [str(hit.document.id) for hit in result]
    assert expected[0] == "3"
    assert ids_of_sql(database, sql_text(result).full) == expected
    assert ids_of_python(database, python_text(result).full, tmp_path) == expected
