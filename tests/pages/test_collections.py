"""Collections: what is in here, and is it healthy?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from lib.errors import EmbeddingProblem
from lib.store.collections import list_collections
from lib.store.jobs import JobContext
from lib.vectors.index_methods import HNSW
from tests.pages.conftest import Library, endless, words

Visit = Callable[..., AppTest]


def press(app: AppTest, label: str) -> None:
    [button] = [button for button in app.button if button.label == label]
    button.click().run()
    assert not app.exception


def test_a_collection_is_created_and_offers_the_next_step(visit: Visit, library: Library) -> None:
    app = visit("collections")
    app.text_input[0].input("Product manuals")
    app.selectbox[2].select("simple")  # after model and distance
    press(app, "Create")
    [created] = library.services.database.query(list_collections)
    assert (created.name, created.text_config) == ("Product manuals", "simple")
    assert "Product manuals" in words(app)
    assert "upload files" in words(app)
    assert "Load the sample collection" in [button.label for button in app.button]


def test_a_name_that_is_taken_is_refused_and_the_page_stays_whole(
    visit: Visit, library: Library
) -> None:
    library.films("Films *new*")
    app = visit("collections")
    app.text_input[0].input("films *NEW*")
    press(app, "Create")
    [error] = app.error
    assert r"“films \*NEW\*” already" in error.value  # not in italics
    assert "Ready" in words(app)


def test_a_missing_key_is_said_before_create_is_pressed(visit: Visit, library: Library) -> None:
    app = visit("collections")
    app.selectbox[0].select("openai/text-embedding-3-small").run()
    assert "OPENAI\\_API\\_KEY is not set" in app.warning[0].value
    assert "1,536 dimensions" in words(app)
    [create] = [button for button in app.button if button.label == "Create"]
    assert create.disabled
    app.selectbox[0].select("local/wordllama-256").run()
    assert not app.warning


def test_a_running_job_shows_how_far_it_is_and_can_be_cancelled(
    visit: Visit, library: Library
) -> None:
    library.start(library.films(), endless, "Loading b.csv into Films")
    app = visit("collections")
    assert "Working" in words(app)
    [progress] = app.get("progress")
    assert progress.proto.value == 30
    assert r"**Loading b\.csv into Films** · Stored 3 texts" in progress.proto.text
    press(app, "Cancel")
    library.wait()
    app.run()
    assert "Cancelled. What was done is kept" in app.warning[0].value
    assert "Ready" in words(app)


def test_work_whose_extent_is_not_known_shows_no_share(visit: Visit, library: Library) -> None:
    async def work(context: JobContext) -> Any:
        await context.progress(0, 0, "Stored 1,000 texts", force=True)
        await asyncio.Event().wait()

    library.start(library.films(), work, "Loading the sample")
    app = visit("collections")
    assert not app.get("progress")
    assert "Stored 1,000 texts" in app.info[0].value
    press(app, "Cancel")
    library.wait()


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (EmbeddingProblem("The provider is *down*.", hint="Try later."), r"The provider is \*down"),
        (ZeroDivisionError("hidden"), "Something unexpected went wrong"),
    ],
    ids=["known", "unknown"],
)
def test_a_failed_job_says_why(
    problem: Exception,
    said: str,
    visit: Visit,
    library: Library,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def work(_context: JobContext) -> Any:
        raise problem

    job = library.start(library.films(), work)
    library.wait()
    app = visit("collections")
    [error] = app.error
    assert said in error.value
    assert "To go on" in error.value
    assert "hidden" not in words(app)
    ended = library.services.database.run(library.services.jobs.get(job.id))
    if ended.error_id:
        assert ended.error_id in error.value
        assert ended.error_id in capsys.readouterr().err


def test_an_index_is_built_replaced_and_dropped(visit: Visit, library: Library) -> None:
    library.many_films()

    def shown() -> str:
        return {metric.label: metric.value for metric in app.metric}["Vector index"]

    app = visit("collections")
    assert shown() == "none (exact)"
    press(app, "Build")  # IVFFlat is what is suggested
    library.wait()
    app.run()
    assert shown() == "IVFFlat"
    app.segmented_control(key="kind_films").set_value(HNSW.name).run()
    app.number_input(key="m_films").set_value(60)  # asks for more candidates than 64
    press(app, "Build")
    assert "ef\\_construction is 64" in app.error[0].value
    assert shown() == "IVFFlat"
    app.number_input(key="m_films").set_value(16)
    press(app, "Build")
    library.wait()
    app.run()
    assert shown() == "HNSW"
    press(app, "Drop the vector index")
    assert shown() == "none (exact)"


def test_the_word_index_is_built_shown_kept_right_and_dropped(
    visit: Visit, library: Library
) -> None:
    films = library.films()

    def shown() -> str:
        return {metric.label: metric.value for metric in app.metric}["BM25 index"]

    app = visit("collections")
    assert shown() == "none"
    assert "Triggers keep it right" in words(app)
    press(app, "Build the BM25 index")
    library.wait()
    app.run()
    assert shown().endswith("kB")
    assert "4 documents with" in app.success[0].value
    library.store(films, [("A fifth film", "Movie", "Added after the index was built.")] * 5)
    app.run()
    assert "5 documents, " in words(app)
    press(app, "Drop the BM25 index")
    assert shown() == "none"


def test_deleting_asks_first(visit: Visit, library: Library) -> None:
    library.films()
    app = visit("collections")
    press(app, "Delete this collection")
    assert "**Films** with 4 documents" in words(app)
    assert "Delete for good" in [button.label for button in app.button]
    assert library.services.database.query(list_collections)
    # AppTest cannot press a button of a dialog: tests/browser does.


def test_what_is_missing_is_embedded(visit: Visit, library: Library) -> None:
    library.store(library.create("Films"))
    app = visit("collections")
    press(app, "Embed what is missing")
    library.wait()
    app.run()
    assert "Ready" in words(app)
    assert "4 embedded" in app.success[0].value
