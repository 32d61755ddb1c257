"""Which table to search, and which of its columns hold what."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

from sqlalchemy import Column, ColumnElement, FromClause, Integer, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR
from sqlalchemy.types import NullType, TypeEngine

from lib.errors import InvalidInput
from lib.vectors.distance import Distance, ElementType, IndexedAs, Storage

# It is written into statements as a constant, so that the planner can use an expression index.
_CONFIG_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?")


@dataclass(frozen=True)
class VectorTable:
    """A table with one vector column, by the names of its columns.

    id: any column that identifies a row, of any type. Columns that the table does not have are
    None; one without content is a copy of vectors, which cannot be searched by words.
    ``text_config`` is the full-text configuration (``english``, ``simple``, …) that
    ``search_vector`` was made with; without a ``search_vector`` the text is parsed at each query.
    """

    name: str
    schema: str | None = None
    id: str = "id"
    content: str | None = "content"
    embedding: str = "embedding"
    title: str | None = None
    category: str | None = None
    search_vector: str | None = None
    external_id: str | None = None
    part: str | None = None
    metadata: str | None = None
    distance: Distance = Distance.COSINE
    storage: Storage = Storage.VECTOR
    dimensions: int | None = None
    text_config: str = "english"
    indexed_as: IndexedAs = IndexedAs.COLUMN
    """As what its index holds the vectors. BINARY: one bit a dimension, the sign
    (``binary_quantize``); a search takes more rows than it wants by those and ranks them again by
    the full vector. HALFVEC: the vectors cast to halfvec, by which a search takes as many as it
    wants, and ranks these again likewise."""

    def __post_init__(self) -> None:
        if "" in (self.name, self.id, self.content, self.embedding):
            raise InvalidInput("A vector table needs a name, an id, a content and an embedding.")
        if self.dimensions is not None and not 1 <= self.dimensions <= self.storage.max_dimensions:
            raise InvalidInput(
                f"{self.dimensions} dimensions are outside 1–{self.storage.max_dimensions}.",
                field="dimensions",
            )
        if not _CONFIG_NAME.fullmatch(self.text_config):
            raise InvalidInput(
                f"“{self.text_config}” is no name of a full-text configuration.",
                hint="Take one that PostgreSQL has, such as english or simple.",
                field="text_config",
            )

    @cached_property
    def table(self) -> Table:
        """The SQLAlchemy table that statements are built on; names are quoted by SQLAlchemy.

        VectorTables that are equal, whatever their indexes hold, share it, so that a condition made
        with one fits a statement made with the other.
        """
        return _table_of(self.by_column)

    @cached_property
    def rows(self) -> FromClause:
        """The table under the short name that statements read it by; shared as the table is."""
        return _rows_of(self.by_column)

    @cached_property
    def by_column(self) -> VectorTable:
        """The same table, searched by the column itself."""
        return replace(self, indexed_as=IndexedAs.COLUMN)

    @property
    def is_indexed_by_expression(self) -> bool:
        """Whether its index is on an expression of the column, not on the column itself."""
        return self.indexed_as is not IndexedAs.COLUMN

    def column(self, name: str) -> ColumnElement[Any]:
        return self.rows.c[name]

    @property
    def embedding_type(self) -> TypeEngine[Any]:
        return self.storage.column_type(self.dimensions)

    @property
    def element_type(self) -> ElementType:
        """What its index stores."""
        return self.indexed_as.element_type(self.storage)

    @property
    def max_index_dimensions(self) -> int:
        """The most dimensions that an index on the embedding takes."""
        return self.element_type.max_index_dimensions

    @property
    def indexed_storage(self) -> Storage:
        """As what a query vector has to be representable, to be compared by the index."""
        return Storage.HALFVEC if self.indexed_as is IndexedAs.HALFVEC else self.storage

    @property
    def document_columns(self) -> Mapping[str, str]:
        """Attribute of :class:`~lib.vectors.search.Document` → column, for those there are."""
        wanted = {
            "id": self.id,
            "content": self.content,
            "title": self.title,
            "category": self.category,
            "external_id": self.external_id,
            "part": self.part,
            "metadata": self.metadata,
        }
        return {attribute: name for attribute, name in wanted.items() if name is not None}

    @property
    def qualified_name(self) -> str:
        return f"{self.schema}.{self.name}" if self.schema else self.name


@lru_cache(maxsize=256)
def _table_of(table: VectorTable) -> Table:
    columns: dict[str, Column[Any]] = {
        table.id: Column(table.id, NullType(), primary_key=True),
    }
    for name, kind in (
        (table.content, Text()),
        (table.embedding, table.embedding_type),
        (table.title, Text()),
        (table.category, Text()),
        (table.search_vector, TSVECTOR()),
        (table.external_id, Text()),
        (table.part, Integer()),
        (table.metadata, JSONB()),
    ):
        if name is not None and name not in columns:
            columns[name] = Column(name, kind)
    return Table(table.name, MetaData(), *columns.values(), schema=table.schema)


@lru_cache(maxsize=256)
def _rows_of(table: VectorTable) -> FromClause:
    return table.table.alias("d")
