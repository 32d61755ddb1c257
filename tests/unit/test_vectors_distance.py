"""Distances, storages and the check of a query vector."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lib.errors import DimensionMismatch, InvalidInput, InvalidVector
from lib.vectors.distance import Distance, ElementType, Storage, check_embedding, parse_distance
from lib.vectors.index_methods import HNSW, IVFFLAT


# pgvector README, "Querying", "Indexing" and "Half-Precision Vectors".
@pytest.mark.parametrize(
    ("distance", "operator", "vector_class", "halfvec_class"),
    [
        (Distance.COSINE, "<=>", "vector_cosine_ops", "halfvec_cosine_ops"),
        (Distance.L2, "<->", "vector_l2_ops", "halfvec_l2_ops"),
        (Distance.INNER_PRODUCT, "<#>", "vector_ip_ops", "halfvec_ip_ops"),
    ],
)
def test_operators_and_their_classes(
    distance: Distance, operator: str, vector_class: str, halfvec_class: str
) -> None:
    assert distance.operator == operator
    for method in (IVFFLAT, HNSW):
        assert method.operator_class(distance, ElementType.VECTOR) == vector_class
        assert method.operator_class(distance, ElementType.HALFVEC) == halfvec_class
        assert method.operator_class(distance, ElementType.BIT) == "bit_hamming_ops"


def test_similarity_by_hand() -> None:
    assert Distance.COSINE.similarity(0.25) == 0.75
    assert Distance.COSINE.similarity(2.0) == -1.0
    assert Distance.L2.similarity(0.0) == 1.0
    assert Distance.L2.similarity(3.0) == 0.25
    assert Distance.INNER_PRODUCT.similarity(-7.5) == 7.5


def test_distances_by_hand() -> None:
    query = np.array([3, 4], np.float32)
    rows = np.array([[3, 4], [0, 0], [-3, -4], [4, -3]], np.float32)
    assert_allclose(Distance.L2.between(query, rows), [0, 5, 10, np.sqrt(50)])
    assert_allclose(Distance.INNER_PRODUCT.between(query, rows), [-25, 0, 25, 0])
    assert_allclose(Distance.COSINE.between(query, rows), [0, np.nan, 2, 1], atol=1e-12)


def test_storage_for_dimensions_keeps_what_can_be_indexed() -> None:
    assert Storage.for_dimensions(2000) is Storage.VECTOR
    assert Storage.for_dimensions(2001) is Storage.HALFVEC
    assert Storage.VECTOR.bytes_per_row(1536) == 4 * 1536 + 8
    assert Storage.HALFVEC.bytes_per_row(3072) == 2 * 3072 + 8


def test_parse_distance_names_the_choices() -> None:
    assert parse_distance("l2") is Distance.L2
    with pytest.raises(InvalidInput, match="cosine, l2, inner_product") as caught:
        parse_distance("L1")
    assert caught.value.field == "distance"


# --- the query vector ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("embedding", "error", "says"),
    [
        (["a", "b"], InvalidVector, "not a list of numbers"),
        ([1 + 2j, 1], InvalidVector, "not a list of numbers"),
        ([[1, 2], [3]], InvalidVector, "not a list of numbers"),
        (None, InvalidVector, "shape"),
        (1.0, InvalidVector, "shape"),
        ([], InvalidVector, "shape"),
        ([[1.0, 2.0]], InvalidVector, "shape"),
        ([1.0], DimensionMismatch, "1 dimensions, the column has 2"),
        ([1.0, float("nan")], InvalidVector, "dimension 2 is not a finite"),
        ([float("-inf"), 1.0], InvalidVector, "dimension 1 is not a finite"),
        ([1e39, 1.0], InvalidVector, "dimension 1 is not a finite"),  # beyond float32
        ([0.0, -0.0], InvalidVector, "all zeros"),
        ([1e-30, 1e-30], InvalidVector, "all zeros"),  # its squares are zero in float32
    ],
)
def test_unusable_vectors(embedding: object, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        check_embedding(embedding, dimensions=2, distance=Distance.COSINE)  # type: ignore[arg-type]


def test_usable_vectors_come_out_as_float32() -> None:
    checked = check_embedding([1, 2.5], dimensions=2, distance=Distance.COSINE)
    assert checked.dtype == np.float32
    assert checked.tolist() == [1.0, 2.5]
    assert check_embedding([1, 2, 3], dimensions=None, distance=Distance.COSINE).shape == (3,)


def test_zero_has_an_l2_distance_and_an_inner_product() -> None:
    for distance in (Distance.L2, Distance.INNER_PRODUCT):
        assert not check_embedding([0, 0], dimensions=2, distance=distance).any()


def test_halfvec_has_a_range_and_a_precision() -> None:
    def check(value: float, distance: Distance = Distance.L2) -> None:
        check_embedding([value], dimensions=1, distance=distance, storage=Storage.HALFVEC)

    check(65504)
    with pytest.raises(InvalidVector, match="65504"):
        check(-65536)
    check(1e-7, Distance.COSINE)  # the smallest half is 6e-8
    with pytest.raises(InvalidVector, match="all zeros"):
        check(1e-8, Distance.COSINE)
