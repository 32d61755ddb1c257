"""Uploading: where to, the drop zone, and all the files in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import pandas as pd
import streamlit as st

from lib.evaluation.query_sets import SavedQuerySet
from lib.formats import format_bytes, format_count
from lib.ingest.dropped import Ready, SortedOut
from lib.ingest.pipeline import LoadOptions
from lib.ingest.read_options import MAX_PART_TOKENS, MIN_PART_TOKENS, ReadOptions
from lib.ingest.readers.registry import READERS
from lib.store.collections import Collection, CollectionSummary
from lib.ui.shared.markdown import escape
from lib.ui.upload.preview import Dropped, forget_others

# With more files than this, only the first ones are looked into before the load.
MOST_PREVIEWS = 8

_FILES, _FOLDER = "Files", "A whole folder"
_LOADS = "upload:loads"  # a new key makes Streamlit forget the files of the old one
_SAVED = "upload:saved"


# --- what is loaded, and where to ---------------------------------------------------------------


def show_target(summary: CollectionSummary) -> None:
    """What is in the collection already, and what will turn new texts into vectors."""
    collection = summary.collection
    by = (
        f"New ones are embedded by {escape(collection.model)}."
        if collection.has_model
        else f"It has no model: its vectors, of {collection.dimensions:,} dimensions, come with "
        "the files."
    )
    st.caption(f"{format_count(summary.documents, 'document')} so far. {by}")


def parts_controls(collection: Collection, longest: int | None) -> ReadOptions:
    """How long texts are split. longest: the most tokens that the model takes, if known."""
    most = min(MAX_PART_TOKENS, longest or MAX_PART_TOKENS)
    usual = ReadOptions(tokenizer="")
    with st.expander("Parts of long texts", icon=":material/content_cut:"):
        part_tokens = st.number_input(
            "Longest part (tokens)",
            MIN_PART_TOKENS,
            most,
            min(usual.part_tokens, most),
            step=50,
            help="A long text becomes several documents, its parts: first by headings, pages and "
            "slides, then by this length. Short parts are found more exactly, long ones tell more. "
            f"A token is a word or a piece of one; up to {most:,} are possible here. "
            "Each row of a table is one document, whatever its length.",
        )
        most_overlap = (part_tokens - 1) // 2
        overlap_tokens = st.number_input(
            "Overlap (tokens)",
            0,
            most_overlap,
            min(usual.overlap_tokens, most_overlap),
            step=10,
            help="How much of a part's end the next one repeats, so that a thought that is cut "
            "can still be found.",
        )
    return ReadOptions(
        part_tokens=part_tokens, overlap_tokens=overlap_tokens, tokenizer=collection.model
    )


def load_options(summary: CollectionSummary) -> LoadOptions:
    """What happens to what is stored already, and when the new is embedded."""
    with st.expander("When loading", icon=":material/tune:"):
        later = summary.collection.has_model and st.checkbox(
            "Store the texts only",
            help="They can be found by their words at once. Embed them later, on this page, to "
            "find them by meaning too: useful where a provider costs money or time.",
        )
        replace_all = st.checkbox(
            "Replace all",
            help="Removes every document of the collection that these files do not bring, once "
            "all of them could be read. Without it, a row that is gone from a file stays here; the "
            "parts of a changed text are replaced in any case.",
        )
    if replace_all and summary.documents:
        st.warning(
            f"What these files do not bring is removed from {escape(summary.collection.name)}.",
            icon=":material/delete_sweep:",
        )
    return LoadOptions(embed=not later, replace_all=replace_all)


def drop_zone(collection: str) -> list[Dropped]:
    """The files that were dropped, without the hidden ones of a folder."""
    place = f"{st.session_state.get(_LOADS, 0)}"
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        kind = st.segmented_control(
            "What to load",
            [_FILES, _FOLDER],
            default=_FILES,
            required=True,
            key=f"kind_{place}",
            label_visibility="collapsed",
            width="content",
        )
        most = st.get_option("server.maxUploadSize")
        st.caption(
            f"Up to {most:,} MB a file. Nothing is stored before you press Load.", width="content"
        )
    formats = ", ".join(reader.format for reader in READERS)
    files = st.file_uploader(
        f"{kind} to load into {escape(collection)}",
        accept_multiple_files="directory" if kind == _FOLDER else True,
        key=f"files_{kind}_{place}",
        help=f"What can be read: {formats}. A file is read as what it is, whatever its name says.",
    )
    dropped = [_dropped(file, in_folder=kind == _FOLDER) for file in files or []]
    shown = [file for file in dropped if not _is_hidden(file.name)]
    if hidden := len(dropped) - len(shown):
        st.caption(f"{format_count(hidden, 'hidden file')} left out.")
    if not dropped:
        st.caption(
            "Texts, office files, PDF, tables, archives, vectors and judged collections: what "
            "would be stored of them is shown first. Larger files are loaded on the command line, "
            "from where they are: `python -m lib ingest PATH --collection NAME`"
        )
    forget_others({file.id for file in shown})
    return shown


def _dropped(file: Any, *, in_folder: bool) -> Dropped:
    """In a folder, a file is named by its place in it, as on the command line."""
    name = file.name.replace("\\", "/")
    if not in_folder or "/" not in name:
        return Dropped(name, "", file.file_id, file.size, file)
    folder, _, inside = name.partition("/")
    return Dropped(inside, folder, file.file_id, file.size, file)


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in PurePosixPath(name).parts)


def empty_drop_zone(saved: Sequence[SavedQuerySet]) -> None:
    """At the next run, for files that are being loaded now. saved: what came with them."""
    st.session_state[_LOADS] = st.session_state.get(_LOADS, 0) + 1
    st.session_state[_SAVED] = saved


def show_judged(files: Mapping[str, Dropped]) -> None:
    """A folder in BEIR form. files: place → file."""
    if not files:
        return
    with st.expander(
        f"{escape(judged_name(files))} · judged collection (BEIR form)",
        expanded=True,
        icon=":material/rule:",
    ):
        has_corpus = any(place.startswith("corpus.") for place in files)
        splits = [PurePosixPath(place).name.split(".")[0] for place in files if "qrels" in place]
        judged = f"judged by {', '.join(map(escape, splits))}" if splits else "without judgments"
        st.markdown(
            ("The corpus becomes documents. " if has_corpus else "There is no corpus in it. ")
            + f"The queries become a query set, {judged}."
        )
        st.caption(
            " · ".join(
                f"{escape(place)} {format_bytes(file.size_bytes)}" for place, file in files.items()
            )
        )


def judged_name(files: Mapping[str, Dropped]) -> str:
    """Of the folder that they are in, as far as it is known."""
    for place, file in files.items():
        if place.startswith("queries."):
            return PurePosixPath(file.name).parent.name or file.folder or "Queries"
    return "Queries"


# --- all files ----------------------------------------------------------------------------------


def show_rest(files: SortedOut[Dropped], format_of: Callable[[str], str]) -> None:
    """Files that are loaded without a first look, and those that cannot be."""
    rest, unread = files.rest, files.unread
    if not rest and not unread:
        return
    words = []
    if rest:
        words.append(f"{format_count(len(rest), 'more file')} without a first look")
    if unread:
        words.append(f":orange[{format_count(len(unread), 'file')} that cannot be read]")
    st.caption(f"And {' and '.join(words)}:")
    rows = [(file, format_of(file.name), "") for file in rest]
    rows += [(file, "–", problem.reason) for file, problem in unread]
    table = pd.DataFrame(
        {
            "File": [file.name for file, _, _ in rows],
            "Format": [name for _, name, _ in rows],
            "Size": [format_bytes(file.size_bytes) for file, _, _ in rows],
            "Why it cannot be read": [reason for _, _, reason in rows],
        }
    )
    if not unread:
        table = table.drop(columns="Why it cannot be read")
    st.dataframe(
        table,
        hide_index=True,
        alt="Files that are not looked into",
        column_config={
            "File": st.column_config.TextColumn(width=190),
            "Format": st.column_config.TextColumn(width=130),
            "Size": st.column_config.TextColumn(width=70),
            "Why it cannot be read": st.column_config.TextColumn(width=380),
        },
    )


def same_names(files: SortedOut[Dropped]) -> None:
    """Documents are told apart by the name of their file, so that a second one would replace the
    first."""
    names = Counter(file.name for file in (*files.looked, *files.rest))
    twice = sorted(name for name, times in names.items() if times > 1)
    if twice:
        st.warning(
            f"More than one file is called {escape(', '.join(twice))}: the last one replaces the "
            "others. Rename them to keep all.",
            icon=":material/content_copy:",
        )


def same_ids(ready: Ready[Dropped]) -> None:
    """Two tables that both count from 1 would replace each other's rows."""
    tables = [one.upload.name for one in ready.chosen if one.options.columns.external_id]
    if len(tables) > 1:
        st.warning(
            f"{format_count(len(tables), 'table')} have an Id column "
            f"({escape(', '.join(tables[:5]))}): "
            "where an id is in more than one of them, the last row replaces the others. Choose "
            "no Id where the ids only count the rows.",
            icon=":material/content_copy:",
        )


def load_button(ready: Ready[Dropped], collection: str, *, busy: bool) -> bool:
    """True where it was pressed; all files are then at their start."""
    files = [file for one in ready.chosen for file in (one.upload, one.texts) if file is not None]
    files += ready.judged.values()
    pressed = st.button(
        f"Load {format_count(len(ready.chosen) + len(ready.judged), 'file')} into "
        f"{escape(collection)}",
        type="primary",
        icon=":material/play_arrow:",
        disabled=busy or not files,
        help="Something is being loaded into this collection already." if busy else None,
    )
    if pressed:
        for file in files:
            assert isinstance(file, Dropped)
            file.rewind()
    return pressed


def show_saved(collection: Collection) -> None:
    """The query sets that came with what was loaded last in this session."""
    kept: Sequence[SavedQuerySet] = st.session_state.get(_SAVED, ())
    saved = [one for one in kept if one.query_set.collection_id == collection.id]
    for one in saved:
        left_out = f" {format_count(one.problem_count, 'line')} could not be read." * bool(
            one.problem_count
        )
        st.success(
            f"**Query set {escape(one.query_set.name)}**: {one.queries:,} queries and "
            f"{one.judgments:,} judgments.{left_out}",
            icon=":material/rule:",
        )
