"""An index on the metadata of every managed collection, for filters that leave few documents.

A vector index finds first and filters then. Where a filter is selective, the documents that pass it
have to be found by another index, and compared one by one.
"""

from __future__ import annotations

from alembic import op

revision = "006"
down_revision = "005"
branch_labels = None
depends_on = None

# The tables are made by the application; one may lack its own while it is being dropped.
WALK = """
    DO $$
    DECLARE
        documents text;
    BEGIN
        FOR documents IN
            SELECT c.relname
            FROM vecscope.collections AS s
            JOIN pg_class AS c ON c.relname = 'documents_' || s.slug
            JOIN pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = 'vecscope'
            JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'metadata'
            WHERE s.kind = 'managed'
        LOOP
            EXECUTE format({statement});
        END LOOP;
    END
    $$
"""


def upgrade() -> None:
    create = "CREATE INDEX IF NOT EXISTS %I ON vecscope.%I USING gin (metadata jsonb_path_ops)"
    op.execute(WALK.format(statement=f"'{create}', documents || '_meta', documents"))


def downgrade() -> None:
    op.execute(WALK.format(statement="'DROP INDEX IF EXISTS vecscope.%I', documents || '_meta'"))
