"""The model that comes with Vecscope: WordLlama, 256 dimensions, weights inside its wheel."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from lib.embedding.provider import Answer, BatchLimits, Role
from lib.errors import EmbeddingProblem
from lib.vectors.distance import FloatArray

# Measured on documentation texts: with capitals left, "DICTIONARY" and whole lines in capitals
# find nothing, since they fall apart into tokens like "DI" "CTION" "ARY"; but "IMAP", "SHA" and
# "HTTP" have tokens of their own that are better than their lower-case ones. Eight letters part
# the two: an acronym is shorter, two words are longer.
CAPITALS_SHARE = 0.6
CAPITALS_MIN_LETTERS = 8

_loading = threading.Lock()


def lower_if_capitals(text: str) -> str:
    """The text in lower case where it is mostly capitals, which the model reads as rubbish."""
    upper = sum(map(str.isupper, text))
    letters = upper + sum(map(str.islower, text))
    mostly = letters >= CAPITALS_MIN_LETTERS and upper > CAPITALS_SHARE * letters
    return text.lower() if mostly else text


class _WordLlama:
    """The two parts of WordLlama that an embedding needs: its tokenizer and its table of vectors.

    Its own `embed` pads every text of a batch to the longest and copies the table's rows for the
    padding too: 2 to 4 times slower than an average per text, with the same result to the bit.
    """

    def __init__(self) -> None:
        # wordllama calls logging.basicConfig at import, which would take the app's logging over.
        root = logging.getLogger()
        level, handlers = root.level, root.handlers[:]
        try:
            import wordllama

            loaded = wordllama.WordLlama.load(
                cache_dir=Path(wordllama.__file__).parent, disable_download=True
            )
        except (ImportError, OSError) as exc:
            raise EmbeddingProblem(
                f"The local embedding model cannot be loaded ({type(exc).__name__}).",
                hint="Install the pinned requirements again: its weights come with wordllama.",
            ) from exc
        finally:
            root.setLevel(level)
            root.handlers[:] = handlers
        self.table: FloatArray = loaded.embedding
        self.tokenizer = loaded.tokenizer
        self.tokenizer.no_padding()
        self.longest_token_chars = max(map(len, self.tokenizer.get_vocab()))

    def encode(self, texts: list[str]) -> list[Any]:
        encoded: list[Any] = self.tokenizer.encode_batch(texts, add_special_tokens=False)
        return encoded


def _model() -> _WordLlama:
    with _loading:
        return _load()


@cache
def _load() -> _WordLlama:
    return _WordLlama()


def _embed(texts: Sequence[str]) -> Answer:
    model = _model()
    vectors: list[FloatArray | None] = []
    tokens = 0
    for encoded in model.encode([lower_if_capitals(text) for text in texts]):
        ids = np.minimum(encoded.ids, len(model.table) - 1)  # as WordLlama.embed does
        tokens += len(ids)
        vectors.append(model.table[ids].mean(axis=0) if len(ids) else None)
    return Answer(vectors, tokens)


class LocalClient:
    """Embeds in a thread, so that the loop stays free and a cancel is seen between requests."""

    limits = BatchLimits(max_texts=128, max_tokens=None)

    async def embed(self, texts: Sequence[str], role: Role) -> Answer:  # noqa: ARG002 (one for both)
        return await asyncio.to_thread(_embed, texts)

    async def aclose(self) -> None:
        """There is nothing to close."""


class LocalCounter:
    """WordLlama's own tokenizer (Llama 2's)."""

    exact = True

    def count(self, text: str) -> int:
        return len(_model().encode([text])[0].ids)

    def cut(self, text: str, max_tokens: int) -> tuple[str, bool]:
        # One token more than bytes: the tokenizer puts a "▁" before the text.
        if len(text) < max_tokens and len(text.encode()) < max_tokens:
            return text, False
        model = _model()
        encoded = model.encode([text[: max_tokens * model.longest_token_chars + 1]])[0]
        if len(encoded.ids) <= max_tokens:
            return text, False
        start, end = encoded.offsets[max_tokens - 1]
        next_start, _ = encoded.offsets[max_tokens]
        # A rare character is several byte tokens with the same offsets: leave it out whole.
        return text[: start if next_start < end else end], True
