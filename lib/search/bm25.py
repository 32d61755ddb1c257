"""BM25 in plain PostgreSQL: a lexical index of our own for each collection, and its statements.

Two tables beside the documents, ``lexemes_<slug>`` (word, in how many documents) and
``postings_<slug>`` (word, document, how often, length of the document), kept right by triggers on
the documents (migration 004), and the collection's totals in ``lexical_indexes``. The words are
those of the documents' own tsvector, so that BM25 and ts_rank see the same text.

Formula (Robertson and Zaragoza 2009, "The Probabilistic Relevance Framework: BM25 and Beyond",
with Lucene's idf, which is never negative):

    Σ idf · tf · (k1 + 1) / (tf + k1 · (1 − b + b · dl / avgdl)), over the different words,
    idf = ln(1 + (N − df + 0.5) / (df + 0.5))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    CTE,
    Boolean,
    Column,
    ColumnElement,
    Double,
    Identity,
    Integer,
    MetaData,
    Select,
    SmallInteger,
    Table,
    Text,
    Uuid,
    and_,
    bindparam,
    cast,
    column,
    delete,
    func,
    literal_column,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY, REGCONFIG
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.schema import DropTable

from lib.actors import LOCAL, Actor, writes
from lib.errors import InvalidInput, NotFound
from lib.store.collections import Collection
from lib.store.database import Database
from lib.store.documents import companion_tables
from lib.store.jobs import Job, JobContext, JobKind, Jobs
from lib.store.records import SCHEMA, LexicalIndexRecord
from lib.vectors.sql import quoted_name
from lib.vectors.statements import (
    TextMatching,
    TextQuery,
    check_query_text,
    inline_count,
    text_match,
)
from lib.vectors.table import VectorTable

K1_DEFAULT, B_DEFAULT = 1.2, 0.75
K1_MOST = 10.0

# What a long question may cost: 150,000 postings are about a tenth of a second.
MOST_POSTINGS = 150_000
MOST_RESCORED = 1_000
MOST_WANTED = 200


@dataclass(frozen=True, slots=True)
class BM25:
    """The two parameters of BM25."""

    k1: float = K1_DEFAULT
    """Term saturation: how soon more of the same word stops counting."""

    b: float = B_DEFAULT
    """Length normalisation: how much a long document counts less, 0–1."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.k1 <= K1_MOST:
            raise InvalidInput(f"k1 is {self.k1:g}, outside 0–{K1_MOST:g}.", field="k1")
        if not 0.0 <= self.b <= 1.0:
            raise InvalidInput(f"b is {self.b:g}, outside 0–1.", field="b")


@dataclass(frozen=True, slots=True)
class LexicalIndex:
    """What is there for BM25. average_length: words a document, stop words left out."""

    documents: int
    average_length: float
    lexemes: int
    size_bytes: int
    built_at: datetime


# --- its tables ---------------------------------------------------------------------------------


def _tables(slug: str) -> tuple[Table, Table]:
    metadata = MetaData()
    lexemes_name, postings_name = companion_tables(slug)
    lexemes = Table(
        lexemes_name,
        metadata,
        Column("lexeme_id", Integer, Identity(always=True), primary_key=True),
        Column("lexeme", Text(collation="C"), nullable=False, unique=True),
        Column("documents", Integer, nullable=False),
        schema=SCHEMA,
    )
    postings = Table(
        postings_name,
        metadata,
        Column("lexeme_id", Integer, primary_key=True, autoincrement=False),
        Column("document_id", Uuid, primary_key=True),
        Column("tf", Integer, nullable=False),
        Column("length", Integer, nullable=False),
        schema=SCHEMA,
    )
    return lexemes, postings


_EVENTS = {
    "INSERT": "REFERENCING NEW TABLE AS added",
    "UPDATE": "REFERENCING OLD TABLE AS gone NEW TABLE AS added",
    "DELETE": "REFERENCING OLD TABLE AS gone",
    "TRUNCATE": "",
}


async def find_lexical_index(db: AsyncSession, collection: Collection) -> LexicalIndex | None:
    """What the collection has for BM25, None where it was not built."""
    record = await db.get(LexicalIndexRecord, collection.id)
    if record is None:
        return None
    lexemes, postings = _tables(collection.slug)
    size = func.pg_total_relation_size(quoted_name(lexemes)) + func.pg_total_relation_size(
        quoted_name(postings)
    )
    counted, size_bytes = (await db.execute(select(func.count(), size).select_from(lexemes))).one()
    return LexicalIndex(
        documents=record.documents,
        average_length=record.total_length / record.documents if record.documents else 0.0,
        lexemes=counted,
        size_bytes=size_bytes,
        built_at=record.built_at,
    )


async def has_lexical_index(db: AsyncSession, collection: Collection) -> bool:
    """Without the counting that :func:`find_lexical_index` does."""
    return await db.get(LexicalIndexRecord, collection.id) is not None


@writes("bm25.build")
async def start_lexical_build(
    jobs: Jobs, database: Database, collection: Collection, *, actor: Actor = LOCAL
) -> Job:
    """Builds the index as a job, anew where there is one. Raises Busy while it is being built.

    Writers of the collection wait meanwhile; readers do not.
    """

    async def work(context: JobContext) -> dict[str, Any]:
        async with database.session() as db:
            await _build(db, collection, context)
        async with database.session() as db:
            found = await find_lexical_index(db, collection)
        assert found is not None
        return {
            "documents": found.documents,
            "lexemes": found.lexemes,
            "size_bytes": found.size_bytes,
        }

    return await jobs.start(
        JobKind.LEXICAL,
        f"Building the BM25 index of {collection.name}",
        work,
        collection_id=collection.id,
        exclusive_key=f"lexical:{collection.id}",
        actor=actor,
    )


# Frequent words get the high numbers, so that the postings of rare ones lie together. The primary
# key of the postings comes after its rows: it is made several times quicker then.
_COUNT_WORDS = """
    INSERT INTO {lexemes} (lexeme, documents)
    SELECT word, ndoc FROM ts_stat('SELECT search_vector FROM {documents}') ORDER BY ndoc, word
"""
_SORT_WORDS = """
    CREATE TABLE {postings} (
        lexeme_id int NOT NULL, document_id uuid NOT NULL, tf int NOT NULL, length int NOT NULL
    );
    INSERT INTO {postings}
    SELECT l.lexeme_id, w.id, w.tf, w.length
    FROM (
        SELECT d.id, v.lexeme, t.tf, sum(t.tf) OVER (PARTITION BY d.id) AS length
        FROM {documents} AS d, unnest(d.search_vector) AS v,
             LATERAL (SELECT greatest(coalesce(cardinality(v.positions), 1), 1) AS tf) AS t
    ) AS w
    JOIN {lexemes} AS l USING (lexeme)
    ORDER BY l.lexeme_id
"""
_MAKE_KEY = """
    ALTER TABLE {postings} ADD PRIMARY KEY (lexeme_id, document_id);
    ANALYZE {lexemes}, {postings}
"""
_NOTE_TOTALS = """
    INSERT INTO vecscope.lexical_indexes (collection_id, documents, total_length)
    SELECT '{collection_id}', (SELECT count(*) FROM {documents}),
           (SELECT coalesce(sum(tf), 0) FROM {postings})
"""
_ADD_TRIGGER = """
    CREATE TRIGGER lexical_{name} AFTER {event} ON {documents} {referencing}
    FOR EACH STATEMENT EXECUTE FUNCTION vecscope.lexical_sync('{slug}')
"""


async def _build(db: AsyncSession, collection: Collection, context: JobContext) -> None:
    """In one transaction: another process sees all of it or nothing."""
    documents = collection.table.table
    lexemes, postings = _tables(collection.slug)
    names = {
        "documents": quoted_name(documents),
        "lexemes": quoted_name(lexemes),
        "postings": quoted_name(postings),
        "collection_id": collection.id,
        "slug": collection.slug,
    }
    connection = await db.connection()

    async def run(template: str, **more: str) -> None:
        for statement in template.format(**names, **more).split(";"):
            await connection.exec_driver_sql(statement)

    await run("LOCK TABLE {documents} IN SHARE ROW EXCLUSIVE MODE")
    await _drop(db, collection)
    await connection.run_sync(lexemes.create)
    steps = ((_COUNT_WORDS, "Counting words"), (_SORT_WORDS, "Sorting documents by word"))
    for number, (template, message) in enumerate(steps):
        await context.progress(number, len(steps), message, force=True)
        await run(template)
    await run(_MAKE_KEY)
    for event, referencing in _EVENTS.items():
        await run(_ADD_TRIGGER, name=event.lower(), event=event, referencing=referencing)
    await run(_NOTE_TOTALS)


@writes("bm25.drop")
async def drop_lexical_index(
    db: AsyncSession, collection: Collection, *, actor: Actor = LOCAL
) -> None:
    """Raises NotFound where there is none."""
    if await db.get(LexicalIndexRecord, collection.id) is None:
        raise NotFound(f"“{collection.name}” has no BM25 index.")
    await _drop(db, collection)


async def _drop(db: AsyncSession, collection: Collection) -> None:
    connection = await db.connection()
    documents = quoted_name(collection.table.table)
    for event in _EVENTS:
        await connection.exec_driver_sql(
            f"DROP TRIGGER IF EXISTS lexical_{event.lower()} ON {documents}"
        )
    for table in _tables(collection.slug):
        await db.execute(DropTable(table, if_exists=True))
    await db.execute(
        delete(LexicalIndexRecord).where(LexicalIndexRecord.collection_id == collection.id)
    )


# --- asking it ----------------------------------------------------------------------------------


def bm25_matching(
    collection: Collection,
    query_text: str,
    kind: TextQuery = TextQuery.ANY,
    settings: BM25 | None = None,
) -> TextMatching:
    """Documents that match the question, each with its BM25 value.

    ANY takes every document with one of the words; WEB and PLAIN take those that the tsquery
    matches and rank them by all of the question's words.

    What a long question costs is bounded, the rarest words being looked up first:

    - where every word must occur, only the documents with the rarest one are looked at, which
      leaves nothing out;
    - ANY looks up words until MOST_POSTINGS documents were met. Only the MOST_RESCORED best of
      these get the values of the remaining, frequent words. A document that ends among the first
      ten has nearly always some of the rarer words (docs/decisions/016); ``more_match`` says
      that ``matches`` is a lower bound then. With a filter, or where more than MOST_WANTED
      documents are wanted, all words are looked up.

    Raises InvalidInput for an empty question.
    """
    settings = settings or BM25()
    table = collection.table
    question = check_query_text(query_text)
    lexemes, postings = _tables(collection.slug)
    document, query = text_match(table, question, kind)

    def matching(where: Sequence[ColumnElement[bool]], most: int | None = None) -> Select[Any]:
        terms = _terms(collection, lexemes, question)
        before = terms.c.postings_before
        if kind is not TextQuery.ANY:
            # A tsquery of words that must all occur has neither OR nor NOT.
            is_leading = or_(before == inline_count(0), _matches(query, "~"))
            is_rest = and_(before > inline_count(0), _matches(query, "!~"))
        elif where or most is None or most > MOST_WANTED:
            ranked = _by_postings(terms, postings, settings)
            return _filtered(table, ranked, where) if where else ranked
        else:
            is_leading = before < inline_count(MOST_POSTINGS)
            is_rest = before >= inline_count(MOST_POSTINGS)
        leading = _materialized(select(terms).where(is_leading), "leading")
        rest = _materialized(select(terms).where(is_rest), "rest")
        met = _by_postings(leading, postings, settings)
        if kind is not TextQuery.ANY:
            met = _filtered(table, met, [*where, document.bool_op("@@")(query)])
        met_rows = _materialized(met, "met")
        has_rest = select(rest.c.lexeme).exists()
        remaining = _by_document(table, met_rows, rest, settings).where(has_rest).scalar_subquery()
        value = met_rows.c.text_value + func.coalesce(remaining, _number(0), type_=Double())
        found = select(met_rows.c.id, value.label("text_value"))
        if kind is not TextQuery.ANY:
            return found
        values = met_rows.alias("others")
        last = (
            select(values.c.text_value)
            .where(has_rest)
            .order_by(values.c.text_value.desc())
            .offset(inline_count(MOST_RESCORED - 1))
            .limit(inline_count(1))
            .scalar_subquery()
        )
        met_count = select(func.count()).select_from(values).scalar_subquery()
        return found.add_columns(met_count.label("matches"), has_rest.label("more_match")).where(
            met_rows.c.text_value >= func.coalesce(last, _number(0), type_=Double())
        )

    return matching


def _terms(collection: Collection, lexemes: Table, question: str) -> CTE:
    """The question's words that the collection knows: their idf, and how many postings the rarer
    ones among them have."""
    totals = LexicalIndexRecord.__table__
    config = literal_column(f"'{collection.table.text_config}'::regconfig", REGCONFIG)
    words = func.tsvector_to_array(
        func.to_tsvector(config, bindparam("query_text", question, type_=Text())),
        type_=ARRAY(Text),
    )
    # One row: PostgreSQL must not take the totals for a table of thousands.
    total = (
        select(
            cast(totals.c.documents, Double).label("documents"),
            (
                cast(totals.c.total_length, Double)
                / func.nullif(cast(totals.c.documents, Double), _number(0), type_=Double())
            ).label("average_length"),
        )
        .where(totals.c.collection_id == bindparam("collection_id", collection.id))
        .limit(inline_count(1))
        .subquery("total")
    )
    half, n, df = _number(0.5), total.c.documents, cast(lexemes.c.documents, Double)
    rarest_first = (lexemes.c.documents, lexemes.c.lexeme_id)
    up_to_this = func.sum(lexemes.c.documents).over(order_by=rarest_first)
    return _materialized(
        select(
            lexemes.c.lexeme_id,
            lexemes.c.lexeme,
            func.ln(_number(1) + (n - df + half) / (df + half), type_=Double()).label("idf"),
            (up_to_this - lexemes.c.documents).label("postings_before"),
            total.c.average_length,
        )
        .join_from(lexemes, total, true())
        .where(lexemes.c.lexeme == func.any(words)),
        "terms",
    )


def _by_postings(terms: CTE, postings: Table, settings: BM25) -> Select[Any]:
    """(id, text_value, length) of each document with one of the terms."""
    # OFFSET 0 keeps the look-up by word inside: joined freely, the planner reads all postings.
    found = (
        select(postings.c.document_id, postings.c.tf, postings.c.length)
        .where(postings.c.lexeme_id == terms.c.lexeme_id)
        .offset(inline_count(0))
        .correlate(terms)
        .lateral("found")
    )
    value = _value(terms, found.c.tf, found.c.length, settings)
    return (
        select(
            found.c.document_id.label("id"),
            func.sum(value, type_=Double()).label("text_value"),
            func.max(found.c.length, type_=Integer()).label("length"),
        )
        .join_from(terms, found, true())
        .group_by(found.c.document_id)
    )


def _by_document(table: VectorTable, met: CTE, terms: CTE, settings: BM25) -> Select[Any]:
    """The terms' part of the value of one document of ``met``, out of its own tsvector: quicker
    than postings where the terms are many and the documents few."""
    assert table.search_vector is not None
    words = func.unnest(table.column(table.search_vector)).table_valued(
        column("lexeme", Text()), column("positions", ARRAY(SmallInteger)), name="words"
    )
    tf = func.greatest(
        func.coalesce(func.cardinality(words.c.positions, type_=Integer()), inline_count(1)),
        inline_count(1),
    )
    value = _value(terms, tf, met.c.length, settings)
    return (
        select(func.sum(value, type_=Double()))
        .select_from(table.rows)
        .join(words, true())
        .join(terms, terms.c.lexeme == words.c.lexeme)
        .where(table.column(table.id) == met.c.id)
        .correlate(met)
    )


def _value(
    terms: CTE, tf: ColumnElement[Any], length: ColumnElement[Any], settings: BM25
) -> ColumnElement[Any]:
    """What one word adds (the formula above)."""
    tf, k1, b = cast(tf, Double), _number(settings.k1), _number(settings.b)
    relative = cast(length, Double) / terms.c.average_length
    return terms.c.idf * tf * (k1 + _number(1)) / (tf + k1 * (_number(1) - b + b * relative))


def _filtered(
    table: VectorTable, ranked: Select[Any], where: Sequence[ColumnElement[bool]]
) -> Select[Any]:
    values = ranked.subquery("ranked")
    return (
        select(values.c.id, values.c.text_value, values.c.length)
        .join_from(values, table.rows, table.column(table.id) == values.c.id)
        .where(*where)
    )


def _materialized(statement: Select[Any], name: str) -> CTE:
    return statement.cte(name).prefix_with("MATERIALIZED")


def _matches(query: ColumnElement[Any], operator: str) -> ColumnElement[bool]:
    """Whether the tsquery has an OR or a NOT (``~``), or neither (``!~``). A lexeme with such a
    sign in it passes for one, which costs time and nothing else."""
    signs: ColumnElement[Any] = literal_column("'[|!]'", Text())
    return cast(query, Text).op(operator, return_type=Boolean())(signs)


def _number(value: float) -> ColumnElement[Any]:
    """A constant of the formula, written into the SQL as double precision."""
    return literal_column(f"{value!r}::float8", Double())
