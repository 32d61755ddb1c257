"""Distances and storage types, and what pgvector calls them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, assert_never

import numpy as np
import numpy.typing as npt
from pgvector import sqlalchemy as pgvector_types
from sqlalchemy import ColumnElement, Dialect, Double, String, cast
from sqlalchemy.types import TypeEngine

from lib.errors import DimensionMismatch, InvalidInput, InvalidVector

FloatArray = npt.NDArray[np.float32]

HALFVEC_MAX = 65504.0  # the largest finite IEEE 754 binary16
MAX_BIT_DIMENSIONS = 64_000  # of an index on bits (pgvector README, "Reference")
BIT_SUFFIX = "hamming_ops"  # of the operator classes of bits


@lru_cache(maxsize=32)
def _text_format(dimensions: int) -> str:
    return f"[{','.join(['%.9g'] * dimensions)}]"


def vector_text(vector: npt.ArrayLike) -> str:
    """What pgvector reads. Nine digits give every float32 back (IEEE 754), in a third of the time
    that the shortest form of a double takes, which a search would feel."""
    numbers = np.asarray(vector, dtype=np.float32)
    return _text_format(numbers.size) % tuple(numbers.tolist())


class _SentAsText:
    """The way in of both column types; NULL stays NULL."""

    def bind_processor(self, _dialect: Dialect) -> Callable[[Any], str | None]:
        return lambda value: None if value is None else vector_text(value)

    def literal_processor(self, dialect: Dialect) -> Callable[[Any], str]:
        quote = String()._cached_literal_processor(dialect)
        assert quote is not None
        return lambda value: str(quote(vector_text(value)))


class _Vector(_SentAsText, pgvector_types.VECTOR):
    cache_ok = True


class _HalfVector(_SentAsText, pgvector_types.HALFVEC):
    cache_ok = True


class Storage(StrEnum):
    """How a column stores an embedding: 4 bytes a dimension, or 2."""

    VECTOR = "vector"
    HALFVEC = "halfvec"

    @property
    def max_index_dimensions(self) -> int:
        """The most dimensions that an index on the column itself takes."""
        return ElementType.of(self).max_index_dimensions

    @property
    def max_dimensions(self) -> int:
        """The most dimensions a column can hold (pgvector README, "Reference")."""
        return 16000

    def bytes_per_row(self, dimensions: int) -> int:
        """Bytes that one stored embedding takes."""
        return ElementType.of(self).bytes_per_value(dimensions)

    def column_type(self, dimensions: int | None) -> TypeEngine[Any]:
        found: TypeEngine[Any] = (_Vector if self is Storage.VECTOR else _HalfVector)(dimensions)
        return found

    @classmethod
    def for_dimensions(cls, dimensions: int) -> Storage:
        """The storage that keeps full precision where that can still be indexed."""
        return cls.VECTOR if dimensions <= cls.VECTOR.max_index_dimensions else cls.HALFVEC


class ElementType(StrEnum):
    """The type of the values that an index stores and compares.

    BIT is one bit a dimension: a search re-ranks what its index brings by the full vectors, which
    the table has.
    """

    VECTOR = "vector"
    HALFVEC = "halfvec"
    BIT = "bit"

    @property
    def label(self) -> str:
        return "bit, re-ranked" if self is ElementType.BIT else self.value

    @classmethod
    def of(cls, storage: Storage) -> ElementType:
        """Of an index on the column itself."""
        return cls(storage.value)

    @property
    def max_index_dimensions(self) -> int:
        """The most dimensions that an index takes (pgvector README, "Reference")."""
        match self:
            case ElementType.VECTOR:
                return 2000
            case ElementType.HALFVEC:
                return 4000
            case ElementType.BIT:
                return MAX_BIT_DIMENSIONS
            case _:
                assert_never(self)

    def bytes_per_value(self, dimensions: int) -> int:
        """Of a value in an index (pgvector README: 4·d + 8, 2·d + 8, a bit string d/8 + 8)."""
        match self:
            case ElementType.VECTOR:
                return 4 * dimensions + 8
            case ElementType.HALFVEC:
                return 2 * dimensions + 8
            case ElementType.BIT:
                return math.ceil(dimensions / 8) + 8
            case _:
                assert_never(self)

    def indexed_as(self, column: Storage) -> IndexedAs:
        """As what an index has to be on a column of that storage, to store this."""
        match self:
            case ElementType.BIT:
                return IndexedAs.BINARY
            case ElementType.HALFVEC if column is Storage.VECTOR:
                return IndexedAs.HALFVEC
            case ElementType.VECTOR | ElementType.HALFVEC:
                return IndexedAs.COLUMN
            case _:
                assert_never(self)

    def of_column(self, collection_storage: Storage) -> Storage:
        """How a table stores its vectors whose index on the column itself stores this; of bits, as
        the collection does."""
        return collection_storage if self is ElementType.BIT else Storage(self.value)


class IndexedAs(StrEnum):
    """As what an index holds the vectors of a column: as the column does, or as an expression of
    it, by which a search takes rows that the full vectors then rank."""

    COLUMN = "column"
    HALFVEC = "halfvec"
    BINARY = "binary"

    @property
    def label(self) -> str:
        """Such as “halfvec”; empty for the column itself."""
        match self:
            case IndexedAs.COLUMN:
                return ""
            case IndexedAs.HALFVEC:
                return "halfvec"
            case IndexedAs.BINARY:
                return "bits"
            case _:
                assert_never(self)

    def element_type(self, storage: Storage) -> ElementType:
        """What the index of a column that is stored so stores."""
        match self:
            case IndexedAs.COLUMN:
                return ElementType.of(storage)
            case IndexedAs.HALFVEC:
                return ElementType.HALFVEC
            case IndexedAs.BINARY:
                return ElementType.BIT
            case _:
                assert_never(self)


@dataclass(frozen=True, slots=True)
class _DistanceFacts:
    """What pgvector calls a distance, and how people read its values."""

    operator: str
    suffix: str
    """Of the operator classes."""
    label: str
    similarity: Callable[[Any], Any]
    """Distance → what people read, for a number and for an SQL expression."""


class Distance(StrEnum):
    """The three distances that Vecscope searches by; smaller is closer for each of them."""

    COSINE = "cosine"
    L2 = "l2"
    INNER_PRODUCT = "inner_product"

    @property
    def operator(self) -> str:
        return _FACTS[self].operator

    @property
    def label(self) -> str:
        return _FACTS[self].label

    @property
    def suffix(self) -> str:
        """Of the operator classes that serve :attr:`operator`, such as ``cosine_ops``."""
        return _FACTS[self].suffix

    @property
    def widest(self) -> float | None:
        """The largest value that the distance can take; None where it has no bound."""
        return 2.0 if self is Distance.COSINE else None

    @property
    def never_negative(self) -> bool:
        return self is not Distance.INNER_PRODUCT

    def similarity(self, distance: float) -> float:
        """What people read, larger is closer.

        cosine: 1 − distance, in −1…1. l2: 1 / (1 + distance), in 0…1. inner_product: the inner
        product itself, since pgvector's operator returns its negative.
        """
        return float(_FACTS[self].similarity(distance))

    def similarity_expression(self, distance: ColumnElement[Any]) -> ColumnElement[Any]:
        """:meth:`similarity` as SQL."""
        expression: ColumnElement[Any] = _FACTS[self].similarity(distance)
        return expression

    def between(self, query: FloatArray, rows: FloatArray) -> npt.NDArray[np.float64]:
        """Distances (n,) from query (d,) to rows (n, d), in float64; NaN for a zero row
        under cosine, as pgvector gives it."""
        q, x = query.astype(np.float64), rows.astype(np.float64)
        match self:
            case Distance.L2:
                return np.asarray(np.sqrt(((x - q) ** 2).sum(axis=1)))
            case Distance.INNER_PRODUCT:
                return np.asarray(-(x @ q))
            case Distance.COSINE:
                with np.errstate(invalid="ignore", divide="ignore"):
                    lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(q)
                    return np.asarray(1.0 - (x @ q) / lengths)
            case _:
                assert_never(self)


def _one(distance: Any) -> Any:
    """1 as a number, or as the double precision of an SQL expression."""
    return cast(1.0, Double) if isinstance(distance, ColumnElement) else 1.0


# pgvector README, "Querying" and "Indexing".
_FACTS: dict[Distance, _DistanceFacts] = {
    Distance.COSINE: _DistanceFacts(
        "<=>", "cosine_ops", "cosine distance", lambda distance: _one(distance) - distance
    ),
    Distance.L2: _DistanceFacts(
        "<->",
        "l2_ops",
        "Euclidean distance (L2)",
        lambda distance: _one(distance) / (_one(distance) + distance),
    ),
    Distance.INNER_PRODUCT: _DistanceFacts(
        "<#>", "ip_ops", "negative inner product", lambda distance: -distance
    ),
}


def check_embedding(
    embedding: npt.ArrayLike,
    *,
    dimensions: int | None,
    distance: Distance,
    storage: Storage = Storage.VECTOR,
) -> FloatArray:
    """The embedding as a float32 array (d,) that the distance is defined for.

    Raises InvalidVector (not one row of numbers; empty; NaN or infinite; zero under cosine, also
    where it is zero only to the storage's precision; out of halfvec's range) and
    DimensionMismatch.
    """
    try:
        with np.errstate(over="ignore"):  # beyond float32 is infinite, which is refused below
            array = np.asarray(embedding, dtype=np.float32)
    except (TypeError, ValueError):
        raise InvalidVector(
            "The vector is not a list of numbers.", hint="Give numbers only, such as [0.1, 0.2]."
        ) from None
    if array.ndim != 1 or array.size == 0:
        raise InvalidVector(
            f"The vector has the shape {array.shape}, not one row of numbers.",
            hint="Give one vector at a time.",
        )
    if dimensions is not None and array.size != dimensions:
        raise DimensionMismatch(
            f"The vector has {array.size} dimensions, the column has {dimensions}.",
            hint="Use the model that the collection was embedded with.",
        )
    if not np.isfinite(array).all():
        place = int(np.flatnonzero(~np.isfinite(array))[0])
        raise InvalidVector(
            f"The vector's dimension {place + 1} is not a finite number.",
            hint="Leave rows with NaN or infinite values out.",
        )
    if storage is Storage.HALFVEC and float(np.abs(array).max()) > HALFVEC_MAX:
        raise InvalidVector(
            f"The vector has a value beyond ±{HALFVEC_MAX:.0f}, which halfvec cannot hold.",
            hint="Normalise the vectors, or store them as vector.",
        )
    # pgvector adds squares up in float32, of halves under halfvec: too small is zero to it.
    stored = array.astype(np.float16).astype(np.float32) if storage is Storage.HALFVEC else array
    if distance is Distance.COSINE and not np.square(stored).any():
        raise InvalidVector(
            "The vector is all zeros, and a zero vector has no cosine distance to anything.",
            hint="Check the text that it was made from, or use L2.",
        )
    return array


def parse_distance(text: str) -> Distance:
    """Raises InvalidInput, naming the choices."""
    try:
        return Distance(text)
    except ValueError:
        raise InvalidInput(
            f"“{text}” is no distance.",
            hint=f"Take one of {', '.join(d.value for d in Distance)}.",
            field="distance",
        ) from None
