"""Candidates whose index is on bits; and how long the copying took."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "009"
down_revision = "008"
branch_labels = None
depends_on = None

SCHEMA = "vecscope"
STORAGE = "ck_candidates_storage"


def upgrade() -> None:
    op.add_column("candidates", sa.Column("copy_seconds", sa.Double()), schema=SCHEMA)
    op.drop_constraint(op.f(STORAGE), "candidates", schema=SCHEMA)
    op.create_check_constraint(
        op.f(STORAGE), "candidates", "storage IN ('vector', 'halfvec', 'bit')", schema=SCHEMA
    )


def downgrade() -> None:
    connection = op.get_bind()
    of_bits = sa.text("DELETE FROM vecscope.candidates WHERE storage = 'bit' RETURNING table_name")
    for name in connection.execute(of_bits).scalars().all():  # a constraint holds their form
        op.execute(f"DROP TABLE IF EXISTS vecscope.{name}")
    op.drop_constraint(op.f(STORAGE), "candidates", schema=SCHEMA)
    op.create_check_constraint(
        op.f(STORAGE), "candidates", "storage IN ('vector', 'halfvec')", schema=SCHEMA
    )
    op.drop_column("candidates", "copy_seconds", schema=SCHEMA)
