"""Upload, in depth: how files are read, vectors, test collections, going on, what is missing."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from lib.evaluation.query_sets import list_query_sets
from lib.ingest.document_stream import file_stream
from lib.ingest.file_source import FileSource
from lib.ingest.jobs import start_load
from lib.ingest.read_options import ReadOptions
from lib.ingest.upload_batch import classify_uploads
from lib.settings import NO_MODEL
from lib.store.collections import Collection, list_collections, summarise
from lib.store.jobs import JobStatus
from tests.pages.conftest import Library, words

Visit = Callable[..., AppTest]

LONG = "# Guide\n\n" + "\n\n".join(f"Sentence number {n} of the guide." for n in range(400))


def drop(app: AppTest, *files: tuple[str, bytes]) -> None:
    app.file_uploader[0].set_value([(name, content, "") for name, content in files]).run()
    assert not app.exception
    assert not app.error


def press(app: AppTest, label: str) -> None:
    [button] = [button for button in app.button if button.label.startswith(label)]
    button.click().run()
    assert not app.exception


def load(app: AppTest, library: Library) -> None:
    press(app, "Load")
    assert not app.error
    library.wait()
    app.run()


def labelled(elements: Any, label: str) -> Any:
    [found] = [element for element in elements if element.label == label]
    return found


def test_parts_show_their_places_and_follow_the_settings(visit: Visit, library: Library) -> None:
    library.create("Films")
    app = visit("upload")
    drop(app, ("guide.md", LONG.encode()))
    before = app.dataframe[0].value
    assert "Guide" in before["place"][0]
    assert before["tokens"].max() <= 400
    assert before["tokens"][0] > 300
    labelled(app.number_input, "Longest part (tokens)").set_value(100).run()
    after = app.dataframe[0].value
    assert after["tokens"].max() <= 100
    assert after["text"][1].split("\n")[0] in after["text"][0]  # the overlap
    labelled(app.number_input, "Overlap (tokens)").set_value(0).run()
    after = app.dataframe[0].value
    assert after["text"][1].split("\n")[0] not in after["text"][0]
    load(app, library)
    collection = one(library, "Films")
    stored = library.services.database.query(summarise, collection).documents
    tokens_of_all = 400 * before["tokens"][0] // before["text"][0].count("Sentence")
    assert stored >= tokens_of_all / 100  # split as was shown


def one(library: Library, name: str) -> Collection:
    found = library.services.database.query(list_collections)
    return next(collection for collection in found if collection.name == name)


def test_encoding_and_delimiter_are_found_and_can_be_changed(
    visit: Visit, library: Library
) -> None:
    library.create("Films")
    app = visit("upload")
    row = "Käse;Würziger Käse aus den Bergen, gut gereift, für Brötchen.\n"
    text = "id;name;description\n" + "".join(f"{number};{row}" for number in range(30))
    drop(app, ("laden.csv", text.encode("cp1252")))
    assert app.dataframe[0].value["title"][0] == "Käse"
    delimiter = labelled(app.selectbox, "Delimiter")
    assert delimiter.value == ";"
    labelled(app.selectbox, "Encoding").select("cp1251").run()  # Cyrillic, which is wrong
    assert app.dataframe[0].value["title"][0] == "Käse".encode("cp1252").decode("cp1251")
    labelled(app.selectbox, "Delimiter").select("|").run()
    assert "Title" in [choice.label for choice in app.selectbox]
    assert app.multiselect[0].options == ["id;name;description"]


def test_a_mislabelled_file_and_one_that_nobody_can_read(visit: Visit, library: Library) -> None:
    library.create("Films")
    app = visit("upload")
    drop(
        app,
        ("table.xlsx", b"name,description\nA,A text of some length.\n"),
        ("picture.png", b"\x89PNG\r\n"),
    )
    assert "table\\.xlsx · Table \\(CSV, TSV\\) · 1 note" in [e.label for e in app.expander]
    assert "was read as that" in app.info[0].value
    refused = app.dataframe[1].value
    assert list(refused["File"]) == ["picture.png"]
    assert ".png are not known" in refused["Why it cannot be read"][0]
    load(app, library)
    problems = app.dataframe[0].value
    assert list(problems["File"]) == ["picture.png", "table.xlsx"]  # what was lost comes first
    assert list(problems["Stored"]) == ["no", "yes, changed"]
    assert "1 problem" in app.warning[0].value
    assert "1 note" in app.warning[0].value


def test_replace_all_removes_what_did_not_come(visit: Visit, library: Library) -> None:
    collection = library.films()
    app = visit("upload")
    labelled(app.checkbox, "Replace all").check().run()
    assert "is removed from Films" in app.warning[0].value
    drop(app, ("one.txt", b"The only text that stays."), ("picture.png", b"\x89PNG"))
    load(app, library)
    assert library.services.database.query(summarise, collection).documents == 1
    assert labelled(app.metric, "Removed").value == "4"


def test_texts_only_are_embedded_later_from_here(visit: Visit, library: Library) -> None:
    collection = library.create("Films")
    app = visit("upload")
    labelled(app.checkbox, "Store the texts only").check().run()
    drop(app, ("a.txt", b"One."), ("b.txt", b"Two."))
    load(app, library)
    assert library.services.database.query(summarise, collection).missing == 2
    assert app.dataframe[0].value["Why"][0] == "Not tried yet."
    press(app, "Embed 2 documents")
    library.wait()
    app.run()
    assert library.services.database.query(summarise, collection).missing == 0
    assert "Not embedded" not in words(app)


def npy(vectors: np.ndarray[Any, Any]) -> bytes:
    content = io.BytesIO()
    np.save(content, vectors)
    return content.getvalue()


def test_vectors_get_a_collection_of_their_own_with_the_texts_beside_them(
    visit: Visit, library: Library
) -> None:
    library.create("Films")
    vectors = np.eye(6, 5, dtype="float32")
    vectors[3, 2] = np.nan
    app = visit("upload", c="films")
    files = ("words.npy", npy(vectors)), ("labels.txt", b"a\nb\nc\nd\ne\nf\n")
    drop(app, *files)
    assert "6 vectors of 5 dimensions" in words(app)
    shown = " ".join(warning.value for warning in app.warning)
    assert "1 with NaN, 1 all zero" in shown
    assert "cannot go into Films" in shown
    labelled(app.text_input, "Name of the new collection").set_value("Letters").run()
    press(app, "Make it")
    assert app.selectbox(key="c").value == "letters"
    app = visit("upload", c="letters")  # AppTest loses the files where a page draws itself again
    drop(app, *files)
    assert list(app.dataframe[0].value["text"]) == ["a", "b", "c", "d", "e"]
    load(app, library)
    made = one(library, "Letters")
    assert (made.model, made.dimensions) == (NO_MODEL, 5)
    summary = library.services.database.query(summarise, made)
    assert (summary.documents, summary.embedded) == (4, 4)
    assert len(app.dataframe[0].value) == 2  # refused row by row, and the texts are no document


def test_vectors_of_the_right_length_still_need_a_word_on_their_model(
    visit: Visit, library: Library
) -> None:
    library.create("Films")
    app = visit("upload")
    drop(app, ("v.npy", npy(np.ones((2, 256), dtype="float32"))))
    [button] = [button for button in app.button if button.label.startswith("Load")]
    assert button.disabled
    labelled(app.checkbox, "They were made by local/wordllama\\-256").check().run()
    load(app, library)
    assert "2 documents so far" in words(app)


def test_a_judged_collection_brings_its_query_set(visit: Visit, library: Library) -> None:
    library.create("Papers")
    corpus = b"".join(
        json.dumps({"_id": str(n), "title": f"T{n}", "text": f"Text {n}."}).encode() + b"\n"
        for n in range(3)
    )
    app = visit("upload")
    drop(
        app,
        ("corpus.jsonl", corpus),
        ("queries.jsonl", b'{"_id": "q", "text": "Which?"}\n'),
        ("qrels.tsv", b"query-id\tcorpus-id\tscore\nq\t1\t2\n"),
    )
    assert "test collection" in " ".join(expander.label for expander in app.expander)
    load(app, library)
    assert "3 documents so far" in words(app)
    assert "1 queries and 1 judgments" in " ".join(success.value for success in app.success)
    papers = one(library, "Papers")
    [found] = library.services.database.query(list_query_sets, papers)
    assert (found.queries, found.judgments, found.missing) == (1, 1, 0)


def test_a_load_that_broke_off_goes_on(visit: Visit, library: Library, tmp_path: Path) -> None:
    collection = library.create("Films")
    good, bad = tmp_path / "good.txt", tmp_path / "bad.txt"
    good.write_text("A text that is stored.")
    bad.write_text("A text behind the accident.")

    def accident() -> Any:
        raise ZeroDivisionError("an accident")

    broken = FileSource.from_path(bad)
    broken._open_stream = accident  # the file itself is whole when the load goes on
    streams = [
        file_stream(FileSource.from_path(good), ReadOptions()),
        file_stream(broken, ReadOptions()),
    ]
    services = library.services
    job = services.database.run(start_load(services.jobs, services.documents, collection, streams))
    library.wait()
    assert services.database.run(services.jobs.get(job.id)).status is JobStatus.FAILED
    app = visit("upload")
    assert "To go on: the Upload page" in app.error[0].value
    press(app, "Go on with this load")
    library.wait()
    app.run()
    assert not app.error
    assert "Done" in app.success[0].value
    assert [button for button in app.button if button.label.startswith("Go on")] == []


@pytest.mark.parametrize("most", [1, 3])
def test_previewed_files_are_of_many_formats(most: int) -> None:
    class File:
        def __init__(self, name: str) -> None:
            self.name = name

        def read(self, _size: int, /) -> bytes:
            return b""

    names = [*(f"{n}.txt" for n in range(9)), "x.csv", "y.md", "v.npy", "z.png"]
    batch = classify_uploads([File(name) for name in names], most)
    previewed = [file.name for file in batch.to_preview]
    assert previewed == ["v.npy", "0.txt", "x.csv", "y.md"][: most + 1]
    assert [problem.source for _, problem in batch.unreadable] == ["z.png"]
    assert asdict(batch.unreadable[0][1])["stored"] is False
    assert len(batch.to_preview) + len(batch.without_preview) == 12
