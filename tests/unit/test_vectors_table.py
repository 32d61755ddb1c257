"""Names of tables and columns on their way into a statement, and the statements' form."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from sqlalchemy import or_

from lib.errors import InvalidInput, LimitExceeded
from lib.vectors.distance import Storage
from lib.vectors.hybrid import HybridQuery, hybrid_statement
from lib.vectors.sql import printed, quoted_name
from lib.vectors.statements import (
    is_category,
    nearest_statement,
    text_statement,
    threshold_statement,
)
from lib.vectors.table import VectorTable

HOSTILE = 'x"; DROP TABLE users; --'
QUERY = np.array([1, 2, 3], np.float32)


@pytest.mark.parametrize(
    ("name", "schema", "quoted"),
    [
        ("docs", None, "docs"),
        ("docs", "vecscope", "vecscope.docs"),
        ("My Docs", "My Schema", '"My Schema"."My Docs"'),
        ("select", None, '"select"'),
        ("50% %s", None, '"50% %s"'),
        (HOSTILE, None, '"x""; DROP TABLE users; --"'),
    ],
)
def test_names_are_quoted(name: str, schema: str | None, quoted: str) -> None:
    assert quoted_name(VectorTable(name=name, schema=schema).table) == quoted


def test_hostile_names_stay_names_in_every_statement() -> None:
    table = VectorTable(
        name=HOSTILE,
        schema=HOSTILE,
        id=HOSTILE + "id",
        content=HOSTILE + "content",
        embedding=HOSTILE + "embedding",
        category=HOSTILE + "category",
        dimensions=3,
    )
    for statement in (
        nearest_statement(table, QUERY, where=(is_category(table, HOSTILE),)),
        threshold_statement(table, QUERY, 0.5),
        text_statement(table, HOSTILE),
        hybrid_statement(table, HybridQuery(HOSTILE, QUERY)),
    ):
        text = printed(statement)
        # what is left without quoted names and quoted values holds nothing of it
        rest = re.sub(r"'(?:[^']|'')*'", "", re.sub(r'"(?:[^"]|"")*"', "", text))
        assert "DROP" in text
        assert "DROP" not in rest
        assert '"' not in rest


@pytest.mark.parametrize(
    "options",
    [
        {"name": ""},
        {"id": ""},
        {"embedding": ""},
        {"dimensions": 0},
        {"dimensions": 16001},
        {"dimensions": 16001, "storage": Storage.HALFVEC},
        {"text_config": "english'; DROP TABLE users; --"},
        {"text_config": "a.b.c"},
        {"text_config": ""},
    ],
)
def test_impossible_tables_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        VectorTable(**{"name": "docs", **options})


def test_document_columns_are_those_there_are() -> None:
    table = VectorTable(name="docs", id="key", content="body", title="body", part="n")
    assert dict(table.document_columns) == {
        "id": "key",
        "content": "body",
        "title": "body",
        "part": "n",
    }


# --- the form that pgvector can answer from an index --------------------------------------------


def one_line(statement: Any) -> str:
    return " ".join(printed(statement).split())


def test_nearest_is_in_the_one_form() -> None:
    text = one_line(nearest_statement(VectorTable(name="docs", dimensions=3), QUERY, 7))
    assert text.endswith(
        "FROM docs AS d WHERE d.embedding IS NOT NULL ORDER BY d.embedding <=> '[1,2,3]' LIMIT 7"
    )


def test_a_threshold_is_outside_of_a_materialized_cte() -> None:
    text = one_line(threshold_statement(VectorTable(name="docs", dimensions=3), QUERY, 0.25))
    inner, outer = text.split("LIMIT 10)")
    assert inner.startswith("WITH nearest AS MATERIALIZED (SELECT")
    assert "0.25" not in inner
    assert outer.endswith("WHERE nearest.distance < 0.25 ORDER BY nearest.distance")


def test_two_categories_keep_their_values() -> None:
    table = VectorTable(name="docs", category="topic", dimensions=3)
    either = or_(is_category(table, "one"), is_category(table, "two"))
    statement = nearest_statement(table, QUERY, where=(either,))
    values = [v for v in statement.compile().params.values() if isinstance(v, str)]
    assert sorted(values) == ["one", "two"]


def test_a_category_needs_a_column() -> None:
    with pytest.raises(InvalidInput, match="no category column"):
        is_category(VectorTable(name="docs"), "one")


@pytest.mark.parametrize("pool", [0, 10_001])
def test_the_pool_has_limits(pool: int) -> None:
    with pytest.raises(LimitExceeded, match="pool"):
        hybrid_statement(VectorTable(name="docs", dimensions=3), HybridQuery("x", QUERY, pool=pool))
