"""What a candidate will take, before it is built: memory, disk and time.

Sizes follow pgvector's page layout (0.8: src/hnsw.h, hnswbuild.c, ivfflat.h, ivfbuild.c) and
PostgreSQL's (storage/bufpage.h, "Database Page Layout" and "TOAST" in its documentation). Times are
rates that were measured once (docs/decisions), and are set right by the earlier candidates that
this server has built.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import median

import numpy as np
from sqlalchemy import Integer, Text, cast, distinct, func, literal_column, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from lib.errors import IndexRefused
from lib.store.candidates import (
    CandidateSpec,
    CandidateState,
    CandidateStorage,
    candidate_table,
)
from lib.store.collections import Collection
from lib.store.database import Database
from lib.store.embedded import machine_ram_bytes
from lib.store.records import CandidateRecord, CollectionRecord
from lib.vectors.ddl import check_buildable
from lib.vectors.distance import Distance, Storage
from lib.vectors.index_methods import HNSW, IVFFlat, parse_spec
from lib.vectors.statements import available_statement
from lib.vectors.tuning import BuildSettings

MIB = 1024 * 1024
FEW_BITS = 512  # docs/decisions, "Bits find, full vectors rank"
SAMPLE_ROWS = 1000  # that are looked at for their sizes, norms and signs
NEARLY_FULL_BYTES = 1024 * MIB  # that should stay free on a disk

# --- PostgreSQL's and pgvector's layout, in bytes -------------------------------------------------

_PAGE = 8192
_ITEM = 4  # ItemIdData
_PAGE_ROOM = _PAGE - 24  # less the page's header
_INDEX_ROOM = _PAGE_ROOM - 8  # less what both indexes keep at a page's end
_MOST_ON_A_PAGE = 291  # MaxHeapTuplesPerPage
_TUPLE_HEADER = 24  # of a row, with its bitmap of NULLs
_TOAST_THRESHOLD = 2032  # TOAST_TUPLE_THRESHOLD: longer rows move their embedding out
_TOAST_CHUNK = 1996  # TOAST_MAX_CHUNK_SIZE
_TOAST_POINTER = 18
_TOAST_KEY = 22.5  # of the TOAST table's own index: 20 bytes in leaves that are 90 % full
_SMALL_FILES = 5 * _PAGE  # free space maps and the like
_HNSW_ELEMENT, _HNSW_NEIGHBORS = 72, 4  # before the vector, and before the links
_LINK = 6  # ItemPointerData
_SIMULATED = 4000  # rows whose packing into pages is followed
_HEAD_OF_LIST = 8  # of an IVFFlat list, before its centre


def _aligned(size: float) -> int:
    return 8 * math.ceil(size / 8)


def held_bytes(storage: CandidateStorage, dimensions: int) -> int:
    """One embedding as its index holds it (pgvector README: 4·d + 8 and 2·d + 8; a bit string
    d/8 + 8)."""
    if storage is CandidateStorage.BIT:
        return math.ceil(dimensions / 8) + 8
    return Storage(storage.value).bytes_per_row(dimensions)


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
    toast = [_aligned(_TUPLE_HEADER + 12 + chunk) for chunk in chunks]
    simulated = math.ceil(_SIMULATED / len(toast))
    packed = _packed_pages(toast * simulated, _PAGE_ROOM) / simulated
    return round(_SMALL_FILES + pages + rows * (packed * _PAGE + len(chunks) * _TOAST_KEY))


def _is_moved_out(row_bytes: float, stored_bytes: int) -> bool:
    return _aligned(_TUPLE_HEADER + row_bytes + stored_bytes) > _TOAST_THRESHOLD


def _row_size(row_bytes: float, stored_bytes: int) -> int:
    moved = _is_moved_out(row_bytes, stored_bytes)
    return _aligned(_TUPLE_HEADER + row_bytes + (_TOAST_POINTER if moved else stored_bytes))


def _pages(rows: int, size: int) -> int:
    """Bytes of the pages that rows of one size fill."""
    return math.ceil(rows / (_PAGE_ROOM // (size + _ITEM))) * _PAGE


def _packed_pages(sizes: Iterable[int], room: int) -> int:
    """Pages filled one after the other."""
    pages, free = 1, room
    for size in sizes:
        if size + _ITEM > free:
            pages, free = pages + 1, room
        free -= size + _ITEM
    return pages


def hnsw_index_bytes(rows: int, held: int, m: int) -> int:
    """held: of one embedding in the index.

    Each row has an element (72 bytes and the vector) and its links ((level + 2) · m of 6 bytes), on
    one page where they fit; its level is drawn, one in m reaches the next (hnswbuild.c,
    CreateGraphPages). Equal rows share an element, which is not reckoned with.
    """
    simulated = min(rows, _SIMULATED)
    pages = _hnsw_pages(simulated, held, m)
    return _PAGE + math.ceil(pages * rows / simulated) * _PAGE


@lru_cache(maxsize=256)
def _hnsw_pages(rows: int, held: int, m: int) -> int:
    element = _aligned(_HNSW_ELEMENT + held)
    pages, free = 1, _INDEX_ROOM
    for level in _levels(rows, m):
        links = _aligned(_HNSW_NEIGHBORS + (level + 2) * m * _LINK)
        both = element + links + 2 * _ITEM
        if free < element + _ITEM or (both <= _INDEX_ROOM and free < both):
            pages, free = pages + 1, _INDEX_ROOM
        free -= element + _ITEM
        if free < links + _ITEM:
            pages, free = pages + 1, _INDEX_ROOM
        free -= links + _ITEM
    return pages


@lru_cache(maxsize=64)
def _levels(rows: int, m: int) -> tuple[int, ...]:
    """As HnswInitElement draws them: −ln(uniform) / ln(m), cut to whole numbers."""
    drawn = -np.log(1.0 - np.random.default_rng(0).random(rows)) / math.log(m)
    most = (_INDEX_ROOM - _HNSW_NEIGHBORS - _ITEM) // _LINK // m - 2
    return tuple(int(level) for level in np.minimum(drawn, most))


def hnsw_memory_bytes(rows: int, held: int, m: int) -> int:
    """The graph in maintenance_work_mem: an element of 128 bytes, its vector, and in each layer an
    array of links of 16 bytes, 2·m of them in the lowest and m above (hnsw.h, HnswElementData,
    HnswNeighborArray and HnswCandidate)."""
    above = 1 / (m - 1)  # layers above the lowest, on average: 1/m + 1/m² + …
    lowest = 8 + 8 + 2 * m * 16
    return round(rows * (128 + _aligned(held) + lowest + above * (8 + 8 + m * 16)))


def ivfflat_index_bytes(rows: int, held: int, lists: int) -> int:
    """Each list has its centre on the list pages and its rows on pages of its own, the last of
    them half full on average (ivfbuild.c, CreateListPages and InsertTuples)."""
    centres = -(-lists // (_INDEX_ROOM // (_aligned(_HEAD_OF_LIST + held) + _ITEM)))
    short = held - 3 if held - 3 <= 127 else held  # a short varlena has a header of one byte
    per_page = _INDEX_ROOM // (_aligned(8 + short) + _ITEM)
    return round((1 + centres + max(lists, rows / per_page + lists / 2)) * _PAGE)


def ivfflat_memory_bytes(rows: int, held: int, lists: int, pages: int | None = None) -> int:
    """What k-means takes at once; pgvector refuses to begin where maintenance_work_mem is less
    (ivfkmeans.c, ElkanKmeans). 50 samples a list, at least 10,000, have room, and no more than the
    table's pages could hold rows (ivfbuild.c, ComputeCenters).

    pages: of the table itself, None where they are not known.
    """
    room = max(10_000, 50 * lists)
    if pages is not None:
        room = min(room, max(1, pages * _MOST_ON_A_PAGE))
    samples = min(rows, room)
    if samples <= lists:
        return (room + lists) * _aligned(held)  # the samples are the centres
    bounds = 4 * (samples * lists + 2 * samples + lists * lists + 3 * lists)
    return (room + 2 * lists) * _aligned(held) + bounds


# --- seconds --------------------------------------------------------------------------------------

# Measured on two busy cores, pgvector 0.8.5; bench/lab_estimates.py prints how far off they are.
_HNSW_ROW_US = {"vector": (30.0, 0.03), "halfvec": (30.0, 0.03), "bit": (20.0, 0.013)}
_HNSW_STEP_US = {"vector": (0.20, 1.0e-4), "halfvec": (0.23, 1.15e-4), "bit": (0.13, 1.0e-5)}
_HNSW_STEP_ROWS = 20_000  # that the steps were measured with: a graph grows by its logarithm
_HNSW_OUT_OF_MEMORY = 6.0  # times slower: each row after that goes through pages
_DISTANCE_NS = {"vector": (15.0, 0.06), "halfvec": (15.0, 0.08), "bit": (15.0, 0.002)}
_KMEANS_NS, _KMEANS_PASSES = 120.0, 4.0  # for each sample and list, and distances computed for them
_SORTED_NS_PER_BYTE = 7.0
_COPIED_NS_PER_BYTE = 5.0
_BEGIN_SECONDS = 0.1
_PARALLEL_FROM_SECONDS = 2.0  # less is not worth starting processes and sharing memory for
_WORKER_GAIN = 0.5  # of a process, that one more parallel worker is worth


def _line(constants: tuple[float, float], dimensions: int) -> float:
    return constants[0] + constants[1] * dimensions


def _hnsw_seconds(rows: int, dimensions: int, storage: CandidateStorage, spec: HNSW) -> float:
    """By one process, in memory. A row is compared with some m · ef_construction others, and no
    more than there are."""
    steps = min(spec.m * spec.ef_construction, 1.5 * rows)
    depth = math.log(max(rows, 2)) / math.log(_HNSW_STEP_ROWS)
    step = _line(_HNSW_STEP_US[storage.value], dimensions) * depth
    return rows * (_line(_HNSW_ROW_US[storage.value], dimensions) + steps * step) / 1e6


def _ivfflat_seconds(
    rows: int, dimensions: int, storage: CandidateStorage, held: int, spec: IVFFlat
) -> tuple[float, float]:
    """(k-means, by one process; comparing each row with each centre, sorting and writing)."""
    distance_ns = _line(_DISTANCE_NS[storage.value], dimensions)
    samples = min(rows, max(10_000, 50 * spec.lists))
    kmeans_ns = samples * spec.lists * (_KMEANS_NS + _KMEANS_PASSES * distance_ns)
    rest_ns = rows * (spec.lists * distance_ns + held * _SORTED_NS_PER_BYTE)
    return kmeans_ns / 1e9, rest_ns / 1e9


# --- what is known before -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sampled:
    """What the first rows are like, SAMPLE_ROWS of them at most.

    row_bytes: of the other columns that are copied, on average. ones: the share of values above 0.
    different, different_bits: rows that differ in their vectors, and by their bits. norm_spread:
    the norms' standard deviation, as a share of their mean.
    """

    rows: int = 0
    row_bytes: float = 16.0
    ones: float = 0.5
    different: int = 0
    different_bits: int = 0
    norm_spread: float = 0.0


@dataclass(frozen=True, slots=True)
class Built:
    """An earlier candidate of this server: what it was and what it took. outgrew: whether its graph
    left maintenance_work_mem."""

    spec: CandidateSpec
    rows: int
    dimensions: int
    workers: int
    build_seconds: float
    outgrew: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """What an estimate stands on.

    rows: with an embedding. usable: those that are not zero under cosine, where they are fewer than
    was asked for; else all. free_bytes, ram_bytes: of the machine that the bundled server runs on;
    None of another server, which cannot be asked. workers: the most that the server lets help with
    one build.
    """

    rows: int
    usable: int
    dimensions: int
    column: Storage
    distance: Distance
    maintenance_work_mem_bytes: int
    workers: int
    sampled: Sampled = Sampled()
    built: tuple[Built, ...] = ()
    free_bytes: int | None = None
    ram_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """Of one candidate. memory_bytes: what its build wants at once, of
    maintenance_work_mem_bytes that it has. workers: processes that are to help. build_seconds: the
    index alone. calibrated_by: how many earlier candidates of its kind set the seconds right."""

    spec: CandidateSpec
    rows: int
    table_bytes: int
    index_bytes: int
    memory_bytes: int
    maintenance_work_mem_bytes: int
    workers: int
    copy_seconds: float
    build_seconds: float
    calibrated_by: int = 0

    @property
    def disk_bytes(self) -> int:
        """When it is built."""
        return self.table_bytes + self.index_bytes

    @property
    def building_bytes(self) -> int:
        """While it is built: what is sorted may go to disk, and the log keeps up to 1 GB."""
        sorted_bytes = self.table_bytes if isinstance(self.spec.index, IVFFlat) else 0
        return self.disk_bytes + sorted_bytes + min(self.disk_bytes, 1024 * MIB)

    @property
    def seconds(self) -> float:
        return self.copy_seconds + self.build_seconds

    @property
    def fits_memory(self) -> bool:
        return self.memory_bytes <= self.maintenance_work_mem_bytes


async def look_at(
    database: Database, collection: Collection, specs: Sequence[CandidateSpec] = ()
) -> Facts:
    """One look at the collection, at its server and at what was built there before.

    specs: which are thought of; zero vectors are counted as far as their lists need to know.
    """
    enough = max([1, *(s.index.lists for s in specs if isinstance(s.index, IVFFlat))])
    table = collection.table
    embedding = table.column(table.embedding)
    async with database.session() as db:
        rows = (
            await db.execute(select(func.count(embedding)).select_from(table.rows))
        ).scalar_one()
        counted = (await db.execute(available_statement(table, enough))).scalar_one()
        memory, workers = (await db.execute(_SERVER)).one()
        sampled = await _sample(db, collection)
        built = await _earlier(db)
    folder = database.data_folder
    return Facts(
        rows=rows,
        usable=counted if counted < enough else rows,
        dimensions=collection.dimensions,
        column=collection.storage,
        distance=collection.distance,
        maintenance_work_mem_bytes=memory,
        workers=workers,
        sampled=sampled,
        built=built,
        free_bytes=None if folder is None else shutil.disk_usage(folder).free,
        ram_bytes=None if folder is None else machine_ram_bytes(),
    )


_SERVER = text(
    """
    SELECT pg_size_bytes(current_setting('maintenance_work_mem')),
           least(current_setting('max_parallel_maintenance_workers')::int,
                 current_setting('max_parallel_workers')::int)
    """
)


async def _sample(db: AsyncSession, collection: Collection) -> Sampled:
    table = collection.table
    copied = [table.id, *(name for name in (table.category, table.metadata) if name is not None)]
    embedding = table.column(table.embedding)
    some = (
        select(embedding.label("embedding"), *(table.column(name) for name in copied))
        .where(embedding.is_not(None))
        .limit(SAMPLE_ROWS)
        .subquery()
    )
    norm = func.vector_norm if collection.storage is Storage.VECTOR else func.l2_norm
    bits = func.binary_quantize(some.c.embedding)
    ones = func.length(func.replace(cast(bits, Text), literal_column("'0'"), literal_column("''")))
    sizes = [func.coalesce(func.pg_column_size(some.c[name]), 0) for name in copied]
    of_rows = (
        await db.execute(
            select(
                func.count(),
                func.avg(sum(sizes[1:], start=cast(sizes[0], Integer))),
                func.avg(ones),
                func.count(distinct(some.c.embedding)),
                func.count(distinct(bits)),
                func.stddev_pop(norm(some.c.embedding))
                / func.nullif(func.avg(norm(some.c.embedding)), 0),
            )
        )
    ).one()
    rows, row_bytes, ones_set, different, different_bits, spread = of_rows
    if not rows:
        return Sampled()
    return Sampled(
        rows,
        float(row_bytes),
        float(ones_set) / collection.dimensions,
        different,
        different_bits,
        float(spread or 0.0),
    )


async def _earlier(db: AsyncSession) -> tuple[Built, ...]:
    record = CandidateRecord
    found = await db.execute(
        select(record, CollectionRecord.dimensions)
        .join_from(record, CollectionRecord)
        .where(record.state == CandidateState.READY.value, record.build_seconds.is_not(None))
        .order_by(record.created_at.desc())
        .limit(50)
    )
    return tuple(
        Built(
            CandidateSpec(parse_spec(each.kind, each.options), CandidateStorage(each.storage)),
            each.rows,
            dimensions,
            each.parallel_workers or 0,
            each.build_seconds,
            any("maintenance_work_mem" in notice for notice in each.notices),
        )
        for each, dimensions in found
        if each.rows is not None and each.build_seconds is not None
    )


# --- the estimate ---------------------------------------------------------------------------------

_LEAST_ROWS, _LEAST_SECONDS = 1000, 0.2  # of an earlier build that says anything about a rate
_MOST_EARLIER = 5


def estimate(facts: Facts, spec: CandidateSpec, settings: BuildSettings | None = None) -> Estimate:
    """What the candidate will take. settings: by default what :func:`chosen_settings` takes."""
    settings = settings or chosen_settings(facts, spec)
    plain = _uncalibrated(facts, spec, settings)
    rates = [rate for earlier in facts.built if (rate := _rate(facts, spec, earlier)) is not None]
    if not rates:
        return plain
    rates = rates[:_MOST_EARLIER]
    seconds = plain.build_seconds * median(rates)
    return replace(plain, build_seconds=seconds, calibrated_by=len(rates))


def _rate(facts: Facts, spec: CandidateSpec, earlier: Built) -> float | None:
    """How many times longer an earlier build of the same kind took than the formulas say."""
    same = (
        earlier.spec.index.kind is spec.index.kind
        and earlier.spec.storage is spec.storage
        and not earlier.outgrew
    )
    if not same or earlier.rows < _LEAST_ROWS or earlier.build_seconds < _LEAST_SECONDS:
        return None
    of_then = replace(facts, rows=earlier.rows, dimensions=earlier.dimensions, built=())
    had = BuildSettings(None, earlier.workers)
    return earlier.build_seconds / _uncalibrated(of_then, earlier.spec, had).build_seconds


def _memory_bytes(facts: Facts, spec: CandidateSpec) -> int:
    held = held_bytes(spec.storage, facts.dimensions)
    if isinstance(spec.index, HNSW):
        return hnsw_memory_bytes(facts.rows, held, spec.index.m)
    stored = spec.storage.of_column(facts.column).bytes_per_row(facts.dimensions)
    pages = _pages(facts.rows, _row_size(facts.sampled.row_bytes, stored)) // _PAGE
    return ivfflat_memory_bytes(facts.rows, held, spec.index.lists, pages)


def _uncalibrated(facts: Facts, spec: CandidateSpec, settings: BuildSettings) -> Estimate:
    rows, dimensions, index = facts.rows, facts.dimensions, spec.index
    held = held_bytes(spec.storage, dimensions)
    stored = spec.storage.of_column(facts.column).bytes_per_row(dimensions)
    copy = table_bytes(rows, facts.sampled.row_bytes, stored)
    given = settings.maintenance_work_mem_mb
    memory = facts.maintenance_work_mem_bytes if given is None else given * MIB
    wanted = _memory_bytes(facts, spec)
    allowed = facts.workers if settings.parallel_workers is None else settings.parallel_workers
    workers = max(0, min(allowed, memory // (32 * MIB) - 1))  # plan_create_index_workers
    if isinstance(index, HNSW):
        size = hnsw_index_bytes(max(rows, 1), held, index.m)
        outside = max(0.0, 1 - memory / wanted) if wanted else 0.0
        slower = 1 - outside + outside * _HNSW_OUT_OF_MEMORY
        alone, shared = 0.0, _hnsw_seconds(rows, dimensions, spec.storage, index) * slower
    else:
        size = ivfflat_index_bytes(rows, held, index.lists)
        alone, shared = _ivfflat_seconds(rows, dimensions, spec.storage, held, index)
    if shared < _PARALLEL_FROM_SECONDS:
        workers = 0
    seconds = alone + shared / (1 + _WORKER_GAIN * workers)
    return Estimate(
        spec=spec,
        rows=rows,
        table_bytes=copy,
        index_bytes=size,
        memory_bytes=wanted,
        maintenance_work_mem_bytes=memory,
        workers=workers,
        copy_seconds=_BEGIN_SECONDS + copy * _COPIED_NS_PER_BYTE / 1e9,
        build_seconds=_BEGIN_SECONDS + seconds,
    )


def chosen_settings(facts: Facts, spec: CandidateSpec) -> BuildSettings:
    """Memory for this build, where its machine is known: what it wants and a tenth, if that is more
    than the server gives by itself and no more than a quarter of the RAM. Else, and always for the
    workers, the server's own values: those of the bundled one are made for its machine."""
    wanted = _memory_bytes(facts, spec) * 11 // 10
    own = facts.maintenance_work_mem_bytes
    if facts.ram_bytes is None or wanted <= own:
        return BuildSettings()
    most = max(own, facts.ram_bytes // 4)
    return BuildSettings(maintenance_work_mem_mb=math.ceil(min(wanted, most) / MIB))


# --- refusals and warnings ------------------------------------------------------------------------


def check_spec(
    facts: Facts, collection: Collection, spec: CandidateSpec, settings: BuildSettings | None = None
) -> tuple[str, ...]:
    """Warnings about a candidate that can be built, in words.

    Raises IndexRefused, with the way out, where it cannot be built or is of no use.
    """
    if facts.rows and not facts.usable:
        raise IndexRefused(
            "All vectors are zero, and a zero vector has no cosine distance to anything.",
            hint="Check what they were made from, or use L2.",
        )
    check_buildable(
        candidate_table(collection, "candidate", spec.storage), spec.index, facts.usable
    )
    found = estimate(facts, spec, settings)
    warnings = []
    megabytes = math.ceil(found.memory_bytes * 1.1 / MIB)
    if not found.fits_memory:
        have = f"maintenance_work_mem is {found.maintenance_work_mem_bytes // MIB:,} MB"
        if isinstance(spec.index, IVFFlat):
            raise IndexRefused(
                f"k-means over {spec.index.lists:,} lists needs {megabytes:,} MB, and {have}.",
                hint=f"Set maintenance_work_mem to {megabytes:,} MB for the build, or take fewer "
                "lists.",
                field="lists",
            )
        share = found.maintenance_work_mem_bytes / found.memory_bytes
        warnings.append(
            f"The graph needs {megabytes:,} MB and {have}: it fits to {share:.0%}, and every row "
            f"after that takes several times as long. Set it to {megabytes:,} MB for the build."
        )
    if spec.storage is CandidateStorage.BIT:
        warnings += _about_bits(facts)
    if isinstance(spec.index, IVFFlat) and facts.rows < 10 * spec.index.lists:
        warnings.append(
            f"{spec.index.lists:,} lists of {facts.rows:,} rows are fewer than ten rows each: "
            "their centres mean little."
        )
    if facts.sampled.rows > 1 and facts.sampled.different == 1:
        warnings.append("The vectors looked at are all equal: no search can tell them apart.")
    return tuple(warnings)


def _about_bits(facts: Facts) -> list[str]:
    """Raises IndexRefused where the bits are the same for all."""
    sampled = facts.sampled
    if sampled.different > 1 and sampled.different_bits == 1:
        raise IndexRefused(
            f"{sampled.rows:,} rows looked at have the same bits, since none of their values "
            "changes its sign from row to row: the bits cannot tell them apart.",
            hint="Take halfvec, or subtract the mean vector from all of them first.",
            field="storage",
        )
    warnings = []
    if sampled.different_bits < 0.9 * sampled.different or not 0.02 <= sampled.ones <= 0.98:
        warnings.append(
            f"The bits tell little: {sampled.ones:.0%} of the values are above 0, and "
            f"{sampled.different:,} different vectors have {sampled.different_bits:,} different "
            "bit patterns. Expect a low recall, or subtract the mean vector first."
        )
    if facts.dimensions < FEW_BITS:
        warnings.append(
            f"{facts.dimensions:,} dimensions are {facts.dimensions:,} bits a row, which is few: "
            "expect to need a high oversampling."
        )
    if facts.distance is not Distance.COSINE and sampled.norm_spread > 0.1:
        warnings.append(
            f"The vectors' lengths differ (by {sampled.norm_spread:.0%}), which matters to the "
            f"{facts.distance.label} and is not in the bits. Expect a low recall, or normalise."
        )
    return warnings


def disk_warning(facts: Facts, found: Sequence[Estimate]) -> str | None:
    """Whether building all of these leaves the disk nearly full, or that it cannot be told.

    Raises IndexRefused where they do not fit.
    """
    kept = sum(each.disk_bytes for each in found)
    most = kept + max((each.building_bytes - each.disk_bytes for each in found), default=0)
    size = f"{max(1, round(most / MIB)):,} MB"
    if facts.free_bytes is None:
        return (
            f"About {size} are needed on the server's disk; how much is free there cannot be asked."
        )
    free = f"{facts.free_bytes // MIB:,} MB"
    if kept > facts.free_bytes:
        raise IndexRefused(
            f"The disk has {free} free, and this takes about {size}.",
            hint="Drop candidates that are no more needed, or build fewer.",
        )
    if facts.free_bytes - most < NEARLY_FULL_BYTES:
        return f"The disk is nearly full: {free} are free, and this takes about {size}."
    return None
