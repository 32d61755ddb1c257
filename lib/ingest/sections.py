"""Sections: the pieces that a reader of a structured format makes of a file, to be split into
documents.

Readers run in another process where they can be killed, without tokenizers; splitting by a model's
tokens happens on this side (:func:`lib.ingest.read.read`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

MAX_SECTION_CHARACTERS = 1_000_000
"""A longer section is handed over in pieces, so that memory stays bounded."""

MAX_DEPTH = 100
"""Headings, lists and groups deeper than this are taken as if they were at this depth."""


@dataclass(frozen=True, slots=True)
class Section:
    """A piece of a file with a place of its own: a page, a slide, what stands below a heading.

    metadata: the place, and what is known of the file; it goes to each of the section's parts.
    """

    text: str
    title: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, a heading, an item of a list, a row of a table.

    depth: of a heading, from 1; 0 for anything else. is_tight: no empty line before it where the
    block before was tight too (items, rows).
    """

    text: str
    depth: int = 0
    is_tight: bool = False


def sections(
    blocks: Iterable[Block], title: str, metadata: Mapping[str, Any] | None = None
) -> Iterator[Section]:
    """A section for each heading that has something below it; the text keeps the heading.

    title: of what stands before the first heading; below one it is the path of headings
    ("Guide › Install"), which is in the metadata too, as ``heading_path``. A heading with nothing
    below it goes with the section that follows.
    """
    held: list[str] = []
    size = 0
    has_body = was_tight = False
    path: list[Block] = []

    def section() -> Section:
        names = [heading.text for heading in path]
        place = {**(metadata or {}), "heading_path": names}
        return Section("".join(held), " › ".join(names) or title, place)

    for block in blocks:
        if not block.text.strip():
            continue
        if has_body and (block.depth or size > MAX_SECTION_CHARACTERS):
            yield section()
            held, size, has_body = [], 0, False
        if block.depth:
            heading = replace(block, text=" ".join(block.text.split())[:MAX_SECTION_CHARACTERS])
            path = [above for above in path if above.depth < block.depth] + [heading]
        else:
            has_body = True
        if held:
            held.append("\n" if was_tight and block.is_tight else "\n\n")
        held.append(block.text)
        size += len(block.text)
        was_tight = block.is_tight
    if held:
        yield section()


def bounded(section: Section) -> Iterator[Section]:
    """The section, in pieces where it is too long; cut at a line where there is one."""
    start, text = 0, section.text
    while len(text) - start > MAX_SECTION_CHARACTERS:
        end = text.rfind("\n", start, start + MAX_SECTION_CHARACTERS) + 1
        end = end or start + MAX_SECTION_CHARACTERS
        yield replace(section, text=text[start:end])
        start = end
    yield replace(section, text=text[start:]) if start else section
