"""Pure builders of the SELECTs that search: no database is needed to make or read one.

Every distance query keeps the one form that pgvector can answer from an index: ``ORDER BY column
operator constant LIMIT n``, ascending, on the bare column. A threshold is applied outside of a
MATERIALIZED CTE, since ``WHERE distance < x`` alone never uses an index. Limits are written into
the text, not sent as parameters, so that a plan never has to guess how many rows are wanted.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, Protocol, assert_never

from sqlalchemy import (
    CTE,
    ColumnElement,
    Double,
    Integer,
    Select,
    Text,
    bindparam,
    cast,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import BIT, REGCONFIG, TSQUERY

from lib.errors import InvalidInput
from lib.vectors.distance import Distance, FloatArray, IndexedAs, Storage, check_embedding
from lib.vectors.table import VectorTable
from lib.vectors.tuning import OVERSAMPLING, RESULT_LIMIT

NAN: ColumnElement[Any] = literal_column("'NaN'::float8", Double())


class TextQuery(StrEnum):
    """How a question becomes a full-text query."""

    WEB = "web"
    PLAIN = "plain"
    ANY = "any"


class TextMethod(StrEnum):
    """How documents that match a text are ranked.

    ts_rank: PostgreSQL's sum over the words of weight / position. ts_rank_cd: by cover density,
    how near each other the words stand. bm25: by how rare the words are, how often they occur and
    how long the document is (lib.search.bm25).
    """

    TS_RANK = "ts_rank"
    TS_RANK_CD = "ts_rank_cd"
    BM25 = "bm25"


class TextMatching(Protocol):
    """What matches a text, and how well."""

    def __call__(
        self, where: Sequence[ColumnElement[bool]], most: int | None = None
    ) -> Select[Any]:
        """Filters → SELECT of (id, text_value), larger is better: every row that matches, or at
        least the ``most`` best of them. One that leaves rows out has two more columns: ``matches``,
        how many it met, and ``more_match``, whether there may be more."""
        ...


@dataclass(frozen=True)
class AccessPath:
    """How a search reaches its candidate rows: the index of a copy of the table's vectors (a
    candidate), or the table's own index on an expression of its column."""

    table: VectorTable
    """The copy; its ids are those of the table that is searched."""
    where: Sequence[ColumnElement[bool]] = ()
    """The filters over the copy's own columns, which there take the place of the table's."""
    oversampling: int = OVERSAMPLING.default
    """Only of an index on bits: see :func:`candidate_rows_statement`."""

    def fetched(self, limit: int) -> int:
        """How many rows the index is to bring, so that ``limit`` are found."""
        is_binary = self.table.indexed_as is IndexedAs.BINARY
        return limit * self.oversampling if is_binary else limit


# --- the pieces ---------------------------------------------------------------------------------


def distance_to(
    table: VectorTable, query_embedding: FloatArray | None, name: str = "query_embedding"
) -> ColumnElement[Any]:
    """``embedding <operator> query``: the expression that the index is made for.

    query_embedding: None where the statement is given it later, by the parameter's name.
    """
    return _distance(table, table.column(table.embedding), _query(table, query_embedding, name))


def _query(table: VectorTable, embedding: FloatArray | None, name: str) -> ColumnElement[Any]:
    return bindparam(name, embedding, type_=table.embedding_type)


def _distance(
    table: VectorTable, embedding: ColumnElement[Any], query: ColumnElement[Any]
) -> ColumnElement[Any]:
    distance: ColumnElement[Any] = embedding.op(table.distance.operator, return_type=Double())(
        query
    )
    return distance


def sign_bits(embedding: ColumnElement[Any], dimensions: int) -> ColumnElement[Any]:
    """``binary_quantize(embedding)::bit(d)``, one bit a dimension, 1 where it is above 0: the
    expression that an index on bits is made on (pgvector README, "Binary Quantization")."""
    return cast(func.binary_quantize(embedding), BIT(dimensions))


def as_halfvec(embedding: ColumnElement[Any], dimensions: int) -> ColumnElement[Any]:
    """``embedding::halfvec(d)``: the expression that an index of half the size is made on (pgvector
    README, "Half-Precision Indexing")."""
    return cast(embedding, Storage.HALFVEC.column_type(dimensions))


def is_category(table: VectorTable, category: str) -> ColumnElement[bool]:
    """Raises InvalidInput where the table has no category column."""
    if table.category is None:
        raise InvalidInput(
            f"The table {table.qualified_name} has no category column to filter by.",
            hint="Name one when you attach the table.",
            field="category",
        )
    # unique: two such filters in one statement must not share their value
    value = bindparam("category", sendable(category), type_=Text(), unique=True)
    return table.column(table.category) == value


def text_match(
    table: VectorTable, query_text: str, kind: TextQuery
) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """The document's tsvector and the question's tsquery.

    ANY joins the words of the ALL form by OR: lexemes hold no spaces, so " & " is the operator
    only. All of it is immutable, so that the planner sees the words and can use a GIN index, be it
    on the tsvector column or on ``to_tsvector('english', content)``. A NULL content never matches.
    """
    config = literal_column(f"'{table.text_config}'::regconfig", REGCONFIG)
    document = (
        table.column(table.search_vector)
        if table.search_vector is not None
        else func.to_tsvector(config, _content(table))
    )
    words = bindparam("query_text", query_text, type_=Text())
    if kind is TextQuery.WEB:
        return document, func.websearch_to_tsquery(config, words, type_=TSQUERY)
    all_words = func.plainto_tsquery(config, words, type_=TSQUERY)
    if kind is TextQuery.PLAIN:
        return document, all_words
    either = func.replace(cast(all_words, Text), literal_column("' & '"), literal_column("' | '"))
    return document, cast(either, TSQUERY)


def _content(table: VectorTable) -> ColumnElement[Any]:
    if table.content is None:
        raise InvalidInput(f"{table.qualified_name} has no texts: it is a copy of vectors.")
    return table.column(table.content)


def document_columns(
    table: VectorTable, content_characters: int | None = None
) -> list[ColumnElement[Any]]:
    """The document's columns; content_characters: no more of its text than this."""
    columns: list[ColumnElement[Any]] = [
        table.column(name).label(attribute) for attribute, name in table.document_columns.items()
    ]
    if content_characters is not None:
        beginning = func.left(_content(table), inline_count(content_characters), type_=Text())
        columns = [beginning.label("content") if c.key == "content" else c for c in columns]
    return columns


def inline_count(value: int) -> ColumnElement[int]:
    """A number that is written into the SQL itself."""
    return literal_column(str(int(value)), Integer)


def checked_embedding(table: VectorTable, query_embedding: FloatArray) -> FloatArray:
    return check_embedding(
        query_embedding,
        dimensions=table.dimensions,
        distance=table.distance,
        storage=table.indexed_storage,
    )


def check_query_text(query_text: str) -> str:
    """The question as documents are stored: NFC, and only what PostgreSQL can take.

    Raises InvalidInput for an empty one.
    """
    text = unicodedata.normalize("NFC", sendable(query_text)).strip()
    if not text:
        raise InvalidInput("The question is empty.", hint="Type some words.", field="query")
    return text


def sendable(text: str) -> str:
    """PostgreSQL takes no NUL, and UTF-8 no half of a surrogate pair, which is what Python makes
    of bytes on the command line that are not UTF-8."""
    return text.replace("\x00", " ").encode("utf-8", "replace").decode()


# --- by vector ----------------------------------------------------------------------------------


def nearest_statement(
    table: VectorTable,
    query_embedding: FloatArray,
    limit: int = RESULT_LIMIT.default,
    *,
    where: Sequence[ColumnElement[bool]] = (),
    access_path: AccessPath | None = None,
) -> Select[Any]:
    """The ``limit`` rows nearest to query_embedding (d,), nearest first, with ``distance``.

    access_path: the copy that finds them; ``distance`` is the copy's, and rows that the table has
    no more are left out.
    Raises LimitExceeded, DimensionMismatch, InvalidVector.
    """
    RESULT_LIMIT.check(limit, "limit")
    if access_path is None and table.is_indexed_by_expression:
        access_path = AccessPath(table, where)
    if access_path is not None:
        found = candidate_rows_statement(access_path, query_embedding, limit)
        nearest = materialized(table, found, "found")
        return (
            select(*document_columns(table), nearest.c.distance)
            .join_from(nearest, table.rows, table.column(table.id) == nearest.c.id)
            .order_by(nearest.c.distance, nearest.c.id)
        )
    embedding = checked_embedding(table, query_embedding)
    statement = _nearest(table, limit).params(query_embedding=embedding)
    return statement.where(*where) if where else statement


@lru_cache(maxsize=64)
def _nearest(table: VectorTable, limit: int) -> Select[Any]:
    """Without its embedding, so that a search need not build it and work out its key again."""
    distance = distance_to(table, None)
    return (
        select(*document_columns(table), distance.label("distance"))
        .where(table.column(table.embedding).is_not(None))
        .order_by(distance)
        .limit(inline_count(limit))
    )


def candidate_rows_statement(
    access_path: AccessPath, query_embedding: FloatArray, limit: int = RESULT_LIMIT.default
) -> Select[Any]:
    """(id, distance) of the ``limit`` nearest in the copy, nearest first.

    Of a copy whose index is on bits: ``oversampling · limit`` rows through the index, by Hamming
    distance, and of these the ``limit`` nearest by the full vector. An HNSW index brings no more
    than ``ef_search`` of them, an IVFFlat index no more than its probed lists hold. Where it is on
    halves: ``limit`` rows by the distance of their halves, ordered and told by the full vector.
    Raises as :func:`nearest_statement`; InvalidVector also for a query that halves cannot hold.
    """
    copy = access_path.table
    # A parameter of its own: the copy's storage may differ from the table's, and so the type.
    query = _query(copy, checked_embedding(copy, query_embedding), "nearest_to")
    row_id, embedding = copy.column(copy.id), copy.column(copy.embedding)
    where = (embedding.is_not(None), *access_path.where)
    if not copy.is_indexed_by_expression:
        distance = _distance(copy, embedding, query)
        return (
            select(row_id.label("id"), distance.label("distance"))
            .where(*where)
            .order_by(distance)
            .limit(inline_count(limit))
        )
    alike = (
        select(row_id.label("id"), embedding.label("embedding"))
        .where(*where)
        .order_by(_indexed_distance(access_path, embedding, query))
        .limit(inline_count(access_path.fetched(limit)))
    )
    # MATERIALIZED: one ORDER BY inside the other would let the planner sort every row.
    nearby = materialized(copy, alike, _CANDIDATES_CTE[copy.indexed_as])
    exact = _distance(copy, nearby.c.embedding, query).label("distance")
    return select(nearby.c.id, exact).order_by(exact).limit(inline_count(limit))


_CANDIDATES_CTE = {
    IndexedAs.COLUMN: "by_column",
    IndexedAs.HALFVEC: "by_halves",
    IndexedAs.BINARY: "by_bits",
}


def _indexed_distance(
    access_path: AccessPath, embedding: ColumnElement[Any], query: ColumnElement[Any]
) -> ColumnElement[Any]:
    """By which an index on an expression is asked; written as that expression is."""
    copy = access_path.table
    dimensions = _dimensions(copy)
    # A parameter is of the type of its first cast, here and where the full vectors rank.
    typed = cast(query, copy.embedding_type)
    match copy.indexed_as:
        case IndexedAs.COLUMN:
            return _distance(copy, embedding, query)
        case IndexedAs.HALFVEC:
            return _distance(copy, as_halfvec(embedding, dimensions), as_halfvec(typed, dimensions))
        case IndexedAs.BINARY:
            OVERSAMPLING.check(access_path.oversampling, "oversampling")
            bits = sign_bits(embedding, dimensions)
            query_bits = func.binary_quantize(typed)
            hamming: ColumnElement[Any] = bits.op("<~>", return_type=Double())(query_bits)
            return hamming
        case _:
            assert_never(copy.indexed_as)


def candidate_statement(
    table: VectorTable,
    query_embedding: FloatArray,
    k: int = RESULT_LIMIT.default,
    where: Sequence[ColumnElement[bool]] = (),
    oversampling: int = OVERSAMPLING.default,
) -> Select[Any]:
    """(id, distance) of the k nearest in a candidate's own table, nearest first, whatever its index
    holds: what the lab measures, and the same that a search through it asks.

    The query is the one parameter, ``nearest_to``. oversampling: only of an index on bits.
    Raises LimitExceeded, DimensionMismatch, InvalidVector.
    """
    RESULT_LIMIT.check(k, "k")
    return candidate_rows_statement(AccessPath(table, where, oversampling), query_embedding, k)


def _dimensions(table: VectorTable) -> int:
    if table.dimensions is None:
        raise InvalidInput(f"The column {table.embedding} has no fixed number of dimensions.")
    return table.dimensions


def threshold_statement(
    table: VectorTable,
    query_embedding: FloatArray,
    max_distance: float,
    limit: int = RESULT_LIMIT.default,
    *,
    where: Sequence[ColumnElement[bool]] = (),
    access_path: AccessPath | None = None,
) -> Select[Any]:
    """:func:`nearest_statement`, then only rows with distance < max_distance.

    pgvector README, "Filtering": the MATERIALIZED CTE keeps the threshold out of the index scan.
    """
    check_max_distance(table, max_distance)
    statement = nearest_statement(
        table, query_embedding, limit, where=where, access_path=access_path
    )
    nearest = materialized(table, statement, "nearest")
    return (
        select(nearest)
        .where(nearest.c.distance < bindparam("max_distance", max_distance, type_=Double()))
        .order_by(nearest.c.distance)
    )


def check_max_distance(table: VectorTable, max_distance: float) -> float:
    """Raises InvalidInput for a threshold that is no number, or can never let a row through."""
    if not math.isfinite(max_distance):
        raise InvalidInput("The distance threshold is not a number.", field="max_distance")
    if table.distance.never_negative and max_distance <= 0:
        raise InvalidInput(
            f"A distance threshold of {max_distance:g} lets nothing through: "
            f"the {table.distance.label} is never below 0.",
            hint="Take a threshold above 0.",
            field="max_distance",
        )
    return max_distance


def available_statement(
    table: VectorTable, at_most: int, *, where: Sequence[ColumnElement[bool]] = ()
) -> Select[Any]:
    """How many rows could be found at all, counted no further than ``at_most``: rows with an
    embedding, and under cosine one that is not zero."""
    embedding = table.column(table.embedding)
    findable: list[ColumnElement[Any]] = [embedding.is_not(None), *where]
    if table.distance is Distance.COSINE:
        norm = func.vector_norm if table.storage is Storage.VECTOR else func.l2_norm
        findable.append(norm(embedding) > 0)
    found = (
        select(literal_column("1"))
        .select_from(table.rows)
        .where(*findable)
        .limit(inline_count(at_most))
        .subquery()
    )
    return select(func.count()).select_from(found)


# --- by text ------------------------------------------------------------------------------------


def text_statement(
    table: VectorTable,
    query_text: str,
    limit: int = RESULT_LIMIT.default,
    *,
    kind: TextQuery = TextQuery.WEB,
    matching: TextMatching | None = None,
    where: Sequence[ColumnElement[bool]] = (),
) -> Select[Any]:
    """The ``limit`` rows that match and rank highest, with ``text_value``, ``text_rank`` (1 is
    best) and ``matches`` (how many rows match in all).

    matching: what matches and its value; by default :func:`full_text` by ts_rank.
    """
    RESULT_LIMIT.check(limit, "limit")
    best = text_leg(table, matching or full_text(table, query_text, kind), limit, where)
    return (
        select(*document_columns(table), best.c.text_value, best.c.text_rank, *match_counts(best))
        .join_from(best, table.rows, table.column(table.id) == best.c.id)
        .order_by(best.c.text_rank)
    )


def full_text(
    table: VectorTable, query_text: str, kind: TextQuery, method: TextMethod = TextMethod.TS_RANK
) -> TextMatching:
    """PostgreSQL's own full text: documents that match, by ts_rank or ts_rank_cd.

    Raises InvalidInput for an empty question, and for BM25, which needs its own index.
    """
    if method is TextMethod.BM25:
        raise InvalidInput("BM25 needs the collection's lexical index.", field="text_method")
    document, query = text_match(table, check_query_text(query_text), kind)
    rank = func.ts_rank if method is TextMethod.TS_RANK else func.ts_rank_cd

    def matching(
        where: Sequence[ColumnElement[bool]],
        most: int | None = None,  # noqa: ARG001 — each match has to be ranked
    ) -> Select[Any]:
        return select(
            table.column(table.id).label("id"),
            rank(document, query, type_=Double()).label("text_value"),
        ).where(document.bool_op("@@")(query), *where)

    return matching


MORE_MATCH = "more_match"


def match_counts(rows: CTE) -> list[ColumnElement[Any]]:
    return [rows.c[name] for name in ("matches", MORE_MATCH) if name in rows.c]


def text_leg(
    table: VectorTable,
    matches: TextMatching,
    limit: int,
    where: Sequence[ColumnElement[bool]],
) -> CTE:
    """(id, text_value, text_rank, matches) of the ``limit`` best, and ``more_match`` where the
    matching has it."""
    matching = materialized(table, matches(where, limit), "text_matches")
    order = (matching.c.text_value.desc(), matching.c.id)
    counted = (
        match_counts(matching)
        if MORE_MATCH in matching.c
        else [func.count().over().label("matches")]
    )
    best = (
        select(
            matching.c.id,
            matching.c.text_value,
            func.row_number().over(order_by=order).label("text_rank"),
            *counted,
        )
        .order_by(*order)
        .limit(inline_count(limit))
    )
    return named_cte(table, best, "text_leg")


# --- both ---------------------------------------------------------------------------------------


def named_cte(table: VectorTable, statement: Select[Any], name: str) -> CTE:
    """A table of the CTE's name would be hidden by it from the CTEs that follow."""
    return statement.cte(f"{name}_" if name == table.name else name)


def materialized(table: VectorTable, statement: Select[Any], name: str) -> CTE:
    return named_cte(table, statement, name).prefix_with("MATERIALIZED")
