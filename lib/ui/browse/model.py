"""BrowseModel: what the Browse page shows and does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lib.ingest.export import ExportFormat, export_folder, start_kept_export
from lib.store.browse import (
    Cursor,
    DocumentFilter,
    DocumentPage,
    DocumentParts,
    Order,
    Removal,
    StoredDocument,
    Total,
    count_documents,
    count_removal,
    delete_documents,
    find_neighbours,
    get_document,
    list_documents,
    metadata_fields,
    metadata_values,
)
from lib.store.collections import Collection, CollectionSummary, list_categories, summarise
from lib.store.jobs import Job, JobKind
from lib.ui.shared.model import PageModel
from lib.vectors.search import Hit


class BrowseModel(PageModel):
    """The Browse page: the documents of a collection, one in full, exports and deletions."""

    def summary(self, collection: Collection) -> CollectionSummary:
        return self.database.query(summarise, collection)

    def categories(self, collection: Collection) -> Sequence[tuple[str, int]]:
        """Each with the number of its documents."""
        return self.database.query(list_categories, collection)

    def metadata_fields(self, collection: Collection) -> Sequence[str]:
        return self.database.query(metadata_fields, collection)

    def metadata_values(self, collection: Collection, field: str) -> Sequence[str]:
        """The most frequent ones of a field."""
        return self.database.query(metadata_values, collection, field)

    def documents(
        self, collection: Collection, where: DocumentFilter, order: Order, after: Cursor | None
    ) -> DocumentPage:
        """A page of the list. after: where the page before ended."""
        return self.database.query(list_documents, collection, where, order=order, after=after)

    def count(self, collection: Collection, where: DocumentFilter) -> Total:
        return self.database.query(count_documents, collection, where)

    def document(self, collection: Collection, external_id: str, part: int) -> DocumentParts:
        """A document with the parts around that one. Raises NotFound."""
        return self.database.query(get_document, collection, external_id, part)

    def neighbours(self, collection: Collection, document: StoredDocument) -> Sequence[Hit]:
        """The exact nearest neighbours of a part."""
        return self.database.query(find_neighbours, collection, document)

    # --- exports ----------------------------------------------------------------------------------

    def start_export(
        self,
        collection: Collection,
        where: DocumentFilter,
        file_format: ExportFormat,
        *,
        with_embeddings: bool,
    ) -> None:
        self.database.run(
            start_kept_export(
                self.jobs,
                self.database,
                self.services.settings.home,
                collection,
                file_format,
                with_embeddings=with_embeddings,
                where=where,
            )
        )

    def export_jobs(self, collection: Collection) -> list[Job]:
        """The newest first."""
        jobs = self.database.run(self.jobs.recent(collection_id=collection.id))
        return [job for job in jobs if job.kind is JobKind.EXPORT]

    def export_folder(self) -> Path:
        """Where exports lie that are downloaded from the page."""
        return export_folder(self.services.settings.home)

    # --- deleting ---------------------------------------------------------------------------------

    def count_removal(self, collection: Collection, where: DocumentFilter) -> Removal:
        """How many documents a deletion would take."""
        return self.database.query(count_removal, collection, where)

    def delete(self, collection: Collection, where: DocumentFilter, removal: Removal) -> None:
        """Deletes no more documents than were counted."""
        self.database.query(delete_documents, collection, where, at_most=removal.documents)
