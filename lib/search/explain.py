"""Why a search was answered the way it was: which index, or why none, checked one by one.

The reasons are mechanical: pgvector's README, "Indexing" and "Troubleshooting", and what the
planner itself says of the two ways (EXPLAIN with the index and without).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Cast, ColumnElement, Select, bindparam, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.elements import BinaryExpression, ColumnClause, Grouping, Label, UnaryExpression

from lib.errors import InvalidVector
from lib.search.request import SearchRequest
from lib.store.candidates import get_candidate
from lib.store.collections import Collection
from lib.store.production import searched_table
from lib.vectors.distance import BIT_OPERATOR_CLASS, Distance
from lib.vectors.index_methods import (
    HNSW,
    IVFFLAT,
    IndexMethod,
    IterativeScan,
    get_method,
    recommended_probes,
)
from lib.vectors.plans import Plan, explain
from lib.vectors.search import SearchResult
from lib.vectors.sql import printed, quoted_name
from lib.vectors.statements import AccessPath, candidate_rows_statement
from lib.vectors.table import VectorTable
from lib.vectors.tuning import RESULT_LIMIT, Scan, SearchSettings, apply_settings


class CheckName(StrEnum):
    """What is checked, in the order of causes: a query that fails one is not asked the later."""

    INDEX = "index"
    VALID = "valid"
    OPERATOR_CLASS = "operator_class"
    COLUMN = "column"
    ORDER_BY = "order_by"
    LIMIT = "limit"
    EXACT_SCAN = "exact_scan"
    SETTINGS = "settings"
    STATISTICS = "statistics"
    FILTER = "filter"
    TABLE_SIZE = "table_size"
    EF_SEARCH = "ef_search"
    PROBES = "probes"
    ITERATIVE_SCAN = "iterative_scan"

    @property
    def label(self) -> str:
        return {
            "index": "There is a vector index",
            "valid": "The index is whole",
            "operator_class": "The index is made for this distance",
            "column": "The index is on this column",
            "order_by": "The order is by distance, nearest first",
            "limit": "The number of rows is limited",
            "exact_scan": "No exact scan was asked for",
            "settings": "The server may use indexes",
            "statistics": "The server knows the table (ANALYZE)",
            "filter": "The filter leaves many rows",
            "table_size": "The table is large enough for an index",
            "ef_search": "HNSW looks at enough rows (ef_search)",
            "probes": "IVFFlat looks into enough lists (probes)",
            "iterative_scan": "The index goes on where the filter left too few",
        }[self.value]


_REASONS = tuple(CheckName)[: list(CheckName).index(CheckName.EF_SEARCH)]


@dataclass(frozen=True, slots=True)
class Check:
    """ok: None where it could not matter, such as anything about an index that is not there."""

    name: CheckName
    ok: bool | None
    words: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Figures:
    """rows_visited: of the searched table, before filters. buffers: pages of 8 kB, from memory
    (hit) and from beyond it (read)."""

    rows_visited: int
    rows_removed_by_filter: int
    buffers_hit: int
    buffers_read: int
    execution_ms: float


@dataclass(frozen=True)
class Diagnosis:
    """answered_by: the vector index that gave the order, None where every row was compared."""

    answered_by: str | None
    sentence: str
    checks: tuple[Check, ...]
    figures: Figures
    plan: Plan

    @property
    def reasons(self) -> tuple[Check, ...]:
        """Why no index answered; empty where one did."""
        if self.answered_by is not None:
            return ()
        return tuple(check for check in self.checks if check.ok is False and check.name in _REASONS)

    @property
    def warnings(self) -> tuple[Check, ...]:
        """What may cost answers, or be worth doing, though an index answered."""
        return tuple(
            check for check in self.checks if check.ok is False and check not in self.reasons
        )


async def explain_search(
    db: AsyncSession, collection: Collection, request: SearchRequest, result: SearchResult
) -> Diagnosis:
    """:func:`diagnose` of a search that was answered. Raises NotFound: its candidate is gone."""
    if request.candidate_id is not None:
        table = (await get_candidate(db, collection, request.candidate_id)).table
    else:
        table = await searched_table(db, collection)
    return await diagnose(db, table, result.statement, result.settings)


async def diagnose(
    db: AsyncSession,
    table: VectorTable,
    statement: Select[Any],
    settings: Mapping[str, str] | None = None,
) -> Diagnosis:
    """Runs the statement once more, by EXPLAIN ANALYZE, and looks at it, at the table's indexes and
    at the server's settings.

    table: where the nearest are found, by what its index holds; of a search through a candidate,
    the candidate's. A statement by the full vectors, of a table whose index is on halves or bits of
    them, is looked at as the one that asks the index: why was that not taken? settings:
    :attr:`SearchResult.settings`; they hold until the session's transaction ends.
    """
    settings = dict(settings or {})
    await apply_settings(db, settings)
    plan = await explain(db, statement, analyze=True)
    figures = _figures(plan, table)
    core = _core(statement, table)
    if core is not None and table.by_expression:
        core = _by_expression(core, table)
    if core is None:
        by_words = (
            "Only documents with the words are compared by their vectors, so no index is asked."
        )
        said = "No vector is compared here." if _distance_in(statement, table) is None else by_words
        return Diagnosis(plan.vector_index, f"{said} {plan.summary}", (), figures, plan)
    indexes = await _indexes(db, table)
    checks = list(_structure(core, table, indexes, settings))
    used = next((index for index in indexes if index.name == plan.vector_index), None)
    if used is not None:  # whatever it looks like: the planner found it usable
        checks = [check for check in checks if check.ok]
    stands = all(check.ok is not False for check in checks)
    checks += await _server(db, table, asks=stands)
    stands = all(check.ok is not False for check in checks)
    checks += await _costs(
        db,
        table,
        core,
        used=used is not None,
        asked_for=_holds(settings, Scan.INDEX),
        asks=stands,
    )
    checks += await _bounds(db, core, used)
    if used is not None:
        sentence = f"The vector index {used.name} ({used.method.label}) answered."
        if table.by_expression:
            held = "bits" if table.bits else "halves"
            sentence += (
                f" The nearest by their {held} were found, and ranked again by the full vectors."
            )
    else:
        sentence = _without_index(await explain(db, core.select), checks)
    return Diagnosis(plan.vector_index, sentence, tuple(checks), figures, plan)


def _without_index(plan: Plan, checks: Sequence[Check]) -> str:
    """plan: of the part that compares vectors."""
    how = (
        f"the rows that {' and '.join(plan.indexes)} found were compared"
        if plan.indexes and not plan.sequential
        else "every row was compared"
    )
    why = next((check.words for check in checks if check.ok is False), "")
    return f"No vector index answered: {how}, which is exact. {why}".strip()


# --- the query ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Core:
    """The part of a statement that compares vectors: a SELECT from the table.

    distance: the comparison of the ORDER BY, or else of the WHERE. order: the first thing that the
    rows are ordered by; None without an ORDER BY.
    """

    select: Select[Any]
    distance: BinaryExpression[Any]
    order: ColumnElement[Any] | None
    limit: int | None
    filters: tuple[ColumnElement[Any], ...]


_OPERATORS = {distance.operator: distance for distance in Distance}
_HAMMING = "<~>"


def _core(statement: Select[Any], table: VectorTable) -> _Core | None:
    """The first SELECT whose order is by a distance; else one that has a distance in its WHERE."""
    found: list[_Core] = []
    for element in visitors.iterate(statement):
        if not isinstance(element, Select) or table.rows not in element.get_final_froms():
            continue
        order = _first_order(element)
        criteria = element._where_criteria
        ordered = None if order is None else _distance_in(order, table)
        distance = ordered if ordered is not None else _first_distance(criteria, table)
        if distance is None:
            continue
        limit = element._limit_clause
        core = _Core(
            select=element,
            distance=distance,
            order=order if ordered is not None else None,
            limit=None if limit is None else _number(limit),
            filters=tuple(each for each in criteria if not _is_own(each, table)),
        )
        found.insert(0 if ordered is not None else len(found), core)
    return found[0] if found else None


def _first_order(statement: Select[Any]) -> ColumnElement[Any] | None:
    clauses = statement._order_by_clauses
    return clauses[0] if clauses else None


def _first_distance(
    criteria: Sequence[ColumnElement[Any]], table: VectorTable
) -> BinaryExpression[Any] | None:
    found = (_distance_in(each, table) for each in criteria)
    return next((distance for distance in found if distance is not None), None)


def _distance_in(element: Any, table: VectorTable) -> BinaryExpression[Any] | None:
    for part in visitors.iterate(element):
        sign = getattr(part, "operator", None)
        if (
            isinstance(part, BinaryExpression)
            and isinstance(sign, operators.custom_op)
            and (sign.opstring in _OPERATORS or sign.opstring == _HAMMING)
            and any(_is_embedding(column, table) for column in visitors.iterate(part.left))
        ):
            return part
    return None


def _by_expression(core: _Core, table: VectorTable) -> _Core | None:
    """The part that asks the table's index on halves or bits for the same."""
    if not _is_embedding(_left(core), table):
        return core
    query: Any = core.distance.right
    embedding = core.select._params.get(query.key, query.effective_value)
    limit = core.limit or RESULT_LIMIT.default
    try:
        asked = candidate_rows_statement(AccessPath(table, core.filters), embedding, limit)
    except InvalidVector:  # halves cannot hold it
        return core
    return _core(asked, table)


def _left(core: _Core) -> Any:
    """What is compared to the query: the column, or an expression of it."""
    left: Any = core.distance.left
    while isinstance(left, Grouping):
        left = left.element
    return left


def _is_embedding(element: Any, table: VectorTable) -> bool:
    return isinstance(element, ColumnClause) and element.name == table.embedding


def _is_own(criterion: ColumnElement[Any], table: VectorTable) -> bool:
    """``embedding IS NOT NULL`` is ours, and no row of an index fails it."""
    return (
        isinstance(criterion, BinaryExpression)
        and criterion.operator is operators.is_not
        and _is_embedding(criterion.left, table)
    )


def _number(clause: Any) -> int | None:
    value = clause.effective_value if hasattr(clause, "effective_value") else clause.name
    return int(value) if str(value).isdigit() else None


# --- the indexes --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Index:
    """expression: what it is on where that is no column."""

    name: str
    method: IndexMethod
    operator_class: str
    column: str | None
    expression: str | None
    valid: bool
    lists: int | None


_INDEXES = text(
    """
    SELECT i.relname AS name, am.amname AS method, oc.opcname AS operator_class,
           x.indisvalid AS valid, a.attname AS column_name,
           CASE WHEN x.indkey[0] = 0 THEN pg_get_indexdef(i.oid, 1, true) END AS expression,
           (SELECT split_part(o, '=', 2)::int FROM unnest(i.reloptions) AS o WHERE o LIKE 'lists=%')
               AS lists
    FROM pg_index AS x
    JOIN pg_class AS i ON i.oid = x.indexrelid
    JOIN pg_am AS am ON am.oid = i.relam
    JOIN pg_opclass AS oc ON oc.oid = x.indclass[0]
    LEFT JOIN pg_attribute AS a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[0]
    WHERE x.indrelid = to_regclass(:relation) AND am.amname IN ('ivfflat', 'hnsw')
    ORDER BY i.relname
    """
).bindparams(bindparam("relation"))


async def _indexes(db: AsyncSession, table: VectorTable) -> list[_Index]:
    rows = await db.execute(_INDEXES, {"relation": quoted_name(table.table)})
    return [
        _Index(
            name=row.name,
            method=get_method(row.method),
            operator_class=row.operator_class,
            column=row.column_name,
            expression=row.expression,
            valid=row.valid,
            lists=row.lists,
        )
        for row in rows
    ]


def _structure(
    core: _Core, table: VectorTable, indexes: Sequence[_Index], settings: Mapping[str, str]
) -> Iterator[Check]:
    """What can be told without the planner."""
    name = CheckName.INDEX
    ours = [index for index in indexes if index.expression or index.column == table.embedding]
    if not ours:
        yield Check(
            name,
            False,
            f"There is no vector index on {table.embedding}.",
            "Build one (python -m lib index create), or leave it: on a few thousand rows the "
            "exact scan is quick.",
        )
        yield from _not_asked(CheckName.VALID, CheckName.OPERATOR_CLASS, CheckName.COLUMN)
    else:
        yield Check(name, True, f"There is {', '.join(index.name for index in ours)}.")
        yield from _usable(core, table, ours)
    yield _order_check(core, table)
    if core.limit is None and core.select._limit_clause is None:
        yield Check(
            CheckName.LIMIT,
            False,
            "The query has no LIMIT: it asks for all rows, and an index brings the nearest few.",
            "Add LIMIT k.",
        )
    else:
        yield Check(CheckName.LIMIT, True, f"LIMIT {core.limit:,}." if core.limit else "LIMIT.")
    if _holds(settings, Scan.EXACT):
        yield Check(
            CheckName.EXACT_SCAN,
            False,
            "The exact scan was asked for, so the index was left aside.",
            "Take the automatic choice, or the index.",
        )
    else:
        yield Check(CheckName.EXACT_SCAN, True, "No exact scan was asked for.")


def _holds(settings: Mapping[str, str], scan: Scan) -> bool:
    return settings.items() >= SearchSettings(scan=scan).server_settings().items()


def _usable(core: _Core, table: VectorTable, indexes: Sequence[_Index]) -> Iterator[Check]:
    """Of the indexes those that are whole, then those of the right distance, then of the right
    column: the first step that leaves none is the reason."""
    whole = [index for index in indexes if index.valid]
    if not whole:
        names = ", ".join(index.name for index in indexes)
        yield Check(
            CheckName.VALID,
            False,
            f"The index {names} is invalid: its build with CONCURRENTLY broke off.",
            f"Drop it and build it again: DROP INDEX {names}.",
        )
        yield from _not_asked(CheckName.OPERATOR_CLASS, CheckName.COLUMN)
        return
    yield Check(CheckName.VALID, True, "The index is valid.")
    sign = core.distance.operator.opstring  # type: ignore[attr-defined]
    distance = _OPERATORS.get(sign)
    label = "Hamming distance" if distance is None else distance.label
    needed = (
        BIT_OPERATOR_CLASS if distance is None else distance.operator_class(table.indexed_storage)
    )
    ending = needed.partition("_")[2]
    fitting = [index for index in whole if index.operator_class.endswith(ending)]
    if not fitting:
        wrong = whole[0]
        yield Check(
            CheckName.OPERATOR_CLASS,
            False,
            f"The query orders by {sign} ({label}), the index {wrong.name} is made for "
            f"another distance ({wrong.operator_class}).",
            f"Build an index with {needed}, or search by the distance that the index has.",
        )
        yield from _not_asked(CheckName.COLUMN)
        return
    yield Check(
        CheckName.OPERATOR_CLASS,
        True,
        f"{sign} ({label}) is what {fitting[0].operator_class} is for.",
    )
    on_expression = [index for index in fitting if index.expression is not None]
    on_column = [index for index in fitting if index.expression is None]
    if table.by_expression and on_expression:
        words = f"{on_expression[0].name} is on {on_expression[0].expression}, as the order is."
        yield Check(CheckName.COLUMN, True, words)
    elif not on_column:
        yield Check(
            CheckName.COLUMN,
            False,
            f"The index {fitting[0].name} is on {fitting[0].expression}, and the query orders by "
            f"the column {table.embedding} as it is.",
            "Write the same expression into the query, or build an index on the column.",
        )
    else:
        yield Check(CheckName.COLUMN, True, f"{on_column[0].name} is on {table.embedding}.")


def _order_check(core: _Core, table: VectorTable) -> Check:
    name, left = CheckName.ORDER_BY, _left(core)
    by = printed(left) if table.by_expression else table.embedding
    right = f"ORDER BY {by} {core.distance.operator.opstring} …"  # type: ignore[attr-defined]
    fix = f"{right}, ascending; work out anything else from the distance outside."
    order: Any = core.order
    if order is None:
        return Check(
            name,
            False,
            "The distance stands in the WHERE alone: no index of pgvector serves a threshold.",
            f"{right} LIMIT k in a MATERIALIZED CTE, and the threshold outside of it.",
        )
    while isinstance(order, Label | Grouping):
        order = order.element
    if isinstance(order, UnaryExpression) and order.modifier is operators.desc_op:
        return Check(name, False, "The order is descending: an index walks from near to far.", fix)
    if isinstance(order, UnaryExpression) and order.modifier is operators.asc_op:
        order = order.element
    if order is not core.distance:
        return Check(
            name,
            False,
            "The order is by an expression over the distance, which is no index's order.",
            fix,
        )
    if not table.by_expression and not _is_embedding(left, table):
        what = "cast to another type" if isinstance(left, Cast) else "inside of an expression"
        return Check(
            name, False, f"The column {table.embedding} is {what}: the index is on it alone.", fix
        )
    return Check(name, True, f"{right}, ascending.")


def _not_asked(*names: CheckName, words: str = "This cannot matter yet.") -> Iterator[Check]:
    for name in names:
        yield Check(name, None, words)


# --- the server ---------------------------------------------------------------------------------


_SERVER = text(
    """
    SELECT current_setting('enable_indexscan'),
           (SELECT reltuples FROM pg_class WHERE oid = to_regclass(:relation))
    """
).bindparams(bindparam("relation"))


async def _server(db: AsyncSession, table: VectorTable, *, asks: bool) -> list[Check]:
    if not asks:
        return list(_not_asked(CheckName.SETTINGS, CheckName.STATISTICS))
    relation = {"relation": quoted_name(table.table)}
    allowed, reltuples = (await db.execute(_SERVER, relation)).one()
    if allowed == "on":
        found = [Check(CheckName.SETTINGS, True, "enable_indexscan is on.")]
    else:
        found = [
            Check(
                CheckName.SETTINGS,
                False,
                "enable_indexscan is off on this server: it takes no index scan where it can help "
                "it.",
                "SET enable_indexscan = on, for the database or the role that has it off.",
            )
        ]
    if reltuples is not None and reltuples >= 0:
        words = f"The server counts about {reltuples:,.0f} rows."
        return [*found, Check(CheckName.STATISTICS, True, words)]
    return [
        *found,
        Check(
            CheckName.STATISTICS,
            False,
            "The table was never analyzed, so the planner guesses how large it is.",
            f"ANALYZE {quoted_name(table.table)};",
        ),
    ]


# --- the planner --------------------------------------------------------------------------------


async def _costs(
    db: AsyncSession, table: VectorTable, core: _Core, *, used: bool, asked_for: bool, asks: bool
) -> list[Check]:
    """The filter and the size of the table, by what the planner itself reckons."""
    names = (CheckName.FILTER, CheckName.TABLE_SIZE)
    if used:
        words = "The index was asked for." if asked_for else "The planner found it to be cheaper."
        return [
            Check(names[0], True, words)
            if core.filters
            else Check(names[0], None, "There is no filter."),
            Check(names[1], True, words),
        ]
    if not asks:
        return list(_not_asked(*names))
    query = core.select
    without_filter = (
        select(table.column(table.id))
        .where(*(each for each in query._where_criteria if each not in core.filters))
        .order_by(core.distance)
        .limit(query._limit_clause)
        .params(**query._params)
    )
    chosen, forced = await explain(db, query), await _forced(db, query)
    costs = f"{_cost(chosen):,.0f} against {_cost(forced):,.0f} through the index"
    if core.filters and (await explain(db, without_filter)).vector_index is not None:
        passing = await explain(db, select(table.column(table.id)).where(*core.filters))
        rows = int(passing.raw["Plan"]["Plan Rows"])
        return [
            Check(
                CheckName.FILTER,
                False,
                f"The planner expects about {rows:,} rows to pass the filter, and to compare these "
                f"one by one is cheaper (cost {costs}).",
                "Nothing: it is quick, and exact.",
            ),
            Check(CheckName.TABLE_SIZE, True, "Without the filter the index would answer."),
        ]
    blame = "The filter is not to blame." if core.filters else "There is no filter."
    found = [Check(CheckName.FILTER, True if core.filters else None, blame)]
    if forced.vector_index is None:
        words = "The planner did not take the index, not even where it was the only way."
        fix = "Look at the plan itself."
    else:
        words = (
            f"To compare every row is cheaper by the planner's reckoning (cost {costs}): the table "
            "is small, or a large share of it is asked for."
        )
        fix = "Nothing: it is quick, and exact. The setting “index” takes the index all the same."
    return [*found, Check(CheckName.TABLE_SIZE, False, words, fix)]


async def _forced(db: AsyncSession, statement: Select[Any]) -> Plan:
    """The plan where comparing every row is no way."""
    forcing = SearchSettings(scan=Scan.INDEX).server_settings()
    before = {
        name: (await db.execute(select(func.current_setting(name)))).scalar_one()
        for name in forcing
    }
    await apply_settings(db, forcing)
    try:
        return await explain(db, statement)
    finally:
        await apply_settings(db, before)


def _cost(plan: Plan) -> float:
    return float(plan.raw["Plan"]["Total Cost"])


# --- enough of an answer ------------------------------------------------------------------------


async def _bounds(db: AsyncSession, core: _Core, used: _Index | None) -> list[Check]:
    """What bounds an approximate index, where one answered."""
    if used is None:
        names = (CheckName.EF_SEARCH, CheckName.PROBES, CheckName.ITERATIVE_SCAN)
        return list(_not_asked(*names, words="No vector index answered."))
    is_hnsw = used.method == HNSW
    settings = ("hnsw.ef_search", "ivfflat.probes", used.method.iterative_scan_setting)
    ef_search, probes, iterative = (
        await db.execute(select(*(func.current_setting(name, True) for name in settings)))
    ).one()
    goes_on = (iterative or IterativeScan.OFF.value) != IterativeScan.OFF.value
    other = CheckName.PROBES if is_hnsw else CheckName.EF_SEARCH
    found = list(_not_asked(other, words=f"The index is {used.method.label}."))
    found.append(
        _ef_search_check(
            int(ef_search or HNSW.search_parameter.range.default), core.limit or 0, goes_on
        )
        if is_hnsw
        else _probes_check(int(probes or IVFFLAT.search_parameter.range.default), used.lists or 100)
    )
    if not core.filters:
        return [*found, *_not_asked(CheckName.ITERATIVE_SCAN, words="There is no filter.")]
    if goes_on:
        words = f"Iterative scan is on ({iterative})."
        return [*found, Check(CheckName.ITERATIVE_SCAN, True, words)]
    return [
        *found,
        Check(
            CheckName.ITERATIVE_SCAN,
            False,
            "The filter comes after the index, and iterative scan is off: it may leave fewer rows "
            "than asked for, or farther ones.",
            "Turn iterative scan on (strict), or take more probes or a higher ef_search.",
        ),
    ]


def _ef_search_check(ef_search: int, limit: int, goes_on: bool) -> Check:
    name = CheckName.EF_SEARCH
    if ef_search >= limit or goes_on:
        return Check(name, True, f"ef_search {ef_search:,} for {limit:,} rows.")
    return Check(
        name,
        False,
        f"HNSW looks at {ef_search:,} rows (ef_search), and {limit:,} are asked for: it brings no "
        "more than it looks at.",
        f"Take ef_search ≥ {limit:,}.",
    )


def _probes_check(probes: int, lists: int) -> Check:
    name, enough = CheckName.PROBES, recommended_probes(lists)
    if probes >= enough:
        return Check(name, True, f"{probes:,} of {lists:,} lists are looked into.")
    return Check(
        name,
        False,
        f"IVFFlat looks into {probes:,} of {lists:,} lists: neighbours in the others are missed.",
        f"Take about {enough:,} probes (√lists) to begin with.",
    )


# --- in numbers ---------------------------------------------------------------------------------


def _figures(plan: Plan, table: VectorTable) -> Figures:
    visited = 0
    for node in _nodes(plan.raw["Plan"]):
        if node.get("Relation Name") == table.name:
            rows = node.get("Actual Rows", 0) + node.get("Rows Removed by Filter", 0)
            visited += round(rows * node.get("Actual Loops", 1))
    return Figures(
        rows_visited=visited,
        rows_removed_by_filter=plan.rows_removed_by_filter or 0,
        buffers_hit=plan.buffers_hit or 0,
        buffers_read=plan.buffers_read or 0,
        execution_ms=plan.execution_ms or 0.0,
    )


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)
