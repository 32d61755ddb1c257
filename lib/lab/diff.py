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
_SELDOM_THE_SAME = {"load average at the start", "load average at the end"}
"""Shown with an experiment, and no difference between two."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A fact that is another. before, after: in words, "–" where there was none."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, eq=False)
class MeasuredTwice:
    """One (candidate, setting) in both. text: the candidate as its spec's text, "" for the exact
    scan. recall_apart: whether the two 95 % intervals do not meet, so that chance alone is no good
    explanation. p50_ratio, p95_ratio: after / before."""

    candidate: str
    text: str
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
        return _apart(self.before.recall.mean, self.after.recall.mean)

    @property
    def p50_ratio(self) -> float:
        return self.after.latency.p50_ms / self.before.latency.p50_ms

    @property
    def p95_ratio(self) -> float:
        return self.after.latency.p95_ms / self.before.latency.p95_ms


@dataclass(frozen=True, eq=False)
class Compared:
    """What differs between two experiments."""

    before: Experiment

    after: Experiment

    environment: tuple[Difference, ...]
    """What differs in it; so with ``data`` and ``asked``."""

    data: tuple[Difference, ...]

    asked: tuple[Difference, ...]

    measurements: tuple[MeasuredTwice, ...]
    """Of what was measured in both, in the order of ``before``."""

    only_before: tuple[str, ...]
    """Candidates' texts; so is ``only_after``."""

    only_after: tuple[str, ...]

    advice: Difference
    """The headlines of the recommendations, "–" where there is none."""

    @property
    def comparable(self) -> bool:
        """Whether the same was asked of the same data."""
        return not (self.data or self.asked)


def compare_experiments(before: Experiment, after: Experiment) -> Compared:
    """Candidates are the same where their specs are, whatever they are called."""
    texts = [{each.text: each.name for each in one.facts} for one in (before, after)]
    for one, names in zip((before, after), texts, strict=True):
        if one.exact is not None:
            names[""] = one.exact.candidate
    later = {(each.candidate, each.setting): each for each in after.measurements}
    measured = [
        MeasuredTwice(name, text, each.setting, each, again)
        for text, name in texts[0].items()
        if text in texts[1]
        for each in before.measurements_of(name)
        if (again := later.get((texts[1][text], each.setting))) is not None
    ]
    advice = [recommend(one) for one in (before, after)]
    headlines = [one.headline if one else "–" for one in advice]
    return Compared(
        before=before,
        after=after,
        environment=differences(
            environment_words(before.environment), environment_words(after.environment)
        ),
        data=differences(_data(before), _data(after)),
        asked=differences(_asked(before), _asked(after)),
        measurements=tuple(measured),
        only_before=tuple(text for text in texts[0] if text and text not in texts[1]),
        only_after=tuple(text for text in texts[1] if text and text not in texts[0]),
        advice=Difference("recommendation", headlines[0], headlines[1]),
    )


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Difference, ...]:
    names = dict.fromkeys([*before, *after])
    return tuple(
        Difference(name, _words(before.get(name)), _words(after.get(name)))
        for name in names
        if before.get(name) != after.get(name) and name not in _SELDOM_THE_SAME
    )


def environment_words(environment: Mapping[str, Any]) -> dict[str, str]:
    """What an experiment depends on besides the index, by its name for people; the server's
    settings last, by PostgreSQL's own names."""
    known = {
        label: _words(round(value, 1) if isinstance(value, float) else value)
        for name, label in _ENVIRONMENT.items()
        if (value := environment.get(name)) is not None
    }
    settings = environment.get("settings", {})
    return known | {name: _words(settings[name]) for name in sorted(settings)}


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


def _asked(experiment: Experiment) -> dict[str, Any]:
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


def _words(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _apart(one: Interval, other: Interval) -> bool:
    return one.high < other.low or other.high < one.low
