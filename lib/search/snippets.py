"""The passage of a text that a question is about, and which of its words to mark.

Words are compared by their Snowball stems, which is what PostgreSQL's own dictionaries do, so
that what is marked is what the text leg matched. It needs no round trip to the server.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import snowballstemmer

from lib.errors import InvalidInput

PREVIEW_CHARACTERS = 500

_WORD = re.compile(r"\w+")
_BREAK = re.compile(r"(?<=[.!?…])\s+|\n+")
# Words that mark nothing: PostgreSQL's dictionaries drop them from the query as well.
_STOP_WORDS = """
a an and are as at be but by can do does for from had has have how i if in into is it its me my no
not of on or s so t than that the their then there these they this to was we were what when where
which who why will with you your
"""
_STOPS = frozenset(_STOP_WORDS.split())
_stemming = threading.Lock()


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of text, marked where it matches the question."""

    text: str
    marked: bool = False


@dataclass(frozen=True, slots=True)
class Snippet:
    """A passage. begins, ends: whether it begins and ends where the whole text does."""

    pieces: tuple[Piece, ...]
    begins: bool
    ends: bool

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)


@lru_cache(maxsize=32)
def _stemmer(language: str) -> snowballstemmer.stemmer | None:
    """None for a configuration without stems, such as ``simple``."""
    if language not in snowballstemmer.algorithms():
        return None
    return snowballstemmer.stemmer(language)


@lru_cache(maxsize=100_000)
def _stem(word: str, language: str) -> str:
    """Kept, since texts are made of few different words, and a page is drawn again and again."""
    stemmer = _stemmer(language)
    if stemmer is None:
        return word
    with _stemming:  # a stemmer holds the word that it is at work on
        return str(stemmer.stemWord(word))


def stems(words: Sequence[str], language: str) -> list[str]:
    """Lower-case stems, one a word; the words themselves where the language has no stems."""
    return [_stem(word.lower(), language) for word in words]


def question_stems(question: str, language: str) -> frozenset[str]:
    """The stems that a question marks; its stop words only where it has nothing else."""
    words = _WORD.findall(question)
    telling = [word for word in words if word.lower() not in _STOPS]
    return frozenset(stems(telling or words, language))


def make_snippet(
    text: str, question: str, *, language: str = "english", characters: int = PREVIEW_CHARACTERS
) -> Snippet:
    """The ``characters`` of the text with the most different words of the question, with all of
    its words marked; the beginning where there is none.

    The passage begins at a sentence or a line where one is near.
    """
    if characters < 1:
        raise InvalidInput("A snippet needs at least one character.", field="characters")
    wanted = question_stems(question, language)
    # Bounded: a text of megabytes is not worth a second of a page's time.
    searched = text[: characters * 200]
    words = list(_WORD.finditer(searched))
    found = stems([match.group() for match in words], language)
    hits = [
        (match.start(), match.end(), stem)
        for match, stem in zip(words, found, strict=True)
        if stem in wanted
    ]
    start = _best_start(hits, characters)
    start = _sentence_start(searched, start, characters // 3) if start else 0
    end = min(len(text), start + characters)
    if end < len(text):
        end = _word_end(text, end, start)
    pieces: list[Piece] = []
    position = start
    for first, last, _ in hits:
        if first < position or last > end:
            continue
        if first > position:
            pieces.append(Piece(text[position:first]))
        pieces.append(Piece(text[first:last], marked=True))
        position = last
    if position < end:
        pieces.append(Piece(text[position:end]))
    return Snippet(tuple(pieces), begins=start == 0, ends=end == len(text))


def _best_start(hits: Sequence[tuple[int, int, str]], characters: int) -> int:
    """Where the window with the most different stems begins, the first of equals; by two
    pointers, so that a long text costs one pass."""
    best, best_start, first = 0, 0, 0
    inside: dict[str, int] = {}
    for start, end, stem in hits:
        inside[stem] = inside.get(stem, 0) + 1
        while hits[first][0] < end - characters and hits[first][0] < start:
            left = hits[first][2]
            inside[left] -= 1
            if not inside[left]:
                del inside[left]
            first += 1
        if len(inside) > best:
            best, best_start = len(inside), hits[first][0]
    return best_start


def _sentence_start(text: str, position: int, most: int) -> int:
    """The nearest beginning of a sentence or line at most ``most`` characters before; else of a
    word."""
    window = text[max(0, position - most) : position]
    if position <= most:
        return 0
    breaks = list(_BREAK.finditer(window))
    if breaks:
        return position - len(window) + breaks[-1].end()
    space = window[-40:].find(" ")
    return position - min(40, len(window)) + space + 1 if space >= 0 else position


def _word_end(text: str, end: int, start: int) -> int:
    """Back to the last space, where there is one near."""
    space = text.rfind(" ", max(start, end - 40), end)
    return space if space > start else end
