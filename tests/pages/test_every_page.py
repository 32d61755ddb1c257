"""What holds for all pages: empty, loaded, half-filled, the database away, and the unexpected."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from lib.ui.shared.page import COLLECTIONS, SCREENS
from tests.pages.conftest import APP, PAGES, Library, go, words

Visit = Callable[..., AppTest]


@pytest.mark.parametrize("page", PAGES)
def test_an_empty_database_has_one_next_step(page: str, visit: Visit) -> None:
    app = visit(page)
    assert not app.error
    if page == "collections":
        assert "Load the sample collection" in [button.label for button in app.button]
    else:
        assert "no collection yet" in app.info[0].value
        assert [link.page for link in app.get("page_link")] == [""]  # the home page


@pytest.mark.parametrize("page", PAGES)
def test_an_empty_collection_asks_for_documents(page: str, visit: Visit, library: Library) -> None:
    library.create("Films")
    app = visit(page)
    assert not app.error
    if page == "upload":
        assert "0 documents so far" in words(app)
        assert len(app.file_uploader) == 1
    else:
        assert re.search("upload", words(app), re.IGNORECASE)


@pytest.mark.parametrize("page", PAGES)
def test_a_loaded_collection_shows_itself(page: str, visit: Visit, library: Library) -> None:
    library.films()
    app = visit(page)
    assert not app.error
    assert not app.warning
    shown = words(app)
    if page == "collections":
        metrics = {metric.label: metric.value for metric in app.metric}
        assert metrics["Documents"] == "4"
        assert metrics["Embedded"] == "100 %"
        assert "Ready" in shown
    else:
        assert app.selectbox(key="c").value == "films"
        assert app.query_params["c"] == "films"


def test_what_has_no_embedding_is_said(visit: Visit, library: Library) -> None:
    collection = library.create("Films")
    library.store(collection)
    app = visit("collections")
    assert "Not fully embedded" in words(app)
    assert "4 documents to be embedded" in words(app)
    go(app, "search", c="films", q="garden", mode="text")
    assert "4 documents of 4 have no embedding yet" in app.warning[0].value
    assert "1. Quiet Gardens" in words(app).replace("\\", "")


@pytest.mark.parametrize("page", PAGES)
def test_without_its_database_a_page_says_so_and_comes_back(
    page: str, visit: Visit, environment: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:  # bound, but not listening: every connection is refused
        taken.bind(("127.0.0.1", 0))
        with environment.context() as away:
            away.setenv("DATABASE_URL", f"postgresql://u@127.0.0.1:{taken.getsockname()[1]}/d")
            app = visit(page)
            assert "The database cannot be reached" in app.warning[0].value
            assert "goes on by itself" in app.warning[0].value
            assert not app.error
            app.run()  # the timer's look: still away, and still no more than the message
            assert len(app.warning) == 1
    app.run()
    assert "cannot be reached" not in words(app)


BROKEN_PAGE = """
import streamlit as st
from lib.ui.shared.model import PageModel
from lib.ui.shared.page import COLLECTIONS, guarded, live, start_page

def broken():
    raise ZeroDivisionError("a detail for the log alone")

def body(model):
    {where}
    st.markdown("the rest of the page")

start_page(COLLECTIONS, PageModel, body)
"""


@pytest.mark.parametrize(
    ("where", "the_rest_is_shown"),
    [
        ("broken()", False),
        ("live(broken, active=True)", True),
        ("guarded(broken)()", True),
        ("st.dialog('Sure?')(guarded(broken))()", True),
    ],
    ids=["body", "fragment", "part", "dialog"],
)
def test_the_unexpected_becomes_a_number_that_the_log_has(
    where: str,
    the_rest_is_shown: bool,
    environment: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    (tmp_path / "pages").mkdir()
    for screen in SCREENS:
        (tmp_path / screen.path).write_text("")
    (tmp_path / COLLECTIONS.path).write_text(BROKEN_PAGE.format(where=where))
    app = AppTest.from_file(str(shutil.copy(APP, tmp_path)), default_timeout=90).run()
    assert not app.exception
    [error] = app.error
    number = re.search(r"under the number \*\*(\w+)\*\*", error.value)
    assert number is not None
    assert "for the log alone" not in words(app)
    [line] = [line for line in capsys.readouterr().err.splitlines() if number[1] in line]
    assert "page.unexpected_error" in line
    assert "a detail for the log alone" in line
    assert ("the rest of the page" in words(app)) == the_rest_is_shown
