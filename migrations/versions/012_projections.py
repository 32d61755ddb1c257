"""Projections: collections laid out in 2 or 3 dimensions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "012"
down_revision = "011"
branch_labels = None
depends_on = None

SCHEMA = "vecscope"
UUID = postgresql.UUID(as_uuid=True)
JSONB = postgresql.JSONB()
ARRAYS = (
    "coordinates",
    "placed",
    "local_fidelity",
    "neighbour_indices",
    "neighbour_distances",
    "labels",
)


def upgrade() -> None:
    op.create_table(
        "projections",
        sa.Column("id", UUID, server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("collection_id", UUID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("parameters", JSONB, nullable=False),
        sa.Column("distance", sa.Text(), nullable=False),
        sa.Column("points", sa.Integer(), nullable=False),
        sa.Column("placed_points", sa.Integer(), nullable=False),
        sa.Column("documents", sa.BigInteger(), nullable=False),
        sa.Column("left_out", sa.Integer(), nullable=False),
        sa.Column("change_mark", sa.BigInteger(), nullable=False),
        sa.Column("fidelity", JSONB, nullable=False),
        sa.Column("versions", JSONB, nullable=False),
        sa.Column("build_seconds", sa.Double(), nullable=False),
        sa.Column("ids", postgresql.ARRAY(UUID), nullable=False),
        sa.Column("coordinates", sa.LargeBinary(), nullable=False),
        sa.Column("placed", sa.LargeBinary(), nullable=False),
        sa.Column("local_fidelity", sa.LargeBinary(), nullable=False),
        sa.Column("neighbour_indices", sa.LargeBinary()),
        sa.Column("neighbour_distances", sa.LargeBinary()),
        sa.Column("labels", sa.LargeBinary(), nullable=False),
        sa.Column("clusters", JSONB, nullable=False),
        sa.Column(
            "created_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name="pk_projections"),
        sa.UniqueConstraint("collection_id", "name", name="uq_projections_collection_id_name"),
        sa.ForeignKeyConstraint(
            ["collection_id"],
            [f"{SCHEMA}.collections.id"],
            name="fk_projections_collection_id_collections",
            ondelete="CASCADE",
        ),
        sa.CheckConstraint("distance IN ('cosine', 'l2', 'inner_product')", name="distance"),
        sa.CheckConstraint(
            "points = cardinality(ids) AND placed_points BETWEEN 0 AND points",
            name="points",
        ),
        sa.CheckConstraint(
            "(neighbour_indices IS NULL) = (neighbour_distances IS NULL)",
            name="neighbours",
        ),
        schema=SCHEMA,
    )
    for name in ARRAYS:  # numbers like these do not get smaller, and trying takes time
        op.execute(f"ALTER TABLE {SCHEMA}.projections ALTER {name} SET STORAGE EXTERNAL")


def downgrade() -> None:
    op.drop_table("projections", schema=SCHEMA)
