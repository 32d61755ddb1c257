"""An experiment as a file: JSON for programs, CSV for spreadsheets, and one HTML page for people
without access (:mod:`lib.lab.report_page`). Pure."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from lib.lab.experiment import Experiment
from lib.lab.measurement import FIGURES, Measurement, RateFigure
from lib.lab.recommend import ScoreRow, recommend, scoreboard

FORM = "vecscope experiment 1"
"""The form of the JSON: another number where a field changes its meaning."""


def experiment_json(
    experiment: Experiment, collection: str, *, with_queries: bool = False
) -> dict[str, Any]:
    """All that is known of it. with_queries: also each measurement's recall and latency by query,
    in the order of the queries."""
    recommendation = recommend(experiment)
    return {
        "form": FORM,
        "collection": collection,
        "experiment": {
            "id": str(experiment.id),
            "name": experiment.name,
            "state": experiment.state.value,
            "error": experiment.error,
            "hint": experiment.hint,
            "changed": experiment.changed,
            "stale": experiment.stale,
            "created_at": experiment.created_at.isoformat(),
            "finished_at": experiment.finished_at and experiment.finished_at.isoformat(),
        },
        "spec": experiment.spec.to_json(),
        "environment": dict(experiment.environment),
        "data": experiment.data and experiment.data.to_json(),
        "candidates": [each.to_json() for each in experiment.facts],
        "measurements": [
            measurement_json(experiment, each, with_queries=with_queries)
            for each in experiment.ordered
        ],
        "outcomes": [each.to_json() for each in experiment.target_results],
        "scoreboard": [_score_json(row) for row in scoreboard(experiment)],
        "recommendation": recommendation
        and {
            "winner": recommendation.winner and recommendation.winner.name,
            "spec": recommendation.winner and recommendation.winner.text,
            "setting": recommendation.measurement and recommendation.measurement.setting.label,
            "headline": recommendation.headline,
            "evidence": list(recommendation.rationale),
        },
    }


def experiment_json_file(
    experiment: Experiment, collection: str, *, with_queries: bool = False
) -> bytes:
    """:func:`experiment_json` as the bytes of a file."""
    document = experiment_json(experiment, collection, with_queries=with_queries)
    return (json.dumps(document, indent=2, allow_nan=False) + "\n").encode()


def measurement_json(
    experiment: Experiment, measurement: Measurement, *, with_queries: bool = False
) -> dict[str, Any]:
    """A measurement with all of its figures, at their places in JSON. with_queries: also recall
    and latency of each query."""
    setting = measurement.setting
    facts = experiment.facts_of(measurement.candidate)
    document: dict[str, Any] = {
        "candidate": measurement.candidate,
        "spec": facts and facts.text,
        "parameter": {
            "name": setting.name or None,
            "value": setting.value,
            "iterative_scan": setting.iterative_scan.value,
        },
    }
    for figure in FIGURES:
        *outer, key = figure.keys
        level = document
        for name in outer:
            level = level.setdefault(name, {})
        level[key] = figure.value(measurement)
    document["qps"] = {str(clients): rate for clients, rate in sorted(measurement.qps.items())}
    if with_queries:
        document["recalls"] = measurement.recalls.tolist()
        document["latencies_ms"] = measurement.latencies_ms.tolist()
    return document


def _score_json(row: ScoreRow) -> dict[str, Any]:
    measurement = row.measurement
    return {
        "candidate": row.candidate,
        "level": row.level,
        "reached": measurement is not None,
        "setting": measurement and measurement.setting.label,
        "p50_ms": measurement and measurement.latency.p50_ms,
        "p95_ms": measurement and measurement.latency.p95_ms,
        "qps": measurement and measurement.qps.get(1),
        "certified": measurement and measurement.certified,
        "index_bytes": row.facts and row.facts.index_bytes,
        "build_seconds": row.facts and row.facts.build_seconds,
        "wins": row.wins,
    }


_BEFORE_FIGURES = ("candidate", "spec", "kind", "parameter", "value", "iterative_scan")
_OF_CANDIDATE = ("rows", "build_seconds", "index_bytes", "table_bytes")


def experiment_csv(experiment: Experiment) -> bytes:
    """A row for each measurement: candidate and search parameter, the figures, what the candidate
    takes, then queries a second (``qps_1`` and so on).

    UTF-8 with a byte-order mark, which tells Excel; lines end with CR LF (RFC 4180).
    """
    rates = RateFigure.of(experiment.measurements)
    columns = (
        *_BEFORE_FIGURES,
        *(figure.name for figure in FIGURES),
        *_OF_CANDIDATE,
        *(rate.name for rate in rates),
    )
    text = io.StringIO()
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    for measurement in experiment.ordered:
        qps = {rate.name: rate.value(measurement) for rate in rates}
        writer.writerow(_csv_row(experiment, measurement) | qps)
    return text.getvalue().encode("utf-8-sig")


def _csv_row(experiment: Experiment, measurement: Measurement) -> dict[str, Any]:
    setting = measurement.setting
    row: dict[str, Any] = {
        "candidate": measurement.candidate,
        "kind": "exact" if setting.method is None else setting.method.name,
        "parameter": setting.name,
        "value": setting.value,
        "iterative_scan": setting.iterative_scan.value,
        **measurement.figures(),
    }
    facts = experiment.facts_of(measurement.candidate)
    if facts is not None:
        row["spec"] = facts.text
        row |= {name: getattr(facts, name) for name in _OF_CANDIDATE}
    return row
