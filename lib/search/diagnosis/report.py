"""Why a search was answered the way it was: which index, or why none, checked one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncSession

from lib.search.diagnosis.checks import (
    REASONS,
    Check,
    bound_checks,
    cost_checks,
    holds,
    server_checks,
    structure_checks,
)
from lib.search.diagnosis.core import core_by_expression, distance_in, find_core
from lib.search.request import SearchRequest
from lib.store.candidates import get_candidate
from lib.store.collections import Collection
from lib.store.production import searched_table
from lib.vectors.catalog import list_indexes
from lib.vectors.distance import IndexedAs
from lib.vectors.plans import Plan, explain
from lib.vectors.search import SearchResult
from lib.vectors.table import VectorTable
from lib.vectors.tuning import Scan, apply_settings


@dataclass(frozen=True, slots=True)
class Figures:
    """What the server did for one statement."""

    rows_visited: int
    """Of the searched table, before filters."""
    rows_removed_by_filter: int
    buffers_hit: int
    """Pages of 8 kB, from memory."""
    buffers_read: int
    """Pages of 8 kB, from beyond it."""
    execution_ms: float


@dataclass(frozen=True)
class Diagnosis:
    """Why a search was answered the way it was."""

    answered_by: str | None
    """The vector index that gave the order, None where every row was compared."""
    sentence: str
    checks: tuple[Check, ...]
    figures: Figures
    plan: Plan

    @property
    def reasons(self) -> tuple[Check, ...]:
        """Why no index answered; empty where one did."""
        if self.answered_by is not None:
            return ()
        return tuple(check for check in self.checks if check.ok is False and check.name in REASONS)

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
    core = find_core(statement, table)
    if core is not None and table.is_indexed_by_expression:
        core = core_by_expression(core, table)
    if core is None:
        why = (
            "No vector is compared here."
            if distance_in(statement, table) is None
            else "Only documents with the words are compared by their vectors, so no index is "
            "asked."
        )
        return Diagnosis(plan.vector_index, f"{why} {plan.summary}", (), figures, plan)
    indexes = await list_indexes(db, table, all_expressions=True)
    checks = list(structure_checks(core, table, indexes, settings))
    used = next((index for index in indexes if index.name == plan.vector_index), None)
    if used is not None:  # whatever it looks like: the planner found it usable
        checks = [check for check in checks if check.ok]
    stands = all(check.ok is not False for check in checks)
    checks += await server_checks(db, table, asks=stands)
    stands = all(check.ok is not False for check in checks)
    checks += await cost_checks(
        db,
        table,
        core,
        used=used is not None,
        asked_for=holds(settings, Scan.INDEX),
        asks=stands,
    )
    checks += await bound_checks(db, core, used)
    if used is not None:
        sentence = f"The vector index {used.name} ({used.method.label}) answered."
        if table.is_indexed_by_expression:
            values = "bits" if table.indexed_as is IndexedAs.BINARY else "halves"
            sentence += (
                f" The nearest by their {values} were found, and re-ranked by the full vectors."
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
