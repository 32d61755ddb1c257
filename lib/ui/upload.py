"""Uploading: the drop zone, the first look, and the choice of columns."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import pandas as pd
import streamlit as st

from lib.ingest.columns import ColumnChoice, ColumnMapping
from lib.ingest.incoming import IncomingProblem
from lib.ingest.preview import Preview
from lib.store.collections import CollectionSummary
from lib.ui.text import count, escape

# With more files than this, only the first ones are looked into before the load.
MOST_PREVIEWS = 8
_NONE = "– none –"
_LOADS = "loads"  # a new key makes Streamlit forget the files of the old one


def show_target(summary: CollectionSummary) -> None:
    """What is in the collection already, and what will turn new texts into vectors."""
    collection = summary.collection
    st.caption(
        f"{count(summary.documents, 'document')} so far. "
        + (
            f"New ones are embedded by {escape(collection.model)}."
            if collection.has_model
            else "New ones are stored with the vectors they bring: the collection has no model."
        )
    )


def drop_zone(extensions: Sequence[str], collection: str) -> list[Any]:
    """The files that were dropped; each has ``name``, ``size`` and ``getbuffer()``."""
    files = st.file_uploader(
        f"Files to load into {escape(collection)}",
        type=list(extensions),
        accept_multiple_files=True,
        key=f"files_{st.session_state.get(_LOADS, 0)}",
        help="Texts become documents by headings and paragraphs; each row of a table or line of "
        "JSON becomes one document. Nothing is stored before you press Load.",
    )
    if not files:
        st.caption(
            "What would be stored is shown first. Larger files, and whole folders, can be loaded "
            "on the command line: `python -m lib ingest PATH --collection NAME`"
        )
    return list(files or [])


def empty_drop_zone() -> None:
    """At the next run, for files that are being loaded now."""
    st.session_state[_LOADS] = st.session_state.get(_LOADS, 0) + 1


def file_frame(preview: Preview, *, alone: bool) -> AbstractContextManager[Any]:
    """Where one file is looked into; open where it is the only one, or not all is well."""
    problems = count(len(preview.problems), "problem")
    return st.expander(
        f"{escape(preview.name)}{f' · {problems}' * bool(preview.problems)}",
        expanded=alone or bool(preview.problems),
        icon=":material/report:" if preview.problems else ":material/description:",
    )


def column_controls(preview: Preview, key: str) -> ColumnChoice:
    """Which column is what; what was guessed is chosen already. key: differs for each file, also
    where two have the same name."""
    header = list(preview.header)
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
        title = _column(columns[1], "Title", header, guess.title, key, "Shown above each result.")
        category = _column(
            columns[2], "Category", header, guess.category, key, "What a search can be limited to."
        )
        external_id = _column(
            columns[3],
            "Id",
            header,
            guess.external_id,
            key,
            "Loading a file again updates the rows with the same id. Without one, rows are told "
            "apart by their number.",
        )
    st.caption("These columns were guessed: change what is wrong. All others become metadata.")
    return ColumnChoice(tuple(text), title, category, external_id)


def _column(
    place: Any, label: str, header: list[str], guess: str | None, key: str, help_text: str
) -> str:
    """The chosen column, or "" for none."""
    options = [_NONE, *header]
    chosen = place.selectbox(
        label,
        options,
        index=options.index(guess) if guess else 0,
        key=f"{label.lower()}_{key}",
        help=help_text,
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
                    "title": [document.title or "" for document in preview.documents],
                    "text": [document.content[:300] for document in preview.documents],
                    "category": [document.category or "" for document in preview.documents],
                    "id": [document.external_id for document in preview.documents],
                    "metadata": [
                        ", ".join(_field(*field) for field in document.metadata.items())
                        for document in preview.documents
                    ],
                }
            ),
            hide_index=True,
            alt=f"The first documents of {preview.name}",
            column_config={
                "title": st.column_config.TextColumn("Title", width=140),
                "text": st.column_config.TextColumn("Text", width=280),
                "category": st.column_config.TextColumn("Category", width=80),
                "id": st.column_config.TextColumn("Id", width=80),
                "metadata": st.column_config.TextColumn("Metadata", width=180),
            },
        )
    if preview.problems:
        _show_first_problems(preview)


def _field(name: str, value: Any) -> str:
    words = " › ".join(map(str, value)) if isinstance(value, list | tuple) else value
    return f"{name}: {words}"


def _show_first_problems(preview: Preview) -> None:
    nothing = "Nothing of what was looked at can be stored. " * (not preview.documents)
    lines = [
        f"- {f'**{escape(problem.place)}**: ' * bool(problem.place)}{escape(problem.reason)} "
        f"{escape(problem.hint)}{' It is stored all the same.' * problem.stored}"
        for problem in preview.problems
    ]
    found = f"{nothing}{count(len(lines), 'problem')} at the beginning of this file:"
    st.warning("\n".join([found, "", *lines]), icon=":material/report:")


def show_problems(problems: Sequence[IncomingProblem], total: int) -> None:
    """What a load could not store, or not as it was. total: how many there were; problems: the
    first of them."""
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
            for problem in problems
        ]
    )
    first = f" The first {len(problems):,} of them:" * (total > len(problems))
    st.warning(
        f"{count(total, 'problem')}: this was not stored, or not exactly as it is.{first}",
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
        shown = f"{escape(', '.join(names[:20]))}{' …' * (len(names) > 20)}"
        st.caption(f"And {count(len(names), 'more file')} without a first look: {shown}")


def same_names(names: Sequence[str]) -> None:
    """Documents are told apart by the name of their file, so that a second one would replace the
    first."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        st.warning(
            f"More than one file is called {escape(', '.join(twice))}: the last one replaces the "
            "others. Rename them to keep all.",
            icon=":material/content_copy:",
        )


def load_button(files: int, collection: str, *, busy: bool) -> bool:
    return st.button(
        f"Load {count(files, 'file')} into {escape(collection)}",
        type="primary",
        icon=":material/play_arrow:",
        disabled=busy,
        help="Something is being loaded into this collection already." if busy else None,
    )
