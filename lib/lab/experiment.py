"""Experiments as values: what is to be found out, what was measured on, and what came of it.

They are kept by :mod:`lib.lab.repository` and run by :mod:`lib.lab.run`.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from lib.lab.measurement import EXACT_NAME, Measurement, Setting
from lib.lab.spec import ExperimentSpec
from lib.vectors.index_methods import IndexKind
from lib.vectors.tuning import IterativeScan

NAME_LENGTH = 200


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
    """The collection's revision then; the name is that of the stored key."""
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
    """The collection's revision then; the name is that of the stored key."""
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
