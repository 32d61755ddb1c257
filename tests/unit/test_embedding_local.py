"""The local model: the same vectors as WordLlama's own, and text in capitals."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lib.embedding.local import lower_if_capitals
from lib.embedding.models import resolve_model
from lib.embedding.service import EmbeddingService, Role
from lib.errors import InvalidInput
from lib.settings import PROJECT_ROOT, Settings

SETTINGS = Settings(_env_file=None)


def _service() -> EmbeddingService:
    return EmbeddingService(resolve_model("local/wordllama-256", SETTINGS), SETTINGS)


async def test_vectors_are_wordllamas_own():
    import wordllama

    texts = [
        "a tree",
        "How do I rebuild an index that is too slow?",
        "naïve 中文 👩‍👩‍👧",
        "x" * 3000,
    ]
    folder = Path(wordllama.__file__).parent
    theirs = wordllama.WordLlama.load(cache_dir=folder, disable_download=True).embed(texts)
    batch = await _service().get_embeddings_batch(texts)
    assert batch.vectors.dtype == np.float32
    np.testing.assert_allclose(batch.vectors, theirs, rtol=1e-6)


async def test_more_texts_than_one_request_takes_keep_their_order():
    texts = [f"number {number}" for number in range(300)]
    service = _service()
    batch = await service.get_embeddings_batch(texts)
    assert batch.problems == {}
    for place in (0, 127, 128, 299):
        one = await service.get_embedding(texts[place], Role.DOCUMENT)
        np.testing.assert_array_equal(batch.vectors[place], one)


async def test_a_text_in_capitals_means_the_same():
    service = _service()
    lower = await service.get_embedding("how to open a file")
    upper = await service.get_embedding("HOW TO OPEN A FILE")
    np.testing.assert_array_equal(lower, upper)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("OPEN A FILE", "open a file"),
        ("DICTIONARY", "dictionary"),
        ("HTTP", "HTTP"),  # an acronym has a token of its own
        ("12345 IMAP 67890", "12345 IMAP 67890"),  # digits are no letters
        ("The SQL and HTTP docs", "The SQL and HTTP docs"),
        ("ABCDEF ghij", "ABCDEF ghij"),  # just 60 %: not mostly
        ("ABCDEFG ghij", "abcdefg ghij"),
        ("中文中文中文中文中文", "中文中文中文中文中文"),
        ("", ""),
    ],
)
def test_what_counts_as_capitals(text, expected):
    assert lower_if_capitals(text) == expected


async def test_awkward_texts_neither_crash_nor_cost_the_others():
    texts = ["one", "", " \t\n\0", "nul \0 inside", "lone \ud800 half", "😀", "one"]
    batch = await _service().get_embeddings_batch(texts)
    assert sorted(batch.problems) == [1, 2]
    assert all(isinstance(problem, InvalidInput) for problem in batch.problems.values())
    assert np.isnan(batch.vectors[[1, 2]]).all()
    assert np.isfinite(batch.vectors[[0, 3, 4, 5, 6]]).all()
    outcomes = batch.outcomes
    assert outcomes[1] is batch.problems[1]
    np.testing.assert_array_equal(outcomes[0], outcomes[6])


async def test_a_too_long_text_is_cut_and_said_so():
    service = _service()
    long = "index " * 20_000
    batch = await service.get_embeddings_batch(["short", long])
    assert batch.truncated == (1,)
    assert batch.problems == {}
    assert service.is_cut(long)
    assert not service.is_cut("short")


async def test_it_costs_nothing_and_counts_its_tokens():
    service = _service()
    batch = await service.get_embeddings_batch(["the", "the the"])
    assert (batch.usage.tokens, batch.usage.requests, batch.usage.cost_usd) == (3, 1, 0.0)
    assert service.usage == batch.usage


async def test_an_empty_batch():
    batch = await _service().get_embeddings_batch([])
    assert batch.vectors.shape == (0, 256)


def test_loading_leaves_the_logging_alone():
    """wordllama configures the root logger at import. In a process of its own, where none is set
    up yet: pytest's own handlers would hide it."""
    code = (
        "import logging; from lib.embedding.local import LocalCounter; "
        "assert LocalCounter().count('word') == 1; "
        "assert (logging.getLogger().handlers, logging.getLogger().level) == ([], logging.WARNING)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PROJECT_ROOT)
