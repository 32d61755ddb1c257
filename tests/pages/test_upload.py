"""Upload: what will be stored, and what could not be?"""

from __future__ import annotations

from collections.abc import Callable

from streamlit.testing.v1 import AppTest

from tests.pages.conftest import Library, words

Visit = Callable[..., AppTest]

CSV = b"key,headline,kind,story,year\n1,The Great Heist,film,Thieves rob a bank.,2001\n"
CSV += b"2,Quiet Gardens,series,Roses and moss.,2002\n"


def drop(app: AppTest, *files: tuple[str, bytes]) -> None:
    app.file_uploader[0].set_value([(name, content, "") for name, content in files]).run()
    assert not app.exception


def load(app: AppTest, library: Library) -> None:
    [button] = [button for button in app.button if button.label.startswith("Load")]
    button.click().run()
    library.wait()
    app.run()
    assert not app.exception


def looked_into(app: AppTest) -> list[str]:
    """The files, as the frames of their previews are labelled."""
    return [expander.label for expander in app.expander if "·" in expander.label]


def test_a_table_is_looked_into_loaded_and_offered_to_search(
    visit: Visit, library: Library
) -> None:
    library.create("Films")
    app = visit("upload")
    drop(app, ("films.csv", CSV))
    choices = {choice.label: choice for choice in app.selectbox}
    choices["Title"].select("headline")
    choices["Id"].select("key")
    app.multiselect[0].set_value(["story"]).run()
    preview = app.dataframe[0].value
    assert list(preview["title"]) == ["The Great Heist", "Quiet Gardens"]
    assert list(preview["text"]) == ["Thieves rob a bank.", "Roses and moss."]
    assert "year: 2001" in preview["metadata"][0]
    assert "0 documents so far" in words(app)  # nothing is stored by looking
    load(app, library)
    assert "Documents: 2 new. 2 embedded." in app.success[0].value
    assert "2 documents so far" in words(app)
    links = [link.proto.label for link in app.get("page_link")]
    assert links == ["Search Films", "Browse Films"]
    assert not app.file_uploader[0].value  # ready for the next files


def test_what_cannot_be_stored_is_said_before_and_after_the_load(
    visit: Visit, library: Library
) -> None:
    library.create("Films")
    app = visit("upload")
    lines = b'{"text": "first"}\n{broken\n{"text": "third"}\n'
    drop(app, ("notes.jsonl", lines), ("picture.csv", b"\x89PNG\x00\x01" * 99), ("a.md", b"# One"))
    before = " ".join(warning.value for warning in app.warning)
    assert "**line 2" in before
    assert "Nothing at the beginning of this file can be stored" in before
    assert looked_into(app) == [
        r"a\.md · Markdown",
        r"notes\.jsonl · JSON Lines · 1 problem",
        r"picture\.csv · Table \(CSV, TSV\) · 1 problem",
    ]
    load(app, library)
    assert "3 documents so far" in words(app)
    problems = app.dataframe[0].value
    assert list(problems["File"]) == ["notes.jsonl", "picture.csv"]
    assert problems["Place"][0].startswith("line 2")
    assert "2 problems" in app.warning[0].value


def test_two_files_of_one_name_are_said_and_do_not_break_the_page(
    visit: Visit, library: Library
) -> None:
    library.create("Films")
    app = visit("upload")
    drop(app, ("a.csv", CSV), ("a.csv", CSV.replace(b"Heist", b"Robbery")))
    assert not app.error
    assert r"More than one file is called a\.csv" in app.warning[0].value


def test_more_files_than_are_looked_into_are_loaded_all(visit: Visit, library: Library) -> None:
    library.create("Films")
    app = visit("upload")
    drop(app, *[(f"{number:02}.txt", f"Text {number}.".encode()) for number in range(10)])
    assert len(looked_into(app)) == 8
    assert "2 more files" in words(app)
    load(app, library)
    assert "10 documents so far" in words(app)
