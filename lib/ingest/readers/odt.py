"""The reader for OpenDocument texts: one heading and what stands below it, one section."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from lib.errors import ReadProblem
from lib.ingest.file_source import FileSource
from lib.ingest.read_options import ReadOptions
from lib.ingest.sections import Block, Section, sections

if TYPE_CHECKING:
    from odfdo import Document

_NAMESPACES = "urn:oasis:names:tc:opendocument:xmlns:"
_TEXT = f"{{{_NAMESPACES}text:1.0}}"
_TABLE = f"{{{_NAMESPACES}table:1.0}}"
_OFFICE = f"{{{_NAMESPACES}office:1.0}}"
_SVG = f"{{{_NAMESPACES}svg-compatible:1.0}}"
# Deleted text that is still in the file, contents that are made from the headings, declarations,
# comments and descriptions of pictures.
_SKIPPED = frozenset(
    (
        f"{_TEXT}tracked-changes",
        f"{_TEXT}table-of-content",
        f"{_TEXT}sequence-decls",
        f"{_OFFICE}forms",
        f"{_OFFICE}annotation",
        f"{_SVG}title",
        f"{_SVG}desc",
    )
)
_MAX_SPACES = 100  # that one element may stand for

Element = Any  # of lxml, which has no types


def read_odt(source: FileSource, _options: ReadOptions) -> Iterator[Section]:
    """Sections by headings; metadata: ``heading_path``, and ``author`` where the file names one.

    Items of lists begin with "- ", rows of tables are lines with " | " between the cells; a note
    follows the paragraph that refers to it. Deleted text is left out. Raises ReadProblem for a
    locked file.
    """
    from lxml import etree
    from odfdo import Document

    with source.on_disk() as path:
        document = Document(path)
        if b"encryption-data" in _part(document, "META-INF/manifest.xml"):
            raise ReadProblem(
                "The file is protected by a password.",
                source=source.name,
                hint="Save it without a password, then load it again.",
            )
        content = _part(document, "content.xml")
        title = (document.meta.title or "").strip() or PurePosixPath(source.name).name
        author = (document.meta.initial_creator or document.meta.creator or "").strip()
    # odfdo's own text leaves no mark where an item, a row or a cell ends, and its parser would
    # put entities in the place of their names.
    root = etree.fromstring(content, etree.XMLParser(resolve_entities=False, no_network=True))
    body = root.find(f"{_OFFICE}body")
    blocks = _blocks(body) if body is not None else iter(())
    yield from sections(blocks, title, {"author": author} if author else {})


def _part(document: Document, name: str) -> bytes:
    content = document.container.get_part(name) if document.container is not None else None
    return content if isinstance(content, bytes) else b""


def _blocks(parent: Element) -> Iterator[Block]:
    """(The depth of recursion is bounded by libxml2, which takes 256 levels.)"""
    for element in parent:
        tag = element.tag
        if tag in _SKIPPED or not isinstance(tag, str):
            continue
        if tag in (f"{_TEXT}p", f"{_TEXT}h"):
            notes: list[str] = []
            text = _text(element, notes).strip()
            level = element.get(f"{_TEXT}outline-level", "1")
            is_heading = tag == f"{_TEXT}h"
            yield Block(text, (int(level) if level.isdigit() else 1) if is_heading else 0)
            yield from (Block(note) for note in notes)
        elif tag == f"{_TABLE}table":
            for row in element.iter(f"{_TABLE}table-row"):
                cells = [_cell(cell) for cell in row.iterchildren(f"{_TABLE}table-cell")]
                if any(cells):
                    yield Block(" | ".join(cells), is_tight=True)
        elif tag in (f"{_TEXT}list-item", f"{_TEXT}list-header"):
            yield from _item(element)
        else:
            yield from _blocks(element)


def _item(item: Element) -> Iterator[Block]:
    dash = "- "
    for block in _blocks(item):
        if block.depth or not block.text:  # headings may be numbered as a list is
            yield block
        else:
            yield replace(block, text=dash + block.text, is_tight=True)
            dash = "  "


def _cell(cell: Element) -> str:
    return " ".join(" ".join(block.text for block in _blocks(cell)).split())


def _text(element: Element, notes: list[str]) -> str:
    """The text of a paragraph; ``notes`` gets those that it refers to."""
    pieces = [element.text or ""]
    for child in element:
        tag = child.tag
        if tag == f"{_TEXT}s":
            count = child.get(f"{_TEXT}c", "1")
            pieces.append(" " * min(int(count) if count.isdigit() else 1, _MAX_SPACES))
        elif tag == f"{_TEXT}tab":
            pieces.append("\t")
        elif tag == f"{_TEXT}line-break":
            pieces.append("\n")
        elif tag == f"{_TEXT}note":
            number = "".join(child.findtext(f"{_TEXT}note-citation", "")) or "*"
            body = child.find(f"{_TEXT}note-body")
            pieces.append(f"[{number}]")
            if body is not None:
                notes.append(f"[{number}] {_cell(body)}")
        elif isinstance(tag, str) and tag not in _SKIPPED:
            if tag == f"{_TEXT}p":  # in a text box
                pieces.append("\n")
            pieces.append(_text(child, notes))
        pieces.append(child.tail or "")
    return "".join(pieces)
