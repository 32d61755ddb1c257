"""ReembedModel: what the Re-embed page shows and does."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from lib.embedding.models import EmbeddingModel, registered_models
from lib.ingest.missing import Missing
from lib.ingest.reembed import (
    Estimate,
    ShadowState,
    discard_reembedding,
    estimate_reembedding,
    shadow_state,
    start_reembedding,
    start_switch,
)
from lib.store.collections import Collection
from lib.store.jobs import Job, JobKind
from lib.ui.shared.model import PageModel
from lib.ui.shared.session_cache import CacheKey, cached


@dataclass(frozen=True)
class EstimateKey(CacheKey[Estimate]):
    """What re-embedding a collection by a model takes."""

    collection_id: uuid.UUID
    revision: int
    model_name: str


class ReembedModel(PageModel):
    """The Re-embed page: an estimate, the vectors that grow beside the collection's, the switch.

    shadow: the collection as seen by those vectors.
    """

    def reembed_jobs(self, collection: Collection) -> list[Job]:
        """The newest first."""
        jobs = self.database.run(self.jobs.recent(collection_id=collection.id))
        return [job for job in jobs if job.kind is JobKind.REEMBED]

    def embedding_models(self) -> Sequence[EmbeddingModel]:
        """Those that are known by name."""
        return registered_models()

    def estimate(self, collection: Collection, model_name: str) -> Estimate:
        """Documents, tokens, price and time. Raises InvalidInput where there is no such model."""
        return cached(
            EstimateKey(collection.id, collection.revision, model_name),
            lambda: self.database.run(
                estimate_reembedding(self.services.documents, collection, model_name)
            ),
        )

    def start(self, collection: Collection, model_name: str) -> None:
        """Starts it, or goes on with it, in the background."""
        self.database.run(
            start_reembedding(self.jobs, self.services.documents, collection, model_name)
        )

    def progress(self, shadow: Collection) -> ShadowState:
        return self.database.query(shadow_state, shadow)

    def missing(self, shadow: Collection) -> Sequence[Missing]:
        """Why documents have no new vector."""
        return self.database.run(self.services.documents.missing_report(shadow))

    def switch(self, collection: Collection, *, even_if_incomplete: bool) -> None:
        """From now on the collection is searched by the new vectors."""
        self.database.run(
            start_switch(
                self.jobs,
                self.services.documents,
                collection,
                even_if_incomplete=even_if_incomplete,
            )
        )

    def discard(self, collection: Collection) -> None:
        """Removes the new vectors."""
        self.database.run(discard_reembedding(self.jobs, self.services.documents, collection))
