"""Exports: what is written and how, and the last one to download."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from lib.formats import format_bytes, format_count
from lib.ingest.export import ExportFormat
from lib.store.browse import EVERYTHING, DocumentFilter
from lib.store.collections import Collection
from lib.store.jobs import Job, JobStatus
from lib.ui.browse.model import BrowseModel
from lib.ui.shared.jobs import is_news, show_ended
from lib.ui.shared.markdown import escape
from lib.ui.shared.page import guarded, refresh, watch_jobs

_MENU = "browse:export"
MAX_DOWNLOAD_BYTES = 200 << 20
"""A larger file stays where it is: a browser gets it through the server's memory."""


@guarded
def export_menu(model: BrowseModel, collection: Collection, where: DocumentFilter) -> None:
    """The choices of an export, behind a button; starts it once Export was pressed."""
    turn = st.session_state.get(_MENU, 0)
    with st.popover("Export", icon=":material/download:", key=f"{_MENU}:{turn}"):
        file_format = st.segmented_control(
            "As",
            list(ExportFormat),
            format_func=lambda file_format: file_format.label,
            default=ExportFormat.JSONL,
            required=True,
            help="**JSON Lines**: a text, one document a line.  \n**Parquet**: smaller, for "
            "pandas, DuckDB and the like.  \nBoth load back to the same by Upload.",
        )
        with_embeddings = st.toggle(
            "With embeddings", help="Then loading it back needs no model; the file is larger."
        )
        is_filtered = not where.is_empty and st.toggle(
            "Only the documents of this list", value=True
        )
        is_pressed = st.button(
            "Export", type="primary", icon=":material/download:", on_click=_close_menu
        )
    if is_pressed:
        model.start_export(
            collection,
            where if is_filtered else EVERYTHING,
            file_format or ExportFormat.JSONL,
            with_embeddings=with_embeddings,
        )
        refresh()


def show_exports(model: BrowseModel, collection: Collection) -> None:
    """The running exports, and the last one that has ended."""
    jobs = model.export_jobs(collection)
    watch_jobs([job for job in jobs if job.active])
    ended = [job for job in jobs if not job.active]
    if ended:
        _show_exported(ended[0], model.export_folder())


def _close_menu() -> None:
    """A popover with a new key is a new one, and closed."""
    st.session_state[_MENU] = st.session_state.get(_MENU, 0) + 1


def _show_exported(job: Job, folder: Path) -> None:
    """How an export ended; where its file lies in the folder, it can be downloaded."""
    path = Path((job.result or {}).get("path", ""))
    if job.status is not JobStatus.DONE or not path.is_file():
        show_ended(job)
        return
    if not is_news(job):
        return
    result = job.result or {}
    with st.container(border=True, horizontal=True, vertical_alignment="center", gap="medium"):
        st.markdown(
            f"**{escape(path.name)}**: {format_count(result['documents'], 'document')}, "
            f"{format_bytes(result['size_bytes'])}",
            width="stretch",
        )
        if path.parent == folder.absolute() and result["size_bytes"] <= MAX_DOWNLOAD_BYTES:
            st.download_button(
                "Download",
                data=path.read_bytes,
                file_name=path.name,
                mime="application/octet-stream",
                icon=":material/download:",
                on_click="ignore",
            )
        else:
            st.code(str(path), language=None)
