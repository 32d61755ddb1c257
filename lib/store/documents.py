"""The table of a managed collection: its shape, and the VectorTable that searches it.

The tables are made at run time, one a collection, so that people can query them by hand
(``vecscope.documents_<slug>``). A change to the shape is a migration that walks all of them.
"""

from __future__ import annotations

from sqlalchemy import (
    Column,
    Computed,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR

from lib.store.records import SCHEMA, TABLE_PREFIX
from lib.vectors.distance import Distance, Storage
from lib.vectors.table import VectorTable

EMBEDDING = "embedding"
# While a collection is embedded again by another model (lib.ingest.reembed).
NEXT_EMBEDDING = "next_embedding"
TITLE_LENGTH = 500
# A tsvector ends at 1 MB of lexemes and positions (PostgreSQL documentation, "Limitations" of
# text search); a text below this stays under it whatever its words are.
MAX_CONTENT_CHARACTERS = 250_000


def documents_table(
    slug: str,
    *,
    dimensions: int,
    storage: Storage,
    text_config: str = "english",
    embedding: str = EMBEDDING,
) -> Table:
    """The table with its constraints and indexes, all but a vector index.

    embedding: the column's name; in ``.c`` it is always ``embedding``, and the reason of those
    that have none ``embedding_error``.
    """
    name = TABLE_PREFIX + slug
    config = f"'{text_config}'::regconfig"
    searchable = (
        f"setweight(to_tsvector({config}, coalesce(title, '')), 'A') || "
        f"setweight(to_tsvector({config}, content), 'B')"
    )
    return Table(
        name,
        MetaData(),
        Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
        Column("external_id", Text, nullable=False),
        Column("part", Integer, nullable=False, server_default=text("0")),
        Column("title", String(TITLE_LENGTH)),
        Column("content", Text, nullable=False),
        Column("category", Text),
        Column("metadata", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
        Column(embedding, storage.column_type(dimensions), key=EMBEDDING),
        Column(f"{embedding}_error", Text, key=f"{EMBEDDING}_error"),
        Column("search_vector", TSVECTOR, Computed(searchable, persisted=True)),
        Column("content_hash", LargeBinary, nullable=False),
        Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        UniqueConstraint("external_id", "part", name=f"{name}_key"),
        # Short, since a name ends at 63 bytes and a table's may have 58.
        Index(f"{name}_text", "search_vector", postgresql_using="gin"),
        Index(f"{name}_cat", "category"),
        # For containment alone, as lib.search.filters asks: half the size of the default.
        Index(
            f"{name}_meta",
            "metadata",
            postgresql_using="gin",
            postgresql_ops={"metadata": "jsonb_path_ops"},
        ),
        schema=SCHEMA,
    )


def companion_tables(slug: str) -> tuple[str, str]:
    """The tables of a collection's BM25 index, where it has one (lib.search.bm25)."""
    return f"lexemes_{slug}", f"postings_{slug}"


def managed_vector_table(
    slug: str,
    *,
    dimensions: int,
    storage: Storage,
    distance: Distance,
    text_config: str,
    embedding: str = EMBEDDING,
) -> VectorTable:
    """How to search the table of :func:`documents_table`."""
    return VectorTable(
        name=TABLE_PREFIX + slug,
        schema=SCHEMA,
        embedding=embedding,
        title="title",
        category="category",
        search_vector="search_vector",
        external_id="external_id",
        part="part",
        metadata="metadata",
        distance=distance,
        storage=storage,
        dimensions=dimensions,
        text_config=text_config,
    )
