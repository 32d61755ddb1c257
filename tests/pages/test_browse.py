"""The Browse page: what is listed, opened, exported and deleted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from lib.ingest.incoming import IncomingDocument
from lib.ingest.load import store_documents
from tests.pages.conftest import Library, words

Visit = Callable[..., AppTest]


def listed(app: AppTest) -> list[str]:
    return [str(title) for title in app.dataframe[0].value["Title"]]


def press(app: AppTest, label: str) -> AppTest:
    [button] = [button for button in app.button if button.label == label]
    return button.click().run()


def test_the_address_narrows_the_list(visit: Visit, library: Library) -> None:
    library.films()
    assert listed(visit("browse", order="title")) == sorted(
        ["Deep Water", "London Heist", "Quiet Gardens", "The Great Heist"]
    )
    app = visit("browse", q="heist", category="Movie", state="embedded")
    assert listed(app) == ["London Heist"]
    assert "**1 document** matches" in words(app)
    app = visit("browse", q="nowhere")
    assert "No document matches" in app.info[0].value


def test_a_document_is_opened_with_its_neighbours(visit: Visit, library: Library) -> None:
    library.films()
    app = visit("browse", doc="1")
    assert not app.error
    shown = words(app)
    assert "London Heist" in shown
    assert "256 dimensions" in shown
    assert "A career criminal learns why his father was murdered." in [
        code.value for code in app.code
    ]
    links = [link.label for link in app.get("page_link")]
    assert sum(" · " in label for label in links) == 3  # the other three films, by similarity
    assert "Search with its title" in links


def test_all_parts_are_shown_and_one_of_them_is_looked_into(visit: Visit, library: Library) -> None:
    collection = library.create()
    parts = [
        IncomingDocument(external_id="book", part=n, content=f"text {n}", metadata={"page": n + 1})
        for n in range(3)
    ]
    library.services.database.query(store_documents, collection, parts)
    app = visit("browse", doc="book", part="2")
    assert [code.value for code in app.code] == ["text 0", "text 1", "text 2"]
    assert "Part 3 of 3" in words(app)
    assert "page 2" in words(app)
    assert json.loads(app.json[0].value) == {"page": 3}
    assert "Not embedded yet" in words(app)


def test_a_document_that_is_gone_is_said_below_the_list(visit: Visit, library: Library) -> None:
    library.films()
    app = visit("browse", doc="99")
    assert len(listed(app)) == 4
    assert "no document with the id" in app.error[0].value


def test_paging_goes_on_and_back(
    visit: Visit, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = library.create()
    library.store(collection, [(f"Film {n:03}", None, f"text {n}") for n in range(120)])
    app = visit("browse", order="title")
    assert (listed(app)[0], len(listed(app))) == ("Film 000", 50)
    app = press(press(app, "Next"), "Next")
    assert (listed(app)[0], len(listed(app))) == ("Film 100", 20)
    assert listed(press(app, "Previous"))[0] == "Film 050"
    app.text_input(key="q").set_value("text 1").run()
    assert listed(app)[0] == "Film 001"  # another list begins at its first page


def test_an_export_is_written_and_offered(visit: Visit, library: Library, tmp_path: Path) -> None:
    library.films()
    app = press(visit("browse", q="heist"), "Export")
    library.wait()
    app.run()
    written = tmp_path / "exports" / "films-filtered.jsonl"
    titles = [json.loads(line)["title"] for line in written.read_text().splitlines()]
    assert titles == ["The Great Heist", "London Heist"]
    assert "2 documents" in words(app)
    assert [button.label for button in app.get("download_button")] == ["Download"]


def test_deleting_asks_with_the_count(visit: Visit, library: Library) -> None:
    library.films()
    app = press(visit("browse", q="heist"), "Delete all of these")
    assert "**2 documents** (2 ids) will be gone for good" in words(app)
    # AppTest cannot press a button of a dialog: tests/browser does.
    assert "Delete for good" in [button.label for button in app.button]
    assert len(listed(visit("browse"))) == 4
