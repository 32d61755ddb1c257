"""Each reason why an index does not answer, made for real on the server, is named, and it alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from sqlalchemy import URL, Select, cast, literal, select

from lib.search.diagnosis.checks import CheckName
from lib.search.diagnosis.report import Diagnosis, diagnose
from lib.store.database import Database
from lib.vectors.build import build_index
from lib.vectors.distance import Distance, Storage
from lib.vectors.hybrid import Fusion, HybridQuery, hybrid_statement
from lib.vectors.index_methods import HNSW, IVFFLAT, IndexSpec, IterativeScan
from lib.vectors.search import is_category
from lib.vectors.statements import (
    TextQuery,
    distance_to,
    nearest_statement,
    text_statement,
    threshold_statement,
)
from lib.vectors.table import VectorTable
from lib.vectors.tuning import Scan, SearchSettings
from tests.integration.vectors_fixture import (
    Fixture,
    execute,
    filled,
    make_documents,
    one_database,
    random_vectors,
)

ROWS = 3000
ON_EXPRESSION = """
    DROP INDEX by_cosine;
    CREATE INDEX halves ON "My Articles" USING hnsw (("vec%%tor"::halfvec(16)) halfvec_cosine_ops)
"""
QUERY = random_vectors(1, seed=9)[0]


@pytest.fixture(scope="module")
def database(server_url: URL, template: str) -> Iterator[Database]:
    with one_database(server_url, template) as found:
        yield found


@pytest.fixture(scope="module")
def large(database: Database) -> Fixture:
    """3,000 rows with an HNSW index by cosine: enough for the planner to take it."""
    fixture = filled(database, random_vectors(ROWS))
    database.run(build_index(database.engine, fixture.table, HNSW.spec(), name="by_cosine"))
    execute(database, 'ANALYZE "My Articles"')
    return fixture


def look(
    database: Database,
    table: VectorTable,
    statement: Select[Any],
    settings: SearchSettings | None = None,
    *before: str,
) -> Diagnosis:
    """In a transaction of which nothing stays. before: statements that make the situation."""

    async def work() -> Diagnosis:
        async with database.session() as db:
            for each in before:
                await db.connection()
                await (await db.connection()).exec_driver_sql(each)
            chosen = (settings or SearchSettings()).server_settings()
            found = await diagnose(db, table, statement, chosen)
            await db.rollback()
            return found

    return database.run(work())


def names(checks: Any) -> list[CheckName]:
    return [check.name for check in checks]


def test_an_index_that_answers(database: Database, large: Fixture) -> None:
    found = look(database, large.table, nearest_statement(large.table, QUERY, 10))
    assert found.answered_by == "by_cosine"
    assert found.sentence == "The vector index by_cosine (HNSW) answered."
    assert (found.reasons, found.warnings) == ((), ())
    assert found.figures.rows_visited == 10
    assert found.figures.buffers_hit + found.figures.buffers_read > 0


def test_a_threshold_and_a_hybrid_are_looked_into(database: Database, large: Fixture) -> None:
    threshold = threshold_statement(large.table, QUERY, 0.9, 10)
    hybrid = hybrid_statement(
        large.table, HybridQuery("text", QUERY, 10, text_query=TextQuery.ANY, pool=40)
    )
    for statement in (threshold, hybrid):
        assert look(database, large.table, statement).answered_by == "by_cosine"


def test_a_search_by_words_compares_no_vectors(database: Database, large: Fixture) -> None:
    found = look(database, large.table, text_statement(large.table, "text", 10))
    assert found.checks == ()
    assert found.sentence.startswith("No vector is compared here.")


def test_a_raw_hybrid_asks_no_index(database: Database, large: Fixture) -> None:
    raw = hybrid_statement(large.table, HybridQuery("text", QUERY, 10, fusion=Fusion.RAW))
    found = look(database, large.table, raw)
    assert found.checks == ()
    assert found.sentence.startswith("Only documents with the words are compared")


def variants(table: VectorTable) -> dict[str, Select[Any]]:
    """The query as people write it, each with one of the ways to lose the index."""
    distance = distance_to(table, QUERY)
    column = table.column(table.embedding)
    rows = select(table.column(table.id))
    as_half = cast(column, Storage.HALFVEC.column_type(16))
    to_half = as_half.op("<=>")(literal(QUERY, Storage.HALFVEC.column_type(16)))
    return {
        "no limit": rows.order_by(distance),
        "descending": rows.order_by(distance.desc()).limit(10),
        "similarity": rows.order_by((1 - distance).desc()).limit(10),
        "expression": rows.order_by(1 - distance).limit(10),
        "cast": rows.order_by(to_half).limit(10),
        "threshold alone": rows.where(distance < 0.5).limit(10),
        "other distance": nearest_statement(
            VectorTable(**{**_fields(table), "distance": Distance.L2}), QUERY, 10
        ),
    }


def _fields(table: VectorTable) -> dict[str, Any]:
    return {name: getattr(table, name) for name in table.__dataclass_fields__}


@pytest.mark.parametrize(
    ("variant", "reason", "said"),
    [
        ("no limit", CheckName.LIMIT, "no LIMIT"),
        ("descending", CheckName.ORDER_BY, "descending"),
        ("similarity", CheckName.ORDER_BY, "descending"),
        ("expression", CheckName.ORDER_BY, "an expression over the distance"),
        ("cast", CheckName.ORDER_BY, "cast to another type"),
        ("threshold alone", CheckName.ORDER_BY, "WHERE alone"),
        ("other distance", CheckName.OPERATOR_CLASS, "vector_cosine_ops"),
    ],
)
def test_how_a_query_is_written(
    database: Database, large: Fixture, variant: str, reason: CheckName, said: str
) -> None:
    statement = variants(large.table)[variant]
    table = large.table
    if variant == "other distance":
        table = VectorTable(**{**_fields(table), "distance": Distance.L2})
    found = look(database, table, statement)
    assert found.answered_by is None
    assert names(found.reasons) == [reason]
    assert said in found.reasons[0].words
    assert found.reasons[0].fix
    assert found.reasons[0].words in found.sentence
    # A threshold alone ends with the tenth row that is below it, wherever it stands.
    assert (found.figures.rows_visited == ROWS) is (variant != "threshold alone")


def test_a_filter_more_selective_than_the_index(database: Database, large: Fixture) -> None:
    one = large.table.column("Key") == 5
    found = look(database, large.table, nearest_statement(large.table, QUERY, 10, where=[one]))
    assert names(found.reasons) == [CheckName.FILTER]
    assert "about 1 rows" in found.reasons[0].words
    assert "the rows that My Articles_pkey found were compared" in found.sentence
    assert found.figures.rows_visited == 1


def test_an_exact_scan_that_was_asked_for(database: Database, large: Fixture) -> None:
    statement = nearest_statement(large.table, QUERY, 10, where=[is_category(large.table, "even")])
    found = look(database, large.table, statement, SearchSettings(scan=Scan.EXACT))
    assert names(found.reasons) == [CheckName.EXACT_SCAN]
    assert found.figures.rows_visited == ROWS
    assert found.figures.rows_removed_by_filter == ROWS // 2


@pytest.mark.parametrize(
    ("before", "reason", "said"),
    [
        ("SET LOCAL enable_indexscan = off", CheckName.SETTINGS, "enable_indexscan is off"),
        (
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'by_cosine'::regclass",
            CheckName.VALID,
            "by_cosine is invalid",
        ),
        ("DROP INDEX by_cosine", CheckName.INDEX, "no vector index"),
        (
            ON_EXPRESSION,
            CheckName.COLUMN,
            "halves is on",
        ),
    ],
)
def test_what_the_server_has(
    database: Database, large: Fixture, before: str, reason: CheckName, said: str
) -> None:
    found = look(database, large.table, nearest_statement(large.table, QUERY, 10), None, before)
    assert found.answered_by is None
    assert names(found.reasons) == [reason]
    assert said in found.reasons[0].words


def test_ef_search_below_the_rows_asked_for(database: Database, large: Fixture) -> None:
    statement = nearest_statement(large.table, QUERY, 60)
    few = SearchSettings(ef_search=20, scan=Scan.INDEX)
    found = look(database, large.table, statement, few)
    assert found.answered_by == "by_cosine"
    assert names(found.warnings) == [CheckName.EF_SEARCH]
    assert "looks at 20 rows (ef_search), and 60 are asked for" in found.warnings[0].words
    assert look(database, large.table, statement, SearchSettings(ef_search=60)).warnings == ()


def test_a_filter_without_iterative_scan(database: Database, large: Fixture) -> None:
    where = [is_category(large.table, "even")]
    statement = nearest_statement(large.table, QUERY, 10, where=where)
    off = SearchSettings(iterative_scan=IterativeScan.OFF, scan=Scan.INDEX)
    found = look(database, large.table, statement, off)
    assert names(found.warnings) == [CheckName.ITERATIVE_SCAN]
    assert found.figures.rows_removed_by_filter > 0
    on = SearchSettings(iterative_scan=IterativeScan.STRICT, scan=Scan.INDEX)
    assert look(database, large.table, statement, on).warnings == ()


def small_table(database: Database, spec: IndexSpec, rows: int) -> VectorTable:
    documents = [(n, "title", f"text {n}", v) for n, v in enumerate(random_vectors(rows))]
    table = make_documents(database, documents, name="small")
    database.run(build_index(database.engine, table, spec))
    execute(database, "ANALYZE small")
    return table


def test_a_small_table(database: Database) -> None:
    table = small_table(database, HNSW.spec(), 40)
    found = look(database, table, nearest_statement(table, QUERY, 10))
    assert names(found.reasons) == [CheckName.TABLE_SIZE]
    assert "through the index" in found.reasons[0].words
    cost, through = (
        float(number.replace(",", ""))
        for number in found.reasons[0]
        .words.partition("(cost ")[2]
        .split(" through")[0]
        .split(" against ")
    )
    assert cost < through


def test_few_probes(database: Database) -> None:
    table = small_table(database, IVFFLAT.spec(lists=25), 400)
    statement = nearest_statement(table, QUERY, 5)
    found = look(database, table, statement, SearchSettings(probes=1, scan=Scan.INDEX))
    assert names(found.warnings) == [CheckName.PROBES]
    assert "1 of 25 lists" in found.warnings[0].words
    enough = SearchSettings(probes=5, scan=Scan.INDEX)
    assert look(database, table, statement, enough).warnings == ()


def test_a_table_that_was_never_analyzed(database: Database) -> None:
    execute(
        database,
        "DROP TABLE IF EXISTS fresh",
        "CREATE TABLE fresh (id int PRIMARY KEY, content text, embedding vector(16)) "
        "WITH (autovacuum_enabled = off)",
        "CREATE INDEX ON fresh USING hnsw (embedding vector_cosine_ops)",
        "INSERT INTO fresh SELECT n, 'text', array_fill(n + 1, ARRAY[16])::vector "
        "FROM generate_series(1, 20) AS n",
    )
    table = VectorTable("fresh", dimensions=16)
    statement = nearest_statement(table, np.ones(16, dtype=np.float32), 10)
    found = look(database, table, statement)
    assert CheckName.STATISTICS in names(check for check in found.checks if check.ok is False)
    assert found.answered_by or names(found.reasons) == [CheckName.STATISTICS]
    execute(database, "ANALYZE fresh")
    assert names(look(database, table, statement).reasons) == [CheckName.TABLE_SIZE]
