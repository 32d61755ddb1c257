"""Two experiments side by side: what changed in the environment, the data, recall and latency.
Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lib.lab.experiment import Experiment
from lib.lab.measurement import Interval, Measurement, SearchParameter
from lib.lab.recommend import recommend

_ENVIRONMENT = {
    "postgres": "PostgreSQL",
    "pgvector": "pgvector",
    "machine": "machine",
    "cpus": "CPUs",
    "local_server": "server on this machine",
    "python": "Python",
    "load_average": "load average at the start",
    "load_average_at_end": "load average at the end",
}
_ALWAYS_DIFFERENT = {"load average at the start", "load average at the end"}
"""Shown with an experiment, and not counted as a difference between two."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A fact of an experiment that differs from the other's."""

    name: str
    before: str
    """As people read it; "–" where there was none."""
    after: str


@dataclass(frozen=True, eq=False)
class MeasurementDiff:
    """The measurements of one candidate at one search parameter in both experiments."""

    candidate: str
    text: str
    """The candidate's spec as text, "" for the exact scan."""
    setting: SearchParameter
    before: Measurement
    after: Measurement

    @property
    def label(self) -> str:
        """Such as “HNSW m 16, ef_construction 64, ef_search 40”."""
        return self.before.label

    @property
    def recall_change(self) -> float:
        return self.after.recall.mean.value - self.before.recall.mean.value

    @property
    def recall_apart(self) -> bool:
        """Whether the two 95 % intervals do not meet, so that chance alone is no good
        explanation."""
        return _apart(self.before.recall.mean, self.after.recall.mean)

    @property
    def p50_ratio(self) -> float:
        """After / before."""
        return self.after.latency.p50_ms / self.before.latency.p50_ms

    @property
    def p95_ratio(self) -> float:
        """After / before."""
        return self.after.latency.p95_ms / self.before.latency.p95_ms


@dataclass(frozen=True, eq=False)
class ExperimentDiff:
    """What differs between two experiments."""

    before: Experiment
    after: Experiment
    environment: tuple[Difference, ...]
    data: tuple[Difference, ...]
    setup: tuple[Difference, ...]
    """The protocol, the queries, the filter and the rest of what the user set."""
    measurements: tuple[MeasurementDiff, ...]
    """Of what was measured in both, in the order of :attr:`before`."""
    only_before: tuple[str, ...]
    """The texts of candidates that only this experiment has."""
    only_after: tuple[str, ...]
    recommendation: Difference
    """The headlines, "–" where there is none."""

    @property
    def comparable(self) -> bool:
        """Whether both measured the same data with the same setup."""
        return not (self.data or self.setup)


def compare_experiments(before: Experiment, after: Experiment) -> ExperimentDiff:
    """Candidates are the same where their specs are, whatever they are called."""
    names_before, names_after = _names_by_text(before), _names_by_text(after)
    measurements_after = {
        (measurement.candidate, measurement.setting): measurement
        for measurement in after.measurements
    }
    measurements = []
    for text, name in names_before.items():
        if text not in names_after:
            continue
        for earlier in before.measurements_of(name):
            later = measurements_after.get((names_after[text], earlier.setting))
            if later is not None:
                measurements.append(MeasurementDiff(name, text, earlier.setting, earlier, later))
    return ExperimentDiff(
        before=before,
        after=after,
        environment=differences(
            environment_facts(before.environment), environment_facts(after.environment)
        ),
        data=differences(_data(before), _data(after)),
        setup=differences(_setup(before), _setup(after)),
        measurements=tuple(measurements),
        only_before=tuple(text for text in names_before if text and text not in names_after),
        only_after=tuple(text for text in names_after if text and text not in names_before),
        recommendation=Difference("recommendation", _headline(before), _headline(after)),
    )


def _names_by_text(experiment: Experiment) -> dict[str, str]:
    """The candidates' specs as text → their names; "" → the exact scan's."""
    names = {facts.text: facts.name for facts in experiment.facts}
    if experiment.exact is not None:
        names[""] = experiment.exact.candidate
    return names


def _headline(experiment: Experiment) -> str:
    recommendation = recommend(experiment)
    return "–" if recommendation is None else recommendation.headline


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Difference, ...]:
    names = dict.fromkeys([*before, *after])
    return tuple(
        Difference(name, _text(before.get(name)), _text(after.get(name)))
        for name in names
        if before.get(name) != after.get(name) and name not in _ALWAYS_DIFFERENT
    )


def environment_facts(environment: Mapping[str, Any]) -> dict[str, str]:
    """What an experiment depends on besides the index, by its name for people; the server's
    settings last, by PostgreSQL's own names."""
    known = {
        label: _text(round(value, 1) if isinstance(value, float) else value)
        for name, label in _ENVIRONMENT.items()
        if (value := environment.get(name)) is not None
    }
    settings = environment.get("settings", {})
    return known | {name: _text(settings[name]) for name in sorted(settings)}


def _data(experiment: Experiment) -> dict[str, Any]:
    data = experiment.data
    if data is None:
        return {}
    return {
        "rows": data.rows,
        "state of the collection (change mark)": data.change_mark,
        "dimensions": data.dimensions,
        "distance": data.distance,
        "storage": data.storage,
        "share that the filter leaves": round(data.selectivity, 4),
    }


def _setup(experiment: Experiment) -> dict[str, Any]:
    spec, data = experiment.spec, experiment.data
    return {
        "protocol": spec.protocol.value,
        "k": spec.k,
        "queries": data.queries if data else spec.queries.count,
        "where they come from": data.queries_described if data else spec.queries.label,
        "filter": " and ".join(map(str, spec.filters)) or "none",
        "rounds": spec.rounds,
        "clients": ", ".join(map(str, spec.clients)),
        "oversampling": spec.oversampling,
    }


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _apart(one: Interval, other: Interval) -> bool:
    return one.high < other.low or other.high < one.low
