"""EXPLAIN → :class:`Plan`: what answered a query, what it cost, and whether that certifies an
index."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.elements import ClauseElement


@dataclass(frozen=True, slots=True)
class Certificate:
    """Whether the plan of this very query and settings used the index it is said to."""

    certified: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What PostgreSQL did, or would do, for one statement.

    vector_index: the index that gave the order by distance, None where every row was compared.
    indexes: all indexes that took part. sequential: tables that were scanned whole.
    rows, rows_removed_by_filter, buffers_hit, buffers_read (8-kB pages), execution_ms: None
    unless the statement really ran (ANALYZE).
    """

    vector_index: str | None
    indexes: tuple[str, ...]
    sequential: tuple[str, ...]
    planning_ms: float | None
    execution_ms: float | None
    rows: int | None
    rows_removed_by_filter: int | None
    buffers_hit: int | None
    buffers_read: int | None
    raw: Mapping[str, Any]

    @property
    def analyzed(self) -> bool:
        return self.execution_ms is not None

    @property
    def summary(self) -> str:
        """One sentence for people."""
        if self.vector_index is not None:
            return f"Answered by the vector index {self.vector_index}."
        if self.indexes:
            return f"Answered by {', '.join(self.indexes)}, with no vector index: exact."
        if self.sequential:
            return f"Every row of {', '.join(self.sequential)} was compared: exact."
        return "Answered without reading a table."

    def certify(self, index_name: str) -> Certificate:
        """Certified only where this index, and no other, gave the order by distance."""
        if self.vector_index == index_name:
            return Certificate(True, f"The plan used {index_name}.")
        used = self.vector_index or "no vector index"
        return Certificate(False, f"The plan used {used}, not {index_name}.")


def parse_plan(document: Any) -> Plan:
    """The Plan of EXPLAIN's JSON (a list with one object, as PostgreSQL gives it)."""
    raw: Mapping[str, Any] = document[0] if isinstance(document, list) else document
    root: Mapping[str, Any] = raw["Plan"]
    nodes = list(_walk(root))
    execution_ms = raw.get("Execution Time")
    analyzed = execution_ms is not None
    # A node's buffers hold its children's, so the root's are the statement's.
    return Plan(
        vector_index=next(
            (
                str(node["Index Name"])
                for node in nodes
                if node["Node Type"] == "Index Scan" and "Order By" in node
            ),
            None,
        ),
        indexes=tuple(dict.fromkeys(str(n["Index Name"]) for n in nodes if "Index Name" in n)),
        sequential=tuple(
            dict.fromkeys(str(n["Relation Name"]) for n in nodes if n["Node Type"] == "Seq Scan")
        ),
        planning_ms=raw.get("Planning Time"),
        execution_ms=execution_ms,
        rows=int(root["Actual Rows"]) if analyzed else None,
        rows_removed_by_filter=(
            sum(
                int(n.get("Rows Removed by Filter", 0) * n.get("Actual Loops", 1))
                + int(n.get("Rows Removed by Index Recheck", 0) * n.get("Actual Loops", 1))
                for n in nodes
            )
            if analyzed
            else None
        ),
        buffers_hit=root.get("Shared Hit Blocks") if analyzed else None,
        buffers_read=root.get("Shared Read Blocks") if analyzed else None,
        raw=raw,
    )


def _walk(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _walk(child)


class _Explain(Executable, ClauseElement):
    """EXPLAIN of a statement, with the statement's own parameters."""

    inherit_cache = False
    supports_execution = True

    def __init__(self, statement: Select[Any], *, analyze: bool) -> None:
        self.statement = statement
        self.analyze = analyze


@compiles(_Explain)
def _compile_explain(element: _Explain, compiler: Any, **kw: Any) -> str:
    options = "ANALYZE, BUFFERS, FORMAT JSON" if element.analyze else "FORMAT JSON"
    statement = compiler.process(element.statement, **kw)
    # The one column that comes back is the plan, not to be read as the statement's only column.
    compiler._result_columns = []
    return f"EXPLAIN ({options}) {statement}"


async def explain(
    db: AsyncSession | AsyncConnection, statement: Select[Any], *, analyze: bool = False
) -> Plan:
    """The plan of a statement under the transaction's settings.

    analyze: run it too, and count rows, buffers (8-kB pages) and milliseconds.
    """
    document = (await db.execute(_Explain(statement, analyze=analyze))).scalar_one()
    return parse_plan(json.loads(document) if isinstance(document, str) else document)
