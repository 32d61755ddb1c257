"""The same question asked in several ways: how the answers differ, and what each one cost."""

from __future__ import annotations

import uuid
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import combinations
from typing import Any

from lib.errors import InvalidInput
from lib.limits import IntRange
from lib.search.bm25 import BM25
from lib.search.labels import MODES, SCANS, TEXT_METHODS, TEXT_QUERIES
from lib.search.request import Mode, SearchRequest
from lib.search.service import SearchService
from lib.store.candidates import Candidate, list_candidates, newest_ready
from lib.store.collections import Collection
from lib.store.database import Database
from lib.store.production import find_index
from lib.vectors.distance import FloatArray
from lib.vectors.hybrid import Fusion
from lib.vectors.index_methods import HNSW, index_methods
from lib.vectors.plans import Certificate
from lib.vectors.search import Document, SearchResult
from lib.vectors.statements import TextMethod, TextQuery
from lib.vectors.tuning import Scan, SearchSettings

COLUMNS = IntRange(2, 4, 3)
RBO_PERSISTENCE = 0.9


@dataclass(frozen=True, slots=True)
class ColumnSettings:
    """One way to ask. request: its settings; its query is not used."""

    label: str
    request: SearchRequest


@dataclass(frozen=True)
class ComparedColumn:
    """One way, and its answer. candidate: the one that was searched, if the request names one.
    index_name: of the index that may answer, the candidate's or the collection's own."""

    label: str
    request: SearchRequest
    result: SearchResult
    candidate: Candidate | None = None
    index_name: str | None = None

    @property
    def approximate(self) -> bool:
        """Whether its answer is said to come from an index, or did where PostgreSQL decided."""
        if self.index_name is None:
            return False
        plan = self.result.plan
        asked = self.request.settings.scan is Scan.INDEX or self.candidate is not None
        return asked or (plan is not None and plan.vector_index is not None)

    @property
    def certificate(self) -> Certificate | None:
        """Whether the plan used that index; None for an exact answer."""
        if not self.approximate or self.result.plan is None:
            return None
        return self.result.plan.certify(self.index_name or "")

    @property
    def ids(self) -> tuple[Any, ...]:
        """The documents' ids, best first."""
        return tuple(hit.document.id for hit in self.result)


@dataclass(frozen=True, slots=True)
class RankChange:
    """Where a document is in each column, from 1; None where the column has not found it."""

    document: Document
    ranks: tuple[int | None, ...]

    @property
    def only_in(self) -> int | None:
        """The one column that found it, from 0; None where several did."""
        found = [column for column, rank in enumerate(self.ranks) if rank is not None]
        return found[0] if len(found) == 1 else None


@dataclass(frozen=True, slots=True)
class RankSimilarity:
    """How alike the answers of two columns (from 0) are; each figure 0–1.

    overlap: share of the top k that both have, k being the smaller limit; a search that found
    fewer is measured by the longer answer. jaccard: of all that either found, what both have.
    rbo: :func:`rank_biased_overlap`.
    """

    first: int
    second: int
    k: int
    overlap: float
    jaccard: float
    rbo: float


@dataclass(frozen=True)
class Comparison:
    """moves: every document that any column found, in the order of the first column, then of the
    next ones. embedding: the question's (d,), None where no column needed it."""

    query: str
    columns: tuple[ComparedColumn, ...]
    rank_changes: tuple[RankChange, ...]
    similarities: tuple[RankSimilarity, ...]
    embedding: FloatArray | None = None
    embedding_ms: float | None = None


async def compare(
    search: SearchService,
    database: Database,
    collection: Collection,
    query: str,
    columns: Sequence[ColumnSettings],
    *,
    embedding: FloatArray | None = None,
) -> Comparison:
    """Asks the question once a column, one after the other, each with its plan.

    embedding: the question's, where it is there already; else it is embedded once for all.
    Raises InvalidInput for fewer than 2 or more than 4 columns or two of one label, and what
    :meth:`SearchService.search` raises.
    """
    COLUMNS.check(len(columns), "columns")
    if len({column.label for column in columns}) < len(columns):
        raise InvalidInput("Two columns have the same label.", field="columns")
    embedding_ms = None
    if embedding is None and any(column.request.mode.uses_vectors for column in columns):
        embedding, embedding_ms = await search.embed(collection, query)
    async with database.session() as db:
        candidates = {each.id: each for each in await list_candidates(db, collection)}
        index = await find_index(db, collection)
    production = None if index is None else index.name
    compared = []
    for column in columns:
        request = replace(column.request, query=query, with_plan=True)
        result = await search.search(collection, request, embedding=embedding)
        candidate = candidates[request.candidate_id] if request.candidate_id else None
        own = candidate.index_name if candidate else production
        may = request.mode.uses_vectors and request.settings.scan is not Scan.EXACT
        index_name = own if may else None
        compared.append(ComparedColumn(column.label, request, result, candidate, index_name))
    return Comparison(
        query=query,
        columns=tuple(compared),
        rank_changes=rank_changes_between(compared),
        similarities=tuple(
            _similarity(first, second, compared[first], compared[second])
            for first, second in combinations(range(len(compared)), 2)
        ),
        embedding=embedding,
        embedding_ms=embedding_ms,
    )


def index_preset(
    collection: Collection, request: SearchRequest, candidates: Sequence[Candidate]
) -> tuple[ColumnSettings, ...]:
    """“exact · IVFFlat · HNSW”: the request by meaning, through the newest candidate of each kind
    and through none; its probes and ef_search where they are set, else the server's.

    Raises InvalidInput where there is no candidate of a kind, saying how to build it.
    """
    plain = replace(request, mode=Mode.SIMILARITY, max_distance=None, candidate_id=None)
    settings = replace(request.settings, scan=Scan.INDEX)
    columns = [
        ColumnSettings("exact", replace(plain, settings=SearchSettings(scan=Scan.EXACT))),
    ]
    missing = []
    for method in index_methods():
        candidate = newest_ready(candidates, method)
        if candidate is None:
            missing.append(method)
            continue
        chosen = replace(plain, settings=settings.for_method(method), candidate_id=candidate.id)
        columns.append(ColumnSettings(method.label, chosen))
    if missing:
        names = " and ".join(method.label for method in missing)
        options = " ".join(f"--index {method.name}" for method in missing)
        raise InvalidInput(
            f"“{collection.name}” has no {names} candidate to compare.",
            hint=f'Build it: python -m lib candidates build --collection "{collection.name}" '
            f"{options}.",
            field="candidate",
        )
    return tuple(columns)


# --- what to begin with, and what to call it ----------------------------------------------------


class Preset(StrEnum):
    """What to begin a comparison with."""

    INDEXES = "indexes"
    MODES = "modes"
    WEIGHTS = "weights"
    RANKINGS = "rankings"
    MATCHING = "matching"

    @property
    def label(self) -> str:
        return {
            "indexes": "Exact · IVFFlat · HNSW",
            "modes": "Semantic · Keyword · Hybrid",
            "weights": "Weight 0.3 · 0.5 · 0.7",
            "rankings": "ts_rank · ts_rank_cd · BM25",
            "matching": "Any word · Web · All words",
        }[self.value]

    @property
    def question(self) -> str:
        return {
            "indexes": "What does each index miss?",
            "modes": "What does each side find?",
            "weights": "What does the weight change?",
            "rankings": "Which words count for more?",
            "matching": "How strict must words match?",
        }[self.value]

    @classmethod
    def possible(cls, *, has_model: bool, has_candidates: bool) -> tuple[Preset, ...]:
        """Those that can be asked, the one to begin with first. has_candidates: of both kinds."""
        if not has_model:
            return cls.MATCHING, cls.RANKINGS
        rest = (cls.MODES, cls.WEIGHTS, cls.RANKINGS, cls.MATCHING)
        return (cls.INDEXES, *rest) if has_candidates else (*rest, cls.INDEXES)


PRESET_COLUMNS = COLUMNS.default


def preset_requests(
    preset: Preset, collection: Collection, candidates: Sequence[Candidate]
) -> tuple[SearchRequest, ...]:
    """One request for each of the most columns; PRESET_COLUMNS of them are shown to begin with.

    Raises InvalidInput where there is no candidate of a kind, for INDEXES.
    """
    asked = SearchRequest("")
    match preset:
        case Preset.INDEXES:
            parameters = [method.search_parameter for method in index_methods()]
            usual = SearchSettings({each.name: each.range.default for each in parameters})
            columns = index_preset(collection, replace(asked, settings=usual), candidates)
            requests = [column.request for column in columns]
            hnsw = requests[1 + index_methods().index(HNSW)]
            wider = hnsw.settings.with_value(HNSW, 5 * HNSW.search_parameter.range.default)
            return (*requests, replace(hnsw, settings=wider))
        case Preset.MODES:
            text = replace(asked, mode=Mode.TEXT, text_query=TextQuery.ANY)
            meaning = replace(asked, mode=Mode.SIMILARITY)
            return meaning, text, asked, replace(asked, fusion=Fusion.RRF)
        case Preset.WEIGHTS:
            return tuple(replace(asked, vector_weight=weight) for weight in (0.3, 0.5, 0.7, 0.9))
        case Preset.RANKINGS:
            text = replace(asked, mode=Mode.TEXT, text_query=TextQuery.ANY)
            ranked = [replace(text, text_method=method) for method in TextMethod]
            # The fourth: BM25 to which the length of a document is all one.
            return (*ranked, replace(text, text_method=TextMethod.BM25, bm25=BM25(b=0.0)))
        case Preset.MATCHING:
            text = replace(asked, mode=Mode.TEXT)
            kinds = (TextQuery.ANY, TextQuery.WEB, TextQuery.PLAIN)
            matched = [replace(text, text_query=kind) for kind in kinds]
            return (*matched, replace(matched[0], text_method=TextMethod.TS_RANK_CD))


def label_columns(
    requests: Sequence[SearchRequest], candidates: Sequence[Candidate]
) -> tuple[ColumnSettings, ...]:
    """Names each request after what it has that others have not; two that are the same get a
    number. candidates: those that the requests name."""
    names = {each.id: each for each in candidates}
    kinds = [names[r.candidate_id].method for r in requests if r.candidate_id in names]
    used = {r.candidate_id for r in requests if r.candidate_id in names}
    by_kind = len(used) == len(set(kinds))  # else the kind alone does not tell them apart
    facets = [_facets(request, names, by_kind=by_kind) for request in requests]
    differ = [
        name
        for name in dict.fromkeys(name for each in facets for name in each)
        if len({each[name] for each in facets if name in each}) > 1
    ]
    columns: list[ColumnSettings] = []
    taken: dict[str, int] = {}
    for request, each in zip(requests, facets, strict=True):
        words = [each[name] for name in differ if each.get(name)]
        label = " · ".join(words) or MODES[request.mode].name
        taken[label] = taken.get(label, 0) + 1
        numbered = label if taken[label] == 1 else f"{label} ({taken[label]})"
        columns.append(ColumnSettings(numbered, request))
    return tuple(columns)


def _facets(
    request: SearchRequest, candidates: dict[uuid.UUID, Candidate], *, by_kind: bool
) -> dict[str, str]:
    """The settings that mean something to this request, each in words; empty where it is nothing
    to speak of."""
    settings = request.settings
    found = {"mode": MODES[request.mode].name}
    if request.mode.uses_vectors:
        candidate = candidates.get(request.candidate_id) if request.candidate_id else None
        if candidate is not None:
            found["index"] = candidate.method.label if by_kind else candidate.name
        else:
            found["index"] = SCANS[settings.scan].name
        for name, value in settings.parameters.items():
            found[name] = f"{name} {value:,}"
        if settings.iterative_scan is not None:
            found["iterative"] = f"iterative scan {settings.iterative_scan.name.lower()}"
        near = request.max_distance
        found["near"] = "" if near is None else f"nearer than {near:g}"
    if request.mode is Mode.HYBRID:
        found["weight"] = f"Weight {request.vector_weight:g}"
        found["fusion"] = (
            request.fusion.value.upper()
            if request.fusion is Fusion.RRF
            else (f"{request.fusion.value} sum")
        )
        found["pool"] = f"pool {request.pool:,}"
    if request.mode.uses_text:
        is_bm25 = request.text_method is TextMethod.BM25
        found["method"] = TEXT_METHODS[request.text_method].short
        if is_bm25:
            found["bm25"] = f"k1 {request.bm25.k1:g}, b {request.bm25.b:g}"
        found["matching"] = TEXT_QUERIES[request.text_kind].name
    found["category"] = request.category or ""
    found["filters"] = " and ".join(map(str, request.filters))
    return found


def duplicate_columns(columns: Sequence[ColumnSettings]) -> tuple[tuple[str, str], ...]:
    """Labels of columns with the very same settings, which have the same answer."""
    return tuple(
        (one.label, other.label)
        for one, other in combinations(columns, 2)
        if one.request == other.request
    )


def needs_word_index(columns: Sequence[ColumnSettings]) -> bool:
    """Whether any of them ranks by BM25."""
    return any(
        column.request.mode.uses_text and column.request.text_method is TextMethod.BM25
        for column in columns
    )


def approximate_columns(comparison: Comparison) -> tuple[ColumnSettings, ...]:
    """Those that search by meaning alone and were answered by an index: for the x-ray."""
    return tuple(
        ColumnSettings(column.label, column.request)
        for column in comparison.columns
        if column.approximate and column.request.mode is Mode.SIMILARITY
    )


# --- how alike --------------------------------------------------------------------------------


def rank_changes_between(columns: Sequence[ComparedColumn]) -> tuple[RankChange, ...]:
    ranks = [{id_: rank for rank, id_ in enumerate(column.ids, 1)} for column in columns]
    documents: dict[Any, Document] = {}
    for column in columns:
        for hit in column.result:
            documents.setdefault(hit.document.id, hit.document)
    return tuple(
        RankChange(document, tuple(of_column.get(id_) for of_column in ranks))
        for id_, document in documents.items()
    )


def _similarity(
    first: int, second: int, one: ComparedColumn, other: ComparedColumn
) -> RankSimilarity:
    k = min(one.request.limit, other.request.limit)
    return RankSimilarity(
        first=first,
        second=second,
        k=k,
        overlap=overlap(one.ids[:k], other.ids[:k]),
        jaccard=jaccard(one.ids, other.ids),
        rbo=rank_biased_overlap(one.ids, other.ids),
    )


def overlap(one: Sequence[Hashable], other: Sequence[Hashable]) -> float:
    """|A ∩ B| / max(|A|, |B|); 1 for two empty answers."""
    longest = max(len(one), len(other))
    return len({*one} & {*other}) / longest if longest else 1.0


def jaccard(one: Sequence[Hashable], other: Sequence[Hashable]) -> float:
    """|A ∩ B| / |A ∪ B|; 1 for two empty answers."""
    either = {*one, *other}
    return len({*one} & {*other}) / len(either) if either else 1.0


def rank_biased_overlap(
    one: Sequence[Hashable], other: Sequence[Hashable], p: float = RBO_PERSISTENCE
) -> float:
    """How alike two orders are, 0–1, the first places counting most: RBO_ext of Webber, Moffat
    and Zobel 2010, "A similarity measure for indefinite rankings", equation 32.

    With S the shorter order (s long), L the longer one (l long) and X_d how many documents the
    first d of both have in common:

        (1−p)/p · ( Σ_{d=1..l} X_d/d · p^d  +  Σ_{d=s+1..l} X_s·(d−s)/(s·d) · p^d )
        + ( (X_l − X_s)/l + X_s/s ) · p^l

    p: how likely a reader is to go on to the next place; with 0.9 the first ten places have 86 %
    of the weight. What lies beyond the orders is taken to agree as they do. Two empty orders
    are 1, an empty one and another are 0.
    """
    short, long = sorted((one, other), key=len)
    s, l = len(short), len(long)  # noqa: E741 — the paper's letters
    if s == 0:
        return 1.0 if l == 0 else 0.0
    seen_short: set[Hashable] = set()
    seen_long: set[Hashable] = set()
    common = [0]
    for d in range(l):
        seen_long.add(long[d])
        if d < s:
            seen_short.add(short[d])
        common.append(len(seen_short & seen_long))
    total = sum(common[d] / d * p**d for d in range(1, l + 1))
    total += sum(common[s] * (d - s) / (s * d) * p**d for d in range(s + 1, l + 1))
    beyond = (common[l] - common[s]) / l + common[s] / s
    return (1 - p) / p * total + beyond * p**l


# --- for machines -----------------------------------------------------------------------------


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """For ``search --compare --json``."""
    return {
        "query": comparison.query,
        "embedding_ms": comparison.embedding_ms,
        "columns": [_column_json(column) for column in comparison.columns],
        "moves": [
            {
                "id": _text(move.document.id),
                "external_id": move.document.external_id,
                "title": move.document.title,
                "ranks": list(move.ranks),
                "only_in": None if move.only_in is None else comparison.columns[move.only_in].label,
            }
            for move in comparison.rank_changes
        ],
        "likeness": [
            {
                "columns": [comparison.columns[at].label for at in (each.first, each.second)],
                "k": each.k,
                "overlap": each.overlap,
                "jaccard": each.jaccard,
                "rbo": each.rbo,
            }
            for each in comparison.similarities
        ],
    }


def _column_json(column: ComparedColumn) -> dict[str, Any]:
    result, candidate, certificate = column.result, column.candidate, column.certificate
    return {
        "label": column.label,
        "mode": column.request.mode.value,
        "candidate": candidate
        and {"id": str(candidate.id), "name": candidate.name, "stale": candidate.stale},
        "index": result.plan.vector_index if result.plan else None,
        "certified": certificate and certificate.certified,
        "settings": dict(result.settings),
        "database_ms": round(result.database_ms, 3),
        "truncated_because": result.truncated_because,
        "hits": [
            {
                "id": _text(hit.document.id),
                "external_id": hit.document.external_id,
                "title": hit.document.title,
                "distance": hit.distance,
                "fused": hit.fused,
            }
            for hit in result
        ],
    }


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, uuid.UUID) else value
