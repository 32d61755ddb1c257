"""Which column of a table is the text, the title, the category and the id; and row → document."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.errors import InvalidInput, InvalidVector
from lib.ingest.incoming import IncomingDocument, clean_json

if TYPE_CHECKING:
    from lib.vectors.distance import FloatArray  # slow: it brings SQLAlchemy

SAMPLE_ROWS = 1000
"""How many rows a guess looks at."""

SAMPLE_CHARACTERS = 4_000_000
"""A guess looks at no more than this, however few rows it is: memory stays bounded."""

MAX_COLUMNS = 2000

# Words of column names, the most telling first. A name counts as a whole ("content") or by one of
# its words ("article_content", "articleContent").
_TEXT_NAMES = (
    "content",
    "text",
    "body",
    "description",
    "answer",
    "abstract",
    "passage",
    "article",
    "document",
    "review",
    "comment",
    "message",
    "summary",
    "plot",
    "overview",
    "details",
    "story",
    "transcript",
    "caption",
    "context",
    "paragraph",
    "notes",
)
_TITLE_NAMES = (
    "title",
    "headline",
    "name",
    "question",
    "subject",
    "heading",
    "query",
)
_CATEGORY_NAMES = (
    "category",
    "type",
    "genre",
    "topic",
    "label",
    "class",
    "section",
    "source",
    "kind",
    "tag",
    "group",
    "department",
    "subject",
    "collection",
    "language",
)
_ID_NAMES = (
    "id",
    "_id",
    "uuid",
    "guid",
    "key",
    "pk",
    "docid",
    "doc_id",
    "document_id",
    "external_id",
    "identifier",
)

_VECTOR_NAMES = ("embedding", "vector", "emb", "vec", "feature", "encoding")
# Fewer numbers than this in a column of another name are rather a place, a box or a colour.
_MIN_DIMENSIONS = 16
_VECTOR_SAMPLE_ROWS = 50

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,14})")
# Two digits of exponent at most, and those with a sign ("1E10" may be an article number): a match
# is always a finite number.
_DECIMAL = re.compile(
    r"-?(?:(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,17})?|\.[0-9]{1,17})(?:[eE][+-][0-9]{1,2})?"
)


@dataclass(frozen=True)
class ColumnMapping:
    """Where a document's fields come from. Several text columns are joined by an empty line; a
    column that is not named here becomes metadata. embedding: holds vectors, to be stored as they
    are."""

    text: tuple[str, ...]
    title: str | None = None
    category: str | None = None
    external_id: str | None = None
    embedding: str | None = None


@dataclass(frozen=True)
class ColumnChoice:
    """What a person chose: None (for text: nothing) means "guess", "" means "there is none".

    No embedding is guessed unless asked for: whether the vectors of a file are the collection's
    model's, its contents do not tell.
    """

    text: tuple[str, ...] = ()
    title: str | None = None
    category: str | None = None
    external_id: str | None = None
    embedding: str | None = ""


def map_columns(
    header: Sequence[str], rows: Sequence[Mapping[str, Any]], choice: ColumnChoice
) -> ColumnMapping:
    """``choice``, completed by :func:`guess_columns`.

    Raises InvalidInput where a chosen column is not in the header, or where none was chosen for
    the text and no column looks like one. Documents that bring their vectors need no text.
    """
    chosen = [*choice.text, choice.title, choice.category, choice.external_id, choice.embedding]
    for name in chosen:
        if name and name not in header:
            raise InvalidInput(
                f'There is no column "{name}".',
                hint=f"The columns are: {_some(header)}.",
                field=name,
            )
    taken = {name for name in chosen if name}
    free = [name for name in header if name not in taken]
    guess = guess_columns(free, rows, with_text=not choice.text)
    text = choice.text or guess.text
    embedding = guess.embedding if choice.embedding is None else choice.embedding or None
    if not text and embedding is None:
        raise InvalidInput(
            "No column looks like the text of a document.",
            hint=f"Choose the text column; the columns are: {_some(header)}.",
        )

    def pick(chosen_name: str | None, guessed: str | None) -> str | None:
        return guessed if chosen_name is None else chosen_name or None

    return ColumnMapping(
        text,
        pick(choice.title, guess.title),
        pick(choice.category, guess.category),
        pick(choice.external_id, guess.external_id),
        embedding,
    )


_MAX_TITLE_LENGTH = 200  # characters, on average
_MAX_CATEGORY_LENGTH = 80


def guess_columns(
    header: Sequence[str], rows: Sequence[Mapping[str, Any]], *, with_text: bool = True
) -> ColumnMapping:
    """The mapping that names and contents suggest; ``text`` is empty where no column looks like it,
    and without ``with_text``: a column that would be the text can then be the title.

    - id: a telling name, no value empty or repeated in ``rows``, and where only a part of the
      name tells ("show_id"), the first column: others are mostly references to other tables.
    - text: the longest on average; a telling name counts four times the length. Numbers and
      addresses are no text.
    - title: the most telling name whose values are of a title's length.
    - category: a telling name and values that repeat; the fewer different ones, the better.

    - embedding: holds vectors of one length, as lists or as text; a telling name, then the longest.

    Other nested values are metadata; only a list of texts may be the text.
    """
    vectors = vector_columns(header, rows)
    header = [name for name in header if name not in vectors]
    lists = {name for name in header if any(isinstance(row.get(name), list) for row in rows)}
    columns = {name: [_flat(row.get(name)) for row in rows] for name in header}

    external_id = _id_column(columns)
    text = _text_column(columns, external_id) if with_text else None
    # A list is no title and no category.
    free = {name: values for name, values in columns.items() if name not in {external_id, text}}
    labels = {name: values for name, values in free.items() if name not in lists}
    title = _title_column(labels)
    category = _category_column({name: values for name, values in labels.items() if name != title})
    embedding = next(iter(vectors), None)
    return ColumnMapping((text,) if text else (), title, category, external_id, embedding)


_Columns = Mapping[str, Sequence[str]]


def _id_column(columns: _Columns) -> str | None:
    """The first whose whole name tells; else the first column, where a part of its name does."""
    keys = (name for name in columns if name.lower() in _ID_NAMES and _is_key(columns[name]))
    by_whole_name = next(keys, None)
    if by_whole_name is not None:
        return by_whole_name
    first = next(iter(columns), None)
    is_id = first is not None and "id" in _words(first) and _is_key(columns[first])
    return first if is_id else None


def _text_column(columns: _Columns, external_id: str | None) -> str | None:
    """The longest on average, where a telling name counts four times the length."""
    lengths = {
        name: _average_length(values) * (4 if _rank(name, _TEXT_NAMES) is not None else 1)
        for name, values in columns.items()
        if name != external_id and _holds_words(values)
    }
    if lengths:
        return max(lengths, key=lambda name: lengths[name])
    # Emoji, or numbers: its name alone makes it the text.
    return next((name for name in columns if name.lower() in _TEXT_NAMES), None)


def _title_column(columns: _Columns) -> str | None:
    """The most telling name whose values are of a title's length."""
    titles = [
        (rank, name)
        for name, values in columns.items()
        if (rank := _rank(name, _TITLE_NAMES)) is not None
        and _average_length(values) <= _MAX_TITLE_LENGTH
    ]
    return min(titles, key=lambda title: title[0])[1] if titles else None


def _category_column(columns: _Columns) -> str | None:
    """A telling name and values that repeat; the fewer different ones, the better."""
    categories = []
    for name, values in columns.items():
        rank = _rank(name, _CATEGORY_NAMES)
        filled = [value for value in values if value]
        different = len(set(filled))
        if rank is None or _average_length(values) > _MAX_CATEGORY_LENGTH:
            continue
        if different > max(20, len(filled) // 2):
            continue
        # One value for all rows tells nothing: last resort.
        tells_nothing = different == 1 and len(filled) > 1
        categories.append((tells_nothing, rank[0], different, name))
    return min(categories, key=lambda category: category[:3])[3] if categories else None


def vector_columns(header: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """The columns that hold vectors → their dimensions, the likeliest embedding first.

    A column is one where nine in ten of its filled cells are vectors of one length; an odd one is
    that row's problem.
    """
    found = {}
    for name in header:
        filled = (row[name] for row in rows if not _is_empty(row.get(name)))
        sample = [value for value, _ in zip(filled, range(_VECTOR_SAMPLE_ROWS), strict=False)]
        lengths = Counter(map(_vector_length, sample))
        length, count = lengths.most_common(1)[0] if lengths else (0, 0)
        telling = _rank(name, _VECTOR_NAMES) is not None
        if count * 10 >= len(sample) * 9 and length >= (2 if telling else _MIN_DIMENSIONS):
            found[name] = (not telling, -length)
    return {name: -found[name][1] for name in sorted(found, key=lambda name: found[name])}


def number_columns(
    header: Sequence[str], rows: Sequence[Mapping[str, str]]
) -> dict[str, Callable[[str], int | float]]:
    """The columns whose every filled cell in ``rows`` is a number → int or float.

    Metadata is filtered by range, so numbers must be numbers. A column with a leading zero or
    more than 15 digits (postcodes, phone numbers, ids) stays text, because a number would not
    give it back. "1.10" does become 1.1.
    """
    types: dict[str, Callable[[str], int | float]] = {}
    for name in header:
        cells = [cell for row in rows if (cell := row[name].strip())]
        if cells and all(_INTEGER.fullmatch(cell) for cell in cells):
            types[name] = int
        elif cells and all(_DECIMAL.fullmatch(cell) for cell in cells):
            types[name] = float
    return types


def unique_names(header: Iterable[str]) -> list[str]:
    """Names for all columns: an empty one is "column_3", a repeated one gets "_2", "_3"…"""
    names: list[str] = []
    taken: set[str] = set()
    repeats: dict[str, int] = {}
    for position, cell in enumerate(header, start=1):
        base = " ".join(cell.split())[:200] or f"column_{position}"
        name = base
        while name in taken:
            repeats[base] = repeats.get(base, 1) + 1
            name = f"{base}_{repeats[base]}"
        taken.add(name)
        names.append(name)
    return names


class RowMapper:
    """Turns rows (column → value) into documents by one mapping."""

    def __init__(
        self,
        mapping: ColumnMapping,
        numbers: Mapping[str, Callable[[str], int | float]] | None = None,
    ) -> None:
        self._mapping = mapping
        self._numbers = numbers or {}
        labels = {mapping.title, mapping.category, mapping.external_id}
        self._used = labels | {mapping.embedding, *mapping.text}

    def document(self, row: Mapping[str, Any], fallback_id: str) -> IncomingDocument:
        """The row's document; ``fallback_id`` where the row brings no id.

        Where the text is empty, the title stands in for it, so that the row can be found; where
        a vector came, the category or the id does.
        Empty values are left out of the metadata. A cell that is no number in a column of
        numbers stays text.

        Raises InvalidInput where text and title are both empty, and what IncomingDocument raises;
        InvalidVector where the embedding is none. Whether its numbers suit the collection is not
        looked at.
        """
        mapping = self._mapping
        texts = [as_text(row.get(name)) for name in mapping.text]
        content = "\n\n".join(text for text in texts if not _is_blank(text))
        title = self._label(row, mapping.title)
        if not content:
            content = title
        external_id = self._label(row, mapping.external_id).strip() or fallback_id
        vector = row.get(mapping.embedding) if mapping.embedding else None
        if _is_blank(content) and not _is_empty(vector):
            content = self._label(row, mapping.category).strip() or external_id
        if _is_blank(content):
            raise InvalidInput(f"There is no text in {_some(mapping.text)}.")
        metadata = {}
        for name, value in row.items():
            if name in self._used or value is None:
                continue
            if isinstance(value, str):
                if _is_blank(value):
                    continue
                if convert := self._numbers.get(name):
                    metadata[name] = _converted(value, convert)
                    continue
            metadata[name] = value
        return IncomingDocument(
            external_id=external_id,
            title=title,
            content=content,
            category=self._label(row, mapping.category),
            metadata=metadata,
            embedding=None if _is_empty(vector) else as_vector(vector),
        )

    @staticmethod
    def _label(row: Mapping[str, Any], name: str | None) -> str:
        return as_text(row.get(name), separator=", ") if name else ""


def as_text(value: Any, separator: str = "\n") -> str:
    """A cell or a JSON value as text: None is empty, a list of texts is joined by ``separator``,
    any other list and an object stay JSON. Raises what :func:`clean_json` raises."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return separator.join(value)
    return json.dumps(clean_json(value), ensure_ascii=False)


def as_vector(value: Any) -> FloatArray:
    """A cell as a vector: float32 array (d,); None in a list is NaN.

    A list or an array of numbers, or text: JSON's and pgvector's `[1,2,3]`, PostgreSQL's `{1,2,3}`
    or numpy's `[1. 2. 3.]`. Raises InvalidVector for anything else.
    """
    if isinstance(value, str):
        inner = value.strip()
        if inner[:1] + inner[-1:] not in {"[]", "{}"}:
            raise InvalidVector("The embedding is not written as a vector, such as [0.1, 0.2].")
        inner = inner[1:-1]
        value = inner.split(",") if "," in inner else inner.split()
    elif not isinstance(value, list | tuple | np.ndarray):
        raise InvalidVector("The embedding is no list of numbers.")
    try:
        with np.errstate(over="ignore"):  # beyond float32 is infinite, which is refused later
            vector = np.asarray(value, dtype=np.float32)
    except (TypeError, ValueError):
        vector = np.empty((0, 0), dtype=np.float32)
    if vector.ndim != 1 or vector.size == 0:
        raise InvalidVector("The embedding is no list of numbers.")
    return vector


def _vector_length(value: Any) -> int:
    """0 for what is no vector."""
    try:
        return as_vector(value).size
    except InvalidVector:
        return 0


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and _is_blank(value))


def _is_blank(text: str) -> bool:
    return not text.replace("\0", "").strip()  # clean_text will take the NULs away


def _converted(cell: str, convert: Callable[[str], int | float]) -> str | int | float:
    cell = cell.strip()
    pattern = _INTEGER if convert is int else _DECIMAL
    return convert(cell) if pattern.fullmatch(cell) else cell


def _words(name: str) -> list[str]:
    """ "articleTitle" and "article_titles" → article, title."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).lower()
    words = re.findall(r"[^\W_]+", parted)
    singular = [
        word[:-3] + "y" if word.endswith("ies") else word.removesuffix("s") for word in words
    ]
    return [*words, *singular]


def _rank(name: str, known: Sequence[str]) -> tuple[int, int] | None:
    """How telling a name is, smaller is better: (0 whole name or 1 one of its words, place)."""
    if name.lower() in known:
        return 0, known.index(name.lower())
    places = [known.index(word) for word in _words(name) if word in known]
    return (1, min(places)) if places else None


def _is_key(values: Sequence[str]) -> bool:
    return all(values) and len(set(values)) == len(values)


def _average_length(values: Sequence[str]) -> float:
    return sum(map(len, values)) / len(values) if values else 0.0


def _holds_words(values: Sequence[str]) -> bool:
    """False for columns of numbers, addresses and nothing."""
    filled = [value for value in values if value]
    words = [
        value
        for value in filled
        if any(map(str.isalpha, value)) and not value.startswith(("http://", "https://"))
    ]
    return len(words) * 2 > len(filled)


def _flat(value: Any) -> str:
    """A value as a guess sees it: nothing of what is nested."""
    nested = isinstance(value, dict) or (
        isinstance(value, list) and not all(isinstance(item, str) for item in value)
    )
    return "" if nested else as_text(value).strip()


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(f'"{name}"' for name in names[:20])
    return shown + (f" and {len(names) - 20} more" if len(names) > 20 else "")
