"""The checks of a diagnosis: each condition of an index search, in the order of causes.

The reasons are mechanical: pgvector's README, "Indexing" and "Troubleshooting", and what the
planner itself says of the two ways (EXPLAIN with the index and without).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Cast, Select, bindparam, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import Grouping, Label, UnaryExpression

from lib.search.diagnosis.core import DISTANCES_BY_OPERATOR, VectorCore, is_embedding
from lib.vectors.catalog import IndexDescription
from lib.vectors.distance import BIT_SUFFIX
from lib.vectors.index_methods import IndexMethod, IterativeScan
from lib.vectors.plans import Plan, explain
from lib.vectors.sql import printed, quoted_name
from lib.vectors.table import VectorTable
from lib.vectors.tuning import Scan, SearchSettings, apply_settings


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
    SEARCH_PARAMETER = "search_parameter"
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
            "probes": "IVFFlat searches enough lists (probes)",
            "search_parameter": "The index searches enough (its search parameter)",
            "iterative_scan": "The index scans on where the filter left too few (iterative scan)",
        }[self.value]


REASONS = tuple(CheckName)[: list(CheckName).index(CheckName.EF_SEARCH)]


@dataclass(frozen=True, slots=True)
class Check:
    """One condition of an index search, and whether it holds."""

    name: CheckName
    ok: bool | None
    """None where it could not matter, such as anything about an index that is not there."""
    words: str
    fix: str = ""


def structure_checks(
    core: VectorCore,
    table: VectorTable,
    indexes: Sequence[IndexDescription],
    settings: Mapping[str, str],
) -> Iterator[Check]:
    """What can be told without the planner."""
    name = CheckName.INDEX
    if not indexes:
        yield Check(
            name,
            False,
            f"There is no vector index on {table.embedding}.",
            "Build one (python -m lib index create), or leave it: on a few thousand rows the "
            "exact scan is quick.",
        )
        yield from _not_asked(CheckName.VALID, CheckName.OPERATOR_CLASS, CheckName.COLUMN)
    else:
        yield Check(name, True, f"There is {', '.join(index.name for index in indexes)}.")
        yield from _usable(core, table, indexes)
    yield _order_check(core, table)
    if not core.has_limit:
        yield Check(
            CheckName.LIMIT,
            False,
            "The query has no LIMIT: it asks for all rows, and an index brings the nearest few.",
            "Add LIMIT k.",
        )
    else:
        yield Check(CheckName.LIMIT, True, f"LIMIT {core.limit:,}." if core.limit else "LIMIT.")
    if holds(settings, Scan.EXACT):
        yield Check(
            CheckName.EXACT_SCAN,
            False,
            "The exact scan was asked for, so the index was left aside.",
            "Take the automatic choice, or the index.",
        )
    else:
        yield Check(CheckName.EXACT_SCAN, True, "No exact scan was asked for.")


def holds(settings: Mapping[str, str], scan: Scan) -> bool:
    return settings.items() >= SearchSettings(scan=scan).server_settings().items()


def _usable(
    core: VectorCore, table: VectorTable, indexes: Sequence[IndexDescription]
) -> Iterator[Check]:
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
    sign = core.operator
    distance = DISTANCES_BY_OPERATOR.get(sign)
    label = "Hamming distance" if distance is None else distance.label
    suffix = BIT_SUFFIX if distance is None else distance.suffix
    fitting = [index for index in whole if index.operator_class.endswith(suffix)]
    if not fitting:
        wrong = whole[0]
        yield Check(
            CheckName.OPERATOR_CLASS,
            False,
            f"The query orders by {sign} ({label}), the index {wrong.name} is made for "
            f"another distance ({wrong.operator_class}).",
            f"Build an index with {table.element_type.value}_{suffix}, or search by the distance "
            "that the index has.",
        )
        yield from _not_asked(CheckName.COLUMN)
        return
    yield Check(
        CheckName.OPERATOR_CLASS,
        True,
        f"{sign} ({label}) is what {fitting[0].operator_class} is for.",
    )
    on_expression = [index for index in fitting if index.expression]
    on_column = [index for index in fitting if not index.expression]
    if table.is_indexed_by_expression and on_expression:
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


def _order_check(core: VectorCore, table: VectorTable) -> Check:
    name, left = CheckName.ORDER_BY, core.compared
    by = printed(left) if table.is_indexed_by_expression else table.embedding
    right = f"ORDER BY {by} {core.operator} …"
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
    if not table.is_indexed_by_expression and not is_embedding(left, table):
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


async def server_checks(db: AsyncSession, table: VectorTable, *, asks: bool) -> list[Check]:
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


async def cost_checks(
    db: AsyncSession,
    table: VectorTable,
    core: VectorCore,
    *,
    used: bool,
    asked_for: bool,
    asks: bool,
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
        .where(*(criterion for criterion in core.criteria if criterion not in core.filters))
        .order_by(core.distance)
        .limit(core.limit_clause)
        .params(**core.parameters)
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


async def bound_checks(
    db: AsyncSession, core: VectorCore, used: IndexDescription | None
) -> list[Check]:
    """What bounds an approximate index, where one answered."""
    if used is None:
        names = (CheckName.EF_SEARCH, CheckName.PROBES, CheckName.ITERATIVE_SCAN)
        return list(_not_asked(*names, words="No vector index answered."))
    parameter = used.method.search_parameter
    settings = (parameter.setting, used.method.iterative_scan_setting)
    value, iterative = (
        await db.execute(select(*(func.current_setting(name, True) for name in settings)))
    ).one()
    goes_on = (iterative or IterativeScan.OFF.value) != IterativeScan.OFF.value
    name = _PARAMETER_CHECKS.get(parameter.name, CheckName.SEARCH_PARAMETER)
    others = [other for other in _PARAMETER_CHECKS.values() if other is not name]
    found = list(_not_asked(*others, words=f"The index is {used.method.label}."))
    value = int(value or parameter.range.default)  # unset until the library is loaded
    if parameter.bounds_result:
        found.append(_result_bound_check(name, used.method, value, core.limit or 0, goes_on))
    else:
        found.append(_guideline_check(name, used.method, value, used.options))
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


_PARAMETER_CHECKS = {"ef_search": CheckName.EF_SEARCH, "probes": CheckName.PROBES}
"""Search parameters whose check has a name of its own."""


def _result_bound_check(
    name: CheckName, method: IndexMethod, value: int, limit: int, goes_on: bool
) -> Check:
    """Of an index that returns no more rows than its search parameter's value."""
    parameter = method.search_parameter.name
    if value >= limit or goes_on:
        return Check(name, True, f"{parameter} {value:,} for {limit:,} rows.")
    return Check(
        name,
        False,
        f"{method.label} looks at {value:,} rows ({parameter}), and {limit:,} are asked for: it "
        "brings no more than it looks at.",
        f"Take {parameter} ≥ {limit:,}.",
    )


def _guideline_check(
    name: CheckName, method: IndexMethod, value: int, options: Mapping[str, int]
) -> Check:
    """Of an index whose guideline says how much of it to search."""
    parameter = method.search_parameter
    limits = parameter.limits({**method.spec().options, **options})
    bound = parameter.bounded_by
    what = f"{value:,} of {limits.high:,} {bound}" if bound else f"{parameter.name} {value:,}"
    if value >= limits.default:
        return Check(name, True, f"{what} are searched.")
    formula = f" ({parameter.guideline})" if parameter.guideline else ""
    return Check(
        name,
        False,
        f"{method.label} searches {what}: neighbours in the others are missed.",
        f"Take about {limits.default:,} {parameter.name}{formula} to begin with.",
    )
