"""Collections and jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "002"
down_revision = "001"
branch_labels = None
depends_on = None

SCHEMA = "vecscope"
NOW = sa.text("now()")
NEW_ID = sa.text("gen_random_uuid()")
EMPTY = sa.text("'{}'::jsonb")
UUID = postgresql.UUID(as_uuid=True)
JSONB = postgresql.JSONB()
TIME = sa.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "collections",
        sa.Column("id", UUID, server_default=NEW_ID, nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("dimensions", sa.Integer(), nullable=False),
        sa.Column("distance", sa.Text(), nullable=False),
        sa.Column("storage", sa.Text(), nullable=False),
        sa.Column("text_config", sa.Text(), server_default="english", nullable=False),
        sa.Column("columns", JSONB, server_default=EMPTY, nullable=False),
        sa.Column("change_mark", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_at", TIME, server_default=NOW, nullable=False),
        sa.Column("updated_at", TIME, server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_collections"),
        sa.UniqueConstraint("slug", name="uq_collections_slug"),
        sa.UniqueConstraint("name", name="uq_collections_name"),
        sa.CheckConstraint("slug ~ '^[a-z0-9_]{1,48}$'", name=op.f("ck_collections_slug")),
        sa.CheckConstraint("kind IN ('managed', 'attached')", name=op.f("ck_collections_kind")),
        sa.CheckConstraint(
            "distance IN ('cosine', 'l2', 'inner_product')", name=op.f("ck_collections_distance")
        ),
        sa.CheckConstraint("storage IN ('vector', 'halfvec')", name=op.f("ck_collections_storage")),
        sa.CheckConstraint("dimensions > 0", name=op.f("ck_collections_dimensions")),
        schema=SCHEMA,
    )
    op.create_table(
        "jobs",
        sa.Column("id", UUID, server_default=NEW_ID, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("collection_id", UUID, nullable=True),
        sa.Column("exclusive_key", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), server_default="queued", nullable=False),
        sa.Column("done", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=True),
        sa.Column("message", sa.Text(), server_default="", nullable=False),
        sa.Column("parameters", JSONB, server_default=EMPTY, nullable=False),
        sa.Column("result", JSONB, nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("hint", sa.Text(), nullable=True),
        sa.Column("error_id", sa.Text(), nullable=True),
        sa.Column("runner", sa.Integer(), nullable=True),
        sa.Column("cancel_requested", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("created_at", TIME, server_default=NOW, nullable=False),
        sa.Column("started_at", TIME, nullable=True),
        sa.Column("finished_at", TIME, nullable=True),
        sa.Column("updated_at", TIME, server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.ForeignKeyConstraint(
            ["collection_id"],
            [f"{SCHEMA}.collections.id"],
            name="fk_jobs_collection_id_collections",
            ondelete="SET NULL",
        ),
        sa.CheckConstraint(
            "status IN ('queued', 'running', 'done', 'failed', 'cancelled', 'interrupted')",
            name=op.f("ck_jobs_status"),
        ),
        sa.CheckConstraint("kind ~ '^[a-z_]+$'", name=op.f("ck_jobs_kind")),
        sa.CheckConstraint(
            "done >= 0 AND (total IS NULL OR total >= 0)", name=op.f("ck_jobs_progress")
        ),
        schema=SCHEMA,
    )
    op.create_index(
        "uq_jobs_exclusive_key_active",
        "jobs",
        ["exclusive_key"],
        unique=True,
        schema=SCHEMA,
        postgresql_where=sa.text("status IN ('queued', 'running')"),
    )
    op.create_index("ix_jobs_created_at", "jobs", ["created_at"], schema=SCHEMA)
    op.create_index("ix_jobs_collection_id", "jobs", ["collection_id"], schema=SCHEMA)


def downgrade() -> None:
    # The tables of managed collections are made by the application, not by a migration. One that
    # only looks like ours has no row in collections, and stays.
    op.execute("""
        DO $$
        DECLARE
            documents text;
        BEGIN
            FOR documents IN
                SELECT 'documents_' || slug FROM vecscope.collections WHERE kind = 'managed'
            LOOP
                EXECUTE format('DROP TABLE IF EXISTS vecscope.%I', documents);
            END LOOP;
        END
        $$
    """)
    op.drop_table("jobs", schema=SCHEMA)
    op.drop_table("collections", schema=SCHEMA)
