"""IVFFlat and HNSW: what they are, when to take which, and how to make, list and drop them."""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import ColumnElement, Index, MetaData, bindparam, column, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from sqlalchemy.schema import CreateIndex, DropIndex

from lib.errors import (
    AlreadyExists,
    IndexRefused,
    InvalidInput,
    LimitExceeded,
    NotFound,
    from_exception,
)
from lib.vectors.distance import BIT_OPERATOR_CLASS, MAX_BIT_DIMENSIONS, Storage
from lib.vectors.sql import printed, quoted_name
from lib.vectors.statements import as_halfvec, available_statement, sign_bits
from lib.vectors.table import VectorTable
from lib.vectors.tuning import (
    EF_CONSTRUCTION,
    LISTS,
    BuildSettings,
    M,
    apply_settings,
)

_NAME_BYTES = 63  # PostgreSQL's NAMEDATALEN − 1

FEW_ROWS = 100_000
MANY_ROWS = 1_000_000


class IndexKind(StrEnum):
    """The two approximate indexes of pgvector."""

    IVFFLAT = "ivfflat"
    HNSW = "hnsw"

    @property
    def label(self) -> str:
        return "IVFFlat" if self is IndexKind.IVFFLAT else "HNSW"


# --- guidelines ---------------------------------------------------------------------------------


def recommended_lists(rows: int) -> int:
    """rows / 1000 up to a million rows, √rows above, at least 10 (pgvector README, "IVFFlat")."""
    lists = rows / 1000 if rows <= MANY_ROWS else math.sqrt(rows)
    return min(LISTS.high, max(10, round(lists)))


def recommended_probes(lists: int) -> int:
    """√lists, a place to start from (pgvector README, "IVFFlat")."""
    return max(1, round(math.sqrt(lists)))


def recommended_kind(
    rows: int, *, high_recall: bool = False, memory_bound: bool = False
) -> tuple[IndexKind, str]:
    """The kind to start with, and why.

    Our reading of the pgvector README, "Indexing": IVFFlat builds faster and in less memory,
    HNSW has the better trade of speed against recall. Measure before you believe it.
    """
    if memory_bound:
        return IndexKind.IVFFLAT, "memory is short: IVFFlat stores no graph"
    if high_recall:
        return IndexKind.HNSW, "high recall is wanted: HNSW reaches it at the lower latency"
    if rows < FEW_ROWS:
        return IndexKind.IVFFLAT, f"under {FEW_ROWS:,} rows: IVFFlat builds in seconds and is quick"
    if rows <= MANY_ROWS:
        return IndexKind.HNSW, f"{FEW_ROWS:,}–{MANY_ROWS:,} rows: either does, HNSW is the quicker"
    return IndexKind.HNSW, f"over {MANY_ROWS:,} rows: HNSW keeps its speed as the table grows"


# --- specifications -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class IVFFlat:
    """Rows sorted into ``lists`` by their nearest centre; a query looks into some of them."""

    lists: int = LISTS.default
    kind: ClassVar[IndexKind] = IndexKind.IVFFLAT

    def __post_init__(self) -> None:
        LISTS.check(self.lists, "lists")

    @property
    def options(self) -> dict[str, int]:
        return {"lists": self.lists}

    @classmethod
    def for_rows(cls, rows: int) -> IVFFlat:
        return cls(lists=recommended_lists(rows))


@dataclass(frozen=True, slots=True)
class HNSW:
    """A graph in layers with ``m`` links a row; built by looking at ``ef_construction`` rows."""

    m: int = M.default
    ef_construction: int = EF_CONSTRUCTION.default
    kind: ClassVar[IndexKind] = IndexKind.HNSW

    def __post_init__(self) -> None:
        M.check(self.m, "m")
        EF_CONSTRUCTION.check(self.ef_construction, "ef_construction")
        if self.ef_construction < 2 * self.m:
            # hnsw.c: "ef_construction must be greater than or equal to 2 * m"
            raise LimitExceeded(
                f"ef_construction is {self.ef_construction}, below 2 · m = {2 * self.m}.",
                hint=f"Take ef_construction ≥ {2 * self.m}, or a smaller m.",
                field="ef_construction",
            )

    @property
    def options(self) -> dict[str, int]:
        return {"m": self.m, "ef_construction": self.ef_construction}


IndexSpec = IVFFlat | HNSW


def _dimensions(table: VectorTable) -> int:
    """Raises IndexRefused where the column has no fixed number of them."""
    if table.dimensions is None:
        raise IndexRefused(
            f"The column {table.embedding} has no fixed number of dimensions.",
            hint="Give it one: ALTER TABLE … ALTER COLUMN … TYPE vector(n).",
        )
    return table.dimensions


def check_indexable(table: VectorTable) -> None:
    """Raises IndexRefused, with the way out, where the column cannot have such an index."""
    dimensions, most = _dimensions(table), table.max_index_dimensions
    if dimensions > most:
        half = Storage.HALFVEC.max_index_dimensions
        way_out = (
            f"Store the embeddings as halfvec, which can be indexed up to {half:,} dimensions."
            if dimensions <= half
            else f"Take a model with fewer dimensions; halfvec can be indexed up to {half:,}, "
            f"bits up to {MAX_BIT_DIMENSIONS:,}."
        )
        held = "bits" if table.bits else f"a {table.indexed_storage.value}"
        raise IndexRefused(
            f"{held.capitalize()} with {dimensions:,} dimensions cannot be indexed: "
            f"pgvector's limit is {most:,}.",
            hint=way_out,
        )


def check_buildable(table: VectorTable, spec: IndexSpec, rows: int) -> None:
    """Raises IndexRefused where the index could be built but would be of no use.

    rows: how many rows have a usable embedding now. IVFFlat takes its centres from the rows that
    are there: with fewer rows than lists they mean nothing, and stay so when rows are added later.
    """
    check_indexable(table)
    if rows == 0:
        raise IndexRefused(
            "There is no row with an embedding yet, so an index would learn nothing.",
            hint="Load and embed the documents first.",
        )
    if isinstance(spec, IVFFlat) and rows < spec.lists:
        raise IndexRefused(
            f"{rows:,} rows cannot give {spec.lists:,} lists meaningful centres.",
            hint=f"Take lists = {min(recommended_lists(rows), rows)}, HNSW, or load more rows.",
            field="lists",
        )


def index_name(table: VectorTable, spec: IndexSpec) -> str:
    """A name that says what it is, in PostgreSQL's 63 bytes.

    Where the table's name has to be cut, a part of its hash keeps the name its own: tables of one
    schema may differ only at their end.
    """
    options = "_".join(str(value) for value in spec.options.values())
    measure = "hamming" if table.bits else table.distance.value
    if table.halves:
        measure = f"halfvec_{measure}"
    tail = f"_{table.embedding}_{spec.kind.value}_{measure}_{options}"
    room = _NAME_BYTES - len(tail.encode())
    if room < 8:
        tail = f"_{spec.kind.value}_{measure}_{options}"
        room = _NAME_BYTES - len(tail.encode())
    start = table.name.encode()
    if len(start) > room:
        mark = f"_{hashlib.sha256(start).hexdigest()[:6]}"
        tail, start = mark + tail, start[: room - len(mark)]
    return start.decode(errors="ignore") + tail


def make_index(
    table: VectorTable, spec: IndexSpec, name: str | None = None, *, concurrently: bool = False
) -> Index:
    """The SQLAlchemy Index, on a copy of the table object, so that no other index is on it.

    Raises LimitExceeded for a name that PostgreSQL would cut.
    """
    copy = table.table.to_metadata(MetaData())
    name = name or index_name(table, spec)
    if len(name.encode()) > _NAME_BYTES:
        raise LimitExceeded(
            f"The index name has {len(name.encode())} bytes, more than {_NAME_BYTES}.",
            hint="Take a shorter name.",
            field="name",
        )
    embedding = copy.c[table.embedding]
    options: dict[str, Any] = {
        "postgresql_using": spec.kind.value,
        "postgresql_with": spec.options,
        "postgresql_concurrently": concurrently,
    }
    expression = _indexed_expression(table, embedding)
    if expression is not None:
        # SQLAlchemy finds an expression's operator class by its label.
        operators = {"indexed": operator_class(table)}
        return Index(name, expression.label("indexed"), postgresql_ops=operators, **options)
    operators = {table.embedding: operator_class(table)}
    return Index(name, embedding, postgresql_ops=operators, **options)


def operator_class(table: VectorTable) -> str:
    """Which the index must have to serve a search of the table."""
    if table.bits:
        return BIT_OPERATOR_CLASS
    return table.distance.operator_class(table.indexed_storage)


def _indexed_expression(
    table: VectorTable, embedding: ColumnElement[Any]
) -> ColumnElement[Any] | None:
    """What is indexed in place of the column itself."""
    if table.bits:
        return sign_bits(embedding, _dimensions(table))
    if table.halves:
        return as_halfvec(embedding, _dimensions(table))
    return None


def create_statement(
    table: VectorTable, spec: IndexSpec, *, name: str | None = None, concurrently: bool = False
) -> str:
    """CREATE INDEX [CONCURRENTLY], to read or to paste."""
    return printed(CreateIndex(make_index(table, spec, name, concurrently=concurrently)))


def _drop(table: VectorTable, name: str) -> DropIndex:
    copy = table.table.to_metadata(MetaData())
    index = Index(name, copy.c[table.embedding], postgresql_concurrently=True)
    return DropIndex(index, if_exists=True)


def migration_text(
    table: VectorTable,
    spec: IndexSpec,
    *,
    name: str | None = None,
    revision: str | None = None,
    down_revision: str | None = None,
    created: datetime | None = None,
) -> str:
    """An Alembic migration that builds the index without locking writers, and its way back.

    CONCURRENTLY cannot run in a transaction, hence the autocommit block.
    """
    created = created or datetime.now(UTC)
    revision = revision or created.strftime("%Y%m%d%H%M%S")
    name = name or index_name(table, spec)
    options = ", ".join(f"{key!r}: {value}" for key, value in spec.options.items())
    operators = {table.embedding: operator_class(table)}
    indexed = f"[{table.embedding!r}],\n            postgresql_ops={operators!r}"
    needs = ""
    expression = _indexed_expression(table, column(table.embedding))
    if expression is not None:
        # To text() a colon begins a parameter.
        element = f"({printed(expression)}) {operator_class(table)}".replace(":", "\\:")
        indexed = f"[sa.text({element!r})]"
        needs = "import sqlalchemy as sa\n"
    title = f"{spec.kind.label} index on {table.qualified_name}.{table.embedding}"
    # Names go in by repr; in the docstring nothing may end it.
    title = title.replace("\\", "\\\\").replace('"', '\\"')
    return f'''"""{title}"""

{needs}from alembic import op

revision = {revision!r}
down_revision = {down_revision!r}  # set this to your latest revision
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.create_index(
            {name!r},
            {table.name!r},
            {indexed},
            schema={table.schema!r},
            postgresql_using={spec.kind.value!r},
            postgresql_with={{{options}}},
            postgresql_concurrently=True,
        )


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.drop_index(
            {name!r},
            table_name={table.name!r},
            schema={table.schema!r},
            postgresql_concurrently=True,
        )
'''


# --- what is there ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class IndexDescription:
    """An approximate index that exists. valid: False for one whose CONCURRENTLY build broke.
    halves, bits: it is on the column cast to halfvec, or on its bits, not on the column itself."""

    name: str
    kind: IndexKind
    options: Mapping[str, int]
    operator_class: str
    size_bytes: int
    valid: bool
    halves: bool = False
    bits: bool = False

    @property
    def by_expression(self) -> bool:
        return self.halves or self.bits

    @property
    def held(self) -> str:
        """What it holds in place of the column's own values, such as “halfvec”; else empty."""
        return "bits" if self.bits else "halfvec" if self.halves else ""

    @property
    def short_label(self) -> str:
        return f"{self.kind.label} on {self.held}" if self.held else self.kind.label

    @property
    def label(self) -> str:
        options = ", ".join(f"{key} {value}" for key, value in self.options.items())
        return f"{self.short_label} ({options})" if options else self.short_label

    def table_by_it(self, table: VectorTable) -> VectorTable:
        """The table that it is on, to be searched by what it holds; by the column itself where it
        is made for another distance than the table's."""
        found = replace(table, halves=self.halves, bits=self.bits)
        return found if operator_class(found) == self.operator_class else table.by_column


def choose_index(found: Iterable[IndexDescription]) -> IndexDescription | None:
    """The one that searches go by: a valid one, on the column itself before on an expression."""
    return min(
        (index for index in found if index.valid),
        key=lambda index: index.by_expression,
        default=None,
    )


_INDEXES = text(
    """
    SELECT i.relname AS name, am.amname AS kind, i.reloptions AS options,
           oc.opcname AS operator_class, pg_relation_size(i.oid) AS size_bytes,
           x.indisvalid AS valid,
           CASE WHEN x.indkey[0] = 0 THEN held.typname END AS expression_type
    FROM pg_index AS x
    JOIN pg_class AS i ON i.oid = x.indexrelid
    JOIN pg_am AS am ON am.oid = i.relam
    JOIN pg_opclass AS oc ON oc.oid = x.indclass[0]
    JOIN pg_attribute AS a ON a.attrelid = x.indrelid AND a.attname = :embedding
    JOIN pg_attribute AS ia ON ia.attrelid = i.oid AND ia.attnum = 1
    JOIN pg_type AS held ON held.oid = ia.atttypid
    WHERE x.indrelid = to_regclass(:relation) AND am.amname IN ('ivfflat', 'hnsw')
      AND (x.indkey[0] = a.attnum
          -- on an expression, which PostgreSQL knows to depend on the column, of all its dimensions
          OR x.indkey[0] = 0 AND held.typname IN ('halfvec', 'bit') AND ia.atttypmod = a.atttypmod
              AND EXISTS (
                  SELECT FROM pg_depend AS d
                  WHERE d.classid = 'pg_class'::regclass AND d.objid = i.oid
                    AND d.refobjid = x.indrelid AND d.refobjsubid = a.attnum))
    ORDER BY i.relname
    """
).bindparams(bindparam("relation"), bindparam("embedding"))


async def list_indexes(
    db: AsyncSession | AsyncConnection, table: VectorTable
) -> list[IndexDescription]:
    """The approximate indexes on the table's embedding, by name: on the column itself, on its
    halves, or on its bits."""
    parameters = {"relation": quoted_name(table.table), "embedding": table.embedding}
    rows = await db.execute(_INDEXES, parameters)
    return [
        IndexDescription(
            name=row.name,
            kind=IndexKind(row.kind),
            options={
                key: int(value) for key, _, value in (o.partition("=") for o in row.options or ())
            },
            operator_class=row.operator_class,
            size_bytes=row.size_bytes,
            valid=row.valid,
            halves=row.expression_type == "halfvec",
            bits=row.expression_type == "bit",
        )
        for row in rows
    ]


# --- building -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """pg_stat_progress_create_index, in words.

    done, total: rows or pages of 8 kB. share: 0–1 of this phase, None where unknown. rows_done: in
    this phase, 0 where it does not say. notices: what the server has said so far.
    """

    phase: str
    done: int
    total: int
    rows_done: int = 0
    notices: tuple[str, ...] = ()

    @property
    def share(self) -> float | None:
        return min(1.0, self.done / self.total) if self.total else None


@dataclass(frozen=True, slots=True)
class BuiltIndex:
    """What a build left: its notices hold pgvector's word when an HNSW graph outgrew memory."""

    name: str
    seconds: float
    index_bytes: int
    notices: tuple[str, ...]


_PROGRESS = text(
    """
    SELECT phase, tuples_done, tuples_total, blocks_done, blocks_total
    FROM pg_stat_progress_create_index WHERE pid = :pid
    """
)

# pgvector README, "Indexing Progress"; PostgreSQL's own names for a CONCURRENTLY build.
KMEANS_PHASE = "Finding the centres of the lists (k-means)"
ASSIGNING_PHASE = "Sorting rows into lists"
LOADING_PHASE = "Loading rows"
_PHASES = {
    "initializing": "Preparing",
    "building index: performing k-means": KMEANS_PHASE,
    "building index: assigning tuples": ASSIGNING_PHASE,
    "building index: loading tuples": LOADING_PHASE,
}


async def build_index(
    engine: AsyncEngine,
    table: VectorTable,
    spec: IndexSpec,
    *,
    name: str | None = None,
    settings: BuildSettings | None = None,
    concurrently: bool = False,
    on_progress: Callable[[BuildProgress], Awaitable[None]] | None = None,
    poll_seconds: float = 0.5,
) -> BuiltIndex:
    """Builds the index and reports progress; cancelling the task cancels it on the server.

    A broken CONCURRENTLY build leaves an invalid index behind, which is dropped here.
    Raises IndexRefused, AlreadyExists, and what the server says.
    """
    name = name or index_name(table, spec)
    create = CreateIndex(make_index(table, spec, name, concurrently=concurrently))
    wanted = (settings or BuildSettings()).server_settings()
    notices: list[str] = []
    async with _autocommit(engine) as connection:
        await _check_free(connection, table, name)
        check_buildable(table, spec, await _count_usable(connection, table, spec))
        async with _session_settings(connection, wanted), _notices(connection, notices):
            pid = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
            started = time.perf_counter()

            async def tell(now: BuildProgress) -> None:
                if on_progress is not None:
                    await on_progress(replace(now, notices=tuple(notices)))

            building = asyncio.ensure_future(connection.execute(create))
            try:
                await _watch(engine, pid, building, tell, poll_seconds)
            except BaseException as exc:
                # Cancelling twice would interrupt psycopg while it cancels on the server, and
                # the server would build on.
                if not building.cancelling():
                    building.cancel()
                await asyncio.gather(building, return_exceptions=True)
                # An index of that name that was there before is not ours to drop.
                if not isinstance(from_exception(exc), AlreadyExists):
                    await asyncio.shield(_drop_broken(engine, table, name))
                raise
            seconds = time.perf_counter() - started
        built = next(i for i in await list_indexes(connection, table) if i.name == name)
    return BuiltIndex(name, seconds, built.size_bytes, tuple(notices))


async def _watch(
    engine: AsyncEngine,
    pid: int,
    building: asyncio.Future[Any],
    on_progress: Callable[[BuildProgress], Awaitable[None]],
    poll_seconds: float,
) -> None:
    """Waits for the build, and says from time to time how far it is. Raises what it raises."""
    while not (await asyncio.wait({building}, timeout=poll_seconds))[0]:
        if now := await build_progress(engine, pid):
            await on_progress(now)
    await building


@asynccontextmanager
async def _autocommit(engine: AsyncEngine) -> AsyncGenerator[AsyncConnection]:
    """A connection whose statements are transactions of their own, as CONCURRENTLY asks for;
    driver errors come out as VecscopeError."""
    try:
        async with engine.connect() as plain:
            yield await plain.execution_options(isolation_level="AUTOCOMMIT")
    except Exception as exc:
        known = from_exception(exc)
        if known is None or known is exc:
            raise
        raise known from exc


@asynccontextmanager
async def _session_settings(
    connection: AsyncConnection, settings: dict[str, str]
) -> AsyncGenerator[None]:
    """Settings for the statements inside; the connection goes back to the pool without them."""
    await apply_settings(connection, settings, for_session=True)
    try:
        yield
    finally:
        if not connection.invalidated:  # that one is closed, not used again
            for key in settings:
                await connection.exec_driver_sql(f"RESET {key}")


@asynccontextmanager
async def _notices(connection: AsyncConnection, notices: list[str]) -> AsyncGenerator[None]:
    """Collects what the server says beside the results of the statements inside."""

    def note(diagnostic: Any) -> None:
        notices.append(str(diagnostic.message_primary))

    driver: Any = (await connection.get_raw_connection()).driver_connection
    driver.add_notice_handler(note)
    try:
        yield
    finally:
        driver.remove_notice_handler(note)


async def _check_free(connection: AsyncConnection, table: VectorTable, name: str) -> None:
    """Before CREATE INDEX CONCURRENTLY would find out: a second one waits for the first, which
    waits for the second's snapshot, and PostgreSQL ends one of them for the deadlock."""
    for found in await list_indexes(connection, table):
        if found.name == name:
            raise AlreadyExists(
                f"{table.qualified_name} has an index called {name} already"
                + ("." if found.valid else ", and it is not valid: unfinished or broken."),
                hint="Drop it first, or take another name.",
            )


async def _count_usable(connection: AsyncConnection, table: VectorTable, spec: IndexSpec) -> int:
    """How many rows an index can learn from, counted no further than it needs."""
    enough = spec.lists if isinstance(spec, IVFFlat) else 1
    return int((await connection.execute(available_statement(table, enough))).scalar_one())


async def build_progress(engine: AsyncEngine, pid: int) -> BuildProgress | None:
    """How far the build in that server process is, None where none runs."""
    async with engine.connect() as connection:
        row = (await connection.execute(_PROGRESS, {"pid": pid})).first()
    if row is None:
        return None
    by_tuples = bool(row.tuples_total)
    return BuildProgress(
        phase=_PHASES.get(row.phase, row.phase.capitalize()),
        done=row.tuples_done if by_tuples else row.blocks_done,
        total=row.tuples_total if by_tuples else row.blocks_total,
        rows_done=row.tuples_done or 0,
    )


async def _drop_broken(engine: AsyncEngine, table: VectorTable, name: str) -> None:
    """Removes what an interrupted CONCURRENTLY build left, never a valid index."""
    async with _autocommit(engine) as connection:
        for found in await list_indexes(connection, table):
            if found.name == name and not found.valid:
                await connection.execute(_drop(table, name))


async def drop_index(engine: AsyncEngine, table: VectorTable, name: str) -> None:
    """Raises NotFound where the table has no approximate index of that name."""
    async with _autocommit(engine) as connection:
        if name not in {found.name for found in await list_indexes(connection, table)}:
            raise NotFound(f"{table.qualified_name} has no vector index called {name}.")
        await connection.execute(_drop(table, name))


def parse_spec(kind: str, options: Mapping[str, int]) -> IndexSpec:
    """Raises InvalidInput for an unknown kind or option, LimitExceeded for a value."""
    try:
        chosen = IndexKind(kind)
    except ValueError:
        raise InvalidInput(
            f"“{kind}” is no kind of index.", hint="Take hnsw or ivfflat.", field="kind"
        ) from None
    allowed: Sequence[str] = ("lists",) if chosen is IndexKind.IVFFLAT else ("m", "ef_construction")
    for key in options:
        if key not in allowed:
            raise InvalidInput(
                f"{chosen.label} has no option {key}.",
                hint=f"It takes {' and '.join(allowed)}.",
                field=key,
            )
    return IVFFlat(**options) if chosen is IndexKind.IVFFLAT else HNSW(**options)


def parse_spec_text(text: str, rows: int) -> IndexSpec:
    """``ivfflat:lists=100``, ``hnsw:m=16,ef_construction=64``, or the kind alone: what is not said
    is the usual, for IVFFlat that of so many rows.

    Raises InvalidInput where it cannot be read, LimitExceeded for a value.
    """
    kind, _, rest = text.strip().lower().partition(":")
    options: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in rest.split(","))):
        key, _, value = part.partition("=")
        if not value.strip().isdecimal():
            raise InvalidInput(
                f"“{part}” is no option of an index.",
                hint="Write it as ivfflat:lists=100 or hnsw:m=16,ef_construction=64.",
                field="index",
            )
        options[key.strip()] = int(value)
    if kind == IndexKind.IVFFLAT and not options:
        return IVFFlat.for_rows(rows)
    return parse_spec(kind, options)
