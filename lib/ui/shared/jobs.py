"""Jobs as people see them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import streamlit as st

from lib.formats import format_bytes, format_count, format_duration
from lib.store.jobs import Job, JobKind, JobStatus
from lib.ui.shared.markdown import escape

_NEWS = timedelta(minutes=15)
_ENDED = {
    JobStatus.DONE: (":material/check_circle:", "Done"),
    JobStatus.FAILED: (":material/error:", "Failed"),
    JobStatus.CANCELLED: (":material/cancel:", "Cancelled. What was done is kept"),
    JobStatus.INTERRUPTED: (
        ":material/power_off:",
        "Interrupted, since its process ended. What was done is kept",
    ),
}
_HOW_TO_GO_ON = {
    JobKind.LOAD: "To go on: the Upload page. What is stored already is not done twice.",
    JobKind.SAMPLE: "To go on, load the sample again: Manage, on the Collections page.",
    JobKind.BACKFILL: "To go on, embed what is missing: Manage, on the Collections page.",
}


def show_running(jobs: Sequence[Job]) -> Job | None:
    """The running jobs with their progress; the one whose Cancel was pressed, if any."""
    cancelled = None
    for job in jobs:
        with st.container(border=True):
            left, right = st.columns([6, 1], vertical_alignment="center")
            if job.share is None:  # how much there is to do is not known yet
                left.info(_progress_text(job), icon="spinner")
            else:
                left.progress(job.share, text=_progress_text(job))
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
    left = (
        f" · about {format_duration(job.seconds_left)} left" if job.seconds_left is not None else ""
    )
    return f"**{escape(job.title)}** · {escape(job.message or 'starting')}{left}"


def is_news(job: Job) -> bool:
    """Whether it ended, and not long ago."""
    return job.finished_at is not None and datetime.now(UTC) - job.finished_at < _NEWS


def show_ended(job: Job, *, even_old: bool = False) -> None:
    """How a job ended, in one line, and what to do where it did not end well. Old news are left
    out, unless asked for."""
    if job.finished_at is None or not (even_old or is_news(job)):
        return
    icon, words = _ENDED[job.status]
    text = f"**{escape(job.title)}**: {words}"
    if job.status is JobStatus.DONE:
        took = format_duration(
            (job.finished_at - (job.started_at or job.created_at)).total_seconds()
        )
        st.success(f"{text} in {took}. {_result_words(job.result or {})}", icon=icon)
    elif job.status is JobStatus.FAILED:
        st.error(f"{text}. {_why_failed(job)}", icon=icon)
    else:
        st.warning(f"{text}. {_HOW_TO_GO_ON.get(job.kind, '')}", icon=icon)


def _why_failed(job: Job) -> str:
    """The hint names the number in the log where the cause is not known."""
    words = (escape(job.error or ""), escape(job.hint or ""), _HOW_TO_GO_ON.get(job.kind, ""))
    return " ".join(filter(None, words))


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
                f"{format_count(embedded['truncated'], 'text')} longer than the model takes: "
                "only the beginning was embedded."
            )
    if result.get("problem_count"):
        words.append(
            f"{format_count(result['problem_count'], 'problem')}, listed on the Upload page."
        )
    if "lexemes" in result:
        words.append(
            f"{format_count(result['documents'], 'document')} with "
            f"{format_count(result['lexemes'], 'word')}; "
            f"it takes {format_bytes(result['size_bytes'])}."
        )
    for built in result.get("candidates", ()):
        words.append(
            f"{escape(built['name'])}: the index takes {format_bytes(built['index_bytes'])}."
        )
        words.extend(escape(notice) for notice in built["notices"])
    if "index_bytes" in result:
        words.append(f"The index takes {format_bytes(result['index_bytes'])}.")
        words.extend(escape(notice) for notice in result["notices"])
    return " ".join(words)
