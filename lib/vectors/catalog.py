"""Which approximate indexes a table has: the one question to PostgreSQL's catalogue about them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from sqlalchemy import ARRAY, BindParameter, Boolean, Text, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from lib.vectors.ddl import operator_class
from lib.vectors.distance import IndexedAs
from lib.vectors.index_methods import IndexMethod, get_method, index_methods
from lib.vectors.sql import quoted_name
from lib.vectors.table import VectorTable


@dataclass(frozen=True, slots=True)
class IndexDescription:
    """An approximate index that exists."""

    name: str
    method: IndexMethod
    options: Mapping[str, int]
    operator_class: str
    size_bytes: int
    valid: bool
    """False for one whose CONCURRENTLY build broke."""
    indexed_as: IndexedAs = IndexedAs.COLUMN
    expression: str = ""
    """SQL of what it is on, where that is no column."""

    @property
    def short_label(self) -> str:
        stored = self.indexed_as.label
        return f"{self.method.label} on {stored}" if stored else self.method.label

    @property
    def label(self) -> str:
        options = ", ".join(f"{key} {value}" for key, value in self.options.items())
        return f"{self.short_label} ({options})" if options else self.short_label

    def searched_table(self, table: VectorTable) -> VectorTable:
        """The table that it is on, to be searched as the index holds it; by the column itself where
        it is made for another distance than the table's."""
        searched = replace(table, indexed_as=self.indexed_as)
        needed = operator_class(searched, self.method)
        return searched if needed == self.operator_class else table.by_column


def choose_index(indexes: Iterable[IndexDescription]) -> IndexDescription | None:
    """The one that searches go by: a valid one, on the column itself before on an expression."""
    return min(
        (index for index in indexes if index.valid),
        key=lambda index: index.indexed_as is not IndexedAs.COLUMN,
        default=None,
    )


def access_methods_parameter(name: str = "methods") -> BindParameter[list[str]]:
    """The access methods of the index methods that are registered when the statement runs."""
    return bindparam(
        name,
        callable_=lambda: [method.name for method in index_methods()],
        type_=cast(Any, ARRAY(Text())),
    )


_INDEXES = text(
    """
    SELECT i.relname AS name, am.amname AS method, i.reloptions AS options,
           oc.opcname AS operator_class, pg_relation_size(i.oid) AS size_bytes,
           x.indisvalid AS valid,
           CASE WHEN x.indkey[0] = 0 THEN held.typname END AS expression_type,
           CASE WHEN x.indkey[0] = 0 THEN pg_get_indexdef(i.oid, 1, true) END AS expression
    FROM pg_index AS x
    JOIN pg_class AS i ON i.oid = x.indexrelid
    JOIN pg_am AS am ON am.oid = i.relam
    JOIN pg_opclass AS oc ON oc.oid = x.indclass[0]
    JOIN pg_attribute AS a ON a.attrelid = x.indrelid AND a.attname = :embedding
    JOIN pg_attribute AS ia ON ia.attrelid = i.oid AND ia.attnum = 1
    JOIN pg_type AS held ON held.oid = ia.atttypid
    WHERE x.indrelid = to_regclass(:relation) AND am.amname = ANY(:methods)
      AND (x.indkey[0] = a.attnum
          -- on an expression, which PostgreSQL knows to depend on the column, of all its dimensions
          OR x.indkey[0] = 0 AND :all_expressions
          OR x.indkey[0] = 0 AND held.typname IN ('halfvec', 'bit') AND ia.atttypmod = a.atttypmod
              AND EXISTS (
                  SELECT FROM pg_depend AS d
                  WHERE d.classid = 'pg_class'::regclass AND d.objid = i.oid
                    AND d.refobjid = x.indrelid AND d.refobjsubid = a.attnum))
    ORDER BY i.relname
    """
).bindparams(
    bindparam("relation"),
    bindparam("embedding"),
    bindparam("all_expressions", type_=Boolean()),
    access_methods_parameter(),
)


_EXPRESSION_TYPES = {"halfvec": IndexedAs.HALFVEC, "bit": IndexedAs.BINARY}


async def list_indexes(
    db: AsyncSession | AsyncConnection, table: VectorTable, *, all_expressions: bool = False
) -> list[IndexDescription]:
    """The approximate indexes on the table's embedding, by name: on the column itself, on its
    halves, or on its bits. all_expressions: also those on any other expression, which no search
    here asks."""
    parameters = {
        "relation": quoted_name(table.table),
        "embedding": table.embedding,
        "all_expressions": all_expressions,
    }
    rows = await db.execute(_INDEXES, parameters)
    return [
        IndexDescription(
            name=row.name,
            method=get_method(row.method),
            options={
                key: int(value) for key, _, value in (o.partition("=") for o in row.options or ())
            },
            operator_class=row.operator_class,
            size_bytes=row.size_bytes,
            valid=row.valid,
            indexed_as=_EXPRESSION_TYPES.get(row.expression_type, IndexedAs.COLUMN),
            expression=row.expression or "",
        )
        for row in rows
    ]
