"""What an index takes: bytes on disk, memory and seconds to build, vectors compared by a search.

Sizes follow the page layout of pgvector's own code; rates were measured, and
bench/lab_estimates.py prints how far off they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lib.vectors.distance import ElementType

PAGE = 8192
ITEM = 4  # ItemIdData
PAGE_ROOM = PAGE - 24  # less the page's header
_INDEX_ROOM = PAGE_ROOM - 8  # less what both indexes keep at a page's end
_MOST_ON_A_PAGE = 291  # MaxHeapTuplesPerPage
_HNSW_ELEMENT, _HNSW_NEIGHBORS = 72, 4  # before the vector, and before the links
_LINK = 6  # ItemPointerData
SIMULATED_ROWS = 4000  # rows whose packing into pages is followed
_HEAD_OF_LIST = 8  # of an IVFFlat list, before its centre


@dataclass(frozen=True, slots=True)
class IndexShape:
    """An index as far as its costs depend on it."""

    rows: int
    dimensions: int
    element_type: ElementType
    options: Mapping[str, int]
    """The build options."""
    table_pages: int | None = None
    """Of the table itself; None where they are not known."""

    @property
    def element_bytes(self) -> int:
        """Of one value in the index."""
        return self.element_type.bytes_per_value(self.dimensions)


@dataclass(frozen=True, slots=True)
class IndexCosts:
    """What the indexes of one method take, each as a formula over an :class:`IndexShape`."""

    index_bytes: Callable[[IndexShape], int]
    memory_bytes: Callable[[IndexShape], int]
    """What a build wants at once of maintenance_work_mem."""
    memory_user: str
    """What that memory is for, a format over the build options."""
    build_seconds: Callable[[IndexShape], tuple[float, float]]
    """(by one process alone, what parallel workers share), in memory."""
    compared_vectors: Callable[[IndexShape, int], float]
    """(shape, the search parameter's value) → vectors that one search compares."""
    visit_us: float = 0.0
    """Microseconds that a search spends on each of these beside the comparison."""
    slowdown_outside_memory: float | None = None
    """How many times slower a row is that does not fit into memory; None: pgvector refuses to
    begin."""
    sorts_rows: bool = False
    """Whether a build sorts a copy of the rows, which may go to disk."""


def aligned(size: float) -> int:
    return 8 * math.ceil(size / 8)


# --- sizes --------------------------------------------------------------------------------------


def hnsw_index_bytes(rows: int, embedding_bytes: int, m: int) -> int:
    """embedding_bytes: of one embedding in the index.

    Each row has an element (72 bytes and the vector) and its links ((level + 2) · m of 6 bytes), on
    one page where they fit; its level is drawn, one in m reaches the next (hnswbuild.c,
    CreateGraphPages). Equal rows share an element, which is not reckoned with.
    """
    simulated = min(rows, SIMULATED_ROWS)
    pages = _hnsw_pages(simulated, embedding_bytes, m)
    return PAGE + math.ceil(pages * rows / simulated) * PAGE


@lru_cache(maxsize=256)
def _hnsw_pages(rows: int, embedding_bytes: int, m: int) -> int:
    element = aligned(_HNSW_ELEMENT + embedding_bytes)
    pages, free = 1, _INDEX_ROOM
    for level in _levels(rows, m):
        links = aligned(_HNSW_NEIGHBORS + (level + 2) * m * _LINK)
        both = element + links + 2 * ITEM
        if free < element + ITEM or (both <= _INDEX_ROOM and free < both):
            pages, free = pages + 1, _INDEX_ROOM
        free -= element + ITEM
        if free < links + ITEM:
            pages, free = pages + 1, _INDEX_ROOM
        free -= links + ITEM
    return pages


@lru_cache(maxsize=64)
def _levels(rows: int, m: int) -> tuple[int, ...]:
    """As HnswInitElement draws them: −ln(uniform) / ln(m), cut to whole numbers."""
    drawn = -np.log(1.0 - np.random.default_rng(0).random(rows)) / math.log(m)
    most = (_INDEX_ROOM - _HNSW_NEIGHBORS - ITEM) // _LINK // m - 2
    return tuple(int(level) for level in np.minimum(drawn, most))


def hnsw_memory_bytes(rows: int, embedding_bytes: int, m: int) -> int:
    """The graph in maintenance_work_mem: an element of 128 bytes, its vector, and in each layer an
    array of links of 16 bytes, 2·m of them in the lowest and m above (hnsw.h, HnswElementData,
    HnswNeighborArray and HnswCandidate)."""
    above = 1 / (m - 1)  # layers above the lowest, on average: 1/m + 1/m² + …
    lowest = 8 + 8 + 2 * m * 16
    return round(rows * (128 + aligned(embedding_bytes) + lowest + above * (8 + 8 + m * 16)))


def ivfflat_index_bytes(rows: int, embedding_bytes: int, lists: int) -> int:
    """Each list has its centre on the list pages and its rows on pages of its own, the last of
    them half full on average (ivfbuild.c, CreateListPages and InsertTuples)."""
    centres = -(-lists // (_INDEX_ROOM // (aligned(_HEAD_OF_LIST + embedding_bytes) + ITEM)))
    short = (
        embedding_bytes - 3 if embedding_bytes - 3 <= 127 else embedding_bytes
    )  # a short varlena has a header of one byte
    per_page = _INDEX_ROOM // (aligned(8 + short) + ITEM)
    return round((1 + centres + max(lists, rows / per_page + lists / 2)) * PAGE)


def ivfflat_memory_bytes(
    rows: int, embedding_bytes: int, lists: int, pages: int | None = None
) -> int:
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
        return (room + lists) * aligned(embedding_bytes)  # the samples are the centres
    bounds = 4 * (samples * lists + 2 * samples + lists * lists + 3 * lists)
    return (room + 2 * lists) * aligned(embedding_bytes) + bounds


# --- seconds ------------------------------------------------------------------------------------

# Measured on two busy cores, pgvector 0.8.5.
_HNSW_ROW_US = {
    ElementType.VECTOR: (30.0, 0.03),
    ElementType.HALFVEC: (30.0, 0.03),
    ElementType.BIT: (20.0, 0.013),
}
_HNSW_STEP_US = {
    ElementType.VECTOR: (0.20, 1.0e-4),
    ElementType.HALFVEC: (0.23, 1.15e-4),
    ElementType.BIT: (0.13, 1.0e-5),
}
_HNSW_STEP_ROWS = 20_000  # that the steps were measured with: a graph grows by its logarithm
_HNSW_OUT_OF_MEMORY = 6.0  # times slower: each row after that goes through pages
_DISTANCE_NS = {
    ElementType.VECTOR: (15.0, 0.06),
    ElementType.HALFVEC: (15.0, 0.08),
    ElementType.BIT: (15.0, 0.002),
}
_KMEANS_NS, _KMEANS_PASSES = 120.0, 4.0  # for each sample and list, and distances computed for them
_SORTED_NS_PER_BYTE = 7.0
_HNSW_VISIT_US = 0.8  # for each vector of a search: a graph is walked from page to page


def _line(constants: tuple[float, float], dimensions: int) -> float:
    return constants[0] + constants[1] * dimensions


def _hnsw_seconds(index: IndexShape) -> float:
    """By one process, in memory. A row is compared with some m · ef_construction others, and no
    more than there are."""
    steps = min(index.options["m"] * index.options["ef_construction"], 1.5 * index.rows)
    depth = math.log(max(index.rows, 2)) / math.log(_HNSW_STEP_ROWS)
    step = _line(_HNSW_STEP_US[index.element_type], index.dimensions) * depth
    row = _line(_HNSW_ROW_US[index.element_type], index.dimensions)
    return index.rows * (row + steps * step) / 1e6


def _ivfflat_seconds(index: IndexShape) -> tuple[float, float]:
    """(k-means, by one process; comparing each row with each centre, sorting and writing)."""
    lists = index.options["lists"]
    distance_ns = _line(_DISTANCE_NS[index.element_type], index.dimensions)
    samples = min(index.rows, max(10_000, 50 * lists))
    kmeans_ns = samples * lists * (_KMEANS_NS + _KMEANS_PASSES * distance_ns)
    rest_ns = index.rows * (lists * distance_ns + index.element_bytes * _SORTED_NS_PER_BYTE)
    return kmeans_ns / 1e9, rest_ns / 1e9


# --- the methods --------------------------------------------------------------------------------

HNSW_COSTS = IndexCosts(
    index_bytes=lambda index: hnsw_index_bytes(
        max(index.rows, 1), index.element_bytes, index.options["m"]
    ),
    memory_bytes=lambda index: hnsw_memory_bytes(
        index.rows, index.element_bytes, index.options["m"]
    ),
    memory_user="The graph",
    build_seconds=lambda index: (0.0, _hnsw_seconds(index)),
    compared_vectors=lambda index, ef_search: min(index.rows, ef_search * index.options["m"]),
    visit_us=_HNSW_VISIT_US,
    slowdown_outside_memory=_HNSW_OUT_OF_MEMORY,
)

IVFFLAT_COSTS = IndexCosts(
    index_bytes=lambda index: ivfflat_index_bytes(
        index.rows, index.element_bytes, index.options["lists"]
    ),
    memory_bytes=lambda index: ivfflat_memory_bytes(
        index.rows, index.element_bytes, index.options["lists"], index.table_pages
    ),
    memory_user="k-means over {lists:,} lists",
    build_seconds=_ivfflat_seconds,
    compared_vectors=lambda index, probes: (
        index.options["lists"] + index.rows * min(1.0, probes / index.options["lists"])
    ),
    sorts_rows=True,
)
