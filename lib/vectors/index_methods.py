"""TODO: docstring."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from lib.errors import (
    InvalidInput,
    LimitExceeded,
)
from lib.vectors.tuning import (
    EF_CONSTRUCTION,
    LISTS,
    M,
)

FEW_ROWS = 100_000


MANY_ROWS = 1_000_000


class IndexKind(StrEnum):
    """The two approximate indexes of pgvector."""

    IVFFLAT = "ivfflat"
    HNSW = "hnsw"

    @property
    def label(self) -> str:
        return "IVFFlat" if self is IndexKind.IVFFLAT else "HNSW"


def recommended_lists(rows: int) -> int:
    """rows / 1000 up to a million rows, √rows above, at least 10 (pgvector README, "IVFFlat")."""
    lists = rows / 1000 if rows <= MANY_ROWS else math.sqrt(rows)
    return min(LISTS.high, max(10, round(lists)))


def recommended_probes(lists: int) -> int:
    """√lists, a place to start from (pgvector README, "IVFFlat")."""
    return max(1, round(math.sqrt(lists)))


def recommended_kind(
    rows: int, *, high_recall: bool = False, memory_bound: bool = False
) -> tuple[IndexKind, str]:
    """The kind to start with, and why.

    Our reading of the pgvector README, "Indexing": IVFFlat builds faster and in less memory,
    HNSW has the better trade of speed against recall. Measure before you believe it.
    """
    if memory_bound:
        return IndexKind.IVFFLAT, "memory is short: IVFFlat stores no graph"
    if high_recall:
        return IndexKind.HNSW, "high recall is wanted: HNSW reaches it at the lower latency"
    if rows < FEW_ROWS:
        return IndexKind.IVFFLAT, f"under {FEW_ROWS:,} rows: IVFFlat builds in seconds and is quick"
    if rows <= MANY_ROWS:
        return IndexKind.HNSW, f"{FEW_ROWS:,}–{MANY_ROWS:,} rows: either does, HNSW is the quicker"
    return IndexKind.HNSW, f"over {MANY_ROWS:,} rows: HNSW keeps its speed as the table grows"


@dataclass(frozen=True, slots=True)
class IVFFlat:
    """Rows sorted into ``lists`` by their nearest centre; a query looks into some of them."""

    lists: int = LISTS.default
    kind: ClassVar[IndexKind] = IndexKind.IVFFLAT

    def __post_init__(self) -> None:
        LISTS.check(self.lists, "lists")

    @property
    def options(self) -> dict[str, int]:
        return {"lists": self.lists}

    @classmethod
    def for_rows(cls, rows: int) -> IVFFlat:
        return cls(lists=recommended_lists(rows))


@dataclass(frozen=True, slots=True)
class HNSW:
    """A graph in layers with ``m`` links a row; built by looking at ``ef_construction`` rows."""

    m: int = M.default
    ef_construction: int = EF_CONSTRUCTION.default
    kind: ClassVar[IndexKind] = IndexKind.HNSW

    def __post_init__(self) -> None:
        M.check(self.m, "m")
        EF_CONSTRUCTION.check(self.ef_construction, "ef_construction")
        if self.ef_construction < 2 * self.m:
            # hnsw.c: "ef_construction must be greater than or equal to 2 * m"
            raise LimitExceeded(
                f"ef_construction is {self.ef_construction}, below 2 · m = {2 * self.m}.",
                hint=f"Take ef_construction ≥ {2 * self.m}, or a smaller m.",
                field="ef_construction",
            )

    @property
    def options(self) -> dict[str, int]:
        return {"m": self.m, "ef_construction": self.ef_construction}


IndexSpec = IVFFlat | HNSW


def parse_spec(kind: str, options: Mapping[str, int]) -> IndexSpec:
    """Raises InvalidInput for an unknown kind or option, LimitExceeded for a value."""
    try:
        chosen = IndexKind(kind)
    except ValueError:
        raise InvalidInput(
            f"“{kind}” is no kind of index.", hint="Take hnsw or ivfflat.", field="kind"
        ) from None
    allowed: Sequence[str] = ("lists",) if chosen is IndexKind.IVFFLAT else ("m", "ef_construction")
    for key in options:
        if key not in allowed:
            raise InvalidInput(
                f"{chosen.label} has no option {key}.",
                hint=f"It takes {' and '.join(allowed)}.",
                field=key,
            )
    return IVFFlat(**options) if chosen is IndexKind.IVFFLAT else HNSW(**options)


def parse_spec_text(text: str, rows: int) -> IndexSpec:
    """``ivfflat:lists=100``, ``hnsw:m=16,ef_construction=64``, or the kind alone: what is not said
    is the usual, for IVFFlat that of so many rows.

    Raises InvalidInput where it cannot be read, LimitExceeded for a value.
    """
    kind, _, rest = text.strip().lower().partition(":")
    options: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in rest.split(","))):
        key, _, value = part.partition("=")
        if not value.strip().isdecimal():
            raise InvalidInput(
                f"“{part}” is no option of an index.",
                hint="Write it as ivfflat:lists=100 or hnsw:m=16,ef_construction=64.",
                field="index",
            )
        options[key.strip()] = int(value)
    if kind == IndexKind.IVFFLAT and not options:
        return IVFFlat.for_rows(rows)
    return parse_spec(kind, options)
