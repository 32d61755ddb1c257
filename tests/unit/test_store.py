"""What of the store needs no database: the address, the memory, the verdict on a server."""

from __future__ import annotations

import traceback
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lib.errors import InvalidInput, NotAllowed, UnsupportedServer, VecscopeError
from lib.store.checks import ServerFacts, server_problem
from lib.store.embedded import memory_settings
from lib.store.jobs import Job, JobKind, JobStatus
from lib.store.url import connect_arguments, database_url

GIB = 1024**3


# --- DATABASE_URL ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scheme",
    [
        "postgres",
        "postgresql",
        "PostgreSQL",
        "postgresql+psycopg",
        "postgresql+psycopg2",
        "postgresql+asyncpg",
    ],
)
def test_any_spelling_of_postgresql_will_do(scheme: str) -> None:
    url = database_url(f" {scheme}://me:p%40ss@db.example:6543/books?sslmode=require\n")
    assert url.drivername == "postgresql+psycopg"
    arguments = connect_arguments(url)
    assert arguments["password"] == "p@ss"
    assert (arguments["host"], arguments["port"]) == ("db.example", 6543)
    assert (arguments["dbname"], arguments["sslmode"]) == ("books", "require")
    assert arguments["application_name"] == "vecscope"


def test_what_the_url_says_wins_over_our_defaults() -> None:
    url = database_url("postgres:///books?host=/run/pg&connect_timeout=3&application_name=mine")
    arguments = connect_arguments(url)
    assert arguments["host"] == "/run/pg"
    assert (arguments["connect_timeout"], arguments["application_name"]) == ("3", "mine")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hush",
        "me:hush@db/books",
        "mysql://me:hush@db/books",
        "sqlite:///hush.db",
        "postgresql://me:hush@db",
        "postgresql://me:hush@db:port/books",
        "postgresql://me:hush@db/books?ssl=true",
        "host=db password=hush dbname=books",
    ],
)
def test_a_url_that_will_not_do_is_told_without_its_password(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        database_url(text)
    assert caught.value.field == "DATABASE_URL"
    assert "hush" not in str(caught.value)
    shown = "".join(traceback.format_exception(caught.value))
    assert len(shown.split("Traceback")) == 2  # no other error behind it, which would show more


# --- memory ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ram_gib", "shared", "maintenance", "work"),
    [
        (0.5, "128MB", "64MB", "4MB"),  # the floors
        (2, "512MB", "128MB", "8MB"),
        (16, "4096MB", "1024MB", "64MB"),
        (256, "4096MB", "2048MB", "64MB"),  # the caps
    ],
)
def test_memory_follows_the_machine(
    ram_gib: float, shared: str, maintenance: str, work: str
) -> None:
    settings = memory_settings(int(ram_gib * GIB))
    assert settings["shared_buffers"] == shared
    assert settings["maintenance_work_mem"] == maintenance
    assert settings["work_mem"] == work


@pytest.mark.parametrize(("cpus", "workers"), [(1, "0"), (2, "1"), (64, "7")])
def test_a_parallel_build_leaves_room_for_others(cpus: int, workers: str) -> None:
    assert memory_settings(GIB, cpus=cpus)["max_parallel_maintenance_workers"] == workers


def test_a_container_with_a_small_dev_shm_keeps_its_graphs_elsewhere() -> None:
    name = "dynamic_shared_memory_type"
    assert memory_settings(8 * GIB, shared_memory_bytes=64 * 1024**2)[name] == "sysv"
    assert name not in memory_settings(8 * GIB, shared_memory_bytes=4 * GIB)
    assert name not in memory_settings(8 * GIB, shared_memory_bytes=None)


# --- the server --------------------------------------------------------------------------------

GOOD = ServerFacts(
    database="books",
    role="me",
    postgres_version=(14, 0),
    pgvector_version=(0, 7, 0),
    pgvector_available=(0, 8, 5),
    pgvector_visible=True,
    can_create_pgvector=True,
    can_use_schema=True,
    keeps_sessions=True,
    can_write=True,
)
# Before pgvector is enabled its types are nowhere.
NOT_ENABLED: dict[str, Any] = {"pgvector_version": (), "pgvector_visible": False}


def test_the_lowest_versions_will_do() -> None:
    assert server_problem(GOOD) is None
    assert server_problem(replace(GOOD, **NOT_ENABLED)) is None
    assert server_problem(replace(GOOD, pgvector_version=(0, 10))) is None


@pytest.mark.parametrize(
    ("facts", "kind", "says"),
    [
        ({"postgres_version": (13, 22)}, UnsupportedServer, "PostgreSQL 13.22"),
        ({**NOT_ENABLED, "pgvector_available": ()}, UnsupportedServer, "not installed"),
        ({**NOT_ENABLED, "pgvector_available": (0, 6, 2)}, UnsupportedServer, "0.6.2"),
        ({**NOT_ENABLED, "can_create_pgvector": False}, NotAllowed, '"me" may not enable'),
        ({"pgvector_version": (0, 6, 2)}, UnsupportedServer, "0.6.2"),
        ({"pgvector_visible": False}, UnsupportedServer, "search path"),
        ({"can_use_schema": False}, NotAllowed, "schema vecscope"),
        ({"keeps_sessions": False}, UnsupportedServer, "pooler in transaction mode"),
        ({"can_write": False}, NotAllowed, "no writes"),
    ],
)
def test_each_shortcoming_has_its_own_sentence(
    facts: dict[str, Any], kind: type[VecscopeError], says: str
) -> None:
    problem = server_problem(replace(GOOD, **facts))
    assert type(problem) is kind
    assert says in problem.message
    assert problem.hint


# --- jobs --------------------------------------------------------------------------------------

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def a_job(**values: Any) -> Job:
    defaults: dict[str, Any] = {
        "id": uuid.UUID(int=1),
        "kind": JobKind.LOAD,
        "title": "Load",
        "collection_id": None,
        "status": JobStatus.RUNNING,
        "done": 0,
        "total": None,
        "message": "",
        "parameters": {},
        "result": None,
        "error": None,
        "hint": None,
        "error_id": None,
        "cancel_requested": False,
        "created_at": BEGAN,
        "started_at": BEGAN,
        "finished_at": None,
        "updated_at": BEGAN + timedelta(seconds=30),
    }
    return Job(**{**defaults, **values})


@pytest.mark.parametrize(
    ("values", "share", "seconds_left"),
    [
        ({"done": 10, "total": 40}, 0.25, 90.0),  # 10 in 30 s, so 30 in 90 s
        ({"done": 50, "total": 40}, 1.0, 0.0),  # more than was counted before
        ({"done": 0, "total": 40}, 0.0, None),
        ({"done": 10, "total": None}, None, None),
        ({"done": 0, "total": 0}, None, None),
        ({"done": 10, "total": 40, "status": JobStatus.FAILED}, 0.25, None),
    ],
)
def test_a_job_says_how_far_it_is_and_how_long_it_takes(
    values: dict[str, Any], share: float | None, seconds_left: float | None
) -> None:
    job = a_job(**values)
    assert (job.share, job.seconds_left) == (share, seconds_left)
