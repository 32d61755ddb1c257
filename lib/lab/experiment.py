"""Experiments as values: what is to be found out, what was measured on, and what came of it.

They are kept by :mod:`lib.lab.repository` and run by :mod:`lib.lab.run`.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from lib.errors import InvalidInput, LimitExceeded
from lib.lab.measure import CLIENTS, EXACT_NAME, ROUNDS
from lib.lab.measurement import Measurement, Protocol, Setting
from lib.lab.queries import QUERY_COUNT
from lib.limits import IntRange
from lib.search.filters import CATEGORY, Filter, FilterOp
from lib.store.candidates import CandidateSpec, parse_candidate
from lib.vectors.distance import Storage
from lib.vectors.index_methods import IndexKind
from lib.vectors.tuning import EF_SEARCH, OVERSAMPLING, PROBES, IterativeScan

K = IntRange(1, 1000, 10)
MOST_CANDIDATES = 12
MOST_VALUES = 30
NAME_LENGTH = 200


@dataclass(frozen=True, slots=True)
class ProtocolRules:
    """What a protocol lays down. k: None where it is the user's. by_id: recall is by id, not by
    distance. lower_bound: a level of recall counts as reached where the interval's lower end does,
    not the mean. clients: how many ask at once, by default. words: for people."""

    k: int | None
    by_id: bool
    lower_bound: bool
    clients: tuple[int, ...]
    words: str


RULES: Mapping[Protocol, ProtocolRules] = {
    Protocol.VECSCOPE: ProtocolRules(
        None,
        by_id=False,
        lower_bound=True,
        clients=(1, 4),
        words="your k and your filter, recall by distance, medians over the rounds, and a level of "
        "recall counts as reached where the 95 % interval lies above it",
    ),
    Protocol.ANN_BENCHMARKS: ProtocolRules(
        10,
        by_id=False,
        lower_bound=False,
        clients=(1,),
        words="k = 10, recall by distance, the best of the rounds, one client",
    ),
    Protocol.VECTORDBBENCH: ProtocolRules(
        100,
        by_id=True,
        lower_bound=False,
        clients=(1, 4, 8),
        words="k = 100, recall by id, several clients",
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
    """What an index has to do. recall: 0–1, to be reached by the lower end of the 95 % interval
    (the mean, where the protocol says so). p95_ms: None where any latency will do."""

    recall: float = 0.95
    p95_ms: float | None = None
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


class QueryKind(StrEnum):
    """Where an experiment's queries come from."""

    SAMPLE = "sample"
    QUERY_SET = "query_set"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class QuerySource:
    """Where the queries come from, and at most how many.

    seed: of the sampling. name: the query set's, or the file's; empty for a sample. The vectors of
    a file are kept with the experiment.
    """

    kind: QueryKind = QueryKind.SAMPLE
    count: int = QUERY_COUNT.default
    seed: int = 0
    name: str = ""

    def __post_init__(self) -> None:
        QUERY_COUNT.check(self.count, "queries")
        if (self.kind is QueryKind.SAMPLE) == bool(self.name):
            raise InvalidInput(
                "Queries are sampled, or they have the name of where they come from."
            )

    @property
    def words(self) -> str:
        """For people."""
        if self.kind is QueryKind.SAMPLE:
            return f"{self.count:,} rows of the collection, drawn with seed {self.seed}"
        if self.kind is QueryKind.QUERY_SET:
            return f"at most {self.count:,} of the query set “{self.name}”"
        return f"at most {self.count:,} of the vectors in {self.name}"


@dataclass(frozen=True, slots=True)
class ExperimentSpec:
    """What is to be found out.

    candidates: none of them twice. k: neighbours wanted. filters: as the real application asks,
    the category among them. probes, ef_search: the values to measure, None for a range chosen by
    the lab. iterative_scans: under a filter only; strict order is HNSW's only. target: None to
    measure the sweep and no more. rounds: how often each setting is measured. clients: how many
    ask at once, for queries a second; 1 is always among them. oversampling: rows taken by their
    bits for each row wanted, of candidates with an index on bits.
    Raises InvalidInput, LimitExceeded.
    """

    candidates: tuple[CandidateSpec, ...]
    queries: QuerySource = field(default_factory=QuerySource)
    k: int = K.default
    filters: tuple[Filter, ...] = ()
    protocol: Protocol = Protocol.VECSCOPE
    target: Target | None = field(default_factory=Target)
    rounds: int = ROUNDS.default
    clients: tuple[int, ...] = (1,)
    probes: tuple[int, ...] | None = None
    ef_search: tuple[int, ...] | None = None
    iterative_scans: tuple[IterativeScan, ...] = (IterativeScan.OFF,)
    oversampling: int = OVERSAMPLING.default

    def __post_init__(self) -> None:
        if not 1 <= len(self.candidates) <= MOST_CANDIDATES:
            raise InvalidInput(
                f"There are {len(self.candidates)} candidates, outside 1–{MOST_CANDIDATES}.",
                hint="Name an index to measure." if not self.candidates else "Take fewer at once.",
                field="index",
            )
        for place, candidate in enumerate(self.candidates):
            if candidate in self.candidates[:place]:
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
        for limits, values, name in (
            (PROBES, self.probes, "probes"),
            (EF_SEARCH, self.ef_search, "ef_search"),
        ):
            if values is not None and not 1 <= len(values) <= MOST_VALUES:
                raise InvalidInput(
                    f"There are {len(values)} values of {name}, outside 1–{MOST_VALUES}.",
                    field=name,
                )
            for value in values or ():
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
        for each in self.filters:
            if each.field == CATEGORY and each.op is FilterOp.EQUALS:
                return str(each.value)
        return None

    @property
    def rules(self) -> ProtocolRules:
        return RULES[self.protocol]

    @property
    def asked(self) -> int:
        """How many rows the index is asked for: one more than k where the queries are rows of the
        collection, since each finds itself."""
        return self.k + (self.queries.kind is QueryKind.SAMPLE)

    def to_json(self) -> dict[str, Any]:
        target = self.target
        return {
            "candidates": [str(candidate) for candidate in self.candidates],
            "queries": {**asdict(self.queries), "kind": self.queries.kind.value},
            "k": self.k,
            "filters": [str(each) for each in self.filters],
            "protocol": self.protocol.value,
            "target": target and {**asdict(target), "priority": target.priority.value},
            "rounds": self.rounds,
            "clients": list(self.clients),
            "probes": self.probes and list(self.probes),
            "ef_search": self.ef_search and list(self.ef_search),
            "iterative_scans": [scan.value for scan in self.iterative_scans],
            "oversampling": self.oversampling,
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> ExperimentSpec:
        """Raises InvalidInput where it was written by a version that knew other settings."""
        try:
            queries, target = kept["queries"], kept["target"]
            return cls(
                candidates=tuple(
                    parse_candidate(each, 0, Storage.VECTOR) for each in kept["candidates"]
                ),
                queries=QuerySource(**{**queries, "kind": QueryKind(queries["kind"])}),
                k=kept["k"],
                filters=tuple(Filter.parse(each) for each in kept["filters"]),
                protocol=Protocol(kept["protocol"]),
                target=target and Target(**{**target, "priority": Priority(target["priority"])}),
                rounds=kept["rounds"],
                clients=tuple(kept["clients"]),
                probes=kept["probes"] and tuple(kept["probes"]),
                ef_search=kept["ef_search"] and tuple(kept["ef_search"]),
                iterative_scans=tuple(IterativeScan(each) for each in kept["iterative_scans"]),
                oversampling=kept["oversampling"],
            )
        except (KeyError, TypeError, ValueError) as exc:
            raise InvalidInput(
                "The experiment's settings cannot be read: another version wrote them.",
                hint="Set it up anew.",
            ) from exc


# --- what was measured on -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CandidateFacts:
    """A candidate as it was when it was measured; kept with the experiment, since candidates are
    dropped. text: its spec, as ``hnsw:m=16,ef_construction=64@halfvec``. build_seconds: the index
    alone. change_mark: the collection's when it was copied. reused: it was there before."""

    id: uuid.UUID
    name: str
    text: str
    kind: IndexKind
    options: Mapping[str, int]
    storage: str
    index_name: str
    rows: int
    change_mark: int
    build_seconds: float
    index_bytes: int
    table_bytes: int
    maintenance_work_mem: str | None
    parallel_workers: int | None
    notices: tuple[str, ...] = ()
    reused: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "id": str(self.id),
            "kind": self.kind.value,
            "options": dict(self.options),
            "notices": list(self.notices),
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> CandidateFacts:
        return cls(
            **{
                **kept,
                "id": uuid.UUID(kept["id"]),
                "kind": IndexKind(kept["kind"]),
                "notices": tuple(kept["notices"]),
            }
        )


@dataclass(frozen=True, slots=True)
class DataFacts:
    """The data and the queries of an experiment.

    rows: with an embedding. change_mark: the collection's when truth was found. selectivity: the
    share of the rows that the filter leaves, 1 without one. left_out: queries that were asked for
    and could not be had. tied: queries whose k-th neighbour is as near as the next. fingerprint:
    the truth's. truth_seconds: to find it, 0 where it was kept from before.
    """

    rows: int
    dimensions: int
    distance: str
    storage: str
    change_mark: int
    queries: int
    queries_described: str
    selectivity: float
    left_out: int = 0
    tied: int = 0
    fingerprint: str = ""
    truth_seconds: float = 0.0
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "notes": list(self.notes)}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> DataFacts:
        return cls(**{**kept, "notes": tuple(kept["notes"])})


# --- what came of it ----------------------------------------------------------------------------


class ExperimentState(StrEnum):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"

    @property
    def can_resume(self) -> bool:
        return self not in (ExperimentState.RUNNING, ExperimentState.DONE)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the search for the target found for one candidate.

    setting: the smallest that reaches the recall, None where none does; it may still miss the
    latency. reached: recall and latency. best_recall: with the largest value that was tried.
    problem: why it misses the target; remedy: what would help. Both are empty where it does not.
    """

    candidate: str
    setting: Setting | None
    reached: bool
    best_recall: float | None = None
    problem: str = ""
    remedy: str = ""

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "setting": self.setting and setting_to_json(self.setting)}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Outcome:
        setting = kept["setting"]
        return cls(**{**kept, "setting": setting and setting_from_json(setting)})


@dataclass(frozen=True, eq=False)
class Experiment:
    """An experiment as it was when it was read; ``measurements`` and ``outcomes`` in the order
    they were made.

    environment: name → value, in words. facts: by candidate, in the order of the spec; those that
    are there. error, hint: why it failed. changed: the collection was written to while it ran, in
    one sentence, empty where it was not. stale: it was written to since.
    """

    id: uuid.UUID
    collection_id: uuid.UUID
    job_id: uuid.UUID | None
    name: str
    spec: ExperimentSpec
    state: ExperimentState
    error: str
    hint: str
    environment: Mapping[str, Any]
    data: DataFacts | None
    facts: tuple[CandidateFacts, ...]
    outcomes: tuple[Outcome, ...]
    measurements: tuple[Measurement, ...]
    changed: str
    stale: bool
    created_at: datetime
    finished_at: datetime | None

    def facts_of(self, candidate: str) -> CandidateFacts | None:
        """By name; None for the exact scan."""
        return next((each for each in self.facts if each.name == candidate), None)

    def measurements_of(self, candidate: str) -> tuple[Measurement, ...]:
        return tuple(each for each in self.measurements if each.candidate == candidate)

    @property
    def ordered(self) -> tuple[Measurement, ...]:
        """The measurements by candidate, in the order of the facts, the exact scan last; then by
        scan and rising value."""
        places = {facts.name: place for place, facts in enumerate(self.facts)}
        scans = list(IterativeScan)
        return tuple(
            sorted(
                self.measurements,
                key=lambda each: (
                    places.get(each.candidate, len(places)),
                    scans.index(each.setting.iterative_scan),
                    each.setting.value or 0,
                ),
            )
        )

    @property
    def exact(self) -> Measurement | None:
        """The reference."""
        return next(iter(self.measurements_of(EXACT_NAME)), None)


def setting_to_json(setting: Setting) -> dict[str, Any]:
    return {
        "kind": setting.kind and setting.kind.value,
        "value": setting.value,
        "iterative_scan": setting.iterative_scan.value,
    }


def setting_from_json(kept: Mapping[str, Any]) -> Setting:
    kind = kept["kind"]
    return Setting(kind and IndexKind(kind), kept["value"], IterativeScan(kept["iterative_scan"]))


def setting_words(setting: Setting) -> str:
    """Such as “ef_search 40, iterative scan in relaxed order”."""
    if setting.kind is None:
        return "every row"
    scan = {
        IterativeScan.OFF: "",
        IterativeScan.RELAXED: ", iterative scan in relaxed order",
        IterativeScan.STRICT: ", iterative scan in strict order",
    }[setting.iterative_scan]
    return f"{setting.parameter} {setting.value:,}{scan}"
