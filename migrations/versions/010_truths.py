"""Truths: the exact neighbours of a batch of queries, kept so that they are computed once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "010"
down_revision = "009"
branch_labels = None
depends_on = None

SCHEMA = "vecscope"


def upgrade() -> None:
    op.create_table(
        "truths",
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("collection_id", postgresql.UUID(as_uuid=True), nullable=False),
        sa.Column("change_mark", sa.BigInteger(), nullable=False),
        sa.Column("k", sa.Integer(), nullable=False),
        sa.Column("queries", sa.Integer(), nullable=False),
        sa.Column("id_kind", sa.Text(), nullable=False),
        sa.Column("ids", sa.LargeBinary(), nullable=False),
        sa.Column("distances", sa.LargeBinary(), nullable=False),
        sa.Column("tied", sa.LargeBinary(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column(
            "used_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("fingerprint", name="pk_truths"),
        sa.ForeignKeyConstraint(
            ["collection_id"],
            [f"{SCHEMA}.collections.id"],
            name="fk_truths_collection_id_collections",
            ondelete="CASCADE",
        ),
        sa.CheckConstraint("id_kind IN ('uuid', 'int', 'text')", name=op.f("ck_truths_id_kind")),
        schema=SCHEMA,
    )
    op.create_index("ix_truths_collection_id", "truths", ["collection_id"], schema=SCHEMA)


def downgrade() -> None:
    op.drop_table("truths", schema=SCHEMA)
