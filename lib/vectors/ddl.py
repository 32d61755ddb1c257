"""CREATE INDEX and DROP INDEX: what can be indexed, what an index is called, its statement."""

from __future__ import annotations

import hashlib
from typing import Any, assert_never

from sqlalchemy import ColumnElement, Index, MetaData
from sqlalchemy.schema import CreateIndex, DropIndex

from lib.errors import (
    IndexRefused,
    LimitExceeded,
)
from lib.vectors.distance import MAX_BIT_DIMENSIONS, IndexedAs, Storage
from lib.vectors.index_methods import IndexMethod, IndexSpec
from lib.vectors.sql import printed
from lib.vectors.statements import as_halfvec, sign_bits
from lib.vectors.table import VectorTable

_NAME_BYTES = 63  # PostgreSQL's NAMEDATALEN − 1


def _dimensions(table: VectorTable) -> int:
    """Raises IndexRefused where the column has no fixed number of them."""
    if table.dimensions is None:
        raise IndexRefused(
            f"The column {table.embedding} has no fixed number of dimensions.",
            hint="Give it one: ALTER TABLE … ALTER COLUMN … TYPE vector(n).",
        )
    return table.dimensions


def check_indexable(table: VectorTable) -> None:
    """Raises IndexRefused, with the way out, where the column cannot have such an index."""
    dimensions, most = _dimensions(table), table.max_index_dimensions
    if dimensions > most:
        half = Storage.HALFVEC.max_index_dimensions
        way_out = (
            f"Store the embeddings as halfvec, which can be indexed up to {half:,} dimensions."
            if dimensions <= half
            else f"Take a model with fewer dimensions; halfvec can be indexed up to {half:,}, "
            f"bits up to {MAX_BIT_DIMENSIONS:,}."
        )
        held = table.indexed_as.label or f"a {table.element_type.value}"
        raise IndexRefused(
            f"{held.capitalize()} with {dimensions:,} dimensions cannot be indexed: "
            f"pgvector's limit is {most:,}.",
            hint=way_out,
        )


def check_buildable(table: VectorTable, spec: IndexSpec, rows: int) -> None:
    """Raises IndexRefused where the index could be built but would be of no use.

    rows: how many rows have a usable embedding now. IVFFlat takes its centres from the rows that
    are there: with fewer rows than lists they mean nothing, and stay so when rows are added later.
    """
    check_indexable(table)
    if rows == 0:
        raise IndexRefused(
            "There is no row with an embedding yet, so an index would learn nothing.",
            hint="Load and embed the documents first.",
        )
    option = spec.method.rows_option
    if rows < spec.rows_needed:
        enough = min(spec.method.recommended(rows)[option], rows)
        raise IndexRefused(
            f"{rows:,} rows cannot give {spec.rows_needed:,} {option} meaningful centres.",
            hint=f"Take {option} = {enough}, HNSW, or load more rows.",
            field=option,
        )


_MEASURES = {
    IndexedAs.COLUMN: "{}",
    IndexedAs.HALFVEC: "halfvec_{}",
    IndexedAs.BINARY: "hamming",
}


def index_name(table: VectorTable, spec: IndexSpec) -> str:
    """A name that says what it is, in PostgreSQL's 63 bytes.

    Where the table's name has to be cut, a part of its hash keeps the name its own: tables of one
    schema may differ only at their end.
    """
    options = "_".join(str(value) for value in spec.options.values())
    measure = _MEASURES[table.indexed_as].format(table.distance.value)
    tail = f"_{table.embedding}_{spec.method.name}_{measure}_{options}"
    room = _NAME_BYTES - len(tail.encode())
    if room < 8:
        tail = f"_{spec.method.name}_{measure}_{options}"
        room = _NAME_BYTES - len(tail.encode())
    start = table.name.encode()
    if len(start) > room:
        mark = f"_{hashlib.sha256(start).hexdigest()[:6]}"
        tail, start = mark + tail, start[: room - len(mark)]
    return start.decode(errors="ignore") + tail


def make_index(
    table: VectorTable, spec: IndexSpec, name: str | None = None, *, concurrently: bool = False
) -> Index:
    """The SQLAlchemy Index, on a copy of the table object, so that no other index is on it.

    Raises LimitExceeded for a name that PostgreSQL would cut.
    """
    copy = table.table.to_metadata(MetaData())
    name = name or index_name(table, spec)
    if len(name.encode()) > _NAME_BYTES:
        raise LimitExceeded(
            f"The index name has {len(name.encode())} bytes, more than {_NAME_BYTES}.",
            hint="Take a shorter name.",
            field="name",
        )
    embedding = copy.c[table.embedding]
    options: dict[str, Any] = {
        "postgresql_using": spec.method.name,
        "postgresql_with": spec.options,
        "postgresql_concurrently": concurrently,
    }
    expression = _indexed_expression(table, embedding)
    if expression is not None:
        # SQLAlchemy finds an expression's operator class by its label.
        operators = {"indexed": operator_class(table, spec.method)}
        return Index(name, expression.label("indexed"), postgresql_ops=operators, **options)
    operators = {table.embedding: operator_class(table, spec.method)}
    return Index(name, embedding, postgresql_ops=operators, **options)


def operator_class(table: VectorTable, method: IndexMethod) -> str:
    """Which an index by this method must have to serve a search of the table."""
    return method.operator_class(table.distance, table.element_type)


def _indexed_expression(
    table: VectorTable, embedding: ColumnElement[Any]
) -> ColumnElement[Any] | None:
    """What is indexed in place of the column itself."""
    match table.indexed_as:
        case IndexedAs.COLUMN:
            return None
        case IndexedAs.HALFVEC:
            return as_halfvec(embedding, _dimensions(table))
        case IndexedAs.BINARY:
            return sign_bits(embedding, _dimensions(table))
        case _:
            assert_never(table.indexed_as)


def create_statement(
    table: VectorTable, spec: IndexSpec, *, name: str | None = None, concurrently: bool = False
) -> str:
    """CREATE INDEX [CONCURRENTLY], to read or to paste."""
    return printed(CreateIndex(make_index(table, spec, name, concurrently=concurrently)))


def drop_statement(table: VectorTable, name: str) -> DropIndex:
    copy = table.table.to_metadata(MetaData())
    index = Index(name, copy.c[table.embedding], postgresql_concurrently=True)
    return DropIndex(index, if_exists=True)
