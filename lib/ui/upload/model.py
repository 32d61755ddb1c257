"""UploadModel: what the Upload page shows and does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.embedding.tokens import max_tokens_of
from lib.evaluation.query_sets import SavedQuerySet, save_query_set
from lib.ingest.file_source import FileSource
from lib.ingest.jobs import can_resume, resume_load, start_backfill
from lib.ingest.missing import Missing
from lib.ingest.pipeline import LoadOptions
from lib.ingest.preview import Preview, format_of, preview_file
from lib.ingest.problems import problems_path
from lib.ingest.read_options import ReadOptions
from lib.ingest.upload_batch import (
    FileToLoad,
    UploadBatch,
    classify_uploads,
    save_batch,
    start_saved_load,
)
from lib.services import make_collection
from lib.settings import NO_MODEL
from lib.store.collections import Collection, CollectionSummary, summarise
from lib.store.jobs import Job
from lib.ui.shared.model import PageModel
from lib.ui.shared.session_cache import CacheKey, cached
from lib.ui.upload.drop_zone import DroppedFile
from lib.vectors.distance import Distance

MAX_PREVIEWS = 8
"""Of more files than this, only the first ones are previewed before the load."""


@dataclass(frozen=True)
class MissingKey(CacheKey[list[Missing]]):
    """The reasons for which documents have no embedding."""

    summary: CollectionSummary


class UploadModel(PageModel):
    """The Upload page: previews of dropped files, the load, and what is still to be embedded."""

    def summary(self, collection: Collection) -> CollectionSummary:
        return self.database.query(summarise, collection)

    def recent_jobs(self, collection: Collection) -> list[Job]:
        """The newest first."""
        return self.database.run(self.jobs.recent(collection_id=collection.id))

    def max_tokens(self, collection: Collection) -> int | None:
        """The most tokens of a text that its model takes, where that is known."""
        return max_tokens_of(collection.model)

    # --- files that were dropped ------------------------------------------------------------------

    def classify(self, files: Sequence[DroppedFile]) -> UploadBatch[DroppedFile]:
        return classify_uploads(files, MAX_PREVIEWS)

    def preview(self, file: DroppedFile, options: ReadOptions) -> Preview:
        """The first documents of a file, as they would be stored."""
        return preview_file(FileSource.from_bytes(file.name, file.content()), options)

    def format_of(self, file: DroppedFile) -> str:
        """For people, by the name alone."""
        return format_of(file.name)

    def create_vector_collection(
        self, name: str, dimensions: int, distance: Distance
    ) -> Collection:
        """A collection without a model, for vectors that exist already."""
        creation = make_collection(
            self.services, name, model=NO_MODEL, dimensions=dimensions, distance=distance
        )
        return self.database.run(creation)

    def load(
        self,
        collection: Collection,
        batch: UploadBatch[DroppedFile],
        files: Sequence[FileToLoad[DroppedFile]],
        beir_name: str,
        options: LoadOptions,
    ) -> list[SavedQuerySet]:
        """Starts the load; the query sets that came with the files.

        beir_name: of the folder in BEIR form.
        """
        home = self.services.settings.home
        saved = save_batch(home, collection, batch, files, beir_name)
        query_sets = [
            self.database.query(save_query_set, collection, stream)
            for stream in saved.query_streams
        ]
        self.database.run(
            start_saved_load(self.jobs, self.services.documents, collection, saved, options)
        )
        return query_sets

    # --- loads that have ended --------------------------------------------------------------------

    def can_resume(self, job: Job) -> bool:
        return can_resume(job)

    def resume(self, job: Job) -> None:
        self.database.run(resume_load(self.jobs, self.services.documents, job.id))

    def problems_path(self, job: Job) -> Path:
        """Where the list of all problems of a load is."""
        return problems_path(self.services.settings.home, job.id)

    def missing(self, summary: CollectionSummary) -> list[Missing]:
        """Why documents have no embedding, or only that of their beginning."""
        return cached(
            MissingKey(summary),
            lambda: self.database.run(self.services.documents.missing_report(summary.collection)),
        )

    def start_embedding(self, collection: Collection) -> None:
        """Embeds what has no embedding yet, in the background."""
        self.database.run(start_backfill(self.jobs, self.services.documents, collection))
