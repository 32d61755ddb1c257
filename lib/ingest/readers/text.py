"""Bytes → text, for every reader of a text format; and the reader for plain text."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath

from lib.errors import ReadProblem
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingDocument, IncomingProblem
from lib.ingest.parts import split_stream
from lib.ingest.read_options import ReadOptions

SAMPLE_BYTES = 4_000_000
"""How much of a file is looked at to find its encoding (UTF-8 is checked at some GB/s)."""

_DETECTION_BYTES = 1 << 16  # charset-normalizer is slower by orders: it sees this much of it
_LINE_PIECE_CHARACTERS = 1_000_000
_SHORT_LINE_CHARACTERS = 100

# The longer marks first: UTF-32's begins with UTF-16's.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

_DECLARATION_BYTES = 4096
_DECLARATION = re.compile(
    rb"""<(?:\?xml\b[^>]*?\bencoding|meta\b[^>]*?\bcharset)\s*=\s*["']?\s*([a-z0-9_:.-]{2,40})""",
    re.IGNORECASE,
)
_C1 = re.compile(rb"[\x80-\x9f]")

# Pages name the old standard and use its wider successor; browsers read them as this too
# (WHATWG, "Encoding", names and labels).
_WIDER = {
    "iso-8859-1": "cp1252",
    "latin1": "cp1252",
    "us-ascii": "cp1252",
    "ascii": "cp1252",
    "iso-8859-9": "cp1254",
    "iso-8859-11": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "euc-kr": "cp949",
    "ks_c_5601-1987": "cp949",
    "shift_jis": "cp932",
    "x-sjis": "cp932",
    "big5": "big5hkscs",
}

# Decoding puts this where bytes fit no character, so that they can be counted apart from a
# U+FFFD that stands in the file: no decoder gives a lone surrogate for valid bytes.
_UNDECODABLE = "\udfff"


def _mark_undecodable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return _UNDECODABLE, error.end


codecs.register_error("vecscope-mark", _mark_undecodable)


def detect_encoding(sample: bytes) -> str | None:
    """The encoding of a file that begins with ``sample``; None where it looks like no text.

    A byte order mark decides; then UTF-8, if all of the sample is; then what a web page or XML
    says of itself, if all of the sample fits; then charset-normalizer.
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if sample.startswith(mark):
            return encoding
    # NUL and escape are valid UTF-8, but in a text they are signs of UTF-16 and ISO-2022.
    suspicious = b"\0" in sample or b"\x1b" in sample
    try:
        # final=False: the sample may end inside a character.
        codecs.getincrementaldecoder("utf-8")().decode(sample, final=False)
        if not suspicious:
            return "utf-8"
        start = 0
    except UnicodeDecodeError as exc:
        # Up to the first odd byte all is ASCII or so, which says nothing: look around it.
        start = max(0, exc.start - _DETECTION_BYTES // 2)
        start = sample.rfind(b"\n", 0, start) + 1 if start else 0

    if (declared := _declared_encoding(sample)) is not None:
        return declared

    import charset_normalizer  # not at the top: most files are UTF-8

    best = charset_normalizer.from_bytes(sample[start : start + _DETECTION_BYTES]).best()
    if best is None:
        return None
    # Several code pages can give the very same text; the one most in use is the best name for it.
    if "cp1252" in best.could_be_from_charset:
        return "cp1252"
    # The two differ in š, ž, ś, ź and ť, which cp1250 has where ISO 8859-2 has no character: text
    # without any of those bytes, of languages that need them, is not cp1250.
    if best.encoding == "cp1250" and not _C1.search(sample):
        return "iso8859_2"
    return best.encoding


def _declared_encoding(sample: bytes) -> str | None:
    if sample.lstrip()[:1] != b"<":
        return None
    declared = _DECLARATION.search(sample[:_DECLARATION_BYTES])
    if declared is None:
        return None
    name = declared[1].decode("ascii").lower()
    encoding = _WIDER.get(name, name)
    try:
        codecs.getincrementaldecoder(encoding)().decode(sample, final=False)
    except (LookupError, UnicodeError):
        return None
    return encoding


def likely_format(head: bytes) -> str | None:
    """What a file that begins so and is no text may be ("Portable Network Graphics file")."""
    import puremagic  # not at the top: most files are what they say

    try:
        matches = puremagic.magic_string(head)
    except (puremagic.PureError, ValueError):
        return None
    return str(matches[0].name) or None


class LineStream:
    """The lines of a source as text, each of bounded length, with their line ends.

    encoding: in use; number: of the line given last, from 1; whole: False where that line was
    longer than allowed, so that only its beginning was given.
    """

    def __init__(self, stream: io.TextIOWrapper, source: FileSource, max_characters: int) -> None:
        self._stream = stream
        self.encoding = stream.encoding
        self._source = source
        self._max_characters = max_characters
        self.number = 0
        self.whole = True
        self._undecodable = 0
        self._first_undecodable_line = 0

    def next_line(self) -> str:
        """The next line, "" at the end; the rest of a too long line is skipped."""
        line = self._read(self.number + 1)
        if line:
            self.number += 1
            self.whole = _ended(line) or len(line) < self._max_characters
            rest = "" if self.whole else self._read(self.number)
            while rest and not _ended(rest):
                rest = self._read(self.number)
        return line

    def pieces(self) -> Iterator[str]:
        """All that is left; a too long line comes in pieces, of which the last has the line end."""
        while piece := self._read(self.number + 1):
            yield piece
            self.number += _ended(piece)

    def problems(self) -> Iterator[IncomingProblem]:
        """To be asked for at the end: what was replaced while decoding."""
        if self._undecodable:
            yield IncomingProblem(
                self._source.name,
                f"line {self._first_undecodable_line}"
                + (" and later" if self._undecodable > 1 else ""),
                f"{self._undecodable:,} place(s) hold bytes that are no {self.encoding}; "
                "each became �.",
                "If the text looks wrong, choose another encoding and load the file again.",
                stored=True,
            )

    def _read(self, number: int) -> str:
        line = self._stream.readline(self._max_characters)
        if not line.isascii():
            if number == 1 and line.startswith("\ufeff"):
                # A byte order mark that the decoder, named without one, left in the text.
                line = line[1:] or self._stream.readline(self._max_characters)
            if count := line.count(_UNDECODABLE):
                self._first_undecodable_line = self._first_undecodable_line or number
                self._undecodable += count
                line = line.replace(_UNDECODABLE, "\ufffd")
        return line


@contextmanager
def open_lines(
    source: FileSource, options: ReadOptions, *, newline: str | None, max_characters: int
) -> Iterator[LineStream]:
    """``source`` decoded, with ``source.encoding`` set.

    newline: as for open(). Raises ReadProblem where the file looks like no text.
    """
    source.encoding = options.encoding or detect_encoding(source.first_bytes(SAMPLE_BYTES))
    if source.encoding is None:
        looks = likely_format(source.first_bytes(_DETECTION_BYTES))
        raise ReadProblem(
            "The file does not look like text" + (f", but like: {looks}." if looks else "."),
            source=source.name,
            hint="If it is text, choose its encoding; if not, give the file its right extension.",
        )
    with io.TextIOWrapper(
        source.open(), encoding=source.encoding, errors="vecscope-mark", newline=newline
    ) as stream:
        yield LineStream(stream, source, max_characters)


def read_text(
    source: FileSource, options: ReadOptions
) -> Iterator[IncomingDocument | IncomingProblem]:
    """Plain text: parts at paragraph borders.

    The title is the first line where that is a short one, else the file's name; the external id
    is the source's name; ``line`` in the metadata is where the part starts.
    """
    title = PurePosixPath(source.name).name
    with open_lines(source, options, newline=None, max_characters=_LINE_PIECE_CHARACTERS) as lines:
        for number, part in enumerate(split_stream(lines.pieces(), options)):
            if number == 0:
                first_line = part.text.split("\n", 1)[0].strip()
                if len(first_line) <= _SHORT_LINE_CHARACTERS:
                    title = first_line
            yield IncomingDocument(
                external_id=source.name,
                part=number,
                title=title,
                content=part.text,
                metadata={"line": part.line},
            )
        yield from lines.problems()


def _ended(line: str) -> bool:
    return line.endswith(("\n", "\r"))
