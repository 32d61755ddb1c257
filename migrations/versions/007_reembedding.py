"""A collection can be embedded again by another model, beside its own vectors."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "007"
down_revision = "006"
branch_labels = None
depends_on = None

SCHEMA = "vecscope"

# On the tables that are being embedded again: a text that changes loses its new vector too,
# whichever process changes it.
FORGET = """
    CREATE FUNCTION vecscope.forget_next_embedding() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.next_embedding := NULL;
        NEW.next_embedding_error := NULL;
        RETURN NEW;
    END
    $$
"""

# The way back gives up what is not switched yet. The columns go with their indexes.
DISCARD = """
    DO $$
    DECLARE
        documents text;
    BEGIN
        FOR documents IN
            SELECT 'documents_' || slug FROM vecscope.collections WHERE reembedding IS NOT NULL
        LOOP
            EXECUTE format(
                'DROP TRIGGER IF EXISTS forget_next_embedding ON vecscope.%I', documents
            );
            EXECUTE format(
                'ALTER TABLE vecscope.%I DROP COLUMN IF EXISTS next_embedding, '
                'DROP COLUMN IF EXISTS next_embedding_error', documents
            );
        END LOOP;
    END
    $$
"""


def upgrade() -> None:
    op.add_column(
        "collections",
        sa.Column("reembedding", postgresql.JSONB(), nullable=True),
        schema=SCHEMA,
    )
    op.execute(FORGET)


def downgrade() -> None:
    op.execute(DISCARD)
    op.execute("DROP FUNCTION vecscope.forget_next_embedding()")
    op.drop_column("collections", "reembedding", schema=SCHEMA)
