"""Splitting by the token budget: bounded, overlapping, and nothing is lost."""

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.embedding.local import LocalCounter
from lib.embedding.tokens import Cl100kCounter, quick_counter
from lib.errors import InvalidInput
from lib.ingest.parts import TextPart, split_section, split_stream
from lib.ingest.read_options import ReadOptions
from lib.settings import LOCAL_MODEL, PROJECT_ROOT

OPENAI = "openai/text-embedding-3-small"
COUNTERS = {LOCAL_MODEL: LocalCounter(), OPENAI: Cl100kCounter(exact=True)}


def parts_of(text: str, **options) -> list[TextPart]:
    return list(split_section(text, ReadOptions(**options)))


def numbered(count: int, *, per_line: int = 7, lines_a_paragraph: int = 4) -> str:
    """Words that are all different, so that each place in the text can be found again."""
    words = [f"w{number}." if number % 9 == 0 else f"w{number}" for number in range(count)]
    lines = [" ".join(words[at : at + per_line]) for at in range(0, count, per_line)]
    return "".join(
        line + ("\n\n" if number % lines_a_paragraph == 0 else "\n")
        for number, line in enumerate(lines, start=1)
    )


@settings(deadline=None, max_examples=60)
@given(
    text=st.text("ab .\n\t!?。é", max_size=1500),
    part_tokens=st.integers(50, 120),
    overlap_tokens=st.integers(0, 24),
    tokenizer=st.sampled_from(list(COUNTERS)),
)
def test_each_character_is_in_a_part(text, part_tokens, overlap_tokens, tokenizer):
    parts = parts_of(
        text, part_tokens=part_tokens, overlap_tokens=overlap_tokens, tokenizer=tokenizer
    )
    assert bool(parts) == bool(text.strip())
    end = 0  # everything before it was in a part
    for part in parts:
        start = (
            next(
                at
                for at in range(end, -1, -1)
                if text.startswith(part.text, at) and at + len(part.text) > end
            )
            if end
            else text.index(part.text)
        )
        assert not text[end:start].strip()
        end = max(end, start + len(part.text))
        assert part.line == text.count("\n", 0, start) + 1
    assert not text[end:].strip()


@pytest.mark.parametrize("tokenizer", COUNTERS)
@pytest.mark.parametrize(("part_tokens", "overlap_tokens"), [(50, 0), (60, 20), (400, 40)])
def test_parts_are_full_bounded_and_overlap(tokenizer, part_tokens, overlap_tokens):
    count = COUNTERS[tokenizer].count
    text = numbered(6000)
    parts = parts_of(
        text, part_tokens=part_tokens, overlap_tokens=overlap_tokens, tokenizer=tokenizer
    )
    sizes = [count(part.text) for part in parts]
    assert max(sizes) <= part_tokens
    assert min(sizes[:-1]) >= part_tokens * 0.45
    numbers = [[int(n) for n in re.findall(r"w(\d+)", part.text)] for part in parts]
    assert sorted({n for part in numbers for n in part}) == list(range(6000))
    for before, part in pairwise(numbers):
        repeated = [n for n in part if n <= before[-1]]
        assert repeated == before[len(before) - len(repeated) :]
        assert bool(repeated) == bool(overlap_tokens)
        if repeated:
            assert count(" ".join(f"w{n}" for n in repeated)) <= overlap_tokens


def test_a_part_ends_with_a_paragraph_where_it_can():
    paragraph = "One two three four five six seven eight nine ten. " * 2
    parts = parts_of("\n\n".join([paragraph] * 10), part_tokens=60, overlap_tokens=0)
    assert {part.text for part in parts} == {f"{paragraph}\n\n{paragraph}".strip()}
    assert [part.line for part in parts] == [1, 5, 9, 13, 17]


def test_the_overlap_is_a_whole_sentence_where_that_fits():
    text = " ".join(f"Sentence number {n} has some words in it." for n in range(40))
    first, second, *_ = parts_of(text, part_tokens=100, overlap_tokens=20)
    assert first.text.endswith("it.")
    assert second.text.startswith("Sentence number")
    assert second.text.split(".")[0] in first.text


def test_the_overlap_of_a_sentence_without_end_is_some_of_its_words():
    words = " ".join(f"w{n}" for n in range(400))
    first, second, *_ = parts_of(words, part_tokens=100, overlap_tokens=20)
    assert second.text.split()[0] in first.text.split()
    assert first.text.split()[-1] in second.text.split()


@pytest.mark.parametrize("character", ["a", "猫", "\u0301", " ", "\n", "."])
def test_a_text_without_any_border_is_bounded_too(character):
    text = character * 100_000
    parts = parts_of(text, overlap_tokens=0)
    assert "".join(part.text for part in parts).strip() == text.strip()
    count = COUNTERS[LOCAL_MODEL].count
    assert all(count(part.text) <= 400 for part in parts[:20])


def test_a_line_that_comes_in_pieces_is_one_line():
    pieces = ["first ", "line\n", "\n", "third ", "line " * 200, "\n", "fourth " * 49 + "\n"]
    options = ReadOptions(part_tokens=50, overlap_tokens=0)
    parts = list(split_stream(pieces, options, first_line=11))
    assert [part.line for part in parts] == [11, 13, 13, 13, 13, 14]


def test_the_quick_count_is_hardly_ever_below_the_tokenizer_s():
    quick = quick_counter(LOCAL_MODEL)
    for path in sorted(PROJECT_ROOT.glob("lib/ingest/*.py")):
        text = path.read_text()
        exact = COUNTERS[LOCAL_MODEL].count(text)
        assert exact <= quick(text) <= exact * 1.2
    assert quick("word" + " word" * 499) == 500


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"part_tokens": 49}, "part_tokens"),
        ({"part_tokens": 8193}, "part_tokens"),
        ({"part_tokens": 513, "tokenizer": "cohere/embed-english-v3.0"}, "part_tokens"),
        ({"part_tokens": 100, "overlap_tokens": 50}, "overlap_tokens"),
        ({"overlap_tokens": -1}, "overlap_tokens"),
    ],
)
def test_a_budget_that_cannot_be_is_refused(options, field):
    with pytest.raises(InvalidInput) as caught:
        ReadOptions(**options)
    assert caught.value.field == field
