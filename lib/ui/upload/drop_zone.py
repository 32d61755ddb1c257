"""The drop zone: the files that a person dropped on the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import streamlit as st

from lib.evaluation.query_sets import SavedQuerySet
from lib.formats import format_count
from lib.ingest.readers.registry import READERS
from lib.store.collections import Collection
from lib.ui.shared.markdown import escape

_FILES, _FOLDER = "Files", "A whole folder"
_TURN = "upload:loads"  # a new key makes Streamlit forget the files of the old one
_SAVED = "upload:saved"


@dataclass(frozen=True)
class DroppedFile:
    """A file in the drop zone."""

    name: str
    """Its path inside the folder, where it was dropped with one."""

    folder: str
    """The name of that folder, or empty."""

    id: str
    """Of this very drop."""

    size_bytes: int

    file: Any
    """As Streamlit has it."""

    def content(self) -> memoryview:
        return memoryview(self.file.getbuffer())

    def read(self, size_bytes: int, /) -> bytes:
        return bytes(self.file.read(size_bytes))

    def rewind(self) -> None:
        self.file.seek(0)


def drop_zone(collection: str) -> list[DroppedFile]:
    """The files that were dropped, without the hidden ones of a folder."""
    turn = st.session_state.get(_TURN, 0)
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        kind = st.segmented_control(
            "What to load",
            [_FILES, _FOLDER],
            default=_FILES,
            required=True,
            key=f"kind_{turn}",
            label_visibility="collapsed",
            width="content",
        )
        max_megabytes = st.get_option("server.maxUploadSize")
        st.caption(
            f"Up to {max_megabytes:,} MB a file. Nothing is stored before you press Load.",
            width="content",
        )
    formats = ", ".join(reader.format for reader in READERS)
    files = st.file_uploader(
        f"{kind} to load into {escape(collection)}",
        accept_multiple_files="directory" if kind == _FOLDER else True,
        key=f"files_{kind}_{turn}",
        help=f"What can be read: {formats}. A file is read as what it is, whatever its name says.",
    )
    dropped = [_dropped(file, in_folder=kind == _FOLDER) for file in files or []]
    shown = [file for file in dropped if not _is_hidden(file.name)]
    if hidden := len(dropped) - len(shown):
        st.caption(f"{format_count(hidden, 'hidden file')} left out.")
    if not dropped:
        st.caption(
            "Texts, office files, PDF, tables, archives, vectors and test collections (queries "
            "with judgments): what would be stored of them is shown first. Larger files are "
            "loaded on the command line, from where they are: "
            "`python -m lib ingest PATH --collection NAME`"
        )
    return shown


def _dropped(file: Any, *, in_folder: bool) -> DroppedFile:
    """In a folder, a file is named by its place in it, as on the command line."""
    name = file.name.replace("\\", "/")
    if not in_folder or "/" not in name:
        return DroppedFile(name, "", file.file_id, file.size, file)
    folder, _, inside = name.partition("/")
    return DroppedFile(inside, folder, file.file_id, file.size, file)


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in PurePosixPath(name).parts)


def empty_drop_zone(query_sets: Sequence[SavedQuerySet]) -> None:
    """At the next run, since the files are being loaded now. query_sets: what came with them."""
    st.session_state[_TURN] = st.session_state.get(_TURN, 0) + 1
    st.session_state[_SAVED] = query_sets


def show_saved_query_sets(collection: Collection) -> None:
    """The query sets that came with what was loaded last in this session."""
    query_sets: Sequence[SavedQuerySet] = st.session_state.get(_SAVED, ())
    for saved in query_sets:
        if saved.query_set.collection_id != collection.id:
            continue
        text = (
            f"**Query set {escape(saved.query_set.name)}**: {saved.queries:,} queries and "
            f"{saved.judgments:,} judgments."
        )
        if saved.problem_count:
            text += f" {format_count(saved.problem_count, 'line')} could not be read."
        st.success(text, icon=":material/rule:")
