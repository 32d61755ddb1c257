"""For whom a job runs: the actor that had it started."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "014"
down_revision = "013"
branch_labels = None
depends_on = None

SCHEMA = "vecscope"


def upgrade() -> None:
    op.add_column(
        "jobs",
        sa.Column("started_by", sa.Text(), server_default="local", nullable=False),
        schema=SCHEMA,
    )


def downgrade() -> None:
    op.drop_column("jobs", "started_by", schema=SCHEMA)
