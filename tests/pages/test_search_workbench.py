"""Search as a workbench: examples, saved and recent searches, the plan, code to take along."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs

import pytest
from sqlalchemy import event
from streamlit.testing.v1 import AppTest

from lib.search.example import Example, find_ids
from lib.search.export import request_from_json
from lib.search.request import Mode, SearchRequest
from lib.search.saved import list_saved, save_search
from lib.store.browse import DocumentFilter, delete_documents
from lib.store.collections import Collection
from lib.store.database import Database
from lib.ui.shared.markdown import escape
from lib.vectors.index_methods import HNSW, IVFFLAT, IterativeScan
from lib.vectors.statements import TextQuery
from lib.vectors.tuning import Scan, SearchSettings
from tests.pages.conftest import Library, go, words
from tests.pages.test_search import build, titles

Visit = Callable[..., AppTest]


def links(app: AppTest, label: str) -> list[dict[str, str]]:
    """Where the links of that label lead."""
    return [
        {name: values[-1] for name, values in parse_qs(link.proto.query_string).items()}
        for link in app.get("page_link")
        if label in link.proto.label
    ]


def press(app: AppTest, label: str) -> None:
    [button] = [button for button in app.button if button.label == label]
    button.click().run()


# --- by example ---------------------------------------------------------------------------------


def found_like(library: Library, films: Collection, example: Example) -> list[str]:
    request = SearchRequest("", Mode.SIMILARITY)
    search = library.services.search.search_like(films, example, request)
    return [escape(hit.document.title or "") for hit in library.services.database.run(search)]


def test_more_like_an_answer_then_less_like_another(visit: Visit, library: Library) -> None:
    films = library.films()
    app = visit("search", q="criminal heist", mode="text")
    assert titles(app) == ["London Heist"]
    assert not links(app, "Less like this")  # there is nothing to be like yet

    [more] = links(app, "More like this")
    assert "q" not in more
    like = uuid.UUID(more["like"])
    go(app, "search", **more)
    assert "Asked by example" in words(app)
    first = titles(app)
    assert first == found_like(library, films, Example((like,)))
    assert "London Heist" not in first

    less = links(app, "Less like this")[0]
    go(app, "search", **less)
    unlike = uuid.UUID(less["unlike"])
    assert titles(app) == found_like(library, films, Example((like,), (unlike,)))
    assert first[0] not in titles(app)

    [left_out] = links(app, first[0])  # what it is to be unlike, without that
    go(app, "search", **left_out)
    assert titles(app) == first

    app.text_input(key="q").set_value("garden").run()  # a question ends it
    assert "Asked by example" not in words(app)
    assert titles(app)[0] == "Quiet Gardens"
    assert "like" not in app.query_params


def test_more_like_a_text_or_a_vector(visit: Visit, library: Library) -> None:
    films = library.films()
    app = visit("search", q="heist")
    text = "Old stones and moss below the roses. " * 500
    app.text_area(key="example_text").set_value(text)
    press(app, "Find more like it")
    assert links(app, "a text of 18,499 characters")
    assert titles(app) == found_like(library, films, Example(text=text))
    assert app.text_input(key="q").value == ""

    vector = [0.0] * 255 + [1.0]
    app.text_area(key="example_text").set_value("")
    app.text_area(key="example_vector").set_value(json.dumps(vector))
    press(app, "Find more like it")
    assert titles(app) == found_like(library, films, Example(vector=tuple(vector)))

    app.text_area(key="example_vector").set_value("[1, 2]")
    press(app, "Find more like it")
    assert "256" in app.error[0].value
    assert links(app, "Back to asking a question")


def test_an_example_that_is_not_there_is_said(visit: Visit, library: Library) -> None:
    library.films()
    app = visit("search", like=f"nonsense,{uuid.uuid4()}")
    assert "no document's id: nonsense" in app.warning[0].value.replace("\\", "")
    assert r"any more" in app.error[0].value
    app = visit("search", pasted="0123456789ab")
    assert "Paste it again" in app.warning[0].value


# --- saved and recent ---------------------------------------------------------------------------

SAVED = SearchRequest(
    "criminal heist",
    Mode.HYBRID,
    limit=3,
    vector_weight=0.3,
    text_query=TextQuery.ANY,
    category="Movie",
    max_distance=1.2,
)


def test_a_saved_search_opens_from_its_link(visit: Visit, library: Library) -> None:
    films, ask = library.films(), library.services.database.query
    library.create("Another")  # which is the first in the list
    saved = ask(save_search, films, "Heists *of* films", SAVED)
    app = visit("search", c="films", saved=saved.slug)
    assert app.text_input(key="q").value == SAVED.query
    assert app.slider(key="k").value == 3
    assert app.slider(key="w").value == 0.3
    assert app.slider(key="d").value == 1.2
    assert app.selectbox(key="category").value == "Movie"
    assert titles(app) == ["London Heist"]
    assert "saved" not in app.query_params  # a setting that is changed is not undone


def test_a_saved_search_that_is_gone_is_said_and_the_page_goes_on(
    visit: Visit, library: Library
) -> None:
    library.films()
    app = visit("search", saved="gone", q="heist")
    assert "no saved search" in app.error[0].value
    assert titles(app)


def test_saving_replacing_and_removing(visit: Visit, library: Library) -> None:
    films, ask = library.films(), library.services.database.query
    save(with_menu(visit("search", q="heist", k="2")), "Heists")
    assert [(each.name, each.request.limit) for each in ask(list_saved, films)] == [("Heists", 2)]

    app = with_menu(visit("search", q="heist", k="5"))
    assert links(app, "Heists")[0] == {"c": "films", "saved": "heists"}
    save(app, "heists")
    assert "already" in app.error[0].value
    app = with_menu(visit("search", q="heist", k="5"))
    app.checkbox[0].check()
    save(app, "heists")
    assert [each.request.limit for each in ask(list_saved, films)] == [5]

    app = with_menu(visit("search"))
    app.session_state["saved_menu"] = True
    app.button(key="remove_saved:heists").click().run()
    assert ask(list_saved, films) == []


def test_an_example_is_saved_and_opens_in_another_browser(visit: Visit, library: Library) -> None:
    films, ask = library.films(), library.services.database.query
    like, unlike = ask(find_ids, films, ["1"])[0], ask(find_ids, films, ["2"])[0]
    app = visit("search", k="2")
    app.text_area(key="example_text").set_value("Whales below the moss")
    press(app, "Find more like it")
    pasted = str(app.query_params["pasted"])
    go(app, "search", k="2", pasted=pasted, like=str(like), unlike=str(unlike))
    found = titles(app)
    save(with_menu(app), "Not gardens")

    app = visit("search", saved="not_gardens")  # another session
    assert "Asked by example" in words(app)
    assert titles(app) == found
    assert app.slider(key="k").value == 2
    other = visit("search", pasted=pasted, like=str(like))  # the session that pasted it is gone
    assert titles(other) == found_like(
        library, films, Example((like,), text="Whales below the moss")
    )
    menu = with_menu(visit("search", q="moss"))
    [listed] = [link for link in menu.get("page_link") if "Not gardens" in link.proto.label]
    assert listed.proto.help == "Like a text of 21 characters and 1 document, unlike 1 document"

    ask(delete_documents, films, DocumentFilter(external_ids=("1",)))
    app = visit("search", saved="not_gardens")
    [error] = app.error
    assert "1 of the example's 2 documents are not in “Films” (any more)" in error.value.replace(
        "\\", ""
    )
    [left_out] = links(app, "not here")
    go(app, "search", **left_out)
    assert not app.error
    assert titles(app)


def test_an_example_that_is_none_is_not_saved(visit: Visit, library: Library) -> None:
    films, ask = library.films(), library.services.database.query
    app = visit("search")
    app.text_area(key="example_vector").set_value("[1, 2]")
    press(app, "Find more like it")
    save(with_menu(app), "Short")
    assert any("256" in error.value for error in app.error)
    assert ask(list_saved, films) == []


def with_menu(app: AppTest) -> AppTest:
    """With the menu open. AppTest does not send along what is open: the next run closes it."""
    app.session_state["saved_menu"] = True
    return app.run()


def save(app: AppTest, name: str) -> None:
    app.session_state["saved_menu"] = True
    [field] = [field for field in app.text_input if field.label == "Save this search as"]
    field.set_value(name)
    press(app, "Save")


def test_recent_searches_are_one_click_away(visit: Visit, library: Library) -> None:
    library.films()
    app = visit("search", q="criminal heist", mode="text", text_text="any")
    first = titles(app)
    app.text_input(key="q").set_value("garden").run()
    app.segmented_control(key="mode").set_value(Mode.SIMILARITY).run()
    assert titles(app) != first
    [back] = links(app, "criminal heist")
    assert back == {"c": "films", "q": "criminal heist", "mode": "text", "text_text": "any"}
    [label] = [
        link.proto.label for link in app.get("page_link") if "criminal heist" in link.proto.label
    ]
    assert label.replace("\\", "").endswith("by text · words any")
    go(app, "search", **back)
    assert titles(app) == first


# --- the answers --------------------------------------------------------------------------------


def test_a_table_shows_what_each_side_adds(visit: Visit, library: Library) -> None:
    library.films()
    app = visit("search", q="criminal heist", w="0.25", show="table")
    table = app.dataframe[0].value
    assert table["title"].iloc[0] == "London Heist"
    assert (table["vector_part"] + table["text_part"]).tolist() == pytest.approx(
        table["fused"].tolist()
    )
    assert table["text_part"].iloc[0] == pytest.approx(0.75)  # the best of its side, by its weight
    assert table["fused"].is_monotonic_decreasing
    cards = go(app, "search", q="criminal heist", w="0.25")
    assert titles(cards) == [escape(title) for title in table["title"]]
    assert len(cards.image) == len(table) + 2  # a bar each, and the two of the legend
    assert {button.proto.label for button in cards.get("download_button")} == {
        "CSV, for spreadsheets",
        "JSON lines, for programs",
    }


def test_all_words_that_find_little_offer_any_of_them(visit: Visit, library: Library) -> None:
    library.films()
    app = visit("search", q="criminal heist garden", text_hybrid="plain")
    assert "No document has all of these words" in words(app)
    assert "**3** have at least one" in words(app)
    assert "Fewer than asked" not in words(app)  # it is what was asked for
    [any_word] = links(app, "Match any word")
    assert any_word["text_hybrid"] == "any"
    go(app, "search", **any_word)
    assert "3 match the keywords" in words(app)
    assert not links(app, "Match any word")


def test_an_index_that_fell_short_says_what_helps(visit: Visit, library: Library) -> None:
    films = library.many_films()
    build(library, films, IVFFLAT.spec(lists=10))
    asked = {"q": "heist", "mode": "similarity", "scan": "index", "probes": "1", "k": "40"}
    app = visit("search", **asked, category="TV Show", iterative="off")
    assert "Fewer than asked" in words(app)
    assert "iterative scan was off" in words(app)
    labels = ("strict order", "relaxed order", "Lists searched", "Exact")
    for label in labels:
        [address] = links(app, label)
        helped = visit("search", **address)
        if label != "Lists searched":
            assert "Fewer than asked" not in words(helped)
            assert len(titles(helped)) == 30
        else:
            assert helped.slider(key="probes").value == 4


# --- the plan -----------------------------------------------------------------------------------


def test_the_plan_names_the_reason_and_the_fix(visit: Visit, library: Library) -> None:
    films = library.many_films()
    app = visit("search", q="heist", mode="similarity", view="plan")
    assert "There is a vector index**: it does not hold" in words(app)
    assert "Build one" in words(app)
    figures = {metric.label: metric.value for metric in app.metric}
    assert figures["Rows visited"] == "120"
    assert figures["Removed by filter"] == "0"

    build(library, films, HNSW.spec())
    app = visit("search", q="heist", mode="similarity", view="plan")
    assert "The table is large enough for an index**: it does not hold" in words(app)
    go(app, "search", q="heist", mode="similarity", view="plan", scan="exact")
    assert "No exact scan was asked for**: it does not hold" in words(app)
    go(app, "search", q="heist", mode="similarity", view="plan", scan="index")
    assert "it does not hold" not in words(app)
    assert r"\(HNSW\) answered" in words(app)
    assert json.loads(app.json[0].value)["Plan"]


# --- to take along ------------------------------------------------------------------------------


def test_a_search_is_taken_along_in_four_languages(visit: Visit, library: Library) -> None:
    films = library.many_films()
    build(library, films, HNSW.spec())
    address = {"q": "it's a heist", "view": "sql", "k": "7", "w": "0.2", "scan": "index"}
    address |= {"ef": "99", "iterative": "off", "category": "Movie", "d": "1.1", "near": "true"}
    app = visit("search", **address)
    code = {element.language: element.value for element in app.code if "…" not in element.value}
    assert set(code) == {"sql", "python", "json", "bash"}
    assert "it''s a heist" in code["sql"]
    assert "SET LOCAL hnsw.ef_search = '99'" in code["sql"]
    compile(code["python"], "search.py", "exec")
    assert request_from_json(json.loads(code["json"])) == SearchRequest(
        "it's a heist",
        Mode.HYBRID,
        limit=7,
        max_distance=1.1,
        category="Movie",
        vector_weight=0.2,
        text_query=TextQuery.ANY,
        settings=SearchSettings(ef_search=99, iterative_scan=IterativeScan.OFF, scan=Scan.INDEX),
    )
    assert "--vector-weight 0.2" in code["bash"]
    abbreviated = [element.value for element in app.code if "… 256 numbers" in element.value]
    assert len(abbreviated) == 2


# --- what it costs ------------------------------------------------------------------------------


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """What is sent to the server meanwhile that has to do with documents."""
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        sent.append(statement)

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    yield sent
    event.remove(database.engine.sync_engine, "before_cursor_execute", note)


@pytest.mark.parametrize("spec", [None, HNSW.spec()])
def test_a_search_is_one_statement(spec: HNSW | None, visit: Visit, library: Library) -> None:
    """The plan of a shape is asked once, and only where an index could answer; besides, the page
    looks at its collections."""
    films = library.many_films()
    if spec is not None:
        build(library, films, spec)
    app = visit("search")
    for mode in Mode:
        go(app, "search", q="first", mode=mode.value)
        with statements(library.services.database) as sent:
            app.text_input(key="q").set_value("criminal heist").run()
        assert titles(app)
        looked = [each for each in sent if "set_config" not in each and not is_of_the_frame(each)]
        assert len(looked) == 1, looked


def test_a_slider_asks_the_server_nothing(visit: Visit, library: Library) -> None:
    library.many_films()
    app = visit("search", q="criminal heist")
    with statements(library.services.database) as sent:
        app.slider(key="w").set_value(0.9).run()
        app.slider(key="k").set_value(3).run()
    assert len(titles(app)) == 3
    assert [each for each in sent if not is_of_the_frame(each)] == []


# The list of collections and jobs, and what the page says of the collection that is looked at,
# which it asks anew after a few seconds.
FRAME = ("collections", "jobs", "candidates", "lexical_indexes")


def is_of_the_frame(statement: str) -> bool:
    """No search, and no plan of one."""
    if any(sign in statement for sign in ("<=>", "@@", "EXPLAIN")):
        return False
    names = [f"vecscope.{name}" for name in FRAME]
    return any(name in statement for name in (*names, "pg_", "count("))
