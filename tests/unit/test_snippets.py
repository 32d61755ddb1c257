"""Snippets: the passage with the most of the question's words, and its words marked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import InvalidInput
from lib.search.snippets import Snippet, make_snippet


def marked(snippet: Snippet) -> list[str]:
    return [piece.text for piece in snippet.pieces if piece.marked]


FILLER = "Nothing of interest stands in this sentence. " * 20


def test_the_passage_with_the_most_of_the_words() -> None:
    text = f"{FILLER}One cat sleeps. {FILLER}A cat chases the mice. {FILLER}"
    snippet = make_snippet(text, "cats chasing a mouse or mice", characters=120)
    assert marked(snippet) == ["cat", "chases", "mice"]
    assert len(snippet.text) <= 120
    assert not snippet.begins
    assert not snippet.ends


def test_it_begins_at_a_sentence_where_one_is_near() -> None:
    text = f"{FILLER}Here the zebra stands. {FILLER}"
    snippet = make_snippet(text, "zebra", characters=100)
    assert "Here the zebra stands." in snippet.text
    assert snippet.text.startswith(("Here", "Nothing"))


@pytest.mark.parametrize(
    ("language", "text", "question", "expected"),
    [
        ("english", "She parsed it", "parsing", ["parsed"]),
        ("english", "Dates and DATE", "date", ["Dates", "DATE"]),
        ("german", "die Häuser am Haus", "Häusern", ["Häuser", "Haus"]),
        ("simple", "parse parsed", "parsed", ["parsed"]),  # no stems
        ("russian", "книги и книга", "книгу", ["книги", "книга"]),
        ("english", "the cat", "what is the cat", ["cat"]),  # stop words mark nothing
        ("english", "to be or not", "to be", ["to", "be"]),  # unless there is nothing else
        ("english", "no such word", "zebra", []),
        ("english", "a zebra-crossing, zebras!", "zebra", ["zebra", "zebras"]),
    ],
)
def test_words_are_marked_by_their_stems(
    language: str, text: str, question: str, expected: list[str]
) -> None:
    assert marked(make_snippet(text, question, language=language)) == expected


def test_without_a_match_it_is_the_beginning() -> None:
    snippet = make_snippet(FILLER, "zebra", characters=50)
    assert snippet.begins
    assert FILLER.startswith(snippet.text)
    assert 20 < len(snippet.text) <= 50


def test_a_short_text_is_shown_whole() -> None:
    snippet = make_snippet("A short text.", "short")
    assert (snippet.text, snippet.begins, snippet.ends) == ("A short text.", True, True)


def test_an_empty_text_and_no_room() -> None:
    assert make_snippet("", "x").text == ""
    with pytest.raises(InvalidInput):
        make_snippet("text", "x", characters=0)


words = st.sampled_from(["cat", "cats", "mouse", "zebra", "the", "x" * 30, "Ünï", "猫", "-", "."])
texts = st.lists(st.tuples(words, st.sampled_from([" ", "\n", ". ", ""])), max_size=120).map(
    lambda parts: "".join(word + gap for word, gap in parts)
)


@given(text=texts, question=texts, characters=st.integers(1, 200))
def test_a_snippet_is_a_passage_of_the_text(text: str, question: str, characters: int) -> None:
    snippet = make_snippet(text, question, characters=characters)
    assert snippet.text in text
    assert len(snippet.text) <= characters
    assert all(piece.text for piece in snippet.pieces)
    if snippet.begins:
        assert text.startswith(snippet.text)
    if snippet.ends:
        assert text.endswith(snippet.text)
    assert text == "" or snippet.text != ""


@given(text=texts, characters=st.integers(60, 200))
def test_a_word_that_is_there_is_shown(text: str, characters: int) -> None:
    padded = f"{text} needle {text}"
    assert "needle" in marked(make_snippet(padded, "needle", characters=characters))
