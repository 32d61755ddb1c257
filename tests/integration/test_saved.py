"""Saved searches: kept, listed, opened from their link, replaced, removed."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import text

from lib.errors import AlreadyExists, InvalidInput, NotFound
from lib.search.example import Example
from lib.search.filters import parse_filter
from lib.search.request import Mode, SearchRequest
from lib.search.saved import delete_saved, get_saved, list_saved, save_search
from lib.store.collections import Collection, create_collection, drop_collection
from lib.store.database import Database
from lib.vectors.tuning import SearchSettings
from tests.conftest import execute

REQUEST = SearchRequest(
    "lost “in” space?",
    Mode.HYBRID,
    filters=(parse_filter("year>=1990"), parse_filter("genre=a,b")),
    settings=SearchSettings(ef_search=99),
)


@pytest.fixture
def films(database: Database) -> Collection:
    return database.query(create_collection, "Films", model="none", dimensions=3)


def test_what_is_saved_comes_back(database: Database, films: Collection) -> None:
    saved = database.query(save_search, films, "  Space   films! ", REQUEST)
    assert (saved.slug, saved.name) == ("space_films", "Space films!")
    assert database.query(get_saved, films, "space_films") == saved
    assert saved.request == REQUEST


def test_an_example_comes_back(database: Database, films: Collection) -> None:
    """Whatever the documents are by then; in text what PostgreSQL does not take is left out."""
    ids = uuid.uuid4(), uuid.uuid4()
    example = Example(ids[:1], ids[1:], "moss “and”\nstones", (0.1, -2.5e-7, 3.0))
    without_question = replace(REQUEST, query="")
    database.query(save_search, films, "Like it", without_question, example=example)
    saved = database.query(get_saved, films, "like_it")
    assert (saved.request, saved.example) == (without_question, example)
    odd = SearchRequest("a\0b")
    database.query(save_search, films, "Odd", odd, example=Example(text="c\0d \ud800"))
    saved = database.query(get_saved, films, "odd")
    assert saved.example is not None
    assert (saved.request.query, saved.example.text) == ("a b", "c d ?")
    database.query(save_search, films, "Like it", REQUEST, replaces=True)
    assert database.query(get_saved, films, "like_it").example is None


def test_an_example_that_is_none_is_said(database: Database, films: Collection) -> None:
    database.query(save_search, films, "Old", REQUEST, example=Example(text="moss"))

    execute(
        database.url,
        "UPDATE vecscope.saved_searches "
        "SET request = jsonb_set(request, '{example}', '{\"like\": [\"x\"]}')",
    )
    saved = database.query(get_saved, films, "old")
    assert saved.request == REQUEST
    with pytest.raises(InvalidInput, match=r"“like\.0”"):
        _ = saved.example


def test_names_are_taken_once_a_collection(database: Database, films: Collection) -> None:
    database.query(save_search, films, "Space", REQUEST)
    with pytest.raises(AlreadyExists):
        database.query(save_search, films, "SPACE", REQUEST)
    replaced = database.query(save_search, films, "SPACE", SearchRequest("other"), replaces=True)
    assert (replaced.slug, replaced.name, replaced.request.query) == ("space", "SPACE", "other")
    assert database.query(save_search, films, "Space?", REQUEST).slug == "space_2"
    assert database.query(save_search, films, "宇宙", REQUEST).name == "宇宙"
    long = "x" * 80
    slugs = [
        database.query(save_search, films, name, REQUEST).slug for name in (long, f"{long[:-1]}y")
    ]
    assert slugs == ["x" * 48, "x" * 46 + "_2"]
    other = database.query(create_collection, "Books", model="none", dimensions=3)
    assert database.query(save_search, other, "Space", REQUEST).slug == "space"
    names = [saved.name for saved in database.query(list_saved, films)]
    assert names == sorted(names, key=str.lower)
    with pytest.raises(InvalidInput):
        database.query(save_search, films, " ", REQUEST)


def test_several_at_once_get_slugs_of_their_own(database: Database, films: Collection) -> None:
    with ThreadPoolExecutor(4) as threads:
        saved = threads.map(
            lambda n: database.query(save_search, films, "a" + "!" * n, REQUEST), range(4)
        )
    assert {each.slug for each in saved} == {"a", "a_2", "a_3", "a_4"}


def test_it_is_removed_by_hand_and_with_its_collection(
    database: Database, films: Collection
) -> None:
    database.query(save_search, films, "One", REQUEST)
    database.query(save_search, films, "Two", REQUEST)
    database.query(delete_saved, films, "one")
    with pytest.raises(NotFound, match="no saved search “one”") as error:
        database.query(delete_saved, films, "one")
    assert "Two" in error.value.hint
    database.query(drop_collection, films)

    async def left() -> int:
        async with database.session() as db:
            return (
                await db.execute(text("SELECT count(*) FROM vecscope.saved_searches"))
            ).scalar_one()

    assert database.run(left()) == 0


def test_settings_that_are_no_more_do_not_hide_the_others(
    database: Database, films: Collection
) -> None:
    database.query(save_search, films, "Old", REQUEST)
    database.query(save_search, films, "New", REQUEST)

    execute(
        database.url,
        "UPDATE vecscope.saved_searches SET request = request || '{\"gone\": 1}' "
        "WHERE slug = 'old'",
    )
    new, old = database.query(list_saved, films)
    assert new.request == REQUEST
    with pytest.raises(InvalidInput, match="no setting “gone”"):
        _ = old.request
