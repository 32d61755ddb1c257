"""Which columns are guessed, and how a row becomes a document."""

import pytest

from lib.errors import InvalidInput
from lib.ingest.columns import (
    ColumnChoice,
    ColumnMapping,
    RowMapper,
    guess_columns,
    map_columns,
    number_columns,
    unique_names,
)

FILMS = [
    {
        "show_id": f"s{number}",
        "show_type": kind,
        "title": title,
        "cast": "Ana Torrent, Fernando Fernán Gómez, Teresa Gimpera, Isabel Tellería",
        "release_year": "1973",
        "categories": genres,
        "description": plot,
    }
    for number, (kind, title, genres, plot) in enumerate(
        [
            ("Movie", "The Beehive", "Dramas, Classics", "A girl meets a monster in a barn."),
            ("TV Show", "Harbour", "Crime", "A detective returns to the port she grew up in."),
            ("Movie", "Salt", "Documentaries", "Three families live from one salt pan."),
        ]
    )
]
QUESTIONS = [
    {
        "id": f"q{number}",
        "source": "Clinic",
        "url": "https://example.org/a/very/long/address/that/is/no/text/of/a/document/at/all",
        "focus": "Asthma",
        "qtype": qtype,
        "question": f"What are the {qtype} of asthma?",
        "answer": "Wheezing and coughing, mostly at night. " * 20,
    }
    for number, qtype in enumerate(["symptoms", "causes", "treatments"])
]


def test_guess_from_headers_of_a_film_catalogue():
    mapping = guess_columns(list(FILMS[0]), FILMS)
    assert mapping == ColumnMapping(("description",), "title", "show_type", "show_id")


def test_guess_from_headers_of_questions_and_answers():
    mapping = guess_columns(list(QUESTIONS[0]), QUESTIONS)
    assert mapping.text == ("answer",)
    assert mapping.title == "question"
    assert mapping.category in {"source", "qtype"}
    assert mapping.external_id == "id"


def test_without_telling_names_the_longest_words_are_the_text():
    rows = [{"a": "17", "b": "short", "c": "a much longer run of words", "d": "123456789" * 9}]
    assert guess_columns(list("abcd"), rows) == ColumnMapping(("c",))


def test_an_id_that_repeats_or_refers_elsewhere_is_no_id():
    rows = [{"id": "1", "text": "one"}, {"id": "1", "text": "two"}]
    assert guess_columns(["id", "text"], rows).external_id is None
    rows = [{"text": "one", "user_id": "1"}, {"text": "two", "user_id": "2"}]
    assert guess_columns(["text", "user_id"], rows).external_id is None


def test_a_category_that_hardly_repeats_is_none():
    rows = [{"text": "words here", "type": f"kind {number}"} for number in range(100)]
    assert guess_columns(["text", "type"], rows).category is None


def test_a_choice_goes_before_the_guess_and_empty_means_none():
    choice = ColumnChoice(text=("title", "cast"), title="", external_id="release_year")
    mapping = map_columns(list(FILMS[0]), FILMS, choice)
    assert mapping == ColumnMapping(("title", "cast"), None, "show_type", "release_year")


def test_a_chosen_text_leaves_the_title_to_be_guessed():
    rows = [{"title": "A title that is longer than the text", "text": "Short."}]
    mapping = map_columns(["title", "text"], rows, ColumnChoice(text=("text",)))
    assert mapping == ColumnMapping(("text",), "title")


def test_an_unknown_column_is_refused_with_the_names_there_are():
    with pytest.raises(InvalidInput) as caught:
        map_columns(["a", "b"], [], ColumnChoice(text=("c",)))
    assert '"c"' in caught.value.message
    assert '"a", "b"' in caught.value.hint


def test_names_of_columns_become_unique():
    header = ["a", "", "a", " b  c ", "a_2", "a"]
    assert unique_names(header) == ["a", "column_2", "a_2", "b c", "a_2_2", "a_3"]


def test_numbers_are_typed_only_where_they_can_be_given_back():
    rows = [
        {"year": "1999", "price": "12.50", "zip": "01234", "phone": "1234567890123456", "mix": "7"},
        {"year": "", "price": "-3", "zip": "99999", "phone": "7", "mix": "n/a"},
    ]
    assert number_columns(list(rows[0]), rows) == {"year": int, "price": float}


def test_a_row_becomes_a_document():
    mapping = ColumnMapping(("text", "more"), "title", "kind", "id")
    row = {
        "id": 7,
        "title": "A title",
        "kind": ["x", "y"],
        "text": "one",
        "more": ["two", "three"],
        "year": "1999",
        "odd": "about 3",
        "empty": " ",
        "nothing": None,
        "nested": {"a": [1, None]},
    }
    document = RowMapper(mapping, {"year": int, "odd": int}).document(row, "fallback")
    assert document.external_id == "7"
    assert document.title == "A title"
    assert document.category == "x, y"
    assert document.content == "one\n\ntwo\nthree"
    assert document.metadata == {"year": 1999, "odd": "about 3", "nested": {"a": [1, None]}}


def test_without_a_text_the_title_stands_in_and_without_both_the_row_is_refused():
    mapper = RowMapper(ColumnMapping(("text",), title="title", external_id="id"))
    document = mapper.document({"text": " ", "title": "Only this"}, "file#3")
    assert (document.external_id, document.content) == ("file#3", "Only this")
    with pytest.raises(InvalidInput, match='no text in "text"'):
        mapper.document({"text": "", "title": ""}, "file#4")
