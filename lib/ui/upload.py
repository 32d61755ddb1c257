"""Uploading: the drop zone, the first look into each file, and how it is to be read."""

from __future__ import annotations

import codecs
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import pandas as pd
import streamlit as st

from lib.evaluation.query_sets import SavedQuerySet
from lib.ingest.columns import ColumnChoice, ColumnMapping
from lib.ingest.dropped import Chosen, OnDisk, Ready, SortedOut
from lib.ingest.incoming import IncomingDocument, IncomingProblem
from lib.ingest.pipeline import LoadOptions
from lib.ingest.preview import Preview
from lib.ingest.readers import READERS
from lib.ingest.source import MAX_PART_TOKENS, MIN_PART_TOKENS, ReadOptions, Source
from lib.ingest.vectors import VectorFileFacts
from lib.store.collections import NAME_LENGTH, Collection, CollectionSummary
from lib.ui.text import count, escape, size
from lib.vectors.distance import Distance

# With more files than this, only the first ones are looked into before the load.
MOST_PREVIEWS = 8
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
_FILES, _FOLDER = "Files", "A whole folder"
_LOADS = "upload:loads"  # a new key makes Streamlit forget the files of the old one
_LOOKS = "upload:looks"
_ON_DISK = "upload:on_disk"
_SAVED = "upload:saved"
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
    st.caption(f"{count(summary.documents, 'document')} so far. {by}")


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
            f"A token is a word or a piece of one; this model takes up to {most:,}. "
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
        st.caption(f"{count(hidden, 'hidden file')} left out.")
    if not dropped:
        st.caption(
            "Texts, office files, PDF, tables, archives, vectors and judged collections: what "
            "would be stored of them is shown first. Larger files are loaded on the command line, "
            "from where they are: `python -m lib ingest PATH --collection NAME`"
        )
    _forget_others({file.id for file in shown})
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


def _forget_others(ids: set[str]) -> None:
    for name in (_LOOKS, _ON_DISK):
        kept = st.session_state.get(name, {})
        for gone in kept.keys() - ids:
            del kept[gone]


# --- one file -----------------------------------------------------------------------------------


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
    preview: Callable[[Source, ReadOptions], Preview],
    *,
    is_open: bool,
) -> Chosen | NewCollection | None:
    """One file: what was found, to be changed, and its first documents as they would be stored.

    base: how it is read where nothing is changed. None where it is not to be loaded;
    NewCollection where one is asked for, that its vectors fit into.
    """

    def looked(options: ReadOptions) -> Preview:
        source = Source.from_bytes(file.name, file.content())
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
    words = [] if preview.size_bytes is None else [size(preview.size_bytes)]
    if preview.documents:
        noun = "row" if preview.is_table else "part"
        shown = count(len(preview.documents), noun)
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
            f":orange[{count(len(long), 'document')} of these are longer than the model takes "
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
    return count(len(problems), noun)


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
            f"Of the first {count(facts.inspected, 'row')}: {', '.join(found)}. What cannot be "
            "stored is refused row by row and listed; the rest is loaded.",
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
            " · ".join(f"{escape(place)} {size(file.size_bytes)}" for place, file in files.items())
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
        words.append(f"{count(len(rest), 'more file')} without a first look")
    if unread:
        words.append(f":orange[{count(len(unread), 'file')} that cannot be read]")
    st.caption(f"And {' and '.join(words)}:")
    rows = [(file, format_of(file.name), "") for file in rest]
    rows += [(file, "–", problem.reason) for file, problem in unread]
    table = pd.DataFrame(
        {
            "File": [file.name for file, _, _ in rows],
            "Format": [name for _, name, _ in rows],
            "Size": [size(file.size_bytes) for file, _, _ in rows],
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
            f"{count(len(tables), 'table')} have an Id column ({escape(', '.join(tables[:5]))}): "
            "where an id is in more than one of them, the last row replaces the others. Choose "
            "no Id where the ids only count the rows.",
            icon=":material/content_copy:",
        )


def load_button(ready: Ready[Dropped], collection: str, *, busy: bool) -> bool:
    """True where it was pressed; all files are then at their start."""
    files = [file for one in ready.chosen for file in (one.upload, one.texts) if file is not None]
    files += ready.judged.values()
    pressed = st.button(
        f"Load {count(len(ready.chosen) + len(ready.judged), 'file')} into {escape(collection)}",
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
        left_out = f" {count(one.problem_count, 'line')} could not be read." * bool(
            one.problem_count
        )
        st.success(
            f"**Query set {escape(one.query_set.name)}**: {one.queries:,} queries and "
            f"{one.judgments:,} judgments.{left_out}",
            icon=":material/rule:",
        )
