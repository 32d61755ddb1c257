"""Counting tokens and cutting at a token border, offline."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.embedding.local import LocalCounter
from lib.embedding.models import resolve_model
from lib.embedding.tokens import Cl100kCounter, counter_for
from lib.settings import PROJECT_ROOT, Settings

CL100K = Cl100kCounter(exact=True)
LOCAL = LocalCounter()
# Words, runs of blanks, rare characters and emoji of several code points: what tokenizers trip on.
TEXTS = st.lists(
    st.sampled_from(
        [
            "the",
            "index",
            " ",
            "  ",
            "\n",
            "\t",
            "é",
            "中文",
            "👩‍👩‍👧",
            "𒀀",
            "x" * 40,
            "<|endoftext|>",
        ]
    )
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    max_size=30,
).map("".join)


def test_known_counts():
    # "tiktoken is great!" is the example of OpenAI's cookbook, "How to count tokens with tiktoken".
    assert CL100K.count("tiktoken is great!") == 6
    assert CL100K.count("") == 0
    assert LOCAL.count("the") == 1


def test_special_tokens_are_plain_text():
    assert CL100K.count("<|endoftext|>") > 1


@pytest.mark.parametrize("counter", [CL100K, LOCAL], ids=["cl100k", "local"])
@settings(max_examples=150, deadline=None)
@given(text=TEXTS, max_tokens=st.integers(1, 40))
def test_a_cut_text_fits_and_is_as_long_as_it_may_be(counter, text, max_tokens):
    cut, was_cut = counter.cut(text, max_tokens)
    assert text.startswith(cut)
    assert counter.count(cut) <= max_tokens
    assert was_cut == (counter.count(text) > max_tokens)
    if not was_cut:
        assert cut == text
    else:
        # At most one character of several tokens (four bytes) was left out to end at a character.
        assert (
            counter.count(cut) > max_tokens - 5 or counter.count(text[: len(cut) + 1]) > max_tokens
        )


@pytest.mark.parametrize("counter", [CL100K, LOCAL], ids=["cl100k", "local"])
@pytest.mark.parametrize("run", ["a", " ", "中", "\n", "a1"])
def test_a_megabyte_without_a_border_is_cut(counter, run):
    text = run * (1_000_000 // len(run))
    cut, was_cut = counter.cut(text, 4000)
    assert was_cut
    assert text.startswith(cut)
    assert 3990 <= counter.count(cut) <= 4000


def test_the_tokenizer_of_the_model_is_taken_where_it_is_at_hand():
    bare = Settings(_env_file=None)
    assert counter_for(resolve_model("openai/text-embedding-3-small", bare)).exact
    assert counter_for(resolve_model("local/wordllama-256", bare)).exact
    assert not counter_for(resolve_model("cohere/embed-english-v3.0", bare)).exact


def test_counting_does_not_import_litellm():
    """Only its file is read. In a process of its own, since other tests import it."""
    code = (
        "import sys; from lib.embedding.tokens import Cl100kCounter; "
        "import lib.embedding.service; Cl100kCounter(exact=True).count('word'); "
        "assert 'tiktoken' in sys.modules; "
        "assert not {'litellm', 'wordllama', 'openai'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PROJECT_ROOT)
