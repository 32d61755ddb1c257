"""Enable pgvector."""

from __future__ import annotations

from alembic import op

revision = "001"
down_revision = None
branch_labels = None
depends_on = None

# By this mark the way down knows an extension that was there before us, which stays.
MARK = "vector data type and ivfflat and hnsw access methods (created by Vecscope)"


def upgrade() -> None:
    op.execute(f"""
        DO $$
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'vector') THEN
                CREATE EXTENSION vector;
                COMMENT ON EXTENSION vector IS '{MARK}';
            END IF;
        END
        $$
    """)


def downgrade() -> None:
    # Without CASCADE: a vector column of the user's own keeps the extension, and its data.
    op.execute(f"""
        DO $$
        BEGIN
            IF EXISTS (
                SELECT FROM pg_extension
                WHERE extname = 'vector' AND obj_description(oid, 'pg_extension') = '{MARK}'
            ) THEN
                DROP EXTENSION vector;
            ELSE
                RAISE NOTICE 'extension vector was not created by Vecscope: left as it is';
            END IF;
        EXCEPTION WHEN dependent_objects_still_exist OR insufficient_privilege THEN
            RAISE NOTICE 'extension vector is in use: left as it is';
        END
        $$
    """)
