"""Guidelines, specifications, refusals, names and the texts that people take along."""

from __future__ import annotations

import ast
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import IndexRefused, InvalidInput, LimitExceeded
from lib.vectors.build import BuildProgress
from lib.vectors.catalog import IndexDescription
from lib.vectors.ddl import (
    check_buildable,
    check_indexable,
    create_statement,
    index_name,
    make_index,
)
from lib.vectors.distance import Distance, Storage
from lib.vectors.index_methods import (
    HNSW,
    IVFFLAT,
    IndexMethod,
    parse_spec,
    recommended_lists,
    recommended_method,
    recommended_probes,
)
from lib.vectors.migration import migration_text
from lib.vectors.table import VectorTable

DOCS = VectorTable(name="docs", schema="vecscope", dimensions=3)


# --- guidelines ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "lists"),
    [
        # pgvector README, "IVFFlat": rows / 1000 up to 1M rows, sqrt(rows) over 1M rows
        (0, 10),
        (9_000, 10),
        (50_000, 50),
        (1_000_000, 1000),
        (1_000_001, 1000),
        (4_000_000, 2000),
        (10**10, 32768),  # pgvector's most, not √rows = 100,000
    ],
)
def test_recommended_lists(rows: int, lists: int) -> None:
    assert recommended_lists(rows) == lists
    assert IVFFLAT.recommended(rows) == IVFFLAT.spec(lists=lists)


@pytest.mark.parametrize(("lists", "probes"), [(1, 1), (10, 3), (100, 10), (1000, 32)])
def test_recommended_probes(lists: int, probes: int) -> None:
    assert recommended_probes(lists) == probes  # pgvector README: sqrt(lists)


@pytest.mark.parametrize(
    ("rows", "options", "kind"),
    [
        (99_999, {}, IVFFLAT),
        (100_000, {}, HNSW),
        (1_000_000, {}, HNSW),
        (1_000_001, {}, HNSW),
        (10, {"high_recall": True}, HNSW),
        (10_000_000, {"memory_bound": True}, IVFFLAT),
        (10_000_000, {"memory_bound": True, "high_recall": True}, IVFFLAT),
    ],
)
def test_recommended_kind(rows: int, options: dict[str, bool], kind: IndexMethod) -> None:
    chosen, why = recommended_method(rows, **options)
    assert chosen is kind
    assert kind.label in why


# --- specifications -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options", "field"),
    [
        ("ivfflat", {"lists": 0}, "lists"),
        ("ivfflat", {"lists": 32769}, "lists"),
        ("hnsw", {"m": 1}, "m"),
        ("hnsw", {"m": 101, "ef_construction": 300}, "m"),
        ("hnsw", {"ef_construction": 3}, "ef_construction"),
        ("hnsw", {"ef_construction": 1001}, "ef_construction"),
        ("hnsw", {"m": 16, "ef_construction": 31}, "ef_construction"),
        ("hnsw", {"m": True}, "m"),
        ("hnsw", {"lists": 10}, "lists"),
        ("ivfflat", {"m": 10}, "m"),
        ("btree", {}, "kind"),
    ],
)
def test_impossible_specifications(kind: str, options: dict[str, int], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_spec(kind, options)
    assert caught.value.field == field


def test_specifications_at_their_limits() -> None:
    assert parse_spec("hnsw", {}) == HNSW.spec(m=16, ef_construction=64)
    assert parse_spec("ivfflat", {"lists": 32768}).options == {"lists": 32768}
    assert HNSW.spec(m=2, ef_construction=4).options == {"m": 2, "ef_construction": 4}
    assert HNSW.spec(m=16, ef_construction=32)["ef_construction"] == 32
    assert HNSW.spec(m=100, ef_construction=1000)["m"] == 100


@pytest.mark.parametrize(
    ("storage", "dimensions", "way_out"),
    [
        (Storage.VECTOR, 2000, None),
        (Storage.VECTOR, 2001, "halfvec"),
        (Storage.VECTOR, 4000, "halfvec"),
        (Storage.VECTOR, 4001, "fewer dimensions"),
        (Storage.HALFVEC, 3072, None),
        (Storage.HALFVEC, 4000, None),
        (Storage.HALFVEC, 4001, "fewer dimensions"),
        (Storage.VECTOR, None, "ALTER TABLE"),
    ],
)
def test_what_can_be_indexed(storage: Storage, dimensions: int | None, way_out: str | None) -> None:
    table = VectorTable(name="docs", storage=storage, dimensions=dimensions)
    if way_out is None:
        check_indexable(table)
        return
    with pytest.raises(IndexRefused) as caught:
        check_indexable(table)
    assert way_out in caught.value.hint


def test_an_index_without_enough_rows_is_refused() -> None:
    for spec in (HNSW.spec(), IVFFLAT.spec(lists=1)):
        with pytest.raises(IndexRefused, match="no row with an embedding"):
            check_buildable(DOCS, spec, 0)
    check_buildable(DOCS, HNSW.spec(), 1)
    check_buildable(DOCS, IVFFLAT.spec(lists=100), 100)
    with pytest.raises(IndexRefused, match="99 rows cannot give 100 lists") as caught:
        check_buildable(DOCS, IVFFLAT.spec(lists=100), 99)
    assert "lists = 10" in caught.value.hint
    with pytest.raises(IndexRefused) as caught:
        check_buildable(DOCS, IVFFLAT.spec(lists=100), 4)
    assert "lists = 4" in caught.value.hint  # what the hint says must be accepted
    check_buildable(DOCS, IVFFLAT.spec(lists=4), 4)


# --- names --------------------------------------------------------------------------------------


def test_a_name_says_what_it_is() -> None:
    assert index_name(DOCS, HNSW.spec()) == "docs_embedding_hnsw_cosine_16_64"
    table = VectorTable(name="docs", embedding="vec", distance=Distance.L2)
    assert index_name(table, IVFFLAT.spec(lists=50)) == "docs_vec_ivfflat_l2_50"


NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
SPECS = st.one_of(
    st.builds(IVFFLAT.spec, lists=st.integers(1, 32768)),
    st.builds(HNSW.spec, m=st.integers(2, 100), ef_construction=st.integers(200, 1000)),
)


@given(
    name=NAMES, embedding=NAMES, distance=st.sampled_from(Distance), specs=st.tuples(SPECS, SPECS)
)
def test_names_fit_and_differ(
    name: str, embedding: str, distance: Distance, specs: tuple[Any, Any]
) -> None:
    """PostgreSQL cuts at 63 bytes, in silence: two that differ after that would be one."""
    table = VectorTable(name=name, embedding=embedding, distance=distance)
    names = [index_name(table, spec) for spec in specs]
    assert all(0 < len(made.encode()) <= 63 for made in names)
    assert (names[0] == names[1]) == (specs[0] == specs[1])


def test_long_tables_that_differ_at_their_end_get_names_of_their_own() -> None:
    names = {
        index_name(VectorTable(name=f"documents_product_manuals_2023_{part}"), HNSW.spec())
        for part in ("english", "german", "ελληνικά", "日本語")
    }
    assert len(names) == 4
    assert all(name.startswith("documents_") for name in names)


def test_a_name_that_postgresql_would_cut_is_refused() -> None:
    assert make_index(DOCS, HNSW.spec(), "n" * 63).name == "n" * 63
    for name in ("n" * 64, "ü" * 32):
        with pytest.raises(LimitExceeded, match="64 bytes"):
            make_index(DOCS, HNSW.spec(), name)


# --- texts --------------------------------------------------------------------------------------


def test_create_statement() -> None:
    assert create_statement(DOCS, HNSW.spec(m=8, ef_construction=40)) == (
        "CREATE INDEX docs_embedding_hnsw_cosine_8_40 ON vecscope.docs "
        "USING hnsw (embedding vector_cosine_ops) WITH (m = 8, ef_construction = 40)"
    )
    table = VectorTable(
        name="My Docs",
        embedding="50%",
        distance=Distance.INNER_PRODUCT,
        storage=Storage.HALFVEC,
        dimensions=3072,
    )
    assert create_statement(table, IVFFLAT.spec(lists=20), name="by hand", concurrently=True) == (
        'CREATE INDEX CONCURRENTLY "by hand" ON "My Docs" '
        'USING ivfflat ("50%" halfvec_ip_ops) WITH (lists = 20)'
    )


def calls(source: str) -> dict[str, ast.Call]:
    """op.create_index and op.drop_index of a migration, which holds nothing else that runs."""
    module = ast.parse(source)
    kinds = [type(node).__name__ for node in module.body]
    assert kinds == ["Expr", "ImportFrom", *["Assign"] * 4, *["FunctionDef"] * 2]
    found = {}
    for function in module.body[-2:]:
        assert isinstance(function, ast.FunctionDef)
        (block,) = function.body
        assert isinstance(block, ast.With)
        (statement,) = block.body
        assert isinstance(statement, ast.Expr)
        assert isinstance(statement.value, ast.Call)
        found[function.name] = statement.value
    return found


def test_migration_text() -> None:
    source = migration_text(DOCS, HNSW.spec(), created=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    module = ast.parse(source)
    assert ast.get_docstring(module) == "HNSW index on vecscope.docs.embedding"
    assert "revision = '20260102030405'" in source
    found = calls(source)
    assert [ast.literal_eval(value) for value in found["upgrade"].args] == [
        "docs_embedding_hnsw_cosine_16_64",
        "docs",
        ["embedding"],
    ]
    assert {k.arg: ast.literal_eval(k.value) for k in found["upgrade"].keywords} == {
        "schema": "vecscope",
        "unique": False,
        "postgresql_using": "hnsw",
        "postgresql_with": {"m": 16, "ef_construction": 64},
        "postgresql_ops": {"embedding": "vector_cosine_ops"},
        "postgresql_concurrently": True,
    }
    assert ast.literal_eval(found["downgrade"].args[0]) == "docs_embedding_hnsw_cosine_16_64"


@given(name=NAMES, schema=NAMES, embedding=NAMES)
@pytest.mark.parametrize(
    "hostile", ["", '"""\nimport os\n"""', "'''", "\\", '"', "{x}\n\r", "\\N{"]
)
def test_no_name_breaks_out_of_a_migration(
    hostile: str, name: str, schema: str, embedding: str
) -> None:
    table = VectorTable(
        name=name + hostile, schema=schema + hostile, embedding=embedding + hostile, dimensions=3
    )
    found = calls(migration_text(table, IVFFLAT.spec(), revision=hostile, down_revision=hostile))
    for call in found.values():
        keywords = {k.arg: ast.literal_eval(k.value) for k in call.keywords}
        assert keywords["schema"] == table.schema
    assert ast.literal_eval(found["upgrade"].args[1]) == table.name
    assert ast.literal_eval(found["upgrade"].args[2]) == [table.embedding]


def test_labels() -> None:
    assert BuildProgress("Loading rows", 3, 4).share == 0.75
    assert BuildProgress("Loading rows", 5, 4).share == 1.0
    assert BuildProgress("Waiting", 0, 0).share is None
    index = IndexDescription("i", HNSW, {"m": 8}, "vector_l2_ops", 1, True)
    assert index.label == "HNSW (m 8)"
