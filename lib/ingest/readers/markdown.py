"""The reader for Markdown: one section, one document (or several parts, if it is long)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath

from markdown_it import MarkdownIt

from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingDocument, IncomingProblem
from lib.ingest.parts import split_section
from lib.ingest.read_options import ReadOptions
from lib.ingest.readers.text import open_lines, read_text

MAX_CHARACTERS = 2_000_000
MAX_LINES = 50_000
"""The parser needs all of a file at once, and for each line up to 2 KB and 0.1 ms; a longer file
is read as plain text."""

# Parsing what is inside a line takes quadratic time at worst. The text keeps the whole heading.
_MAX_HEADING_CHARACTERS = 500


@dataclass(frozen=True)
class _Heading:
    line: int  # from 0
    depth: int  # 1 to 6
    text: str


def read_markdown(
    source: FileSource, options: ReadOptions
) -> Iterator[IncomingDocument | IncomingProblem]:
    """Markdown (CommonMark): sections, split like plain text where they are long.

    The title is the path of headings ("Guide › Install"), before the first heading the file's
    name; metadata: ``heading_path`` (list) and ``line``. The text stays Markdown and keeps its
    heading. A heading with nothing below it goes with the section that follows.
    """
    with open_lines(source, options, newline=None, max_characters=MAX_CHARACTERS) as stream:
        pieces: list[str] = []
        size = 0
        for piece in stream.pieces():
            pieces.append(piece)
            size += len(piece)
            if size > MAX_CHARACTERS or len(pieces) > MAX_LINES:
                break
        else:
            yield from _documents(source, options, "".join(pieces))
            yield from stream.problems()
            return
    yield IncomingProblem(
        source.name,
        "",
        f"The file is longer than {MAX_CHARACTERS:,} characters or {MAX_LINES:,} lines: it was "
        "read as plain text, without its headings.",
        "Split the file if the headings matter.",
        stored=True,
    )
    yield from read_text(source, options)


def _documents(source: FileSource, options: ReadOptions, text: str) -> Iterator[IncomingDocument]:
    lines = text.split("\n")
    part_number = 0
    for start, end, path in _sections(lines):
        section = "\n".join(lines[start:end])
        for part in split_section(section, options, first_line=start + 1):
            yield IncomingDocument(
                external_id=source.name,
                part=part_number,
                title=" › ".join(path) or PurePosixPath(source.name).name,
                content=part.text,
                metadata={"heading_path": path, "line": part.line},
            )
            part_number += 1


def _sections(lines: list[str]) -> Iterator[tuple[int, int, list[str]]]:
    """(first line, line after the last, heading path), from 0; together they are the file."""
    start = 0
    path: list[_Heading] = []
    body = _front_matter_lines(lines)
    for heading in _headings(lines, body):
        if any(line.strip() for line in lines[body : heading.line]) or (start < body and not path):
            yield start, heading.line, [item.text for item in path]
            start = heading.line
        path = [item for item in path if item.depth < heading.depth] + [heading]
        body = heading.line + 1
    yield start, len(lines), [item.text for item in path]


def _headings(lines: list[str], first_line: int) -> Iterator[_Heading]:
    # Only what decides where a block begins and ends; reference definitions hide no heading, and
    # the text inside blocks is of no interest.
    blocks = MarkdownIt("commonmark").disable(["inline", "reference"])
    inline = MarkdownIt("commonmark")
    tokens = blocks.parse("\n".join(lines[first_line:]))
    for token, content in pairwise(tokens):
        # level 0: a heading in a quotation or a list heads no section of the file.
        if token.type == "heading_open" and token.level == 0 and token.map is not None:
            text = content.content[:_MAX_HEADING_CHARACTERS]
            children = inline.parseInline(text)[0].children or []
            text = "".join(child.content or " " * (child.type == "softbreak") for child in children)
            yield _Heading(first_line + token.map[0], int(token.tag[1:]), text.strip())


def _front_matter_lines(lines: list[str]) -> int:
    """How many lines at the start are front matter (between two lines of ---): CommonMark would
    take the last of them for a heading."""
    if lines[0].rstrip() != "---":
        return 0
    for number, line in enumerate(lines[1:200], start=2):
        if line.rstrip() in {"---", "..."}:
            return number
    return 0
