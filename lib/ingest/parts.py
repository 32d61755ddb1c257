"""A long text → parts of bounded size that lose nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lib.ingest.incoming import clean_text


@dataclass(frozen=True)
class TextPart:
    """text: clean, without empty lines around it; line: where it starts, counted from 1."""

    text: str
    line: int


def split_lines(
    lines: Iterable[str], max_characters: int, *, first_line: int = 1
) -> Iterator[TextPart]:
    """Parts of at most ``max_characters``, in order, each character of the text in exactly one
    of them (but for the empty lines between them).

    lines: with their line ends; one that was handed over in pieces is counted once. They are
    read as parts are asked for. A part ends with a paragraph where that leaves it at least a
    quarter full, else with a line, else at a space, else in a word.
    """
    held: list[tuple[int, str]] = []
    size = 0
    paragraph_end = 0  # how many pieces of ``held`` come before the last empty line's end
    number = first_line
    for line in lines:
        for piece in _pieces(line, max_characters):
            while held and size + len(piece) > max_characters:
                full_enough = sum(len(text) for _, text in held[:paragraph_end]) * 4
                cut = paragraph_end if full_enough >= max_characters else len(held)
                yield from _part(held[:cut])
                held = held[cut:]
                size = sum(len(text) for _, text in held)
                paragraph_end = 0
            held.append((number, piece))
            size += len(piece)
            if not piece.strip():
                paragraph_end = len(held)
        number += line.endswith(("\n", "\r"))
    yield from _part(held)


def _part(pieces: list[tuple[int, str]]) -> Iterator[TextPart]:
    # Cleaned already here: what is nothing but NULs is no part.
    cleaned = [(number, clean_text(piece)) for number, piece in pieces]
    text = "".join(piece for _, piece in cleaned).rstrip().lstrip("\n")
    if text:
        yield TextPart(text, next(number for number, piece in cleaned if piece.strip()))


def _pieces(line: str, max_characters: int) -> Iterator[str]:
    start = 0
    while len(line) - start > max_characters:
        space = line.rfind(" ", start, start + max_characters)
        end = space + 1 if space > start else start + max_characters
        yield line[start:end]
        start = end
    yield line[start:]
