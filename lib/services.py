"""What the pages and the command line stand on, opened once a process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from lib.actors import LOCAL, Actor, writes
from lib.embedding.models import Provider
from lib.embedding.service import create_service, missing_key
from lib.errors import InvalidInput
from lib.ingest.sample import SAMPLE_NAME, SAMPLE_QUESTIONS
from lib.ingest.service import DocumentService
from lib.lab.candidates import clean_interrupted
from lib.search.service import SearchService
from lib.settings import Settings
from lib.store.collections import Collection, create_collection, example_questions
from lib.store.database import Database
from lib.store.jobs import Jobs
from lib.store.open import open_database
from lib.vectors.distance import Distance, Storage


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
    database = open_database(settings)

    async def begin() -> Jobs:
        jobs = Jobs(database)
        await jobs.recover()
        await clean_interrupted(database)
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


async def warm_up(settings: Settings) -> None:
    """Loads the local model, where it is the default, so that the first search need not wait."""
    service = create_service(settings.model, settings)
    if service.model.provider is Provider.LOCAL:
        await service.get_embedding("warm up")


@writes("collections.create")
async def make_collection(
    services: Services,
    name: str,
    *,
    model: str | None = None,
    dimensions: int | None = None,
    distance: Distance | None = None,
    storage: Storage | None = None,
    text_config: str = "english",
    description: str = "",
    actor: Actor = LOCAL,
) -> Collection:
    """A new collection for a model by its name; distance and storage are the model's own where
    they are None. A model of unknown dimensions is asked for one vector.

    dimensions: of vectors that are there already; then the model need not be usable, and may be
    NO_MODEL.

    Raises AlreadyExists, InvalidInput (no such model, its key is not set; NO_MODEL without
    dimensions), DimensionMismatch, EmbeddingProblem.
    """
    service = create_service(model or services.settings.model, services.settings, dimensions)
    variable = missing_key(service.model)
    if dimensions is None and variable is not None:
        raise InvalidInput(
            f"{variable} is not set, and {service.model.name} needs it.",
            hint=f"Set {variable} in the environment or in .env, or take the local model.",
            field=variable,
        )
    if dimensions is None and service.model.provider is Provider.NONE:
        raise InvalidInput(
            "A collection without a model needs to be told how many dimensions its vectors have.",
            hint="Load a file of vectors into a new collection: they are counted there.",
            field="dimensions",
        )
    found = await service.probe()
    assert found.dimensions is not None
    async with services.database.session() as db:
        return await create_collection(
            db,
            name,
            model=found.name,
            dimensions=found.dimensions,
            distance=distance or found.distance,
            storage=storage,
            text_config=text_config,
            description=description,
            actor=actor,
        )


async def first_questions(db: AsyncSession, collection: Collection) -> Sequence[str]:
    """What to ask a collection first: of the sample its own questions, else titles."""
    if collection.name == SAMPLE_NAME:
        return SAMPLE_QUESTIONS
    return await example_questions(db, collection)
