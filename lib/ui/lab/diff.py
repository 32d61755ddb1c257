"""An experiment taken along as a file, and two of them side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import streamlit as st

from lib.formats import format_count
from lib.lab.diff import Compared, Difference
from lib.lab.experiment import Experiment
from lib.lab.repository import ExperimentSummary
from lib.ui.lab.figures import setting_words
from lib.ui.shared.markdown import escape
from lib.ui.shared.url_state import by_value, read_choice, write_choice

_WITH = "versus"

Exports = Mapping[str, Callable[[], str | bytes]]
"""By file ending, made where they are asked for."""

_EXPORTS = {
    "json": (
        "JSON",
        "application/json",
        "All that is known of it, for programs: settings, environment, measurements, advice.",
    ),
    "csv": ("Measurements (csv)", "text/csv", "A line for each measurement, for a spreadsheet."),
    "html": (
        "One page (HTML)",
        "text/html",
        "All of it with its pictures, for people without access: needs no Vecscope, no network.",
    ),
}


def show_exports(name: str, exports: Exports) -> None:
    """Buttons that make a file. name: the experiment's; exports: by file ending."""
    st.markdown("**Take the experiment along**")
    with st.container(horizontal=True, gap="small"):
        for ending, make in exports.items():
            label, mime, words = _EXPORTS[ending]
            st.download_button(
                label,
                make,
                file_name=f"{_file_stem(name)}.{ending}",
                mime=mime,
                key=f"lab_results:export:{ending}",
                icon=":material/download:",
                on_click="ignore",
                help=words,
            )


def pick_other(
    experiment: Experiment, experiments: Sequence[ExperimentSummary]
) -> ExperimentSummary | None:
    """Another experiment of the collection, to compare with."""
    others = {str(each.id): each for each in experiments if each.id != experiment.id}
    st.markdown("**Compare with another experiment**")
    if not others:
        st.caption("There is no other experiment on this collection yet.")
        return None
    read_choice(_WITH, by_value(list(others)), None)
    other = st.selectbox(
        "The other experiment",
        list(others),
        format_func=lambda found: f"{others[found].name} ({others[found].created_at:%d %b %H:%M})",
        key=_WITH,
        index=None,
        placeholder="Choose one",
        help="What changed between the two: environment, data, recall, latency.",
    )
    write_choice(_WITH, by_value(list(others)), other, None)
    return None if other is None else others[other]


def _file_stem(name: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in name).split()) or "experiment"


def show_compared(compared: Compared) -> None:
    before, after = escape(compared.before.name), escape(compared.after.name)
    st.caption(f"Before: **{before}** · after: **{after}**")
    if compared.comparable:
        st.markdown("The same was asked of the same data.")
    else:
        st.warning(
            "Not the same was asked, or not of the same data: a difference below may come of that.",
            icon=":material/compare_arrows:",
        )
    for title, differences in (
        ("What was asked", compared.asked),
        ("The data", compared.data),
        ("The environment", compared.environment),
    ):
        if differences:
            st.markdown(f"**{title}**")
            _table_of_differences(differences, title)
    only = [
        f"only {which}: {escape(', '.join(texts))}"
        for which, texts in (("before", compared.only_before), ("after", compared.only_after))
        if texts
    ]
    if only:
        st.caption("Candidates " + "; ".join(only))
    if not compared.measurements:
        st.info("No setting was measured in both.", icon=":material/inbox:")
        return
    apart = sum(each.recall_apart for each in compared.measurements)
    st.markdown(f"**{_compared_title(compared, apart)}**")
    st.dataframe(
        pd.DataFrame(
            [
                {
                    "Candidate": each.candidate,
                    "Setting": setting_words(each.setting),
                    "Recall before": each.before.recall.mean.value,
                    "after": each.after.recall.mean.value,
                    "Change": each.recall_change,
                    "Beyond chance": each.recall_apart,
                    "p50 before, ms": each.before.latency.p50_ms,
                    "p50 after, ms": each.after.latency.p50_ms,
                    "p50 ratio": each.p50_ratio,
                    "p95 ratio": each.p95_ratio,
                }
                for each in compared.measurements
            ]
        ),
        hide_index=True,
        column_config={
            **{
                name: st.column_config.NumberColumn(format="%.4f")
                for name in ("Recall before", "after")
            },
            "Change": st.column_config.NumberColumn(format="%+.4f"),
            "Beyond chance": st.column_config.CheckboxColumn(
                help="The two 95 % intervals do not meet."
            ),
            **{
                name: st.column_config.NumberColumn(format="%.3f")
                for name in ("p50 before, ms", "p50 after, ms")
            },
            **{
                name: st.column_config.NumberColumn(format="%.2f ×", help="After / before.")
                for name in ("p50 ratio", "p95 ratio")
            },
        },
        alt="Settings that were measured in both experiments, with recall and latency",
    )
    st.markdown("**What is advised**")
    st.markdown(
        f"- before: {escape(compared.advice.before)}\n- after: {escape(compared.advice.after)}"
    )


def _compared_title(compared: Compared, apart: int) -> str:
    both = format_count(len(compared.measurements), "setting")
    ratio = float(np.median([each.p50_ratio for each in compared.measurements]))
    recall = "recall differs beyond chance in none" if not apart else f"recall differs in {apart:,}"
    return f"Of {both} in both, {recall}; the median latency is {ratio:.2f} × that of before"


def _table_of_differences(differences: Sequence[Difference], title: str) -> None:
    st.dataframe(
        pd.DataFrame(
            [{"": each.name, "Before": each.before, "After": each.after} for each in differences]
        ),
        hide_index=True,
        alt=f"{title}: what differs",
    )
