"""A collection whose provider is a real HTTP server of the test's; its vectors are known."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from lib.ingest.columns import ColumnChoice
from lib.ingest.document_stream import DocumentStream, file_stream
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingDocument
from lib.ingest.pipeline import LoadOptions, LoadSummary
from lib.ingest.read_options import ReadOptions
from lib.ingest.service import DocumentService
from lib.settings import Settings
from lib.store.collections import Collection, create_collection
from lib.store.database import Database
from lib.store.jobs import Job, Jobs
from tests.unit.provider_server import ProviderServer

T = TypeVar("T")
Sql = Callable[..., list[Any]]

DIMENSIONS = 8
MODEL = "openai-compatible/tiny"
TEXTS_A_REQUEST = 32


class Shelf:
    """One collection, and what is done with it."""

    def __init__(self, database: Database, provider: ProviderServer, home: Path) -> None:
        self.database = database
        self.provider = provider
        settings = Settings(
            _env_file=None,
            home=home,
            openai_base_url=provider.base_url,
            embedding_deadline_seconds=5,
            embedding_concurrency=1,
        )
        self.documents = DocumentService(database, settings)
        self.jobs = Jobs(database)
        self.collection = self.create("Mine")

    def create(self, name: str, **options: Any) -> Collection:
        options = {"model": MODEL, "dimensions": DIMENSIONS} | options
        return self.query(create_collection, name, **options)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.database.run(work)

    def query(self, work: Callable[..., Coroutine[Any, Any, T]], *args: Any, **kwargs: Any) -> T:
        async def unit() -> T:
            async with self.database.session() as db:
                return await work(db, *args, **kwargs)

        return self.run(unit())

    def load(self, *streams: DocumentStream, **options: bool) -> LoadSummary:
        chosen = LoadOptions(**options)
        return self.run(self.documents.load(self.collection, streams, options=chosen))

    def wait(self, starting: Coroutine[Any, Any, Job]) -> Job:
        async def work() -> Job:
            return await self.jobs.wait((await starting).id, 30)

        return self.run(work())

    def texts_sent(self) -> list[str]:
        """What the provider was asked for since the last look."""
        texts = [text for request in self.provider.requests for text in request.texts]
        self.provider.requests.clear()
        return texts


def table_of(rows: Sequence[tuple[object, ...]]) -> DocumentStream:
    """A csv of (id, text, category)."""
    lines = ["id,text,category", *(",".join(map(str, row)) for row in rows)]
    options = ReadOptions(columns=ColumnChoice(external_id="id"))
    return file_stream(FileSource.from_bytes("rows.csv", "\n".join(lines).encode()), options)


def given(documents: Sequence[IncomingDocument]) -> DocumentStream:
    return DocumentStream("given", lambda: iter(documents), None, lambda: 0)


ROWS = [(n, f"the text of number {n}", "even" if n % 2 == 0 else "odd") for n in range(1, 41)]
