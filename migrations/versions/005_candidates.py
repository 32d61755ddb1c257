"""Candidates: copies of a collection's vectors, each with one approximate index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "005"
down_revision = "004"
branch_labels = None
depends_on = None

SCHEMA = "vecscope"


def upgrade() -> None:
    uuid = postgresql.UUID(as_uuid=True)
    op.create_table(
        "candidates",
        sa.Column("id", uuid, server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("collection_id", uuid, nullable=False),
        sa.Column("job_id", uuid),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("options", postgresql.JSONB(), nullable=False),
        sa.Column("storage", sa.Text(), nullable=False),
        sa.Column("distance", sa.Text(), nullable=False),
        sa.Column("table_name", sa.Text(), nullable=False),
        sa.Column("index_name", sa.Text()),
        sa.Column("state", sa.Text(), server_default="building", nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("rows", sa.BigInteger()),
        sa.Column("change_mark", sa.BigInteger()),
        sa.Column("build_seconds", sa.Double()),
        sa.Column("index_bytes", sa.BigInteger()),
        sa.Column("table_bytes", sa.BigInteger()),
        sa.Column("maintenance_work_mem", sa.Text()),
        sa.Column("parallel_workers", sa.Integer()),
        sa.Column(
            "notices", postgresql.JSONB(), server_default=sa.text("'[]'::jsonb"), nullable=False
        ),
        sa.Column(
            "created_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name="pk_candidates"),
        sa.UniqueConstraint("collection_id", "name", name="uq_candidates_collection_id_name"),
        sa.UniqueConstraint("table_name", name="uq_candidates_table_name"),
        sa.ForeignKeyConstraint(
            ["collection_id"],
            [f"{SCHEMA}.collections.id"],
            name="fk_candidates_collection_id_collections",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["job_id"],
            [f"{SCHEMA}.jobs.id"],
            name="fk_candidates_job_id_jobs",
            ondelete="SET NULL",
        ),
        sa.CheckConstraint("kind IN ('ivfflat', 'hnsw')", name="kind"),
        sa.CheckConstraint("storage IN ('vector', 'halfvec')", name="storage"),
        sa.CheckConstraint("distance IN ('cosine', 'l2', 'inner_product')", name="distance"),
        sa.CheckConstraint("table_name ~ '^candidate_[0-9a-f]{8}$'", name="table_name"),
        sa.CheckConstraint("state IN ('building', 'ready', 'failed', 'interrupted')", name="state"),
        sa.CheckConstraint(
            "state <> 'ready' OR (index_name IS NOT NULL AND rows IS NOT NULL "
            "AND change_mark IS NOT NULL)",
            name="ready",
        ),
        schema=SCHEMA,
    )


def downgrade() -> None:
    connection = op.get_bind()
    names = connection.execute(sa.text("SELECT table_name FROM vecscope.candidates")).scalars()
    for name in names.all():  # a check constraint holds what they look like
        op.execute(f"DROP TABLE IF EXISTS vecscope.{name}")
    op.drop_table("candidates", schema=SCHEMA)
