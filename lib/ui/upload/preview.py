"""The preview of a dropped file: how it is read, to be changed where that is wrong, and what
would be stored of it."""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from lib.formats import format_bytes, format_count
from lib.ingest.columns import ColumnChoice, ColumnMapping
from lib.ingest.incoming import IncomingDocument, IncomingProblem
from lib.ingest.preview import Preview
from lib.ingest.read_options import ReadOptions
from lib.ingest.upload_batch import FileToLoad, OnDisk, VectorTexts
from lib.ingest.vectors import VectorFileFacts
from lib.store.collections import NAME_LENGTH, Collection
from lib.ui.shared.markdown import escape
from lib.ui.upload.drop_zone import DroppedFile
from lib.ui.upload.model import UploadModel
from lib.vectors.distance import Distance

_SHOWN_CHARACTERS = 2000
_MAX_PREVIEWS_OF_FILE = 8
_ROW_HEIGHT = 84  # pixels: four lines of a text
_LINE_CHARACTERS = 45

# What people call the encodings that texts were written in before UTF-8, by Python's own names.
ENCODINGS = {
    "utf-8": "Unicode",
    "utf-16": "Unicode, two bytes",
    "cp1252": "Western Europe, Windows",
    "iso8859-15": "Western Europe, Latin 9",
    "mac-roman": "Western Europe, old Mac",
    "cp437": "old DOS",
    "cp1250": "Central Europe",
    "cp1251": "Cyrillic, Windows",
    "koi8-r": "Cyrillic, KOI8",
    "cp1253": "Greek",
    "cp1254": "Turkish",
    "cp1255": "Hebrew",
    "cp1256": "Arabic",
    "cp932": "Japanese, Shift JIS",
    "euc_jp": "Japanese, EUC",
    "gb18030": "Chinese, simplified",
    "big5hkscs": "Chinese, traditional",
    "cp949": "Korean",
}
_DELIMITERS = {",": "comma ,", ";": "semicolon ;", "\t": "tab", "|": "bar |"}
_NONE = "– none –"
_PREVIEWS = "upload:previews"
_ON_DISK = "upload:on_disk"
_REPORT = ":material/report:"


def show_file(
    model: UploadModel,
    file: DroppedFile,
    texts: VectorTexts[DroppedFile],
    collection: Collection,
    options: ReadOptions,
    *,
    is_open: bool,
) -> FileToLoad[DroppedFile] | NewCollection | None:
    """One file: how it is read, to be changed, and its first documents as they would be stored.

    texts: where it is a file of vectors, the files that may have their texts. options: how it is
    read where nothing is changed. None where it is not to be loaded; NewCollection where one is
    asked for, that its vectors fit into.
    """
    preview = _preview(model, file, options)
    is_of_vectors = preview.of_vectors
    with _frame(preview, is_open=is_open):
        options = _reading_controls(preview, options, file.id)
        texts_file = None
        if is_of_vectors:
            texts_file = _texts_picker(texts, file.id)
            path = _path_of(texts_file) if texts_file is not None else ""
            options = replace(options, texts=path)
        preview = _preview(model, file, options)
        if preview.is_table:
            columns = _column_controls(preview, collection, file.id)
            options = replace(options, columns=columns)
            preview = _preview(model, file, options)
        vectors = preview.vectors if is_of_vectors or options.columns.embedding else None
        if vectors is not None:
            _show_vectors(vectors)
            if vectors.dimensions != collection.dimensions:
                return _new_collection_for(vectors, collection, file.id)
        _show_preview(preview)
        if vectors is not None and not _vectors_fit(preview, vectors, collection, file.id):
            return None
        return FileToLoad(file, options, texts_file, vectors)


def _frame(preview: Preview, *, is_open: bool) -> AbstractContextManager[Any]:
    """Where one file is shown; open where not all is well, too."""
    problems = preview.problems
    title = [escape(preview.name), escape(preview.format)]
    if problems:
        title.append(_problem_count(problems))
    return st.expander(
        " · ".join(title),
        expanded=is_open or any(not problem.stored for problem in problems),
        icon=_REPORT if problems else ":material/description:",
    )


def _reading_controls(preview: Preview, options: ReadOptions, key: str) -> ReadOptions:
    """Encoding, delimiter and header, as they were found, to be changed. key: of the file."""
    has_encoding = preview.encoding is not None or (
        preview.takes_encoding and not preview.documents
    )
    has_delimiter = preview.delimiter is not None
    has_arrays = preview.vectors is not None and len(preview.vectors.datasets) > 1
    if not (has_encoding or has_delimiter or has_arrays):
        return options
    columns = st.columns(3, vertical_alignment="bottom")
    if has_encoding:
        options = replace(options, encoding=_encoding(columns[0], preview.encoding, key))
    if has_delimiter:
        assert preview.delimiter is not None
        options = replace(
            options,
            delimiter=_delimiter(columns[1], preview.delimiter, key),
            has_header=columns[2].checkbox(
                "First row names the columns",
                value=options.has_header,
                key=f"header_{key}",
                help="Off: the first row is a document too, and the columns are numbered.",
            ),
        )
    if has_arrays:
        assert preview.vectors is not None
        datasets = list(preview.vectors.datasets)
        chosen = columns[0].selectbox(
            "Which array",
            datasets,
            index=None,
            placeholder="The likeliest",
            key=f"dataset_{key}",
            help="The file holds several. Queries and their neighbours become a query set.",
        )
        options = replace(options, dataset=chosen)
    return options


def _encoding(column: DeltaGenerator, detected: str | None, key: str) -> str | None:
    """None where it stays the detected one."""
    detected = detected and codecs.lookup(detected).name
    names = list(dict.fromkeys([*filter(None, [detected]), *ENCODINGS]))

    def label(name: str) -> str:
        shown = f"{name} (found)" if name == detected else name
        return " · ".join([shown, *filter(None, [ENCODINGS.get(name)])])

    chosen = column.selectbox(
        "Encoding",
        names,
        index=0 if detected else None,
        format_func=label,
        placeholder="Not found: choose one",
        accept_new_options=True,
        key=f"encoding_{key}",
        help="How the file's bytes stand for letters. Change it where letters below look wrong. "
        "Any name that Python knows can be typed in.",
    )
    return None if chosen == detected else chosen


def _delimiter(column: DeltaGenerator, detected: str, key: str) -> str | None:
    """None where it stays the detected one."""
    names = list(dict.fromkeys([detected, *_DELIMITERS]))

    def label(name: str) -> str:
        shown = _DELIMITERS.get(name, name)
        return f"{shown} (found)" if name == detected else shown

    chosen = column.selectbox(
        "Delimiter",
        names,
        format_func=label,
        accept_new_options=True,
        key=f"delimiter_{key}",
        help="The character between two columns.",
    )
    return None if chosen == detected else chosen


def _column_controls(preview: Preview, collection: Collection, key: str) -> ColumnChoice:
    """Which column is what; what was guessed is chosen already."""
    header = list(preview.header)
    guess = preview.mapping or ColumnMapping(text=())
    vectors = preview.vectors.column if preview.vectors is not None else None
    key = f"{key}_{hash(preview.header)}"  # another header has other columns
    columns = st.columns(5 if vectors else 4)
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
    embedding = ""
    if vectors:
        embedding = _column(
            columns[4],
            "Vector",
            header,
            None if collection.has_model else vectors,
            key,
            "Vectors that exist already, to be stored as they are. Where the collection has a "
            "model, only that model's vectors belong into it; without a choice here, the texts are "
            "embedded anew.",
        )
    st.caption("These columns were guessed: change what is wrong. All others become metadata.")
    return ColumnChoice(tuple(text), title, category, external_id, embedding)


def _column(
    column: DeltaGenerator,
    label: str,
    header: list[str],
    guess: str | None,
    key: str,
    help_text: str,
) -> str:
    """The chosen column, or "" for none."""
    options = [_NONE, *header]
    chosen = column.selectbox(
        label,
        options,
        index=options.index(guess) if guess in header else 0,
        key=f"{label.lower()}_{key}",
        help=help_text,
    )
    return "" if chosen == _NONE else str(chosen)


def _show_preview(preview: Preview) -> None:
    """The first documents as they would be stored, with their places and lengths."""
    extent = [] if preview.size_bytes is None else [format_bytes(preview.size_bytes)]
    if preview.documents:
        noun = "row" if preview.is_table else "part"
        shown = format_count(len(preview.documents), noun)
        extent.append(f"all of it: {shown}" if preview.is_whole else f"the first {shown}")
    st.caption(" · ".join(extent))
    if preview.documents:
        _show_documents(preview)
    if preview.problems:
        _show_first_problems(preview)


def _show_documents(preview: Preview) -> None:
    documents = preview.documents
    columns = {
        "place": [_place_of(document.metadata) for document in documents],
        "tokens": list(preview.tokens),
        "title": [document.title or "" for document in documents],
        "text": [document.content[:_SHOWN_CHARACTERS] for document in documents],
        "category": [document.category or "" for document in documents],
        "id": [document.external_id for document in documents],
        "metadata": [_other_metadata(document) for document in documents],
    }
    unused = ["category", "id"] if not preview.is_table else []
    table = pd.DataFrame(columns).drop(columns=unused)
    table = table.loc[:, [name for name in table if (table[name] != "").any()]]
    st.dataframe(
        table,
        hide_index=True,
        row_height=_ROW_HEIGHT if (table["text"].str.len() > _LINE_CHARACTERS).any() else None,
        alt=f"The first documents of {preview.name}, as they would be stored",
        column_config={
            "place": st.column_config.TextColumn("Place", width=120),
            "tokens": st.column_config.NumberColumn("Tokens", width=60, help="About."),
            "title": st.column_config.TextColumn("Title", width=110),
            "text": st.column_config.TextColumn("Text", width=340),
            "category": st.column_config.TextColumn("Category", width=80),
            "id": st.column_config.TextColumn("Id", width=70),
            "metadata": st.column_config.TextColumn("Metadata", width=150),
        },
    )
    long = [tokens for tokens in preview.tokens if tokens > (preview.max_tokens or tokens)]
    if long:
        st.caption(
            f":orange[{format_count(len(long), 'document')} of these are longer than the model "
            "takes "
            f"({preview.max_tokens:,} tokens)]: only their beginning is embedded; keyword search "
            "finds all their words."
        )


_PLACES = ("page", "slide", "sheet", "row", "chapter", "line")


def _place_of(metadata: Mapping[str, Any]) -> str:
    """Where in its file a part stands: “page 3 · Guide › Install”."""
    places = [f"{name} {metadata[name]}" for name in _PLACES if metadata.get(name) is not None]
    if path := metadata.get("heading_path"):
        places.append(" › ".join(map(str, path)))
    return " · ".join(places)


def _other_metadata(document: IncomingDocument) -> str:
    return ", ".join(
        f"{name}: {' › '.join(map(str, value)) if isinstance(value, list | tuple) else value}"
        for name, value in document.metadata.items()
        if name not in _PLACES and name != "heading_path"
    )[:_SHOWN_CHARACTERS]


def _show_first_problems(preview: Preview) -> None:
    count = _problem_count(preview.problems)
    if preview.documents:
        heading = f"{count} at the beginning of this file:"
    else:
        heading = f"Nothing at the beginning of this file can be stored. {count}:"
    lines = [f"- {_problem_line(problem)}" for problem in preview.problems]
    say = st.info if all(problem.stored for problem in preview.problems) else st.warning
    say("\n".join([heading, "", *lines]), icon=_REPORT)


def _problem_line(problem: IncomingProblem) -> str:
    place = f"**{escape(problem.place)}**: " if problem.place else ""
    line = f"{place}{escape(problem.reason)} {escape(problem.hint)}"
    return f"{line} It is stored all the same." if problem.stored else line


def _problem_count(problems: Sequence[IncomingProblem]) -> str:
    """What is stored all the same is worth a note, and no problem."""
    noun = "note" if all(problem.stored for problem in problems) else "problem"
    return format_count(len(problems), noun)


# --- vectors that exist already -----------------------------------------------------------------


def _texts_picker(texts: VectorTexts[DroppedFile], key: str) -> DroppedFile | None:
    """Which of the other files has the texts of a file of vectors."""
    if not texts.candidates:
        st.caption(
            "No texts lie beside these vectors: each is stored under its number. Drop a file with "
            "as many lines or rows together with them (txt, csv, jsonl) to give them texts."
        )
        return None
    names = list(texts.candidates)
    name = st.selectbox(
        "Texts of these vectors",
        names,
        index=names.index(texts.likely) if texts.likely else None,
        placeholder="None: each is stored under its number",
        key=f"texts_{key}",
        help="Line or row n of that file belongs to vector n.",
    )
    return texts.candidates[name] if name else None


def _vectors_fit(
    preview: Preview, facts: VectorFileFacts, collection: Collection, key: str
) -> bool:
    """Whether vectors of these dimensions may go into the collection."""
    if facts.distance is not collection.distance:
        st.caption(
            f"{escape(collection.name)} compares by {collection.distance.label}; these suggest "
            f"{facts.distance.label}."
        )
    if not preview.of_vectors or not collection.has_model:
        return True
    return st.checkbox(
        f"They were made by {escape(collection.model)}",
        key=f"same_model_{key}",
        help="The file does not tell. Vectors of another model would be compared with those of "
        "this one, which gives nonsense. Without your word the file is left out.",
    )


def _show_vectors(facts: VectorFileFacts) -> None:
    rows = f"{facts.rows:,} vectors" if facts.rows is not None else "Vectors"
    properties = [f"**{rows} of {facts.dimensions:,} dimensions** ({escape(facts.dtype)})"]
    if facts.norm_min is not None and facts.norm_max is not None:
        low, high = f"{facts.norm_min:.3g}", f"{facts.norm_max:.3g}"
        properties.append(f"norm {low}" if low == high else f"norms {low} to {high}")
    reason = escape(facts.distance_reason)
    properties.append(f"suggested distance: {facts.distance.label}, since {reason}")
    if facts.has_queries:
        properties.append("its test part becomes a query set")
    st.markdown(" · ".join(properties))
    unusable = {
        "without a vector": facts.without,
        "of another length": facts.other_dimensions,
        "with NaN": facts.nan,
        "with an infinite number": facts.infinite,
        "all zero": facts.zero,
    }
    counts = [f"{number:,} {name}" for name, number in unusable.items() if number]
    if counts:
        st.warning(
            f"Of the first {format_count(facts.inspected, 'row')}: {', '.join(counts)}. What "
            "cannot be stored is refused row by row and listed; the rest is loaded.",
            icon=_REPORT,
        )


@dataclass(frozen=True)
class NewCollection:
    """A collection without a model, for vectors that exist already."""

    name: str
    dimensions: int
    distance: Distance


def _new_collection_for(
    facts: VectorFileFacts, collection: Collection, key: str
) -> NewCollection | None:
    st.warning(
        f"Vectors of {facts.dimensions:,} dimensions cannot go into {escape(collection.name)}, "
        f"whose vectors have {collection.dimensions:,}. Make a collection for them:",
        icon=":material/straighten:",
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input(
            "Name of the new collection",
            PurePosixPath(facts.name).stem[:NAME_LENGTH],
            max_chars=NAME_LENGTH,
            key=f"new_name_{key}",
            help=f"It has {facts.dimensions:,} dimensions, {facts.distance.label} and no model: "
            "its vectors come with the files, and keyword search finds the texts.",
        )
        pressed = st.button("Make it", key=f"new_{key}", icon=":material/add:")
    return NewCollection(name, facts.dimensions, facts.distance) if pressed else None


def switch_to(collection: Collection) -> None:
    """The page is about that collection from its next run on."""
    st.query_params["c"] = collection.slug


# --- previews and files of this session ---------------------------------------------------------


def _preview(model: UploadModel, file: DroppedFile, options: ReadOptions) -> Preview:
    """The preview, which is made once for each way to read the file."""
    previews = st.session_state.setdefault(_PREVIEWS, {}).setdefault(file.id, {})
    if options not in previews:
        with st.spinner(f"Reading the beginning of {escape(file.name)} …"):
            made = model.preview(file, options)
        while len(previews) >= _MAX_PREVIEWS_OF_FILE:
            del previews[next(iter(previews))]
        previews[options] = made
    preview: Preview = previews[options]
    return preview


def _path_of(file: DroppedFile) -> str:
    """A path with the file's content, while the file is in the drop zone."""
    on_disk: dict[str, OnDisk] = st.session_state.setdefault(_ON_DISK, {})
    if file.id not in on_disk:
        on_disk[file.id] = OnDisk(file.name, file.content())
    return str(on_disk[file.id].path)


def forget_other_files(files: Sequence[DroppedFile]) -> None:
    """Drops the previews of all but these files."""
    ids = {file.id for file in files}
    for name in (_PREVIEWS, _ON_DISK):
        by_file = st.session_state.get(name, {})
        for file_id in by_file.keys() - ids:
            del by_file[file_id]
