"""What can be asked: a question and all of its settings, as a value."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from enum import StrEnum

from lib.search.bm25 import BM25
from lib.search.filters import Filter
from lib.vectors.hybrid import Fusion
from lib.vectors.statements import TextMethod, TextQuery
from lib.vectors.tuning import POOL, RESULT_LIMIT, SearchSettings


class Mode(StrEnum):
    """What a question is compared by."""

    SIMILARITY = "similarity"
    TEXT = "text"
    HYBRID = "hybrid"

    @classmethod
    def possible(cls, *, has_model: bool) -> tuple[Mode, ...]:
        """The modes to choose from, the usual one first: without a model a question has no
        vector."""
        return (cls.HYBRID, cls.SIMILARITY, cls.TEXT) if has_model else (cls.TEXT,)

    @property
    def uses_vectors(self) -> bool:
        return self is not Mode.TEXT

    @property
    def uses_text(self) -> bool:
        return self is not Mode.SIMILARITY


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """One question and all of its settings.

    max_distance: only documents nearer than this; not for TEXT. text_query: None takes WEB for
    TEXT and ANY for HYBRID, since a hybrid that wants every word finds almost nothing by text.
    text_method: how matching documents are ranked; BM25 needs the collection's BM25 index.
    pool: how many each leg of a hybrid fetches. filters: a document passes all of them.
    candidate_id: the candidate whose index finds the nearest, in place of the collection's own.
    leave_out: documents that are no answers, such as those that an example is made of.
    """

    query: str
    mode: Mode = Mode.HYBRID
    limit: int = RESULT_LIMIT.default
    max_distance: float | None = None
    category: str | None = None
    vector_weight: float = 0.5
    fusion: Fusion = Fusion.WEIGHTED
    text_query: TextQuery | None = None
    text_method: TextMethod = TextMethod.TS_RANK
    bm25: BM25 = field(default_factory=BM25)
    pool: int = POOL.default
    settings: SearchSettings = field(default_factory=SearchSettings)
    with_plan: bool = False
    filters: tuple[Filter, ...] = ()
    candidate_id: uuid.UUID | None = None
    leave_out: tuple[uuid.UUID, ...] = ()

    @property
    def text_kind(self) -> TextQuery:
        if self.text_query is not None:
            return self.text_query
        return TextQuery.WEB if self.mode is Mode.TEXT else TextQuery.ANY

    @property
    def filtered(self) -> bool:
        return self.category is not None or bool(self.filters) or bool(self.leave_out)
