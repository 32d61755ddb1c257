"""pgvector's binary format, beside pgvector's own and bytes written by hand."""

from __future__ import annotations

import numpy as np
import pytest
from pgvector import HalfVector, Vector

from lib.errors import DimensionMismatch
from lib.vectors.binary import decode_vector, decode_vectors, encode_vectors
from lib.vectors.distance import Storage

ROWS = np.array([[1.0, -2.5, 0.0], [0.1, 65504.0, 3.0]], np.float32)


def test_bytes_by_hand() -> None:
    # 1.0 is 3f800000 in IEEE 754 binary32 and 3c00 in binary16; −2.5 is c0200000 and c100
    one, _ = encode_vectors(ROWS, Storage.VECTOR)
    assert one.hex() == "00030000" + "3f800000" + "c0200000" + "00000000"
    one, _ = encode_vectors(ROWS, Storage.HALFVEC)
    assert one.hex() == "00030000" + "3c00" + "c100" + "0000"


@pytest.mark.parametrize(
    ("storage", "own"), [(Storage.VECTOR, Vector), (Storage.HALFVEC, HalfVector)]
)
def test_it_is_pgvectors_own(storage: Storage, own: type[Vector] | type[HalfVector]) -> None:
    encoded = encode_vectors(ROWS, storage)
    assert encoded == [own(row).to_binary() for row in ROWS]
    for data, row in zip(encoded, ROWS, strict=True):
        expected = row.astype(np.float16).astype(np.float32) if storage is Storage.HALFVEC else row
        assert decode_vector(data, storage).tolist() == expected.tolist()
        assert decode_vector(data, storage).dtype == np.float32


def test_many_at_once_in_any_parts() -> None:
    encoded = encode_vectors(ROWS, Storage.VECTOR)
    assert decode_vectors(encoded, 2, Storage.VECTOR).tolist() == ROWS.tolist()
    assert decode_vectors([b"".join(encoded)], 2, Storage.VECTOR).tolist() == ROWS.tolist()


def test_vectors_of_different_lengths_are_refused() -> None:
    long, short = (encode_vectors(ROWS[:, :size], Storage.VECTOR)[0] for size in (3, 2))
    for parts in ([long, short], [short, long]):
        with pytest.raises(DimensionMismatch):
            decode_vectors(parts, 2, Storage.VECTOR)


def test_what_halfvec_cannot_hold_is_sent_as_infinite() -> None:
    (data,) = encode_vectors(np.array([[1e6]], np.float32), Storage.HALFVEC)
    assert data.hex() == "00010000" + "7c00"
