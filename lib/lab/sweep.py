"""Which settings to measure, and which one to try next when a target is to be found. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lib.errors import InvalidInput
from lib.lab.measurement import Setting
from lib.lab.spec import ExperimentSpec
from lib.limits import IntRange
from lib.vectors.index_methods import IndexKind, IndexSpec, IVFFlat, recommended_probes
from lib.vectors.tuning import EF_SEARCH, PROBES, IterativeScan

VALUES = 8
"""So many values of a parameter are measured where the lab chooses."""


def geometric(low: int, high: int, count: int = VALUES) -> tuple[int, ...]:
    """At most ``count`` whole numbers from low to high, each the same factor above the last;
    rising, both ends among them."""
    if high <= low:
        return (low,)
    factor = (high / low) ** (1 / (count - 1))
    return tuple(sorted({round(low * factor**step) for step in range(count - 1)} | {low, high}))


def default_probes(lists: int) -> tuple[int, ...]:
    """From 1 to all lists, with the guideline's √lists among them (pgvector README, "IVFFlat").
    With as many probes as lists the search is exact."""
    return tuple(sorted({*geometric(1, lists), recommended_probes(lists)}))


def default_ef_search(asked: int, rows: int) -> tuple[int, ...]:
    """From the rows that are asked for (:attr:`ExperimentSpec.asked`) to pgvector's limit, or to
    all rows: an HNSW index returns no more than ef_search rows.

    Raises InvalidInput where more are asked for than that.
    """
    check_asked(asked)
    return geometric(asked, max(asked, min(EF_SEARCH.high, rows)))


def check_asked(asked: int) -> None:
    """Raises InvalidInput for more rows than an HNSW index can return."""
    if asked > EF_SEARCH.high:
        raise InvalidInput(
            f"An HNSW index returns at most {EF_SEARCH.high:,} rows (ef_search), and {asked:,} are "
            "asked for: k, and the query's own where it is a row.",
            hint="Take a smaller k, or IVFFlat alone.",
            field="k",
        )


def scans_of(kind: IndexKind, scans: Sequence[IterativeScan]) -> tuple[IterativeScan, ...]:
    """Those that the index has: strict order is HNSW's only."""
    if kind is IndexKind.HNSW:
        return tuple(scans)
    return tuple(scan for scan in scans if scan is not IterativeScan.STRICT) or (
        IterativeScan.RELAXED,
    )


def settings_of(spec: ExperimentSpec, index: IndexSpec, *, rows: int) -> tuple[Setting, ...]:
    """What to measure of one candidate, by its scans and then by rising values.

    rows: of the candidate. Values that the user named are taken as they are, save that probes
    above the number of lists mean all lists, and are measured once.
    Raises InvalidInput where more rows are asked for than an HNSW index can return.
    """
    values: Iterable[int]
    if isinstance(index, IVFFlat):
        named = spec.probes and {min(value, index.lists) for value in spec.probes}
        values = sorted(named) if named else default_probes(index.lists)
    elif spec.ef_search:
        values = sorted({*spec.ef_search})
    else:
        values = default_ef_search(spec.asked, rows)
    values = tuple(values)
    return tuple(
        Setting(index.kind, value, scan)
        for scan in scans_of(index.kind, spec.iterative_scans)
        for value in values
    )


def is_named(spec: ExperimentSpec, kind: IndexKind | None) -> bool:
    """Whether the user named the values of that index's parameter."""
    return (spec.probes if kind is IndexKind.IVFFLAT else spec.ef_search) is not None


def limits_of(index: IndexSpec, asked: int) -> IntRange:
    """The range that the search for a target may take values from. Raises InvalidInput."""
    if isinstance(index, IVFFlat):
        return IntRange(PROBES.low, index.lists, recommended_probes(index.lists))
    check_asked(asked)
    return IntRange(asked, EF_SEARCH.high, max(asked, EF_SEARCH.default))
