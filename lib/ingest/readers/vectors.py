"""Readers for files of vectors that exist already: npy, npz, fvecs, bvecs and hdf5, with the texts
that lie beside them. A block of rows is in memory, never the file."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from lib.errors import InvalidInput, ReadProblem
from lib.ingest.columns import SAMPLE_ROWS, ColumnMapping, RowMapper, map_columns, number_columns
from lib.ingest.file_source import ArrayFacts, FileSource
from lib.ingest.incoming import IncomingDocument, IncomingProblem
from lib.ingest.read_options import ReadOptions
from lib.ingest.readers.row_texts import Row, find_texts

if TYPE_CHECKING:
    import h5py

_FVECS_TYPES = {"fvecs": "<f4", "ivecs": "<i4", "bvecs": "u1"}
NPY, NPZ, FVECS, HDF5 = ("npy",), ("npz",), tuple(_FVECS_TYPES), ("hdf5", "h5")
VECTOR_EXTENSIONS = (*NPY, *NPZ, *FVECS, *HDF5)

MAX_DIMENSIONS = 16_000
"""Of a column in pgvector. Storage knows it too, but would bring SQLAlchemy into the process that
reads files."""

_BLOCK_BYTES = 4 << 20
_LARGEST_CHUNK_BYTES = 256 << 20
_MAX_DATASETS = 1000
_VECTOR = "(vector)"  # names the vector among the columns of the texts
# Of several arrays in a file, the one whose name comes first here, else the largest.
_TELLING_NAMES = ("train", "base", "vectors", "embeddings", "embedding", "data", "x", "arr_0")

NumberArray = npt.NDArray[Any]
T = TypeVar("T")


@dataclass(frozen=True)
class VectorTable:
    """An open file of vectors. blocks: arrays of numbers (n, d) in the file's order; d may differ
    from block to block."""

    facts: ArrayFacts
    blocks: Iterator[NumberArray]


def is_vector_file(name: str) -> bool:
    """Whether a file of that name holds vectors and nothing else."""
    return _extension(name) in VECTOR_EXTENSIONS


def is_hdf5(name: str) -> bool:
    return _extension(name) in HDF5


def row_id(name: str, row: int) -> str:
    """The external id of a row, counted from 0, that brings none of its own."""
    return f"{name}#{row + 1}"


def read_vectors(
    source: FileSource, options: ReadOptions
) -> Iterator[IncomingDocument | IncomingProblem]:
    """Each row is a document with its vector as float32, whatever its numbers are: those that a
    collection cannot store are refused where the collection is known.

    Text, title, id and the rest come from ``options.texts`` or from the file beside it that fits
    (:func:`find_texts`), mapped as a table's columns are. A row without a text has its label or id
    as its content; without an id it is "<source>#<row number>", as all rows of fvecs and hdf5 are:
    files of true neighbours name them by number. Sets ``source.array``, ``header`` and
    ``mapping``. Raises ReadProblem.
    """
    with ExitStack() as stack:
        table = stack.enter_context(open_vectors(source, options.dataset))
        texts, problem = find_texts(source, options.texts, table.facts.rows)
        texts_path = None if texts is None else str(texts.path)
        source.array = replace(table.facts, texts=texts_path)
        if problem is not None:
            yield problem
        rows: Iterator[Row | None] = iter(())
        if texts is not None:
            rows = stack.enter_context(closing(texts.rows()))
        sample = list(islice(rows, SAMPLE_ROWS))
        read = [row for row in sample if row is not None]
        source.header = tuple(dict.fromkeys(key for row in read for key in row))
        source.mapping = _mapping(source, options, read)
        numbers = number_columns(source.header, read) if texts and texts.all_text else {}
        mapper = RowMapper(source.mapping, numbers)
        yield from _documents(table, chain(sample, rows), mapper, source)


def _mapping(source: FileSource, options: ReadOptions, rows: Sequence[Row]) -> ColumnMapping:
    choice = replace(options.columns, embedding=_VECTOR)
    if _extension(source.name) in (*FVECS, *HDF5):
        choice = replace(choice, external_id="")
    try:
        return map_columns([*source.header, _VECTOR], rows, choice)
    except InvalidInput as exc:
        raise ReadProblem(exc.message, source=source.name, hint=exc.hint) from None


def _documents(
    table: VectorTable, texts: Iterator[Row | None], mapper: RowMapper, source: FileSource
) -> Iterator[IncomingDocument | IncomingProblem]:
    number = 0
    for block in table.blocks:
        with np.errstate(over="ignore"):  # beyond float32 is infinite, which is refused later
            vectors = block.astype(np.float32)
        for vector in vectors:
            row = next(texts, {})
            fallback_id = row_id(source.name, number)
            number += 1
            place = f"row {number:,}"
            if row is None:
                reason = "Its line among the texts cannot be read, so that it has no text."
                yield IncomingProblem(source.name, place, reason, stored=True)
            try:
                yield mapper.document({**(row or {}), _VECTOR: vector}, fallback_id)
            except InvalidInput as exc:
                yield IncomingProblem(source.name, place, exc.message, exc.hint)


# --- the formats --------------------------------------------------------------------------------


@contextmanager
def open_vectors(source: FileSource, dataset: str | None = None) -> Iterator[VectorTable]:
    """dataset: which array of a file that holds several; by default the likeliest. Raises
    ReadProblem, also while the blocks are read, and OSError."""
    extension = _extension(source.name)
    with ExitStack() as stack:
        if extension in NPY:
            table = _open_npy(source, stack)
        elif extension in NPZ:
            table = _open_npz(source, dataset, stack)
        elif extension in FVECS:
            table = _open_fvecs(source, stack)
        else:
            table = _open_hdf5(source, dataset, stack)
        yield replace(table, blocks=_said(table.blocks, source))


def _said(blocks: Iterator[NumberArray], source: FileSource) -> Iterator[NumberArray]:
    """The blocks; what a library says of a broken file becomes a ReadProblem."""
    broken = (ValueError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile)
    while True:
        try:
            block = next(blocks, None)
        except broken as exc:
            raise _damaged(source, exc) from None
        if block is None:
            return
        yield block


def _open_npy(source: FileSource, stack: ExitStack) -> VectorTable:
    stream = stack.enter_context(source.open())
    shape, in_columns, dtype = _npy_header(stream, source)
    _check_shape(shape, dtype, source)
    if not in_columns:
        facts = ArrayFacts(shape[0], str(dtype))
        return VectorTable(facts, _stream_blocks(stream, shape, dtype, source))
    path = stack.enter_context(source.on_disk())
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as exc:
        raise _damaged(source, exc) from None
    return VectorTable(ArrayFacts(shape[0], str(dtype)), _slices(array, shape, dtype, source))


def _open_npz(source: FileSource, dataset: str | None, stack: ExitStack) -> VectorTable:
    path = stack.enter_context(source.on_disk())
    try:
        archive = stack.enter_context(zipfile.ZipFile(path))
        arrays: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
        for name in archive.namelist()[:_MAX_DATASETS]:
            if name.endswith(".npy"):
                with archive.open(name) as member:
                    shape, in_columns, dtype = _npy_header(member, source)
                if not in_columns:
                    arrays[name.removesuffix(".npy")] = shape, dtype
        chosen = _choose(arrays, dataset, source)
        stream = stack.enter_context(archive.open(f"{chosen}.npy"))
        shape, _, dtype = _npy_header(stream, source)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as exc:
        raise _damaged(source, exc) from None
    _check_shape(shape, dtype, source)
    facts = ArrayFacts(shape[0], str(dtype), datasets=tuple(arrays))
    return VectorTable(facts, _stream_blocks(stream, shape, dtype, source, advance=True))


def _npy_header(
    stream: IO[bytes], source: FileSource
) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether it is stored column by column, and type."""
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, in_columns, dtype = np.lib.format.read_array_header_1_0(stream)
        else:  # 3.0 is 2.0 for arrays that have names which are not ASCII: none of numbers
            shape, in_columns, dtype = np.lib.format.read_array_header_2_0(stream)
    except (ValueError, EOFError) as exc:
        raise _damaged(source, exc) from None
    return shape, in_columns and len(shape) > 1, dtype


def _stream_blocks(
    stream: IO[bytes],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    source: FileSource,
    *,
    advance: bool = False,
) -> Iterator[NumberArray]:
    rows, dimensions = shape
    row_bytes = dimensions * dtype.itemsize
    step = _block_rows(row_bytes)
    for start in range(0, rows, step):
        count = min(step, rows - start)
        content = stream.read(count * row_bytes)
        whole = len(content) // row_bytes
        yield np.frombuffer(content, dtype, whole * dimensions).reshape(whole, dimensions)
        if whole < count:
            raise ReadProblem(
                f"The file breaks off: of {rows:,} rows it has {start + whole:,}.",
                source=source.name,
                hint="Copy or download it again.",
            )
        if advance:
            source.advance((start + count) / rows)


def _slices(
    array: Any, shape: tuple[int, ...], dtype: np.dtype[Any], source: FileSource
) -> Iterator[NumberArray]:
    rows, dimensions = shape
    step = _block_rows(dimensions * dtype.itemsize)
    for start in range(0, rows, step):
        yield np.asarray(array[start : start + step])
        source.advance((start + step) / rows)


def _open_fvecs(source: FileSource, stack: ExitStack) -> VectorTable:
    """Each row is its number of dimensions, as int32, and then so many numbers, all little-endian
    (http://corpus-texmex.irisa.fr)."""
    dtype = np.dtype(_FVECS_TYPES[_extension(source.name)])
    with source.open_plain() as head:
        first = head.read(4)
    if not first:
        raise _empty(source)
    row_bytes = 4 + _fvecs_dimensions(first, 0, source) * dtype.itemsize
    rows, rest = divmod(source.size_bytes or 1, row_bytes)
    blocks = _fvecs_blocks(stack.enter_context(source.open()), dtype, source)
    return VectorTable(ArrayFacts(None if rest else rows, str(dtype)), blocks)


def _fvecs_blocks(
    stream: IO[bytes], dtype: np.dtype[Any], source: FileSource
) -> Iterator[NumberArray]:
    """Runs of rows that have the same number of dimensions. Raises ReadProblem where a row is none,
    since what follows it cannot be found."""
    buffer, row = b"", 0
    while True:
        buffer += stream.read(_BLOCK_BYTES)
        if not buffer:
            return
        dimensions = _fvecs_dimensions(buffer[:4], row, source)
        row_bytes = 4 + dimensions * dtype.itemsize
        count = len(buffer) // row_bytes
        if count == 0:
            raise ReadProblem(f"The file breaks off in row {row + 1:,}.", source=source.name)
        table = np.frombuffer(buffer, "u1", count * row_bytes).reshape(count, row_bytes)
        other = np.flatnonzero(table[:, :4].copy().view("<i4").ravel() != dimensions)
        same = int(other[0]) if other.size else count
        yield table[:same, 4:].copy().view(dtype)
        buffer, row = buffer[same * row_bytes :], row + same


def _fvecs_dimensions(content: bytes, row: int, source: FileSource) -> int:
    dimensions = int.from_bytes(content, "little", signed=True)
    if len(content) < 4 or not 1 <= dimensions <= MAX_DIMENSIONS:
        raise ReadProblem(
            f"Row {row + 1:,} begins with {dimensions:,}, which is no number of dimensions.",
            source=source.name,
            place=f"row {row + 1:,}",
            hint="Is it such a file at all, and whole?",
        )
    return dimensions


def _open_hdf5(source: FileSource, dataset: str | None, stack: ExitStack) -> VectorTable:
    import h5py

    path = stack.enter_context(source.on_disk())
    try:
        file = stack.enter_context(h5py.File(path, "r"))
    except OSError as exc:
        raise _damaged(source, exc) from None
    arrays = _hdf5_arrays(file)
    shapes = {name: (array.shape, array.dtype) for name, array in arrays.items()}
    array = arrays[_choose(shapes, dataset, source)]
    _check_shape(array.shape, array.dtype, source)
    distance = _attribute(file, "distance")
    facts = ArrayFacts(array.shape[0], str(array.dtype), distance, tuple(arrays))
    return VectorTable(facts, _hdf5_blocks(array, source))


def _hdf5_arrays(file: h5py.File) -> dict[str, h5py.Dataset]:
    """The arrays in the file itself: links, and data kept in other files, could point anywhere."""
    import h5py

    return {
        name: file[name]
        for name in islice(file, _MAX_DATASETS)
        if isinstance(file.get(name, getlink=True), h5py.HardLink)
        and file.get(name, getclass=True) is h5py.Dataset
        and not file[name].is_virtual
        and not file[name].external
    }


def _hdf5_blocks(array: h5py.Dataset, source: FileSource) -> Iterator[NumberArray]:
    """Raises ReadProblem where a block cannot be read, or would take too much memory."""
    row_bytes = array.shape[1] * array.dtype.itemsize
    chunk_bytes = int(np.prod(array.chunks or (1,))) * array.dtype.itemsize
    if chunk_bytes > _LARGEST_CHUNK_BYTES:
        raise ReadProblem(
            f"Its chunks of {chunk_bytes >> 20:,} MB are too large to be read.",
            source=source.name,
            hint="Write it with smaller chunks.",
        )
    step = _block_rows(row_bytes)
    for start in range(0, array.shape[0], step):
        try:
            yield array[start : start + step]
        except OSError as exc:
            raise _damaged(source, exc) from None
        source.advance((start + step) / array.shape[0])


def _attribute(file: h5py.File, name: str) -> str:
    value = file.attrs.get(name, "")
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


# --- what they share ----------------------------------------------------------------------------


def _extension(name: str) -> str:
    return PurePosixPath(name).suffix.lower().removeprefix(".")


def _block_rows(row_bytes: int) -> int:
    return max(1, _BLOCK_BYTES // row_bytes)


def _choose(
    arrays: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]],
    chosen: str | None,
    source: FileSource,
) -> str:
    """The name of the array that holds the vectors."""
    if chosen is not None:
        if chosen not in arrays:
            raise ReadProblem(
                f"There is no array “{chosen}” in it.",
                source=source.name,
                hint=f"There is: {', '.join(list(arrays)[:20]) or 'none'}.",
            )
        return chosen
    tables = {name: shape for name, (shape, dtype) in arrays.items() if _is_table(shape, dtype)}
    if not tables:
        raise ReadProblem(
            "There is no table of numbers in it.",
            source=source.name,
            hint="Vectors are an array of two dimensions, a row each, stored row by row.",
        )
    ranks = {name: rank for rank, name in enumerate(_TELLING_NAMES)}
    return min(
        tables, key=lambda name: (ranks.get(name.lower(), len(ranks)), -np.prod(tables[name]))
    )


def _is_table(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    return len(shape) == 2 and dtype.kind in "fiu"


def _check_shape(shape: tuple[int, ...], dtype: np.dtype[Any], source: FileSource) -> None:
    hint = "Vectors are an array of two dimensions, a row each."
    if dtype.kind not in "fiu":
        raise ReadProblem(f"It holds {dtype}, and no numbers.", source=source.name, hint=hint)
    if len(shape) != 2:
        size = " × ".join(f"{length:,}" for length in shape) or "a single number"
        raise ReadProblem(
            f"It is no table of vectors, but an array of {size}.", source=source.name, hint=hint
        )
    if 0 in shape:
        raise _empty(source)
    if shape[1] > MAX_DIMENSIONS:
        raise ReadProblem(
            f"Its rows have {shape[1]:,} numbers, more than a vector can have "
            f"({MAX_DIMENSIONS:,}).",
            source=source.name,
        )


def _empty(source: FileSource) -> ReadProblem:
    return ReadProblem("The file is empty: there are no vectors in it.", source=source.name)


def _damaged(source: FileSource, exc: Exception) -> ReadProblem:
    said = " ".join(str(exc).split())[:200]
    return ReadProblem(
        f"The file is damaged, or no {_extension(source.name)} file ({said}).",
        source=source.name,
        hint="Write, copy or download it again.",
    )
