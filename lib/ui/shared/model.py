"""The page model that all pages have: the services behind a page, and what every page asks of them.

A page's own model (``lib/ui/<page>/model.py``) derives from it. Models are the only modules of
``lib.ui`` that call services; a page's body and its views get the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from lib.search.filters import FieldFacts, list_fields
from lib.services import Services, first_questions
from lib.store.candidates import Candidate, list_candidates
from lib.store.collections import (
    Collection,
    CollectionSummary,
    list_categories,
    list_collections,
    summarise,
)
from lib.ui.shared.session_cache import CHANGING_SECONDS, CacheKey, cached


@dataclass(frozen=True)
class SummaryKey(CacheKey[CollectionSummary]):
    """A collection's counts and indexes."""

    max_age_seconds: ClassVar[float | None] = CHANGING_SECONDS
    collection: Collection


@dataclass(frozen=True)
class CandidatesKey(CacheKey[Sequence[Candidate]]):
    """A collection's candidates, which others build and drop."""

    max_age_seconds: ClassVar[float | None] = CHANGING_SECONDS
    collection: Collection


@dataclass(frozen=True)
class CategoriesKey(CacheKey[Sequence[tuple[str, int]]]):
    """A collection's categories."""

    collection: Collection


@dataclass(frozen=True)
class FieldsKey(CacheKey[Sequence[FieldFacts]]):
    """The fields of a collection's metadata."""

    collection: Collection


class PageModel:
    """What a page shows and does. Made anew at each run of the page; what is to outlive a run is in
    the session cache under typed keys."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.database = services.database
        self.jobs = services.jobs

    def list_collections(self) -> Sequence[Collection]:
        return self.database.query(list_collections)


class QueryingModel(PageModel):
    """What the pages have in common that search a collection."""

    def summary(self, collection: Collection) -> CollectionSummary:
        """Raises NotFound where the collection is gone."""
        return cached(SummaryKey(collection), lambda: self.database.query(summarise, collection))

    def categories(self, collection: Collection) -> Sequence[tuple[str, int]]:
        """(category, how many documents it has)."""
        return cached(
            CategoriesKey(collection), lambda: self.database.query(list_categories, collection)
        )

    def fields(self, collection: Collection) -> Sequence[FieldFacts]:
        """What the metadata can be filtered by."""
        return cached(FieldsKey(collection), lambda: self.database.query(list_fields, collection))

    def candidates(self, collection: Collection) -> Sequence[Candidate]:
        """Whose indexes can be searched in place of the collection's own."""
        return cached(
            CandidatesKey(collection), lambda: self.database.query(list_candidates, collection)
        )

    def first_questions(self, collection: Collection) -> Sequence[str]:
        """What to ask it first."""
        return self.database.query(first_questions, collection)
