"""The registry of readers: which one reads a file of which format.

A reader makes a stream of sections, documents and problems of a
:class:`~lib.ingest.file_source.FileSource`. A new format is a module beside this one and an entry
in ``READERS``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass
from pathlib import PurePosixPath

from lib.errors import InvalidInput
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingDocument, IncomingProblem
from lib.ingest.members import Member
from lib.ingest.protocol import Item
from lib.ingest.read_options import ReadOptions
from lib.ingest.readers.csv import read_csv
from lib.ingest.readers.docx import read_docx
from lib.ingest.readers.eml import read_eml
from lib.ingest.readers.epub import read_epub
from lib.ingest.readers.html import read_html
from lib.ingest.readers.json import read_json
from lib.ingest.readers.jsonl import read_jsonl
from lib.ingest.readers.markdown import read_markdown
from lib.ingest.readers.odt import read_odt
from lib.ingest.readers.parquet import read_parquet
from lib.ingest.readers.pdf import read_pdf
from lib.ingest.readers.pptx import read_pptx
from lib.ingest.readers.rtf import read_rtf
from lib.ingest.readers.text import read_text
from lib.ingest.readers.vectors import FVECS, HDF5, NPY, NPZ, read_vectors
from lib.ingest.readers.workbook import read_workbook
from lib.ingest.readers.zip import read_zip

Incoming = IncomingDocument | IncomingProblem


@dataclass(frozen=True)
class Reader:
    """How files of one format are read."""

    format: str
    """Its name for people."""

    extensions: tuple[str, ...]
    """In small letters, without the dot."""

    read: Callable[[FileSource, ReadOptions], Iterator[Item | Member]]
    """Streams the file, in its order. Raises ReadProblem where the rest of it cannot be read."""

    _: KW_ONLY

    has_columns: bool = False
    """Whether a mapping of columns applies."""

    is_isolated: bool = False
    """Whether it runs in another process (:mod:`lib.ingest.isolation`), as all do whose parser
    could be crashed or flooded by a file."""

    is_signed: bool = False
    """Whether such a file is known by its content, so that one that is not is something else."""


READERS = (
    Reader("Plain text", ("txt", "text"), read_text),
    Reader("Markdown", ("md", "markdown"), read_markdown),
    Reader("PDF", ("pdf",), read_pdf, is_isolated=True, is_signed=True),
    Reader("Word document", ("docx", "docm"), read_docx, is_isolated=True, is_signed=True),
    Reader("Presentation (PowerPoint)", ("pptx",), read_pptx, is_isolated=True, is_signed=True),
    Reader("OpenDocument text", ("odt",), read_odt, is_isolated=True, is_signed=True),
    Reader("Rich text (RTF)", ("rtf",), read_rtf, is_isolated=True, is_signed=True),
    Reader("E-book (EPUB)", ("epub",), read_epub, is_isolated=True, is_signed=True),
    Reader("Mail", ("eml",), read_eml, is_isolated=True),
    Reader("Web page (HTML)", ("html", "htm", "xhtml"), read_html, is_isolated=True),
    Reader("Table (CSV, TSV)", ("csv", "tsv"), read_csv, has_columns=True),
    Reader(
        "Workbook (Excel, OpenDocument)",
        ("xlsx", "xlsm", "xlsb", "xls", "ods"),
        read_workbook,
        has_columns=True,
        is_isolated=True,
        is_signed=True,
    ),
    Reader(
        "Parquet table",
        ("parquet",),
        read_parquet,
        has_columns=True,
        is_isolated=True,
        is_signed=True,
    ),
    Reader("JSON", ("json",), read_json, has_columns=True, is_isolated=True),
    Reader("JSON Lines", ("jsonl", "ndjson"), read_jsonl, has_columns=True),
    Reader("Vectors (NumPy, fvecs)", (*NPY, *NPZ, *FVECS), read_vectors, has_columns=True),
    Reader("Vectors (HDF5)", HDF5, read_vectors, has_columns=True, is_isolated=True),
    Reader("Zip archive", ("zip",), read_zip, is_signed=True),
)

_BY_EXTENSION = {extension: reader for reader in READERS for extension in reader.extensions}


EXTENSIONS = tuple(_BY_EXTENSION)
"""What can be read, for a file dialog: "txt", "text", "md"…"""


def reader_for(name: str) -> Reader:
    """The reader for a file of that name. Raises InvalidInput, naming what can be read."""
    extension = PurePosixPath(name).suffix.lower().removeprefix(".")
    reader = reader_for_extension(extension)
    if reader is None:
        raise InvalidInput(
            f'"{name}" cannot be read: '
            + (
                f"files ending in .{extension} are not known." if extension else "it has no ending."
            ),
            hint=f"What can be read: {', '.join(EXTENSIONS)}.",
        )
    return reader


def reader_for_extension(extension: str) -> Reader | None:
    """extension: in small letters, without the dot. None where no reader knows it."""
    return _BY_EXTENSION.get(extension)
