"""What the pages and the command line stand on, opened once a process."""

from __future__ import annotations

from dataclasses import dataclass

from lib.ingest.service import DocumentService
from lib.search.service import SearchService
from lib.settings import Settings
from lib.store.database import Database
from lib.store.jobs import Jobs


@dataclass(frozen=True)
class Services:
    """One of each. Whoever opened them closes ``database``."""

    settings: Settings
    database: Database
    jobs: Jobs
    documents: DocumentService
    search: SearchService


def open_services(settings: Settings) -> Services:
    """Starts or finds the server, migrates, and marks jobs of dead processes as interrupted.

    Raises VecscopeError: what stands in the way, in one sentence.
    """
    database = Database.open(settings)

    async def begin() -> Jobs:
        jobs = Jobs(database)
        await jobs.recover()
        return jobs

    try:
        jobs = database.run(begin())
    except BaseException:
        database.close()
        raise
    return Services(
        settings=settings,
        database=database,
        jobs=jobs,
        documents=DocumentService(database, settings),
        search=SearchService(database, settings),
    )
