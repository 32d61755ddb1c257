"""Counting tokens and cutting a text at a token border, without the network."""

from __future__ import annotations

import importlib.util
import os
import re
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lib.embedding.models import EmbeddingModel, Provider, registered_models
from lib.errors import EmbeddingProblem

if TYPE_CHECKING:
    import tiktoken

_CL100K_URL_SHA1 = "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"  # how tiktoken names its file
_CL100K_LONGEST_TOKEN_CHARS = 128  # the longest token of cl100k_base is 128 spaces
_loading = threading.Lock()


class TokenCounter(Protocol):
    """exact: False where another model's tokenizer stands in: say "about" then."""

    @property
    def exact(self) -> bool: ...

    def count(self, text: str) -> int: ...

    def cut(self, text: str, max_tokens: int) -> tuple[str, bool]:
        """The longest beginning of text that ends at a token border and has at most max_tokens
        (give or take a character where a token ends inside one), and whether it was cut."""
        ...


class Cl100kCounter:
    """OpenAI's tokenizer of its embedding models; an estimate for everybody else's."""

    def __init__(self, *, exact: bool) -> None:
        self.exact = exact

    def count(self, text: str) -> int:
        return len(cl100k().encode_ordinary(text))

    def cut(self, text: str, max_tokens: int) -> tuple[str, bool]:
        # A token has at least one byte, so most texts need no tokenizer to be known to fit; and
        # at most 128 characters, so nothing behind that can matter.
        if len(text) <= max_tokens and len(text.encode()) <= max_tokens:
            return text, False
        head = text[: max_tokens * _CL100K_LONGEST_TOKEN_CHARS + 1]
        encoding = cl100k()
        tokens = encoding.encode_ordinary(head)
        if len(tokens) <= max_tokens:
            return text, False
        return encoding.decode(tokens[:max_tokens], errors="ignore"), True


@cache
def counter_for(model: EmbeddingModel) -> TokenCounter:
    """The model's own tokenizer where it is at hand, else an estimate by OpenAI's."""
    if model.provider is Provider.LOCAL:
        from lib.embedding.local import LocalCounter

        return LocalCounter()
    return Cl100kCounter(exact=model.provider is Provider.OPENAI)


def max_tokens_of(model_name: str) -> int | None:
    """The longest text that a model takes; None where it is not registered."""
    return next((m.max_tokens for m in registered_models() if m.name == model_name), None)


@cache
def quick_counter(model_name: str) -> Callable[[str], int]:
    """A count for splitting texts: by the tokenizer of :func:`counter_for`, quick enough to count
    all that is loaded.

    The local model's tokenizer takes as long as its embedding. Its tokens do not cross words, so
    words are counted once and remembered; the sum may be some tokens above the tokenizer's count,
    which joins longer runs of spaces. All others are counted as they are.
    """
    model = next((m for m in registered_models() if m.name == model_name), None)
    if model is None:  # not registered: no network to ask which tokenizer it has
        return Cl100kCounter(exact=False).count
    counter = counter_for(model)
    return _by_words(counter) if model.provider is Provider.LOCAL else counter.count


_WORD = re.compile(r"\n?\S+| {2,}|[^\S ]")
_LONGEST_WORD_CHARS = 40  # a longer one hardly comes again
_MOST_WORDS = 200_000


def _by_words(counter: TokenCounter) -> Callable[[str], int]:
    known: dict[str, int] = {}

    def count(text: str) -> int:
        total = 0
        for word in _WORD.findall(text):
            tokens = known.get(word)
            if tokens is None:
                tokens = counter.count(word)
                if len(word) <= _LONGEST_WORD_CHARS:
                    if len(known) >= _MOST_WORDS:
                        known.clear()
                    known[word] = tokens
            total += tokens
        return total

    return count


def cl100k() -> tiktoken.Encoding:
    """OpenAI's cl100k_base, from the file that LiteLLM's wheel carries.

    tiktoken downloads the file unless TIKTOKEN_CACHE_DIR has it. LiteLLM itself is not imported
    (seconds), only found. Raises EmbeddingProblem where the file is not there.
    """
    with _loading:
        return _load_cl100k()


@cache
def _load_cl100k() -> tiktoken.Encoding:
    import tiktoken

    spec = importlib.util.find_spec("litellm")
    folders = spec.submodule_search_locations if spec else None
    folder = Path(folders[0], "litellm_core_utils", "tokenizers") if folders else None
    if folder is None or not (folder / _CL100K_URL_SHA1).is_file():
        raise EmbeddingProblem(
            "The tokenizer file of OpenAI's models is not installed.",
            hint="Install the pinned requirements again: it comes with LiteLLM.",
        )
    before = os.environ.get("TIKTOKEN_CACHE_DIR")
    os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)
    try:
        return tiktoken.get_encoding("cl100k_base")
    finally:
        if before is None:
            del os.environ["TIKTOKEN_CACHE_DIR"]
        else:
            os.environ["TIKTOKEN_CACHE_DIR"] = before
