"""The recall x-ray of one question: which of the true nearest an index missed, and the setting that
would have found them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from lib.errors import InvalidInput
from lib.search.compare import ColumnSettings, Comparison, approximate_columns, compare
from lib.search.request import Mode, SearchRequest
from lib.search.service import (
    SearchService,
    effective_settings,
    filter_conditions,
    find_through,
)
from lib.store.candidates import get_candidate
from lib.store.collections import Collection
from lib.store.database import Database
from lib.store.production import find_index
from lib.vectors.distance import FloatArray
from lib.vectors.index_methods import IndexKind
from lib.vectors.plans import explain
from lib.vectors.recall import FLOAT32_TOLERANCE, missed_neighbours
from lib.vectors.search import Hit, search_similar_documents
from lib.vectors.statements import AccessPath, candidate_rows_statement, distance_to
from lib.vectors.tuning import (
    EF_SEARCH,
    ITERATIVE_SCAN_SINCE,
    LISTS,
    PROBES,
    Scan,
    SearchSettings,
    apply_settings,
    pgvector_version,
)

MOST_SEARCHES = 20


@dataclass(frozen=True, slots=True)
class MissedDocument:
    """One of the true nearest that the index did not find.

    hit: the document and its distance. true_rank: from 1. found_from: the smallest setting tried
    that finds it, None where none did. missed_up_to: the largest setting below that which was tried
    and still misses it.
    """

    hit: Hit
    true_rank: int
    found_from: int | None
    missed_up_to: int

    @property
    def narrowed_down(self) -> bool:
        """Whether every setting between was ruled out."""
        return self.found_from is not None and self.found_from - self.missed_up_to == 1


@dataclass(frozen=True)
class ColumnMisses:
    """One index under the x-ray.

    truth: the true nearest, from rank 1. parameter: ``probes`` or ``ef_search``; setting: its
    value in the search that is looked at. recall: share of the truth that was found, ties counted
    as found. all_found_from: the smallest setting tried that finds all. tried: setting → how many
    of the truth it finds. certified: every search used the index. note: what to know of it.
    """

    label: str
    kind: IndexKind
    index_name: str
    truth: tuple[Hit, ...]
    parameter: str
    setting: int
    missed: tuple[MissedDocument, ...]
    all_found_from: int | None
    tried: tuple[tuple[int, int], ...]
    certified: bool
    note: str

    @property
    def recall(self) -> float:
        return 1.0 - len(self.missed) / len(self.truth) if self.truth else 1.0


@dataclass(frozen=True)
class MissAnalysis:
    """tolerance: distances nearer to each other than this count as equal."""

    columns: tuple[ColumnMisses, ...]
    tolerance: float = FLOAT32_TOLERANCE


async def compare_with_misses(
    search: SearchService,
    database: Database,
    collection: Collection,
    query: str,
    columns: Sequence[ColumnSettings],
) -> tuple[Comparison, MissAnalysis]:
    """The comparison, and the x-ray of those of its columns that search by meaning and were
    answered by an index; it is empty where there are none.

    Raises what :func:`~lib.search.compare.compare` raises.
    """
    found = await compare(search, database, collection, query, columns)
    looked_at = approximate_columns(found)
    if found.embedding is None or not looked_at:
        return found, MissAnalysis(())
    return found, await analyse_misses(database, collection, found.embedding, looked_at)


async def analyse_misses(
    database: Database,
    collection: Collection,
    embedding: FloatArray,
    columns: Sequence[ColumnSettings],
    *,
    most_searches: int = MOST_SEARCHES,
) -> MissAnalysis:
    """Looks at the columns that search by meaning through an index, a candidate's or the
    collection's own, each against the exact answer under its own filter, limit and threshold.

    embedding: the question's (d,). The settings are found by real searches, no more than
    ``most_searches`` a column: doubled until all is found, then halved in between.
    Raises InvalidInput where no column goes through an index.
    """
    found = []
    async with database.session() as db:
        iterative = await pgvector_version(db) >= ITERATIVE_SCAN_SINCE
        for column in columns:
            # The index knows no threshold: it finds the nearest, and what is too far is cut off.
            request, near = replace(column.request, max_distance=None), column.request.max_distance
            if request.mode is Mode.SIMILARITY and request.settings.scan is not Scan.EXACT:
                index = await _find_index(db, collection, request)
                if index is not None:
                    found.append((column.label, request, index, near))
    if not found:
        raise InvalidInput(
            "None of these searches goes through an index.",
            hint="Compare the exact scan with a candidate.",
        )
    seen = []
    for label, request, index, near in found:
        chosen = effective_settings(request, iterative_scan_exists=iterative, through=index.through)
        settings = replace(chosen, scan=Scan.INDEX)
        truth = await _truth(database, collection, embedding, request, near)
        async with database.session() as db:
            bench = _Bench(db, collection, embedding, index, settings, truth, request.limit)
            seen.append(await _look(bench, label, most_searches))
    return MissAnalysis(tuple(seen))


# --- one index --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Index:
    name: str
    kind: IndexKind
    highest: int
    through: AccessPath
    stale: bool

    @property
    def parameter(self) -> str:
        return "probes" if self.kind is IndexKind.IVFFLAT else "ef_search"


async def _find_index(
    db: AsyncSession, collection: Collection, request: SearchRequest
) -> _Index | None:
    through = await find_through(db, collection, request)
    if through is not None and request.candidate_id is not None:
        candidate = await get_candidate(db, collection, request.candidate_id)
        assert candidate.index_name is not None  # a ready one has it
        name, kind, options = candidate.index_name, candidate.kind, candidate.spec.options
        stale = candidate.stale
    else:
        index = await find_index(db, collection)
        if index is None:
            return None
        name, kind, options = index.name, index.kind, dict(index.options)
        table = index.table_by_it(collection.table)
        through = AccessPath(table, filter_conditions(table, request))
        stale = False
    highest = options.get("lists", LISTS.default) if kind is IndexKind.IVFFLAT else EF_SEARCH.high
    return _Index(name, kind, highest, through, stale)


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
class _Bench:
    """Searches through one index at one setting after another, and knows what each one missed."""

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

    async def setting_in_force(self) -> int:
        chosen: int | None = getattr(self.settings, self.index.parameter)
        if chosen is None:
            name = f"{self.index.kind.value}.{self.index.parameter}"
            servers = await self.db.scalar(select(func.current_setting(name, True)))
            default = (PROBES if self.index.kind is IndexKind.IVFFLAT else EF_SEARCH).default
            chosen = int(servers) if servers else default  # unset until the library is loaded
        return min(chosen, self.index.highest)

    async def search(self, setting: int) -> frozenset[Any]:
        """The ids of the truth that a search at this setting misses."""
        if setting in self.missed:
            return self.missed[setting]
        chosen = (
            replace(self.settings, probes=setting, ef_search=None)
            if self.index.kind is IndexKind.IVFFLAT
            else replace(self.settings, ef_search=setting, probes=None)
        )
        await apply_settings(self.db, chosen.server_settings())
        statement = candidate_rows_statement(self.index.through, self.embedding, self.limit)
        found = [row.id for row in await self.db.execute(statement)]
        plan = await explain(self.db, statement)
        self.certified = self.certified and plan.certify(self.index.name).certified
        await self._learn_distances(found)
        missed = missed_neighbours(
            [hit.document.id for hit in self.truth],
            [hit.distance or 0.0 for hit in self.truth],
            {id_: self._distances.get(id_) for id_ in found},
        )
        self.missed[setting] = frozenset(missed)
        return self.missed[setting]

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


async def _look(bench: _Bench, label: str, most_searches: int) -> ColumnMisses:
    index, truth = bench.index, bench.truth
    setting = await bench.setting_in_force()
    missed = await bench.search(setting)
    await _narrow_down(bench.search, bench.missed, setting, index.highest, most_searches)
    return ColumnMisses(
        label=label,
        kind=index.kind,
        index_name=index.name,
        truth=truth,
        parameter=index.parameter,
        setting=setting,
        missed=tuple(
            MissedDocument(hit, rank, *_bracket(bench.missed, setting, hit.document.id))
            for rank, hit in enumerate(truth, start=1)
            if hit.document.id in missed
        ),
        all_found_from=min((at for at, left in bench.missed.items() if not left), default=None),
        tried=tuple((at, len(truth) - len(left)) for at, left in sorted(bench.missed.items())),
        certified=bench.certified,
        note=_note(bench, missed),
    )


async def _narrow_down(
    search: Callable[[int], Awaitable[frozenset[Any]]],
    tried: dict[int, frozenset[Any]],
    setting: int,
    highest: int,
    most_searches: int,
) -> None:
    """Searches at higher settings until it is known from where on each missing one is found."""
    missed, at = tried[setting], setting
    left = missed
    while left and at < highest and len(tried) < most_searches:
        at = min(2 * at, highest)
        left = left & await search(at)
    while len(tried) < most_searches:
        brackets = [_bracket(tried, setting, id_) for id_ in missed]
        # The highest first: it says from where on all is found.
        wide = [(found, below) for found, below in brackets if found and found - below > 1]
        if not wide:
            return
        found, below = max(wide)
        await search((found + below) // 2)


def _bracket(tried: dict[int, frozenset[Any]], setting: int, id_: Any) -> tuple[int | None, int]:
    """(the smallest setting above that finds it, the largest one below which misses it)."""
    found_from = min(
        (at for at, left in tried.items() if at > setting and id_ not in left), default=None
    )
    missed_up_to = max(
        at
        for at, left in tried.items()
        if id_ in left and at >= setting and (found_from is None or at < found_from)
    )
    return found_from, missed_up_to


def _note(bench: _Bench, missed: frozenset[Any]) -> str:
    notes = []
    if not bench.certified:
        notes.append(f"Not every search used {bench.index.name}: its figures are not the index's.")
    if bench.index.stale:
        notes.append(
            "The candidate is stale: documents that were added or changed since it was copied "
            "are not found at any setting."
        )
    if missed and bench.index.kind is IndexKind.HNSW:
        notes.append(
            "A higher ef_search nearly always finds what a lower one does, but need not: the "
            "values are the smallest that were tried, going up."
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
