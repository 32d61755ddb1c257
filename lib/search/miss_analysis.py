"""The analysis of one question's misses (on screen: X-ray): which of the true nearest documents an
index missed, and the value of its search parameter that would have found them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from lib.errors import InvalidInput
from lib.search.compare import ColumnSettings, Comparison, approximate_columns, compare
from lib.search.request import Mode, SearchRequest
from lib.search.service import (
    SearchService,
    choose_access_path,
    effective_settings,
    filter_conditions,
)
from lib.store.candidates import get_candidate
from lib.store.collections import Collection
from lib.store.database import Database
from lib.store.production import find_index
from lib.vectors.distance import FloatArray
from lib.vectors.index_methods import IndexMethod
from lib.vectors.plans import explain
from lib.vectors.recall import FLOAT32_TOLERANCE, missed_neighbours
from lib.vectors.search import Hit, search_similar_documents
from lib.vectors.smallest_value import next_value, smallest
from lib.vectors.statements import AccessPath, candidate_rows_statement, distance_to
from lib.vectors.tuning import (
    ITERATIVE_SCAN_SINCE,
    Scan,
    SearchSettings,
    apply_settings,
    pgvector_version,
)

MAX_SEARCHES = 20


@dataclass(frozen=True, slots=True)
class MissedDocument:
    """One of the true nearest documents that the index did not find."""

    hit: Hit
    true_rank: int
    """From 1."""
    found_from: int | None
    """The smallest value tried that finds it, None where none did."""
    missed_up_to: int
    """The largest value tried below ``found_from``, which still misses it."""

    @property
    def narrowed_down(self) -> bool:
        """Whether every value between was ruled out."""
        return self.found_from is not None and self.found_from - self.missed_up_to == 1


@dataclass(frozen=True)
class ColumnMisses:
    """What the index of one column missed."""

    label: str
    method: IndexMethod
    index_name: str
    truth: tuple[Hit, ...]
    """The true nearest, from rank 1."""
    parameter: str
    """``probes`` or ``ef_search``."""
    setting: int
    """Its value in the search that is looked at."""
    missed: tuple[MissedDocument, ...]
    all_found_from: int | None
    """The smallest value tried that finds all."""
    tried: tuple[tuple[int, int], ...]
    """Value → how many of the truth it finds."""
    certified: bool
    """Whether every search used the index."""
    note: str
    """What to know of it."""

    @property
    def recall(self) -> float:
        """The share of the truth that was found, ties counted as found."""
        return 1.0 - len(self.missed) / len(self.truth) if self.truth else 1.0


@dataclass(frozen=True)
class MissAnalysis:
    """What each approximate column of a comparison missed."""

    columns: tuple[ColumnMisses, ...]
    tolerance: float = FLOAT32_TOLERANCE
    """See :mod:`lib.vectors.recall`."""


async def compare_with_misses(
    search: SearchService,
    database: Database,
    collection: Collection,
    query: str,
    columns: Sequence[ColumnSettings],
) -> tuple[Comparison, MissAnalysis]:
    """The comparison, and the misses of those of its columns that search by vectors alone and were
    answered by an index; none where there are no such columns.

    Raises what :func:`~lib.search.compare.compare` raises.
    """
    comparison = await compare(search, database, collection, query, columns)
    approximate = approximate_columns(comparison)
    if comparison.embedding is None or not approximate:
        return comparison, MissAnalysis(())
    return comparison, await analyse_misses(database, collection, comparison.embedding, approximate)


async def analyse_misses(
    database: Database,
    collection: Collection,
    embedding: FloatArray,
    columns: Sequence[ColumnSettings],
    *,
    max_searches: int = MAX_SEARCHES,
) -> MissAnalysis:
    """Compares the columns that search by vectors through an index, a candidate's or the
    collection's own, with the exact answer under their own filter, limit and threshold.

    embedding: the question's (d,). The values that find what was missed are found by real searches,
    no more than ``max_searches`` a column (:func:`~lib.vectors.smallest_value.next_value`).
    Raises InvalidInput where no column goes through an index.
    """
    approximate = []
    async with database.session() as db:
        iterative = await pgvector_version(db) >= ITERATIVE_SCAN_SINCE
        for column in columns:
            # The index knows no threshold: it finds the nearest, and what is too far is cut off.
            request, near = replace(column.request, max_distance=None), column.request.max_distance
            if request.mode is Mode.SIMILARITY and request.settings.scan is not Scan.EXACT:
                index = await _find_index(db, collection, request)
                if index is not None:
                    approximate.append((column.label, request, index, near))
    if not approximate:
        raise InvalidInput(
            "None of these searches goes through an index.",
            hint="Compare the exact scan with a candidate.",
        )
    misses = []
    for label, request, index, near in approximate:
        chosen = effective_settings(
            request, iterative_scan_exists=iterative, access_path=index.access_path
        )
        settings = replace(chosen, scan=Scan.INDEX)
        truth = await _truth(database, collection, embedding, request, near)
        async with database.session() as db:
            trials = _Trials(db, collection, embedding, index, settings, truth, request.limit)
            misses.append(await _column_misses(trials, label, max_searches))
    return MissAnalysis(tuple(misses))


# --- one index --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Index:
    name: str
    method: IndexMethod
    highest: int
    access_path: AccessPath
    stale: bool

    @property
    def parameter(self) -> str:
        return self.method.search_parameter.name


async def _find_index(
    db: AsyncSession, collection: Collection, request: SearchRequest
) -> _Index | None:
    access_path = await choose_access_path(db, collection, request)
    if access_path is not None and request.candidate_id is not None:
        candidate = await get_candidate(db, collection, request.candidate_id)
        assert candidate.index_name is not None  # a ready one has it
        name, method, options = candidate.index_name, candidate.method, candidate.index.options
        stale = candidate.stale
    else:
        index = await find_index(db, collection)
        if index is None:
            return None
        name, method, options = index.name, index.method, index.options
        table = index.searched_table(collection.table)
        access_path = AccessPath(table, filter_conditions(table, request))
        stale = False
    highest = method.search_parameter.highest({**method.spec().options, **options})
    return _Index(name, method, highest, access_path, stale)


async def _truth(
    database: Database,
    collection: Collection,
    embedding: FloatArray,
    request: SearchRequest,
    near: float | None,
) -> tuple[Hit, ...]:
    async with database.session() as db:
        result = await search_similar_documents(
            db,
            collection.table,
            embedding,
            request.limit,
            settings=SearchSettings(scan=Scan.EXACT),
            where=filter_conditions(collection.table, request),
        )
    if near is None:
        return result.hits
    return tuple(hit for hit in result.hits if hit.distance is not None and hit.distance < near)


@dataclass
class _Trials:
    """Searches through one index, at one value of its search parameter after another, and which of
    the truth each one missed."""

    db: AsyncSession
    collection: Collection
    embedding: FloatArray
    index: _Index
    settings: SearchSettings
    truth: tuple[Hit, ...]
    limit: int

    def __post_init__(self) -> None:
        self.missed: dict[int, frozenset[Any]] = {}
        self.certified = True
        self._distances = {hit.document.id: hit.distance or 0.0 for hit in self.truth}

    async def value_in_force(self) -> int:
        chosen = self.settings.value_of(self.index.method)
        if chosen is None:
            parameter = self.index.method.search_parameter
            servers = await self.db.scalar(select(func.current_setting(parameter.setting, True)))
            # unset until the library is loaded
            chosen = int(servers) if servers else parameter.range.default
        return min(chosen, self.index.highest)

    async def search(self, value: int) -> frozenset[Any]:
        """The ids of the truth that a search at this value misses."""
        if value in self.missed:
            return self.missed[value]
        method = self.index.method
        chosen = self.settings.with_value(method, value).for_method(method)
        await apply_settings(self.db, chosen.server_settings())
        statement = candidate_rows_statement(self.index.access_path, self.embedding, self.limit)
        found = [row.id for row in await self.db.execute(statement)]
        plan = await explain(self.db, statement)
        self.certified = self.certified and plan.certify(self.index.name).certified
        await self._learn_distances(found)
        missed = missed_neighbours(
            [hit.document.id for hit in self.truth],
            [hit.distance or 0.0 for hit in self.truth],
            {id_: self._distances.get(id_) for id_ in found},
        )
        self.missed[value] = frozenset(missed)
        return self.missed[value]

    async def _learn_distances(self, ids: Sequence[Any]) -> None:
        """The collection's own: a candidate may be of halves, or stale."""
        unknown = [id_ for id_ in ids if id_ not in self._distances]
        if not unknown:
            return
        table = self.collection.table
        key = table.column(table.id)
        rows = await self.db.execute(
            select(key, distance_to(table, self.embedding)).where(key.in_(unknown))
        )
        for id_, distance in rows:
            self._distances[id_] = distance


async def _column_misses(trials: _Trials, label: str, max_searches: int) -> ColumnMisses:
    index, truth = trials.index, trials.truth
    value = await trials.value_in_force()
    missed = await trials.search(value)
    await _narrow_down(trials, value, max_searches)
    return ColumnMisses(
        label=label,
        method=index.method,
        index_name=index.name,
        truth=truth,
        parameter=index.parameter,
        setting=value,
        missed=tuple(
            MissedDocument(hit, rank, *_bracket(trials.missed, value, hit.document.id))
            for rank, hit in enumerate(truth, start=1)
            if hit.document.id in missed
        ),
        all_found_from=smallest({at: not left for at, left in trials.missed.items()}),
        tried=tuple((at, len(truth) - len(left)) for at, left in sorted(trials.missed.items())),
        certified=trials.certified,
        note=_note(trials, missed),
    )


async def _narrow_down(trials: _Trials, value: int, max_searches: int) -> None:
    """Searches at higher values until it is known from where on each missing document is found."""
    missed = trials.missed[value]
    while len(trials.missed) < max_searches:
        next_values = [
            next_value(
                {at: id_ not in left for at, left in trials.missed.items()},
                value,
                trials.index.highest,
                doubling=True,
            )
            for id_ in missed
        ]
        # The highest first: it says from where on all is found.
        highest = max((at for at in next_values if at is not None), default=None)
        if highest is None:
            return
        await trials.search(highest)


def _bracket(tried: dict[int, frozenset[Any]], value: int, id_: Any) -> tuple[int | None, int]:
    """(the smallest value above that finds it, the largest one below which misses it)."""
    found_from = min(
        (at for at, left in tried.items() if at > value and id_ not in left), default=None
    )
    missed_up_to = max(
        at
        for at, left in tried.items()
        if id_ in left and at >= value and (found_from is None or at < found_from)
    )
    return found_from, missed_up_to


def _note(trials: _Trials, missed: frozenset[Any]) -> str:
    notes = []
    if not trials.certified:
        notes.append(f"Not every search used {trials.index.name}: its figures are not the index's.")
    if trials.index.stale:
        notes.append(
            "The candidate is stale: documents that were added or changed since it was copied "
            "are not found at any setting."
        )
    if missed and not trials.index.method.search_parameter.monotonic:
        notes.append(
            f"A higher {trials.index.parameter} nearly always finds what a lower one does, but "
            "need not: the values are the smallest that were tried, going up."
        )
    return " ".join(notes)


# --- for machines -----------------------------------------------------------------------------


def misses_json(found: MissAnalysis) -> dict[str, Any]:
    """For ``search --compare --json``."""
    return {
        "tolerance": found.tolerance,
        "columns": [
            {
                "label": column.label,
                "index": column.index_name,
                "parameter": column.parameter,
                "setting": column.setting,
                "recall": column.recall,
                "missed": [
                    {
                        "id": str(missed.hit.document.id),
                        "external_id": missed.hit.document.external_id,
                        "title": missed.hit.document.title,
                        "distance": missed.hit.distance,
                        "true_rank": missed.true_rank,
                        "found_at": missed.found_from,
                        "missed_at": missed.missed_up_to,
                    }
                    for missed in column.missed
                ],
                "all_found_at": column.all_found_from,
                "tried": [{"setting": at, "found": count} for at, count in column.tried],
                "certified": column.certified,
                "note": column.note,
            }
            for column in found.columns
        ],
    }
