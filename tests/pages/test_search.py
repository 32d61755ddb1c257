"""Search: what are the answers, and why these?"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qsl

import psycopg
import pytest
from sqlalchemy import URL
from streamlit.testing.v1 import AppTest

from lib.store.collections import Collection
from lib.store.production import start_index_build
from lib.store.url import connect_arguments
from lib.ui.shared.markdown import escape
from lib.vectors.index_methods import HNSW, IVFFLAT, IndexSpec
from tests.pages.conftest import FILMS, Library, go, words

Visit = Callable[..., AppTest]


def titles(app: AppTest) -> list[str]:
    """Of the result cards, from the first to the last."""
    shown = [element.value for element in app.markdown if element.value.startswith("**")]
    cards = [value.strip("*").partition(r". ") for value in shown]
    return [title for rank, point, title in cards if point and rank.isdigit()]


def link(app: AppTest, label: str) -> dict[str, str]:
    """Where a link to this page leads."""
    [found] = [link for link in app.get("page_link") if link.proto.label == label]
    return dict(parse_qsl(found.proto.query_string))


def badge(app: AppTest, label: str) -> str:
    """The help of a badge."""
    [found] = [element for element in app.markdown if label in element.value and element.help]
    return str(found.help)


def build(library: Library, collection: Collection, spec: IndexSpec) -> None:
    services = library.services
    services.database.run(start_index_build(services.jobs, services.database, collection, spec))
    library.wait()


def test_without_a_question_there_are_three_to_try(visit: Visit, library: Library) -> None:
    library.films()
    app = visit("search")
    assert "Try one of these" in words(app)
    examples = [link.proto.label for link in app.get("page_link")]
    assert set(examples) == {title for title, *_ in FILMS} - {"Deep Water"}  # that is too short


@pytest.mark.parametrize(
    ("mode", "first", "figures"),
    [
        ("similarity", "London Heist", "similarity"),
        ("text", "London Heist", "keyword match"),
        ("hybrid", "London Heist", "rank 1 by keywords"),
    ],
)
def test_each_mode_answers_and_says_why(
    mode: str, first: str, figures: str, visit: Visit, library: Library
) -> None:
    library.films()
    app = visit("search", q="the murder of a criminal father", mode=mode, text_text="any")
    assert titles(app)[0] == first
    assert figures in words(app)
    assert ("to embed the question" in words(app)) == (mode != "text")
    assert "in the database" in words(app)
    sliders = {slider.key for slider in app.slider}
    assert ("w" in sliders) == (mode == "hybrid")
    assert not {"probes", "ef"} & sliders  # there is no index


def test_a_threshold_and_a_category_narrow_the_answer(visit: Visit, library: Library) -> None:
    library.films()
    app = visit("search", q="heist", mode="similarity", category="Documentary")
    assert set(titles(app)) == {"Quiet Gardens", "Deep Water"}
    app = visit("search", q="heist", mode="similarity", near="true", d="0.05")
    assert titles(app) == []
    assert r"nearer than 0.05" in app.info[0].value


def test_nothing_found_names_the_next_step(visit: Visit, library: Library) -> None:
    library.films()
    app = visit("search", q="heist zeppelin", mode="text")
    assert "No document has all of these words" in words(app)
    assert "**2** have at least one" in words(app)
    go(app, "search", **link(app, "Match any word"))
    assert set(titles(app)) == {"London Heist", "The Great Heist"}
    assert app.query_params["text_text"] == "any"


@pytest.mark.parametrize("mode", ["similarity", "text", "hybrid"])
def test_the_sql_to_copy_gives_the_same_answer_elsewhere(
    mode: str, visit: Visit, library: Library, migrated_url: URL
) -> None:
    library.films('It\'s a "film"')
    asked = {"q": "it's a heist", "mode": mode, "text_text": "any", "k": "3"}
    shown = titles(visit("search", **asked))
    code = next(c for c in visit("search", **asked, view="sql").code if "…" not in c.value)
    assert max(len(line) for line in code.value.splitlines() if "'[" not in line) <= 88
    with psycopg.connect(**connect_arguments(migrated_url), autocommit=True) as connection:
        cursor = connection.execute(code.value)
        while cursor.description is None:
            cursor.nextset()
        names = [column.name for column in cursor.description]
        found = [row[names.index("title")] for row in cursor.fetchall()]
    assert [escape(title) for title in found] == shown


@pytest.mark.parametrize(
    ("spec", "key", "other"),
    [(HNSW.spec(), "ef", "probes"), (IVFFLAT.spec(lists=10), "probes", "ef")],
)
def test_an_index_brings_its_own_setting(
    spec: IndexSpec, key: str, other: str, visit: Visit, library: Library
) -> None:
    build(library, library.many_films(), spec)
    app = visit("search", q="heist", mode="similarity")
    sliders = {slider.key for slider in app.slider}
    assert key in sliders
    assert other not in sliders
    # So few rows that PostgreSQL compares them all: that is said, and can be overruled.
    assert "although there is an index" in badge(app, "Exact")
    go(app, "search", q="heist", mode="similarity", scan="index")
    assert "Answered by the vector index" in badge(app, "Approximate")
    go(app, "search", q="heist", mode="similarity", scan="exact")
    assert "what **More** asks for" in badge(app, "Exact")
    assert key not in {slider.key for slider in app.slider}


def test_an_index_that_finds_too_few_is_said(visit: Visit, library: Library) -> None:
    build(library, library.many_films(), HNSW.spec())
    app = visit("search", q="heist", mode="similarity", scan="index", ef="2", k="10")
    assert "Fewer than asked" in words(app)
    assert r"Raise ef\_search" in words(app)


LONG = "?" * 3000
BAD_ADDRESSES = [
    {"k": "0", "w": "2", "d": "9", "mode": "both", "category": LONG, "pool": LONG, "c": LONG},
    {"k": "ten", "w": "nan", "d": "inf", "mode": "", "fusion": LONG, "scan": LONG},
    {"k": "1.5", "w": "x", "d": "x", "mode": "SIMILARITY", "near": "maybe", "text_hybrid": LONG},
]
ODD_QUESTIONS = [
    "x" * 20_000,
    "\x00",
    "'; DROP TABLE vecscope.collections; --",
    "& | !",
    "%s %(a)s",
]


@pytest.mark.parametrize("bad", BAD_ADDRESSES)
def test_what_the_address_cannot_mean_is_dropped(
    bad: dict[str, str], visit: Visit, library: Library
) -> None:
    build(library, library.films(), HNSW.spec())
    app = visit("search", **{"q": FILMS[1][2], "near": "true", **bad})
    assert not app.error
    assert titles(app)
    left = {key for key in bad if app.query_params.get(key) == bad[key]}
    assert not left - {"d"}  # where the slider for the distance is not drawn


def test_odd_questions_are_answered_or_refused_in_a_sentence(
    visit: Visit, library: Library
) -> None:
    library.films()
    for question in ODD_QUESTIONS:
        app = visit("search", q=question)
        assert titles(app) or app.error, question
        assert "did not expect" not in words(app), question


def test_a_picked_collection_stays_picked_and_a_shared_link_wins(
    visit: Visit, library: Library
) -> None:
    library.films("Films")
    library.films("Other films")
    app = visit("upload")
    assert app.selectbox(key="c").value == "films"
    app.selectbox(key="c").select("other_films").run()
    go(app, "search")  # as the navigation's links do: with nothing in the address
    assert app.selectbox(key="c").value == "other_films"
    assert app.query_params["c"] == "other_films"
    go(app, "browse", c="films")
    assert app.selectbox(key="c").value == "films"
    go(app, "upload")
    assert app.selectbox(key="c").value == "films"


def test_a_link_to_a_collection_that_is_gone_says_so(visit: Visit, library: Library) -> None:
    library.films()
    app = visit("search", c="gone_*away*", q="heist")
    assert r"gone\_\*away\*, which is not here" in app.warning[0].value
    assert titles(app)


def test_texts_are_shown_as_they_are(visit: Visit, library: Library) -> None:
    hostile = "<b>bold</b> :smile: $x$ **stars** [link](http://example.org) :red[red]"
    collection = library.create("Hostile")
    library.store(collection, [(hostile, "a_b :tada:", f"{hostile} word")])
    library.embed(collection)
    app = visit("search", q="word", mode="text")
    assert titles(app) == [escape(hostile)]
    assert any(escape(hostile) in element.value for element in app.markdown[1:])
