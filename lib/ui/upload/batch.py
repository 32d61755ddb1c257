"""The files of the drop zone as a whole: previews, what is loaded without one, what cannot be, and
the load."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import pandas as pd
import streamlit as st

from lib.formats import format_bytes, format_count
from lib.ingest.pipeline import LoadOptions
from lib.ingest.read_options import ReadOptions
from lib.ingest.upload_batch import FileToLoad, UploadBatch
from lib.store.collections import Collection
from lib.ui.shared.markdown import escape
from lib.ui.shared.page import guarded, refresh
from lib.ui.upload.drop_zone import DroppedFile, empty_drop_zone
from lib.ui.upload.model import UploadModel
from lib.ui.upload.preview import (
    NewCollection,
    show_file,
    switch_to,
)


def show_batch(
    model: UploadModel,
    collection: Collection,
    dropped: Sequence[DroppedFile],
    read_options: ReadOptions,
    load_options: LoadOptions,
    *,
    is_busy: bool,
) -> None:
    """The dropped files, each with the choice of how it is read, and the button that loads them.

    is_busy: whether something is being loaded into the collection already.
    """
    batch = model.classify(dropped)
    _warn_of_same_names(batch)
    _show_beir_folder(batch.beir_files)
    previewed = _show_previews(model, collection, batch, read_options)
    _show_without_preview(model, batch)
    files = batch.files_to_load(previewed, read_options)
    _warn_of_same_ids(files)
    if _load_button(batch, files, collection, is_busy=is_busy):
        _load(model, collection, batch, files, load_options)


def _show_previews(
    model: UploadModel,
    collection: Collection,
    batch: UploadBatch[DroppedFile],
    options: ReadOptions,
) -> list[FileToLoad[DroppedFile]]:
    """Those of the previewed files that are to be loaded."""
    files: list[FileToLoad[DroppedFile]] = []

    @guarded
    def show(file: DroppedFile) -> None:
        shown = show_file(
            model, file, batch.texts_for(file), collection, options, is_open=not files
        )
        if isinstance(shown, NewCollection):
            switch_to(model.create_vector_collection(shown.name, shown.dimensions, shown.distance))
            refresh()
        elif shown is not None:
            files.append(shown)

    for file in batch.to_preview:
        if file not in [file_to_load.texts for file_to_load in files]:
            show(file)
    return files


@guarded
def _load(
    model: UploadModel,
    collection: Collection,
    batch: UploadBatch[DroppedFile],
    files: Sequence[FileToLoad[DroppedFile]],
    options: LoadOptions,
) -> None:
    query_sets = model.load(collection, batch, files, _beir_name(batch.beir_files), options)
    empty_drop_zone(query_sets)
    refresh()


def _show_beir_folder(files: Mapping[str, DroppedFile]) -> None:
    """A folder in BEIR form. files: path in it → file."""
    if not files:
        return
    with st.expander(
        f"{escape(_beir_name(files))} · test collection (BEIR form)",
        expanded=True,
        icon=":material/rule:",
    ):
        has_corpus = any(path.startswith("corpus.") for path in files)
        splits = [PurePosixPath(path).name.split(".")[0] for path in files if "qrels" in path]
        judged = f"judged by {', '.join(map(escape, splits))}" if splits else "without judgments"
        st.markdown(
            ("The corpus becomes documents. " if has_corpus else "There is no corpus in it. ")
            + f"The queries become a query set, {judged}."
        )
        st.caption(
            " · ".join(
                f"{escape(path)} {format_bytes(file.size_bytes)}" for path, file in files.items()
            )
        )


def _beir_name(files: Mapping[str, DroppedFile]) -> str:
    """Of the folder that they are in, as far as it is known."""
    for path, file in files.items():
        if path.startswith("queries."):
            return PurePosixPath(file.name).parent.name or file.folder or "Queries"
    return "Queries"


def _show_without_preview(model: UploadModel, batch: UploadBatch[DroppedFile]) -> None:
    """Files that are loaded without a preview, and those that cannot be read."""
    if not batch.without_preview and not batch.unreadable:
        return
    counts = []
    if batch.without_preview:
        counts.append(f"{format_count(len(batch.without_preview), 'more file')} without a preview")
    if batch.unreadable:
        counts.append(f":orange[{format_count(len(batch.unreadable), 'file')} that cannot be read]")
    st.caption(f"And {' and '.join(counts)}:")
    rows = [(file, model.format_of(file), "") for file in batch.without_preview]
    rows += [(file, "–", problem.reason) for file, problem in batch.unreadable]
    table = pd.DataFrame(
        {
            "File": [file.name for file, _, _ in rows],
            "Format": [format_name for _, format_name, _ in rows],
            "Size": [format_bytes(file.size_bytes) for file, _, _ in rows],
            "Why it cannot be read": [reason for _, _, reason in rows],
        }
    )
    if not batch.unreadable:
        table = table.drop(columns="Why it cannot be read")
    st.dataframe(
        table,
        hide_index=True,
        alt="Files without a preview, and files that cannot be read",
        column_config={
            "File": st.column_config.TextColumn(width=190),
            "Format": st.column_config.TextColumn(width=130),
            "Size": st.column_config.TextColumn(width=70),
            "Why it cannot be read": st.column_config.TextColumn(width=380),
        },
    )


def _warn_of_same_names(batch: UploadBatch[DroppedFile]) -> None:
    """Documents are told apart by the name of their file, so that a second one would replace the
    first."""
    names = Counter(file.name for file in batch.readable)
    twice = sorted(name for name, times in names.items() if times > 1)
    if twice:
        st.warning(
            f"More than one file is called {escape(', '.join(twice))}: the last one replaces the "
            "others. Rename them to keep all.",
            icon=":material/content_copy:",
        )


def _warn_of_same_ids(files: Sequence[FileToLoad[DroppedFile]]) -> None:
    """Two tables that both count from 1 would replace each other's rows."""
    tables = [file.file.name for file in files if file.options.columns.external_id]
    if len(tables) > 1:
        st.warning(
            f"{format_count(len(tables), 'table')} have an Id column "
            f"({escape(', '.join(tables[:5]))}): "
            "where an id is in more than one of them, the last row replaces the others. Choose "
            "no Id where the ids only count the rows.",
            icon=":material/content_copy:",
        )


def _load_button(
    batch: UploadBatch[DroppedFile],
    files: Sequence[FileToLoad[DroppedFile]],
    collection: Collection,
    *,
    is_busy: bool,
) -> bool:
    """True where it was pressed; all files are then at their start."""
    pressed = st.button(
        f"Load {format_count(len(files) + len(batch.beir_files), 'file')} into "
        f"{escape(collection.name)}",
        type="primary",
        icon=":material/play_arrow:",
        disabled=is_busy or not (files or batch.beir_files),
        help="Something is being loaded into this collection already." if is_busy else None,
    )
    if pressed:
        for file in files:
            file.file.rewind()
            if file.texts is not None:
                file.texts.rewind()
        for beir_file in batch.beir_files.values():
            beir_file.rewind()
    return pressed
