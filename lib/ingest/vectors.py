"""Vectors that exist already: what is found out about them before they are loaded, and the queries
that come as vectors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any, cast

import numpy as np

from lib.errors import InvalidInput, ReadProblem
from lib.ingest.columns import ColumnMapping
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingDocument, IncomingProblem
from lib.ingest.queries import IncomingQuery, QueryKind, QueryStream
from lib.ingest.read import read
from lib.ingest.read_options import ReadOptions
from lib.ingest.readers.registry import Incoming, reader_for
from lib.ingest.readers.vectors import is_hdf5, is_vector_file, row_id
from lib.vectors.distance import Distance, FloatArray, Storage, check_embedding

__all__ = ["VectorFileFacts", "inspect_vectors", "is_hdf5", "is_vector_file", "vector_queries"]

INSPECTED_ROWS = 20_000
_INSPECTED_NUMBERS = 16_000_000  # and no more than 64 MB of them

_UNIT_TOLERANCE = 0.01  # int8 that was multiplied back, or float16, is this far from norm 1
_UNIT_SHARE = 0.99
_EXACT_FLOATS = 1 << 24  # from here on a float32 cannot hold each row number

TEST, NEIGHBOURS = "test", "neighbors"
"""How ann-benchmarks names the queries in its files, and their true neighbours."""

# How it names distances, and how those do who write its form.
_DISTANCES = {
    "angular": Distance.COSINE,
    "cosine": Distance.COSINE,
    "euclidean": Distance.L2,
    "l2": Distance.L2,
    "dot": Distance.INNER_PRODUCT,
    "ip": Distance.INNER_PRODUCT,
}


@dataclass(frozen=True)
class VectorFileFacts:
    """What the first rows of a file tell about its vectors.

    rows: of the whole file, None where only reading tells. dtype: as the file has them; they are
    stored as float32 or halfvec. distance: suggested, and why. inspected: how many rows were looked
    at; of these ``without`` bring no vector, ``other_dimensions`` one of another length, ``nan``
    and ``infinite`` one with such a number, and ``zero`` one of zeros, which has no cosine
    distance. norms: Euclidean, of the vectors of finite numbers, None where there are none. column:
    where a table has them. texts: the path of the file that has the texts of a file of vectors.
    datasets: the names of its arrays.
    """

    name: str
    rows: int | None
    dimensions: int
    dtype: str
    distance: Distance
    distance_reason: str
    norm_min: float | None
    norm_mean: float | None
    norm_max: float | None
    inspected: int
    without: int
    other_dimensions: int
    nan: int
    infinite: int
    zero: int
    column: str | None
    mapping: ColumnMapping | None = field(default=None, repr=False)
    texts: str | None = None
    datasets: tuple[str, ...] = ()

    @property
    def storage(self) -> Storage:
        """Full precision, where that can be indexed."""
        return Storage.for_dimensions(self.dimensions)

    @property
    def has_queries(self) -> bool:
        """Whether it is a file in ann-benchmarks' form, with queries."""
        return TEST in self.datasets


def inspect_vectors(
    source: FileSource, options: ReadOptions | None = None, *, most_rows: int = INSPECTED_ROWS
) -> VectorFileFacts | None:
    """Looks at the first rows of a file of vectors, or of a table that may have a column of them
    (``options.columns.embedding``, or guessed where that is not set). None where there are none.

    Raises InvalidInput where no reader knows the file, ReadProblem where it has vectors, or should
    have, and they cannot be read.
    """
    options = options or ReadOptions()
    of_vectors = is_vector_file(source.name)
    if not of_vectors and not reader_for(source.name).has_columns:
        return None
    chosen = options.columns.embedding or None
    options = replace(options, columns=replace(options.columns, embedding=chosen))
    vectors: list[FloatArray] = []
    without, numbers = 0, 0
    problem: IncomingProblem | None = None
    with closing(cast("Any", read(source, options))) as incoming:
        for item in incoming:
            if isinstance(item, IncomingProblem):
                problem = problem or (None if item.stored else item)
            elif item.embedding is None:
                without += 1
            else:
                vectors.append(item.embedding)
                numbers += len(item.embedding)
            if not vectors and source.mapping is not None and source.mapping.embedding is None:
                break  # a table without such a column
            if len(vectors) + without >= most_rows or numbers >= _INSPECTED_NUMBERS:
                break
    mapping, array = source.mapping, source.array
    if not vectors:
        if problem is not None and (of_vectors or chosen):
            raise ReadProblem(
                problem.reason, source=problem.source, place=problem.place, hint=problem.hint
            )
        return None
    return _facts(
        vectors,
        "" if array is None else array.distance,
        name=source.name,
        rows=None if array is None else array.rows,
        dtype="float32" if array is None else array.dtype,
        inspected=len(vectors) + without,
        without=without,
        column=None if of_vectors or mapping is None else mapping.embedding,
        mapping=mapping,
        texts=None if array is None else array.texts,
        datasets=() if array is None else array.datasets,
    )


def vector_queries(
    source: FileSource,
    *,
    dimensions: int,
    distance: Distance,
    dataset: str | None = None,
    truth: FileSource | None = None,
    truth_dataset: str | None = None,
    base: str = "",
    name: str | None = None,
) -> QueryStream:
    """Queries as vectors; ``truth`` has a row for each with the row numbers, from 0, of its nearest
    neighbours, nearest first (ivecs, npy, or "neighbors" of a file in ann-benchmarks' form).

    base: the name of the file that the documents came from, by which their ids are made. A query
    that a collection of these dimensions and distance cannot be searched by is a problem; one whose
    neighbours cannot be read goes without.
    """
    options = ReadOptions(texts="", dataset=dataset)
    truth_options = ReadOptions(texts="", dataset=truth_dataset)

    def queries() -> Iterator[IncomingQuery | IncomingProblem]:
        answers = iter(()) if truth is None else read(truth, truth_options)
        for number, item in enumerate(read(source, options)):
            answer = next(answers, None)
            if isinstance(item, IncomingProblem):
                yield item
                continue
            place = f"row {number + 1:,}"
            neighbours = None
            try:
                neighbours = _neighbours(answer, base)
            except InvalidInput as exc:
                yield IncomingProblem(source.name, place, exc.message, exc.hint, stored=True)
            try:
                embedding = _checked(item, dimensions, distance)
            except InvalidInput as exc:
                yield IncomingProblem(source.name, place, exc.message, exc.hint)
                continue
            yield IncomingQuery(
                external_id=row_id(source.name, number), embedding=embedding, truth=neighbours
            )
        # Behind the last query: what was wrong with the neighbours, if anything.
        yield from (item for item in answers if isinstance(item, IncomingProblem))

    return QueryStream(name or source.name, QueryKind.VECTOR, queries)


def queries_of_vector_file(
    source: FileSource, facts: VectorFileFacts, *, dimensions: int, distance: Distance
) -> QueryStream:
    """The queries, with their true neighbours, of a file in ann-benchmarks' form on disk."""
    return vector_queries(
        source.reopened(),
        dimensions=dimensions,
        distance=distance,
        dataset=TEST,
        truth=source.reopened() if NEIGHBOURS in facts.datasets else None,
        truth_dataset=NEIGHBOURS,
        base=source.name,
        name=PurePosixPath(source.name).stem,
    )


def _checked(document: IncomingDocument, dimensions: int, distance: Distance) -> FloatArray:
    assert document.embedding is not None  # all rows of such a file are vectors
    return check_embedding(document.embedding, dimensions=dimensions, distance=distance)


def _neighbours(item: Incoming | None, base: str) -> tuple[str, ...] | None:
    """Raises InvalidInput where they are no row numbers, or cannot be read."""
    if isinstance(item, IncomingProblem):
        raise InvalidInput(f"Its neighbours cannot be read. {item.reason}", hint=item.hint)
    if item is None or item.embedding is None:
        return None
    rows = item.embedding
    rows = rows[rows != -1]  # written where there were fewer neighbours than asked for
    if not np.isfinite(rows).all() or (rows < 0).any() or (rows != np.round(rows)).any():
        raise InvalidInput("Its neighbours are no row numbers.")
    if rows.size and rows.max() >= _EXACT_FLOATS:
        raise InvalidInput(f"Its neighbours are rows beyond {_EXACT_FLOATS:,}.")
    return tuple(row_id(base, int(row)) for row in rows)


def _facts(vectors: list[FloatArray], named: str, **others: Any) -> VectorFileFacts:
    lengths, counts = np.unique([len(vector) for vector in vectors], return_counts=True)
    dimensions = int(lengths[np.argmax(counts)])
    fitting = np.stack([vector for vector in vectors if len(vector) == dimensions])
    is_nan, is_infinite = np.isnan(fitting).any(axis=1), np.isinf(fitting).any(axis=1)
    finite = fitting[~is_nan & ~is_infinite]
    norms = np.sqrt(np.einsum("ij,ij->i", finite, finite, dtype=np.float64))
    distance, reason = _suggested(norms[norms > 0], named)
    return VectorFileFacts(
        dimensions=dimensions,
        distance=distance,
        distance_reason=reason,
        norm_min=float(norms.min()) if norms.size else None,
        norm_mean=float(norms.mean()) if norms.size else None,
        norm_max=float(norms.max()) if norms.size else None,
        other_dimensions=len(vectors) - len(fitting),
        nan=int(is_nan.sum()),
        infinite=int((is_infinite & ~is_nan).sum()),
        zero=int((norms == 0).sum()),
        **others,
    )


def _suggested(norms: np.ndarray[Any, Any], named: str) -> tuple[Distance, str]:
    if named.lower() in _DISTANCES:
        return _DISTANCES[named.lower()], f"the file names “{named}”"
    other = f"; it names “{named}”, which pgvector does not have" if named else ""
    near_one = np.abs(norms - 1) <= _UNIT_TOLERANCE
    if norms.size and near_one.mean() >= _UNIT_SHARE:
        return Distance.COSINE, f"the vectors have norm 1{other}"
    return Distance.L2, f"the vectors have norms other than 1{other}"
