"""From measurements to a recommendation: the scoreboard, the Pareto front, the winner and its
rationale. Pure.

Only a certified measurement can win anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from lib.formats import (
    format_bytes,
    format_count,
    format_duration,
    format_ms,
    format_percent,
    format_rate,
)
from lib.lab.experiment import CandidateFacts, Experiment, TargetResult
from lib.lab.measurement import EXACT_NAME, Measurement, Protocol, RecallFigures
from lib.lab.spec import RULES, Priority, Target
from lib.vectors.index_methods import IterativeScan

LEVELS = (0.90, 0.95, 0.99)
"""Of recall, on the scoreboard."""
HARDLY_SLOWER = 1.2
"""A p95 up to so many times another's is no reason to choose by."""
_ROUNDING = 1e-12
"""0.95 reached in other steps of addition is still 0.95."""


def recall_that_counts(recall: RecallFigures, protocol: Protocol) -> float:
    """What is held against a level: the lower end of the 95 % interval (vecscope), the mean
    (ann-benchmarks), the mean by id (vectordbbench)."""
    rules = RULES[protocol]
    if rules.by_id:
        return recall.id_mean
    return recall.mean.low if rules.lower_bound else recall.mean.value


def reaches(recall: RecallFigures, level: float, protocol: Protocol) -> bool:
    return recall_that_counts(recall, protocol) >= level - _ROUNDING


# --- the scoreboard -----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ScoreRow:
    """A candidate at a level of recall."""

    candidate: str
    level: float
    facts: CandidateFacts | None
    """None for the exact scan, which is the reference and wins nothing."""
    measurement: Measurement | None
    """At the smallest value that reaches the level, certified ones first; None where none does."""
    wins: bool
    """Whether it is the best of its level by the priority."""


def scoreboard(experiment: Experiment, levels: Sequence[float] = LEVELS) -> tuple[ScoreRow, ...]:
    """Each candidate at each level, in the order of the experiment, the exact scan last. At the
    level of the target it is as :func:`recommend` says."""
    protocol = experiment.spec.protocol
    target = experiment.spec.target
    priority = target.priority if target else Priority.LATENCY
    names = [facts.name for facts in experiment.facts]
    if experiment.exact is not None:
        names.append(EXACT_NAME)
    rows = []
    for level in levels:
        found = {
            name: _smallest(experiment.measurements_of(name), level, protocol) for name in names
        }
        contest = [
            (facts, measurement)
            for facts in experiment.facts
            if (measurement := found[facts.name]) is not None and measurement.certified
        ]
        if target is not None and level == target.recall and experiment.target_results:
            contest = _reaching(experiment)
            found |= {facts.name: measurement for facts, measurement in contest}
        winner = _best(contest, priority)
        rows += [
            ScoreRow(
                name,
                level,
                experiment.facts_of(name),
                found[name],
                wins=winner is not None and winner[0].name == name,
            )
            for name in names
        ]
    return tuple(sorted(rows, key=lambda row: names.index(row.candidate)))


def _smallest(
    measurements: Iterable[Measurement], level: float, protocol: Protocol
) -> Measurement | None:
    """The smallest value that reaches the level, since a larger one is quicker by chance only; of
    several kinds of iterative scan, whose values do not compare, the quickest."""
    reaching: dict[IterativeScan, Measurement] = {}
    for each in sorted(
        measurements, key=lambda each: (not each.certified, each.setting.value or 0)
    ):
        if reaches(each.recall, level, protocol):
            reaching.setdefault(each.setting.iterative_scan, each)
    return min(
        reaching.values(), key=lambda each: (not each.certified, each.latency.p50_ms), default=None
    )


_Contender = tuple[CandidateFacts, Measurement]


def _best(contest: Sequence[_Contender], priority: Priority) -> _Contender | None:
    """By the priority; what is equal in that, by p95."""
    keys: dict[Priority, Callable[[_Contender], tuple[float, ...]]] = {
        Priority.LATENCY: lambda each: (each[1].latency.p95_ms,),
        Priority.SIZE: lambda each: (each[0].index_bytes, each[1].latency.p95_ms),
        Priority.BUILD: lambda each: (each[0].build_seconds, each[1].latency.p95_ms),
    }
    return min(contest, key=keys[priority], default=None)


# --- the Pareto front ---------------------------------------------------------------------------


def pareto(measurements: Iterable[Measurement]) -> tuple[Measurement, ...]:
    """Those that no other beats in recall and queries a second (one client) at once, by rising
    recall; certified ones only. Of two that are equal in both the first is taken."""
    ordered = sorted(
        (each for each in measurements if each.certified),
        key=lambda each: (-each.recall.mean.value, -each.qps.get(1, 0.0)),
    )
    front: list[Measurement] = []
    best_qps = 0.0
    for each in ordered:
        if each.qps.get(1, 0.0) > best_qps:
            best_qps = each.qps[1]
            front.append(each)
    return tuple(reversed(front))


# --- one candidate and the target ---------------------------------------------------------------


def evaluate_target(
    target: Target,
    protocol: Protocol,
    facts: CandidateFacts,
    *,
    largest: RecallFigures | None = None,
    measurement: Measurement | None = None,
    only_off: bool = False,
) -> TargetResult:
    """What the search for the target came to.

    measurement: at the smallest setting that reaches the recall, None where none does; then
    largest: with the largest value. only_off: under a filter, and no iterative scan was tried.
    """
    if measurement is None:
        best = None if largest is None else recall_that_counts(largest, protocol)
        bound = "at least " if RULES[protocol].lower_bound else ""
        problem = (
            f"No setting reaches {format_percent(target.recall)}."
            if best is None
            else f"With the largest setting it finds {bound}{format_percent(best)}, below "
            f"{format_percent(target.recall)}."
        )
        remedy = _find_more(facts, only_off=only_off)
        return TargetResult(facts.name, None, False, best, problem, remedy)
    found = recall_that_counts(measurement.recall, protocol)
    if not measurement.certified:
        return TargetResult(
            facts.name,
            measurement.setting,
            False,
            found,
            f"It is not certified: {measurement.reason}",
            "Analyse the table, and look at the plan: the planner took another way.",
        )
    if target.p95_ms is not None and measurement.latency.p95_ms > target.p95_ms:
        return TargetResult(
            facts.name,
            measurement.setting,
            False,
            found,
            f"It reaches {format_percent(target.recall)} with "
            f"{measurement.setting.label}, but "
            f"in a p95 of {format_ms(measurement.latency.p95_ms)}, above "
            f"{format_ms(target.p95_ms)}.",
            _be_quicker(facts),
        )
    return TargetResult(facts.name, measurement.setting, True, found)


def _find_more(facts: CandidateFacts, *, only_off: bool) -> str:
    """What would raise the recall of a candidate that is at its end."""
    ways = []
    if only_off:
        ways.append("an iterative scan, which goes on where the filter left too few rows")
    if facts.storage == "bit":
        ways.append("more oversampling, or halfvec in place of bits")
    more_recall = facts.method.more_recall
    if more_recall is not None:
        ways.append(more_recall(facts.options))
    if facts.storage == "halfvec":
        ways.append("vector in place of halfvec, which rounds to 11 bits")
    if not ways:
        ways.append("nothing in the index: it has compared every row that it holds")
    return _sentence("What would help: " + "; ".join(ways))


def _be_quicker(facts: CandidateFacts) -> str:
    more_speed = facts.method.more_speed
    ways = [] if more_speed is None else [more_speed(facts.options)]
    if facts.storage == "vector":
        ways.append("halfvec, which reads half as much")
    ways.append("a lower recall to reach")
    return _sentence("What would help: " + "; ".join(ways))


# --- the recommendation -------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Recommendation:
    """The candidate and the search parameter to take, and why."""

    target: Target
    winner: CandidateFacts | None
    """None where no candidate reaches the target; so is the measurement."""
    measurement: Measurement | None
    headline: str
    """One sentence."""
    rationale: tuple[str, ...]
    """Sentences, the most important first."""

    @property
    def text(self) -> str:
        return " ".join((self.headline, *self.rationale))


def recommend(experiment: Experiment) -> Recommendation | None:
    """None where no target was set, or nothing was found out about it yet."""
    target = experiment.spec.target
    if target is None or not experiment.target_results:
        return None
    contest = _reaching(experiment)
    best = _best(contest, target.priority)
    others = [
        _other(experiment, target_result, best)
        for target_result in experiment.target_results
        if best is None or target_result.candidate != best[0].name
    ]
    if best is None:
        wanted = target.label
        return Recommendation(
            target, None, None, f"None of the candidates reaches {wanted}.", tuple(others)
        )
    facts, measurement = best
    rationale = [_found(experiment, measurement), _taken(measurement), _cost(facts)]
    if measurement.short:
        rationale.append(
            f"{measurement.short:,} of {measurement.queries:,} queries got fewer rows than there "
            "were to get."
        )
    rationale.append(_sentence(f"It is certified: {measurement.reason}"))
    rationale += others
    rationale += _reference(experiment, target, measurement)
    if experiment.changed:
        rationale.append(experiment.changed)
    return Recommendation(
        target,
        facts,
        measurement,
        f"Take {facts.name} with {measurement.setting.label}: the "
        f"{_superlative(target.priority)} of those that reach {target.label}."
        if len(contest) > 1
        else f"Take {facts.name} with {measurement.setting.label}: it reaches {target.label}.",
        tuple(rationale),
    )


def _reaching(experiment: Experiment) -> list[_Contender]:
    """The candidates that reach the target, each with its measurement there."""
    return [
        (facts, measurement)
        for facts in experiment.facts
        if (measurement := _at_outcome(experiment, facts.name)) is not None
    ]


def _at_outcome(experiment: Experiment, candidate: str) -> Measurement | None:
    """The measurement with which the candidate reached the target."""
    for target_result in experiment.target_results:
        if target_result.candidate == candidate and target_result.reached:
            for each in experiment.measurements_of(candidate):
                if each.setting == target_result.setting and each.certified:
                    return each
    return None


def _found(experiment: Experiment, measurement: Measurement) -> str:
    recall, data = measurement.recall, experiment.data
    where = "" if data is None else f" of {data.rows:,} rows"
    return (
        f"Asked {measurement.queries:,} queries for k = {measurement.k}{where}, it found "
        f"{format_percent(recall.mean.value)} of the true neighbours (95 % interval "
        f"{format_percent(recall.mean.low)} to {format_percent(recall.mean.high)}), "
        f"{format_percent(recall.worst_decile)} in the worst decile of the queries."
    )


def _taken(measurement: Measurement) -> str:
    latency = measurement.latency
    qps = ", ".join(
        f"{format_rate(rate)} queries a second with {format_count(clients, 'client')}"
        for clients, rate in sorted(measurement.qps.items())
    )
    return (
        f"It took {format_ms(latency.p50_ms)} in the median and {format_ms(latency.p95_ms)} at "
        f"the 95th percentile{f'; {qps}' if qps else ''}."
    )


def _cost(facts: CandidateFacts) -> str:
    return (
        f"The index takes {format_bytes(facts.index_bytes)} and "
        f"{format_duration(facts.build_seconds)} to build."
    )


def _other(experiment: Experiment, target_result: TargetResult, best: _Contender | None) -> str:
    """A sentence on a candidate that was not taken."""
    measurement = _at_outcome(experiment, target_result.candidate)
    if measurement is None:
        return f"{target_result.candidate}: {target_result.problem} {target_result.remedy}".strip()
    facts = experiment.facts_of(target_result.candidate)
    close = best is not None and (
        1 <= measurement.latency.p95_ms / best[1].latency.p95_ms <= HARDLY_SLOWER
    )
    cost = (
        ""
        if facts is None
        else f", {format_bytes(facts.index_bytes)}, {format_duration(facts.build_seconds)} to build"
    )
    return (
        f"{target_result.candidate} reaches it too, with {measurement.setting.label}: p95 "
        f"{format_ms(measurement.latency.p95_ms)}{cost}."
        + (" That is hardly slower: size and build time may decide." if close else "")
    )


def _reference(experiment: Experiment, target: Target, measurement: Measurement) -> list[str]:
    exact = experiment.exact
    if exact is None:
        return []
    said = f"An exact scan takes {format_ms(exact.latency.p50_ms)} in the median"
    if target.p95_ms is not None and exact.latency.p95_ms <= target.p95_ms:
        return [f"{said} and would do as well, without any index."]
    if exact.latency.p95_ms <= measurement.latency.p95_ms:
        return [f"{said}, which is no slower: at this size no index is needed."]
    times = exact.latency.p50_ms / measurement.latency.p50_ms
    return [f"{said}, {times:,.1f} times as long."]


def _superlative(priority: Priority) -> str:
    return {
        Priority.LATENCY: "quickest",
        Priority.SIZE: "smallest",
        Priority.BUILD: "quickest to build",
    }[priority]


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."
