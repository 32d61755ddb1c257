"""The truth against numpy, and what is kept of it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from candidates_fixture import DIMENSIONS, Library, clustered
from vectors_fixture import expected_distances

from lib.errors import DimensionMismatch, InvalidInput, NotFound
from lib.lab.queries import QueryBatch, given_batch, sample_queries
from lib.lab.truth import KEPT, Truth, find_truth
from lib.search.filters import Filter, parse_filter
from lib.store.collections import drop_collection, mark_changed
from lib.store.database import Database
from lib.vectors.distance import Distance, FloatArray, Storage
from lib.vectors.index_methods import IVFFLAT


def with_ties(count: int = 300) -> FloatArray:
    """Clustered, with 20 rows that are one and the same, and each of 30 more twice."""
    vectors = clustered(count)
    vectors[:20] = vectors[0]
    vectors[20:50] = vectors[50:80]
    return vectors


def truth_of(library: Library, batch: QueryBatch, k: int, *filters: str, **options: Any) -> Truth:
    chosen = [parse_filter(each) for each in filters]
    return library.database.run(
        find_truth(library.database, library.collection, batch, k, chosen, **options)
    )


def sampled(library: Library, count: int = 40, seed: int = 0) -> QueryBatch:
    return library.database.run(sample_queries(library.database, library.collection, count, seed))


def expected(
    vectors: FloatArray, batch: QueryBatch, distance: Distance, among: Sequence[int], k: int
) -> np.ndarray[Any, Any]:
    """The k smallest distances to other rows, by numpy."""
    rows = []
    for query, own in zip(batch.vectors, batch.own_ids, strict=True):
        left = [n for n in among if uuid.UUID(int=n) != own]
        rows.append(np.sort(expected_distances(vectors[left], query, distance))[:k])
    return np.stack(rows)


@pytest.mark.parametrize("storage", Storage)
@pytest.mark.parametrize("distance", Distance)
def test_the_truth_is_numpys(database: Database, distance: Distance, storage: Storage) -> None:
    vectors = with_ties()
    library = Library(database, vectors, distance=distance, storage=storage)
    stored = (
        vectors.astype(np.float16).astype(np.float32) if storage is Storage.HALFVEC else vectors
    )
    batch = sampled(library)
    truth = truth_of(library, batch, 10)
    wanted = expected(stored, batch, distance, range(300), 10)
    np.testing.assert_allclose(truth.distances, wanted, rtol=1e-12, atol=1e-12)
    for query, own, ids, row in zip(
        batch.vectors, batch.own_ids, truth.ids, truth.distances, strict=True
    ):
        assert own not in ids
        places = [id_.int for id_ in ids]
        assert len(set(places)) == 10
        itself = expected_distances(stored[places], query, distance)
        np.testing.assert_allclose(row, itself, rtol=1e-12, atol=1e-12)
    assert (truth.rows, truth.total, truth.selectivity) == (300, 300, 1.0)


def test_a_filter_and_its_selectivity(database: Database) -> None:
    vectors = with_ties()
    library = Library(database, vectors)
    batch = sampled(library)
    truth = truth_of(library, batch, 10, "category=even", "shelf>=4")
    among = [n for n in range(300) if n % 2 == 0 and n % 10 >= 4]
    wanted = expected(vectors, batch, Distance.COSINE, among, 10)
    np.testing.assert_allclose(truth.distances, wanted, rtol=1e-12, atol=1e-12)
    assert (truth.rows, truth.total, truth.selectivity) == (90, 300, 0.3)


def test_ties_are_known_of(database: Database) -> None:
    vectors = with_ties()
    library = Library(database, vectors, distance=Distance.L2)
    # Row 0 has 19 equals; of row 50's, row 20 is the one.
    truth = truth_of(library, given_batch(vectors[[0, 50]], library.collection), 25)
    for k in range(1, 25):
        distances = expected(
            vectors, given_batch(vectors[[0, 50]], library.collection), Distance.L2, range(300), 26
        )
        tied = distances[:, k] <= distances[:, k - 1] + 1e-12
        assert truth.nearest(k).tied.tolist() == tied.tolist()
        assert truth.nearest(k).ids.tolist() == truth.ids[:, :k].tolist()
    assert truth.nearest(10).tied.tolist() == [True, False]
    assert truth.nearest(1).tied.tolist() == [True, True]
    with pytest.raises(InvalidInput):
        truth.nearest(26)


def test_it_is_computed_once(database: Database) -> None:
    library = Library(database, clustered(200))
    batch = sampled(library)
    first = truth_of(library, batch, 10)
    again = truth_of(library, batch, 10)
    assert (first.from_cache, again.from_cache) == (False, True)
    assert again.ids.tolist() == first.ids.tolist()
    assert again.distances.tolist() == first.distances.tolist()
    assert again.tied.tolist() == first.tied.tolist()
    assert (again.rows, again.total, again.seconds) == (200, 200, first.seconds)
    assert again.revision == first.revision

    fewer = truth_of(library, batch, 4)
    assert fewer.from_cache
    assert fewer.ids.tolist() == first.ids[:, :4].tolist()
    assert not truth_of(library, batch, 11).from_cache  # a longer one takes its place
    assert truth_of(library, batch, 10).from_cache
    assert library.ask("SELECT k FROM vecscope.truths") == [(11,)]

    # Whatever it depends on makes it another one.
    assert not truth_of(library, sampled(library, seed=1), 10).from_cache
    assert not truth_of(library, batch, 10, "category=odd").from_cache
    assert not truth_of(library, given_batch(batch.vectors, library.collection), 10).from_cache
    # The order of the filters is none of it.
    one, two = "category=odd", "shelf<=6"
    assert not truth_of(library, batch, 10, one, two).from_cache
    assert truth_of(library, batch, 10, two, one).from_cache


def test_a_changed_collection_has_another_truth(database: Database) -> None:
    library = Library(database, clustered(200))
    batch = sampled(library)
    before = truth_of(library, batch, 10)
    library.add(batch.vectors[:1], first=200)
    after = truth_of(library, batch, 10)
    assert not after.from_cache
    assert after.revision == before.revision + 1
    assert after.ids[0, 0] == uuid.UUID(int=200)
    # Nothing is a copy of the earlier state, so that nothing can ask for its truth.
    assert library.ask("SELECT change_mark FROM vecscope.truths") == [(after.revision,)]
    with pytest.raises(InvalidInput, match="written to since"):
        truth_of(library, batch, 10, revision=before.revision)


def test_an_earlier_state_that_a_candidate_is_of_is_kept(database: Database) -> None:
    library = Library(database, clustered(200))
    library.build(IVFFLAT.spec(lists=5))
    batch = sampled(library)
    before = truth_of(library, batch, 10)
    library.add(batch.vectors[:1], first=200)
    truth_of(library, batch, 10)
    kept = truth_of(library, batch, 10, revision=before.revision)
    assert kept.from_cache
    assert kept.ids.tolist() == before.ids.tolist()


def test_only_some_are_kept_the_last_used_ones(database: Database) -> None:
    library = Library(database, clustered(60))
    batches = [sampled(library, 3, seed) for seed in range(KEPT + 1)]
    for batch in batches[:-1]:
        truth_of(library, batch, 2)
    assert truth_of(library, batches[0], 2).from_cache  # and so it is used again
    truth_of(library, batches[-1], 2)
    assert library.ask("SELECT count(*) FROM vecscope.truths") == [(KEPT,)]
    assert truth_of(library, batches[0], 2).from_cache
    assert not truth_of(library, batches[1], 2).from_cache


def test_more_neighbours_than_rows(database: Database) -> None:
    library = Library(database, clustered(12))
    batch = sampled(library, 5)
    truth = truth_of(library, batch, 50)
    assert truth.found.tolist() == [11] * 5
    again = truth_of(library, batch, 50)
    assert again.from_cache
    assert again.ids.tolist() == truth.ids.tolist()
    assert (again.ids[:, 11:] == None).all()  # noqa: E711 - an array of objects
    assert np.isinf(again.distances[:, 11:]).all()


def test_rows_that_are_all_equal(database: Database) -> None:
    library = Library(database, np.tile(clustered(1), (40, 1)))
    truth = truth_of(library, sampled(library, 10), 5)
    np.testing.assert_allclose(truth.distances, 0, atol=1e-12)
    assert truth.tied.all()


def test_zero_vectors_are_no_neighbours_under_cosine(database: Database) -> None:
    vectors = clustered(30)
    vectors[:10] = 0
    library = Library(database, vectors)
    truth = truth_of(library, sampled(library, 20), 25)
    assert truth.found.tolist() == [19] * 20
    assert not any(id_.int < 10 for id_ in truth.ids[:, :19].ravel())


def test_what_leaves_nothing_to_find_is_said(database: Database) -> None:
    library = Library(database, clustered(20))
    batch = sampled(library, 5)
    with pytest.raises(InvalidInput, match=r"category=purple leaves none of the 20 rows") as caught:
        truth_of(library, batch, 5, "category=purple")
    assert caught.value.field == "filter"
    empty = Library(database, [], name="Empty")
    with pytest.raises(InvalidInput, match="No row of “Empty” can be a neighbour"):
        truth_of(empty, batch, 5)


def test_queries_of_another_dimension_are_refused(database: Database) -> None:
    library = Library(database, clustered(20))
    other = Library(database, clustered(20)[:, :8], dimensions=8, name="Eight")
    with pytest.raises(DimensionMismatch, match="8 dimensions, “Library” has 16"):
        truth_of(library, sampled(other, 5), 5)
    assert DIMENSIONS == 16


def test_a_dropped_collection_is_gone_with_its_truth(database: Database) -> None:
    library = Library(database, clustered(20))
    batch = sampled(library, 5)
    truth_of(library, batch, 5)
    database.query(drop_collection, library.collection)
    assert library.ask("SELECT count(*) FROM vecscope.truths") == [(0,)]
    with pytest.raises(NotFound):
        truth_of(library, batch, 5)


def test_filters_of_the_same_words_but_another_meaning_are_told_apart(database: Database) -> None:
    library = Library(database, clustered(60))
    batch = sampled(library, 5)
    number = parse_filter("shelf>=4")
    assert number.value == 4
    word = Filter(number.field, number.op, "4")
    assert str(word) == str(number)

    async def truth(chosen: Filter) -> Truth:
        return await find_truth(database, library.collection, batch, 3, [chosen])

    assert not database.run(truth(number)).from_cache
    with pytest.raises(InvalidInput, match="leaves none"):  # no shelf is a text
        database.run(truth(word))


def test_every_write_that_is_marked_makes_it_stale(database: Database) -> None:
    library = Library(database, clustered(60))
    batch = sampled(library, 5)
    truth_of(library, batch, 3)
    database.query(mark_changed, library.collection)
    assert not truth_of(library, batch, 3).from_cache


def test_vectors_that_still_grow_have_a_truth_that_is_not_kept(database: Database) -> None:
    """The collection's change mark says nothing of them."""
    library = Library(database, clustered(60))
    library.collection = replace(library.collection, is_shadow=True)
    # By the column it has: what matters is that nothing is remembered.
    library.collection.__dict__["table"] = replace(library.collection.table, embedding="embedding")
    batch = sampled(library, 5)
    assert not truth_of(library, batch, 3).from_cache
    assert not truth_of(library, batch, 3).from_cache
    assert library.ask("SELECT count(*) FROM vecscope.truths") == [(0,)]
