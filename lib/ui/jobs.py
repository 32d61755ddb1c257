"""Jobs as people see them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import streamlit as st

from lib.store.jobs import Job, JobStatus
from lib.ui.text import count, duration, escape

_NEWS = timedelta(minutes=15)
_ENDED = {
    JobStatus.DONE: (":material/check_circle:", "Done"),
    JobStatus.FAILED: (":material/error:", "Failed"),
    JobStatus.CANCELLED: (":material/cancel:", "Cancelled: what was done is kept"),
    JobStatus.INTERRUPTED: (
        ":material/power_off:",
        "Interrupted: its process ended. What was done is kept",
    ),
}


def show_running(jobs: Sequence[Job]) -> Job | None:
    """The running jobs with their progress; the one whose Cancel was pressed, if any."""
    cancelled = None
    for job in jobs:
        with st.container(border=True):
            left, right = st.columns([6, 1], vertical_alignment="center")
            left.progress(job.share or 0.0, text=_progress_text(job))
            if right.button(
                "Cancel",
                key=f"cancel_{job.id}",
                disabled=job.cancel_requested,
                help="Stops the work; what it has done is kept.",
                width="stretch",
            ):
                cancelled = job
    return cancelled


def _progress_text(job: Job) -> str:
    if job.cancel_requested:
        return f"**{escape(job.title)}** · stopping …"
    left = f" · about {duration(job.seconds_left)} left" if job.seconds_left is not None else ""
    return f"**{escape(job.title)}** · {escape(job.message or 'starting')}{left}"


def show_ended(job: Job) -> None:
    """How a job ended, in one line, and what to do where it did not end well. Old news are left
    out."""
    if job.finished_at is None or datetime.now(UTC) - job.finished_at > _NEWS:
        return
    icon, words = _ENDED[job.status]
    text = f"**{escape(job.title)}**: {words}."
    if job.status is JobStatus.DONE:
        st.success(f"{text} {_result_words(job.result or {})}", icon=icon)
    elif job.status is JobStatus.FAILED:
        error = escape(job.error or "")
        number = f" The log has the details under the number **{job.error_id}**." * bool(
            job.error_id
        )
        st.error(f"{text} {error} {escape(job.hint or '')}{number}", icon=icon)
    else:
        st.warning(text, icon=icon)


def _result_words(result: dict[str, Any]) -> str:
    stored, embedded = result.get("stored"), result.get("embedded")
    words = []
    if stored is not None:
        parts = [f"{stored[key]:,} {key}" for key in ("new", "changed", "unchanged") if stored[key]]
        words.append(f"Documents: {', '.join(parts) or 'none'}.")
    if embedded is not None:
        words.append(f"{embedded['embedded']:,} embedded.")
        if embedded["failed"]:
            words.append(f"{embedded['failed']:,} could not be embedded.")
        if embedded["truncated"]:
            words.append(
                f"{count(embedded['truncated'], 'text')} longer than the model takes: only the "
                "beginning was embedded."
            )
    if result.get("problem_count"):
        words.append(f"{count(result['problem_count'], 'problem')} (see below).")
    if "index_bytes" in result:
        words.append(f"Built in {duration(result['seconds'])}.")
        words.extend(escape(notice) for notice in result["notices"])
    return " ".join(words)
