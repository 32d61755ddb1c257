"""What the lab asks for and what it measures, as values: the settings of one measurement, and the
figures that came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from lib.errors import InvalidInput
from lib.vectors.index_methods import IndexKind
from lib.vectors.tuning import EF_SEARCH, PROBES, IterativeScan


class Protocol(StrEnum):
    """How figures are made, so that they can be compared with others of the same name.

    ANN_BENCHMARKS: k = 10, recall by distance, the best of the rounds, one client. VECTORDBBENCH:
    k = 100, recall by id, several clients. VECSCOPE: the k and filter of the real application,
    recall by distance, medians over the rounds, with intervals.
    """

    VECSCOPE = "vecscope"
    ANN_BENCHMARKS = "ann-benchmarks"
    VECTORDBBENCH = "vectordbbench"


@dataclass(frozen=True, slots=True)
class Setting:
    """How hard an index looks. kind: None is the exact scan, which has no parameter.

    value: probes (IVFFlat) or ef_search (HNSW). iterative_scan: OFF where there is no filter.
    Raises LimitExceeded, InvalidInput.
    """

    kind: IndexKind | None
    value: int | None = None
    iterative_scan: IterativeScan = IterativeScan.OFF

    def __post_init__(self) -> None:
        if (self.kind is None) != (self.value is None):
            raise InvalidInput("An index has a setting, and the exact scan has none.")
        if self.kind is not None and self.value is not None:
            limits = PROBES if self.kind is IndexKind.IVFFLAT else EF_SEARCH
            limits.check(self.value, self.parameter)
        if self.kind is IndexKind.IVFFLAT and self.iterative_scan is IterativeScan.STRICT:
            raise InvalidInput("IVFFlat scans on in relaxed order only (pgvector README).")

    @property
    def parameter(self) -> str:
        """Its name in pgvector, without the prefix; empty for the exact scan."""
        if self.kind is None:
            return ""
        return "probes" if self.kind is IndexKind.IVFFLAT else "ef_search"


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and its 95 % interval, by bootstrap over the queries."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class RecallFigures:
    """mean: of recall by distance, ties counted as hits. id_mean: by id. worst_decile: the mean of
    the worst tenth of the queries. zero: queries that found nothing of their truth."""

    mean: Interval
    id_mean: float
    worst_decile: float
    zero: int


@dataclass(frozen=True, slots=True)
class LatencyFigures:
    """Milliseconds, as a client sees them: of each round over its queries, and of these the median
    over the rounds (the best round's where the protocol says so). server_ms: the median of the
    server's own time, planning included, on a sample (EXPLAIN ANALYZE), None where not asked."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    server_ms: float | None = None


@dataclass(frozen=True, eq=False)
class Measurement:
    """One (candidate, setting) and its figures.

    candidate: its name, "Exact scan" for the reference. certified: whether the plan of this very
    query shape and settings used the candidate's index (the exact scan: no index); reason says
    why or why not. plan_index: what the plan used. short: queries that got fewer rows than there
    were to get. qps: queries a second, by the number of clients. buffers: pages of 8 kB touched by
    the median query. recalls: float64 (q,), by distance, in the order of the batch. latencies_ms:
    float64 (q,), the median over the rounds.
    """

    candidate: str
    setting: Setting
    k: int
    queries: int
    rounds: int
    recall: RecallFigures
    latency: LatencyFigures
    qps: Mapping[int, float]
    short: int
    buffers: int | None
    certified: bool
    reason: str
    plan_index: str | None
    recalls: npt.NDArray[np.float64]
    latencies_ms: npt.NDArray[np.float64]
