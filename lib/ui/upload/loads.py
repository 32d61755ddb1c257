"""A load as people see it: running, ended, what it could not store, and what is still missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from lib.formats import format_bytes, format_count, format_duration
from lib.ingest.incoming import IncomingProblem
from lib.store.collections import CollectionSummary
from lib.store.jobs import Job, JobKind
from lib.ui.shared.jobs import show_ended, show_running
from lib.ui.shared.markdown import escape
from lib.ui.shared.page import guarded, refresh
from lib.ui.upload.drop_zone import show_saved_query_sets
from lib.ui.upload.model import UploadModel

_LOADS = (JobKind.LOAD, JobKind.SAMPLE)


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


@guarded
def show_last_load(model: UploadModel, summary: CollectionSummary, jobs: Sequence[Job]) -> None:
    """The newest load, where it has ended: what it stored, and what it could not. jobs: the
    newest first."""
    job = next((job for job in jobs if job.kind in _LOADS and not job.active), None)
    if job is None:
        return
    if _show_ended_load(job, can_go_on=model.can_resume(job)):
        model.resume(job)
        refresh()
    show_saved_query_sets(summary.collection)
    _show_next_steps(summary)
    _show_problems(job, model.problems_path(job))


def _show_ended_load(job: Job, *, can_go_on: bool) -> bool:
    """The load in numbers. True where Go on was pressed."""
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


def _show_next_steps(summary: CollectionSummary) -> None:
    """After a load: to what was loaded."""
    if not summary.documents:
        return
    link = {"c": summary.collection.slug}
    name = escape(summary.collection.name)
    with st.container(horizontal=True):
        st.page_link(
            "pages/search.py",
            label=f"Search {name}",
            icon=":material/search:",
            query_params=link,
        )
        st.page_link(
            "pages/browse.py",
            label=f"Browse {name}",
            icon=":material/table_rows:",
            query_params=link,
        )


def _show_problems(job: Job, problems_file: Path) -> None:
    """What a load could not store, or not as it was. problems_file: the table of all of them."""
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
    sentences = []
    if lost:
        sentences.append(f"**{format_count(lost, 'problem')}**: this could not be stored.")
    if notes:
        sentences.append(
            f"**{format_count(notes, 'note')}**: stored, but not just as the file has it."
        )
    if (total := lost + notes) > len(problems):
        sentences.append(f"The first {len(problems):,} of {total:,}; the file has them all.")
    say = st.warning if lost else st.info
    say(" ".join(sentences), icon=":material/report:")
    st.dataframe(table, hide_index=True, alt="What could not be stored, and why")
    st.download_button(
        "Download the list (CSV)",
        problems_file.read_bytes if problems_file.is_file() else table.to_csv(index=False),
        file_name="problems.csv",
        mime="text/csv",
        icon=":material/download:",
        on_click="ignore",
    )


@guarded
def show_missing(model: UploadModel, summary: CollectionSummary) -> None:
    """What semantic search does not find, and why; nothing where all is embedded."""
    if not summary.missing:
        return
    st.subheader("Not embedded", anchor=False)
    st.caption(
        f"{format_count(summary.missing, 'document')} of {summary.documents:,} have no vector: "
        "semantic search does not find them, keyword search does."
    )
    missing = model.missing(summary)
    st.dataframe(
        pd.DataFrame(
            {
                "Why": [reason.reason for reason in missing],
                "Documents": [
                    f"≥ {reason.count:,}" if reason.at_least else f"{reason.count:,}"
                    for reason in missing
                ],
                "Such as": [", ".join(reason.examples) for reason in missing],
            }
        ),
        hide_index=True,
        alt="Documents without an embedding, by reason",
    )
    collection = summary.collection
    if not collection.has_model:
        st.caption("The collection has no model, so that nothing can embed them here.")
    elif st.button(
        f"Embed {format_count(summary.missing, 'document')} by {escape(collection.model)}",
        icon=":material/bolt:",
    ):
        model.start_embedding(collection)
        refresh()
