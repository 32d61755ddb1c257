"""An experiment that runs: how far it is, what it says, and the way to stop it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from lib.formats import format_count, format_duration
from lib.lab.experiment import Experiment
from lib.lab.progress import Phase
from lib.store.jobs import Job, JobKind
from lib.ui.lab.experiments import Part, is_open
from lib.ui.shared.jobs import show_ended, show_running
from lib.ui.shared.markdown import escape
from lib.ui.shared.page import refresh

LINES = 60
_CONSOLE_HEIGHT = 220
_STEPS = {
    Phase.QUERIES: "Queries",
    Phase.TRUTH: "True neighbours",
    Phase.BUILD: "Candidates",
    Phase.SWEEP: "Settings",
    Phase.TARGET: "Target",
}
_SEEN = "lab:seen"


def show_jobs(jobs: Sequence[Job]) -> Job | None:
    """All that runs on the collection; the one whose Cancel was pressed, if any.

    Results that are looked at meanwhile are drawn again when there is more to see.
    """
    if is_open(Part.RESULTS) and _lines(jobs) != st.session_state.get(_SEEN):
        refresh()
    cancelled = None
    for job in jobs:
        pressed = show_console(job) if job.kind is JobKind.EXPERIMENT else show_running([job])
        cancelled = cancelled or pressed
    return cancelled


def note_lines(jobs: Sequence[Job]) -> None:
    """While the whole page is drawn: how much of an experiment its results show."""
    st.session_state[_SEEN] = _lines(jobs)


def _lines(jobs: Sequence[Job]) -> list[str]:
    """The newest of each."""
    return [line for job in jobs for line in (job.result or {}).get("lines", ())[-1:]]


def show_console(job: Job) -> Job | None:
    """A running experiment. The job where its Cancel was pressed."""
    said: Mapping[str, Any] = job.result or {}
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
        st.progress(job.share or 0.0, text=_progress_words(job))
        phase = said.get("phase")
        if phase is not None:
            _show_phases(Phase(phase), said)
        building = said.get("building")
        if building is not None:
            _show_building(building)
        lines = said.get("lines") or ["Starting …"]
        st.code(
            "\n".join(lines[-LINES:][::-1]),
            language=None,
            wrap_lines=True,
            height=_CONSOLE_HEIGHT,
        )
        st.caption(
            "The newest line is on top. You may leave this page, and close the browser: the work "
            "goes on."
        )
    return job if pressed else None


def _progress_words(job: Job) -> str:
    if job.cancel_requested:
        return "Stopping …"
    left = "" if job.seconds_left is None else f" · about {format_duration(job.seconds_left)} left"
    share = "" if job.share is None else f"{job.share:.0%} · ".replace("%", " %")
    return f"{share}{escape(job.message or 'starting')}{left}"


def _show_phases(now: Phase, said: Mapping[str, Any]) -> None:
    """Which steps are done, which one is going on and how far it is, and which come yet."""
    phases = list(Phase)
    with st.container(horizontal=True, gap="xsmall"):
        for place, phase in enumerate(phases):
            words, help_text = _STEPS[phase], phase.label
            if phase is now:
                share, left = said.get("phase_share"), said.get("phase_seconds_left")
                words += f" {share:.0%}".replace("%", " %") if share else ""
                help_text += (
                    "" if left is None else f", about {format_duration(left)} left of this step"
                )
                st.badge(words, icon=":material/sync:", color="blue", help=help_text)
            elif place < phases.index(now):
                st.badge(words, icon=":material/check:", color="green", help=help_text)
            else:
                st.badge(words, color="gray", help=help_text)


def _show_building(step: Mapping[str, Any]) -> None:
    """One candidate's build, in figures."""
    done, total, rate = step["rows_done"], step["rows_total"], step["rows_per_second"]
    words = [f"**{escape(step['candidate'])}**", escape(step["phase"])]
    if done is not None and total:
        words.append(f"{done:,} of {format_count(total, 'row')}")
    if rate:
        words.append(f"{rate:,.0f} rows/s")
    if step["seconds_left"] is not None:
        words.append(f"about {format_duration(step['seconds_left'])} left of this phase")
    st.progress(min(step["share"], 1.0), text=" · ".join(words))
    for notice in step["notices"]:
        st.warning(f"The server says: {escape(notice)}", icon=":material/memory:")


def show_news(jobs: Sequence[Job]) -> None:
    """How the last build of candidates ended. An experiment's end is told with its results."""
    for job in [job for job in jobs if job.kind is JobKind.CANDIDATE][:1]:
        show_ended(job)


def offer_to_go_on(experiment: Experiment, *, busy: bool) -> bool:
    """True where a broken-off experiment is to go on."""
    if not experiment.state.can_resume:
        return False
    return st.button(
        "Go on",
        key=f"lab:go_on:{experiment.id}",
        type="primary",
        icon=":material/play_arrow:",
        disabled=busy,
        help="Something else is running on this collection."
        if busy
        else "Takes up what is there: candidates that were built, settings that were measured.",
    )
