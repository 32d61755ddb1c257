"""The view “Compare and export”: an experiment as a file, and what differs between two of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import streamlit as st

from lib.formats import format_count
from lib.lab.diff import Difference, ExperimentDiff, MeasurementDiff
from lib.lab.experiment import Experiment
from lib.lab.repository import ExperimentSummary
from lib.ui.lab.model import CollectionLab
from lib.ui.shared.markdown import escape
from lib.ui.shared.url_state import by_value
from lib.ui.shared.widgets import optional_choice

OTHER = "versus"
"""In the URL: the id of the experiment to compare with."""


def show_compare_and_export(lab: CollectionLab, experiment: Experiment) -> None:
    _show_exports(lab, experiment)
    other = _other_experiment_picker(experiment, lab.experiments)
    if other is not None:
        _show_diff(lab.compare(experiment, other.id))


# --- export -------------------------------------------------------------------------------------


def _show_exports(lab: CollectionLab, experiment: Experiment) -> None:
    """Buttons for files, each made only when it is asked for."""
    st.markdown("**Export the experiment**")
    with st.container(horizontal=True, gap="small"):
        _export_button(
            "JSON",
            experiment.name,
            "json",
            "application/json",
            lambda: lab.experiment_json(experiment),
            "All that is known of it, for programs: settings, environment, measurements, "
            "recommendation.",
        )
        _export_button(
            "Measurements (csv)",
            experiment.name,
            "csv",
            "text/csv",
            lambda: lab.experiment_csv(experiment),
            "A line for each measurement, for a spreadsheet.",
        )
        _export_button(
            "One page (HTML)",
            experiment.name,
            "html",
            "text/html",
            lambda: lab.experiment_html(experiment),
            "All of it with its figures, for people without access: needs no Vecscope, no network.",
        )


def _export_button(
    label: str,
    experiment_name: str,
    ending: str,
    mime: str,
    make: Callable[[], str | bytes],
    help_text: str,
) -> None:
    st.download_button(
        label,
        make,
        file_name=f"{_file_stem(experiment_name)}.{ending}",
        mime=mime,
        key=f"lab_results:export:{ending}",
        icon=":material/download:",
        on_click="ignore",
        help=help_text,
    )


def _file_stem(name: str) -> str:
    letters = "".join(character if character.isalnum() else " " for character in name)
    return "-".join(letters.split()) or "experiment"


# --- compare ------------------------------------------------------------------------------------


def _other_experiment_picker(
    experiment: Experiment, experiments: Sequence[ExperimentSummary]
) -> ExperimentSummary | None:
    others = {str(other.id): other for other in experiments if other.id != experiment.id}
    st.markdown("**Compare with another experiment**")
    if not others:
        st.caption("There is no other experiment on this collection yet.")
        return None
    other_id = optional_choice(
        "The other experiment",
        by_value(list(others)),
        lambda id_: f"{others[id_].name} ({others[id_].created_at:%d %b %H:%M})",
        key=OTHER,
        placeholder="Choose one",
        help_text="What changed between the two: environment, data, recall, latency.",
    )
    return None if other_id is None else others[other_id]


def _show_diff(diff: ExperimentDiff) -> None:
    st.caption(f"Before: **{escape(diff.before.name)}** · after: **{escape(diff.after.name)}**")
    if diff.comparable:
        st.markdown("The same was asked of the same data.")
    else:
        st.warning(
            "Not the same was asked, or not of the same data: a difference below may come of that.",
            icon=":material/compare_arrows:",
        )
    _show_differences("Setup", diff.setup)
    _show_differences("The data", diff.data)
    _show_differences("The environment", diff.environment)
    _show_candidates_in_one(diff)
    if not diff.measurements:
        st.info("No setting was measured in both.", icon=":material/inbox:")
        return
    st.markdown(f"**{_headline(diff.measurements)}**")
    _show_measured_twice(diff.measurements)
    st.markdown("**Recommendation**")
    headlines = diff.recommendation
    st.markdown(f"- before: {escape(headlines.before)}\n- after: {escape(headlines.after)}")


def _show_differences(title: str, differences: Sequence[Difference]) -> None:
    if not differences:
        return
    st.markdown(f"**{title}**")
    st.dataframe(
        pd.DataFrame(
            [{"": one.name, "Before": one.before, "After": one.after} for one in differences]
        ),
        hide_index=True,
        alt=f"{title}: what differs",
    )


def _show_candidates_in_one(diff: ExperimentDiff) -> None:
    parts = []
    if diff.only_before:
        parts.append(f"only before: {escape(', '.join(diff.only_before))}")
    if diff.only_after:
        parts.append(f"only after: {escape(', '.join(diff.only_after))}")
    if parts:
        st.caption("Candidates " + "; ".join(parts))


def _headline(measurements: Sequence[MeasurementDiff]) -> str:
    both = format_count(len(measurements), "setting")
    apart = sum(one.recall_apart for one in measurements)
    recall = "recall differs beyond chance in none" if not apart else f"recall differs in {apart:,}"
    ratio = float(np.median([one.p50_ratio for one in measurements]))
    return f"Of {both} in both, {recall}; the median latency is {ratio:.2f} × that of before"


def _show_measured_twice(measurements: Sequence[MeasurementDiff]) -> None:
    recall = st.column_config.NumberColumn(format="%.4f")
    latency = st.column_config.NumberColumn(format="%.3f")
    ratio = st.column_config.NumberColumn(format="%.2f ×", help="After / before.")
    st.dataframe(
        pd.DataFrame([_cells(one) for one in measurements]),
        hide_index=True,
        column_config={
            "Recall before": recall,
            "after": recall,
            "Change": st.column_config.NumberColumn(format="%+.4f"),
            "Beyond chance": st.column_config.CheckboxColumn(
                help="The two 95 % intervals do not meet."
            ),
            "p50 before, ms": latency,
            "p50 after, ms": latency,
            "p50 ratio": ratio,
            "p95 ratio": ratio,
        },
        alt="Settings that were measured in both experiments, with recall and latency",
    )


def _cells(one: MeasurementDiff) -> dict[str, object]:
    return {
        "Candidate": one.candidate,
        "Setting": one.setting.label,
        "Recall before": one.before.recall.mean.value,
        "after": one.after.recall.mean.value,
        "Change": one.recall_change,
        "Beyond chance": one.recall_apart,
        "p50 before, ms": one.before.latency.p50_ms,
        "p50 after, ms": one.after.latency.p50_ms,
        "p50 ratio": one.p50_ratio,
        "p95 ratio": one.p95_ratio,
    }
