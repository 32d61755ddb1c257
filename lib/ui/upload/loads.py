"""A load as people see it: running, ended, what it could not store, and what is still missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from lib.formats import format_bytes, format_count, format_duration
from lib.ingest.incoming import IncomingProblem
from lib.ingest.missing import Missing
from lib.store.collections import CollectionSummary
from lib.store.jobs import Job, JobKind
from lib.ui.shared.jobs import show_ended, show_running
from lib.ui.shared.markdown import escape

_LOADS = (JobKind.LOAD, JobKind.SAMPLE)


def last_load(jobs: Sequence[Job]) -> Job | None:
    """The newest load, where it has ended. jobs: the newest first."""
    return next((job for job in jobs if job.kind in _LOADS and not job.active), None)


def show_running_loads(jobs: Sequence[Job]) -> Job | None:
    """Running jobs, loads with all their figures; the one whose Cancel was pressed, if any."""
    cancelled = None
    for job in jobs:
        cancelled = show_running([job]) or cancelled
        if job.kind in _LOADS and job.result:
            _figures(_progress(job))
    return cancelled


def _progress(job: Job) -> dict[str, str]:
    result = job.result or {}
    stored = result["stored"]
    total = sum(stored.values())
    read = format_bytes(result["bytes_read"])
    if result["bytes_total"]:
        read = f"{read} of {format_bytes(result['bytes_total'])}"
    left = job.seconds_left
    return {
        "Read": read,
        "Files": f"{result['sources_done']:,} of {result['sources']:,}",
        "Rows read": f"{total + result['lost']:,}",
        "Stored": f"{total:,}",
        "Embedded": f"{result['embedded']['embedded']:,}",
        "Documents/s": f"{result['documents_per_second']:,.0f}",
        "Time left": "–" if left is None else format_duration(left),
        "Failed": f"{result['lost']:,}",
    }


def show_ended_load(job: Job, *, can_go_on: bool) -> bool:
    """What became of the last load, in numbers. True where Go on was pressed."""
    show_ended(job, even_old=True)
    result: dict[str, Any] = job.result or {}
    if "stored" in result:
        stored = result["stored"]
        removed = result.get("removed", 0) + result.get("removed_parts", 0)
        _figures(
            {
                "New": f"{stored['new']:,}",
                "Changed": f"{stored['changed']:,}",
                "Unchanged": f"{stored['unchanged']:,}",
                "Removed": f"{removed:,}",
                "Failed": f"{result['lost']:,}",
                "Read": format_bytes(result["bytes_read"]),
                "Documents/s": f"{result['documents_per_second']:,.0f}",
            }
        )
        if result.get("kept_because"):
            st.warning(escape(result["kept_because"]), icon=":material/shield:")
    return can_go_on and st.button(
        "Go on with this load",
        type="primary",
        icon=":material/resume:",
        help="Files that were stored to their end are not read again, and what is stored is not "
        "stored or embedded again.",
    )


def _figures(values: dict[str, str]) -> None:
    with st.container(horizontal=True, gap="medium"):
        for name, value in values.items():
            st.metric(name, value, width="content")


def show_next_steps(summary: CollectionSummary) -> None:
    """After a load: to what was loaded."""
    if not summary.documents:
        return
    address = {"c": summary.collection.slug}
    name = escape(summary.collection.name)
    with st.container(horizontal=True):
        st.page_link(
            "pages/search.py",
            label=f"Search {name}",
            icon=":material/search:",
            query_params=address,
        )
        st.page_link(
            "pages/browse.py",
            label=f"Browse {name}",
            icon=":material/table_rows:",
            query_params=address,
        )


def show_problems(job: Job, whole_list: Path) -> None:
    """What a load could not store, or not as it was. whole_list: its file with all of them."""
    result = job.result or {}
    problems = [IncomingProblem(**problem) for problem in result.get("problems", ())]
    if not problems:
        return
    table = pd.DataFrame(
        [
            {
                "File": problem.source,
                "Place": problem.place,
                "Reason": problem.reason,
                "What to do": problem.hint,
                "Stored": "yes, changed" if problem.stored else "no",
            }
            for problem in sorted(problems, key=lambda problem: problem.stored)
        ]
    )
    lost = result["lost"]
    notes = result["problem_count"] - lost
    words = []
    if lost:
        words.append(f"**{format_count(lost, 'problem')}**: this could not be stored.")
    if notes:
        words.append(f"**{format_count(notes, 'note')}**: stored, but not just as the file has it.")
    if (total := lost + notes) > len(problems):
        words.append(f"The first {len(problems):,} of {total:,}; the file has them all.")
    say = st.warning if lost else st.info
    say(" ".join(words), icon=":material/report:")
    st.dataframe(table, hide_index=True, alt="What could not be stored, and why")
    st.download_button(
        "Download the list (CSV)",
        whole_list.read_bytes if whole_list.is_file() else table.to_csv(index=False),
        file_name="problems.csv",
        mime="text/csv",
        icon=":material/download:",
        on_click="ignore",
    )


def show_missing(summary: CollectionSummary, report: Sequence[Missing]) -> bool:
    """What a search by meaning does not find, and why. True where it is to be embedded."""
    st.subheader("Not embedded", anchor=False)
    st.caption(
        f"{format_count(summary.missing, 'document')} of {summary.documents:,} have no vector: "
        "a search by meaning does not find them, a search by words does."
    )
    st.dataframe(
        pd.DataFrame(
            {
                "Why": [one.reason for one in report],
                "Documents": [f"{'≥ ' * one.at_least}{one.count:,}" for one in report],
                "Such as": [", ".join(one.examples) for one in report],
            }
        ),
        hide_index=True,
        alt="Documents without an embedding, by reason",
    )
    if not summary.collection.has_model:
        st.caption("The collection has no model, so that nothing can embed them here.")
        return False
    return st.button(
        f"Embed {format_count(summary.missing, 'document')} by {escape(summary.collection.model)}",
        icon=":material/bolt:",
    )
