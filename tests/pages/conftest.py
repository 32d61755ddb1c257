"""Streamlit's AppTest on the real pages, with the real services on a database of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import streamlit as st
from sqlalchemy import URL
from streamlit.testing.v1 import AppTest

from lib.embedding.models import LITELLM_KEYS
from lib.ingest.incoming import IncomingDocument
from lib.ingest.load import store_documents
from lib.services import Services, make_collection
from lib.settings import PROJECT_ROOT
from lib.store.collections import Collection
from lib.store.jobs import Job, JobContext, JobKind
from lib.ui.shared.page import services as open_services_of_the_pages

APP = PROJECT_ROOT / "app.py"
PAGES = ("collections", "upload", "browse", "search", "compare")

FILMS = (
    ("The Great Heist", "TV Show", "Thieves plan a bank robbery in Colombia."),
    ("London Heist", "Movie", "A career criminal learns why his father was murdered."),
    ("Quiet Gardens", "Documentary", "How roses, moss and old stones make a garden."),
    ("Deep Water", "Documentary", "Whales and squid in the dark of the ocean."),
)


@pytest.fixture
def environment(
    migrated_url: URL, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> Iterator[pytest.MonkeyPatch]:
    """The pages find the test's database as they find a user's own: by DATABASE_URL."""
    for key in ("OPENAI_API_KEY", *filter(None, LITELLM_KEYS.values())):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("DATABASE_URL", migrated_url.render_as_string(hide_password=False))
    monkeypatch.setenv("VECSCOPE_HOME", str(tmp_path))
    st.cache_resource.clear()
    yield monkeypatch
    st.cache_resource.clear()  # closes the database


@dataclass(frozen=True)
class Library:
    """What a test puts into the database, by way of the services that the pages use."""

    services: Services

    def create(self, name: str = "Films", **options: Any) -> Collection:
        return self.services.database.run(make_collection(self.services, name, **options))

    def store(self, collection: Collection, rows: Any = FILMS) -> None:
        """Texts without embeddings."""
        documents = [
            IncomingDocument(external_id=str(number), title=title, category=category, content=text)
            for number, (title, category, text) in enumerate(rows)
        ]
        self.services.database.query(store_documents, collection, documents)

    def embed(self, collection: Collection) -> None:
        self.services.database.run(self.services.documents.backfill_embeddings(collection))

    def films(self, name: str = "Films") -> Collection:
        """A collection of four films, all embedded."""
        collection = self.create(name)
        self.store(collection)
        self.embed(collection)
        return collection

    def many_films(self) -> Collection:
        """Enough of them, all embedded, for an index to mean something."""
        collection = self.create("Films")
        self.store(collection, [(f"{film[0]} {n}", *film[1:]) for n in range(30) for film in FILMS])
        self.embed(collection)
        return collection

    def start(self, collection: Collection, work: Any, title: str = "Loading a file") -> Job:
        jobs = self.services.jobs
        return self.services.database.run(
            jobs.start(JobKind.LOAD, title, work, collection_id=collection.id)
        )

    def wait(self) -> None:
        """For all jobs to end."""
        jobs = self.services.jobs
        for job in self.services.database.run(jobs.recent(active_only=True)):
            ended = self.services.database.run(jobs.wait(job.id, 90))
            assert not ended.active, ended


@pytest.fixture
def library(environment: pytest.MonkeyPatch) -> Library:
    return Library(open_services_of_the_pages())


@pytest.fixture
def visit(environment: pytest.MonkeyPatch) -> Callable[..., AppTest]:
    """Opens a page by its name, with what stands in its address."""

    def open_page(name: str, **address: str) -> AppTest:
        app = AppTest.from_file(str(APP), default_timeout=90)
        app.run()
        return go(app, name, **address)

    return open_page


def go(app: AppTest, name: str, **address: str) -> AppTest:
    """To another page of the same session, as a link does."""
    app.query_params.clear()
    app.query_params.update(address)
    app.switch_page(f"pages/{name}.py").run()
    assert not app.exception
    return app


def words(app: AppTest) -> str:
    """All that is to be read on the page."""
    kinds = ("title", "subheader", "markdown", "caption", "info", "warning", "error", "success")
    return "\n".join(element.value for kind in kinds for element in app.get(kind))


async def endless(context: JobContext) -> None:
    """Work that has done 3 of 10 and goes on until it is cancelled."""
    await context.progress(3, 10, "Stored 3 texts", force=True)
    await asyncio.Event().wait()
