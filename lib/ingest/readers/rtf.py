"""The reader for rich text (RTF), which knows no headings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from lib.errors import ReadProblem
from lib.ingest.file_source import FileSource
from lib.ingest.read_options import ReadOptions
from lib.ingest.sections import Section

MAX_BYTES = 100_000_000


def read_rtf(source: FileSource, options: ReadOptions) -> Iterator[Section]:
    """The text as one section; the file's name is the title. Pictures are left out.

    Raises ReadProblem where the file is longer than MAX_BYTES.
    """
    from striprtf.striprtf import rtf_to_text

    content = source.first_bytes(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ReadProblem(
            f"The file is longer than {MAX_BYTES // 1_000_000} MB.",
            source=source.name,
            hint="Save it as .docx, which keeps pictures apart from the text.",
        )
    # RTF is ASCII; what is beyond stands in it as codes, by the code page that it names.
    encoding = options.encoding or "cp1252"
    text = str(
        rtf_to_text(  # type: ignore[no-untyped-call]
            content.decode("latin-1"), encoding=encoding, errors="replace"
        )
    )
    if text.strip():
        yield Section(text.strip(), PurePosixPath(source.name).name)
