"""pgvector's binary format, as vector_send and halfvec_send write it and COPY takes it.

A vector is two 16-bit numbers, its dimensions and 0, then its values (float32, or float16 of a
halfvec), the most significant byte first. It is exact, and needs no parsing. pgvector's own
``Vector.to_binary`` has the same format for one vector; here are also many at once, without a
Python object for each.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, LargeBinary, func

from lib.errors import DimensionMismatch
from lib.vectors.distance import FloatArray, Storage

_HEAD = struct.Struct(">HH")


def binary_expression(embedding: ColumnElement[Any], storage: Storage) -> ColumnElement[bytes]:
    """SQL that has the server send the embedding in this format."""
    send = func.vector_send if storage is Storage.VECTOR else func.halfvec_send
    return send(embedding, type_=LargeBinary())


def encode_vectors(vectors: FloatArray, storage: Storage) -> list[bytes]:
    """Each row of ``vectors``, float32 (n, d). A value beyond halfvec's range is sent as infinite,
    which the server refuses."""
    with np.errstate(over="ignore"):
        values = vectors.astype(_value_type(storage))
    count, dimensions = values.shape
    size = dimensions * values.itemsize
    head, data = _HEAD.pack(dimensions, 0), values.tobytes()
    return [head + data[row * size : (row + 1) * size] for row in range(count)]


def decode_vector(data: bytes, storage: Storage) -> FloatArray:
    """One vector, as a float32 array (d,)."""
    return np.frombuffer(data, _value_type(storage), offset=_HEAD.size).astype(np.float32)


def decode_vectors(parts: Sequence[bytes], count: int, storage: Storage) -> FloatArray:
    """So many vectors, one after the other across the parts, as a float32 array (count, d).

    Raises DimensionMismatch where they differ in length.
    """
    joined = b"".join(parts)
    dimensions, _ = _HEAD.unpack_from(joined)
    row = np.dtype([("head", ">u4"), ("values", _value_type(storage), dimensions)])
    # Heads that are equal, each where the one before says that it is: so are all lengths.
    if len(joined) == count * row.itemsize:
        rows = np.frombuffer(joined, row)
        if (rows["head"] == rows["head"][0]).all():
            return rows["values"].astype(np.float32)
    raise DimensionMismatch("The column holds vectors of different dimensions.")


def _value_type(storage: Storage) -> str:
    return ">f4" if storage is Storage.VECTOR else ">f2"
