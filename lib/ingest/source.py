"""Where bytes come from, and how a person wants them read."""

from __future__ import annotations

import codecs
import io
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from lib.errors import InvalidInput
from lib.ingest.columns import ColumnChoice, ColumnMapping

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

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
    """What a person chose; None means that the reader finds out.

    delimiter: one character; has_header: whether a table's first row names its columns;
    part_tokens: how long a part of a text may be, in tokens of ``tokenizer``; overlap_tokens: how
    much of it the next part repeats. tokenizer: the name of the model that is to embed the parts;
    empty in a process that makes no parts.

    Of a file of vectors: texts is the path of the file with their texts, "" for none; dataset the
    name of the array, where it holds several.

    Raises InvalidInput for an unknown encoding, a delimiter that is none, a part outside of
    MIN_PART_TOKENS…MAX_PART_TOKENS or longer than the model takes, an overlap of half a part.
    """

    encoding: str | None = None
    delimiter: str | None = None
    has_header: bool = True
    columns: ColumnChoice = field(default_factory=ColumnChoice)
    part_tokens: int = 400
    overlap_tokens: int = 40
    tokenizer: str = field(default_factory=_local_model)
    texts: str | None = None
    dataset: str | None = None

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
        most = min(MAX_PART_TOKENS, self._longest_part())
        if not MIN_PART_TOKENS <= self.part_tokens <= most:
            raise InvalidInput(
                f"A part may have {MIN_PART_TOKENS} to {most:,} tokens, not {self.part_tokens:,}.",
                hint=f"More than {most:,} is not taken by {self.tokenizer}."
                if most < MAX_PART_TOKENS
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


@dataclass(frozen=True)
class ArrayFacts:
    """What a file of vectors says of itself. rows: None where only reading tells; distance: as the
    file names it, or empty; datasets: the names of the arrays in it, where they have names; texts:
    the path of the file that has their texts."""

    rows: int | None
    dtype: str
    distance: str = ""
    datasets: tuple[str, ...] = ()
    texts: str | None = None


class Source:
    """A named stream of bytes, and what is found out about it while it is read.

    name: the file's name or its path inside the folder that is loaded; its extension chooses the
    reader, and ids of documents are made from it. open_stream: gives the stream from its start;
    it is called more than once (a first look, then the reading). size_bytes: None if unknown.

    path: where it is on disk, None where it is not. container: the archive or mail it is inside.

    Set by readers: ``encoding``, ``delimiter``, ``header``, ``mapping`` and ``array``.
    """

    def __init__(
        self,
        name: str,
        open_stream: Callable[[], BinaryIO],
        *,
        size_bytes: int | None = None,
        path: Path | None = None,
        container: Source | None = None,
    ) -> None:
        # A file name that is no UTF-8 holds lone surrogates: kept apart, but storable.
        self.name = name.encode("utf-8", "backslashreplace").decode("utf-8")
        self.size_bytes = size_bytes
        self.path = path
        self.container = container
        self.cancelled = False
        self.stop_reading: Callable[[], None] | None = None
        self._open_stream = open_stream
        self._bytes_read = 0
        self.encoding: str | None = None
        self.delimiter: str | None = None
        self.header: tuple[str, ...] = ()
        self.mapping: ColumnMapping | None = None
        self.array: ArrayFacts | None = None

    @classmethod
    def from_path(cls, path: Path, *, name: str | None = None) -> Source:
        """A file on disk; raises OSError where it is not there."""
        size_bytes = path.stat().st_size
        return cls(name or path.name, lambda: path.open("rb"), size_bytes=size_bytes, path=path)

    @classmethod
    def from_bytes(cls, name: str, content: bytes | memoryview) -> Source:
        """A file in memory, such as an uploaded one."""
        return cls(name, lambda: io.BytesIO(content), size_bytes=len(content))

    @property
    def outermost(self) -> Source:
        """The file that a person chose: the archive around all archives, or this."""
        return self if self.container is None else self.container.outermost

    @property
    def depth(self) -> int:
        """How many containers are around it."""
        return 0 if self.container is None else self.container.depth + 1

    @contextmanager
    def on_disk(self) -> Iterator[Path]:
        """A path that holds the bytes: a temporary file where there is no other."""
        if self.path is not None:
            yield self.path
            return
        with tempfile.TemporaryDirectory(prefix="vecscope-") as folder:
            path = Path(folder, "file")
            with self._open_stream() as stream, path.open("xb") as copy:
                shutil.copyfileobj(stream, copy, 1 << 20)
            yield path

    def advance(self, share: float) -> None:
        """For readers that do not read the stream in order: how much of it is done, 0 to 1."""
        self._bytes_read = max(self._bytes_read, round((self.size_bytes or 0) * min(share, 1.0)))

    def cancel(self) -> None:
        """From any thread: no more of it is wanted. A reader in another process is ended, even
        where it hangs; what it gave so far stays good."""
        outermost = self.outermost
        outermost.cancelled = True
        if (stop := outermost.stop_reading) is not None:
            stop()

    @property
    def bytes_read(self) -> int:
        """How far the reading has come; at the end it is the file's size."""
        return self._bytes_read

    def first_bytes(self, count: int) -> bytes:
        """The first ``count`` bytes, or all there are; not counted as progress."""
        with self._open_stream() as stream:
            return stream.read(count)

    def open_plain(self) -> BinaryIO:
        """The stream from its start, not counted as progress."""
        return self._open_stream()

    def open(self) -> io.BufferedReader:
        """The stream from its start; ``bytes_read`` follows it."""
        self._bytes_read = 0
        return io.BufferedReader(_Counted(self._open_stream(), self), buffer_size=1 << 18)

    def _count(self, count: int) -> None:
        self._bytes_read += count


class _Counted(io.RawIOBase):
    def __init__(self, stream: BinaryIO, source: Source) -> None:
        self._stream = stream
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        chunk = self._stream.read(len(view))
        view[: len(chunk)] = chunk
        self._source._count(len(chunk))
        return len(chunk)

    def close(self) -> None:
        self._stream.close()
        super().close()


def _is_text_encoding(name: str) -> bool:
    try:
        codec = codecs.lookup(name)
        "".encode(name)  # refuses codecs from bytes to bytes, such as zip and hex
    except (LookupError, ValueError):
        return False
    return codec.name.replace("_", "-") not in _NOT_FOR_FILES
