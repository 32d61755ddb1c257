"""The arithmetic of the map against numpy, scikit-learn and tables worked by hand."""

from __future__ import annotations

import io
import uuid
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from lib.errors import InvalidInput, LimitExceeded
from lib.projection import neighbours
from lib.projection.clustering import (
    NO_CLUSTER,
    density_clusters,
    kmeans_clusters,
    majority_label,
    number_by_size,
)
from lib.projection.fidelity import (
    Fidelity,
    fidelity,
    local_fidelity,
    map_neighbours,
    preserved_share,
)
from lib.projection.layout import pca_layout
from lib.projection.neighbours import NeighbourGraph, all_neighbours, nearest, subgraph, usable_rows
from lib.projection.outliers import label_mismatches, near_duplicates, outliers
from lib.projection.placing import place_query
from lib.projection.process import check_memory
from lib.projection.protocol import read_message, write_message
from lib.projection.repository import Clusters, Projection
from lib.projection.sampling import stratified
from lib.projection.settings import ClusterMethod, ClusterSettings, Method, ProjectionSettings
from lib.projection.weights import neighbour_weights
from lib.vectors.distance import Distance, FloatArray
from lib.vectors.recall import missed_neighbours


def blobs(count: int, dimensions: int = 12, centres: int = 6, seed: int = 1) -> FloatArray:
    rng = np.random.default_rng(seed)
    middle = rng.standard_normal((centres, dimensions)) * 2
    rows = middle[rng.integers(centres, size=count)] + rng.standard_normal((count, dimensions))
    return rows.astype(np.float32)


def all_distances(rows: FloatArray, distance: Distance) -> npt.NDArray[np.float64]:
    """numpy, in float64, one row at a time; infinite on the diagonal."""
    found = np.array([distance.between(row, rows) for row in rows])
    np.fill_diagonal(found, np.inf)
    return found


# --- neighbours -----------------------------------------------------------------------------------


@pytest.mark.parametrize("distance", list(Distance))
@pytest.mark.parametrize("count", [40, 1100])
def test_neighbours_are_numpys(
    distance: Distance, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1,100 rows are five blocks, the last a small one."""
    monkeypatch.setattr(neighbours, "_BLOCK", 256)
    rows = blobs(count)
    found = all_neighbours(rows, 7, distance)
    expected = all_distances(rows, distance)
    order = np.argsort(expected, axis=1, kind="stable")[:, :7]
    np.testing.assert_array_equal(found.indices, order)
    near = np.take_along_axis(expected, order, axis=1)
    np.testing.assert_allclose(found.distances, near, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("block", [2048, 400])
def test_many_equal_rows_have_each_other_and_never_themselves(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "_BLOCK", block)
    rows = np.concatenate([np.ones((1500, 4), np.float32), blobs(3, 4)])
    found = all_neighbours(rows, 5, Distance.L2)
    assert (found.distances[:1500] == 0).all()
    assert (found.indices != np.arange(len(rows))[:, None]).all()
    assert (np.diff(np.sort(found.indices, axis=1), axis=1) > 0).all()


def test_of_equally_near_ones_the_first_come_first_whatever_block_they_are_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Twelve points of whole numbers, so that no product is rounded, each in 25 places."""
    monkeypatch.setattr(neighbours, "_BLOCK", 32)
    rng = np.random.default_rng(4)
    which = rng.permutation(np.repeat(np.arange(12), 25))
    rows = rng.permutation(np.arange(60)).reshape(12, 5)[which].astype(np.float32)
    found = all_neighbours(rows, 7, Distance.L2)
    for place, point in enumerate(which):
        same = [other for other in np.flatnonzero(which == point).tolist() if other != place]
        assert found.indices[place].tolist() == same[:7]


def test_fewer_rows_than_neighbours() -> None:
    assert all_neighbours(blobs(4), 15, Distance.COSINE).indices.shape == (4, 3)
    assert nearest(blobs(2), blobs(3, seed=2), 15, Distance.COSINE).indices.shape == (2, 3)


def test_nearest_are_numpys() -> None:
    rows, queries = blobs(600), blobs(30, seed=5)
    found = nearest(queries, rows, 4, Distance.COSINE)
    expected = np.array([Distance.COSINE.between(query, rows) for query in queries])
    np.testing.assert_array_equal(found.indices, np.argsort(expected, axis=1)[:, :4])


def test_rows_without_a_distance_are_not_usable() -> None:
    """1e-30 and 1e25 are numbers, but their squares are not in float32."""
    rows = np.array([[1, 0], [0, 0], [np.nan, 1], [np.inf, 1], [1e-30, 0], [1e25, 0]], np.float32)
    assert usable_rows(rows, Distance.COSINE).tolist() == [True, *[False] * 5]
    assert usable_rows(rows, Distance.L2).tolist() == [True, True, False, False, True, False]


def test_a_graph_of_some_rows_repeats_what_is_left() -> None:
    graph = NeighbourGraph(
        np.array([[1, 2], [2, 3], [3, 0], [1, 2]], np.int32),
        np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6], [0.7, 0.8]], np.float32),
    )
    found = subgraph(graph, np.array([True, False, True, True]))
    assert found.indices.tolist() == [[0, 1], [2, 0], [2, 1]]  # the first had no first neighbour
    np.testing.assert_allclose(found.distances, [[0, 0.2], [0.5, 0.6], [0, 0.8]])


# --- layout ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "dimensions"), [(300, 12), (20, 64), (9, 2)])
def test_pca_is_that_of_the_svd(count: int, dimensions: int) -> None:
    rows = blobs(count, dimensions)
    found = pca_layout(rows, 2, Distance.L2)
    centred = rows - rows.mean(axis=0, dtype=np.float64)
    left, sizes, right = np.linalg.svd(centred, full_matrices=False)
    for axis in range(2):
        sign = np.sign(right[axis][np.abs(right[axis]).argmax()])
        np.testing.assert_allclose(found[:, axis], sign * left[:, axis] * sizes[axis], atol=1e-3)


def test_pca_beyond_the_rank_is_flat() -> None:
    rows = np.outer(np.arange(6), [1.0, 2.0, 3.0]).astype(np.float32)
    found = pca_layout(rows, 3, Distance.L2)
    assert np.ptp(found[:, 0]) > 18
    np.testing.assert_allclose(found[:, 1:], 0, atol=1e-5)
    assert pca_layout(rows[:, :1], 2, Distance.L2).shape == (6, 2)


# --- fidelity -------------------------------------------------------------------------------------


@pytest.mark.parametrize("distance", [Distance.COSINE, Distance.L2])
def test_trustworthiness_is_scikit_learns_and_continuity_its_mirror(distance: Distance) -> None:
    """Continuity is trustworthiness with the map taken for the truth."""
    from sklearn.manifold import trustworthiness

    rows = blobs(250)
    drawn = (rows[:, :2] + 0.3 * blobs(250, 2, seed=9)).astype(np.float32)
    metric = {Distance.COSINE: "cosine", Distance.L2: "euclidean"}[distance]
    found, points, shares = fidelity(rows, drawn, distance, k=8, seed=0)
    expected = trustworthiness(rows, drawn, n_neighbors=8, metric=metric)
    assert found.trustworthiness == pytest.approx(expected, abs=1e-12)
    assert found.continuity == pytest.approx(continuity(rows, drawn, distance, 8), abs=1e-12)
    assert (found.points, found.of, found.sampled) == (250, 250, False)
    truth = np.argsort(all_distances(rows, distance), axis=1)[:, :8]
    near = np.argsort(all_distances(drawn, Distance.L2), axis=1)[:, :8]
    expected_shares = [len(set(a) & set(b)) / 8 for a, b in zip(truth, near, strict=True)]
    np.testing.assert_allclose(shares, expected_shares, atol=1e-6)
    assert points.tolist() == list(range(250))
    assert found.local == pytest.approx(np.mean(expected_shares))
    graph = all_neighbours(rows, 8, distance)
    np.testing.assert_allclose(local_fidelity(graph, drawn), expected_shares, atol=1e-6)


def continuity(rows: FloatArray, drawn: FloatArray, distance: Distance, k: int) -> float:
    """Venna & Kaski's formula in loops over full rankings."""
    n = len(rows)
    truth = np.argsort(all_distances(rows, distance), axis=1)
    near = np.argsort(all_distances(drawn, Distance.L2), axis=1)
    total = 0
    for i in range(n):
        rank = {int(j): place + 1 for place, j in enumerate(near[i])}
        on_map = set(near[i][:k].tolist())
        total += sum(rank[int(j)] - k for j in truth[i][:k] if int(j) not in on_map)
    return 1 - 2 / (n * k * (2 * n - 3 * k - 1)) * total


def test_a_sample_of_points_comes_close_and_says_so() -> None:
    rows = blobs(1500)
    drawn = pca_layout(rows, 2, Distance.L2)
    whole, _, _ = fidelity(rows, drawn, Distance.L2, k=10, seed=0, max_points=1500)
    some, points, _ = fidelity(rows, drawn, Distance.L2, k=10, seed=0, max_points=400)
    assert (some.points, some.of, some.sampled) == (400, 1500, True)
    assert len(set(points.tolist())) == 400
    assert some.trustworthiness == pytest.approx(whole.trustworthiness, abs=0.02)
    assert some.trustworthiness != whole.trustworthiness
    assert fidelity(rows, drawn, Distance.L2, k=10, seed=0, max_points=400)[0] == some


def test_a_perfect_map_has_full_marks_and_five_points_are_enough() -> None:
    drawn = blobs(5, 2)
    found, _, shares = fidelity(drawn, drawn, Distance.L2, k=15, seed=0)
    assert (found.trustworthiness, found.continuity, found.k) == (1.0, 1.0, 2)
    assert shares.tolist() == [1.0] * 5


def test_neighbours_on_the_map_where_points_lie_on_each_other() -> None:
    drawn = np.zeros((30, 2), np.float32)
    found = map_neighbours(drawn, 4)
    assert found.shape == (30, 4)
    assert (found != np.arange(30)[:, None]).all()
    assert preserved_share(found, found).tolist() == [1.0] * 30


# --- clusters -------------------------------------------------------------------------------------


def test_density_clusters_are_found_and_the_largest_is_the_first() -> None:
    rng = np.random.default_rng(0)
    sizes = [40, 90, 60]
    centres = np.array([[0, 0], [10, 0], [0, 10]], np.float32)
    drawn = np.concatenate(
        [
            centre + 0.3 * rng.standard_normal((n, 2))
            for centre, n in zip(centres, sizes, strict=True)
        ]
        + [[[40, 40]]]
    ).astype(np.float32)
    labels = density_clusters(drawn, ClusterSettings(min_size=20))
    assert np.bincount(labels[labels >= 0]).tolist() == [90, 60, 40]
    assert labels[-1] == NO_CLUSTER
    assert set(labels[40:130].tolist()) == {0}


def test_kmeans_puts_everything_somewhere() -> None:
    rows = np.repeat(np.eye(3, 5, dtype=np.float32), [10, 30, 20], axis=0)
    rows[:10] *= 7  # lengths mean nothing under cosine
    labels = kmeans_clusters(rows, Distance.COSINE, ClusterSettings(ClusterMethod.KMEANS, count=3))
    assert labels.tolist() == [2] * 10 + [0] * 30 + [1] * 20


def test_labels_by_size() -> None:
    labels = np.array([5, 5, -1, 3, 3, 9], np.int32)
    assert number_by_size(labels).tolist() == [0, 0, -1, 1, 1, 2]
    assert number_by_size(np.array([-1, -1], np.int32)).tolist() == [-1, -1]


def test_a_placed_point_is_in_the_cluster_that_has_the_most_weight() -> None:
    labels = np.array(
        [
            [2, 0, 0],  # two of little weight against one of much
            [2, 0, 0],  # and of more than it
            [1, -1, -1],  # most is in no cluster
            [1, 1, -1],
            [2, 1, -1],  # equally much: the larger cluster, which has the smaller number
            [-1, 7, -1],  # equally much: rather a cluster than none
            [-1, -1, -1],
        ],
        np.int32,
    )
    weights = np.array(
        [
            [0.6, 0.2, 0.2],
            [0.4, 0.3, 0.3],
            [0.4, 0.3, 0.3],
            [0.4, 0.3, 0.3],
            [0.25, 0.25, 0.25],
            [0.25, 0.5, 0.25],
            [0.5, 0.3, 0.2],
        ]
    )
    found = majority_label(labels, weights)
    assert found.tolist() == [2, 0, -1, 1, 1, 7, -1]
    assert found.dtype == np.int32


# --- sampling -------------------------------------------------------------------------------------


def test_a_sample_has_every_category_in_proportion() -> None:
    categories = ["big"] * 700 + ["small"] * 200 + [None] * 95 + ["rare"] * 5
    chosen = stratified(categories, 100, seed=3)
    kinds = [categories[place] for place in chosen]
    assert len(kinds) == len(set(chosen.tolist())) == 100
    assert [kinds.count(kind) for kind in ("big", "small", None, "rare")] == [70, 20, 9, 1]
    assert (np.diff(chosen) > 0).all()
    assert stratified(categories, 100, seed=3).tolist() == chosen.tolist()
    assert stratified(categories, 100, seed=4).tolist() != chosen.tolist()
    assert stratified(categories, 1000, seed=3).tolist() == list(range(1000))
    assert len(stratified([str(n) for n in range(50)], 20, seed=0)) == 20


# --- placing, outliers, recall -------------------------------------------------------------------


def projection(coordinates: Any, indices: Any = None, distances: Any = None) -> Projection:
    drawn = np.array(coordinates, np.float32)
    n = len(drawn)
    ids = np.empty(n, dtype=object)
    ids[:] = [uuid.UUID(int=place) for place in range(n)]
    graph = None
    if indices is not None:
        graph = NeighbourGraph(np.array(indices, np.int32), np.array(distances, np.float32))
    return Projection(
        id=uuid.uuid4(),
        collection_id=uuid.uuid4(),
        name="map",
        settings=ProjectionSettings(),
        distance=Distance.COSINE,
        points=n,
        placed_points=0,
        documents=n,
        left_out=0,
        stale=False,
        fidelity=Fidelity(1, 1, 1, 15, n, n),
        versions={},
        build_seconds=0.0,
        created_at=datetime.now(UTC),
        ids=ids,
        coordinates=drawn,
        placed=np.zeros(n, bool),
        local_fidelity=np.ones(n, np.float32),
        neighbours=graph,
        clusters=Clusters(ClusterSettings(), np.zeros(n, np.int32), ("all",), (("all",),)),
    )


def test_a_query_lies_at_the_weighted_mean_of_its_hits() -> None:
    """Distances 0.1, 0.2 and 0.3 are 0, 0.1 and 0.2 beyond the first, 0.1 in the mean: the weights
    are 1, 1/e and 1/e²."""
    drawn = projection([[0, 0], [4, 0], [0, 4], [100, 100]])
    hits = [(uuid.UUID(int=2), 0.3), (uuid.UUID(int=0), 0.1), (uuid.UUID(int=1), 0.2)]
    found = place_query(drawn, [*hits, (uuid.UUID(int=77), 0.0)])
    e = np.e
    total = 1 + 1 / e + 1 / e**2
    np.testing.assert_allclose(found.weights, [1 / total, 1 / e / total, 1 / e**2 / total], 1e-5)
    np.testing.assert_allclose(found.position, [4 / e / total, 4 / e**2 / total], rtol=1e-5)
    assert found.points.tolist() == [0, 1, 2]
    with pytest.raises(InvalidInput, match="None of the hits is on this map"):
        place_query(drawn, [(uuid.UUID(int=77), 0.0)])


def test_equally_near_neighbours_weigh_the_same() -> None:
    np.testing.assert_allclose(neighbour_weights(np.full((1, 4), 0.3)), [[0.25] * 4])
    np.testing.assert_allclose(neighbour_weights(np.array([[-5.0]])), [[1.0]])


def test_pairs_under_a_distance_are_each_named_once() -> None:
    drawn = projection(
        [[0, 0]] * 4,
        [[1, 2], [0, 2], [3, 0], [2, 1]],
        [[0.01, 0.3], [0.01, 0.2], [0.05, 0.3], [0.05, 0.9]],
    )
    found = near_duplicates(drawn, 0.2)
    assert [(pair.first, pair.second) for pair in found] == [(0, 1), (2, 3), (1, 2)]
    assert found[0].distance == pytest.approx(0.01)
    assert len(near_duplicates(drawn, 0.2, limit=1)) == 1
    assert near_duplicates(drawn, 0.001) == []
    with pytest.raises(InvalidInput, match="not a number"):
        near_duplicates(drawn, float("nan"))


def test_outliers_are_those_far_from_their_neighbours() -> None:
    drawn = projection([[0, 0]] * 3, [[1], [0], [1]], [[0.1], [0.1], [0.8]])
    found = outliers(drawn, limit=2)
    assert [outlier.index for outlier in found] == [2, 0]
    assert found[0].mean_distance == pytest.approx(0.8)


def test_label_mismatches_have_neighbours_of_one_other_category() -> None:
    indices = [[1, 2, 3], [0, 2, 3], [3, 4, 5], [4, 5, 2], [3, 5, 2], [0, 1, 6], [0, 1, 2]]
    drawn = projection([[0, 0]] * 7, indices, np.full((7, 3), 0.1))
    categories = ["a", "a", "b", "b", "b", "c", None]
    found = label_mismatches(drawn, categories)
    assert [(s.index, s.category, s.neighbour_category) for s in found] == [
        (0, "a", "b"),
        (1, "a", "b"),
        (5, "c", "a"),
    ]
    assert found[0].share == pytest.approx(2 / 3)
    with pytest.raises(InvalidInput, match="6 categories for 7 points"):
        label_mismatches(drawn, categories[:6])
    with pytest.raises(InvalidInput, match="without computing neighbours"):
        label_mismatches(projection([[0, 0]] * 7), categories)


def test_a_neighbour_is_not_missed_where_another_as_near_came_in_its_place() -> None:
    a, b, c, other, far = (uuid.UUID(int=number) for number in range(5))
    truth = np.array([a, b, c, None], dtype=object)
    distances = np.array([0.1, 0.2, 0.2, np.inf])

    def missed(*returned: tuple[uuid.UUID, float | None]) -> set[uuid.UUID]:
        return set(missed_neighbours(truth.tolist(), distances.tolist(), dict(returned)))

    assert missed((a, 0.1), (b, 0.2), (c, 0.2)) == set()
    assert missed((a, 0.1), (other, 0.2 + 1e-8), (b, 0.2)) == set()
    assert missed((a, 0.1), (other, 0.2)) == {c}
    assert missed((a, 0.1), (far, 0.3)) == {b, c}
    assert missed((b, 0.2), (c, 0.2), (other, 0.2)) == {a}
    assert missed() == {a, b, c}


# --- settings and wire ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"dimensions": 4}, "dimensions"),
        ({"min_dist": float("nan")}, "min_dist"),
        ({"min_dist": 1.5}, "min_dist"),
        ({"n_neighbors": 1}, "n_neighbors"),
        ({"limit": 4}, "limit"),
        ({"seed": -1}, "seed"),
        ({"epochs": 0}, "epochs"),
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        ProjectionSettings(**wrong)
    assert refused.value.field == field


def test_what_cannot_fit_is_refused() -> None:
    check_memory(1_000, 256)
    with pytest.raises(InvalidInput, match="1,000,000,000 points with 4,096 dimensions") as refused:
        check_memory(1_000_000_000, 4_096)
    assert refused.value.field == "limit"


def test_settings_come_back_from_json() -> None:
    settings = ProjectionSettings(Method.PCA, 3, 7, 100, 20, 0.25, 300)
    assert ProjectionSettings.from_json(settings.to_json()) == settings
    grouping = ClusterSettings(ClusterMethod.KMEANS, 9, 4, 1)
    assert ClusterSettings.from_json(grouping.to_json()) == grouping
    with pytest.raises(LimitExceeded):
        ClusterSettings(count=1)
    rows = (100, 2_000, 2_001, 50_000)
    assert [ProjectionSettings().epochs_for(n) for n in rows] == [500, 500, 300, 200]
    assert ProjectionSettings(epochs=20).epochs_for(100) == 20


def test_messages_come_through_the_pipe() -> None:
    pipe = io.BytesIO()
    arrays = {"a": blobs(3), "none": np.empty((0, 4), np.int32), "bits": np.array([True, False])}
    write_message(pipe, {"task": "layout"}, arrays)
    write_message(pipe, {"end": True})
    whole = pipe.getvalue()
    pipe.seek(0)
    first = read_message(pipe)
    assert first is not None
    header, found = first
    assert header == {"task": "layout"}
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    assert read_message(pipe) == ({"end": True}, {})
    assert read_message(pipe) is None
    assert read_message(io.BytesIO(whole[:150])) is None
