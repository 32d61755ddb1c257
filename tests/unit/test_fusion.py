"""Fusion against a table worked by hand, by properties, and where the lead changes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import InvalidInput
from lib.search.fusion import contributions, fuse, leader_intervals, ranks_by_weight
from lib.vectors.hybrid import Fusion
from lib.vectors.search import Document, Hit


def hit(
    name: str,
    distance: float | None = None,
    vector_rank: int | None = None,
    text_value: float | None = None,
    text_rank: int | None = None,
) -> Hit:
    similarity = None if distance is None else 1 - distance
    return Hit(Document(name, name), distance, similarity, vector_rank, text_rank, text_value)


def names(hits: list[Hit]) -> list[str]:
    return [found.document.id for found in hits]


# Vector leg: a 0.2, b 0.4, c 0.6 → scaled 1, 0.5, 0. Text leg: b 3, d 2, a 1 → 1, 0.5, 0.
POOL = [
    hit("a", 0.2, 1, 1.0, 3),
    hit("b", 0.4, 2, 3.0, 1),
    hit("c", 0.6, 3),
    hit("d", 0.9, None, 2.0, 2),  # a distance is shown, though the vector leg did not find it
]


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        # w·v + (1−w)·t: a 0.7·1 + 0.3·0; b 0.7·0.5 + 0.3·1; c 0; d 0.3·0.5
        (0.7, {"a": 0.7, "b": 0.65, "d": 0.15, "c": 0.0}),
        (0.5, {"b": 0.75, "a": 0.5, "d": 0.25, "c": 0.0}),
    ],
)
def test_weighted_by_hand(weight: float, expected: dict[str, float]) -> None:
    fused = fuse(POOL, weight, Fusion.WEIGHTED)
    assert names(fused) == list(expected)
    assert [found.fused for found in fused] == pytest.approx(list(expected.values()))


def test_what_each_side_adds_by_hand() -> None:
    # 0.7 · (1, 0.5, 0, 0) and 0.3 · (0, 1, 0, 0.5), in the order of the hits: a, b, d, c
    fused = fuse(POOL, 0.7, Fusion.WEIGHTED)
    parts = contributions(POOL, fused[:3], 0.7, Fusion.WEIGHTED)
    assert [part for pair in parts for part in pair] == pytest.approx([0.7, 0, 0.35, 0.3, 0, 0.15])
    for fusion in Fusion:
        pool = [found for found in POOL if found.distance is not None and found.text_rank]
        fused = fuse(pool, 0.4, fusion)
        parts = contributions(pool, fused, 0.4, fusion)
        assert [sum(pair) for pair in parts] == pytest.approx([found.fused for found in fused])


def test_rrf_by_hand() -> None:
    fused = fuse(POOL, 0.5, Fusion.RRF)
    expected = {
        "b": 0.5 / 62 + 0.5 / 61,
        "a": 0.5 / 61 + 0.5 / 63,
        "d": 0.5 / 62,
        "c": 0.5 / 63,
    }
    assert names(fused) == list(expected)
    assert [found.fused for found in fused] == pytest.approx(list(expected.values()))


def test_raw_by_hand() -> None:
    pool = [hit("a", 0.2, 1, 0.01, 2), hit("b", 0.4, 2, 0.5, 1)]
    fused = fuse(pool, 0.7, Fusion.RAW)
    assert [(f.document.id, f.fused) for f in fused] == [
        ("b", pytest.approx(0.7 * 0.6 + 0.3 * 0.5)),
        ("a", pytest.approx(0.7 * 0.8 + 0.3 * 0.01)),
    ]


@st.composite
def pools(draw: st.DrawFn) -> list[Hit]:
    """A pool as the server gives it: ranks follow the values, each hit is in one leg at least."""
    count = draw(st.integers(1, 12))
    in_vector = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    in_text = [draw(st.booleans()) or not there for there in in_vector]
    # Whole numbers: equal values occur, and scaling a leg moves none by rounding.
    distances = draw(st.lists(st.integers(0, 8), min_size=count, max_size=count))
    values = draw(st.lists(st.integers(0, 8), min_size=count, max_size=count))
    by_vector = sorted((p for p in range(count) if in_vector[p]), key=lambda p: (distances[p], p))
    by_text = sorted((p for p in range(count) if in_text[p]), key=lambda p: (-values[p], p))
    return [
        hit(
            f"{place:02d}",
            float(distances[place]) if in_vector[place] else None,
            by_vector.index(place) + 1 if in_vector[place] else None,
            float(values[place]) if in_text[place] else None,
            by_text.index(place) + 1 if in_text[place] else None,
        )
        for place in range(count)
    ]


FUSIONS = st.sampled_from([Fusion.WEIGHTED, Fusion.RRF])
WEIGHTS = st.floats(0, 1)


@given(pools(), FUSIONS)
def test_weight_one_is_the_vector_order_and_zero_the_text_order(
    pool: list[Hit], fusion: Fusion
) -> None:
    by_vector = [found.vector_rank for found in fuse(pool, 1.0, fusion)]
    found = [rank for rank in by_vector if rank is not None]
    assert by_vector[: len(found)] == sorted(found)
    by_text = [found.text_rank for found in fuse(pool, 0.0, fusion)]
    found = [rank for rank in by_text if rank is not None]
    assert by_text[: len(found)] == sorted(found)


@given(pools(), FUSIONS, WEIGHTS)
def test_no_document_is_lost(pool: list[Hit], fusion: Fusion, weight: float) -> None:
    fused = fuse(pool, weight, fusion)
    assert sorted(names(fused)) == sorted(names(pool))
    values = [found.fused for found in fused]
    assert values == sorted(values, reverse=True)


@given(pools(), WEIGHTS, st.sampled_from([0.5, 2.0, 64.0]))
def test_scaling_a_leg_changes_nothing(pool: list[Hit], weight: float, factor: float) -> None:
    scaled = [
        hit(
            found.document.id,
            None if found.distance is None else found.distance * factor,
            found.vector_rank,
            None if found.text_value is None else found.text_value * factor,
            found.text_rank,
        )
        for found in pool
    ]
    for fusion in (Fusion.WEIGHTED, Fusion.RRF):
        assert names(fuse(scaled, weight, fusion)) == names(fuse(pool, weight, fusion))


@given(pools(), FUSIONS)
def test_ranks_by_weight_are_those_of_each_fusion(pool: list[Hit], fusion: Fusion) -> None:
    weights = [0.0, 0.3, 0.5, 1.0]
    ranks = ranks_by_weight(pool, fusion, weights)
    for column, weight in enumerate(weights):
        order = names(fuse(pool, weight, fusion))
        assert [pool[place].document.id for place in np.argsort(ranks[:, column])] == order


@given(pools(), FUSIONS)
def test_reigns_cover_all_weights_and_name_the_leader(pool: list[Hit], fusion: Fusion) -> None:
    found = leader_intervals(pool, fusion)
    assert found[0].start == 0.0
    assert found[-1].end == 1.0
    assert all(a.end == b.start for a, b in pairwise(found))
    for reign in found:
        middle = (reign.start + reign.end) / 2
        fused = {f.document.id: f.fused for f in fuse(pool, middle, fusion)}
        assert fused[reign.hit.document.id] == pytest.approx(max(fused.values()), abs=1e-9)


def test_reigns_by_hand() -> None:
    """a: w; b: 0.5·w + (1 − w) = 1 − 0.5·w; equal at w = 2/3."""
    found = leader_intervals(POOL, Fusion.WEIGHTED)
    assert [(reign.hit.document.id, reign.start, reign.end) for reign in found] == [
        ("b", 0.0, pytest.approx(2 / 3)),
        ("a", pytest.approx(2 / 3), 1.0),
    ]


def test_weights_outside_are_refused() -> None:
    for weight in (-0.01, 1.01, float("nan")):
        with pytest.raises(InvalidInput):
            fuse(POOL, weight, Fusion.RRF)
    with pytest.raises(InvalidInput):
        leader_intervals([], Fusion.RRF)
