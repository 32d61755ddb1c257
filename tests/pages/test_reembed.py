"""The page that embeds a collection again by another model."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from streamlit.testing.v1 import AppTest

from lib.store.collections import get_collection
from tests.pages.conftest import Library, go, words
from tests.unit.provider_server import ProviderServer

Visit = Callable[..., AppTest]
MODEL = "openai-compatible/tiny"


@pytest.fixture
def provider(environment: pytest.MonkeyPatch) -> Iterator[ProviderServer]:
    """Before the services are opened, which read its address."""
    server = ProviderServer(8)
    environment.setenv("VECSCOPE_OPENAI_BASE_URL", server.base_url)
    yield server
    server.close()


def press(app: AppTest, label: str) -> AppTest:
    [button] = [button for button in app.button if button.label == label]
    return button.click().run()


def metrics(app: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def test_the_estimate_the_new_vectors_and_the_question_before_the_switch(
    provider: ProviderServer, library: Library, visit: Visit
) -> None:
    library.films()
    app = visit("reembed", model=MODEL)
    assert metrics(app)["Documents"] == "4"
    assert metrics(app)["Price"] == "not known"
    press(app, "Start")
    library.wait()
    app.run()
    assert metrics(app)["Embedded"] == "4 of 4"

    search = visit("search", c="films~next", q="heist", mode="similarity")
    assert not search.error
    assert "not switched" in search.selectbox(key="c").options[1]
    assert go(search, "browse").selectbox(key="c").value == "films"  # its own vectors there
    assert "Re-embedding" in [link.label for link in visit("collections").get("page_link")]

    # AppTest cannot press a button of a dialog: tests/browser does.
    app = press(app, "Switch now")
    assert "go for good" in words(app)
    assert library.services.database.query(get_collection, "Films").model != MODEL


def test_a_model_without_its_key_is_estimated_and_cannot_be_started(
    provider: ProviderServer, library: Library, visit: Visit
) -> None:
    library.films()
    app = visit("reembed", model="openai/text-embedding-3-small")
    assert metrics(app)["Price"] == "under $0.01"
    assert r"OPENAI\_API\_KEY is not set" in app.warning[0].value
    assert [button.disabled for button in app.button if button.label == "Start"] == [True]


def test_a_name_that_is_no_model_is_said(
    provider: ProviderServer, library: Library, visit: Visit
) -> None:
    library.films()
    app = visit("reembed", model="nobody/nothing")
    assert "no embedding model" in app.error[0].value


def test_what_was_refused_is_told_and_discarding_asks(
    provider: ProviderServer, library: Library, visit: Visit
) -> None:
    library.films()
    provider.refuse = lambda text: "Quiet" in text
    press(visit("reembed", model=MODEL), "Start")
    library.wait()
    app = visit("reembed")
    assert metrics(app)["Refused"] == "1"
    assert "refused the input" in app.dataframe[0].value["Why"][0]
    assert "The 3 vectors" in words(press(app, "Discard"))
