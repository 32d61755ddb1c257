"""A measurement of the lab: one index at one search parameter, with its recall and latency.

:data:`FIGURES` is the one table of what is measured: the database, JSON, csv, tables and the
command line iterate it. A new metric is a field here, a line in the table, and its computation.
"""

from __future__ import annotations

from collections.abc import (
    Iterable,
    Mapping,
)
from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter
from typing import Any, Self, assert_never

import numpy as np
import numpy.typing as npt

from lib.errors import InvalidInput
from lib.formats import format_count, format_ms, format_percent, format_rate
from lib.limits import IntRange
from lib.vectors.index_methods import IndexMethod, IterativeScan, get_method
from lib.vectors.tuning import Scan, SearchSettings


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
class SearchParameter:
    """The search parameter of one measurement: how far an index searches.

    Raises LimitExceeded, InvalidInput.
    """

    method: IndexMethod | None
    """None is the exact scan, which has no parameter."""
    value: int | None = None
    iterative_scan: IterativeScan = IterativeScan.OFF
    """OFF where there is no filter."""

    def __post_init__(self) -> None:
        if (self.method is None) != (self.value is None):
            raise InvalidInput("An index has a search parameter, and the exact scan has none.")
        if self.method is None or self.value is None:
            return
        self.method.search_parameter.range.check(self.value, self.name)
        scan = self.iterative_scan
        if scan is not IterativeScan.OFF and scan not in self.method.iterative_scans:
            orders = " and ".join(
                order.label for order in self.method.iterative_scans if order.label
            )
            raise InvalidInput(
                f"{self.method.label} scans on in {orders} only (pgvector README)."
                if orders
                else f"{self.method.label} has no iterative scan."
            )

    @property
    def name(self) -> str:
        """Its name in pgvector, without the prefix; empty for the exact scan."""
        return "" if self.method is None else self.method.search_parameter.name

    @property
    def label(self) -> str:
        """Such as “ef_search 40, iterative scan in relaxed order”."""
        if self.method is None:
            return "every row"
        order = self.iterative_scan.label
        scan = f", iterative scan in {order}" if order else ""
        return f"{self.name} {self.value:,}{scan}"

    def search_settings(
        self, *, scan: Scan = Scan.AUTO, has_iterative_scan: bool = True
    ) -> SearchSettings:
        """The settings of a search with this parameter.

        scan: of an index; the exact scan has its own. has_iterative_scan: whether this pgvector
        has one that could be on.
        """
        iterative_scan = self.iterative_scan if has_iterative_scan else None
        if self.method is None:
            return SearchSettings(iterative_scan=iterative_scan, scan=Scan.EXACT)
        return SearchSettings({self.name: self.value or 1}, iterative_scan, scan=scan)

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.method and self.method.name,
            "value": self.value,
            "iterative_scan": self.iterative_scan.value,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        kind = stored["kind"]
        return cls(
            kind and get_method(kind), stored["value"], IterativeScan(stored["iterative_scan"])
        )


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its 95 % interval, by bootstrap over the queries."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class RecallFigures:
    """Recall over the queries, 0–1."""

    mean: Interval
    """By distance: a row as near as the true k-th neighbour is a hit (ties)."""
    id_mean: float
    """By id: only the very rows of the truth are hits."""
    worst_decile: float
    """The mean of the worst tenth of the queries, by distance."""
    zero: int
    """Queries that returned none of their true neighbours."""


@dataclass(frozen=True, slots=True)
class LatencyFigures:
    """Latency of a query in milliseconds, as a client sees it.

    Percentiles over the queries of a round, and of these the median over the rounds (the best
    round's where the protocol says so).
    """

    p50_ms: float
    p95_ms: float
    p99_ms: float
    server_ms: float | None = None
    """The median of the server's own time, planning included, on a sample (EXPLAIN ANALYZE)."""


@dataclass(frozen=True, eq=False)
class Measurement:
    """The figures of one candidate at one search parameter."""

    candidate: str
    """Its name; "Exact scan" for the reference."""
    setting: SearchParameter
    k: int
    queries: int
    rounds: int
    recall: RecallFigures
    latency: LatencyFigures
    qps: Mapping[int, float]
    """Queries a second, by the number of concurrent clients."""
    short: int
    """Queries that got fewer rows than there were to get."""
    buffers: int | None
    """Pages of 8 kB that the median query touched."""
    certified: bool
    """Whether the plan of this very query shape and settings used the candidate's index (the exact
    scan: no index)."""
    reason: str
    """Why it is certified, or why not."""
    plan_index: str | None
    """The index that the plan used."""
    recalls: npt.NDArray[np.float64]
    """float64 (q,), by distance, in the order of the batch."""
    latencies_ms: npt.NDArray[np.float64]
    """float64 (q,), the median over the rounds."""

    @property
    def label(self) -> str:
        """Such as “HNSW m 16, ef_construction 64, ef_search 40”."""
        return f"{self.candidate}, {self.setting.label}"

    @classmethod
    def from_figures(cls, values: Mapping[str, FigureValue], **others: Any) -> Self:
        """A measurement from its figures by name, as :meth:`figures` gives them; a figure that is
        not among them has its field's default. others: the fields that are no figures."""
        fields: dict[str, Any] = {}
        for figure in FIGURES:
            if figure.name in values:
                *parents, last = figure.attribute.split(".")
                level = fields
                for parent in parents:
                    level = level.setdefault(parent, {})
                level[last] = values[figure.name]
        recall, latency = fields.pop("recall"), fields.pop("latency")
        mean = Interval(**recall.pop("mean"))
        return cls(
            recall=RecallFigures(mean=mean, **recall),
            latency=LatencyFigures(**latency),
            **fields,
            **others,
        )

    def figures(self) -> dict[str, FigureValue]:
        """The figures' names → their values, in the order of :data:`FIGURES`."""
        return {figure.name: figure.value(self) for figure in FIGURES}


# --- the table of figures -----------------------------------------------------------------------


FigureValue = float | int | bool | str | None


class FigureUnit(StrEnum):
    """What a figure is given in."""

    SHARE = "share"
    """0–1, shown in per cent."""
    MILLISECONDS = "ms"
    PER_SECOND = "per second"
    COUNT = "count"
    YES_OR_NO = "yes or no"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a measurement: where it is read, and how it is called and shown."""

    name: str
    """In csv files and in the data behind a chart; the unit is part of it."""
    attribute: str
    """Where a measurement has it, such as "latency.p95_ms"."""
    heading: str
    """Of a table's column. Where cells are bare numbers, :attr:`heading_with_unit`."""
    unit: FigureUnit
    json_path: tuple[str, ...] = ()
    """Its keys in JSON, the outermost first; by default its name."""
    column: str = ""
    """In the database; by default its name. A figure without a column of its own is kept in the
    JSON column ``figures``."""
    narrow: bool = False
    """Whether tables with little room show it too: the terminal's and the report page's."""
    help: str = ""

    @property
    def heading_with_unit(self) -> str:
        return f"{self.heading} (ms)" if self.unit is FigureUnit.MILLISECONDS else self.heading

    @property
    def keys(self) -> tuple[str, ...]:
        """Its place in JSON."""
        return self.json_path or (self.name,)

    @property
    def column_name(self) -> str:
        """In the database."""
        return self.column or self.name

    def value(self, measurement: Measurement) -> FigureValue:
        """The bare value, for programs."""
        found: FigureValue = attrgetter(self.attribute)(measurement)
        return found

    def text(self, measurement: Measurement) -> str:
        """The value as people read it, with its unit; "–" where there is none."""
        return self.format(self.value(measurement))

    def format(self, value: FigureValue) -> str:
        """A value of this figure as people read it."""
        if value is None:
            return "–"
        match self.unit:
            case FigureUnit.SHARE:
                return format_percent(float(value))
            case FigureUnit.MILLISECONDS:
                return format_ms(float(value))
            case FigureUnit.PER_SECOND:
                return format_rate(float(value))
            case FigureUnit.COUNT:
                return f"{value:,}"
            case FigureUnit.YES_OR_NO:
                return "yes" if value else "no"
            case FigureUnit.TEXT:
                return str(value)
            case _:
                assert_never(self.unit)


FIGURES: tuple[Figure, ...] = (
    Figure("k", "k", "k", FigureUnit.COUNT),
    Figure("queries", "queries", "Queries", FigureUnit.COUNT),
    Figure("rounds", "rounds", "Rounds", FigureUnit.COUNT),
    Figure(
        "recall",
        "recall.mean.value",
        "Recall",
        FigureUnit.SHARE,
        ("recall", "mean"),
        narrow=True,
        help="By distance: a row as near as the true k-th neighbour is a hit.",
    ),
    Figure(
        "recall_low",
        "recall.mean.low",
        "Recall, low",
        FigureUnit.SHARE,
        ("recall", "low"),
        help="The lower end of the 95 % interval.",
    ),
    Figure(
        "recall_high",
        "recall.mean.high",
        "Recall, high",
        FigureUnit.SHARE,
        ("recall", "high"),
        help="The upper end of the 95 % interval.",
    ),
    Figure(
        "id_recall",
        "recall.id_mean",
        "Recall by id",
        FigureUnit.SHARE,
        narrow=True,
        help="Only the very rows of the truth are hits.",
    ),
    Figure(
        "worst_decile_recall",
        "recall.worst_decile",
        "Worst decile",
        FigureUnit.SHARE,
        narrow=True,
        help="Mean recall of the worst tenth of the queries.",
    ),
    Figure(
        "zero_recall_queries",
        "recall.zero",
        "Without a hit",
        FigureUnit.COUNT,
        column="zero",
        help="Queries that returned none of their true neighbours.",
    ),
    Figure(
        "p50_ms",
        "latency.p50_ms",
        "p50",
        FigureUnit.MILLISECONDS,
        ("latency_ms", "p50"),
        narrow=True,
    ),
    Figure(
        "p95_ms",
        "latency.p95_ms",
        "p95",
        FigureUnit.MILLISECONDS,
        ("latency_ms", "p95"),
        narrow=True,
    ),
    Figure(
        "p99_ms",
        "latency.p99_ms",
        "p99",
        FigureUnit.MILLISECONDS,
        ("latency_ms", "p99"),
        narrow=True,
    ),
    Figure(
        "server_ms",
        "latency.server_ms",
        "Server",
        FigureUnit.MILLISECONDS,
        ("latency_ms", "server"),
        help="The server's own median time, planning included (EXPLAIN ANALYZE).",
    ),
    Figure(
        "truncated",
        "short",
        "Short",
        FigureUnit.COUNT,
        column="short",
        narrow=True,
        help="Queries that got fewer rows than there were to get.",
    ),
    Figure(
        "buffers",
        "buffers",
        "Pages (8 kB)",
        FigureUnit.COUNT,
        help="Pages that the median query touched.",
    ),
    Figure("certified", "certified", "Certified", FigureUnit.YES_OR_NO),
    Figure("reason", "reason", "Reason", FigureUnit.TEXT),
    Figure("plan_index", "plan_index", "Plan's index", FigureUnit.TEXT),
)
"""What is measured, in the order of csv files and tables. Queries a second are beside it, one for
each number of clients: :class:`RateFigure`."""


@dataclass(frozen=True, slots=True)
class RateFigure:
    """Queries a second of so many concurrent clients."""

    clients: int

    @property
    def name(self) -> str:
        """In csv files."""
        return f"qps_{self.clients}"

    @property
    def heading(self) -> str:
        return f"Queries/s, {format_count(self.clients, 'client')}"

    def value(self, measurement: Measurement) -> float | None:
        """None where so many clients were not measured."""
        return measurement.qps.get(self.clients)

    def text(self, measurement: Measurement) -> str:
        rate = self.value(measurement)
        return "–" if rate is None else format_rate(rate)

    @classmethod
    def of(cls, measurements: Iterable[Measurement]) -> tuple[Self, ...]:
        """One for each number of clients that was measured, rising."""
        counts = {clients for measurement in measurements for clients in measurement.qps}
        return tuple(cls(clients) for clients in sorted(counts))


EXACT_NAME = "Exact scan"


ROUNDS = IntRange(1, 20, 3)


CLIENTS = IntRange(1, 64, 1)
