"""One question through exact scan, IVFFlat and HNSW: certified, compared, and x-rayed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from candidates_fixture import Library, clustered
from vectors_fixture import expected_distances

from lib.errors import InvalidInput
from lib.search.compare import (
    ColumnSettings,
    Comparison,
    compare,
    comparison_json,
    index_preset,
)
from lib.search.filters import parse_filter
from lib.search.miss_analysis import MissAnalysis, analyse_misses, misses_json
from lib.search.request import Mode, SearchRequest
from lib.search.service import SearchService
from lib.settings import Settings
from lib.store.database import Database
from lib.vectors.build import build_index
from lib.vectors.distance import Distance, ElementType, FloatArray
from lib.vectors.index_methods import HNSW, IVFFLAT
from lib.vectors.tuning import Scan, SearchSettings

ROWS, LISTS, K = 3000, 40, 10
BASE = SearchRequest("", Mode.SIMILARITY, limit=K)


@pytest.fixture
def library(database: Database) -> Library:
    return Library(database, clustered(ROWS))


def ask(
    library: Library,
    query: FloatArray,
    columns: tuple[ColumnSettings, ...],
    question: str = "text",
) -> Comparison:
    database = library.database
    search = SearchService(database, Settings(_env_file=None))
    return database.run(
        compare(search, database, library.collection, question, columns, embedding=query)
    )


def look(
    library: Library, query: FloatArray, *columns: ColumnSettings, **options: Any
) -> MissAnalysis:
    return library.database.run(
        analyse_misses(library.database, library.collection, query, columns, **options)
    )


def truth_of(library: Library, query: FloatArray, keep: Any = None) -> list[int]:
    """numpy, in float64."""
    distances = expected_distances(library.vectors, query, Distance.COSINE)
    if keep is not None:
        distances[~keep] = np.inf
    return [int(n) for n in np.argsort(distances)[:K]]


def hard_query(library: Library, column: ColumnSettings, *, reachable: bool = False) -> FloatArray:
    """One whose answer lies in several lists: in between the clusters. reachable: a larger value
    finds at least one of the missed documents, since a sparse graph has rows that no search
    reaches, and which ones differs from build to build."""
    rng = np.random.default_rng(7)
    for _ in range(200):
        query = rng.standard_normal(library.vectors[0].size).astype(np.float32)
        (seen,) = look(library, query, column).columns
        is_reached = any(document.found_from is not None for document in seen.missed)
        if len(seen.missed) >= 3 and (is_reached or not reachable):
            return query
    pytest.fail("None of 200 queries misses three documents that a larger value finds.")


def found_by(
    library: Library, query: FloatArray, column: ColumnSettings, **setting: int
) -> set[int]:
    """What a search of one's own at that setting finds."""
    request = replace(
        column.request, settings=replace(column.request.settings, **setting), with_plan=True
    )
    search = SearchService(library.database, Settings(_env_file=None))
    result = library.database.run(
        search.search(library.collection, replace(request, query="text"), embedding=query)
    )
    return {int(hit.document.external_id or "") for hit in result}


def number(hit: Any) -> int:
    return int(hit.document.external_id)


def test_the_preset_is_certified_and_compared(library: Library) -> None:
    flat, graph = (
        library.build(IVFFLAT.spec(lists=LISTS)),
        library.build(HNSW.spec(m=4, ef_construction=8)),
    )
    columns = index_preset(library.collection, BASE, library.candidates())
    query = hard_query(library, columns[1])
    comparison = ask(library, query, columns)

    exact, one_list, few = comparison.columns
    assert [column.label for column in comparison.columns] == ["exact", "IVFFlat", "HNSW"]
    assert (exact.candidate, one_list.candidate, few.candidate) == (None, flat, graph)
    assert exact.certificate is None
    assert exact.result.plan is not None
    assert exact.result.plan.vector_index is None
    for column in (one_list, few):
        assert column.certificate is not None
        assert column.certificate.certified
    truth = truth_of(library, query)
    assert [number(hit) for hit in exact.result] == truth

    found = {number(hit) for hit in one_list.result}
    first = comparison.similarities[0]
    assert (first.first, first.second, first.k) == (0, 1, K)
    assert first.overlap == len(found & set(truth)) / K < 1
    assert first.jaccard == len(found & set(truth)) / len(found | set(truth))
    assert 0 <= first.rbo < 1
    exact_only = {number(move) for move in comparison.rank_changes if move.only_in == 0}
    assert exact_only == set(truth) - found - {number(hit) for hit in few.result}
    by_rank = {number(move): move.ranks[0] for move in comparison.rank_changes if move.ranks[0]}
    assert by_rank == {n: rank for rank, n in enumerate(truth, 1)}

    document = comparison_json(comparison)
    assert [c["certified"] for c in document["columns"]] == [None, True, True]
    assert [c["index"] for c in document["columns"]] == [None, flat.index_name, graph.index_name]


def test_columns_of_any_kind_and_their_limits(library: Library) -> None:
    words = ColumnSettings("words", replace(BASE, mode=Mode.TEXT))
    both = ColumnSettings("both", replace(BASE, mode=Mode.HYBRID))
    comparison = ask(library, library.vectors[0], (words, both), "17")
    assert [number(hit) for hit in comparison.columns[0].result] == [17]
    assert 17 in {number(hit) for hit in comparison.columns[1].result}
    with pytest.raises(InvalidInput, match="outside 2–4"):
        ask(library, library.vectors[0], (words,))
    with pytest.raises(InvalidInput, match="same label"):
        ask(library, library.vectors[0], (words, words))


def test_the_xray_names_what_one_list_misses_and_the_probes_that_find_it(library: Library) -> None:
    library.build(IVFFLAT.spec(lists=LISTS))
    column = ColumnSettings(
        "IVFFlat",
        replace(BASE, candidate_id=library.candidates()[0].id, settings=SearchSettings(probes=1)),
    )
    query = hard_query(library, column)
    (seen,) = look(library, query, column).columns
    truth = truth_of(library, query)
    distances = expected_distances(library.vectors, query, Distance.COSINE)

    assert (seen.parameter, seen.setting, seen.certified, seen.note) == ("probes", 1, True, "")
    assert [number(hit) for hit in seen.truth] == truth
    missed = {number(m.hit) for m in seen.missed}
    assert missed == set(truth) - found_by(library, query, column, probes=1)
    assert seen.recall == pytest.approx(1 - len(missed) / K)
    for each in seen.missed:
        n = number(each.hit)
        assert each.true_rank == truth.index(n) + 1
        assert each.hit.distance == pytest.approx(distances[n], abs=1e-6)
        assert each.found_from is not None
        assert each.narrowed_down
        assert n in found_by(library, query, column, probes=each.found_from)
        assert n not in found_by(library, query, column, probes=each.found_from - 1)
    assert seen.all_found_from == max(each.found_from or 0 for each in seen.missed)
    assert set(truth) == found_by(library, query, column, probes=seen.all_found_from)
    assert len(seen.tried) <= 20
    counts = [count for _, count in seen.tried]
    assert counts == sorted(counts)  # more lists never lose one
    assert misses_json(MissAnalysis((seen,)))["columns"][0]["all_found_at"] == seen.all_found_from


def test_the_xray_of_a_graph(library: Library) -> None:
    library.build(HNSW.spec(m=2, ef_construction=4))
    column = ColumnSettings(
        "HNSW",
        replace(
            BASE, candidate_id=library.candidates()[0].id, settings=SearchSettings(ef_search=10)
        ),
    )
    query = hard_query(library, column, reachable=True)
    (seen,) = look(library, query, column).columns
    assert (seen.parameter, seen.setting, seen.certified) == ("ef_search", 10, True)
    assert "need not" in seen.note
    for each in seen.missed:
        n = number(each.hit)
        assert n not in found_by(library, query, column, ef_search=each.missed_up_to)
        if each.found_from is not None:
            assert n in found_by(library, query, column, ef_search=each.found_from)
    assert any(each.found_from is not None for each in seen.missed)
    assert len(seen.tried) <= 20


def test_the_xray_of_the_collections_own_index_under_a_filter(library: Library) -> None:
    """Without iterative scan a filter leaves few: it is the filtered nearest that are missed."""
    database = library.database
    database.run(build_index(database.engine, library.collection.table, IVFFLAT.spec(lists=LISTS)))
    request = replace(
        BASE, settings=SearchSettings(probes=2), filters=(parse_filter("category=odd"),)
    )
    query = library.vectors[8]
    (seen,) = look(library, query, ColumnSettings("own", request)).columns
    odd = np.arange(ROWS) % 2 == 1
    assert [number(hit) for hit in seen.truth] == truth_of(library, query, odd)
    assert seen.certified


def test_the_xray_says_when_nothing_would_find_it(library: Library) -> None:
    """Added after the copy was made; and a copy of halves is judged by the true distances."""
    library.build(IVFFLAT.spec(lists=LISTS), ElementType.HALFVEC)
    query = library.vectors[11]
    library.add([query], first=ROWS)
    column = ColumnSettings("IVFFlat", replace(BASE, candidate_id=library.candidates()[0].id))
    (seen,) = look(library, query, column).columns
    assert seen.setting == 1  # the server's default
    new = {number(each.hit): each for each in seen.missed}[ROWS]
    assert new.true_rank in {1, 2}  # as near as document 11 itself
    assert (new.found_from, seen.all_found_from) == (None, None)
    assert "stale" in seen.note
    assert dict(seen.tried)[LISTS] == K - 1


def test_searches_are_bounded(library: Library) -> None:
    library.build(IVFFLAT.spec(lists=LISTS))
    column = ColumnSettings("IVFFlat", replace(BASE, candidate_id=library.candidates()[0].id))
    query = hard_query(library, column)
    (seen,) = look(library, query, column, max_searches=3).columns
    assert [setting for setting, _ in seen.tried][:2] == [1, 2]
    assert len(seen.tried) == 3


def test_an_xray_needs_an_index(library: Library) -> None:
    exact = ColumnSettings("exact", replace(BASE, settings=SearchSettings(scan=Scan.EXACT)))
    auto = ColumnSettings("auto", BASE)
    with pytest.raises(InvalidInput, match="goes through an index"):
        look(library, library.vectors[0], exact, auto)
