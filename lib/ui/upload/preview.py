"""The first look into a dropped file: how it is read, to be changed where that is wrong, and what
would be stored of it."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import pandas as pd
import streamlit as st

from lib.formats import format_bytes, format_count
from lib.ingest.columns import ColumnChoice, ColumnMapping
from lib.ingest.dropped import Chosen, OnDisk
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingDocument, IncomingProblem
from lib.ingest.preview import Preview
from lib.ingest.read_options import ReadOptions
from lib.ingest.vectors import VectorFileFacts
from lib.store.collections import NAME_LENGTH, Collection
from lib.ui.shared.markdown import escape
from lib.vectors.distance import Distance

_SHOWN_CHARACTERS = 2000
_KEPT_LOOKS = 8
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
_LOOKS = "upload:looks"
_ON_DISK = "upload:on_disk"
_REPORT = ":material/report:"


@dataclass(frozen=True)
class Dropped:
    """A file in the drop zone. name: inside the folder, where it was one; id: of this very drop."""

    name: str
    folder: str
    id: str
    size_bytes: int
    file: Any

    def content(self) -> memoryview:
        return memoryview(self.file.getbuffer())

    def read(self, size_bytes: int, /) -> bytes:
        return bytes(self.file.read(size_bytes))

    def rewind(self) -> None:
        self.file.seek(0)


@dataclass(frozen=True)
class Texts:
    """Files that may have the texts of a file of vectors. likely: the name of one of them."""

    candidates: Mapping[str, Dropped]
    likely: str | None


def look_into(
    file: Dropped,
    base: ReadOptions,
    collection: Collection,
    texts: Texts,
    preview: Callable[[FileSource, ReadOptions], Preview],
    *,
    is_open: bool,
) -> Chosen | NewCollection | None:
    """One file: what was found, to be changed, and its first documents as they would be stored.

    base: how it is read where nothing is changed. None where it is not to be loaded;
    NewCollection where one is asked for, that its vectors fit into.
    """

    def looked(options: ReadOptions) -> Preview:
        source = FileSource.from_bytes(file.name, file.content())
        return _looked_before(file, options, lambda: preview(source, options))

    found = looked(base)
    with _frame(found, is_open=is_open):
        options, chosen_texts = _reading_controls(found, base, file.id), None
        if found.of_vectors:
            chosen_texts = _texts_picker(texts, file.id)
            path = _on_disk(chosen_texts) if chosen_texts is not None else ""
            options = replace(options, texts=path)
        shown = looked(options)
        if shown.is_table:
            columns = _column_controls(shown, collection, file.id)
            options = replace(options, columns=columns)
            shown = looked(options)
        facts = shown.vectors if found.of_vectors or options.columns.embedding else None
        if facts is not None:
            _show_facts(facts)
            if facts.dimensions != collection.dimensions:
                return _new_collection_for(facts, collection, file.id)
        _show_preview(shown)
        if facts is not None and not _vectors_fit(shown, facts, collection, file.id):
            return None
        return Chosen(file, options, chosen_texts, facts)


def _frame(preview: Preview, *, is_open: bool) -> AbstractContextManager[Any]:
    """Where one file is looked into; open where not all is well, too."""
    problems = preview.problems
    words = [escape(preview.name), escape(preview.format)]
    if problems:
        words.append(_problem_count(problems))
    return st.expander(
        " · ".join(words),
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


def _encoding(place: Any, found: str | None, key: str) -> str | None:
    """None where it stays the one that was found."""
    found = found and codecs.lookup(found).name
    names = list(dict.fromkeys([*filter(None, [found]), *ENCODINGS]))

    def label(name: str) -> str:
        shown = f"{name} (found)" if name == found else name
        return " · ".join([shown, *filter(None, [ENCODINGS.get(name)])])

    chosen = place.selectbox(
        "Encoding",
        names,
        index=0 if found else None,
        format_func=label,
        placeholder="Not found: choose one",
        accept_new_options=True,
        key=f"encoding_{key}",
        help="How the file's bytes stand for letters. Change it where letters below look wrong. "
        "Any name that Python knows can be typed in.",
    )
    return None if chosen == found else chosen


def _delimiter(place: Any, found: str, key: str) -> str | None:
    """None where it stays the one that was found."""
    names = list(dict.fromkeys([found, *_DELIMITERS]))
    chosen = place.selectbox(
        "Delimiter",
        names,
        format_func=lambda name: f"{_DELIMITERS.get(name, name)}{' (found)' * (name == found)}",
        accept_new_options=True,
        key=f"delimiter_{key}",
        help="The character between two columns.",
    )
    return None if chosen == found else chosen


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
    place: Any, label: str, header: list[str], guess: str | None, key: str, help_text: str
) -> str:
    """The chosen column, or "" for none."""
    options = [_NONE, *header]
    chosen = place.selectbox(
        label,
        options,
        index=options.index(guess) if guess in header else 0,
        key=f"{label.lower()}_{key}",
        help=help_text,
    )
    return "" if chosen == _NONE else str(chosen)


def _show_preview(preview: Preview) -> None:
    """The first documents as they would be stored, with their places and lengths."""
    words = [] if preview.size_bytes is None else [format_bytes(preview.size_bytes)]
    if preview.documents:
        noun = "row" if preview.is_table else "part"
        shown = format_count(len(preview.documents), noun)
        words.append(f"all of it: {shown}" if preview.is_whole else f"the first {shown}")
    st.caption(" · ".join(words))
    if preview.documents:
        _show_documents(preview)
    if preview.problems:
        _show_first_problems(preview)


def _show_documents(preview: Preview) -> None:
    documents = preview.documents
    columns = {
        "place": [place_of(document.metadata) for document in documents],
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
            f"({preview.max_tokens:,} tokens)]: only their beginning is embedded; their words are "
            "found all the same."
        )


_PLACES = ("page", "slide", "sheet", "row", "chapter", "line")


def place_of(metadata: Mapping[str, Any]) -> str:
    """Where in its file a part stands: “page 3 · Guide › Install”."""
    words = [f"{name} {metadata[name]}" for name in _PLACES if metadata.get(name) is not None]
    if path := metadata.get("heading_path"):
        words.append(" › ".join(map(str, path)))
    return " · ".join(words)


def _other_metadata(document: IncomingDocument) -> str:
    return ", ".join(
        f"{name}: {' › '.join(map(str, value)) if isinstance(value, list | tuple) else value}"
        for name, value in document.metadata.items()
        if name not in _PLACES and name != "heading_path"
    )[:_SHOWN_CHARACTERS]


def _show_first_problems(preview: Preview) -> None:
    nothing = "Nothing of what was looked at can be stored. " * (not preview.documents)
    lines = [
        f"- {f'**{escape(problem.place)}**: ' * bool(problem.place)}{escape(problem.reason)} "
        f"{escape(problem.hint)}{' It is stored all the same.' * problem.stored}"
        for problem in preview.problems
    ]
    found = f"{nothing}{_problem_count(preview.problems)} at the beginning of this file:"
    say = st.info if all(problem.stored for problem in preview.problems) else st.warning
    say("\n".join([found, "", *lines]), icon=_REPORT)


def _problem_count(problems: Sequence[IncomingProblem]) -> str:
    """What is stored all the same is worth a note, and no problem."""
    noun = "note" if all(problem.stored for problem in problems) else "problem"
    return format_count(len(problems), noun)


# --- vectors that exist already -----------------------------------------------------------------


def _texts_picker(texts: Texts, key: str) -> Dropped | None:
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


def _show_facts(facts: VectorFileFacts) -> None:
    rows = f"{facts.rows:,} vectors" if facts.rows is not None else "Vectors"
    words = [f"**{rows} of {facts.dimensions:,} dimensions** ({escape(facts.dtype)})"]
    if facts.norm_min is not None and facts.norm_max is not None:
        low, high = f"{facts.norm_min:.3g}", f"{facts.norm_max:.3g}"
        words.append(f"norm {low}" if low == high else f"norms {low} to {high}")
    reason = escape(facts.distance_reason)
    words.append(f"suggested distance: {facts.distance.label}, since {reason}")
    if facts.has_queries:
        words.append("its test part becomes a query set")
    st.markdown(" · ".join(words))
    unusable = {
        "without a vector": facts.without,
        "of another length": facts.other_dimensions,
        "with NaN": facts.nan,
        "with an infinite number": facts.infinite,
        "all zero": facts.zero,
    }
    found = [f"{number:,} {name}" for name, number in unusable.items() if number]
    if found:
        st.warning(
            f"Of the first {format_count(facts.inspected, 'row')}: {', '.join(found)}. What "
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
            "its vectors come with the files, and texts are found by their words.",
        )
        pressed = st.button("Make it", key=f"new_{key}", icon=":material/add:")
    return NewCollection(name, facts.dimensions, facts.distance) if pressed else None


def switch_to(collection: Collection) -> None:
    """The page is about that collection from its next run on."""
    st.query_params["c"] = collection.slug


# --- what is remembered of the files ------------------------------------------------------------


def _looked_before(file: Dropped, options: ReadOptions, look: Callable[[], Preview]) -> Preview:
    """The first look, which is taken once for each way to read the file."""
    looks = st.session_state.setdefault(_LOOKS, {}).setdefault(file.id, {})
    if options not in looks:
        with st.spinner(f"Looking into {escape(file.name)} …"):
            found = look()
        while len(looks) >= _KEPT_LOOKS:
            del looks[next(iter(looks))]
        looks[options] = found
    preview: Preview = looks[options]
    return preview


def _on_disk(file: Dropped) -> str:
    """A path with the file's content, while the file is in the drop zone."""
    kept: dict[str, OnDisk] = st.session_state.setdefault(_ON_DISK, {})
    if file.id not in kept:
        kept[file.id] = OnDisk(file.name, file.content())
    return str(kept[file.id].path)


def forget_others(ids: set[str]) -> None:
    for name in (_LOOKS, _ON_DISK):
        kept = st.session_state.get(name, {})
        for gone in kept.keys() - ids:
            del kept[gone]
