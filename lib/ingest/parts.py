"""A long text → parts within the model's token budget, which overlap and lose nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from lib.ingest.incoming import clean_text
from lib.ingest.read_options import ReadOptions

# A line without any break is handled in pieces of this size: tokenizers take more than linear
# time on what has no spaces.
_PIECE_CHARACTERS = 4000
# A sentence longer than the budget is cut into pieces of this share of it, so that parts are full.
_FINE_SHARE = 8

# What ends a sentence, with its quotes and brackets; East Asian full stops need no space after.
_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’»)\]]*\s+|[。！？]+[」』）]*\s*")


@dataclass(frozen=True)
class TextPart:
    """A part of a text, as long as the model takes."""

    text: str
    """Clean, without empty lines around it."""

    line: int
    """Where it starts, counted from 1."""


class _Border(IntEnum):
    """What a piece ends with; a cut is made at the strongest that leaves the part half full."""

    NONE = 0
    WORD = 1
    SENTENCE = 2
    LINE = 3
    PARAGRAPH = 4


@dataclass(frozen=True, slots=True)
class _Piece:
    text: str
    tokens: int
    line: int
    border: _Border

    @property
    def is_blank(self) -> bool:
        return not self.text.replace("\0", "").strip()


def split_section(text: str, options: ReadOptions, *, first_line: int = 1) -> Iterator[TextPart]:
    """Parts of at most ``options.part_tokens``, in order; nothing where the text is blank.

    A part ends with a paragraph where that leaves it at least half full, else with a line, a
    sentence, a word. It begins with the last ``options.overlap_tokens`` of the one before: whole
    lines and sentences where they fit, else words. Each character of the text is in at least one
    part, but for blank lines around parts. first_line: the number of the text's first line.

    Tokens are those of :func:`~lib.embedding.tokens.quick_counter`.
    """
    return split_stream(_lines(text), options, first_line=first_line)


def split_stream(
    lines: Iterable[str], options: ReadOptions, *, first_line: int = 1
) -> Iterator[TextPart]:
    """As :func:`split_section`, of a text that is read as parts are asked for.

    lines: with their line ends; one that was handed over in pieces is counted once.
    """
    from lib.embedding.tokens import quick_counter  # slow, and only for this

    count = quick_counter(options.tokenizer)
    budget = options.part_tokens
    held: list[_Piece] = []
    repeated = 0  # how many pieces of ``held`` were in the part before too
    tokens = 0
    for piece in _pieces(lines, count, options, first_line):
        if not held and piece.is_blank:
            continue
        while tokens + piece.tokens > budget and held:
            if len(held) == repeated:  # counts do not quite add up: no part is overlap alone
                tokens -= held.pop(0).tokens
                repeated -= 1
                continue
            cut = _best_cut(held, repeated, budget)
            yield from _part(held[:cut])
            overlap = _overlap(held[:cut], options.overlap_tokens, count)
            held = overlap + held[cut:]
            repeated = len(overlap)
            tokens = sum(piece.tokens for piece in held)
        held.append(piece)
        tokens += piece.tokens
    if len(held) > repeated and not all(piece.is_blank for piece in held[repeated:]):
        yield from _part(held)


def _best_cut(held: list[_Piece], repeated: int, budget: int) -> int:
    """How many pieces make the part: so many that what is new fills half of the room for it."""
    best, best_border = len(held), _Border.NONE
    room = budget - sum(piece.tokens for piece in held[:repeated])
    tokens = 0
    for place, piece in enumerate(held[repeated:], start=repeated + 1):
        tokens += piece.tokens
        if tokens * 2 >= room and piece.border >= best_border:
            best, best_border = place, piece.border
    return best


def _overlap(part: list[_Piece], most: int, count: Callable[[str], int]) -> list[_Piece]:
    filled = [place for place, piece in enumerate(part) if not piece.is_blank]
    if not filled or most == 0:
        return []
    last = filled[-1]
    tail = part[last + 1 :]  # empty lines, which part it from what follows
    room = most - sum(piece.tokens for piece in tail)
    if part[last].tokens > room:
        return [*_last_words(part[last], room, count), *tail]
    start, tokens = last, part[last].tokens
    for place in range(last - 1, -1, -1):
        tokens += part[place].tokens
        if tokens > room:
            break
        if not part[place].is_blank:
            start = place
    return part[start:]


def _last_words(piece: _Piece, most: int, count: Callable[[str], int]) -> list[_Piece]:
    # A word has hardly more than 16 characters a token; the first may be half a word.
    words = re.findall(r"\S+\s*", piece.text[-16 * max(most, 0) :])[1:]
    start, tokens = len(words), 0
    while start > 0 and tokens + (size := count(words[start - 1])) <= most:
        start -= 1
        tokens += size
    text = "".join(words[start:])
    return [_Piece(text, tokens, piece.line, piece.border)] if text else []


def _part(pieces: list[_Piece]) -> Iterator[TextPart]:
    text = clean_text("".join(piece.text for piece in pieces)).rstrip().lstrip("\n")
    if text.strip():
        yield TextPart(text, next(piece.line for piece in pieces if not piece.is_blank))


# --- pieces -------------------------------------------------------------------------------------


def _pieces(
    lines: Iterable[str], count: Callable[[str], int], options: ReadOptions, first_line: int
) -> Iterator[_Piece]:
    """Pieces that fit behind an overlap, each character in one of them."""
    budget = options.part_tokens - options.overlap_tokens
    # A line that is short enough to be repeated whole need not be taken apart.
    short = max(options.overlap_tokens, budget // _FINE_SHARE)
    number = first_line
    for line in lines:
        ends = line.endswith(("\n", "\r"))
        border = _Border.NONE if not ends else _Border.LINE if line.strip() else _Border.PARAGRAPH
        chunks = list(_chunks(line))
        for place, chunk in enumerate(chunks, start=1):
            last = border if place == len(chunks) else _word_border(chunk)
            tokens = count(chunk)
            if tokens <= short:
                yield _Piece(chunk, tokens, number, last)
                continue
            sentences = list(_sentences(chunk))
            for index, sentence in enumerate(sentences, start=1):
                end = last if index == len(sentences) else _Border.SENTENCE
                size = tokens if len(sentences) == 1 else count(sentence)
                yield from _fitted(_Piece(sentence, size, number, end), budget, count)
        number += ends


def _fitted(piece: _Piece, budget: int, count: Callable[[str], int]) -> Iterator[_Piece]:
    if piece.tokens <= budget:
        yield piece
    else:
        yield from _halved(piece, max(1, budget // _FINE_SHARE), count)


def _halved(piece: _Piece, most: int, count: Callable[[str], int]) -> Iterator[_Piece]:
    """Cut at a space near the middle, or in the middle, until each has at most ``most`` tokens."""
    text = piece.text
    if piece.tokens <= most or len(text) == 1:
        yield piece
        return
    middle = len(text) // 2
    space = text.rfind(" ", 0, middle) + 1 or text.find(" ", middle) + 1
    cut = space if 0 < space < len(text) else middle
    first, rest = text[:cut], text[cut:]
    yield from _halved(_Piece(first, count(first), piece.line, _word_border(first)), most, count)
    yield from _halved(_Piece(rest, count(rest), piece.line, piece.border), most, count)


def _word_border(text: str) -> _Border:
    return _Border.WORD if text[-1:].isspace() else _Border.NONE


def _sentences(text: str) -> Iterator[str]:
    start = 0
    for end in _SENTENCE_END.finditer(text):
        yield text[start : end.end()]
        start = end.end()
    if start < len(text):
        yield text[start:]


def _chunks(line: str) -> Iterator[str]:
    start = 0
    while len(line) - start > _PIECE_CHARACTERS:
        space = line.rfind(" ", start, start + _PIECE_CHARACTERS)
        end = space + 1 if space > start else start + _PIECE_CHARACTERS
        yield line[start:end]
        start = end
    yield line[start:]


def _lines(text: str) -> Iterator[str]:
    """Its lines with their ends, without a second copy of all of it at once."""
    start = 0
    while (end := text.find("\n", start) + 1) > 0:
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]
