"""How a person wants a file read."""

from __future__ import annotations

import codecs
from dataclasses import dataclass, field

from lib.errors import InvalidInput
from lib.ingest.columns import ColumnChoice

MIN_PART_TOKENS = 50
MAX_PART_TOKENS = 8192

# Text codecs by Python's reckoning, but none that a file of documents is written in; some of
# them refuse an error handler.
_NOT_FOR_FILES = {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"}


def _local_model() -> str:
    from lib.settings import LOCAL_MODEL  # slow: it brings pydantic

    return LOCAL_MODEL


@dataclass(frozen=True)
class ReadOptions:
    """What a person chose for the reading of a file; None means that the reader finds out.

    Raises InvalidInput for an unknown encoding, a delimiter that is none, a part outside of
    MIN_PART_TOKENS…MAX_PART_TOKENS or longer than the model takes, an overlap of half a part.
    """

    encoding: str | None = None

    delimiter: str | None = None
    """Between the fields of a table: one character."""

    has_header: bool = True
    """Whether a table's first row names its columns."""

    columns: ColumnChoice = field(default_factory=ColumnChoice)

    part_tokens: int = 400
    """How long a part of a text may be, in tokens of ``tokenizer``."""

    overlap_tokens: int = 40
    """How much of a part the next one repeats."""

    tokenizer: str = field(default_factory=_local_model)
    """The name of the model that is to embed the parts; empty in a process that makes no parts."""

    texts: str | None = None
    """Of a file of vectors: the path of the file with their texts, "" for none."""

    dataset: str | None = None
    """Of a file of vectors: the name of the array, where it holds several."""

    def __post_init__(self) -> None:
        if self.encoding is not None and not _is_text_encoding(self.encoding):
            raise InvalidInput(
                f'"{self.encoding}" is not the name of a text encoding.',
                hint="Take one like utf-8, cp1252 or shift_jis.",
                field="encoding",
            )
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '"\r\n '):
            raise InvalidInput(
                "The delimiter must be one character, and no quote, space or line break.",
                field="delimiter",
            )
        max_tokens = min(MAX_PART_TOKENS, self._longest_part())
        if not MIN_PART_TOKENS <= self.part_tokens <= max_tokens:
            raise InvalidInput(
                f"A part may have {MIN_PART_TOKENS} to {max_tokens:,} tokens, "
                f"not {self.part_tokens:,}.",
                hint=f"More than {max_tokens:,} is not taken by {self.tokenizer}."
                if max_tokens < MAX_PART_TOKENS
                else "",
                field="part_tokens",
            )
        if not 0 <= self.overlap_tokens * 2 < self.part_tokens:
            raise InvalidInput(
                f"The overlap must be less than half a part of {self.part_tokens:,} tokens, "
                f"not {self.overlap_tokens:,}.",
                field="overlap_tokens",
            )

    def _longest_part(self) -> int:
        if not self.tokenizer:
            return MAX_PART_TOKENS
        from lib.embedding.tokens import max_tokens_of  # slow: it brings SQLAlchemy

        return max_tokens_of(self.tokenizer) or MAX_PART_TOKENS


def _is_text_encoding(name: str) -> bool:
    try:
        codec = codecs.lookup(name)
        "".encode(name)  # refuses codecs from bytes to bytes, such as zip and hex
    except (LookupError, ValueError):
        return False
    return codec.name.replace("_", "-") not in _NOT_FOR_FILES
