"""What a file is by its content, whatever its name says."""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from typing import IO

from lib.ingest.archive import open_archive
from lib.ingest.file_source import FileSource
from lib.ingest.readers.text import detect_encoding

HEAD_BYTES = 1 << 16
_BLANK = b" \t\r\n\xef\xbb\xbf"

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OLE_NAMES_BYTES = 1 << 22  # the names of its streams lie anywhere; mostly near an end
_HTML = re.compile(
    rb"\s*(<\?xml[^>]*\?>\s*)?(<!--.*?-->\s*)*<(!doctype\s+html|html|head|body)\b", re.I | re.S
)


@dataclass(frozen=True)
class Kind:
    """A kind of file."""

    name: str
    """With its article, for people."""

    extension: str | None
    """Of the reader for it; None where there is none."""

    hint: str = ""
    """What to do where it cannot be read."""


PDF = Kind("a PDF", "pdf")
RTF = Kind("a rich text file (RTF)", "rtf")
PARQUET = Kind("a Parquet table", "parquet")
DOCX = Kind("a Word document", "docx")
PPTX = Kind("a PowerPoint presentation", "pptx")
XLSX = Kind("an Excel workbook", "xlsx")
XLS = Kind("an old Excel workbook", "xls")
ODT = Kind("an OpenDocument text", "odt")
ODS = Kind("an OpenDocument spreadsheet", "ods")
EPUB = Kind("an e-book (EPUB)", "epub")
ZIP = Kind("a zip archive", "zip")
NPZ = Kind("an archive of NumPy arrays", "npz")
BROKEN_ZIP = Kind("a damaged zip archive", "zip")
HTML = Kind("a web page (HTML)", "html")
TEXT = Kind("plain text", "txt")
TEXT_TABLE = Kind("a table of text (CSV)", "csv")
_LOCKED = Kind(
    "an Office file that is protected by a password",
    None,
    "Save it without a password, then load it again.",
)
_OLD_WORD = Kind("an old Word document (.doc)", None, "Save it as .docx, then load it again.")
_OLD_SLIDES = Kind(
    "an old PowerPoint presentation (.ppt)", None, "Save it as .pptx, then load it again."
)
_OLD_OFFICE = Kind("a file of an old Office program", None, "Save it in a newer format.")
_SLIDES = Kind("an OpenDocument presentation", None, "Save it as .pptx, then load it again.")

_OPEN_DOCUMENT = "application/vnd.oasis.opendocument."
_BY_MIME = {
    "application/epub+zip": EPUB,
    f"{_OPEN_DOCUMENT}text": ODT,
    f"{_OPEN_DOCUMENT}spreadsheet": ODS,
    f"{_OPEN_DOCUMENT}presentation": _SLIDES,
}


def kind_of(source: FileSource) -> Kind | None:
    """The kind by its signature; None where there is none known: text, mostly.

    Raises OSError where the source cannot be read.
    """
    head = source.first_bytes(HEAD_BYTES)
    if b"%PDF-" in head[:1024]:
        return PDF
    if head.startswith(b"{\\rtf"):
        return RTF
    if head.startswith(b"PAR1"):
        return PARQUET
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        with source.open_plain() as stream:
            return _kind_of_zip(stream)
    if head.startswith(_OLE):
        return _kind_of_ole(source)
    return None


def kind_of_text(source: FileSource) -> Kind | None:
    """For a file without a signature that should have one: HTML, other text, or None."""
    head = source.first_bytes(HEAD_BYTES)
    if _HTML.match(head[:4096]):
        return HTML
    return TEXT if detect_encoding(head) else None


def is_blank(source: FileSource) -> bool:
    """Whether there is nothing in it but spaces and a byte order mark. Raises OSError."""
    head = source.first_bytes(HEAD_BYTES)
    return len(head) < HEAD_BYTES and not head.strip(_BLANK)


def _kind_of_zip(stream: IO[bytes]) -> Kind:
    try:
        with open_archive(stream) as archive:
            names = set(archive.namelist())
            if "mimetype" in names:
                with archive.open("mimetype") as member:
                    mime = member.read(100).decode("ascii", "replace").strip()
                if mime in _BY_MIME:
                    return _BY_MIME[mime]
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError, OSError):
        return BROKEN_ZIP
    if names and all(name.endswith(".npy") for name in names):
        return NPZ
    if "[Content_Types].xml" in names:
        for folder, kind in (("word/", DOCX), ("ppt/", PPTX), ("xl/", XLSX)):
            if any(name.startswith(folder) for name in names):
                return kind
    return EPUB if "META-INF/container.xml" in names else ZIP


def _kind_of_ole(source: FileSource) -> Kind:
    with source.open_plain() as stream:
        content = stream.read(_OLE_NAMES_BYTES)

    def holds(name: str) -> bool:
        return name.encode("utf-16-le") in content

    if holds("EncryptedPackage"):
        return _LOCKED
    if holds("WordDocument"):
        return _OLD_WORD
    if holds("Workbook") or holds("Book"):
        return XLS
    return _OLD_SLIDES if holds("PowerPoint Document") else _OLD_OFFICE
