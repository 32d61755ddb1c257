"""An experiment as a file: JSON for programs, CSV for spreadsheets, and one HTML page for people
without access (:mod:`lib.lab.report_page`). Pure."""

from __future__ import annotations

import csv
import io
from typing import Any

from lib.lab.experiment import Experiment, setting_words
from lib.lab.measurement import Measurement
from lib.lab.recommend import ScoreRow, recommend, scoreboard

FORM = "vecscope experiment 1"
"""The form of the JSON: another number where a field changes its meaning."""

CSV_COLUMNS = (
    *("candidate", "spec", "kind", "parameter", "value", "iterative_scan", "k", "queries"),
    *("rounds", "recall", "recall_low", "recall_high", "id_recall", "worst_decile_recall"),
    *("zero_recall_queries", "p50_ms", "p95_ms", "p99_ms", "server_ms", "truncated", "buffers"),
    *("certified", "reason", "plan_index", "rows", "build_seconds", "index_bytes", "table_bytes"),
)
"""Before those of queries a second, one for each number of clients."""


def experiment_json(
    experiment: Experiment, collection: str, *, with_queries: bool = False
) -> dict[str, Any]:
    """All that is known of it. with_queries: also each measurement's recall and latency by query,
    in the order of the queries."""
    advice = recommend(experiment)
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
        "outcomes": [each.to_json() for each in experiment.outcomes],
        "scoreboard": [_score_json(row) for row in scoreboard(experiment)],
        "recommendation": advice
        and {
            "winner": advice.winner and advice.winner.name,
            "spec": advice.winner and advice.winner.text,
            "setting": advice.measurement and setting_words(advice.measurement.setting),
            "headline": advice.headline,
            "evidence": list(advice.evidence),
        },
    }


def measurement_json(
    experiment: Experiment, measurement: Measurement, *, with_queries: bool = False
) -> dict[str, Any]:
    """truncated: queries that got fewer rows than there were to get."""
    setting, recall, latency = measurement.setting, measurement.recall, measurement.latency
    facts = experiment.facts_of(measurement.candidate)
    found: dict[str, Any] = {
        "candidate": measurement.candidate,
        "spec": facts and facts.text,
        "parameter": {
            "name": setting.parameter or None,
            "value": setting.value,
            "iterative_scan": setting.iterative_scan.value,
        },
        "k": measurement.k,
        "queries": measurement.queries,
        "rounds": measurement.rounds,
        "recall": {
            "mean": recall.mean.value,
            "low": recall.mean.low,
            "high": recall.mean.high,
        },
        "id_recall": recall.id_mean,
        "worst_decile_recall": recall.worst_decile,
        "zero_recall_queries": recall.zero,
        "latency_ms": {
            "p50": latency.p50_ms,
            "p95": latency.p95_ms,
            "p99": latency.p99_ms,
            "server": latency.server_ms,
        },
        "qps": {str(clients): rate for clients, rate in sorted(measurement.qps.items())},
        "certified": measurement.certified,
        "reason": measurement.reason,
        "plan_index": measurement.plan_index,
        "truncated": measurement.short,
        "buffers": measurement.buffers,
    }
    if with_queries:
        found["recalls"] = measurement.recalls.tolist()
        found["latencies_ms"] = measurement.latencies_ms.tolist()
    return found


def _score_json(row: ScoreRow) -> dict[str, Any]:
    measurement = row.measurement
    return {
        "candidate": row.candidate,
        "level": row.level,
        "reached": measurement is not None,
        "setting": measurement and setting_words(measurement.setting),
        "p50_ms": measurement and measurement.latency.p50_ms,
        "p95_ms": measurement and measurement.latency.p95_ms,
        "qps": measurement and measurement.qps.get(1),
        "certified": measurement and measurement.certified,
        "index_bytes": row.facts and row.facts.index_bytes,
        "build_seconds": row.facts and row.facts.build_seconds,
        "wins": row.wins,
    }


def experiment_csv(experiment: Experiment) -> bytes:
    """A row for each measurement: CSV_COLUMNS, then ``qps_1`` and so on. UTF-8 with a byte-order
    mark, which tells Excel; lines end with CR LF (RFC 4180)."""
    clients = sorted({count for each in experiment.measurements for count in each.qps})
    columns = (*CSV_COLUMNS, *(f"qps_{count}" for count in clients))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    for each in experiment.ordered:
        writer.writerow(_row(experiment, each))
    return text.getvalue().encode("utf-8-sig")


def _row(experiment: Experiment, measurement: Measurement) -> dict[str, Any]:
    setting, recall, latency = measurement.setting, measurement.recall, measurement.latency
    facts = experiment.facts_of(measurement.candidate)
    row: dict[str, Any] = {
        "candidate": measurement.candidate,
        "kind": "exact" if setting.kind is None else setting.kind.value,
        "parameter": setting.parameter,
        "value": setting.value,
        "iterative_scan": setting.iterative_scan.value,
        "k": measurement.k,
        "queries": measurement.queries,
        "rounds": measurement.rounds,
        "recall": recall.mean.value,
        "recall_low": recall.mean.low,
        "recall_high": recall.mean.high,
        "id_recall": recall.id_mean,
        "worst_decile_recall": recall.worst_decile,
        "zero_recall_queries": recall.zero,
        "p50_ms": latency.p50_ms,
        "p95_ms": latency.p95_ms,
        "p99_ms": latency.p99_ms,
        "server_ms": latency.server_ms,
        "truncated": measurement.short,
        "buffers": measurement.buffers,
        "certified": measurement.certified,
        "reason": measurement.reason,
        "plan_index": measurement.plan_index,
    }
    if facts is not None:
        row |= {
            "spec": facts.text,
            "rows": facts.rows,
            "build_seconds": facts.build_seconds,
            "index_bytes": facts.index_bytes,
            "table_bytes": facts.table_bytes,
        }
    return row | {f"qps_{clients}": rate for clients, rate in measurement.qps.items()}
