"""Settings that hold for one transaction, and their limits.

`SET LOCAL x = :p` is a syntax error with server-side parameters, and SET on a pooled connection
would leak into the next query; `set_config(name, value, is_local => true)` does neither.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from lib.errors import InvalidInput
from lib.limits import IntRange

# pgvector README, "HNSW", "IVFFlat" and "Reference"; the source's HNSW_*/IVFFLAT_* constants.
LISTS = IntRange(1, 32768, 100)
PROBES = IntRange(1, 32768, 1)
M = IntRange(2, 100, 16)
EF_CONSTRUCTION = IntRange(4, 1000, 64)
EF_SEARCH = IntRange(1, 1000, 40)
MAX_SCAN_TUPLES = IntRange(1, 2**31 - 1, 20_000)
# Ours: more than that is an export, not a search.
RESULT_LIMIT = IntRange(1, 10_000, 10)
POOL = IntRange(1, 10_000, 200)
# Rows taken by their bits for each row wanted, then ranked by the full vector.
OVERSAMPLING = IntRange(1, 1000, 10)


ITERATIVE_SCAN_SINCE = (0, 8)


class IterativeScan(StrEnum):
    """Whether an index scan goes on when a filter left too few rows (pgvector ≥ 0.8)."""

    OFF = "off"
    STRICT = "strict_order"
    RELAXED = "relaxed_order"


class Scan(StrEnum):
    """Who decides how a query is answered: the planner, or the caller.

    On a small table the planner rightly compares every row, and the index settings do nothing;
    INDEX makes it take the vector index all the same, so that one can see what the index does.
    """

    AUTO = "auto"
    INDEX = "index"
    EXACT = "exact"


# A GIN index is read by bitmap scans, so those stay on for the text leg of a hybrid.
_SCAN_SETTINGS: dict[Scan, dict[str, str]] = {
    Scan.AUTO: {},
    Scan.INDEX: {"enable_seqscan": "off", "enable_sort": "off"},
    Scan.EXACT: {"enable_indexscan": "off"},
}


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """How one search uses the index; None leaves the server's own value.

    iterative_scan: for IVFFlat only OFF and RELAXED exist; STRICT means RELAXED there.
    """

    probes: int | None = None
    ef_search: int | None = None
    iterative_scan: IterativeScan | None = None
    max_scan_tuples: int | None = None
    scan: Scan = Scan.AUTO

    def __post_init__(self) -> None:
        for limits, value, name in (
            (PROBES, self.probes, "probes"),
            (EF_SEARCH, self.ef_search, "ef_search"),
            (MAX_SCAN_TUPLES, self.max_scan_tuples, "max_scan_tuples"),
        ):
            if value is not None:
                limits.check(value, name)
        if self.scan is Scan.EXACT and not (self.probes is None and self.ef_search is None):
            raise InvalidInput(
                "An exact scan uses no index, so probes and ef_search mean nothing to it.",
                hint="Choose either the exact scan or an index setting.",
                field="scan",
            )

    def server_settings(self) -> dict[str, str]:
        """PostgreSQL's names → values, only those that were chosen."""
        chosen = dict(_SCAN_SETTINGS[self.scan])
        if self.probes is not None:
            chosen["ivfflat.probes"] = str(self.probes)
        if self.ef_search is not None:
            chosen["hnsw.ef_search"] = str(self.ef_search)
        if self.iterative_scan is not None:
            relaxed_only = IterativeScan.RELAXED.value
            off = IterativeScan.OFF
            chosen["hnsw.iterative_scan"] = self.iterative_scan.value
            chosen["ivfflat.iterative_scan"] = (
                off.value if self.iterative_scan is off else relaxed_only
            )
        if self.max_scan_tuples is not None:
            chosen["hnsw.max_scan_tuples"] = str(self.max_scan_tuples)
        return chosen


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """Memory and processes for building one index; None leaves the server's own value."""

    maintenance_work_mem_mb: int | None = None
    parallel_workers: int | None = None

    def __post_init__(self) -> None:
        if self.maintenance_work_mem_mb is not None:
            # PostgreSQL's limits are 1 MB (64 kB before version 17) and 2 TB.
            IntRange(1, 2_097_151, 64).check(
                self.maintenance_work_mem_mb, "maintenance_work_mem_mb"
            )
        if self.parallel_workers is not None:
            IntRange(0, 1024, 2).check(self.parallel_workers, "parallel_workers")

    def server_settings(self) -> dict[str, str]:
        chosen: dict[str, str] = {}
        if self.maintenance_work_mem_mb is not None:
            chosen["maintenance_work_mem"] = f"{self.maintenance_work_mem_mb}MB"
        if self.parallel_workers is not None:
            chosen["max_parallel_maintenance_workers"] = str(self.parallel_workers)
        return chosen


async def apply_settings(
    db: AsyncSession | AsyncConnection, settings: dict[str, str], *, for_session: bool = False
) -> None:
    """Sets PostgreSQL settings for the running transaction, in one round trip.

    for_session: for the whole session, which only a connection that is nobody else's may do
    (CREATE INDEX CONCURRENTLY cannot run in a transaction).
    """
    if settings:
        await db.execute(
            select(
                *(func.set_config(name, value, not for_session) for name, value in settings.items())
            )
        )


async def pgvector_version(db: AsyncSession | AsyncConnection) -> tuple[int, ...]:
    """Such as (0, 8, 5); empty where the extension is not in this database."""
    found = await db.scalar(text("SELECT extversion FROM pg_extension WHERE extname = 'vector'"))
    return tuple(int(number) for number in re.findall(r"\d+", found or ""))


def set_local_text(settings: dict[str, str]) -> str:
    """The same settings as SET LOCAL lines, for people to paste into psql."""
    return "".join(f"SET LOCAL {name} = '{value}';\n" for name, value in settings.items())
