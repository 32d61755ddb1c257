"""Experiments as values: their spec, the data and candidates that they measured, their results.

:mod:`lib.lab.repository` stores them and :mod:`lib.lab.run` runs them.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from lib import serial
from lib.lab.measurement import EXACT_NAME, Measurement, SearchParameter
from lib.lab.spec import ExperimentSpec
from lib.store.candidates import Candidate
from lib.vectors.index_methods import IndexMethod, IterativeScan, get_method

NAME_LENGTH = 200


# --- what was measured on -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CandidateFacts:
    """A candidate as it was when it was measured; stored with the experiment, since candidates are
    dropped."""

    id: uuid.UUID
    name: str
    text: str
    """Its spec, as ``hnsw:m=16,ef_construction=64@halfvec``."""
    method: IndexMethod
    options: Mapping[str, int]
    storage: str
    index_name: str
    rows: int
    change_mark: int
    """The collection's revision then; the name is that of the stored key."""
    build_seconds: float
    """The index alone."""
    index_bytes: int
    table_bytes: int
    maintenance_work_mem: str | None
    parallel_workers: int | None
    notices: tuple[str, ...] = ()
    reused: bool = False
    """Whether it was there before the experiment."""

    @classmethod
    def of(cls, candidate: Candidate, change_mark: int, *, reused: bool) -> Self:
        """Of a candidate that is ready."""
        assert candidate.index_name is not None
        return cls(
            id=candidate.id,
            name=candidate.name,
            text=str(candidate.spec),
            method=candidate.method,
            options=dict(candidate.index.options),
            storage=candidate.storage.value,
            index_name=candidate.index_name,
            rows=candidate.rows or 0,
            change_mark=change_mark,
            build_seconds=candidate.build_seconds or 0.0,
            index_bytes=candidate.index_bytes or 0,
            table_bytes=candidate.table_bytes or 0,
            maintenance_work_mem=candidate.maintenance_work_mem,
            parallel_workers=candidate.parallel_workers,
            notices=candidate.notices,
            reused=reused,
        )

    def to_json(self) -> dict[str, Any]:
        return {
            **{name: value for name, value in asdict(self).items() if name != "method"},
            "id": str(self.id),
            "kind": self.method.name,
            "options": dict(self.options),
            "notices": list(self.notices),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> CandidateFacts:
        return cls(
            **{
                **{name: value for name, value in stored.items() if name != "kind"},
                "id": uuid.UUID(stored["id"]),
                "method": get_method(stored["kind"]),
                "notices": tuple(stored["notices"]),
            }
        )


@dataclass(frozen=True, slots=True)
class DataFacts:
    """The data and the queries of an experiment."""

    rows: int
    """With an embedding."""
    dimensions: int
    distance: str
    storage: str
    change_mark: int
    """The collection's revision then; the name is that of the stored key."""
    queries: int
    queries_described: str
    selectivity: float
    """The share of the rows that the filter leaves, 1 without one."""
    left_out: int = 0
    """Queries that were asked for and could not be had."""
    tied: int = 0
    """Queries whose k-th neighbour is as near as the next."""
    fingerprint: str = ""
    """The truth's."""
    truth_seconds: float = 0.0
    """To find the truth; 0 where it was there already."""
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return serial.to_json(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> DataFacts:
        return serial.from_json(cls, stored, what="measured collection")


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
class TargetResult:
    """What the search for the target found for one candidate."""

    candidate: str
    setting: SearchParameter | None
    """The smallest that reaches the recall, None where none does; it may still miss the latency."""
    reached: bool
    """Recall and latency."""
    best_recall: float | None = None
    """With the largest value that was tried."""
    problem: str = ""
    """Why it misses the target; empty where it does not."""
    remedy: str = ""
    """What would help."""

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "setting": self.setting and self.setting.to_json()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> TargetResult:
        setting = stored["setting"]
        return cls(**{**stored, "setting": setting and SearchParameter.from_json(setting)})


@dataclass(frozen=True, eq=False)
class Experiment:
    """An experiment as it was when it was read."""

    id: uuid.UUID
    collection_id: uuid.UUID
    job_id: uuid.UUID | None
    name: str
    spec: ExperimentSpec
    state: ExperimentState
    error: str
    """Why it failed; empty where it did not."""
    hint: str
    environment: Mapping[str, Any]
    """Name → value."""
    data: DataFacts | None
    facts: tuple[CandidateFacts, ...]
    """Of the candidates that are there, in the order of the spec."""
    target_results: tuple[TargetResult, ...]
    """In the order they were made; measurements too."""
    measurements: tuple[Measurement, ...]
    changed: str
    """That the collection was written to while it ran, in one sentence; empty where it was not."""
    stale: bool
    """Whether the collection was written to since."""
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
