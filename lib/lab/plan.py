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
from lib.lab.collection_stats import CollectionStats
from lib.lab.estimates import Estimate, check_spec, disk_warning, estimate, index_shape
from lib.lab.experiment import Experiment
from lib.lab.measure import (
    CLIENT_QUERIES,
    EXPLAINED_QUERIES,
    WARM_UP_QUERIES,
)
from lib.lab.measurement import SearchParameter
from lib.lab.progress import Phase
from lib.lab.spec import ExperimentSpec
from lib.lab.sweep import is_named, parameters_of
from lib.limits import IntRange
from lib.search.filters import Filter, conditions
from lib.store.candidates import Candidate, CandidateSpec
from lib.store.collections import Collection
from lib.vectors.distance import ElementType, Storage
from lib.vectors.index_methods import IterativeScan
from lib.vectors.tuning import BuildSettings

_PASSES_FOR_TARGET = 5  # over the queries, that a search for the target usually takes

# Of pgvector 0.8.5 on one busy core.
_ASKING_MS = 0.4  # to send a query, to plan it and to read its rows
_COMPARED_US = (0.15, 2.0e-4)  # for each vector, and for each of its bytes
_RERANKED_US = 3.0  # for each row that is fetched, to be ranked by the full vector
_GOING_ON = 3.0  # times what a scan costs that stops where a filter left too few
_SECONDS_A_STEP = 0.05  # to hand queries to a client and to collect its answers
_BEGIN_SECONDS = 3.0  # to read the queries, to note things down, to look at the environment
_SECONDS_A_CLIENT = 1.0  # to start one and to connect it
# An exact scan: 100,000 × 256 rows in 41 ms on 2 cores, 6·10⁸ values a second; long rows more.
_SCANNED_VALUES_PER_US = 600.0
_TOASTED_US = 5.0
# Truth: 2 q·n·d operations; ExactSearch did 2.3–3.2·10¹⁰ a second of one core (500–1,000 queries,
# 100,000 × 256 and 50,000 × 768).
_TRUTH_FLOPS = 2.5e10
_READ_BYTES_PER_SECOND = 150e6
_CORES = 2  # so many clients at once are worth more than one after the other


@dataclass(frozen=True)
class PlannedCandidate:
    """A candidate of an experiment that is being planned."""

    spec: CandidateSpec
    estimate: Estimate
    built: Candidate | None = None
    """A candidate on disk that is not stale, and is used again."""
    refusal: VecscopeError | None = None
    """Why it cannot be built, with the way out."""
    warnings: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """To build it; 0 where it is there."""
        return 0.0 if self.built is not None else self.estimate.seconds


@dataclass(frozen=True)
class Plan:
    """What all candidates take, from the statistics of their collection."""

    stats: CollectionStats
    candidates: tuple[PlannedCandidate, ...]
    disk_warning: str | None = None
    """About what all candidates take together; so is the refusal."""
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
    stats: CollectionStats,
    collection: Collection,
    specs: Sequence[CandidateSpec],
    there: Sequence[Candidate] = (),
    build_settings: BuildSettings | None = None,
) -> Plan:
    """there: the collection's candidates, of which fresh ones need not be built again.
    build_settings: for each build; by default what its estimate advises."""
    planned = tuple(_planned(stats, collection, spec, there, build_settings) for spec in specs)
    wanted = [each.estimate for each in planned if each.built is None and each.refusal is None]
    try:
        warning = disk_warning(stats, wanted) if wanted else None
    except IndexRefused as refusal:
        return Plan(stats, planned, disk_refusal=refusal)
    return Plan(stats, planned, disk_warning=warning)


def _planned(
    stats: CollectionStats,
    collection: Collection,
    spec: CandidateSpec,
    there: Sequence[Candidate],
    build_settings: BuildSettings | None,
) -> PlannedCandidate:
    found = estimate(stats, spec, build_settings)
    for each in there:
        if each.ready and not each.stale and each.spec == spec:
            return PlannedCandidate(spec, found, built=each)
    try:
        return PlannedCandidate(spec, found, warnings=check_spec(stats, collection, spec))
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
    """All of it, from the queries to the last measurement. pace: by :func:`pace_of`."""
    return sum(phase_seconds(plan, spec, pace).values())


def phase_seconds(plan: Plan, spec: ExperimentSpec, pace: float = 1.0) -> dict[Phase, float]:
    """What each phase of an experiment may take. pace: by :func:`pace_of`."""
    stats = plan.stats
    queries = min(spec.queries.count, stats.rows)
    row_bytes = stats.column.bytes_per_row(stats.dimensions)
    read_seconds = stats.rows * row_bytes / _READ_BYTES_PER_SECOND
    compare_seconds = 2.0 * queries * stats.rows * stats.dimensions / _TRUTH_FLOPS
    exact = _setting_seconds(
        spec,
        exact_queries(spec, stats.rows, stats.dimensions, stats.column),
        pace * exact_ms(stats.rows, stats.dimensions, stats.column),
    )
    sweep_seconds = _SECONDS_A_CLIENT * max(spec.clients) + exact
    target_seconds = 0.0
    for planned in plan.candidates:
        costs_ms = [
            pace * query_ms(stats, planned.spec, setting, spec)
            for setting in parameters_of(spec, planned.spec.index, rows=stats.rows)
        ]
        sweep_seconds += _sweep_seconds(spec, planned.spec, queries, costs_ms)
        if spec.target is not None:
            middle_ms = median(costs_ms)
            target_seconds += _PASSES_FOR_TARGET * queries * middle_ms / 1000
            target_seconds += _setting_seconds(spec, queries, middle_ms)
    return {
        Phase.QUERIES: _BEGIN_SECONDS,
        Phase.TRUTH: compare_seconds + read_seconds,
        Phase.BUILD: plan.build_seconds,
        Phase.SWEEP: sweep_seconds,
        Phase.TARGET: target_seconds,
    }


def _sweep_seconds(
    spec: ExperimentSpec, candidate: CandidateSpec, queries: int, costs_ms: Sequence[float]
) -> float:
    """The sweep of one candidate, whose queries cost that much at each of its values.

    Values above a saturated recall are left out of a run, which cannot be known before: of values
    that the lab chooses the last third is reckoned with once, not in rounds.
    """
    if is_named(spec, candidate.index.method):
        certain = len(costs_ms)
    else:
        certain = len(costs_ms) - len(costs_ms) // 3
    in_rounds = sum(_setting_seconds(spec, queries, cost) for cost in costs_ms[:certain])
    return in_rounds + sum(costs_ms[certain:]) * queries / 1000


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
    stats: CollectionStats, candidate: CandidateSpec, setting: SearchParameter, spec: ExperimentSpec
) -> float:
    """One query by one client."""
    costs, shape = candidate.index.method.costs, index_shape(stats, candidate)
    vectors = costs.compared_vectors(shape, setting.value or 1)
    cost_us = vectors * (_compared_us(shape.element_bytes) + costs.visit_us)
    if setting.iterative_scan is not IterativeScan.OFF:
        cost_us *= _GOING_ON
    if candidate.storage is ElementType.BIT:
        cost_us += min(spec.oversampling * spec.asked, stats.rows) * _RERANKED_US
    return _ASKING_MS + cost_us / 1000


def exact_ms(rows: int, dimensions: int, storage: Storage = Storage.VECTOR) -> float:
    """One query that compares every row."""
    scanned_us = dimensions / _SCANNED_VALUES_PER_US
    # A long row's embedding is fetched out of the TOAST table, piece by piece.
    is_long = storage.bytes_per_row(dimensions) > Storage.VECTOR.bytes_per_row(500)
    fetched_us = _TOASTED_US if is_long else 0.0
    return _ASKING_MS + rows * (scanned_us + fetched_us) / 1000


def _compared_us(element_bytes: int) -> float:
    return _COMPARED_US[0] + _COMPARED_US[1] * element_bytes


def pace_of(stats: CollectionStats, experiment: Experiment | None) -> float:
    """How many times longer queries took in an earlier experiment than :func:`query_ms` says; 1
    where there is none."""
    if experiment is None:
        return 1.0
    return median([*_rates(stats, experiment)] or [1.0])


def _rates(stats: CollectionStats, experiment: Experiment) -> Iterable[float]:
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
            said = query_ms(stats, spec, measurement.setting, experiment.spec)
            yield measurement.latency.p50_ms / said


EXACT_QUERIES = IntRange(10, 50, 50)
"""The exact scan is the reference of latency, and dear: it is asked so many of the queries, and the
fewer, the longer it takes."""


_EXACT_SECONDS = 60


def exact_queries(
    spec: ExperimentSpec, rows: int, dimensions: int, storage: Storage = Storage.VECTOR
) -> int:
    """So many that the exact scan takes about a minute in all."""
    one_seconds = exact_ms(rows, dimensions, storage) / 1000
    affordable = int(_EXACT_SECONDS / (one_seconds * _passes(spec)))
    within_limits = max(EXACT_QUERIES.low, min(EXACT_QUERIES.high, affordable))
    return min(within_limits, spec.queries.count)


def _passes(spec: ExperimentSpec) -> int:
    """How often each query is asked about: once for the recall, then in each round by one client,
    and by several."""
    return 1 + spec.rounds * sum(spec.clients)
