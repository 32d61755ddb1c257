"""Uploading: the drop zone, the first look, and the choice of columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from lib.ingest.columns import ColumnChoice, ColumnMapping
from lib.ingest.incoming import IncomingProblem
from lib.ingest.preview import Preview
from lib.ui.text import count, escape, size

# With more files than this, only the first ones are looked into before the load.
MOST_PREVIEWS = 8
_NONE = "– none –"


def drop_zone(extensions: Sequence[str]) -> list[Any]:
    """The files that were dropped; each has ``name``, ``size`` and ``getbuffer()``."""
    most = int(st.get_option("server.maxUploadSize"))
    return list(
        st.file_uploader(
            "Files to load",
            type=list(extensions),
            accept_multiple_files=True,
            key="files",
            help="Texts become documents by paragraphs and headings; each row of a table becomes "
            "one document. Nothing is stored before you press Load.",
        )
        or []
    ) or _what_can_be_dropped(extensions, most)


def _what_can_be_dropped(extensions: Sequence[str], most_mb: int) -> list[Any]:
    st.caption(
        f"{', '.join(extensions)}; up to {most_mb:,} MB a file here, and of any size on the "
        "command line: `python -m lib ingest PATH --collection NAME`."
    )
    return []


def column_controls(preview: Preview) -> ColumnChoice:
    """Which column is what; what was guessed is chosen already."""
    header, key = list(preview.header), preview.name
    guess = preview.mapping or ColumnMapping(text=())
    with st.container(border=False):
        columns = st.columns(4)
        text = columns[0].multiselect(
            "Text",
            header,
            default=list(guess.text),
            key=f"text_{key}",
            help="What is searched and embedded. Several columns are joined.",
        )
        title = _column(columns[1], "Title", header, guess.title, key)
        category = _column(columns[2], "Category", header, guess.category, key)
        external_id = _column(columns[3], "Id", header, guess.external_id, key)
    st.caption(
        "All other columns are kept as metadata. With an id, loading a file again updates its "
        "rows; without one, rows are told apart by their number."
    )
    return ColumnChoice(tuple(text), title, category, external_id)


def _column(place: Any, label: str, header: list[str], guess: str | None, key: str) -> str:
    """The chosen column, or "" for none."""
    options = [_NONE, *header]
    chosen = place.selectbox(
        label,
        options,
        index=options.index(guess) if guess else 0,
        key=f"{label.lower()}_{key}",
    )
    return "" if chosen == _NONE else str(chosen)


def show_preview(preview: Preview) -> None:
    """The first documents as they would be stored."""
    words = [preview.format]
    if preview.encoding:
        words.append(f"read as {preview.encoding}")
    st.caption(" · ".join(words))
    if preview.documents:
        st.dataframe(
            pd.DataFrame(
                {
                    "title": [document.title for document in preview.documents],
                    "text": [document.content[:300] for document in preview.documents],
                    "category": [document.category for document in preview.documents],
                    "id": [document.external_id for document in preview.documents],
                    "metadata": [
                        ", ".join(f"{key}: {value}" for key, value in document.metadata.items())
                        for document in preview.documents
                    ],
                }
            ),
            hide_index=True,
            alt=f"The first documents of {preview.name}",
            column_config={
                "title": st.column_config.TextColumn("Title", width="medium"),
                "text": st.column_config.TextColumn("Text", width="large"),
                "category": st.column_config.TextColumn("Category", width="small"),
                "id": st.column_config.TextColumn("Id", width="small"),
                "metadata": st.column_config.TextColumn("Metadata", width="medium"),
            },
        )
    show_problems(preview.problems)


def show_problems(problems: Sequence[IncomingProblem], total: int | None = None) -> None:
    """What could not be stored, or not as it was; with a download of the list."""
    if not problems:
        return
    total = len(problems) if total is None else total
    table = pd.DataFrame(
        [
            {
                "File": problem.source,
                "Place": problem.place,
                "Reason": problem.reason,
                "What to do": problem.hint,
                "Stored": "yes, changed" if problem.stored else "no",
            }
            for problem in problems
        ]
    )
    st.warning(
        f"{count(total, 'problem')}: these could not be stored, or not exactly as they were.",
        icon=":material/report:",
    )
    st.dataframe(table, hide_index=True, alt="What could not be stored, and why")
    st.download_button(
        "Download the list (CSV)",
        table.to_csv(index=False),
        file_name="problems.csv",
        mime="text/csv",
        icon=":material/download:",
        on_click="ignore",
    )


def more_files(names: Sequence[str]) -> None:
    """Files that are loaded without a first look."""
    if names:
        st.caption(f"And {count(len(names), 'more file')}: {escape(', '.join(names[:20]))}")


def load_button(files: Sequence[Any], collection: str, *, busy: bool) -> bool:
    total = size(sum(file.size for file in files))
    return st.button(
        f"Load {count(len(files), 'file')} ({total}) into {escape(collection)}",
        type="primary",
        icon=":material/play_arrow:",
        disabled=busy,
        help="Something is being loaded into this collection already." if busy else None,
    )
