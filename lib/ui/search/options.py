"""What the settings of a search can be chosen from, in one collection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lib.search.filters import FieldFacts
from lib.store.candidates import Candidate
from lib.store.collections import Collection, CollectionSummary


@dataclass(frozen=True)
class SearchOptions:
    """The collection with its indexes, and what its documents can be filtered by."""

    summary: CollectionSummary
    categories: Sequence[tuple[str, int]]
    """(category, how many documents it has)."""
    fields: Sequence[FieldFacts]
    """The fields of the metadata."""
    candidates: Sequence[Candidate] = ()
    """Whose indexes can be asked in place of the collection's own."""

    @property
    def collection(self) -> Collection:
        return self.summary.collection
