"""Figures of a measurement that have no column of their own: a new metric needs no migration."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "013"
down_revision = "012"
branch_labels = None
depends_on = None

SCHEMA = "vecscope"


def upgrade() -> None:
    op.add_column(
        "measurements",
        sa.Column(
            "figures", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        schema=SCHEMA,
    )


def downgrade() -> None:
    op.drop_column("measurements", "figures", schema=SCHEMA)
