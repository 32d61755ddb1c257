"""What a candidate will take, before it is built: memory, disk and time.

Sizes follow pgvector's page layout (0.8: src/hnsw.h, hnswbuild.c, ivfflat.h, ivfbuild.c) and
PostgreSQL's (storage/bufpage.h, "Database Page Layout" and "TOAST" in its documentation). Times are
rates that were measured once (docs/decisions), and are set right by the earlier candidates that
this server has built.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import median

from lib.errors import IndexRefused
from lib.lab.collection_stats import CollectionStats, EarlierBuild
from lib.store.candidates import CandidateSpec, candidate_table
from lib.store.collections import Collection
from lib.vectors.ddl import check_buildable
from lib.vectors.distance import Distance, ElementType
from lib.vectors.index_costs import ITEM, PAGE, PAGE_ROOM, SIMULATED_ROWS, IndexShape, aligned
from lib.vectors.tuning import BuildSettings

MIB = 1024 * 1024
FEW_BITS = 512  # docs/decisions, "Bits find, full vectors rank"
NEARLY_FULL_BYTES = 1024 * MIB  # that should stay free on a disk

# --- PostgreSQL's and pgvector's layout, in bytes -------------------------------------------------

_TUPLE_HEADER = 24  # of a row, with its bitmap of NULLs
_TOAST_THRESHOLD = 2032  # TOAST_TUPLE_THRESHOLD: longer rows move their embedding out
_TOAST_CHUNK = 1996  # TOAST_MAX_CHUNK_SIZE
_TOAST_POINTER = 18
_TOAST_KEY = 22.5  # of the TOAST table's own index: 20 bytes in leaves that are 90 % full
_SMALL_FILES = 5 * PAGE  # free space maps and the like


def table_bytes(rows: int, row_bytes: float, stored_bytes: int) -> int:
    """The copy: row_bytes for its other columns, stored_bytes for the embedding.

    A row of more than 2,032 bytes keeps its embedding in the TOAST table, in chunks of 1,996
    (PostgreSQL, "TOAST"); pgvector stores vectors uncompressed.
    """
    pages = _SMALL_FILES + _pages(rows, _row_size(row_bytes, stored_bytes))
    if not _is_moved_out(row_bytes, stored_bytes):
        return pages
    whole, rest = divmod(stored_bytes - 4, _TOAST_CHUNK)
    chunks = [_TOAST_CHUNK] * whole + [rest] * bool(rest)
    toast = [aligned(_TUPLE_HEADER + 12 + chunk) for chunk in chunks]
    simulated = math.ceil(SIMULATED_ROWS / len(toast))
    packed = _packed_pages(toast * simulated, PAGE_ROOM) / simulated
    return round(_SMALL_FILES + pages + rows * (packed * PAGE + len(chunks) * _TOAST_KEY))


def _is_moved_out(row_bytes: float, stored_bytes: int) -> bool:
    return aligned(_TUPLE_HEADER + row_bytes + stored_bytes) > _TOAST_THRESHOLD


def _row_size(row_bytes: float, stored_bytes: int) -> int:
    moved = _is_moved_out(row_bytes, stored_bytes)
    return aligned(_TUPLE_HEADER + row_bytes + (_TOAST_POINTER if moved else stored_bytes))


def _pages(rows: int, size: int) -> int:
    """Bytes of the pages that rows of one size fill."""
    return math.ceil(rows / (PAGE_ROOM // (size + ITEM))) * PAGE


def _packed_pages(sizes: Iterable[int], room: int) -> int:
    """Pages filled one after the other."""
    pages, free = 1, room
    for size in sizes:
        if size + ITEM > free:
            pages, free = pages + 1, room
        free -= size + ITEM
    return pages


# --- seconds --------------------------------------------------------------------------------------

_COPIED_NS_PER_BYTE = 5.0
_BEGIN_SECONDS = 0.1
_PARALLEL_FROM_SECONDS = 2.0  # less is not worth starting processes and sharing memory for
_WORKER_GAIN = 0.5  # of a process, that one more parallel worker is worth


@dataclass(frozen=True, slots=True)
class Estimate:
    """The disk, memory and time that one candidate takes."""

    spec: CandidateSpec
    rows: int
    table_bytes: int
    index_bytes: int
    memory_bytes: int
    """What its build needs at once."""
    maintenance_work_mem_bytes: int
    """What its build may use."""
    workers: int
    """Parallel workers of its build."""
    copy_seconds: float
    build_seconds: float
    """The index alone."""
    calibrated_by: int = 0
    """How many earlier builds of its method the seconds are calibrated by."""

    @property
    def disk_bytes(self) -> int:
        """When it is built."""
        return self.table_bytes + self.index_bytes

    @property
    def building_bytes(self) -> int:
        """While it is built: what is sorted may go to disk, and the log keeps up to 1 GB."""
        sorted_bytes = self.table_bytes if self.spec.index.method.costs.sorts_rows else 0
        return self.disk_bytes + sorted_bytes + min(self.disk_bytes, 1024 * MIB)

    @property
    def seconds(self) -> float:
        return self.copy_seconds + self.build_seconds

    @property
    def fits_memory(self) -> bool:
        return self.memory_bytes <= self.maintenance_work_mem_bytes


# --- the estimate ---------------------------------------------------------------------------------

_LEAST_ROWS, _LEAST_SECONDS = 1000, 0.2  # of an earlier build that says anything about a rate
_MOST_EARLIER = 5


def estimate(
    stats: CollectionStats, spec: CandidateSpec, settings: BuildSettings | None = None
) -> Estimate:
    """What the candidate will take. settings: by default what :func:`chosen_settings` takes."""
    settings = settings or chosen_settings(stats, spec)
    plain = _uncalibrated(stats, spec, settings)
    rates = [rate for earlier in stats.built if (rate := _rate(stats, spec, earlier)) is not None]
    if not rates:
        return plain
    rates = rates[:_MOST_EARLIER]
    seconds = plain.build_seconds * median(rates)
    return replace(plain, build_seconds=seconds, calibrated_by=len(rates))


def _rate(stats: CollectionStats, spec: CandidateSpec, earlier: EarlierBuild) -> float | None:
    """How many times longer an earlier build of the same method took than the formulas say."""
    same = (
        earlier.spec.index.method == spec.index.method
        and earlier.spec.storage is spec.storage
        and not earlier.outgrew
    )
    if not same or earlier.rows < _LEAST_ROWS or earlier.build_seconds < _LEAST_SECONDS:
        return None
    of_then = replace(stats, rows=earlier.rows, dimensions=earlier.dimensions, built=())
    had = BuildSettings(None, earlier.workers)
    return earlier.build_seconds / _uncalibrated(of_then, earlier.spec, had).build_seconds


def index_shape(stats: CollectionStats, spec: CandidateSpec) -> IndexShape:
    """The candidate's index, as far as its costs depend on it."""
    stored = spec.storage.of_column(stats.column).bytes_per_row(stats.dimensions)
    return IndexShape(
        rows=stats.rows,
        dimensions=stats.dimensions,
        element_type=spec.storage,
        options=spec.index.options,
        table_pages=_pages(stats.rows, _row_size(stats.sample.row_bytes, stored)) // PAGE,
    )


def _uncalibrated(stats: CollectionStats, spec: CandidateSpec, settings: BuildSettings) -> Estimate:
    index, costs = index_shape(stats, spec), spec.index.method.costs
    stored = spec.storage.of_column(stats.column).bytes_per_row(stats.dimensions)
    copy = table_bytes(stats.rows, stats.sample.row_bytes, stored)
    given = settings.maintenance_work_mem_mb
    memory = stats.maintenance_work_mem_bytes if given is None else given * MIB
    wanted = costs.memory_bytes(index)
    allowed = stats.workers if settings.parallel_workers is None else settings.parallel_workers
    workers = max(0, min(allowed, memory // (32 * MIB) - 1))  # plan_create_index_workers
    alone, shared = costs.build_seconds(index)
    if costs.slowdown_outside_memory is not None:
        outside = max(0.0, 1 - memory / wanted) if wanted else 0.0
        shared *= 1 - outside + outside * costs.slowdown_outside_memory
    if shared < _PARALLEL_FROM_SECONDS:
        workers = 0
    seconds = alone + shared / (1 + _WORKER_GAIN * workers)
    return Estimate(
        spec=spec,
        rows=stats.rows,
        table_bytes=copy,
        index_bytes=costs.index_bytes(index),
        memory_bytes=wanted,
        maintenance_work_mem_bytes=memory,
        workers=workers,
        copy_seconds=_BEGIN_SECONDS + copy * _COPIED_NS_PER_BYTE / 1e9,
        build_seconds=_BEGIN_SECONDS + seconds,
    )


def chosen_settings(stats: CollectionStats, spec: CandidateSpec) -> BuildSettings:
    """Memory for this build, where its machine is known: what it wants and a tenth, if that is more
    than the server gives by itself and no more than a quarter of the RAM. Else, and always for the
    workers, the server's own values: those of the bundled one are made for its machine."""
    wanted = spec.index.method.costs.memory_bytes(index_shape(stats, spec)) * 11 // 10
    own = stats.maintenance_work_mem_bytes
    if stats.ram_bytes is None or wanted <= own:
        return BuildSettings()
    most = max(own, stats.ram_bytes // 4)
    return BuildSettings(maintenance_work_mem_mb=math.ceil(min(wanted, most) / MIB))


# --- refusals and warnings ------------------------------------------------------------------------


def check_spec(
    stats: CollectionStats,
    collection: Collection,
    spec: CandidateSpec,
    settings: BuildSettings | None = None,
) -> tuple[str, ...]:
    """Warnings about a candidate that can be built, in words.

    Raises IndexRefused, with the way out, where it cannot be built or is of no use.
    """
    if stats.rows and not stats.usable:
        raise IndexRefused(
            "All vectors are zero, and a zero vector has no cosine distance to anything.",
            hint="Check what they were made from, or use L2.",
        )
    check_buildable(
        candidate_table(collection, "candidate", spec.storage), spec.index, stats.usable
    )
    found = estimate(stats, spec, settings)
    warnings = []
    costs = spec.index.method.costs
    megabytes = math.ceil(found.memory_bytes * 1.1 / MIB)
    if not found.fits_memory:
        have = f"maintenance_work_mem is {found.maintenance_work_mem_bytes // MIB:,} MB"
        user = costs.memory_user.format(**spec.index.options)
        if costs.slowdown_outside_memory is None:
            option = spec.index.method.rows_option
            raise IndexRefused(
                f"{user} needs {megabytes:,} MB, and {have}.",
                hint=f"Set maintenance_work_mem to {megabytes:,} MB for the build"
                + (f", or take fewer {option}." if option else "."),
                field=option,
            )
        share = found.maintenance_work_mem_bytes / found.memory_bytes
        warnings.append(
            f"{user} needs {megabytes:,} MB and {have}: it fits to {share:.0%}, and every row "
            f"after that takes several times as long. Set it to {megabytes:,} MB for the build."
        )
    if spec.storage is ElementType.BIT:
        warnings += _about_bits(stats)
    if stats.rows < 10 * spec.index.rows_needed and spec.index.method.rows_option:
        warnings.append(
            f"{spec.index.rows_needed:,} {spec.index.method.rows_option} of {stats.rows:,} rows "
            "are fewer than ten rows each: their centres mean little."
        )
    if stats.sample.rows > 1 and stats.sample.different == 1:
        warnings.append("The vectors looked at are all equal: no search can tell them apart.")
    return tuple(warnings)


def _about_bits(stats: CollectionStats) -> list[str]:
    """Raises IndexRefused where the bits are the same for all."""
    sample = stats.sample
    if sample.different > 1 and sample.different_bits == 1:
        raise IndexRefused(
            f"{sample.rows:,} rows looked at have the same bits, since none of their values "
            "changes its sign from row to row: the bits cannot tell them apart.",
            hint="Take halfvec, or subtract the mean vector from all of them first.",
            field="storage",
        )
    warnings = []
    if sample.different_bits < 0.9 * sample.different or not 0.02 <= sample.ones <= 0.98:
        warnings.append(
            f"The bits tell little: {sample.ones:.0%} of the values are above 0, and "
            f"{sample.different:,} different vectors have {sample.different_bits:,} different "
            "bit patterns. Expect a low recall, or subtract the mean vector first."
        )
    if stats.dimensions < FEW_BITS:
        warnings.append(
            f"{stats.dimensions:,} dimensions are {stats.dimensions:,} bits a row, which is few: "
            "expect to need a high oversampling."
        )
    if stats.distance is not Distance.COSINE and sample.norm_spread > 0.1:
        warnings.append(
            f"The vectors' lengths differ (by {sample.norm_spread:.0%}), which matters to the "
            f"{stats.distance.label} and is not in the bits. Expect a low recall, or normalise."
        )
    return warnings


def disk_warning(stats: CollectionStats, estimates: Sequence[Estimate]) -> str | None:
    """Whether building all of these leaves the disk nearly full, or that it cannot be told.

    Raises IndexRefused where they do not fit.
    """
    final_bytes = sum(one.disk_bytes for one in estimates)
    peak_bytes = final_bytes + max(
        (one.building_bytes - one.disk_bytes for one in estimates), default=0
    )
    size = f"{max(1, round(peak_bytes / MIB)):,} MB"
    if stats.free_bytes is None:
        return (
            f"About {size} are needed on the server's disk; how much is free there cannot be asked."
        )
    free = f"{stats.free_bytes // MIB:,} MB"
    if final_bytes > stats.free_bytes:
        raise IndexRefused(
            f"The disk has {free} free, and this takes about {size}.",
            hint="Drop candidates that are no more needed, or build fewer.",
        )
    if stats.free_bytes - peak_bytes < NEARLY_FULL_BYTES:
        return f"The disk is nearly full: {free} are free, and this takes about {size}."
    return None
