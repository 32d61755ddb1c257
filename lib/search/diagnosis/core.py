"""The part of a statement that compares vectors, read back from the statement.

Any statement can be diagnosed, also one that a program wrote itself, so it is read and not taken
from a builder. SQLAlchemy has no public way to ask a SELECT for its WHERE, ORDER BY and LIMIT,
clause by clause: its own attributes for that are read here, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.elements import BinaryExpression, ColumnClause, Grouping

from lib.errors import InvalidVector
from lib.vectors.distance import Distance
from lib.vectors.statements import AccessPath, candidate_rows_statement
from lib.vectors.table import VectorTable
from lib.vectors.tuning import RESULT_LIMIT


@dataclass(frozen=True)
class VectorCore:
    """The part of a statement that compares vectors: a SELECT from the table."""

    select: Select[Any]
    distance: BinaryExpression[Any]
    """The comparison of the ORDER BY, or else of the WHERE."""
    order: ColumnElement[Any] | None
    """The first thing that the rows are ordered by; None without an ORDER BY."""
    limit: int | None
    """None where there is none, or one that is not known here."""
    has_limit: bool
    criteria: tuple[ColumnElement[Any], ...]
    """All that the WHERE has."""
    filters: tuple[ColumnElement[Any], ...]
    """Those of them that a row of an index may fail."""

    @property
    def limit_clause(self) -> Any:
        return self.select._limit_clause

    @property
    def parameters(self) -> dict[str, Any]:
        """Those that :meth:`Select.params` has set."""
        return dict(self.select._params)

    @property
    def operator(self) -> str:
        """pgvector's sign of the distance, such as ``<=>``."""
        return str(self.distance.operator.opstring)  # type: ignore[attr-defined]

    @property
    def compared(self) -> Any:
        """What is compared to the query: the column, or an expression of it."""
        left: Any = self.distance.left
        while isinstance(left, Grouping):
            left = left.element
        return left


DISTANCES_BY_OPERATOR = {distance.operator: distance for distance in Distance}
_HAMMING = "<~>"


def find_core(statement: Select[Any], table: VectorTable) -> VectorCore | None:
    """The first SELECT whose order is by a distance; else one that has a distance in its WHERE."""
    cores: list[VectorCore] = []
    for element in visitors.iterate(statement):
        if not isinstance(element, Select) or table.rows not in element.get_final_froms():
            continue
        order = _first_order(element)
        criteria = element._where_criteria
        ordered = None if order is None else distance_in(order, table)
        distance = ordered if ordered is not None else _first_distance(criteria, table)
        if distance is None:
            continue
        limit = element._limit_clause
        core = VectorCore(
            select=element,
            distance=distance,
            order=order if ordered is not None else None,
            limit=None if limit is None else _number(limit),
            has_limit=limit is not None,
            criteria=tuple(criteria),
            filters=tuple(criterion for criterion in criteria if not _is_own(criterion, table)),
        )
        cores.insert(0 if ordered is not None else len(cores), core)
    return cores[0] if cores else None


def _first_order(statement: Select[Any]) -> ColumnElement[Any] | None:
    clauses = statement._order_by_clauses
    return clauses[0] if clauses else None


def _first_distance(
    criteria: Sequence[ColumnElement[Any]], table: VectorTable
) -> BinaryExpression[Any] | None:
    distances = (distance_in(criterion, table) for criterion in criteria)
    return next((distance for distance in distances if distance is not None), None)


def distance_in(element: Any, table: VectorTable) -> BinaryExpression[Any] | None:
    for part in visitors.iterate(element):
        sign = getattr(part, "operator", None)
        if (
            isinstance(part, BinaryExpression)
            and isinstance(sign, operators.custom_op)
            and (sign.opstring in DISTANCES_BY_OPERATOR or sign.opstring == _HAMMING)
            and any(is_embedding(column, table) for column in visitors.iterate(part.left))
        ):
            return part
    return None


def core_by_expression(core: VectorCore, table: VectorTable) -> VectorCore | None:
    """The part that asks the table's index on halves or bits for the same."""
    if not is_embedding(core.compared, table):
        return core
    query: Any = core.distance.right
    embedding = core.parameters.get(query.key, query.effective_value)
    limit = core.limit or RESULT_LIMIT.default
    try:
        rows = candidate_rows_statement(AccessPath(table, core.filters), embedding, limit)
    except InvalidVector:  # halves cannot hold it
        return core
    return find_core(rows, table)


def is_embedding(element: Any, table: VectorTable) -> bool:
    return isinstance(element, ColumnClause) and element.name == table.embedding


def _is_own(criterion: ColumnElement[Any], table: VectorTable) -> bool:
    """``embedding IS NOT NULL`` is ours, and no row of an index fails it."""
    return (
        isinstance(criterion, BinaryExpression)
        and criterion.operator is operators.is_not
        and is_embedding(criterion.left, table)
    )


def _number(clause: Any) -> int | None:
    value = clause.effective_value if hasattr(clause, "effective_value") else clause.name
    return int(value) if str(value).isdigit() else None
