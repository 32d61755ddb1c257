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
from typing import Any, Protocol

from sqlalchemy import (
    CTE,
    ColumnElement,
    Double,
    Integer,
    Select,
    Text,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    null,
    select,
)
from sqlalchemy.dialects.postgresql import BIT, REGCONFIG, TSQUERY

from lib.errors import InvalidInput
from lib.vectors.distance import Distance, FloatArray, Storage, check_embedding
from lib.vectors.table import VectorTable
from lib.vectors.tuning import OVERSAMPLING, POOL, RESULT_LIMIT

RRF_CONSTANT = 60  # Cormack, Clarke and Büttcher 2009, "Reciprocal Rank Fusion"

# Numbers that are part of a formula are written into the SQL, as double precision throughout.
_ZERO: ColumnElement[Any] = literal_column("0::float8", Double())
_ONE: ColumnElement[Any] = literal_column("1::float8", Double())
_NAN: ColumnElement[Any] = literal_column("'NaN'::float8", Double())
_RRF: ColumnElement[Any] = literal_column(str(RRF_CONSTANT), Double())


class TextQuery(StrEnum):
    """How a question becomes a full-text query."""

    WEB = "web"
    PLAIN = "plain"
    ANY = "any"

    @property
    def label(self) -> str:
        return {
            "web": "Web style: quotes, OR, minus",
            "plain": "All words",
            "any": "Any word",
        }[self.value]


class TextMethod(StrEnum):
    """How documents that match a text are ranked.

    ts_rank: PostgreSQL's sum over the words of weight / position. ts_rank_cd: by cover density,
    how near each other the words stand. bm25: by how rare the words are, how often they occur and
    how long the document is (lib.search.bm25).
    """

    TS_RANK = "ts_rank"
    TS_RANK_CD = "ts_rank_cd"
    BM25 = "bm25"

    @property
    def label(self) -> str:
        return {
            "ts_rank": "PostgreSQL's own rank (ts_rank)",
            "ts_rank_cd": "Words near each other (ts_rank_cd)",
            "bm25": "Rare words count more (BM25)",
        }[self.value]


class TextMatching(Protocol):
    """What matches a text, and how well."""

    def __call__(
        self, where: Sequence[ColumnElement[bool]], most: int | None = None
    ) -> Select[Any]:
        """Filters → SELECT of (id, text_value), larger is better: every row that matches, or at
        least the ``most`` best of them. One that leaves rows out has two more columns: ``matches``,
        how many it met, and ``more_match``, whether there may be more."""
        ...


class Fusion(StrEnum):
    """How the ranks or values of two legs become one order."""

    WEIGHTED = "weighted"
    RRF = "rrf"
    RAW = "raw"

    @property
    def label(self) -> str:
        return {
            "weighted": "Weighted, each leg scaled to 0–1",
            "rrf": "By rank (RRF)",
            "raw": "Raw sum (textbook)",
        }[self.value]


@dataclass(frozen=True)
class Through:
    """What is to find the nearest: a copy of the table's vectors with an index of its own (a
    candidate), or the table itself by an index on halves or bits of its column.

    table: the copy; its ids are those of the table that is searched. where: the filters, over
    the copy's own columns; there they take the place of those over the table. oversampling: only
    of an index on bits (:func:`found_statement`).
    """

    table: VectorTable
    where: Sequence[ColumnElement[bool]] = ()
    oversampling: int = OVERSAMPLING.default

    def fetched(self, limit: int) -> int:
        """How many rows the index is to bring, so that ``limit`` are found."""
        return limit * self.oversampling if self.table.bits else limit


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


def _document(
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


def _checked(table: VectorTable, query_embedding: FloatArray) -> FloatArray:
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
    through: Through | None = None,
) -> Select[Any]:
    """The ``limit`` rows nearest to query_embedding (d,), nearest first, with ``distance``.

    through: the copy that finds them; ``distance`` is the copy's, and rows that the table has no
    more are left out.
    Raises LimitExceeded, DimensionMismatch, InvalidVector.
    """
    RESULT_LIMIT.check(limit, "limit")
    if through is None and table.by_expression:
        through = Through(table, where)
    if through is not None:
        found = found_statement(through, query_embedding, limit)
        nearest = _materialized(table, found, "found")
        return (
            select(*_document(table), nearest.c.distance)
            .join_from(nearest, table.rows, table.column(table.id) == nearest.c.id)
            .order_by(nearest.c.distance, nearest.c.id)
        )
    embedding = _checked(table, query_embedding)
    statement = _nearest(table, limit).params(query_embedding=embedding)
    return statement.where(*where) if where else statement


@lru_cache(maxsize=64)
def _nearest(table: VectorTable, limit: int) -> Select[Any]:
    """Without its embedding, so that a search need not build it and work out its key again."""
    distance = distance_to(table, None)
    return (
        select(*_document(table), distance.label("distance"))
        .where(table.column(table.embedding).is_not(None))
        .order_by(distance)
        .limit(inline_count(limit))
    )


def found_statement(
    through: Through, query_embedding: FloatArray, limit: int = RESULT_LIMIT.default
) -> Select[Any]:
    """(id, distance) of the ``limit`` nearest in the copy, nearest first.

    Of a copy whose index is on bits: ``oversampling · limit`` rows through the index, by Hamming
    distance, and of these the ``limit`` nearest by the full vector. An HNSW index brings no more
    than ``ef_search`` of them, an IVFFlat index no more than its probed lists hold. Where it is on
    halves: ``limit`` rows by the distance of their halves, ordered and told by the full vector.
    Raises as :func:`nearest_statement`; InvalidVector also for a query that halves cannot hold.
    """
    copy = through.table
    # A parameter of its own: the copy's storage may differ from the table's, and so the type.
    query = _query(copy, _checked(copy, query_embedding), "nearest_to")
    row_id, embedding = copy.column(copy.id), copy.column(copy.embedding)
    where = (embedding.is_not(None), *through.where)
    if not copy.by_expression:
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
        .order_by(_indexed_distance(through, embedding, query))
        .limit(inline_count(through.fetched(limit)))
    )
    # MATERIALIZED: one ORDER BY inside the other would let the planner sort every row.
    nearby = _materialized(copy, alike, "by_bits" if copy.bits else "by_halves")
    exact = _distance(copy, nearby.c.embedding, query).label("distance")
    return select(nearby.c.id, exact).order_by(exact).limit(inline_count(limit))


def _indexed_distance(
    through: Through, embedding: ColumnElement[Any], query: ColumnElement[Any]
) -> ColumnElement[Any]:
    """By which an index on an expression is asked; written as that expression is."""
    copy = through.table
    dimensions = _dimensions(copy)
    # A parameter is of the type of its first cast, here and where the full vectors rank.
    typed = cast(query, copy.embedding_type)
    if copy.halves:
        return _distance(copy, as_halfvec(embedding, dimensions), as_halfvec(typed, dimensions))
    OVERSAMPLING.check(through.oversampling, "oversampling")
    bits = sign_bits(embedding, dimensions)
    query_bits = func.binary_quantize(typed)
    hamming: ColumnElement[Any] = bits.op("<~>", return_type=Double())(query_bits)
    return hamming


def candidate_statement(
    table: VectorTable,
    query_embedding: FloatArray,
    k: int = RESULT_LIMIT.default,
    where: Sequence[ColumnElement[bool]] = (),
    oversampling: int = OVERSAMPLING.default,
) -> Select[Any]:
    """(id, distance) of the k nearest in a candidate's own table, nearest first, whatever its index
    holds: what the lab measures, and the same that a search through it asks.

    The query is the one parameter, ``nearest_to``. oversampling: only where ``table.bits``.
    Raises LimitExceeded, DimensionMismatch, InvalidVector.
    """
    RESULT_LIMIT.check(k, "k")
    return found_statement(Through(table, where, oversampling), query_embedding, k)


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
    through: Through | None = None,
) -> Select[Any]:
    """:func:`nearest_statement`, then only rows with distance < max_distance.

    pgvector README, "Filtering": the MATERIALIZED CTE keeps the threshold out of the index scan.
    """
    check_max_distance(table, max_distance)
    statement = nearest_statement(table, query_embedding, limit, where=where, through=through)
    nearest = _materialized(table, statement, "nearest")
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
    best = _text_leg(table, matching or full_text(table, query_text, kind), limit, where)
    return (
        select(*_document(table), best.c.text_value, best.c.text_rank, *_counted(best))
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


_MORE = "more_match"


def _counted(rows: CTE) -> list[ColumnElement[Any]]:
    return [rows.c[name] for name in ("matches", _MORE) if name in rows.c]


def _text_leg(
    table: VectorTable,
    matches: TextMatching,
    limit: int,
    where: Sequence[ColumnElement[bool]],
) -> CTE:
    """(id, text_value, text_rank, matches) of the ``limit`` best, and ``more_match`` where the
    matching has it."""
    matching = _materialized(table, matches(where, limit), "text_matches")
    order = (matching.c.text_value.desc(), matching.c.id)
    counted = _counted(matching) if _MORE in matching.c else [func.count().over().label("matches")]
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
    return _cte(table, best, "text_leg")


# --- both ---------------------------------------------------------------------------------------


def hybrid_statement(
    table: VectorTable,
    query_text: str,
    query_embedding: FloatArray,
    limit: int = RESULT_LIMIT.default,
    *,
    vector_weight: float = 0.7,
    fusion: Fusion = Fusion.WEIGHTED,
    kind: TextQuery = TextQuery.ANY,
    pool: int = POOL.default,
    max_distance: float | None = None,
    matching: TextMatching | None = None,
    whole_pool: bool = False,
    content_characters: int | None = None,
    where: Sequence[ColumnElement[bool]] = (),
    through: Through | None = None,
) -> Select[Any]:
    """One statement: the ``pool`` best of each leg, joined so that a row which only one leg
    found stays in, fused, and the ``limit`` best of that.

    Rows: the document, ``distance`` (also of rows that the text leg alone found; NULL without an
    embedding), ``vector_rank`` and ``text_rank`` (NULL where that leg did not find the row),
    ``text_value``, ``matches`` and ``fused``, larger is better. Formulas, w = vector_weight:

    - weighted: w·v + (1−w)·t, each leg min-max scaled over its part of the pool, best 1, worst 0,
      and 0 where the leg did not find the row; a leg of equal values is 1 throughout.
    - rrf: w/(60+vector_rank) + (1−w)/(60+text_rank); 0 where the leg did not find the row.
    - raw: w·similarity + (1−w)·text_value, only rows that match the text; its two scales are not
      comparable, and it is here because people know it.

    matching: what matches the text and its value; by default :func:`full_text` by ts_rank.
    whole_pool: bring all of the pool, not the ``limit`` best. content_characters: bring no more
    of each text than this. through: the copy that the vector leg searches; not for raw, which
    compares what matches the text and asks no index.

    max_distance leaves out what is not nearer, whichever leg found it; ranks and scaling stay
    those of the whole pool.

    Raises InvalidInput for a weight outside 0–1, for an empty question and for raw through a copy;
    see :func:`nearest_statement` for the rest.
    """
    RESULT_LIMIT.check(limit, "limit")
    POOL.check(pool, "pool")
    check_vector_weight(vector_weight)
    embedding = _checked(table, query_embedding)
    matches = matching or full_text(table, query_text, kind)
    w: ColumnElement[Any] = bindparam("vector_weight", vector_weight, type_=Double())
    if fusion is Fusion.RAW:
        if through is not None:
            raise InvalidInput(
                "The raw sum compares every document that matches the text: no index takes part.",
                hint="Fuse by weight or by rank to search through an index.",
                field="fusion",
            )
        pooled = _raw_pool(table, matches, embedding, w, where)
    else:
        size = max(pool, limit)
        vector = _vector_leg(table, through or Through(table, where), embedding, size)
        text = _text_leg(table, matches, size, where)
        pooled = _ranked_pool(table, vector, text, w, fusion)
    if max_distance is not None:
        pooled = _within(table, embedding, pooled, check_max_distance(table, max_distance))
    best = select(pooled).order_by(*_best_first(pooled, vector_weight))
    top = _materialized(table, best if whole_pool else best.limit(inline_count(limit)), "top")
    return (
        select(
            *_document(table, content_characters),
            func.coalesce(top.c.distance, distance_to(table, embedding)).label("distance"),
            top.c.vector_rank,
            top.c.text_rank,
            top.c.text_value,
            *_counted(top),
            top.c.fused,
        )
        .join_from(top, table.rows, table.column(table.id) == top.c.id)
        .order_by(*_best_first(top, vector_weight))
    )


def _best_first(rows: CTE, vector_weight: float) -> list[ColumnElement[Any]]:
    """By the fused value; equal ones by the heavier leg's rank, then by the other's. So a weight of
    1 is the order by vector and 0 the order by text, the worst of a leg (scaled to 0) included."""
    ranks = [rows.c.vector_rank.nulls_last(), rows.c.text_rank.nulls_last()]
    if vector_weight < 0.5:
        ranks.reverse()
    return [rows.c.fused.desc(), *ranks, rows.c.id]


def _within(table: VectorTable, embedding: FloatArray, pooled: CTE, max_distance: float) -> CTE:
    """The pool with the distance of every row, and only rows nearer than max_distance."""
    distance = func.coalesce(pooled.c.distance, distance_to(table, embedding))
    others = [column for column in pooled.c if column.key != "distance"]
    nearer = (
        select(*others, distance.label("distance"))
        .join_from(pooled, table.rows, table.column(table.id) == pooled.c.id)
        .where(distance < bindparam("max_distance", max_distance, type_=Double()))
    )
    return _cte(table, nearer, "within")


def check_vector_weight(vector_weight: float) -> float:
    """Raises InvalidInput outside 0–1."""
    if not 0.0 <= vector_weight <= 1.0:
        raise InvalidInput(
            f"The vector weight is {vector_weight:g}, outside 0–1.", field="vector_weight"
        )
    return vector_weight


def _vector_leg(table: VectorTable, through: Through, embedding: FloatArray, pool: int) -> CTE:
    """(id, distance, vector_rank) of the ``pool`` nearest. A zero row has no cosine distance:
    NaN, which PostgreSQL sorts last, and which must not be scaled."""
    nearest = _materialized(table, found_statement(through, embedding, pool), "nearest")
    order = (nearest.c.distance, nearest.c.id)
    ranked = select(
        nearest.c.id,
        nearest.c.distance,
        func.row_number().over(order_by=order).label("vector_rank"),
    ).where(nearest.c.distance != _NAN)
    return _cte(table, ranked, "vector_leg")


def _scaled(value: ColumnElement[Any], *, smaller_is_better: bool) -> ColumnElement[Any]:
    """Min-max over the leg: best 1, worst 0; 1 throughout where all are equal; NULL stays NULL
    (window aggregates pass over the rows that the other leg alone brought)."""
    low, high = func.min(value).over(), func.max(value).over()
    distance_from_worst = (high - value) if smaller_is_better else (value - low)
    return case(
        (value.is_(None), null()),
        (high > low, distance_from_worst / func.nullif(high - low, _ZERO, type_=Double())),
        else_=_ONE,
    )


def _ranked_pool(
    table: VectorTable, vector: CTE, text: CTE, w: ColumnElement[Any], fusion: Fusion
) -> CTE:
    if fusion is Fusion.RRF:
        vector_part: ColumnElement[Any] = _ONE / (_RRF + vector.c.vector_rank)
        text_part: ColumnElement[Any] = _ONE / (_RRF + text.c.text_rank)
    else:
        vector_part = _scaled(vector.c.distance, smaller_is_better=True)
        text_part = _scaled(text.c.text_value, smaller_is_better=False)
    fused = w * func.coalesce(vector_part, _ZERO) + (_ONE - w) * func.coalesce(text_part, _ZERO)
    counted = [func.max(text.c.matches).over().label("matches")]
    if _MORE in text.c:
        counted.append(func.bool_or(text.c[_MORE]).over().label(_MORE))
    pooled = select(
        func.coalesce(vector.c.id, text.c.id).label("id"),
        vector.c.distance,
        vector.c.vector_rank,
        text.c.text_value,
        text.c.text_rank,
        *counted,
        fused.label("fused"),
    ).join_from(vector, text, vector.c.id == text.c.id, full=True)
    return _cte(table, pooled, "pool")


def _raw_pool(
    table: VectorTable,
    matches: TextMatching,
    embedding: FloatArray,
    w: ColumnElement[Any],
    where: Sequence[ColumnElement[bool]],
) -> CTE:
    text = _materialized(table, matches(where), "text_matches")
    distance = func.nullif(distance_to(table, embedding), _NAN)
    matching = _materialized(
        table,
        select(text.c.id, distance.label("distance"), text.c.text_value).join_from(
            text, table.rows, table.column(table.id) == text.c.id
        ),
        "matching",
    )
    similarity = table.distance.similarity_expression(matching.c.distance)
    by_distance = func.row_number().over(order_by=(matching.c.distance, matching.c.id))
    pooled = select(
        matching.c.id,
        matching.c.distance,
        case((matching.c.distance.is_not(None), by_distance)).label("vector_rank"),
        matching.c.text_value,
        func.row_number()
        .over(order_by=(matching.c.text_value.desc(), matching.c.id))
        .label("text_rank"),
        func.count().over().label("matches"),
        (w * func.coalesce(similarity, _ZERO) + (_ONE - w) * matching.c.text_value).label("fused"),
    )
    return _cte(table, pooled, "pool")


def _cte(table: VectorTable, statement: Select[Any], name: str) -> CTE:
    """A table of the CTE's name would be hidden by it from the CTEs that follow."""
    return statement.cte(f"{name}_" if name == table.name else name)


def _materialized(table: VectorTable, statement: Select[Any], name: str) -> CTE:
    return _cte(table, statement, name).prefix_with("MATERIALIZED")
