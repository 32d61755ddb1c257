"""Settings that hold for one transaction, and their limits.

`SET LOCAL x = :p` is a syntax error with server-side parameters, and SET on a pooled connection
would leak into the next query; `set_config(name, value, is_local => true)` does neither.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Any

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from lib.errors import InvalidInput
from lib.limits import IntRange
from lib.vectors.index_methods import (
    IndexMethod,
    IterativeScan,
    index_methods,
    method_with_parameter,
)

MAX_SCAN_TUPLES = IntRange(1, 2**31 - 1, 20_000)
# Ours: more than that is an export, not a search.
RESULT_LIMIT = IntRange(1, 10_000, 10)
POOL = IntRange(1, 10_000, 200)
# Rows taken by their bits for each row wanted, then ranked by the full vector.
OVERSAMPLING = IntRange(1, 1000, 10)


ITERATIVE_SCAN_SINCE = (0, 8)


class Scan(StrEnum):
    """Who decides how a query is answered: the planner, or the caller.

    On a small table the planner rightly compares every row, and the index settings do nothing;
    INDEX makes it take the vector index all the same, so that one can see what the index does.
    """

    AUTO = "auto"
    INDEX = "index"
    EXACT = "exact"


# A GIN index is read by bitmap scans, so those stay on for the text leg of a hybrid.
_SCAN_SETTINGS: dict[Scan, dict[str, str]] = {
    Scan.AUTO: {},
    Scan.INDEX: {"enable_seqscan": "off", "enable_sort": "off"},
    Scan.EXACT: {"enable_indexscan": "off"},
}


@dataclass(frozen=True, init=False)
class SearchSettings:
    """How one search uses the index; what is not named keeps the server's own value.

    ``SearchSettings(ef_search=100)`` names the search parameter of an index method, whichever is
    registered. Raises InvalidInput, LimitExceeded.
    """

    parameters: Mapping[str, int]
    """Search parameters by name, in the order of their methods."""
    iterative_scan: IterativeScan | None = None
    """A method that cannot scan on in strict order does so in relaxed order."""
    max_scan_tuples: int | None = None
    scan: Scan = Scan.AUTO

    def __init__(
        self,
        parameters: Mapping[str, int] | None = None,
        iterative_scan: IterativeScan | None = None,
        max_scan_tuples: int | None = None,
        scan: Scan = Scan.AUTO,
        **named: int | None,
    ) -> None:
        """named: search parameters by name; None for one that keeps the server's value."""
        for name in named:
            method_with_parameter(name)
        given = {**(parameters or {}), **named}
        chosen = {
            parameter.name: parameter.range.check(value, parameter.name)
            for parameter in (method.search_parameter for method in index_methods())
            if (value := given.get(parameter.name)) is not None
        }
        if max_scan_tuples is not None:
            MAX_SCAN_TUPLES.check(max_scan_tuples, "max_scan_tuples")
        if scan is Scan.EXACT and chosen:
            raise InvalidInput(
                "An exact scan uses no index, so probes and ef_search mean nothing to it.",
                hint="Choose either the exact scan or an index setting.",
                field="scan",
            )
        object.__setattr__(self, "parameters", chosen)
        object.__setattr__(self, "iterative_scan", iterative_scan)
        object.__setattr__(self, "max_scan_tuples", max_scan_tuples)
        object.__setattr__(self, "scan", scan)

    def __hash__(self) -> int:
        return hash(
            (*self.parameters.items(), self.iterative_scan, self.max_scan_tuples, self.scan)
        )

    def value_of(self, method: IndexMethod) -> int | None:
        """Of the method's search parameter; None where the server's own value holds."""
        return self.parameters.get(method.search_parameter.name)

    def with_value(self, method: IndexMethod, value: int | None) -> SearchSettings:
        """The same with another value of the method's search parameter."""
        parameters = {**self.parameters, method.search_parameter.name: value}
        return replace(
            self, parameters={name: chosen for name, chosen in parameters.items() if chosen}
        )

    def for_method(self, method: IndexMethod) -> SearchSettings:
        """The same without the search parameters of other methods."""
        value = self.value_of(method)
        return replace(self, parameters={}).with_value(method, value)

    def to_json(self) -> dict[str, Any]:
        """Each search parameter by its name beside the other settings; None where it is not set."""
        names = [method.search_parameter.name for method in index_methods()]
        return {
            **{name: self.parameters.get(name) for name in names},
            "iterative_scan": self.iterative_scan and self.iterative_scan.value,
            "max_scan_tuples": self.max_scan_tuples,
            "scan": self.scan.value,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> SearchSettings:
        """What :meth:`to_json` gave; a name that is missing takes the default. Raises InvalidInput,
        LimitExceeded, and ValueError for an unknown scan."""
        values = dict(document)
        scan, iterative = values.pop("scan", Scan.AUTO), values.pop("iterative_scan", None)
        return cls(
            **values,
            scan=Scan(scan),
            iterative_scan=None if iterative is None else IterativeScan(iterative),
        )

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, handler: Any) -> Any:
        """In the JSON of a value that holds settings they are as :meth:`to_json` writes them."""
        from pydantic import PlainSerializer, PlainValidator  # only where JSON is written

        def read(value: Any) -> SearchSettings:
            return value if isinstance(value, cls) else cls.from_json(value)

        form = Annotated[Any, PlainValidator(read), PlainSerializer(cls.to_json)]
        return handler.generate_schema(form)

    def server_settings(self) -> dict[str, str]:
        """PostgreSQL's names → values, only those that were chosen."""
        chosen = dict(_SCAN_SETTINGS[self.scan])
        for method in index_methods():
            value = self.value_of(method)
            if value is not None:
                chosen[method.search_parameter.setting] = str(value)
        for method in index_methods():
            if self.iterative_scan is not None and method.scans_iteratively:
                scan = method.nearest_scan(self.iterative_scan)
                chosen[method.iterative_scan_setting] = scan.value
            if self.max_scan_tuples is not None and method.max_scan_tuples_setting:
                chosen[method.max_scan_tuples_setting] = str(self.max_scan_tuples)
        return chosen


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """Memory and processes for building one index; None leaves the server's own value."""

    maintenance_work_mem_mb: int | None = None
    parallel_workers: int | None = None

    def __post_init__(self) -> None:
        if self.maintenance_work_mem_mb is not None:
            # PostgreSQL's limits are 1 MB (64 kB before version 17) and 2 TB.
            IntRange(1, 2_097_151, 64).check(
                self.maintenance_work_mem_mb, "maintenance_work_mem_mb"
            )
        if self.parallel_workers is not None:
            IntRange(0, 1024, 2).check(self.parallel_workers, "parallel_workers")

    def server_settings(self) -> dict[str, str]:
        chosen: dict[str, str] = {}
        if self.maintenance_work_mem_mb is not None:
            chosen["maintenance_work_mem"] = f"{self.maintenance_work_mem_mb}MB"
        if self.parallel_workers is not None:
            chosen["max_parallel_maintenance_workers"] = str(self.parallel_workers)
        return chosen


async def apply_settings(
    db: AsyncSession | AsyncConnection, settings: dict[str, str], *, for_session: bool = False
) -> None:
    """Sets PostgreSQL settings for the running transaction, in one round trip.

    for_session: for the whole session, which only a connection that is nobody else's may do
    (CREATE INDEX CONCURRENTLY cannot run in a transaction).
    """
    if settings:
        await db.execute(
            select(
                *(func.set_config(name, value, not for_session) for name, value in settings.items())
            )
        )


async def pgvector_version(db: AsyncSession | AsyncConnection) -> tuple[int, ...]:
    """Such as (0, 8, 5); empty where the extension is not in this database."""
    found = await db.scalar(text("SELECT extversion FROM pg_extension WHERE extname = 'vector'"))
    return tuple(int(number) for number in re.findall(r"\d+", found or ""))


def set_local_text(settings: dict[str, str]) -> str:
    """The same settings as SET LOCAL lines, for people to paste into psql."""
    return "".join(f"SET LOCAL {name} = '{value}';\n" for name, value in settings.items())
