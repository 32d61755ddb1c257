"""All vectors of a table, block by block."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import psycopg
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    cast,
    func,
    literal_column,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncSession

from lib.vectors.binary import binary_expression, decode_vectors
from lib.vectors.distance import FloatArray
from lib.vectors.sql import printed, quoted_name
from lib.vectors.table import VectorTable

BLOCK_ROWS = 8192

# A part is what the server makes one value of; larger ones leave its processor's cache.
_PART_BYTES = 2**19
_PARTS = 8  # fetched at once

# Only a plain heap without children has all its rows on the pages that its size tells of; a table
# that Citus distributes looks like one.
_HEAP = text(
    """
    SELECT a.atttypid AS id_type, pg_relation_size(c.oid) AS heap_bytes,
           pg_table_size(c.oid) AS all_bytes, current_setting('block_size')::int AS page_bytes
    FROM pg_class AS c
    JOIN pg_am AS m ON m.oid = c.relam
    JOIN pg_attribute AS a ON a.attrelid = c.oid
    WHERE c.oid = to_regclass(:relation) AND a.attname = :id
      AND c.relkind IN ('r', 'm') AND m.amname = 'heap' AND NOT c.relhassubclass
      AND to_regclass('pg_catalog.pg_dist_partition') IS NULL
    """
)


async def stream_vectors(
    db: AsyncSession,
    table: VectorTable,
    *,
    where: Sequence[ColumnElement[bool]] = (),
    block_rows: int = BLOCK_ROWS,
) -> AsyncGenerator[tuple[list[Any], FloatArray]]:
    """The table's vectors in blocks of ids (b) and float32 rows (b, d), out of one snapshot; rows
    without an embedding are left out. b is at most block_rows, or what a few pages hold.

    A server-side cursor sends them in binary, which is exact and needs no parsing: all rows of
    some pages as one value, where the table is a plain one that is read whole, else row by row
    (docs/decisions/024-vectors-are-read-by-pages.md). Values of ``where`` are written into the
    statement. Until the transaction ends PostgreSQL compiles no more statements (jit).
    Raises DimensionMismatch where a column without a fixed number of dimensions has several.
    """
    connection: Any = await (await db.connection()).get_raw_connection()
    driver = connection.driver_connection
    # Rows that are few may be found by an index, which pages would bypass.
    pages = None if where else await _pages_of_part(db, driver, table)
    statement = _rows(table, where) if pages is None else _parts(table, pages)
    # It guesses a thousand parts, and would take its time to compile what is run a few times.
    await db.execute(select(func.set_config("jit", "off", True)))
    async with psycopg.AsyncServerCursor(driver, "vecscope_vectors") as cursor:
        await cursor.execute(printed(statement).encode(), binary=True)
        if pages is None:
            while rows := await cursor.fetchmany(block_rows):
                ids = [row[0] for row in rows]
                yield ids, decode_vectors([row[1] for row in rows], len(ids), table.storage)
            return
        ids, sent = list[Any](), list[bytes]()
        while parts := await cursor.fetchmany(_PARTS):
            if ids and len(ids) + sum(len(part[0]) for part in parts) > block_rows:
                yield ids, decode_vectors(sent, len(ids), table.storage)
                ids, sent = [], []
            for some, vectors in parts:
                ids += some
                sent.append(vectors)
        if ids:
            yield ids, decode_vectors(sent, len(ids), table.storage)


async def _pages_of_part(
    db: AsyncSession, driver: psycopg.AsyncConnection[Any], table: VectorTable
) -> int | None:
    """How many pages make a part; None where the table cannot be read by pages, or psycopg does
    not know arrays of its ids."""
    named = {"relation": quoted_name(table.table), "id": table.id}
    heap = (await db.execute(_HEAP, named)).one_or_none()
    if heap is None or not heap.heap_bytes:
        return None
    known = driver.adapters.types.get(heap.id_type)
    if known is None or not known.array_oid:
        return None
    # Long vectors are kept beside the heap: then many rows are on a page.
    return max(1, int(_PART_BYTES * heap.heap_bytes // (heap.all_bytes * heap.page_bytes)))


def _rows(table: VectorTable, where: Sequence[ColumnElement[bool]]) -> Select[Any]:
    return select(
        table.column(table.id), binary_expression(table.column(table.embedding), table.storage)
    ).where(table.column(table.embedding).is_not(None), *where)


def _parts(table: VectorTable, pages: int) -> Select[Any]:
    """The ids and vectors of each ``pages`` pages, an array and one value (a TID range scan)."""
    size = func.pg_relation_size(quoted_name(table.table), type_=BigInteger)
    page_bytes = cast(func.current_setting("block_size"), BigInteger)
    page = func.generate_series(0, size // page_bytes, pages).alias("page")
    part = (
        select(
            func.array_agg(table.column(table.id)).label("ids"),
            func.string_agg(
                binary_expression(table.column(table.embedding), table.storage),
                literal_column("''"),
            ).label("vectors"),
        )
        .where(
            table.column(table.embedding).is_not(None),
            text("ctid >= format('(%s,0)', page.page)::tid"),
            text(f"ctid < format('(%s,0)', page.page + {pages:d})::tid"),
        )
        .lateral("part")
    )
    return select(part.c.ids, part.c.vectors).select_from(page).where(part.c.ids.is_not(None))
