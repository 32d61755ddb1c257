"""The view “By setting”: the parameter sweep, latencies, concurrent clients and costs."""

from __future__ import annotations

import streamlit as st

from lib.lab.measurement import Measurement
from lib.ui.lab.figures.costs import costs
from lib.ui.lab.figures.queries import latency_shares
from lib.ui.lab.figures.sweep import by_parameter
from lib.ui.lab.figures.throughput import by_clients
from lib.ui.lab.model import ExperimentResults
from lib.ui.lab.picture import show_picture
from lib.ui.shared.markdown import escape


def show_by_setting(results: ExperimentResults, picked: Measurement) -> None:
    experiment = results.experiment
    show_picture(by_parameter(experiment.measurements, results.target), "by-parameter")
    st.caption(
        "In the lower half the line with points is p50, the thin one above it p95. Dashed: the "
        "target."
    )
    chosen = _one_of_each_candidate(results, picked)
    labels = ", ".join(measurement.label for measurement in chosen)
    show_picture(latency_shares(chosen), "latencies")
    st.caption(
        "The setting of each candidate that reaches the target, and the picked one: "
        f"{escape(labels)}. Each query by the median of its rounds; the p95 of the tables is the "
        "median of the rounds' own."
    )
    if any(len(measurement.qps) > 1 for measurement in chosen):
        show_picture(by_clients(chosen), "clients")
    if experiment.facts:
        show_picture(costs(experiment.facts), "costs")


def _one_of_each_candidate(results: ExperimentResults, picked: Measurement) -> list[Measurement]:
    """Each candidate at the target, else at the level of the scoreboard nearest to it that it
    reaches; and the picked measurement."""
    chosen: dict[str, Measurement] = {}
    for target_result in results.experiment.target_results:
        for measurement in results.experiment.measurements_of(target_result.candidate):
            if measurement.setting == target_result.setting:
                chosen[target_result.candidate] = measurement
    rows = list(results.scoreboard)
    if results.target is not None:
        level = results.target.recall
        rows.sort(key=lambda row: abs(row.level - level))
    for row in rows:
        if row.measurement is not None:
            chosen.setdefault(row.candidate, row.measurement)
    measurements = list(chosen.values())
    return measurements if picked in measurements else [*measurements, picked]
