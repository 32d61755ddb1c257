"""The reader for Word documents: one heading and what stands below it, one section."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from lib.ingest.file_source import FileSource
from lib.ingest.read_options import ReadOptions
from lib.ingest.sections import MAX_DEPTH, Block, Section, sections

if TYPE_CHECKING:
    from docx.document import Document

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_HEADING = re.compile(r"heading (\d)", re.IGNORECASE)
_NOTES = {
    "footnotes": ("footnote", "footnoteReference"),
    "endnotes": ("endnote", "endnoteReference"),
}
_RELATIONSHIP = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/"

Element = Any  # of lxml, which has no types


def read_docx(source: FileSource, _options: ReadOptions) -> Iterator[Section]:
    """Sections by headings; metadata: ``heading_path``, and ``author`` where the file names one.

    The title is the path of headings, before the first heading the document's title or the file's
    name. Items of lists begin with "- ", rows of tables are lines with " | " between the cells;
    a note follows the paragraph that refers to it. Inserted text counts, deleted text does not.
    Text boxes are read; headers and footers, the same on every page, are not.
    """
    import docx

    with source.on_disk() as path:
        document = docx.Document(str(path))
    properties = document.core_properties
    title = (properties.title or "").strip() or PurePosixPath(source.name).name
    metadata = {"author": properties.author} if (properties.author or "").strip() else {}
    yield from sections(_Body(document).blocks(), title, metadata)


class _Body:
    """python-docx opens the package and knows the styles. Its paragraphs leave out what stands in
    content controls, text boxes and insertions, so the body is walked here."""

    def __init__(self, document: Document) -> None:
        self._element: Element = document.element.body
        self._depths: dict[str, int] = {}  # of the styles that are headings
        self._list_styles: set[str] = set()
        for style in document.styles:
            name = style.name or ""
            if match := _HEADING.fullmatch(name):
                self._depths[style.style_id] = int(match[1])
            elif name == "Title":
                self._depths[style.style_id] = 1
            elif name.startswith("List "):
                self._list_styles.add(style.style_id)
        self._notes = {
            reference: _notes_of(document, part, note) for part, (note, reference) in _NOTES.items()
        }

    def blocks(self) -> Iterator[Block]:
        for element, depth in _parts(self._element):
            if element.tag == f"{_W}p":
                yield from self._paragraph(element)
            else:
                yield from self._table(element, depth)

    def _paragraph(self, paragraph: Element) -> Iterator[Block]:
        notes: list[str] = []
        text = self._text(paragraph, notes).strip()
        properties = paragraph.find(f"{_W}pPr")
        style, level, is_item = "", None, False
        if properties is not None:
            style = _value(properties.find(f"{_W}pStyle")) or ""
            outline = _value(properties.find(f"{_W}outlineLvl"))
            level = int(outline) + 1 if outline and outline.isdigit() and outline < "9" else None
            numbering = properties.find(f"{_W}numPr")
            is_item = numbering is not None or style in self._list_styles
            indent = _value(numbering.find(f"{_W}ilvl")) if numbering is not None else None
        depth = level or self._depths.get(style, 0)
        if depth:
            yield Block(text, depth)
        elif is_item and text:
            spaces = "  " * min(int(indent), MAX_DEPTH) if indent and indent.isdigit() else ""
            yield Block(f"{spaces}- {text}", is_tight=True)
        else:
            yield Block(text)
        yield from (Block(note) for note in notes)

    def _table(self, table: Element, depth: int) -> Iterator[Block]:
        for row in _children(table, f"{_W}tr"):
            notes: list[str] = []
            cells = []
            for cell in _children(row, f"{_W}tc"):
                texts = []
                for element, inner_depth in _parts(cell, depth + 1):
                    if element.tag == f"{_W}p":
                        texts.append(self._text(element, notes))
                    else:  # a table in a cell: on the cell's line
                        inner = self._table(element, inner_depth) if inner_depth < MAX_DEPTH else ()
                        texts.extend(block.text for block in inner)
                cells.append(" ".join(" ".join(texts).split()))
            if any(cells):
                yield Block(" | ".join(cells), is_tight=True)
            yield from (Block(note) for note in notes)

    def _text(self, paragraph: Element, notes: list[str]) -> str:
        """The paragraph's text; ``notes`` gets those that it refers to."""
        pieces: list[str] = []
        # What is in a text box is a paragraph too: here, where its frame hangs.
        for element in _text_elements(paragraph):
            name = element.tag[len(_W) :]
            if name == "t":
                pieces.append(element.text or "")
            elif name == "tab":
                pieces.append("\t")
            elif name in ("br", "cr", "p"):
                pieces.append("\n")
            elif name == "noBreakHyphen":
                pieces.append("-")
            elif name in self._notes:
                number = element.get(f"{_W}id")
                if note := self._notes[name].get(number):
                    pieces.append(f"[{number}]")
                    notes.append(f"[{number}] {note}")
        return "".join(pieces)


def _parts(parent: Element, depth: int = 0) -> Iterator[tuple[Element, int]]:
    """Paragraphs and tables in order, also those inside of content controls and the like."""
    stack = list(reversed(parent))
    while stack:
        element = stack.pop()
        if element.tag in (f"{_W}p", f"{_W}tbl"):
            yield element, depth
        elif isinstance(element.tag, str) and not element.tag.endswith("Pr"):
            stack.extend(reversed(element))


def _children(parent: Element, tag: str) -> Iterator[Element]:
    """As :func:`_parts`, of one tag; rows and cells may stand in content controls too."""
    stack = list(reversed(parent))
    while stack:
        element = stack.pop()
        if element.tag == tag:
            yield element
        elif element.tag in (f"{_W}sdt", f"{_W}sdtContent", f"{_W}customXml", f"{_W}ins"):
            stack.extend(reversed(element))


def _text_elements(paragraph: Element) -> Iterator[Element]:
    stack = list(reversed(paragraph))
    while stack:
        element = stack.pop()
        if element.tag == _FALLBACK or not isinstance(element.tag, str):
            continue  # the same text box again, for older programs
        if element.tag.startswith(_W):
            yield element
            if element.tag in (f"{_W}pPr", f"{_W}rPr", f"{_W}del"):
                continue
        stack.extend(reversed(element))


def _notes_of(document: Document, part: str, note: str) -> dict[str | None, str]:
    """Number → text."""
    from docx.oxml.parser import parse_xml

    notes: dict[str | None, str] = {}
    for relationship in document.part.rels.values():
        if relationship.reltype == f"{_RELATIONSHIP}{part}" and not relationship.is_external:
            root = parse_xml(relationship.target_part.blob)
            for element in root.iter(f"{_W}{note}"):
                words = (text.text or "" for text in element.iter(f"{_W}t"))
                notes[element.get(f"{_W}id")] = " ".join("".join(words).split())
    return notes


def _value(element: Element | None) -> str | None:
    return None if element is None else element.get(f"{_W}val")
