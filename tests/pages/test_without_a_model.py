"""Every page with a collection whose vectors came without a model: nothing promises to embed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from lib.ingest.incoming import IncomingDocument
from lib.ingest.load import store_documents
from lib.settings import NO_MODEL
from lib.store.collections import Collection
from tests.pages.conftest import PAGES, Library, words

Visit = Callable[..., AppTest]


@pytest.fixture
def given(library: Library) -> Collection:
    """Three documents with vectors, and one without."""
    collection = library.create("Given", model=NO_MODEL, dimensions=3)
    vectors = [*np.eye(3, dtype=np.float32), None]
    documents = [
        IncomingDocument(external_id=str(number), content=f"word{number} here", embedding=vector)
        for number, vector in enumerate(vectors)
    ]
    library.services.database.query(store_documents, collection, documents)
    return collection


@pytest.mark.parametrize("page", PAGES)
def test_every_page_shows_it(page: str, visit: Visit, given: Collection) -> None:
    app = visit(page, c=given.slug)
    assert [error.value for error in app.error] == []
    assert "Embed what is missing" not in [button.label for button in app.button]


@pytest.mark.parametrize(
    "address", [{}, {"mode": "hybrid"}, {"mode": "similarity", "near": "true"}]
)
def test_it_is_searched_by_words_whatever_the_address_asks(
    address: dict[str, str], visit: Visit, given: Collection
) -> None:
    app = visit("search", c=given.slug, q="word2", **address)
    assert [error.value for error in app.error] == []
    [mode] = [control for control in app.get("button_group") if control.key == "mode"]
    assert [option.content for option in mode.proto.options] == ["Keyword"]
    assert "came without a model" in words(app)
    assert "1 matches the keywords" in words(app)
