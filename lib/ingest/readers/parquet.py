"""The reader for Parquet: each row a document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lib.errors import ReadProblem
from lib.ingest.columns import MAX_COLUMNS, unique_names
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingDocument, IncomingProblem
from lib.ingest.read_options import ReadOptions
from lib.ingest.readers.tables import Row, documents_of, plain

if TYPE_CHECKING:
    import pyarrow.parquet

_BATCH_BYTES = 16 * 1024 * 1024
_MAX_BATCH_ROWS = 4096


def read_parquet(
    source: FileSource, options: ReadOptions
) -> Iterator[IncomingDocument | IncomingProblem]:
    """Each row is a document, its columns mapped by ``options.columns`` or a guess.

    Columns that are not mapped become metadata, nested ones as they are; moments become text in
    ISO form; bytes that are no text are left out. Rows without an id get "<source>#<row number>".
    """
    import pyarrow
    import pyarrow.parquet

    with source.on_disk() as path:
        try:
            file = pyarrow.parquet.ParquetFile(path)
        except (pyarrow.ArrowException, OSError) as exc:
            raise ReadProblem(
                f"The file is damaged, or no Parquet ({_first_line(exc)}).",
                source=source.name,
                hint="Write it anew.",
            ) from None
        with file:
            header = unique_names(file.schema_arrow.names)
            if len(header) > MAX_COLUMNS:
                raise ReadProblem(
                    f"The table has {len(header):,} columns.",
                    source=source.name,
                    hint=f"A table may have up to {MAX_COLUMNS:,}.",
                )
            if file.metadata.num_rows == 0:
                raise ReadProblem("The table has no rows.", source=source.name)
            yield from documents_of(_rows(file, header, source), source, options, header)


def _rows(
    file: pyarrow.parquet.ParquetFile, header: list[str], source: FileSource
) -> Iterator[Row]:
    import pyarrow

    total = file.metadata.num_rows
    groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
    row_bytes = max(1, sum(group.total_byte_size for group in groups) // total)
    number = 0
    batch_rows = max(1, min(_MAX_BATCH_ROWS, _BATCH_BYTES // row_bytes))
    batches = file.iter_batches(batch_size=batch_rows)
    while True:
        try:
            batch = next(batches, None)
            columns = [column.to_pylist() for column in batch.columns] if batch is not None else []
        except (pyarrow.ArrowException, OSError, ValueError) as exc:
            raise ReadProblem(
                f"From row {number + 1:,} on the file is damaged ({_first_line(exc)}).",
                source=source.name,
            ) from None
        if batch is None:
            return
        for values in zip(*columns, strict=True):
            number += 1
            row = {name: plain(value) for name, value in zip(header, values, strict=True)}
            yield Row(row, f"{source.name}#{number}", f"row {number:,}")
        source.advance(number / total)


def _first_line(exc: Exception) -> str:
    return (str(exc).splitlines() or [type(exc).__name__])[0][:200]
