"""Which values of a search parameter to measure. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from lib.errors import InvalidInput
from lib.lab.measurement import SearchParameter
from lib.lab.spec import ExperimentSpec
from lib.limits import IntRange
from lib.vectors.index_methods import IndexMethod, IndexSpec, IterativeScan, index_methods

VALUES = 8
"""So many values of a parameter are measured where the lab chooses."""


def geometric(low: int, high: int, count: int = VALUES) -> tuple[int, ...]:
    """At most ``count`` whole numbers from low to high, each the same factor above the last;
    rising, both ends among them."""
    if high <= low:
        return (low,)
    factor = (high / low) ** (1 / (count - 1))
    return tuple(sorted({round(low * factor**step) for step in range(count - 1)} | {low, high}))


def default_values(index: IndexSpec, asked: int, rows: int) -> tuple[int, ...]:
    """The values of its search parameter that are measured where the user named none.

    From the smallest to the largest that mean anything to the index, with the guideline's among
    them. Of an index that returns no more rows than the value: from the rows that are asked for
    (:attr:`ExperimentSpec.asked`) to pgvector's limit, or to all rows.
    Raises InvalidInput where more are asked for than that.
    """
    parameter = index.method.search_parameter
    limits = limits_of(index, asked)
    high = limits.high
    if parameter.bounds_result:
        high = max(asked, min(high, rows))
    guideline = () if parameter.recommended is None else (limits.default,)
    return tuple(sorted({*geometric(limits.low, high), *guideline}))


def check_asked(method: IndexMethod, asked: int) -> None:
    """Raises InvalidInput for more rows than an index of this method can return."""
    parameter = method.search_parameter
    if parameter.bounds_result and asked > parameter.range.high:
        others = [each.label for each in index_methods() if not each.search_parameter.bounds_result]
        raise InvalidInput(
            f"An {method.label} index returns at most {parameter.range.high:,} rows "
            f"({parameter.name}), and {asked:,} are asked for: k, and the query's own where it is "
            "a row.",
            hint=f"Take a smaller k, or {' or '.join(others)} alone.",
            field="k",
        )


def scans_of(method: IndexMethod, scans: Sequence[IterativeScan]) -> tuple[IterativeScan, ...]:
    """Those of the iterative scans that the method has, or the nearest to them."""
    known = tuple(scan for scan in scans if scan in method.iterative_scans)
    return known or tuple(dict.fromkeys(method.nearest_scan(scan) for scan in scans))


def parameters_of(
    spec: ExperimentSpec, index: IndexSpec, *, rows: int
) -> tuple[SearchParameter, ...]:
    """What to measure of one candidate, by its scans and then by rising values.

    rows: of the candidate. Values that the user named are taken as they are, save that those above
    the largest that means anything to the index are measured once.
    Raises InvalidInput where more rows are asked for than the index can return.
    """
    named = spec.values_of(index.method)
    highest = index.method.search_parameter.highest(index.options)
    values = (
        sorted({min(value, highest) for value in named})
        if named
        else default_values(index, spec.asked, rows)
    )
    return tuple(
        SearchParameter(index.method, value, scan)
        for scan in scans_of(index.method, spec.iterative_scans)
        for value in values
    )


def is_named(spec: ExperimentSpec, method: IndexMethod | None) -> bool:
    """Whether the user named the values of that method's search parameter."""
    return method is not None and spec.values_of(method) is not None


def limits_of(index: IndexSpec, asked: int) -> IntRange:
    """The range that the search for a target may take values from. Raises InvalidInput."""
    check_asked(index.method, asked)
    parameter = index.method.search_parameter
    limits = parameter.limits(index.options)
    if not parameter.bounds_result:
        return limits
    return IntRange(max(asked, limits.low), limits.high, max(asked, limits.default))
