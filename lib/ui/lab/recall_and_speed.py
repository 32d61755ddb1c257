"""The view “Recall and speed”: what each setting trades, and what each level of recall takes."""

from __future__ import annotations

from functools import partial

import pandas as pd
import streamlit as st

from lib.formats import format_bytes, format_duration, format_percent
from lib.lab.measurement import Measurement
from lib.lab.recommend import ScoreRow
from lib.lab.spec import RULES, Priority
from lib.ui.lab.figures.trade_off import recall_qps
from lib.ui.lab.measurement import measurement_picker, pick_clicked_point, show_measurement
from lib.ui.lab.measurement_rows import key_of
from lib.ui.lab.model import ExperimentResults
from lib.ui.lab.picture import show_picture
from lib.ui.shared.markdown import escape


def show_recall_and_speed(results: ExperimentResults, picked: Measurement) -> None:
    # A key for each setting: a point that was clicked does not stay selected in the next picture.
    chart_key = f"lab_results:trade:{key_of(picked)}"
    show_picture(
        recall_qps(
            results.experiment.measurements,
            results.pareto,
            results.target,
            recommended=results.recommended,
            picked=picked,
        ),
        "recall-qps",
        key=chart_key,
        on_select=partial(pick_clicked_point, chart_key),
        selection_mode="points",
    )
    st.caption(
        "Right and up is better. Each point is a setting: click one to look at it below. Its bar "
        "is the 95 % interval, the dashed line the target."
    )
    measurement_picker(results)
    show_measurement(picked)
    _show_scoreboard(results)


def _show_scoreboard(results: ExperimentResults) -> None:
    protocol = results.experiment.spec.protocol
    st.markdown(
        "**What each candidate takes to reach a recall**",
        help="The smallest setting that was measured and reaches it. A level counts as reached by "
        "the protocol's own rule.",
    )
    priority = Priority.LATENCY if results.target is None else results.target.priority
    rows = sorted(results.scoreboard, key=lambda row: row.level)
    st.dataframe(
        pd.DataFrame([_cells(row) for row in rows]),
        hide_index=True,
        column_config={
            "Best": st.column_config.TextColumn(help=f"By: {priority.label}"),
            "p50, ms": st.column_config.NumberColumn(format="%.2f"),
            "p95, ms": st.column_config.NumberColumn(format="%.2f"),
            "Queries/s": st.column_config.NumberColumn(
                format="%.0f", help="With one client that asks one after the other."
            ),
            "Certified": st.column_config.TextColumn(
                help="Whether the plan used the candidate's index."
            ),
        },
        alt="For each candidate and level of recall the smallest setting, its latency, size and "
        "build time",
    )
    st.caption(f"Protocol **{protocol.value}**: {escape(RULES[protocol].description)}.")


def _cells(row: ScoreRow) -> dict[str, object]:
    measurement, facts = row.measurement, row.facts
    cells: dict[str, object] = {
        "Recall": f"≥ {format_percent(row.level)}",
        "Best": "★" if row.wins else "",
        "Candidate": row.candidate,
        "Setting": "not reached",
        "p50, ms": None,
        "p95, ms": None,
        "Queries/s": None,
        "Index": "–" if facts is None else format_bytes(facts.index_bytes),
        "Build": "–" if facts is None else format_duration(facts.build_seconds),
        "Certified": "–",
    }
    if measurement is not None:
        cells |= {
            "Setting": measurement.setting.label,
            "p50, ms": measurement.latency.p50_ms,
            "p95, ms": measurement.latency.p95_ms,
            "Queries/s": measurement.qps.get(1),
            "Certified": "yes" if measurement.certified else "NO",
        }
    return cells
