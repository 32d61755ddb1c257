"""Experiments of the lab, and their measurements."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "011"
down_revision = "010"
branch_labels = None
depends_on = None

SCHEMA = "vecscope"
UUID = postgresql.UUID(as_uuid=True)
JSONB = postgresql.JSONB()
TIME = sa.TIMESTAMP(timezone=True)
NOW = sa.text("now()")
NO_FIELDS, NO_ITEMS = sa.text("'{}'::jsonb"), sa.text("'[]'::jsonb")


def upgrade() -> None:
    op.create_table(
        "experiments",
        sa.Column("id", UUID, server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("collection_id", UUID, nullable=False),
        sa.Column("job_id", UUID),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("spec", JSONB, nullable=False),
        sa.Column("vectors", sa.LargeBinary()),
        sa.Column("queries", JSONB),
        sa.Column("environment", JSONB, server_default=NO_FIELDS, nullable=False),
        sa.Column("facts", JSONB, server_default=NO_FIELDS, nullable=False),
        sa.Column("outcomes", JSONB, server_default=NO_ITEMS, nullable=False),
        sa.Column("changed", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", TIME, server_default=NOW, nullable=False),
        sa.Column("finished_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_experiments"),
        sa.UniqueConstraint("collection_id", "name", name="uq_experiments_collection_id_name"),
        sa.ForeignKeyConstraint(
            ["collection_id"],
            [f"{SCHEMA}.collections.id"],
            name="fk_experiments_collection_id_collections",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["job_id"],
            [f"{SCHEMA}.jobs.id"],
            name="fk_experiments_job_id_jobs",
            ondelete="SET NULL",
        ),
        schema=SCHEMA,
    )
    op.create_index("ix_experiments_job_id", "experiments", ["job_id"], schema=SCHEMA)
    op.create_table(
        "measurements",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("experiment_id", UUID, nullable=False),
        sa.Column("candidate", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text()),
        sa.Column("value", sa.Integer(), nullable=False),
        sa.Column("iterative_scan", sa.Text(), nullable=False),
        sa.Column("k", sa.Integer(), nullable=False),
        sa.Column("queries", sa.Integer(), nullable=False),
        sa.Column("rounds", sa.Integer(), nullable=False),
        sa.Column("recall", sa.Double(), nullable=False),
        sa.Column("recall_low", sa.Double(), nullable=False),
        sa.Column("recall_high", sa.Double(), nullable=False),
        sa.Column("id_recall", sa.Double(), nullable=False),
        sa.Column("worst_decile_recall", sa.Double(), nullable=False),
        sa.Column("zero", sa.Integer(), nullable=False),
        sa.Column("p50_ms", sa.Double(), nullable=False),
        sa.Column("p95_ms", sa.Double(), nullable=False),
        sa.Column("p99_ms", sa.Double(), nullable=False),
        sa.Column("server_ms", sa.Double()),
        sa.Column("qps", JSONB, nullable=False),
        sa.Column("short", sa.Integer(), nullable=False),
        sa.Column("buffers", sa.BigInteger()),
        sa.Column("certified", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("plan_index", sa.Text()),
        sa.Column("recalls", sa.LargeBinary(), nullable=False),
        sa.Column("latencies_ms", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", TIME, server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_measurements"),
        sa.UniqueConstraint(
            "experiment_id",
            "candidate",
            "value",
            "iterative_scan",
            name="uq_measurements_experiment_id_candidate_value_iterative_scan",
        ),
        sa.ForeignKeyConstraint(
            ["experiment_id"],
            [f"{SCHEMA}.experiments.id"],
            name="fk_measurements_experiment_id_experiments",
            ondelete="CASCADE",
        ),
        sa.CheckConstraint("kind IN ('ivfflat', 'hnsw')", name=op.f("ck_measurements_kind")),
        sa.CheckConstraint("(kind IS NULL) = (value = 0)", name=op.f("ck_measurements_value")),
        schema=SCHEMA,
    )


def downgrade() -> None:
    op.drop_table("measurements", schema=SCHEMA)
    op.drop_table("experiments", schema=SCHEMA)
