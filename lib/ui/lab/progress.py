"""What runs on a collection: the console of a running experiment with its Cancel, and how to go on
with one that was broken off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from lib.formats import format_count, format_duration, format_percent
from lib.lab.experiment import Experiment
from lib.lab.progress import Phase
from lib.store.jobs import Job, JobKind
from lib.ui.lab.model import CollectionLab
from lib.ui.lab.parts import Part, is_open
from lib.ui.shared.jobs import show_ended, show_running
from lib.ui.shared.markdown import escape
from lib.ui.shared.page import refresh, watch_jobs

MAX_LINES = 60
_CONSOLE_HEIGHT = 220
_STEPS = {
    Phase.QUERIES: "Queries",
    Phase.TRUTH: "True neighbours",
    Phase.BUILD: "Candidates",
    Phase.SWEEP: "Settings",
    Phase.TARGET: "Target",
}


def show_running_jobs(lab: CollectionLab) -> None:
    """All that runs on the collection, drawn again every second.

    Open results are drawn again, with the whole page, once a running experiment has written more.
    """
    written = lab.progress_of_running()

    def show(jobs: Sequence[Job]) -> Job | None:
        if is_open(Part.RESULTS) and lab.progress_of_running() != written:
            refresh()
        cancelled = None
        for job in jobs:
            is_experiment = job.kind is JobKind.EXPERIMENT
            pressed = show_console(job) if is_experiment else show_running([job])
            cancelled = cancelled or pressed
        return cancelled

    watch_jobs(lab.running_jobs, show)


def show_console(job: Job) -> Job | None:
    """A running experiment. The job where its Cancel was pressed."""
    detail: Mapping[str, Any] = job.result or {}
    with st.container(border=True):
        left, right = st.columns([6, 1], vertical_alignment="center")
        left.markdown(f"**{escape(job.title)}**")
        pressed = right.button(
            "Cancel",
            key=f"cancel_{job.id}",
            disabled=job.cancel_requested,
            help="Stops the work. What is built and measured is kept, and can be gone on with.",
            width="stretch",
        )
        st.progress(job.share or 0.0, text=_describe_progress(job))
        phase = detail.get("phase")
        if phase is not None:
            _show_phases(Phase(phase), detail)
        building = detail.get("building")
        if building is not None:
            _show_building(building)
        lines = detail.get("lines") or ["Starting …"]
        st.code(
            "\n".join(lines[-MAX_LINES:][::-1]),
            language=None,
            wrap_lines=True,
            height=_CONSOLE_HEIGHT,
        )
        st.caption(
            "The newest line is on top. You may leave this page, and close the browser: the work "
            "goes on."
        )
    return job if pressed else None


def _describe_progress(job: Job) -> str:
    if job.cancel_requested:
        return "Stopping …"
    parts = [] if job.share is None else [format_percent(job.share)]
    parts.append(escape(job.message or "starting"))
    if job.seconds_left is not None:
        parts.append(f"about {format_duration(job.seconds_left)} left")
    return " · ".join(parts)


def _show_phases(current: Phase, detail: Mapping[str, Any]) -> None:
    """Which phases are done, how far the current one is, and which come yet."""
    phases = list(Phase)
    with st.container(horizontal=True, gap="xsmall"):
        for number, phase in enumerate(phases):
            if phase is current:
                _show_current_phase(phase, detail)
            elif number < phases.index(current):
                st.badge(_STEPS[phase], icon=":material/check:", color="green", help=phase.label)
            else:
                st.badge(_STEPS[phase], color="gray", help=phase.label)


def _show_current_phase(phase: Phase, detail: Mapping[str, Any]) -> None:
    share, seconds_left = detail.get("phase_share"), detail.get("phase_seconds_left")
    label, help_text = _STEPS[phase], phase.label
    if share:
        label += f" {format_percent(share)}"
    if seconds_left is not None:
        help_text += f", about {format_duration(seconds_left)} left of this phase"
    st.badge(label, icon=":material/sync:", color="blue", help=help_text)


def _show_building(step: Mapping[str, Any]) -> None:
    """One candidate's build."""
    done, total, rate = step["rows_done"], step["rows_total"], step["rows_per_second"]
    parts = [f"**{escape(step['candidate'])}**", escape(step["phase"])]
    if done is not None and total:
        parts.append(f"{done:,} of {format_count(total, 'row')}")
    if rate:
        parts.append(f"{rate:,.0f} rows/s")
    if step["seconds_left"] is not None:
        parts.append(f"about {format_duration(step['seconds_left'])} left of this phase")
    st.progress(min(step["share"], 1.0), text=" · ".join(parts))
    for notice in step["notices"]:
        st.warning(f"The server says: {escape(notice)}", icon=":material/memory:")


def show_last_build(lab: CollectionLab) -> None:
    """How the last build of candidates ended. An experiment's end is told with its results."""
    job = lab.last_job(JobKind.CANDIDATE)
    if job is not None:
        show_ended(job)


def resume_button(experiment: Experiment, *, is_busy: bool) -> bool:
    """True where a broken-off experiment is to go on."""
    if not experiment.state.can_resume:
        return False
    return st.button(
        "Go on",
        key=f"lab:go_on:{experiment.id}",
        type="primary",
        icon=":material/play_arrow:",
        disabled=is_busy,
        help="Something else is running on this collection."
        if is_busy
        else "Takes up what is there: candidates that were built, settings that were measured.",
    )
