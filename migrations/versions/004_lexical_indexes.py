"""Lexical indexes: what BM25 needs to know of a collection's words, kept right by triggers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "004"
down_revision = "003"
branch_labels = None
depends_on = None

SCHEMA = "vecscope"

# One function for all collections; the trigger's argument is the collection's slug. Writers of
# one collection take turns (the advisory lock), since they would meet at the same words' counts.
SYNC = """
CREATE FUNCTION vecscope.lexical_sync() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    slug text := TG_ARGV[0];
    lexemes text := format('vecscope.%I', 'lexemes_' || slug);
    postings text := format('vecscope.%I', 'postings_' || slug);
    leaving text;
    coming text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('vecscope.lexical'), hashtext(slug));
    IF TG_OP = 'TRUNCATE' THEN
        EXECUTE format('TRUNCATE %s, %s', lexemes, postings);
        EXECUTE 'UPDATE vecscope.lexical_indexes AS s SET documents = 0, total_length = 0
                 FROM vecscope.collections AS c WHERE c.id = s.collection_id AND c.slug = $1'
            USING slug;
        RETURN NULL;
    END IF;
    leaving := CASE TG_OP
        WHEN 'DELETE' THEN 'SELECT id, search_vector FROM gone'
        WHEN 'UPDATE' THEN 'SELECT o.id, o.search_vector FROM gone AS o
            WHERE NOT EXISTS (SELECT FROM added AS n WHERE n.id = o.id
                              AND n.search_vector IS NOT DISTINCT FROM o.search_vector)'
    END;
    coming := CASE TG_OP
        WHEN 'INSERT' THEN 'SELECT id, search_vector FROM added'
        WHEN 'UPDATE' THEN 'SELECT n.id, n.search_vector FROM added AS n
            WHERE NOT EXISTS (SELECT FROM gone AS o WHERE o.id = n.id
                              AND o.search_vector IS NOT DISTINCT FROM n.search_vector)'
    END;
    IF leaving IS NOT NULL THEN
        EXECUTE format(
            'WITH leaving AS MATERIALIZED (%1$s),
             dropped AS (
                DELETE FROM %2$s AS p USING leaving AS d, unnest(d.search_vector) AS w, %3$s AS l
                WHERE l.lexeme = w.lexeme AND p.lexeme_id = l.lexeme_id AND p.document_id = d.id
                RETURNING p.lexeme_id, p.tf
             ),
             fewer AS (
                UPDATE %3$s AS l SET documents = l.documents - f.documents
                FROM (SELECT lexeme_id, count(*) AS documents FROM dropped GROUP BY 1) AS f
                WHERE l.lexeme_id = f.lexeme_id
             )
             UPDATE vecscope.lexical_indexes AS s
             SET documents = s.documents - (SELECT count(*) FROM leaving),
                 total_length = s.total_length - (SELECT coalesce(sum(tf), 0) FROM dropped)
             FROM vecscope.collections AS c WHERE c.id = s.collection_id AND c.slug = $1',
            leaving, postings, lexemes
        ) USING slug;
    END IF;
    IF coming IS NOT NULL THEN
        -- Words first: a statement does not see the rows that another part of it inserts.
        EXECUTE format(
            'INSERT INTO %2$s AS l (lexeme, documents)
             SELECT w.lexeme, count(*) FROM (%1$s) AS d, unnest(d.search_vector) AS w
             GROUP BY w.lexeme
             ON CONFLICT (lexeme) DO UPDATE SET documents = l.documents + excluded.documents',
            coming, lexemes
        );
        EXECUTE format(
            'WITH coming AS MATERIALIZED (%1$s),
             words AS MATERIALIZED (
                SELECT d.id, l.lexeme_id, greatest(coalesce(cardinality(w.positions), 1), 1) AS tf
                FROM coming AS d, unnest(d.search_vector) AS w JOIN %3$s AS l USING (lexeme)
             ),
             stored AS (
                INSERT INTO %2$s (lexeme_id, document_id, tf, length)
                SELECT lexeme_id, id, tf, sum(tf) OVER (PARTITION BY id) FROM words
             )
             UPDATE vecscope.lexical_indexes AS s
             SET documents = s.documents + (SELECT count(*) FROM coming),
                 total_length = s.total_length + (SELECT coalesce(sum(tf), 0) FROM words)
             FROM vecscope.collections AS c WHERE c.id = s.collection_id AND c.slug = $1',
            coming, postings, lexemes
        ) USING slug;
    END IF;
    RETURN NULL;
END
$$
"""


def upgrade() -> None:
    op.create_table(
        "lexical_indexes",
        sa.Column("collection_id", postgresql.UUID(as_uuid=True), nullable=False),
        sa.Column("documents", sa.BigInteger(), nullable=False),
        sa.Column("total_length", sa.BigInteger(), nullable=False),
        sa.Column(
            "built_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("collection_id", name="pk_lexical_indexes"),
        sa.ForeignKeyConstraint(
            ["collection_id"],
            [f"{SCHEMA}.collections.id"],
            name="fk_lexical_indexes_collection_id_collections",
            ondelete="CASCADE",
        ),
        schema=SCHEMA,
    )
    op.execute(SYNC)


def downgrade() -> None:
    connection = op.get_bind()
    slugs = connection.execute(
        sa.text(
            "SELECT c.slug FROM vecscope.lexical_indexes AS s "
            "JOIN vecscope.collections AS c ON c.id = s.collection_id"
        )
    ).scalars()
    for slug in slugs.all():
        # The slug is of a–z, 0–9 and _ only (a check constraint holds that).
        op.execute(f'DROP TABLE vecscope."lexemes_{slug}", vecscope."postings_{slug}"')
    op.execute("DROP FUNCTION vecscope.lexical_sync() CASCADE")
    op.drop_table("lexical_indexes", schema=SCHEMA)
