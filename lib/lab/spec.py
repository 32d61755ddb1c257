"""What an experiment is asked to find out: candidates, queries, protocol, target and sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from lib.errors import InvalidInput, LimitExceeded
from lib.formats import format_ms, format_percent
from lib.lab.measurement import CLIENTS, ROUNDS, Protocol
from lib.lab.queries import QUERY_COUNT
from lib.limits import IntRange
from lib.search.filters import CATEGORY, Filter, FilterOp
from lib.store.candidates import CandidateSpec, parse_candidate
from lib.vectors.distance import Storage
from lib.vectors.index_methods import (
    IndexMethod,
    IterativeScan,
    index_methods,
    method_with_parameter,
)
from lib.vectors.tuning import OVERSAMPLING

K = IntRange(1, 1000, 10)
MAX_CANDIDATES = 12
MAX_VALUES = 30
"""Of one search parameter."""


@dataclass(frozen=True, slots=True)
class ProtocolRules:
    """What a protocol lays down."""

    k: int | None
    """None where it is the user's."""
    by_id: bool
    """Whether recall is by id, not by distance."""
    lower_bound: bool
    """Whether a level of recall counts as reached where the interval's lower end reaches it, not
    the mean."""
    clients: tuple[int, ...]
    """Concurrent clients, by default."""
    description: str
    """For people."""


RULES: Mapping[Protocol, ProtocolRules] = {
    Protocol.VECSCOPE: ProtocolRules(
        None,
        by_id=False,
        lower_bound=True,
        clients=(1, 4),
        description="your k and your filter, recall by distance, medians over the rounds, and a "
        "level of recall counts as reached where the 95 % interval lies above it",
    ),
    Protocol.ANN_BENCHMARKS: ProtocolRules(
        10,
        by_id=False,
        lower_bound=False,
        clients=(1,),
        description="k = 10, recall by distance, the best of the rounds, one client",
    ),
    Protocol.VECTORDBBENCH: ProtocolRules(
        100,
        by_id=True,
        lower_bound=False,
        clients=(1, 4, 8),
        description="k = 100, recall by id, several clients",
    ),
}


class Priority(StrEnum):
    """What decides between candidates that all reach the target."""

    LATENCY = "latency"
    SIZE = "size"
    BUILD = "build"

    @property
    def label(self) -> str:
        return {
            "latency": "Quickest answers (p95)",
            "size": "Smallest index",
            "build": "Quickest to build",
        }[self.value]


@dataclass(frozen=True, slots=True)
class Target:
    """The recall and latency that an index has to reach."""

    recall: float = 0.95
    """0–1, to be reached by the lower end of the 95 % interval (the mean, where the protocol says
    so)."""
    p95_ms: float | None = None
    """None where any latency will do."""
    priority: Priority = Priority.LATENCY

    def __post_init__(self) -> None:
        if not 0 < self.recall <= 1:
            raise LimitExceeded(
                f"The recall to reach is {self.recall:g}, outside 0–1.",
                hint="Write 95 % as 0.95.",
                field="target_recall",
            )
        if self.p95_ms is not None and not 0 < self.p95_ms < float("inf"):
            raise LimitExceeded(
                f"A p95 of {self.p95_ms:g} ms cannot be reached.",
                hint="Give milliseconds above 0, or none.",
                field="p95_ms",
            )

    @property
    def label(self) -> str:
        """Such as “95 % recall with a p95 of 10 ms or less”."""
        latency = "" if self.p95_ms is None else f" with a p95 of {format_ms(self.p95_ms)} or less"
        return f"{format_percent(self.recall)} recall{latency}"


class QueryKind(StrEnum):
    """Where an experiment's queries come from."""

    SAMPLE = "sample"
    QUERY_SET = "query_set"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class QuerySource:
    """Where the queries come from, and at most how many."""

    kind: QueryKind = QueryKind.SAMPLE
    count: int = QUERY_COUNT.default
    seed: int = 0
    """Of the sampling."""
    name: str = ""
    """The query set's, or the file's; empty for a sample. The vectors of a file are stored with the
    experiment."""

    def __post_init__(self) -> None:
        QUERY_COUNT.check(self.count, "queries")
        if (self.kind is QueryKind.SAMPLE) == bool(self.name):
            raise InvalidInput(
                "Queries are sampled, or they have the name of where they come from."
            )

    @property
    def label(self) -> str:
        """For people."""
        if self.kind is QueryKind.SAMPLE:
            return f"{self.count:,} rows of the collection, drawn with seed {self.seed}"
        if self.kind is QueryKind.QUERY_SET:
            return f"at most {self.count:,} of the query set “{self.name}”"
        return f"at most {self.count:,} of the vectors in {self.name}"


def _parameter_names() -> list[str]:
    """Each stands in the JSON of a spec by its own name."""
    return [method.search_parameter.name for method in index_methods()]


@dataclass(frozen=True, slots=True)
class ExperimentSpec:
    """What an experiment measures, and the target that it looks for.

    Raises InvalidInput, LimitExceeded.
    """

    candidates: tuple[CandidateSpec, ...]
    """None of them twice."""
    queries: QuerySource = field(default_factory=QuerySource)
    k: int = K.default
    """Neighbours of each query."""
    filters: tuple[Filter, ...] = ()
    """As the real application asks, the category among them."""
    protocol: Protocol = Protocol.VECSCOPE
    target: Target | None = field(default_factory=Target)
    """None to measure the sweep and no more."""
    rounds: int = ROUNDS.default
    """How often each search parameter is measured."""
    clients: tuple[int, ...] = (1,)
    """Concurrent clients, for queries a second; 1 is always among them."""
    values: Mapping[str, tuple[int, ...]] = field(default_factory=dict, hash=False)
    """Search parameter → the values to measure; the lab chooses those of one that is missing."""
    iterative_scans: tuple[IterativeScan, ...] = (IterativeScan.OFF,)
    """Others than OFF under a filter only."""
    oversampling: int = OVERSAMPLING.default
    """Rows found by their bits for each row asked for, of candidates with an index on bits."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.candidates) <= MAX_CANDIDATES:
            raise InvalidInput(
                f"There are {len(self.candidates)} candidates, outside 1–{MAX_CANDIDATES}.",
                hint="Name an index to measure." if not self.candidates else "Take fewer at once.",
                field="index",
            )
        for number, candidate in enumerate(self.candidates):
            if candidate in self.candidates[:number]:
                raise InvalidInput(f"The candidate {candidate} is named twice.", field="index")
        K.check(self.k, "k")
        fixed = RULES[self.protocol].k
        if fixed is not None and self.k != fixed:
            raise InvalidInput(
                f"The protocol {self.protocol.value} is made with k = {fixed}, not {self.k}.",
                hint=f"Take k = {fixed}, or the protocol vecscope.",
                field="k",
            )
        ROUNDS.check(self.rounds, "rounds")
        OVERSAMPLING.check(self.oversampling, "oversampling")
        for clients in self.clients:
            CLIENTS.check(clients, "clients")
        if 1 not in self.clients or len({*self.clients}) < len(self.clients):
            raise InvalidInput(
                "The numbers of clients are different ones, with 1 among them.", field="clients"
            )
        for name, values in self.values.items():
            limits = method_with_parameter(name).search_parameter.range
            if not 1 <= len(values) <= MAX_VALUES:
                raise InvalidInput(
                    f"There are {len(values)} values of {name}, outside 1–{MAX_VALUES}.",
                    field=name,
                )
            for value in values:
                limits.check(value, name)
        if not self.iterative_scans or len({*self.iterative_scans}) < len(self.iterative_scans):
            raise InvalidInput("Each way to scan on is named once.", field="iterative_scan")
        if self.iterative_scans != (IterativeScan.OFF,) and not self.filters:
            raise InvalidInput(
                "An iterative scan goes on where a filter left too few rows; there is no filter.",
                hint="Name a filter, or leave the iterative scan off.",
                field="iterative_scan",
            )

    @classmethod
    def for_protocol(
        cls,
        protocol: Protocol,
        candidates: Sequence[CandidateSpec],
        *,
        k: int | None = None,
        clients: Sequence[int] | None = None,
        **others: Any,
    ) -> ExperimentSpec:
        """With the protocol's own k and clients where they are not given."""
        rules = RULES[protocol]
        return cls(
            tuple(candidates),
            protocol=protocol,
            k=k if k is not None else rules.k or K.default,
            clients=rules.clients if clients is None else tuple(clients),
            **others,
        )

    @property
    def category(self) -> str | None:
        """The one category that is filtered by, if that is all there is to the filter on it."""
        for condition in self.filters:
            if condition.field == CATEGORY and condition.op is FilterOp.EQUALS:
                return str(condition.value)
        return None

    @property
    def rules(self) -> ProtocolRules:
        return RULES[self.protocol]

    @property
    def asked(self) -> int:
        """How many rows the index is asked for: one more than k where the queries are rows of the
        collection, since each finds itself."""
        return self.k + (self.queries.kind is QueryKind.SAMPLE)

    def values_of(self, method: IndexMethod) -> tuple[int, ...] | None:
        """Values of the method's search parameter that the user named; None: the lab chooses."""
        return self.values.get(method.search_parameter.name)

    def to_json(self) -> dict[str, Any]:
        target = self.target
        return {
            "candidates": [str(candidate) for candidate in self.candidates],
            "queries": {**asdict(self.queries), "kind": self.queries.kind.value},
            "k": self.k,
            "filters": [str(condition) for condition in self.filters],
            "protocol": self.protocol.value,
            "target": target and {**asdict(target), "priority": target.priority.value},
            "rounds": self.rounds,
            "clients": list(self.clients),
            **{
                name: list(self.values[name]) if name in self.values else None
                for name in _parameter_names()
            },
            "iterative_scans": [scan.value for scan in self.iterative_scans],
            "oversampling": self.oversampling,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> ExperimentSpec:
        """Raises InvalidInput where it was written by a version that knew other settings."""
        try:
            queries, target = stored["queries"], stored["target"]
            return cls(
                candidates=tuple(
                    parse_candidate(text, 0, Storage.VECTOR) for text in stored["candidates"]
                ),
                queries=QuerySource(**{**queries, "kind": QueryKind(queries["kind"])}),
                k=stored["k"],
                filters=tuple(Filter.parse(text) for text in stored["filters"]),
                protocol=Protocol(stored["protocol"]),
                target=target and Target(**{**target, "priority": Priority(target["priority"])}),
                rounds=stored["rounds"],
                clients=tuple(stored["clients"]),
                values={
                    name: tuple(stored[name]) for name in _parameter_names() if stored.get(name)
                },
                iterative_scans=tuple(IterativeScan(scan) for scan in stored["iterative_scans"]),
                oversampling=stored["oversampling"],
            )
        except (KeyError, TypeError, ValueError) as exc:
            raise InvalidInput(
                "The experiment's settings cannot be read: another version wrote them.",
                hint="Set it up anew.",
            ) from exc
