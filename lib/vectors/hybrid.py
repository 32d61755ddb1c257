"""Hybrid search as one statement: a vector leg and a text leg, fused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Double,
    Select,
    bindparam,
    case,
    func,
    literal_column,
    null,
    select,
)

from lib.errors import InvalidInput
from lib.vectors.distance import FloatArray
from lib.vectors.statements import (
    MORE_MATCH,
    NAN,
    AccessPath,
    TextMatching,
    TextQuery,
    candidate_rows_statement,
    check_max_distance,
    checked_embedding,
    distance_to,
    document_columns,
    full_text,
    inline_count,
    match_counts,
    materialized,
    named_cte,
    text_leg,
)
from lib.vectors.table import VectorTable
from lib.vectors.tuning import POOL, RESULT_LIMIT

RRF_CONSTANT = 60  # Cormack, Clarke and Büttcher 2009, "Reciprocal Rank Fusion"


# Numbers that are part of a formula are written into the SQL, as double precision throughout.
_ZERO: ColumnElement[Any] = literal_column("0::float8", Double())


_ONE: ColumnElement[Any] = literal_column("1::float8", Double())


_RRF: ColumnElement[Any] = literal_column(str(RRF_CONSTANT), Double())


class Fusion(StrEnum):
    """How the ranks or values of two legs become one order."""

    WEIGHTED = "weighted"
    RRF = "rrf"
    RAW = "raw"


@dataclass(frozen=True, eq=False)
class HybridQuery:
    """A search by vector and by text at once, and how its two legs become one order."""

    text: str
    embedding: FloatArray
    """The query vector (d,)."""
    limit: int = RESULT_LIMIT.default
    vector_weight: float = 0.7
    """w of the formulas in :func:`hybrid_statement`, 0–1."""
    fusion: Fusion = Fusion.WEIGHTED
    text_query: TextQuery = TextQuery.ANY
    pool: int = POOL.default
    """How many rows each leg brings, at least ``limit``."""
    max_distance: float | None = None
    """Leaves out rows that are not nearer, whichever leg found them; ranks and scaling stay those
    of the whole pool."""
    matching: TextMatching | None = None
    """What matches the text and its value; None: :func:`full_text` by ts_rank."""
    whole_pool: bool = False
    """Bring all of the pool, not the ``limit`` best."""
    content_characters: int | None = None
    """Bring no more of each text than this."""
    where: Sequence[ColumnElement[bool]] = ()
    access_path: AccessPath | None = None
    """The copy that the vector leg searches; not for raw fusion, which compares what matches the
    text and asks no index."""

    def __post_init__(self) -> None:
        """Raises LimitExceeded, and InvalidInput for a weight outside 0–1 or for raw fusion through
        a copy."""
        RESULT_LIMIT.check(self.limit, "limit")
        POOL.check(self.pool, "pool")
        check_vector_weight(self.vector_weight)
        if self.fusion is Fusion.RAW and self.access_path is not None:
            raise InvalidInput(
                "The raw sum compares every document that matches the text: no index takes part.",
                hint="Fuse by weight or by rank to search through an index.",
                field="fusion",
            )


def hybrid_statement(table: VectorTable, query: HybridQuery) -> Select[Any]:
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

    Raises InvalidInput for an empty text; see :func:`nearest_statement` for the rest.
    """
    embedding = checked_embedding(table, query.embedding)
    matching = query.matching or full_text(table, query.text, query.text_query)
    pooled = _pool(table, query, embedding, matching)
    if query.max_distance is not None:
        max_distance = check_max_distance(table, query.max_distance)
        pooled = _within(table, embedding, pooled, max_distance)
    best = select(pooled).order_by(*_best_first(pooled, query.vector_weight))
    if not query.whole_pool:
        best = best.limit(inline_count(query.limit))
    top = materialized(table, best, "top")
    return (
        select(
            *document_columns(table, query.content_characters),
            func.coalesce(top.c.distance, distance_to(table, embedding)).label("distance"),
            top.c.vector_rank,
            top.c.text_rank,
            top.c.text_value,
            *match_counts(top),
            top.c.fused,
        )
        .join_from(top, table.rows, table.column(table.id) == top.c.id)
        .order_by(*_best_first(top, query.vector_weight))
    )


def _pool(
    table: VectorTable, query: HybridQuery, embedding: FloatArray, matching: TextMatching
) -> CTE:
    """The rows of both legs with their ``fused`` value."""
    weight: ColumnElement[Any] = bindparam("vector_weight", query.vector_weight, type_=Double())
    if query.fusion is Fusion.RAW:
        return _raw_pool(table, matching, embedding, weight, query.where)
    size = max(query.pool, query.limit)
    path = query.access_path or AccessPath(table, query.where)
    vector = _vector_leg(table, path, embedding, size)
    text = text_leg(table, matching, size, query.where)
    return _ranked_pool(table, vector, text, weight, query.fusion)


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
    return named_cte(table, nearer, "within")


def check_vector_weight(vector_weight: float) -> float:
    """Raises InvalidInput outside 0–1."""
    if not 0.0 <= vector_weight <= 1.0:
        raise InvalidInput(
            f"The vector weight is {vector_weight:g}, outside 0–1.", field="vector_weight"
        )
    return vector_weight


def _vector_leg(table: VectorTable, path: AccessPath, embedding: FloatArray, pool: int) -> CTE:
    """(id, distance, vector_rank) of the ``pool`` nearest. A zero row has no cosine distance:
    NaN, which PostgreSQL sorts last, and which must not be scaled."""
    nearest = materialized(table, candidate_rows_statement(path, embedding, pool), "nearest")
    order = (nearest.c.distance, nearest.c.id)
    ranked = select(
        nearest.c.id,
        nearest.c.distance,
        func.row_number().over(order_by=order).label("vector_rank"),
    ).where(nearest.c.distance != NAN)
    return named_cte(table, ranked, "vector_leg")


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
    if MORE_MATCH in text.c:
        counted.append(func.bool_or(text.c[MORE_MATCH]).over().label(MORE_MATCH))
    pooled = select(
        func.coalesce(vector.c.id, text.c.id).label("id"),
        vector.c.distance,
        vector.c.vector_rank,
        text.c.text_value,
        text.c.text_rank,
        *counted,
        fused.label("fused"),
    ).join_from(vector, text, vector.c.id == text.c.id, full=True)
    return named_cte(table, pooled, "pool")


def _raw_pool(
    table: VectorTable,
    matches: TextMatching,
    embedding: FloatArray,
    w: ColumnElement[Any],
    where: Sequence[ColumnElement[bool]],
) -> CTE:
    text = materialized(table, matches(where), "text_matches")
    distance = func.nullif(distance_to(table, embedding), NAN)
    matching = materialized(
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
    return named_cte(table, pooled, "pool")
