"""Saved searches: a question and its settings under a name, to be opened from a link."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "008"
down_revision = "007"
branch_labels = None
depends_on = None

SCHEMA = "vecscope"
UUID = postgresql.UUID(as_uuid=True)
TIME = sa.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "saved_searches",
        sa.Column("id", UUID, server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("collection_id", UUID, nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("request", postgresql.JSONB(), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_saved_searches"),
        sa.UniqueConstraint("collection_id", "slug", name="uq_saved_searches_collection_id_slug"),
        sa.ForeignKeyConstraint(
            ["collection_id"],
            [f"{SCHEMA}.collections.id"],
            name="fk_saved_searches_collection_id_collections",
            ondelete="CASCADE",
        ),
        sa.CheckConstraint("slug ~ '^[a-z0-9_]{1,48}$'", name=op.f("ck_saved_searches_slug")),
        schema=SCHEMA,
    )


def downgrade() -> None:
    op.drop_table("saved_searches", schema=SCHEMA)
