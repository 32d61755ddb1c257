"""The part “Results”: one experiment with its answer, and below it the view that is open."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from enum import StrEnum
from typing import assert_never

import pandas as pd
import streamlit as st

from lib.formats import (
    format_bytes,
    format_count,
    format_duration,
    format_ms,
    format_percent,
    format_rate,
)
from lib.lab.experiment import CandidateFacts, Experiment, ExperimentState
from lib.lab.measurement import Measurement, Protocol
from lib.lab.recommend import Recommendation
from lib.lab.spec import RULES, Target
from lib.ui.lab.apply import show_export_and_apply
from lib.ui.lab.by_setting import show_by_setting
from lib.ui.lab.diff import show_compare_and_export
from lib.ui.lab.measurement import format_interval, picked_measurement
from lib.ui.lab.measurements_table import show_measurements_table
from lib.ui.lab.model import CollectionLab, ExperimentResults
from lib.ui.lab.progress import resume_button
from lib.ui.lab.queries import show_queries
from lib.ui.lab.recall_and_speed import show_recall_and_speed
from lib.ui.shared.markdown import escape
from lib.ui.shared.page import guarded, refresh
from lib.ui.shared.url_state import by_value
from lib.ui.shared.widgets import segmented
from lib.vectors.distance import Distance

VIEW = "result"
"""In the URL: the view that is open."""
_PROTOCOLS_HELP = "  \n".join(
    f"**{protocol.value}**: {RULES[protocol].description}." for protocol in Protocol
)


class View(StrEnum):
    """What is shown below the answer."""

    ANSWER = "answer"
    SETTINGS = "settings"
    QUERIES = "queries"
    TABLE = "table"
    TAKE = "take"
    COMPARE = "compare"

    @property
    def label(self) -> str:
        return {
            View.ANSWER: "Recall and speed",
            View.SETTINGS: "By setting",
            View.QUERIES: "Query by query",
            View.TABLE: "All measurements",
            View.TAKE: "Export and apply",
            View.COMPARE: "Compare and export",
        }[self]


@guarded
def show_results(lab: CollectionLab, experiment_id: uuid.UUID) -> None:
    """An experiment, also while it still runs."""
    results = lab.results(experiment_id)
    experiment = results.experiment
    if resume_button(experiment, is_busy=lab.is_busy):
        lab.resume(experiment)
        refresh()
    _show_basis(experiment)
    _show_state(experiment)
    _show_caveats(experiment)
    if experiment.measurements:
        _show_answer(results)
        _show_view(lab, results)
    elif experiment.state is not ExperimentState.RUNNING:
        st.info("Nothing was measured.", icon=":material/inbox:")
    _show_environment(experiment)


def _show_view(lab: CollectionLab, results: ExperimentResults) -> None:
    """Only the view that is open is drawn."""
    view = _view_picker()
    picked = picked_measurement(results)
    match view:
        case View.ANSWER:
            show_recall_and_speed(results, picked)
        case View.SETTINGS:
            show_by_setting(results, picked)
        case View.QUERIES:
            show_queries(lab, results, picked)
        case View.TABLE:
            show_measurements_table(results, picked)
        case View.TAKE:
            show_export_and_apply(lab, results, picked)
        case View.COMPARE:
            show_compare_and_export(lab, results.experiment)
        case _:
            assert_never(view)


def _view_picker() -> View:
    return segmented(
        "View",
        by_value(list(View)),
        lambda view: view.label,
        key=VIEW,
        default=View.ANSWER,
        show_label=False,
    )


# --- what was measured, and what to know of it --------------------------------------------------


def _show_basis(experiment: Experiment) -> None:
    spec, data = experiment.spec, experiment.data
    parts = [spec.queries.label if data is None else data.queries_described, f"k = {spec.k}"]
    if data is not None:
        parts.append(f"{data.rows:,} rows × {data.dimensions:,} ({data.storage})")
        parts.append(Distance(data.distance).label)
    if spec.filters:
        parts.append(f"where {' and '.join(map(str, spec.filters))}")
    if data is not None and data.selectivity < 1:
        parts.append(f"the filter leaves {format_percent(data.selectivity)} of the rows")
    st.caption(
        f"{escape(' · '.join(parts))} · protocol **{spec.protocol.value}**", help=_PROTOCOLS_HELP
    )


def _show_state(experiment: Experiment) -> None:
    measured = format_count(len(experiment.measurements), "measurement")
    match experiment.state:
        case ExperimentState.DONE:
            pass
        case ExperimentState.FAILED:
            st.error(
                f"**It failed.** {escape(experiment.error)} {escape(experiment.hint)}  \n"
                f"{measured} are kept.",
                icon=":material/error:",
            )
        case ExperimentState.CANCELLED | ExperimentState.INTERRUPTED:
            st.warning(
                f"**It was {experiment.state.value}.** {measured} are kept; it can go on from "
                "there.",
                icon=":material/power_off:",
            )
        case ExperimentState.RUNNING:
            st.info(f"It is being measured: {measured} so far.", icon=":material/pending:")
        case _:
            assert_never(experiment.state)


def _show_caveats(experiment: Experiment) -> None:
    """What one has to know before one reads a figure; the grave ones as warnings."""
    if experiment.stale:
        st.warning(
            "**Stale**: the collection was written to since. The figures are of its state then.",
            icon=":material/history:",
        )
    if experiment.changed:
        st.warning(escape(experiment.changed), icon=":material/edit_note:")
    uncertified = [one for one in experiment.measurements if not one.certified]
    if uncertified:
        measured = format_count(len(experiment.measurements), "measurement")
        st.warning(
            f"**{len(uncertified):,} of {measured} are not certified**: they are not the index's, "
            f"are drawn hollow, and win nothing. {escape(uncertified[0].reason)}",
            icon=":material/warning:",
        )
    notes = _small_notes(experiment)
    if notes:
        st.caption("  \n".join(f":material/info: {escape(note)}" for note in notes))


def _small_notes(experiment: Experiment) -> list[str]:
    data = experiment.data
    notes = [] if data is None else list(data.notes)
    if data is not None and data.tied:
        notes.append(
            f"{format_count(data.tied, 'query', 'queries')} had neighbours at the same "
            "distance as the last: any of them counts as a hit."
        )
    for candidate in experiment.facts:
        notes += [f"{candidate.name}: {notice}" for notice in candidate.notices]
    short = sum(measurement.short > 0 for measurement in experiment.measurements)
    if short:
        notes.append(
            f"With {format_count(short, 'setting')} some queries got fewer rows than there "
            "were to get (column “short” of all measurements)."
        )
    return notes


# --- the answer ---------------------------------------------------------------------------------


def _show_answer(results: ExperimentResults) -> None:
    recommendation = results.recommendation
    if recommendation is None:
        if results.target is None:
            st.caption("No target was set: this experiment measured settings and no more.")
        return
    with st.container(border=True):
        st.caption(f"Target: {_describe_target(recommendation.target)}")
        st.subheader(escape(recommendation.headline), anchor=False)
        winner, measurement = recommendation.winner, recommendation.measurement
        if winner is not None and measurement is not None:
            _show_winner(results.experiment, winner, measurement)
        _show_rationale(recommendation)


def _show_winner(experiment: Experiment, winner: CandidateFacts, measurement: Measurement) -> None:
    recall, latency = measurement.recall, measurement.latency
    is_by_id = experiment.spec.rules.by_id
    recall_column, p95_column, rate_column, size_column, build_column = st.columns(5)
    if is_by_id:
        recall_column.metric(
            f"Recall@{measurement.k} by id",
            format_percent(recall.id_mean),
            help="The share of just the true neighbours that it found: ties are misses.",
        )
    else:
        recall_column.metric(
            f"Recall@{measurement.k}",
            format_percent(recall.mean.value),
            help="The share of the true neighbours that it found, ties being hits.",
        )
    p95_column.metric(
        "p95",
        format_ms(latency.p95_ms),
        help=f"19 of 20 queries are quicker. The median is {format_ms(latency.p50_ms)}.",
    )
    rate_column.metric(
        "Queries a second",
        format_rate(measurement.qps.get(1, 0.0)),
        help="With one client that asks one after the other.",
    )
    size_column.metric(
        "Index size", format_bytes(winner.index_bytes), help="On disk (pg_relation_size)."
    )
    build_column.metric(
        "Build",
        format_duration(winner.build_seconds),
        help="The index alone, on a table that is filled already.",
    )
    st.caption(
        f"95 % interval of the recall{' by distance' if is_by_id else ''}: "
        f"**{format_interval(recall.mean)}**, by bootstrap over "
        f"{format_count(measurement.queries, 'query', 'queries')}"
    )


def _show_rationale(recommendation: Recommendation) -> None:
    """Open where no candidate reaches the target: then it is the answer."""
    is_open = recommendation.winner is None
    with st.expander("Rationale", icon=":material/fact_check:", expanded=is_open):
        st.markdown("\n".join(f"- {escape(sentence)}" for sentence in recommendation.rationale))


def _describe_target(target: Target) -> str:
    conditions = f"recall of at least {format_percent(target.recall)}"
    if target.p95_ms is not None:
        conditions += f", p95 of at most {format_ms(target.p95_ms)}"
    return f"{conditions}; of those that reach it: {target.priority.label.lower()}"


# --- the environment ----------------------------------------------------------------------------


def _show_environment(experiment: Experiment) -> None:
    rows: dict[str, object] = {}
    for name, value in experiment.environment.items():
        if isinstance(value, Mapping):
            rows |= {f"{setting} (server)": set_to for setting, set_to in value.items()}
        else:
            rows[name.replace("_", " ")] = value
    for candidate in experiment.facts:
        rows[f"built: {candidate.name}"] = (
            f"{candidate.rows:,} rows, maintenance_work_mem {candidate.maintenance_work_mem}, "
            f"parallel workers {candidate.parallel_workers}"
            + (", built before this experiment" if candidate.reused else "")
        )
    if not rows:
        return
    with st.expander("Where it was measured", icon=":material/dns:"):
        st.dataframe(
            pd.DataFrame({"": list(rows), "Value": [str(value) for value in rows.values()]}),
            hide_index=True,
            alt="The environment of the experiment",
        )
