"""Which index methods there are is the code's to say: a new one needs no migration."""

from __future__ import annotations

from alembic import op

revision = "015"
down_revision = "014"
branch_labels = None
depends_on = None

SCHEMA = "vecscope"
TABLES = ("candidates", "measurements")


def upgrade() -> None:
    for table in TABLES:
        op.drop_constraint(op.f(f"ck_{table}_kind"), table, schema=SCHEMA, type_="check")


def downgrade() -> None:
    for table in TABLES:
        op.create_check_constraint(
            op.f(f"ck_{table}_kind"), table, "kind IN ('ivfflat', 'hnsw')", schema=SCHEMA
        )
