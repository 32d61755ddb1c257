"""The lab from end to end: two candidates are built and measured, the picture is looked at, and the
migration that is copied from the page makes an index that is used."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import psycopg
import sqlalchemy
from alembic import command
from alembic.config import Config
from playwright.sync_api import Page, expect

from lib.store.embedded import EmbeddedServer
from lib.store.url import connect_arguments
from tests.browser.conftest import App, finished
from tests.browser.serving import ROOT

DIMENSIONS = 16
PATIENCE_MS = 180_000  # a job on a machine that does other things too
SETTINGS = "part=new&lab.n=60&lab.rounds=1&lab.clients=1&lab.probes=1,4,16&lab.ef=20,80"


def points(count: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Without clusters, so that one list in ten never holds 95 % of the neighbours."""
    return np.random.default_rng(5).standard_normal((count, DIMENSIONS)).astype(np.float32)


def test_an_index_is_chosen_measured_and_taken_home(app: App, page: Page, tmp_path: Path) -> None:
    vectors = points(2000)
    np.save(tmp_path / "points.npy", vectors)
    ingest(app, tmp_path / "points.npy", "Points")

    page.goto(app.url)
    finished(page)
    page.goto(f"{app.url}/index_lab?c=points&{SETTINGS}")
    run = page.get_by_role("button", name="Run: about")
    expect(run).to_be_enabled(timeout=60_000)
    finished(page)
    run.click()
    answer = page.get_by_role("heading", name=re.compile("Take .* 95 % recall"))
    expect(answer).to_be_visible(timeout=PATIENCE_MS)
    finished(page)

    # The picture: three probes, two breadths and the exact scan.
    chart = page.get_by_test_id("stPlotlyChart")
    expect(chart).to_have_count(1)
    dots = chart.locator(".scatterlayer .points path")
    expect(dots.nth(5)).to_be_visible()
    expect(chart.get_by_text("Exact scan")).to_be_visible()
    expect(page.get_by_text("What each candidate takes to reach a recall")).to_be_visible()
    expect(page.get_by_text("not certified")).to_have_count(0)

    # A click on a point shows its setting: that of one list, which cannot be the recommended one.
    dots.nth(0).click(force=True)
    expect(page).to_have_url(re.compile("setting=IVFFlat"), timeout=PATIENCE_MS)
    expect(page.locator("strong", has_text="probes 1")).to_be_visible(timeout=PATIENCE_MS)
    finished(page)

    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("radio", name="Export and apply").click()
    code = page.get_by_test_id("stCode").filter(has_text="def upgrade")
    expect(code).to_be_visible(timeout=PATIENCE_MS)
    code.hover()
    code.get_by_role("button").first.click()  # comes into sight with the pointer
    copied = page.wait_for_function(
        "navigator.clipboard.readText().then(text => text.includes('def downgrade') && text)"
    )
    migration = str(copied.json_value())
    assert "autocommit_block" in migration

    url = EmbeddedServer(app.home).url
    assert indexes(url) == []
    migrate(url, tmp_path / "alembic", migration, "head")
    [name] = indexes(url)
    assert f"Index Scan using {name}" in plan(url, vectors[7])


def ingest(app: App, file: Path, collection: str) -> None:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name != "DATABASE_URL" and not name.startswith("VECSCOPE_")
    }
    subprocess.run(
        [sys.executable, "-m", "lib", "ingest", str(file), "--collection", collection],
        cwd=ROOT,
        env={**environment, "VECSCOPE_HOME": str(app.home)},
        check=True,
        capture_output=True,
    )


def indexes(url: sqlalchemy.URL) -> list[str]:
    with psycopg.connect(**connect_arguments(url)) as connection:
        found = connection.execute(
            "SELECT indexname FROM pg_indexes WHERE schemaname = 'vecscope' "
            "AND tablename = 'documents_points' AND indexdef ~ '(hnsw|ivfflat)'"
        )
        return [name for (name,) in found]


def migrate(url: sqlalchemy.URL, folder: Path, source: str, target: str) -> None:
    """As Alembic runs it in a project of its own."""
    (folder / "versions").mkdir(parents=True)
    (folder / "versions" / "index.py").write_text(source)
    (folder / "env.py").write_text(
        "from alembic import context\n"
        "context.configure(\n"
        "    connection=context.config.attributes['connection'],\n"
        "    version_table='taken_home',\n"
        ")\n"
        "with context.begin_transaction():\n"
        "    context.run_migrations()\n"
    )
    config = Config()
    config.set_main_option("script_location", str(folder))
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, target)
        connection.commit()
    engine.dispose()


def plan(url: sqlalchemy.URL, vector: np.ndarray[tuple[int], np.dtype[np.float32]]) -> str:
    """Of the ten nearest. Few rows: the planner would rather read them all."""
    asked = "[" + ",".join(str(value) for value in vector) + "]"
    with psycopg.connect(**connect_arguments(url)) as connection:
        connection.execute("SET LOCAL enable_seqscan = off")
        lines = connection.execute(
            "EXPLAIN SELECT id FROM vecscope.documents_points "
            f"ORDER BY embedding <-> '{asked}' LIMIT 10"
        ).fetchall()
    return "\n".join(line for (line,) in lines)
