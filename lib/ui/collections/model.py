"""CollectionsModel: what the Collections page shows and does."""

from __future__ import annotations

from collections.abc import Sequence

from lib.embedding.models import EmbeddingModel, registered_models, resolve_model
from lib.embedding.provider import missing_key
from lib.ingest.jobs import start_backfill, start_sample_load
from lib.ingest.sample import SAMPLE_NAME
from lib.search.bm25 import (
    LexicalIndex,
    drop_lexical_index,
    find_lexical_index,
    start_lexical_build,
)
from lib.services import make_collection
from lib.store.collections import (
    Collection,
    CollectionSummary,
    drop_collection,
    list_text_configs,
    summarise,
)
from lib.store.jobs import Job
from lib.store.production import drop_production_index, start_index_build
from lib.ui.shared.model import PageModel
from lib.vectors.distance import Distance
from lib.vectors.index_methods import IndexSpec


class CollectionsModel(PageModel):
    """The Collections page: what each collection holds, its indexes, and new collections."""

    def summary(self, collection: Collection) -> CollectionSummary:
        return self.database.query(summarise, collection)

    def running_jobs(self) -> list[Job]:
        """Of all collections."""
        return self.database.run(self.jobs.recent(active_only=True))

    def last_job(self) -> Job | None:
        """The newest of all collections."""
        jobs = self.database.run(self.jobs.recent(limit=1))
        return jobs[0] if jobs else None

    # --- documents --------------------------------------------------------------------------------

    def create_sample(self) -> None:
        """Makes the sample collection, and loads it in the background."""
        self.load_sample(self.database.run(make_collection(self.services, SAMPLE_NAME)))

    def load_sample(self, collection: Collection) -> None:
        """Loads the sample into its collection, in the background."""
        self.database.run(start_sample_load(self.jobs, self.services.documents, collection))

    def start_embedding(self, collection: Collection) -> None:
        """Embeds what has no embedding yet, in the background."""
        self.database.run(start_backfill(self.jobs, self.services.documents, collection))

    # --- indexes ----------------------------------------------------------------------------------

    def start_index_build(self, collection: Collection, spec: IndexSpec) -> None:
        self.database.run(start_index_build(self.jobs, self.database, collection, spec))

    def drop_index(self, collection: Collection) -> None:
        """Drops the vector index."""
        self.database.run(drop_production_index(self.database, collection))

    def bm25_index(self, collection: Collection) -> LexicalIndex | None:
        return self.database.query(find_lexical_index, collection)

    def start_bm25_build(self, collection: Collection) -> None:
        self.database.run(start_lexical_build(self.jobs, self.database, collection))

    def drop_bm25_index(self, collection: Collection) -> None:
        self.database.query(drop_lexical_index, collection)

    # --- collections ------------------------------------------------------------------------------

    def embedding_models(self) -> Sequence[EmbeddingModel]:
        """Those that are known by name."""
        return registered_models()

    @property
    def default_model(self) -> str:
        """The name of the embedding model of the settings."""
        return self.services.settings.model

    def embedding_model(self, name: str) -> EmbeddingModel:
        """Raises InvalidInput where there is no such model."""
        return resolve_model(name, self.services.settings)

    def missing_key(self, model: EmbeddingModel) -> str | None:
        """The environment variable that the model needs and that is not set."""
        return missing_key(model)

    def text_configs(self) -> Sequence[str]:
        """The languages that the server's full-text search knows."""
        return self.database.query(list_text_configs)

    def create(self, name: str, *, model: str, distance: Distance, text_config: str) -> None:
        """A new collection, for an embedding model by its name."""
        creation = make_collection(
            self.services, name, model=model, distance=distance, text_config=text_config
        )
        self.database.run(creation)

    def delete(self, collection: Collection) -> None:
        """With all of its documents."""
        self.database.query(drop_collection, collection)
