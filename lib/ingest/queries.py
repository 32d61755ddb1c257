"""Queries and judgments on their way in, as a file has them; lib.evaluation stores them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from lib.errors import InvalidInput
from lib.ingest.incoming import IncomingProblem, clean_text, storable_id
from lib.vectors.distance import FloatArray


class QueryKind(StrEnum):
    """What the queries of a set are given as."""

    TEXT = "text"
    VECTOR = "vector"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IncomingQuery:
    """A query in a form that PostgreSQL can store: a text, a vector or both.

    embedding: float32 array (d,). truth: external ids of its exact nearest neighbours, nearest
    first. Raises InvalidInput where the id is empty, or both text and vector are missing.
    """

    external_id: str
    text: str | None = None
    embedding: FloatArray | None = None
    truth: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        put = object.__setattr__  # a frozen dataclass offers no other way
        put(self, "external_id", storable_id(self.external_id))
        put(self, "text", clean_text(self.text or "").strip() or None)
        if self.text is None and self.embedding is None:
            raise InvalidInput("The query has neither a text nor a vector.")


@dataclass(frozen=True, slots=True)
class IncomingJudgment:
    """A grade for a (query, document), both by their external ids as they are stored."""

    query: str
    document: str
    grade: int


@dataclass(frozen=True)
class QueryStream:
    """The queries of a set and what is known of their answers; both can be read more than once.

    Queries that no judgment names are of the set as well, unless ``judged_only``.
    """

    name: str
    kind: QueryKind
    queries: Callable[[], Iterator[IncomingQuery | IncomingProblem]]
    judgments: Callable[[], Iterator[IncomingJudgment | IncomingProblem]] = lambda: iter(())
    judged_only: bool = False
    description: str = ""
