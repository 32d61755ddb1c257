"""ORM classes of our own tables, all in the schema ``vecscope``."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from pgvector.sqlalchemy import VECTOR
from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    MetaData,
    UniqueConstraint,
    exists,
    func,
    literal_column,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP, UUID
from sqlalchemy.orm import DeclarativeBase, Mapped, column_property, mapped_column
from sqlalchemy.types import BigInteger, Double, LargeBinary, Text

from lib.vectors.catalog import access_methods_parameter

SCHEMA = "vecscope"
TABLE_PREFIX = "documents_"
"""A managed collection's table is called that and its slug."""


class Record(DeclarativeBase):
    """The base of our tables. Text has no length: a limit is checked where the value comes in."""

    metadata = MetaData(
        schema=SCHEMA,
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        },
    )
    type_annotation_map = {  # noqa: RUF012 — SQLAlchemy's own form
        str: Text,
        uuid.UUID: UUID(as_uuid=True),
        datetime: TIMESTAMP(timezone=True),
        dict[str, Any]: JSONB,
    }


class CollectionRecord(Record):
    """A named set of documents in one table with one vector column."""

    __tablename__ = "collections"
    __table_args__ = (
        CheckConstraint("slug ~ '^[a-z0-9_]{1,48}$'", name="slug"),
        CheckConstraint("kind IN ('managed', 'attached')", name="kind"),
        CheckConstraint("distance IN ('cosine', 'l2', 'inner_product')", name="distance"),
        CheckConstraint("storage IN ('vector', 'halfvec')", name="storage"),
        CheckConstraint("dimensions > 0", name="dimensions"),
    )

    id: Mapped[uuid.UUID] = mapped_column(
        primary_key=True, server_default=text("gen_random_uuid()")
    )
    slug: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]
    description: Mapped[str] = mapped_column(server_default="")
    model: Mapped[str]
    dimensions: Mapped[int]
    distance: Mapped[str]
    storage: Mapped[str]
    text_config: Mapped[str] = mapped_column(server_default="english")
    columns: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    """An attached collection's schema, table and column names; empty for a managed one."""
    revision: Mapped[int] = mapped_column(
        "change_mark", BigInteger, key="revision", server_default="0"
    )
    """Raised by every write to its documents, so that copies can tell that they are stale."""
    reembedding: Mapped[dict[str, Any] | None]
    """The model that it is being embedded by again, and what its vectors are like."""
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    updated_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    indexed_by_expression: Mapped[bool] = column_property(
        exists()
        .where(
            literal_column("x.indrelid") == func.to_regclass(f"{SCHEMA}.{TABLE_PREFIX}" + slug),
            text("x.indexprs IS NOT NULL AND am.amname = ANY(:methods)").bindparams(
                access_methods_parameter()
            ),
        )
        .select_from(
            text(
                "pg_index AS x JOIN pg_class AS i ON i.oid = x.indexrelid "
                "JOIN pg_am AS am ON am.oid = i.relam"
            )
        )
    )
    """Whether a vector index of a managed one is on an expression: no column, the catalogue's."""


class JobRecord(Record):
    """Long work with progress, cancel and a record."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(
            "status IN ('queued', 'running', 'done', 'failed', 'cancelled', 'interrupted')",
            name="status",
        ),
        CheckConstraint("kind ~ '^[a-z_]+$'", name="kind"),
        CheckConstraint("done >= 0 AND (total IS NULL OR total >= 0)", name="progress"),
        Index(
            "uq_jobs_exclusive_key_active",
            "exclusive_key",
            unique=True,
            postgresql_where=text("status IN ('queued', 'running')"),
        ),
        Index("ix_jobs_created_at", "created_at"),
        Index("ix_jobs_collection_id", "collection_id"),
    )

    id: Mapped[uuid.UUID] = mapped_column(
        primary_key=True, server_default=text("gen_random_uuid()")
    )
    kind: Mapped[str]
    title: Mapped[str]
    collection_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey(CollectionRecord.id, ondelete="SET NULL")
    )
    exclusive_key: Mapped[str | None]
    """At most one active job has it: what must not run twice at once."""
    status: Mapped[str] = mapped_column(server_default="queued")
    done: Mapped[int] = mapped_column(BigInteger, server_default="0")
    total: Mapped[int | None] = mapped_column(BigInteger)
    message: Mapped[str] = mapped_column(server_default="")
    parameters: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    result: Mapped[dict[str, Any] | None]
    error: Mapped[str | None]
    hint: Mapped[str | None]
    started_by: Mapped[str] = mapped_column(server_default="local")
    """The actor that it runs for."""
    error_id: Mapped[str | None]
    """Where the cause is not known: the id under which the log has the traceback."""
    runner: Mapped[int | None]
    """The process that runs it, by the number of the advisory lock it holds (jobs.py)."""
    cancel_requested: Mapped[bool] = mapped_column(server_default=text("false"))
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    updated_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class QuerySetRecord(Record):
    """Queries of one collection, as text or as vectors, with what is known of their answers."""

    __tablename__ = "query_sets"
    __table_args__ = (
        UniqueConstraint("collection_id", "name"),
        CheckConstraint("kind IN ('text', 'vector')", name="kind"),
    )

    id: Mapped[uuid.UUID] = mapped_column(
        primary_key=True, server_default=text("gen_random_uuid()")
    )
    collection_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey(CollectionRecord.id, ondelete="CASCADE")
    )
    name: Mapped[str]
    kind: Mapped[str]
    description: Mapped[str] = mapped_column(server_default="")
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    updated_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class QueryRecord(Record):
    """One query of a set."""

    __tablename__ = "queries"
    __table_args__ = (
        UniqueConstraint("query_set_id", "external_id"),
        CheckConstraint("text IS NOT NULL OR embedding IS NOT NULL", name="text_or_embedding"),
    )

    id: Mapped[uuid.UUID] = mapped_column(
        primary_key=True, server_default=text("gen_random_uuid()")
    )
    query_set_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey(QuerySetRecord.id, ondelete="CASCADE")
    )
    external_id: Mapped[str]
    position: Mapped[int]
    """Its place in the file it came from."""
    text: Mapped[str | None]
    embedding: Mapped[Any | None] = mapped_column(VECTOR())
    """Without a fixed number of dimensions: each collection has its own."""
    truth: Mapped[list[str] | None] = mapped_column(JSONB(none_as_null=True))
    """The external ids of its exact nearest neighbours, nearest first, where they came along."""


class JudgmentRecord(Record):
    """A grade given to a (query, document). The document is named by its external id, so that
    judgments may come before the documents, and outlive loading them again."""

    __tablename__ = "judgments"

    query_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey(QueryRecord.id, ondelete="CASCADE"), primary_key=True
    )
    document: Mapped[str] = mapped_column(primary_key=True)
    grade: Mapped[int]


class LexicalIndexRecord(Record):
    """The totals of a collection's BM25 index; its words are in tables of their own (bm25.py)."""

    __tablename__ = "lexical_indexes"

    collection_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey(CollectionRecord.id, ondelete="CASCADE"), primary_key=True
    )
    documents: Mapped[int] = mapped_column(BigInteger)
    total_length: Mapped[int] = mapped_column(BigInteger)
    built_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class CandidateRecord(Record):
    """A copy of a collection's vectors with one approximate index, in a table of its own.

    What is learnt in the building is NULL until then.
    """

    __tablename__ = "candidates"
    __table_args__ = (
        UniqueConstraint("collection_id", "name"),
        CheckConstraint("storage IN ('vector', 'halfvec', 'bit')", name="storage"),
        CheckConstraint("distance IN ('cosine', 'l2', 'inner_product')", name="distance"),
        CheckConstraint("table_name ~ '^candidate_[0-9a-f]{8}$'", name="table_name"),
        CheckConstraint("state IN ('building', 'ready', 'failed', 'interrupted')", name="state"),
        CheckConstraint(
            "state <> 'ready' OR (index_name IS NOT NULL AND rows IS NOT NULL "
            "AND change_mark IS NOT NULL)",
            name="ready",
        ),
    )

    id: Mapped[uuid.UUID] = mapped_column(
        primary_key=True, server_default=text("gen_random_uuid()")
    )
    collection_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey(CollectionRecord.id, ondelete="CASCADE")
    )
    job_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(JobRecord.id, ondelete="SET NULL"))
    """The job that builds it, or did."""
    name: Mapped[str]
    kind: Mapped[str]
    options: Mapped[dict[str, Any]]
    storage: Mapped[str]
    distance: Mapped[str]
    table_name: Mapped[str] = mapped_column(unique=True)
    index_name: Mapped[str | None]
    state: Mapped[str] = mapped_column(server_default="building")
    error: Mapped[str | None]
    rows: Mapped[int | None] = mapped_column(BigInteger)
    revision: Mapped[int | None] = mapped_column("change_mark", BigInteger, key="revision")
    """The collection's when it was copied."""
    copy_seconds: Mapped[float | None] = mapped_column(Double)
    build_seconds: Mapped[float | None] = mapped_column(Double)
    """Of the index alone, without the copying."""
    index_bytes: Mapped[int | None] = mapped_column(BigInteger)
    table_bytes: Mapped[int | None] = mapped_column(BigInteger)
    maintenance_work_mem: Mapped[str | None]
    parallel_workers: Mapped[int | None]
    """max_parallel_maintenance_workers of the build."""
    notices: Mapped[list[str]] = mapped_column(JSONB, server_default=text("'[]'::jsonb"))
    """What the server said while it built, such as that an HNSW graph outgrew its memory."""
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class SavedSearchRecord(Record):
    """A question and its settings under a name (lib.search.saved)."""

    __tablename__ = "saved_searches"
    __table_args__ = (
        UniqueConstraint("collection_id", "slug"),
        CheckConstraint("slug ~ '^[a-z0-9_]{1,48}$'", name="slug"),
    )

    id: Mapped[uuid.UUID] = mapped_column(
        primary_key=True, server_default=text("gen_random_uuid()")
    )
    collection_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey(CollectionRecord.id, ondelete="CASCADE")
    )
    slug: Mapped[str]
    """What a link names it by."""
    name: Mapped[str]
    request: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class TruthRecord(Record):
    """The exact neighbours of a batch of queries (lib.lab.truth), as arrays written row by row."""

    __tablename__ = "truths"
    __table_args__ = (
        Index("ix_truths_collection_id", "collection_id"),
        CheckConstraint("id_kind IN ('uuid', 'int', 'text')", name="id_kind"),
    )

    fingerprint: Mapped[str] = mapped_column(primary_key=True)
    """SHA-256 of all that they depend on but k."""
    collection_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey(CollectionRecord.id, ondelete="CASCADE")
    )
    revision: Mapped[int] = mapped_column("change_mark", BigInteger, key="revision")
    """The collection's when its vectors were read."""
    k: Mapped[int]
    queries: Mapped[int]
    id_kind: Mapped[str]
    ids: Mapped[bytes]
    """Only those that there are: where a distance is infinite there is none."""
    distances: Mapped[bytes]
    tied: Mapped[bytes]
    rows: Mapped[int] = mapped_column(BigInteger)
    total: Mapped[int] = mapped_column(BigInteger)
    seconds: Mapped[float] = mapped_column(Double)
    used_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class ExperimentRecord(Record):
    """A run of the lab: what it was to find out, on what, and what came of it (lib.lab.repository).

    How it is going is its job's to say, until ``finished_at`` says that it is done.
    """

    __tablename__ = "experiments"
    __table_args__ = (
        UniqueConstraint("collection_id", "name"),
        Index("ix_experiments_job_id", "job_id"),
    )

    id: Mapped[uuid.UUID] = mapped_column(
        primary_key=True, server_default=text("gen_random_uuid()")
    )
    collection_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey(CollectionRecord.id, ondelete="CASCADE")
    )
    job_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(JobRecord.id, ondelete="SET NULL"))
    """The job that runs it, or did last."""
    name: Mapped[str]
    spec: Mapped[dict[str, Any]]
    vectors: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)
    """The queries': float32 (q, d), the least byte first."""
    queries: Mapped[dict[str, Any] | None] = mapped_column(deferred=True)
    """What is known of them besides: {"labels", "own_ids", "source", "notes"}."""
    environment: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    facts: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    """What was measured on: {"data": …, "candidates": […]}."""
    outcomes: Mapped[list[dict[str, Any]]] = mapped_column(
        JSONB, server_default=text("'[]'::jsonb")
    )
    """What the search for the target found, by candidate."""
    changed: Mapped[str] = mapped_column(server_default="")
    """That the collection was written to while it ran, in a sentence."""
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    finished_at: Mapped[datetime | None]


class MeasurementRecord(Record):
    """One (candidate, setting) of an experiment and its figures; those of the exact scan have
    no kind."""

    __tablename__ = "measurements"
    __table_args__ = (
        UniqueConstraint("experiment_id", "candidate", "value", "iterative_scan"),
        CheckConstraint("(kind IS NULL) = (value = 0)", name="value"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    """In the order they were made."""
    experiment_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey(ExperimentRecord.id, ondelete="CASCADE")
    )
    candidate: Mapped[str]
    """Its name then; candidates are dropped, measurements stay."""
    kind: Mapped[str | None]
    value: Mapped[int]
    """probes or ef_search; 0 for the exact scan."""
    iterative_scan: Mapped[str]
    k: Mapped[int]
    queries: Mapped[int]
    rounds: Mapped[int]
    recall: Mapped[float] = mapped_column(Double)
    recall_low: Mapped[float] = mapped_column(Double)
    recall_high: Mapped[float] = mapped_column(Double)
    id_recall: Mapped[float] = mapped_column(Double)
    worst_decile_recall: Mapped[float] = mapped_column(Double)
    zero: Mapped[int]
    p50_ms: Mapped[float] = mapped_column(Double)
    p95_ms: Mapped[float] = mapped_column(Double)
    p99_ms: Mapped[float] = mapped_column(Double)
    server_ms: Mapped[float | None] = mapped_column(Double)
    qps: Mapped[dict[str, Any]]
    """Queries a second, by the number of clients."""
    short: Mapped[int]
    buffers: Mapped[int | None] = mapped_column(BigInteger)
    certified: Mapped[bool]
    reason: Mapped[str]
    plan_index: Mapped[str | None]
    figures: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    """Figures that have no column of their own, by name (lib.lab.measurement.FIGURES)."""
    recalls: Mapped[bytes] = mapped_column(LargeBinary)
    """float64 (q,), the least byte first, in the order of the queries; latencies_ms too."""
    latencies_ms: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class ProjectionRecord(Record):
    """A collection laid out in 2 or 3 dimensions, whole: there is no row before it is.

    The arrays are little-endian, in the order of ``ids`` (lib.projection.repository).
    """

    __tablename__ = "projections"
    __table_args__ = (
        UniqueConstraint("collection_id", "name"),
        CheckConstraint("distance IN ('cosine', 'l2', 'inner_product')", name="distance"),
        CheckConstraint(
            "points = cardinality(ids) AND placed_points BETWEEN 0 AND points", name="points"
        ),
        CheckConstraint(
            "(neighbour_indices IS NULL) = (neighbour_distances IS NULL)", name="neighbours"
        ),
    )

    id: Mapped[uuid.UUID] = mapped_column(
        primary_key=True, server_default=text("gen_random_uuid()")
    )
    collection_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey(CollectionRecord.id, ondelete="CASCADE")
    )
    name: Mapped[str]
    parameters: Mapped[dict[str, Any]]
    """Method, dimensions, seed and the like."""
    distance: Mapped[str]
    points: Mapped[int]
    placed_points: Mapped[int]
    """Of the points, those that were put in later by their neighbours."""
    documents: Mapped[int] = mapped_column(BigInteger)
    """How many had an embedding when it was built."""
    left_out: Mapped[int]
    """Of those that were chosen, how many have no distance to anything."""
    revision: Mapped[int] = mapped_column("change_mark", BigInteger, key="revision")
    """The collection's when its vectors were read."""
    fidelity: Mapped[dict[str, Any]]
    versions: Mapped[dict[str, Any]]
    """Of the libraries that computed it."""
    build_seconds: Mapped[float] = mapped_column(Double)
    ids: Mapped[list[uuid.UUID]] = mapped_column(ARRAY(UUID(as_uuid=True)))
    coordinates: Mapped[bytes] = mapped_column(LargeBinary)
    """float32 (points, 2 or 3)."""
    placed: Mapped[bytes] = mapped_column(LargeBinary)
    """One bit a point."""
    local_fidelity: Mapped[bytes] = mapped_column(LargeBinary)
    """float32 (points,)."""
    neighbour_indices: Mapped[bytes | None] = mapped_column(LargeBinary)
    """int32 (points, k), places in ``ids``; neighbour_distances float32."""
    neighbour_distances: Mapped[bytes | None] = mapped_column(LargeBinary)
    labels: Mapped[bytes] = mapped_column(LargeBinary)
    """int32 (points,), the cluster of each; -1 for none."""
    clusters: Mapped[dict[str, Any]]
    """{"settings", "names", "words"}."""
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
