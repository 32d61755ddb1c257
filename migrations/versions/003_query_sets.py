"""Query sets, their queries and judgments."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import VECTOR
from sqlalchemy.dialects import postgresql

revision = "003"
down_revision = "002"
branch_labels = None
depends_on = None

SCHEMA = "vecscope"
NOW = sa.text("now()")
NEW_ID = sa.text("gen_random_uuid()")
UUID = postgresql.UUID(as_uuid=True)
TIME = sa.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "query_sets",
        sa.Column("id", UUID, server_default=NEW_ID, nullable=False),
        sa.Column("collection_id", UUID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", TIME, server_default=NOW, nullable=False),
        sa.Column("updated_at", TIME, server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_query_sets"),
        sa.UniqueConstraint("collection_id", "name", name="uq_query_sets_collection_id_name"),
        sa.ForeignKeyConstraint(
            ["collection_id"],
            [f"{SCHEMA}.collections.id"],
            name="fk_query_sets_collection_id_collections",
            ondelete="CASCADE",
        ),
        sa.CheckConstraint("kind IN ('text', 'vector')", name=op.f("ck_query_sets_kind")),
        schema=SCHEMA,
    )
    op.create_table(
        "queries",
        sa.Column("id", UUID, server_default=NEW_ID, nullable=False),
        sa.Column("query_set_id", UUID, nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("embedding", VECTOR(), nullable=True),
        sa.Column("truth", postgresql.JSONB(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_queries"),
        sa.UniqueConstraint(
            "query_set_id", "external_id", name="uq_queries_query_set_id_external_id"
        ),
        sa.ForeignKeyConstraint(
            ["query_set_id"],
            [f"{SCHEMA}.query_sets.id"],
            name="fk_queries_query_set_id_query_sets",
            ondelete="CASCADE",
        ),
        sa.CheckConstraint(
            "text IS NOT NULL OR embedding IS NOT NULL", name=op.f("ck_queries_text_or_embedding")
        ),
        schema=SCHEMA,
    )
    op.create_table(
        "judgments",
        sa.Column("query_id", UUID, nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("grade", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("query_id", "document", name="pk_judgments"),
        sa.ForeignKeyConstraint(
            ["query_id"],
            [f"{SCHEMA}.queries.id"],
            name="fk_judgments_query_id_queries",
            ondelete="CASCADE",
        ),
        schema=SCHEMA,
    )


def downgrade() -> None:
    op.drop_table("judgments", schema=SCHEMA)
    op.drop_table("queries", schema=SCHEMA)
    op.drop_table("query_sets", schema=SCHEMA)
