"""Filters on awkward metadata, against Python's own reading of the same documents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from sqlalchemy import text

from lib.errors import InvalidInput
from lib.ingest.incoming import IncomingDocument
from lib.ingest.load import store_documents
from lib.search.filters import FieldFacts, Filter, FilterOp, conditions, list_fields, parse_filter
from lib.search.request import Mode, SearchRequest
from lib.search.service import SearchService
from lib.settings import Settings
from lib.store.collections import Collection, create_collection
from lib.store.database import Database
from lib.store.url import connect_arguments
from lib.vectors.search import search_text
from lib.vectors.sql import printed
from lib.vectors.statements import text_statement

QUOTES = "'; DROP TABLE x; -- \" $1 :a %(b)s 100%"
METADATA: list[dict[str, Any]] = [
    {"year": 2019, "genre": "drama", "seen": True},
    {"year": "2019", "genre": ["drama", "crime"]},
    {"year": 2020.5, "genre": "crime", "seen": "true", "date": "2024-01-31"},
    {"year": -3, "genre": None, "date": "2023-12-01"},
    {"year": "about 1990", "genre": "", "date": 20240101},
    {"year": "9" * 4000, "nested": {"year": 2019}},
    {"year": [1999, 2030], "genre": [], QUOTES: QUOTES},
    {"year": True, "category": "inner", "a.b": "dots"},
    {},
]
CATEGORIES = ["a", "b", None] * 3


@pytest.fixture
def collection(database: Database) -> Collection:
    found = database.query(
        create_collection, "Films", model="none", dimensions=2, text_config="simple"
    )
    documents = [
        IncomingDocument(
            external_id=str(number), content="film", category=category, metadata=metadata
        )
        for number, (metadata, category) in enumerate(zip(METADATA, CATEGORIES, strict=True))
    ]
    database.query(store_documents, found, documents)
    return found


def passing(database: Database, collection: Collection, *filters: Filter) -> set[int]:
    where = conditions(collection.table, filters)
    result = database.query(search_text, collection.table, "film", 100, where=where)
    return {int(hit.document.external_id) for hit in result}


def python_says(test: Callable[[dict[str, Any]], bool]) -> set[int]:
    return {number for number, metadata in enumerate(METADATA) if test(metadata)}


def items(metadata: dict[str, Any], field: str) -> list[Any]:
    value = metadata.get(field)
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("year=2019", python_says(lambda m: m.get("year") in (2019, "2019"))),
        ("genre=drama", {0, 1}),
        ("genre=drama,crime", {0, 1, 2}),
        ("genre=", {4}),
        ("seen=true", {0, 2}),
        ("genre", {0, 1, 2, 4, 6}),
        ("nested", {5}),
        ("nowhere", set()),
        ("nowhere>=1", set()),
        ("a.b=dots", {7}),
        ("metadata.category=inner", {7}),
        ("category=a", {0, 3, 6}),
        ("category=a,b", {0, 1, 3, 4, 6, 7}),
        ("category", {0, 1, 3, 4, 6, 7}),
        # numbers, numbers in texts, and items of lists; never a text such as "about 1990"
        ("year>=2019", {0, 1, 2, 6}),
        ("year>=2019.5", {2, 6}),
        ("year<=1999", {3, 6}),
        ("year<=-3", {3}),
        ("date>=2024-01-31", {2}),
        ("date<=2024-01-31", {2, 3}),
    ],
)
def test_one_filter(
    database: Database, collection: Collection, typed: str, expected: set[int]
) -> None:
    assert passing(database, collection, parse_filter(typed)) == expected


def test_all_of_several_must_be_passed(database: Database, collection: Collection) -> None:
    filters = [parse_filter(typed) for typed in ("year>=2000", "year<=2020", "genre=drama")]
    assert passing(database, collection, *filters) == {0, 1}


def test_names_and_values_are_never_read_as_sql(database: Database, collection: Collection) -> None:
    for op, value in (
        (FilterOp.EQUALS, QUOTES),
        (FilterOp.IN, (QUOTES, "x")),
        (FilterOp.EXISTS, None),
        (FilterOp.AT_LEAST, QUOTES),
    ):
        wanted = Filter(QUOTES, op, value)
        assert passing(database, collection, wanted) == {6}
        statement = text_statement(
            collection.table, "film", where=conditions(collection.table, [wanted])
        )
        assert QUOTES not in str(statement)
        with psycopg.connect(**connect_arguments(database.url), row_factory=dict_row) as connection:
            rows = connection.execute(printed(statement).encode()).fetchall()
        assert [row["external_id"] for row in rows] == ["6"]


def test_a_table_without_metadata(collection: Collection) -> None:
    bare = replace(collection.table, metadata=None, category=None)
    with pytest.raises(InvalidInput, match="no metadata column"):
        conditions(bare, [parse_filter("year=2019")])
    with pytest.raises(InvalidInput, match="no metadata column"):
        conditions(bare, [parse_filter("category=a")])
    with pytest.raises(InvalidInput, match="a category is a word"):
        conditions(collection.table, [parse_filter("category>=3")])


def test_the_service_filters_by_category_and_metadata(
    database: Database, collection: Collection
) -> None:
    service = SearchService(database, Settings(_env_file=None))
    request = SearchRequest(
        "film", Mode.TEXT, category="a", filters=(parse_filter("year>=2000"), parse_filter("seen"))
    )
    result = database.run(service.search(collection, request))
    assert [hit.document.external_id for hit in result] == ["0"]


def test_the_fields_that_there_are(database: Database, collection: Collection) -> None:
    facts = {field.name: field for field in database.query(list_fields, collection)}
    assert facts.keys() == {
        field
        for metadata in METADATA
        for field in metadata
        if any(isinstance(item, str | int | float) for item in items(metadata, field))
    }
    assert facts["year"] == FieldFacts(
        name="year",
        kinds=("boolean", "number", "string"),
        documents=8,
        distinct=9,
        examples=("2019", "about 1990", "-3", "1999", "2019", "2020.5", "2030", "true"),
        low=-3.0,
        high=2030.0,
    )
    assert (facts["genre"].documents, facts["genre"].distinct) == (5, 3)
    assert facts["genre"].examples == ("crime", "drama", "")
    assert facts["category"].filter_field == "metadata.category"
    assert passing(database, collection, Filter("metadata.category", FilterOp.EXISTS)) == {7}

    async def clear() -> None:
        async with database.session() as db:
            await db.execute(text("TRUNCATE vecscope.documents_films"))

    database.run(clear())
    assert database.query(list_fields, collection) == []
