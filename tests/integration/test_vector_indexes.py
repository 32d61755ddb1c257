"""Building, listing and dropping indexes on a real server, and what a broken build leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import sqlalchemy
from sqlalchemy import URL, select, text

from lib.errors import (
    AlreadyExists,
    DatabaseProblem,
    IndexRefused,
    LimitExceeded,
    NotAllowed,
    NotFound,
)
from lib.store.database import Database
from lib.vectors.build import BuildProgress, BuiltIndex, build_index, drop_index
from lib.vectors.catalog import IndexDescription, list_indexes
from lib.vectors.ddl import create_statement, index_name
from lib.vectors.distance import Distance, Storage
from lib.vectors.index_methods import EF_SEARCH, HNSW, IVFFLAT, PROBES, IndexSpec
from lib.vectors.plans import explain
from lib.vectors.statements import nearest_statement
from lib.vectors.table import VectorTable
from lib.vectors.tuning import MAX_SCAN_TUPLES, BuildSettings
from tests.integration.vectors_fixture import (
    Fixture,
    execute,
    filled,
    make_table,
    one_database,
    random_vectors,
)


@pytest.fixture(scope="module")
def database(server_url: URL, template: str) -> Iterator[Database]:
    with one_database(server_url, template) as found:
        yield found


def build(found: Fixture, spec: IndexSpec, **options: Any) -> BuiltIndex:
    return found.database.run(build_index(found.database.engine, found.table, spec, **options))


def indexes(found: Fixture) -> list[IndexDescription]:
    async def work() -> list[IndexDescription]:
        async with found.database.session() as db:
            return await list_indexes(db, found.table)

    return found.database.run(work())


def memory_of_server(database: Database) -> str:
    """maintenance_work_mem in a session that no build ever had."""
    engine = sqlalchemy.create_engine(database.url)
    with engine.connect() as connection:
        found = connection.scalar(text("SHOW maintenance_work_mem"))
    engine.dispose()
    return str(found)


def memory_in_pool(database: Database) -> set[str]:
    """maintenance_work_mem in every connection of the pool, all taken out at once."""

    async def work() -> set[str]:
        async with asyncio.TaskGroup() as group:
            barrier = asyncio.Barrier(8)

            async def one() -> str:
                async with database.engine.connect() as connection:
                    await barrier.wait()
                    return str(await connection.scalar(text("SHOW maintenance_work_mem")))

            tasks = [group.create_task(one()) for _ in range(8)]
        return {task.result() for task in tasks}

    return database.run(work())


def large(database: Database, rows: int, dimensions: int = 64) -> Fixture:
    """Enough rows for a build of some seconds, made on the server."""
    table = make_table(database, [], dimensions=dimensions)
    execute(
        database,
        f"""
        INSERT INTO "My Articles" ("Key", "vec%tor")
        SELECT n, (SELECT array_agg(random() - 0.5 + 0 * d)
                   FROM generate_series(1, {dimensions}) AS d WHERE n IS NOT NULL)
        FROM generate_series(1, {rows}) AS n
        """,
    )
    return Fixture(database, table, random_vectors(1, dimensions))


# --- building -----------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrently", [False, True])
@pytest.mark.parametrize("storage", list(Storage))
@pytest.mark.parametrize("spec", [IVFFLAT.spec(lists=7), HNSW.spec(m=6, ef_construction=20)])
def test_a_built_index_is_listed_as_what_it_is(
    database: Database, spec: IndexSpec, storage: Storage, concurrently: bool
) -> None:
    found = filled(database, random_vectors(200), storage=storage, distance=Distance.L2)
    built = build(found, spec, concurrently=concurrently)
    size = execute(database, f"SELECT pg_relation_size('\"{built.name}\"')").scalar_one()
    assert indexes(found) == [
        IndexDescription(
            name=index_name(found.table, spec),
            method=spec.method,
            options=spec.options,
            operator_class=f"{storage.value}_l2_ops",
            size_bytes=size,
            valid=True,
        )
    ]
    assert built.index_bytes == size > 0
    assert built.seconds > 0
    assert built.notices == ()


def test_an_hnsw_graph_that_outgrows_memory_is_noticed(database: Database) -> None:
    found = filled(database, random_vectors(2000, 64))
    small = BuildSettings(maintenance_work_mem_mb=1, parallel_workers=0)
    (notice,) = build(found, HNSW.spec(m=8, ef_construction=16), settings=small).notices
    assert "no longer fits into maintenance_work_mem" in notice
    enough = BuildSettings(maintenance_work_mem_mb=64, parallel_workers=0)
    assert build(found, HNSW.spec(m=6, ef_construction=16), settings=enough).notices == ()
    assert memory_in_pool(database) == {memory_of_server(database)}


def test_too_few_rows_are_refused(database: Database) -> None:
    empty = Fixture(database, make_table(database, []), random_vectors(1))
    for spec in (IVFFLAT.spec(lists=1), HNSW.spec()):
        with pytest.raises(IndexRefused, match="no row with an embedding"):
            build(empty, spec)
    vectors = random_vectors(20)
    vectors[:5] = 0
    found = filled(database, vectors)
    with pytest.raises(IndexRefused, match="15 rows cannot give 16 lists"):
        build(found, IVFFLAT.spec(lists=16))  # zero vectors under cosine are in no list
    assert (
        build(found, IVFFLAT.spec(lists=15)).notices == ()
    )  # pgvector finds nothing to note either


def test_a_second_build_is_refused_and_leaves_the_first(database: Database) -> None:
    found = filled(database, random_vectors(50))
    first = build(found, HNSW.spec())
    for concurrently in (False, True):
        with pytest.raises(AlreadyExists, match=first.name):
            build(found, HNSW.spec(), concurrently=concurrently)
    assert [(index.name, index.valid) for index in indexes(found)] == [(first.name, True)]


def test_a_build_that_comes_second_does_not_drop_the_one_that_is_running(
    database: Database,
) -> None:
    """A running CONCURRENTLY build looks just like a broken one: invalid."""
    found = large(database, 3000)
    refused: list[AlreadyExists] = []

    async def build_again(progress: BuildProgress) -> None:
        if progress.phase == "Loading rows" and not refused:
            with pytest.raises(AlreadyExists, match="unfinished or broken") as caught:
                await build_index(database.engine, found.table, HNSW.spec(), concurrently=True)
            refused.append(caught.value)

    build(found, HNSW.spec(), concurrently=True, on_progress=build_again, poll_seconds=0.02)
    assert len(refused) == 1
    assert [index.valid for index in indexes(found)] == [True]


def test_errors_are_of_our_tree(database: Database) -> None:
    found = filled(database, random_vectors(50))
    gone = VectorTable(name="nowhere", dimensions=16)
    with pytest.raises(NotFound):
        database.run(build_index(database.engine, gone, HNSW.spec()))
    with pytest.raises(LimitExceeded, match="64 bytes"):
        build(found, HNSW.spec(), name="ü" * 32)
    with pytest.raises(NotFound, match="no vector index called nothing"):
        database.run(drop_index(database.engine, found.table, "nothing"))


def test_a_role_that_may_only_read_is_told(database: Database) -> None:
    found = filled(database, random_vectors(50))
    execute(
        database,
        "DO $$ BEGIN CREATE ROLE reader; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        'GRANT SELECT ON "My Articles" TO reader',
    )

    async def work() -> None:
        url = database.url.update_query_dict({"options": "-c role=reader"})
        engine = sqlalchemy.ext.asyncio.create_async_engine(url)
        try:
            await build_index(
                engine, found.table, HNSW.spec(), settings=BuildSettings(maintenance_work_mem_mb=8)
            )
        finally:
            await engine.dispose()

    with pytest.raises(NotAllowed):
        database.run(work())


def test_drop_leaves_the_other_index(database: Database) -> None:
    found = filled(database, random_vectors(50))
    first, second = build(found, HNSW.spec()), build(found, IVFFLAT.spec(lists=5))
    database.run(drop_index(database.engine, found.table, first.name))
    assert [index.name for index in indexes(found)] == [second.name]
    with pytest.raises(NotFound):
        database.run(drop_index(database.engine, found.table, first.name))


# --- progress and cancel ------------------------------------------------------------------------


def test_progress_names_phases_and_counts_rows(database: Database) -> None:
    found = large(database, 3000)
    seen: list[BuildProgress] = []

    async def note(progress: BuildProgress) -> None:
        seen.append(progress)

    slow = BuildSettings(parallel_workers=0)
    for spec in (HNSW.spec(), IVFFLAT.spec(lists=300)):
        build(found, spec, settings=slow, on_progress=note, poll_seconds=0.02)
        phases = list(dict.fromkeys(progress.phase for progress in seen))
        assert set(phases) <= {
            "Preparing",
            "Loading rows",
            "Finding the centres of the lists (k-means)",
            "Sorting rows into lists",
        }
        assert "Loading rows" in phases or "Finding the centres of the lists (k-means)" in phases
        shares = [p.share for p in seen if p.phase == "Loading rows" and p.share is not None]
        assert all(0 <= share <= 1 for share in shares)
        assert shares == sorted(shares)
        if spec.method is HNSW:
            assert any(0 < share < 1 for share in shares)
        seen.clear()


def cancelled_build(found: Fixture, *, concurrently: bool) -> None:
    """Cancels the build as soon as the server says that it loads rows."""
    loading = asyncio.Event()

    async def note(progress: BuildProgress) -> None:
        if progress.phase == "Loading rows":
            loading.set()

    async def work() -> None:
        task = asyncio.create_task(
            build_index(
                found.database.engine,
                found.table,
                HNSW.spec(m=32, ef_construction=400),
                settings=BuildSettings(maintenance_work_mem_mb=3, parallel_workers=0),
                concurrently=concurrently,
                on_progress=note,
                poll_seconds=0.02,
            )
        )
        await loading.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    found.database.run(work(), timeout_seconds=120)


RUNNING = "SELECT count(*) FROM pg_stat_progress_create_index WHERE datname = current_database()"


@pytest.mark.parametrize("concurrently", [False, True])
def test_cancelling_ends_the_build_on_the_server_and_leaves_nothing(
    database: Database, concurrently: bool
) -> None:
    found = large(database, 4000)
    cancelled_build(found, concurrently=concurrently)

    assert execute(database, RUNNING).scalar_one() == 0
    assert indexes(found) == []
    assert memory_in_pool(database) == {memory_of_server(database)}
    assert database.engine.pool.checkedout() == 0


def test_a_failing_progress_callback_ends_the_build(database: Database) -> None:
    found = large(database, 4000)

    async def fail(progress: BuildProgress) -> None:
        raise DatabaseProblem("the job is gone")

    with pytest.raises(DatabaseProblem, match="the job is gone"):
        build(found, HNSW.spec(m=32, ef_construction=400), on_progress=fail, poll_seconds=0.02)
    assert execute(database, RUNNING).scalar_one() == 0
    assert indexes(found) == []


def test_closing_the_database_ends_a_build(database: Database) -> None:
    """close() cancels every task at once, the one that waits and the one that builds."""
    found = large(database, 4000)
    other = Database(database.url)
    loading = asyncio.Event()

    async def note(progress: BuildProgress) -> None:
        loading.set()

    future = other.submit(
        build_index(
            other.engine,
            found.table,
            HNSW.spec(m=32, ef_construction=400),
            on_progress=note,
            poll_seconds=0.02,
        )
    )
    other.run(loading.wait(), timeout_seconds=90)
    other.close()
    assert future.cancelled()
    assert execute(database, RUNNING).scalar_one() == 0
    assert indexes(found) == []


def test_a_broken_concurrent_build_of_another_is_listed_as_invalid(database: Database) -> None:
    """As after a kill -9: it stays until somebody drops it, and the next build says so."""
    found = large(database, 4000)
    statement = create_statement(
        found.table, HNSW.spec(m=32, ef_construction=400), concurrently=True
    )

    async def work() -> None:
        async with database.engine.connect() as plain:
            connection = await plain.execution_options(isolation_level="AUTOCOMMIT")
            await connection.exec_driver_sql("SET statement_timeout = 300")
            with pytest.raises(sqlalchemy.exc.OperationalError, match="statement timeout"):
                await connection.exec_driver_sql(statement.replace("%", "%%"))
            await connection.exec_driver_sql("RESET statement_timeout")

    database.run(work())
    (broken,) = indexes(found)
    assert not broken.valid
    with pytest.raises(AlreadyExists):
        build(found, HNSW.spec(m=32, ef_construction=400), concurrently=True)
    database.run(drop_index(database.engine, found.table, broken.name))
    assert indexes(found) == []


def test_the_printed_create_index_runs(database: Database) -> None:
    found = filled(database, random_vectors(100))
    spec = HNSW.spec(m=4, ef_construction=10)

    async def work() -> None:
        async with database.engine.connect() as plain:
            connection = await plain.execution_options(isolation_level="AUTOCOMMIT")
            statement = create_statement(found.table, spec, concurrently=True)
            await connection.exec_driver_sql(statement.replace("%", "%%"))

    database.run(work())
    assert [(i.method, i.options) for i in indexes(found)] == [(HNSW, spec.options)]


# --- plans --------------------------------------------------------------------------------------


def test_explain_analyze_counts(database: Database) -> None:
    found = filled(database, random_vectors(300))
    odd = found.table.column("topic") == "odd"
    statement = nearest_statement(found.table, found.vectors[0], 10, where=(odd,))

    async def work() -> tuple[Any, Any]:
        async with database.session() as db:
            return await explain(db, statement), await explain(db, statement, analyze=True)

    planned, ran = database.run(work())
    assert not planned.analyzed
    assert (planned.rows, planned.rows_removed_by_filter, planned.buffers_hit) == (None, None, None)
    assert ran.analyzed
    assert ran.rows == 10
    assert ran.rows_removed_by_filter == 150  # the even ones
    assert ran.buffers_hit + ran.buffers_read > 0
    assert ran.execution_ms > 0
    assert ran.sequential == ("My Articles",)
    assert ran.vector_index is None


def test_explain_of_one_column_of_any_type(database: Database) -> None:
    """The plan must not be read as the statement's own column."""
    found = filled(database, random_vectors(10))
    columns = [found.table.column(name) for name in ("Key", "topic", "vec%tor")]

    async def work() -> list[Any]:
        async with database.session() as db:
            return [await explain(db, select(column)) for column in columns]

    for plan in database.run(work()):
        assert plan.sequential == ("My Articles",)


def test_explain_sends_the_statements_parameters(database: Database) -> None:
    """Awkward values come through; and often enough that psycopg prepares the statement."""
    vectors = random_vectors(40)
    topic = "50% :x \\ 'quoted'"
    rows = [(n, "t", topic if n < 5 else None, vector) for n, vector in enumerate(vectors)]
    found = Fixture(database, make_table(database, rows), vectors)

    async def work() -> list[int | None]:
        async with database.session() as db:
            plans = []
            for _ in range(8):
                topic_is = found.table.column("topic") == topic
                statement = nearest_statement(found.table, vectors[0], 10, where=(topic_is,))
                plans.append(await explain(db, statement, analyze=True))
            return [plan.rows for plan in plans]

    assert database.run(work()) == [5] * 8


def test_our_limits_are_the_servers(database: Database) -> None:
    ours = {
        "ivfflat.probes": PROBES,
        "hnsw.ef_search": EF_SEARCH,
        "hnsw.max_scan_tuples": MAX_SCAN_TUPLES,
    }
    rows = execute(
        database,
        "LOAD 'vector'",
        "SELECT name, min_val, max_val, boot_val FROM pg_settings "
        "WHERE name IN ('ivfflat.probes', 'hnsw.ef_search', 'hnsw.max_scan_tuples')",
    ).all()
    servers = {row.name: (int(row.min_val), int(row.max_val), int(row.boot_val)) for row in rows}
    assert servers == {name: (x.low, x.high, x.default) for name, x in ours.items()}

    found = filled(database, random_vectors(5))
    statement = create_statement(found.table, HNSW.spec(m=100, ef_construction=200))
    raw(database, statement)
    beyond = [
        statement.replace("m = 100", "m = 101"),
        statement.replace("ef_construction = 200", "ef_construction = 199"),
        statement.replace("m = 100", "m = 1"),
        create_statement(found.table, IVFFLAT.spec(lists=32768)).replace("32768", "32769"),
    ]
    for refused in beyond:
        with pytest.raises(sqlalchemy.exc.DBAPIError, match=r"out of bounds|greater than or equal"):
            raw(database, refused)


def test_vectors_of_the_largest_dimensions_can_be_indexed(database: Database) -> None:
    """pgvector's own limits, so that ours are neither too strict nor too wide."""
    for storage, dimensions in ((Storage.VECTOR, 2000), (Storage.HALFVEC, 4000)):
        vectors = np.random.default_rng(0).standard_normal((3, dimensions)).astype(np.float32)
        found = filled(database, vectors, storage=storage)
        assert build(found, HNSW.spec()).index_bytes > 0
        over = filled(database, np.ones((1, dimensions + 1), np.float32), storage=storage)
        with pytest.raises(IndexRefused):
            build(over, HNSW.spec())
        with pytest.raises(sqlalchemy.exc.DBAPIError, match=f"{dimensions} dimensions"):
            raw(database, create_statement(over.table, HNSW.spec()))


def raw(database: Database, statement: str) -> None:
    async def work() -> None:
        async with database.engine.connect() as connection:
            await connection.exec_driver_sql(statement.replace("%", "%%"))

    database.run(work())
