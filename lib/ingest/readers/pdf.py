"""The reader for PDF: one page, one section."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from lib.errors import ReadProblem
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingProblem
from lib.ingest.members import Attachment
from lib.ingest.read_options import ReadOptions
from lib.ingest.sections import Section

if TYPE_CHECKING:
    import pypdfium2

MAX_ATTACHMENTS = 1000
MAX_ATTACHMENT_BYTES = 32 * 1024 * 1024

_OCR = "Make a text layer with a program for text recognition, such as OCRmyPDF, and load it again."
_MAX_PLACES = 50

_NO_TITLES = ("", "untitled", "unknown")  # as programs write it where people give none
_PARTED_WORD = "\x02"  # PDFium's sign for a hyphen at a line's end
_CONTROLS = {code: None for code in range(32) if chr(code) not in "\n\t"}


def read_pdf(
    source: FileSource, _options: ReadOptions
) -> Iterator[Section | Attachment | IncomingProblem]:
    """Each page with text is a section; metadata: ``page``, from 1.

    What stands in form fields and in notes that are shown is part of the page. Pages that hold
    pictures but no text are one problem, which names them; blank pages are nothing. Attachments
    come after the pages.

    Raises ReadProblem for a file that is locked, damaged, or all pictures.
    """
    import pypdfium2

    with source.on_disk() as path:
        try:
            pdf = pypdfium2.PdfDocument(path)
        except pypdfium2.PdfiumError as exc:
            if exc.err_code == pypdfium2.raw.FPDF_ERR_PASSWORD:
                raise ReadProblem(
                    "The file is protected by a password.",
                    source=source.name,
                    hint="Save it without a password, then load it again.",
                ) from None
            raise ReadProblem(
                "The file is damaged, or no PDF.",
                source=source.name,
                hint="Open it in a PDF viewer and save it anew.",
            ) from None
        try:
            yield from _pages(pdf, source)
            yield from _attachments(pdf, source)
        finally:
            pdf.close()


def _pages(pdf: pypdfium2.PdfDocument, source: FileSource) -> Iterator[Section | IncomingProblem]:
    import pypdfium2

    if pdf.get_formtype() != pypdfium2.raw.FORMTYPE_NONE:
        pdf.init_forms()
    title = pdf.get_metadata_value("Title").strip()
    if title.lower() in _NO_TITLES:
        title = PurePosixPath(source.name).name
    count = len(pdf)
    pictures: list[int] = []
    broken: list[int] = []
    has_text = False
    for number in range(1, count + 1):
        try:
            text, has_content = _page(pdf, number - 1)
        except pypdfium2.PdfiumError:
            broken.append(number)
            continue
        if text:
            has_text = True
            yield Section(text, title, {"page": number})
        elif has_content:
            pictures.append(number)
        source.advance(number / count)
    if broken:
        yield IncomingProblem(
            source.name, _pages_named(broken), "These pages are damaged.", count=len(broken)
        )
    if pictures and not has_text:
        raise ReadProblem(
            f"The file holds pictures only ({count:,} page(s)), no text: it was scanned.",
            source=source.name,
            hint=_OCR,
        )
    if pictures:
        yield IncomingProblem(
            source.name,
            _pages_named(pictures),
            "There is no text, only pictures or drawings.",
            _OCR,
            stored=True,  # the pages around them are
            count=len(pictures),
        )


def _page(pdf: pypdfium2.PdfDocument, index: int) -> tuple[str, bool]:
    """The page's text, and whether there is anything on it."""
    import pypdfium2

    page = pdf[index]
    if pypdfium2.raw.FPDFPage_GetAnnotCount(page) > 0:
        # Draws form fields and notes into the page: only then are they text of it.
        pypdfium2.raw.FPDFPage_Flatten(page, pypdfium2.raw.FLAT_NORMALDISPLAY)
        page.close()
        page = pdf[index]
    try:
        textpage = page.get_textpage()
        # "bounded" by the page: get_text_range gives no characters beyond U+FFFF, and parts a
        # line at superscripts.
        text = textpage.get_text_bounded()
        textpage.close()
        text = text.replace(_PARTED_WORD, "").replace("\r\n", "\n").translate(_CONTROLS).strip()
        return text, bool(text) or pypdfium2.raw.FPDFPage_CountObjects(page) > 0
    finally:
        page.close()


def _attachments(
    pdf: pypdfium2.PdfDocument, source: FileSource
) -> Iterator[Attachment | IncomingProblem]:
    count = pdf.count_attachments()
    for index in range(min(count, MAX_ATTACHMENTS)):
        attachment: Any = pdf.get_attachment(index)
        name = attachment.get_name()
        content = bytes(attachment.get_data())
        if len(content) > MAX_ATTACHMENT_BYTES:
            yield IncomingProblem(
                source.name,
                f'attachment "{name}"',
                f"The attachment is larger than {MAX_ATTACHMENT_BYTES >> 20} MB.",
                "Save it as a file of its own and load that.",
            )
        else:
            yield Attachment(name, content)


def _pages_named(numbers: Iterable[int]) -> str:
    """1, 2, 3, 7 → "pages 1–3, 7"."""
    numbers = list(numbers)
    starts = [numbers[0], *(after for before, after in pairwise(numbers) if after > before + 1)]
    ends = [*(before for before, after in pairwise(numbers) if after > before + 1), numbers[-1]]
    ranges = [
        str(start) if start == end else f"{start}–{end}"
        for start, end in zip(starts, ends, strict=True)
    ]
    word = "page" if len(numbers) == 1 else "pages"
    more = f" and {len(ranges) - _MAX_PLACES} more" if len(ranges) > _MAX_PLACES else ""
    return f"{word} {', '.join(ranges[:_MAX_PLACES])}{more}"
