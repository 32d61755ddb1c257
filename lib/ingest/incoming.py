"""What a reader gives: documents that can be stored as they are, and problems to be shown."""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lib.errors import InvalidInput

if TYPE_CHECKING:
    from lib.vectors.distance import FloatArray  # slow: it brings SQLAlchemy

MAX_LABEL_CHARACTERS = 500
"""The longest title, category and external id: the title's column ends there, and an index entry
of PostgreSQL (at most 2,704 bytes) holds 500 characters of any script."""

MAX_NESTING = 100
"""The deepest metadata; PostgreSQL and Python's json both fail somewhere in the thousands."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_REPLACEMENT = "\ufffd"


@dataclass(frozen=True, slots=True)
class IncomingProblem:
    """Something that could not be loaded as it stood.

    Its texts are cleaned: they may quote the file, and are written to a file and a jsonb.
    """

    source: str
    """The file's name."""
    place: str
    """Where in the file, such as "row 17 (line 23)"; empty for the whole file."""
    reason: str
    """A sentence that says what is wrong."""
    hint: str = ""
    """What to do, or empty."""
    stored: bool = False
    """The document was stored all the same, but not exactly as the file has it."""
    count: int = 1
    """How many problems this one stands for, where too many came in a row."""

    def __post_init__(self) -> None:
        for name in ("source", "place", "reason", "hint"):
            object.__setattr__(self, name, clean_text(getattr(self, name)))


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingDocument:
    """One document on its way in, in a form that PostgreSQL can store.

    Making one cleans all its texts (see :func:`clean_text`), metadata included. A title, category
    or external id of more than MAX_LABEL_CHARACTERS is shortened; the whole of it then stays in
    the metadata as ``full_title``, ``full_category`` or ``full_external_id``.

    embedding: float32 array (d,) that came with the document, to be stored as it is.

    Raises InvalidInput where the id is empty or the metadata is no JSON (NaN, an infinite number,
    nested more than MAX_NESTING deep).
    """

    external_id: str
    content: str
    part: int = 0
    title: str | None = None
    category: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    embedding: FloatArray | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        metadata = {clean_text(key): clean_json(value) for key, value in self.metadata.items()}
        full_external_id = clean_text(self.external_id)
        external_id = storable_id(full_external_id)
        if external_id != full_external_id:
            metadata["full_external_id"] = full_external_id
        # A frozen dataclass offers no other way to set a field while it is being made.
        put = object.__setattr__
        put(self, "external_id", external_id)
        put(self, "content", clean_text(self.content))
        put(self, "title", _label("title", self.title, metadata))
        put(self, "category", _label("category", self.category, metadata))
        put(self, "metadata", metadata)

    @property
    def content_hash(self) -> bytes:
        """16 bytes that change when title or content does (NUL, which neither can hold, parts
        them). Category and metadata are left out: they do not change the embedding."""
        text = f"{self.title or ''}\0{self.content}"
        return hashlib.blake2b(text.encode(), digest_size=16).digest()


def clean_text(text: str) -> str:
    """``text`` as PostgreSQL can store it and as people see it.

    - NUL is removed: PostgreSQL cannot store it, and it stands for nothing.
    - Each lone surrogate becomes U+FFFD (�): there is no UTF-8 for it.
    - ``\\r\\n`` and ``\\r`` become ``\\n``.
    - Unicode is brought to NFC: the same word typed on two systems ("é" as one or two code
      points) must be one word for full-text search and for the model. NFC changes no text that
      people can see. Queries must be brought to NFC too.
    """
    if "\0" in text:
        text = text.replace("\0", "")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", _SURROGATE.sub(_REPLACEMENT, text))


def storable_id(external_id: str) -> str:
    """The external id as it is stored, which a judgment or a neighbour must name it by.

    Raises InvalidInput where it is empty.
    """
    external_id = clean_text(external_id)
    if not external_id.strip():
        raise InvalidInput("A document has an empty external id.", field="external_id")
    if len(external_id) <= MAX_LABEL_CHARACTERS:
        return external_id
    # Two long ids may differ in their ends only, so that cutting alone is not enough.
    digest = hashlib.blake2b(external_id.encode(), digest_size=16).hexdigest()
    return f"{external_id[: MAX_LABEL_CHARACTERS - 33]}…{digest}"


def clean_json(value: Any, depth: int = 1) -> Any:
    """``value`` (str, bool, int, float, None, list, tuple or dict of them) with all texts cleaned.

    Raises InvalidInput for NaN and infinite numbers and for nesting deeper than MAX_NESTING, and
    TypeError for any other type.
    """
    if isinstance(value, str):
        return clean_text(value)
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidInput(f"Metadata holds {value}, which is no JSON.")
        return value
    if depth > MAX_NESTING:
        raise InvalidInput(f"The value is nested more than {MAX_NESTING} levels deep.")
    if isinstance(value, Mapping):
        return {clean_text(key): clean_json(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean_json(item, depth + 1) for item in value]
    raise TypeError(f"Metadata cannot hold a {type(value).__name__}.")


def _label(name: str, text: str | None, metadata: dict[str, Any]) -> str | None:
    """One line of at most MAX_LABEL_CHARACTERS, or None where nothing is left of it."""
    if text is None:
        return None
    label = " ".join(clean_text(text).split())
    if len(label) <= MAX_LABEL_CHARACTERS:
        return label or None
    metadata[f"full_{name}"] = label
    return label[: MAX_LABEL_CHARACTERS - 1] + "…"
