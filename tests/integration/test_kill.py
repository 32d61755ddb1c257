"""A load that is killed with -9 loses nothing that was stored, and goes on when started again."""

from __future__ import annotations

import csv
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from command_line import CommandLine
from sqlalchemy import URL

from lib.store.url import connect_arguments

ROWS = 10_000


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kill") / "rows.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "title", "text"])
        writer.writerows([n, f"Row {n}", f"number {n} and its double {2 * n}"] for n in range(ROWS))
    return path


def in_the_middle(value: int) -> bool:
    return 0 < value < ROWS


@pytest.mark.parametrize(
    ("counted", "resumed"),
    [("embedding", True), ("*", False)],
    ids=["of embedding", "of the texts"],
)
def test_kill_9_in_the_middle(
    migrated_url: URL, table: Path, counted: str, resumed: bool, ask: Callable[[str], int]
) -> None:
    command_line = CommandLine(migrated_url)
    count = f"SELECT count({counted}) FROM vecscope.documents_rows"
    load = ("ingest", table, "--collection", "Rows")

    process = command_line.start(*load)
    while not in_the_middle(ask(count)):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = ask(count)
    assert in_the_middle(kept)

    (job,) = command_line.json("status")["jobs"]
    assert (job["kind"], job["status"]) == ("load", "interrupted")

    again = ("ingest", "--resume", job["id"]) if resumed else load
    result = command_line.json(*again)
    assert result["embedded"]["failed"] == 0
    assert ask(count) == ROWS
    if counted == "*":
        assert (result["stored"]["unchanged"], result["stored"]["new"]) == (kept, ROWS - kept)
    else:
        assert result["embedded"]["embedded"] == ROWS - kept  # nothing was embedded twice
    once = "SELECT count(DISTINCT external_id) FROM vecscope.documents_rows"
    assert ask(f"{once} WHERE embedding IS NOT NULL") == ROWS


@pytest.fixture
def ask(migrated_url: URL) -> Callable[[str], int]:
    def run(statement: str) -> int:
        """One number; 0 where the table is not there yet."""
        with psycopg.connect(**connect_arguments(migrated_url), autocommit=True) as connection:
            try:
                row = connection.execute(statement).fetchone()
            except psycopg.errors.UndefinedTable:
                return 0
        assert row is not None
        return int(row[0])

    return run
