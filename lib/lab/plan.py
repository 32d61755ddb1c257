"""What an experiment will take, before anything is done: each candidate, and the whole in seconds.

The seconds are for a button's label, not for a promise: rates that were measured once, and set
right by what the collection's last experiment measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from lib.errors import (
    IndexRefused,
    VecscopeError,
)
from lib.lab.estimates import (
    Estimate,
    Facts,
    check_spec,
    disk_warning,
    estimate,
    held_bytes,
)
from lib.lab.experiment import Experiment
from lib.lab.measure import (
    CLIENT_QUERIES,
    EXPLAINED_QUERIES,
    WARM_UP_QUERIES,
)
from lib.lab.measurement import Setting
from lib.lab.spec import ExperimentSpec
from lib.lab.sweep import settings_of
from lib.limits import IntRange
from lib.search.filters import Filter, conditions
from lib.store.candidates import (
    Candidate,
    CandidateSpec,
    CandidateStorage,
)
from lib.store.collections import Collection
from lib.vectors.distance import Storage
from lib.vectors.index_methods import HNSW, IVFFlat
from lib.vectors.tuning import IterativeScan

_LOOKS_FOR_TARGET = 5  # passes over the queries that a search for the target takes, usually

# Of pgvector 0.8.5 on one busy core.
_ASKING_MS = 0.4  # to send a query, to plan it and to read its rows
_COMPARED_US = (0.15, 2.0e-4)  # for each vector, and for each of its bytes
_WALKED_US = 0.8  # for each vector more, where a graph is walked from page to page
_RERANKED_US = 3.0  # for each row that is fetched, to be ranked by the full vector
_GOING_ON = 3.0  # times what a scan costs that stops where a filter left too few
_SECONDS_A_STEP = 0.05  # to hand queries to a client and to collect its answers
_BEGIN_SECONDS = 3.0  # to read the queries, to note things down, to look at the environment
_SECONDS_A_CLIENT = 1.0  # to start one and to connect it
_TRUTH_FLOPS = 4e9
_READ_BYTES_PER_SECOND = 150e6
_CORES = 2  # so many clients at once are worth more than one after the other


@dataclass(frozen=True)
class PlannedCandidate:
    """One candidate. built: a fresh one that is there already and is used again. refusal: why it
    cannot be built, with the way out; warnings: what is to be said all the same."""

    spec: CandidateSpec
    estimate: Estimate
    built: Candidate | None = None
    refusal: VecscopeError | None = None
    warnings: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """To build it; 0 where it is there."""
        return 0.0 if self.built is not None else self.estimate.seconds


@dataclass(frozen=True)
class Plan:
    """All candidates, by what facts. disk_refusal, disk_warning: of what they take together."""

    facts: Facts
    candidates: tuple[PlannedCandidate, ...]
    disk_warning: str | None = None
    disk_refusal: VecscopeError | None = None

    @property
    def possible(self) -> bool:
        refused = any(each.refusal is not None for each in self.candidates)
        return bool(self.candidates) and not refused and self.disk_refusal is None

    @property
    def disk_bytes(self) -> int:
        """Of those that are still to be built."""
        return sum(each.estimate.disk_bytes for each in self.candidates if each.built is None)

    @property
    def build_seconds(self) -> float:
        return sum(each.seconds for each in self.candidates)


def plan_candidates(
    facts: Facts,
    collection: Collection,
    specs: Sequence[CandidateSpec],
    there: Sequence[Candidate] = (),
) -> Plan:
    """there: the collection's candidates, of which fresh ones need not be built again."""
    planned = tuple(_planned(facts, collection, spec, there) for spec in specs)
    wanted = [each.estimate for each in planned if each.built is None and each.refusal is None]
    try:
        warning = disk_warning(facts, wanted) if wanted else None
    except IndexRefused as refusal:
        return Plan(facts, planned, disk_refusal=refusal)
    return Plan(facts, planned, disk_warning=warning)


def _planned(
    facts: Facts, collection: Collection, spec: CandidateSpec, there: Sequence[Candidate]
) -> PlannedCandidate:
    found = estimate(facts, spec)
    for each in there:
        if each.ready and not each.stale and each.made_as == spec:
            return PlannedCandidate(spec, found, built=each)
    try:
        return PlannedCandidate(spec, found, warnings=check_spec(facts, collection, spec))
    except IndexRefused as refusal:
        return PlannedCandidate(spec, found, refusal=refusal)


async def count_matching(
    db: AsyncSession, collection: Collection, filters: Sequence[Filter]
) -> int:
    """Rows with an embedding that pass all filters. Raises InvalidInput."""
    table = collection.table
    embedding = table.column(table.embedding)
    found = await db.scalar(
        select(func.count(embedding)).select_from(table.rows).where(*conditions(table, filters))
    )
    return found or 0


# --- seconds --------------------------------------------------------------------------------------


def experiment_seconds(plan: Plan, spec: ExperimentSpec, pace: float = 1.0) -> float:
    """All of it, from the queries to the last measurement. pace: by :func:`pace_of`.

    Settings above a recall of SATURATED are left out of a run, which cannot be known before: of
    values that the lab chooses the last third is reckoned with once, not in rounds.
    """
    facts = plan.facts
    queries = min(spec.queries.count, facts.rows)
    product = 2.0 * queries * facts.rows * facts.dimensions
    row_bytes = facts.column.bytes_per_row(facts.dimensions)
    seconds = product / _TRUTH_FLOPS + facts.rows * row_bytes / _READ_BYTES_PER_SECOND
    seconds += _BEGIN_SECONDS + _SECONDS_A_CLIENT * max(spec.clients)
    asked = exact_queries(spec, facts.rows, facts.dimensions)
    seconds += _setting_seconds(spec, asked, pace * exact_ms(facts))
    for each in plan.candidates:
        costs = [
            pace * query_ms(facts, each.spec, setting, spec)
            for setting in settings_of(spec, each.spec.index, rows=facts.rows)
        ]
        chosen = spec.probes if isinstance(each.spec.index, IVFFlat) else spec.ef_search
        sure = len(costs) if chosen else len(costs) - len(costs) // 3
        seconds += sum(_setting_seconds(spec, queries, cost) for cost in costs[:sure])
        seconds += sum(costs[sure:]) * queries / 1000
        if spec.target is not None:
            looks = _LOOKS_FOR_TARGET * queries * median(costs) / 1000
            seconds += looks + _setting_seconds(spec, queries, median(costs))
    return plan.build_seconds + seconds


def _setting_seconds(spec: ExperimentSpec, queries: int, cost_ms: float) -> float:
    """One setting, in all of its rounds, with all clients."""
    asked = float(queries + EXPLAINED_QUERIES)
    steps = 1
    for clients in spec.clients:
        if clients == 1:
            asked += spec.rounds * (queries + WARM_UP_QUERIES)
            steps += spec.rounds
        else:
            each = max(queries / clients, min(queries, CLIENT_QUERIES)) + WARM_UP_QUERIES
            asked += spec.rounds * each * clients / min(clients, _CORES)
            steps += 2 * spec.rounds
    return asked * cost_ms / 1000 + steps * _SECONDS_A_STEP


def query_ms(
    facts: Facts, candidate: CandidateSpec, setting: Setting, spec: ExperimentSpec
) -> float:
    """One query by one client."""
    index, value = candidate.index, setting.value or 1
    compared_us = _compared_us(held_bytes(candidate.storage, facts.dimensions))
    if isinstance(index, HNSW):
        vectors = min(facts.rows, value * index.m)
        cost_us = vectors * (compared_us + _WALKED_US)
    else:
        share = min(1.0, value / index.lists)
        cost_us = (index.lists + facts.rows * share) * compared_us
    if setting.iterative_scan is not IterativeScan.OFF:
        cost_us *= _GOING_ON
    if candidate.storage is CandidateStorage.BIT:
        cost_us += min(spec.oversampling * spec.asked, facts.rows) * _RERANKED_US
    return _ASKING_MS + cost_us / 1000


def exact_ms(facts: Facts) -> float:
    """One query that compares every row."""
    held = held_bytes(CandidateStorage.of(facts.column), facts.dimensions)
    # A long row's embedding is fetched out of the TOAST table, piece by piece.
    fetched_us = 5.0 if held > Storage.VECTOR.bytes_per_row(500) else 0.2
    return _ASKING_MS + facts.rows * (_compared_us(held) + fetched_us) / 1000


def _compared_us(held: int) -> float:
    return _COMPARED_US[0] + _COMPARED_US[1] * held


def pace_of(facts: Facts, experiment: Experiment | None) -> float:
    """How many times longer queries took in an earlier experiment than :func:`query_ms` says; 1
    where there is none."""
    if experiment is None:
        return 1.0
    return median([*_rates(facts, experiment)] or [1.0])


def _rates(facts: Facts, experiment: Experiment) -> Iterable[float]:
    specs = {
        each.name: spec
        for each in experiment.facts
        for spec in experiment.spec.candidates
        if str(spec) == each.text
    }
    for measurement in experiment.measurements:
        spec = specs.get(measurement.candidate)
        goes_on = measurement.setting.iterative_scan is not IterativeScan.OFF
        if spec is not None and not goes_on:
            said = query_ms(facts, spec, measurement.setting, experiment.spec)
            yield measurement.latency.p50_ms / said


EXACT_QUERIES = IntRange(10, 50, 50)
"""The exact scan is the reference of latency, and dear: it is asked so many of the queries, and the
fewer, the longer it takes."""


_EXACT_SECONDS = 60


_VALUES_PER_SECOND = 6e8  # that pgvector compares: 100,000 × 256 in 41 ms


def exact_queries(spec: ExperimentSpec, rows: int, dimensions: int) -> int:
    """So many that the exact scan takes about a minute in all."""
    one_seconds = max(rows * dimensions, 1) / _VALUES_PER_SECOND
    affordable = int(_EXACT_SECONDS / (one_seconds * _passes(spec)))
    wanted = max(EXACT_QUERIES.low, min(EXACT_QUERIES.high, affordable))
    return min(wanted, spec.queries.count)


def _passes(spec: ExperimentSpec) -> int:
    """How often each query is asked about: once for the recall, then in each round by one client,
    and by several."""
    return 1 + spec.rounds * sum(spec.clients)
