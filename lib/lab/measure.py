"""Benchmarks of indexes: recall, latency, and whether it was that index at all.

An :class:`IndexBenchmark` is one candidate with its queries, loaded into clients that are processes
of their own. Of each setting, first all queries once, untimed: that warms the caches up and gives
the recall. Then in each round some more, untimed, and all of them by the clock. The rounds of
several candidates and settings are mixed, so that what the machine does meanwhile is unfair to
none.

The planner would rightly compare every row of a small table. What is measured is the index, so it
is forced (``Scan.INDEX``), and then certified: by the plans of a sample of the queries, made in the
session that is measured, and by the server's own count of the index's scans over all of them.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import AsyncGenerator, Callable, Hashable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import MetaData, Select, Table, select
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from lib.errors import InvalidInput
from lib.lab import protocol as wire
from lib.lab.clients import Clients, open_clients
from lib.lab.measurement import (
    CLIENTS,
    EXACT_NAME,
    ROUNDS,
    LatencyFigures,
    Measurement,
    Protocol,
    RecallFigures,
    SearchParameter,
)
from lib.lab.queries import QueryBatch
from lib.lab.recall import recall_figures, recalls_by_distance, recalls_by_id
from lib.lab.truth import Truth, current_mark
from lib.progress import OnProgress, Step, ignore_progress
from lib.search.filters import Filter, conditions
from lib.store.candidates import Candidate
from lib.store.collections import Collection
from lib.store.database import Database
from lib.store.records import CandidateRecord
from lib.vectors.binary import binary_expression, decode_vector, encode_vectors
from lib.vectors.distance import FloatArray, Storage, check_embedding
from lib.vectors.index_methods import IndexMethod, IterativeScan
from lib.vectors.plans import Certificate, Plan, parse_plan
from lib.vectors.sql import quoted_name
from lib.vectors.statements import candidate_statement
from lib.vectors.table import VectorTable
from lib.vectors.tuning import (
    ITERATIVE_SCAN_SINCE,
    OVERSAMPLING,
    RESULT_LIMIT,
    Scan,
    pgvector_version,
)

WARM_UP_QUERIES = 10
"""Asked, untimed, before each round of a setting."""
EXPLAINED_QUERIES = 20
"""So many plans, spread over the queries, certify a setting and give its buffers."""
CLIENT_QUERIES = 50
"""The fewest that each of several clients asks in a round."""

_VECTOR = "nearest_to"  # the query's parameter in candidate_statement
_MOST_VECTORS = 5000  # read at once, to know the true distances of rows beside the truth
_DIALECT = PGDialect_psycopg()  # type: ignore[no-untyped-call]

DoubleArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RecallPass:
    """One untimed pass over the queries at one search parameter."""

    setting: SearchParameter
    recalls: DoubleArray
    """float64 (q,), by distance."""
    id_recalls: DoubleArray
    """float64 (q,), by id."""
    short: int
    """Queries that got fewer rows than there were to get."""
    certificate: Certificate
    plan_index: str | None
    server_ms: float
    buffers: int

    def figures(self, seed: int = 0) -> RecallFigures:
        return recall_figures(self.recalls, self.id_recalls, seed)


class BenchmarkSession:
    """Makes benchmarks that share their clients: only one of them is measured at a time."""

    def __init__(
        self, database: Database, collection: Collection, clients: Clients, counts: tuple[int, ...]
    ) -> None:
        self._database, self._collection = database, collection
        self._clients, self._counts = clients, counts
        self._made = 0

    async def add(
        self,
        candidate: Candidate | None,
        batch: QueryBatch,
        truth: Truth,
        *,
        k: int,
        filters: Sequence[Filter] = (),
        scan: Scan = Scan.INDEX,
        oversampling: int = OVERSAMPLING.default,
    ) -> IndexBenchmark:
        """candidate: None is the exact scan of the collection's own table. truth: of this batch, k
        or longer, and these filters. scan: AUTO leaves the choice to the planner. oversampling: of
        a candidate whose index is on bits.

        Where queries are rows of the collection, one row more than k is asked for, and the query's
        own is taken out of the answer.
        Raises InvalidInput (a candidate that is not ready, or is of another state of the collection
        than the truth; a truth of other queries), LimitExceeded, and what the server says.
        """
        collection = self._collection
        limit = RESULT_LIMIT.check(k + batch.has_own, "k")
        if len(truth) != len(batch):
            raise InvalidInput(
                f"The truth is of {len(truth):,} queries, not of these {len(batch):,}."
            )
        table = collection.table if candidate is None else candidate.table
        index = None if candidate is None else _ready_index(candidate)
        async with self._database.session() as db:
            if candidate is None:
                mark: int | None = await current_mark(db, collection)
            else:
                mark = await db.scalar(
                    select(CandidateRecord.revision).where(CandidateRecord.id == candidate.id)
                )
            version = await pgvector_version(db)
        name = EXACT_NAME if candidate is None else candidate.name
        if mark != truth.revision:
            raise InvalidInput(
                f"“{name}” cannot be measured by this truth: “{collection.name}” was written to "
                "between the two.",
                hint="Build the candidate anew, then start again.",
                field="candidate",
            )
        self._made += 1
        bench = IndexBenchmark(
            name=name,
            method=None if candidate is None else candidate.method,
            index_name=index,
            batch=batch,
            truth=truth.nearest(k),
            k=k,
            scan=scan,
            client_counts=self._counts,
            database=self._database,
            collection=collection,
            clients=self._clients,
            key=str(self._made),
            limit=limit,
            has_iterative_scan=version >= ITERATIVE_SCAN_SINCE,
        )
        statement = partial(
            candidate_statement,
            table,
            k=limit,
            where=conditions(table, filters),
            oversampling=oversampling,
        )
        await self._clients.tell_all(_load(bench.key, table, statement, batch, index))
        return bench


def _ready_index(candidate: Candidate) -> str:
    if not candidate.ready or candidate.index_name is None:
        raise InvalidInput(
            f"The candidate “{candidate.name}” is {candidate.state.value}, not ready.",
            hint="Build it first.",
            field="candidate",
        )
    return candidate.index_name


def _load(
    key: str,
    table: VectorTable,
    statement: Callable[[FloatArray], Select[Any]],
    batch: QueryBatch,
    index: str | None,
) -> wire.Load:
    vectors = [
        check_embedding(
            vector, dimensions=table.dimensions, distance=table.distance, storage=table.storage
        )
        for vector in batch.vectors
    ]
    compiled = statement(vectors[0]).compile(dialect=_DIALECT)
    return wire.Load(
        key=key,
        sql=str(compiled),
        vector_name=_VECTOR,
        parameters={name: value for name, value in compiled.params.items() if name != _VECTOR},
        vectors=encode_vectors(np.stack(vectors), table.storage),
        is_halfvec=table.storage is Storage.HALFVEC,
        index=None if index is None else _index_address(table, index),
    )


def _index_address(table: VectorTable, index: str) -> str:
    return quoted_name(Table(index, MetaData(), schema=table.schema))


@asynccontextmanager
async def open_benchmarks(
    database: Database, collection: Collection, clients: Sequence[int] = (1,)
) -> AsyncGenerator[BenchmarkSession]:
    """clients: at how many at once the queries a second are measured; 1 is always among them.

    The processes end with the block, however it ends.
    Raises LimitExceeded, DatabaseUnreachable and the like.
    """
    counts = tuple(sorted({1, *(CLIENTS.check(count, "clients") for count in clients)}))
    async with open_clients(database.url, counts[-1]) as opened:
        yield BenchmarkSession(database, collection, opened, counts)


@dataclass(eq=False)
class IndexBenchmark:
    """A candidate, or the exact scan, with its queries. Made by :meth:`BenchmarkSession.add`."""

    name: str
    method: IndexMethod | None
    index_name: str | None
    batch: QueryBatch
    truth: Truth
    k: int
    scan: Scan
    client_counts: tuple[int, ...]
    database: Database
    collection: Collection
    clients: Clients
    key: str
    limit: int
    """Rows that a query asks for: k + 1 where queries are rows of the collection. A search
    parameter that bounds the result below it brings fewer than k others."""
    has_iterative_scan: bool
    _distances: dict[tuple[int, Hashable], float] = field(default_factory=dict)

    def settings_of(self, setting: SearchParameter) -> dict[str, str]:
        """PostgreSQL's names → values, as they hold in the session that is measured.

        Raises InvalidInput for a setting of another kind of index, or one that this pgvector does
        not have.
        """
        if setting.method != self.method:
            raise InvalidInput(
                f"“{self.name}” has no setting {setting.name or 'of an exact scan'}."
            )
        if setting.iterative_scan is not IterativeScan.OFF and not self.has_iterative_scan:
            raise InvalidInput(
                "This pgvector has no iterative scan.",
                hint="It came with pgvector 0.8: update the extension, or measure without.",
                field="iterative_scan",
            )
        return setting.search_settings(
            scan=self.scan, has_iterative_scan=self.has_iterative_scan
        ).server_settings()

    async def recall_only(self, setting: SearchParameter, seed: int = 0) -> RecallFigures:
        """Without the clock: for a search for the smallest setting that will do."""
        return (await self.measure_recall(setting)).figures(seed)

    async def measure(
        self,
        setting: SearchParameter,
        rounds: int = ROUNDS.default,
        *,
        seed: int = 0,
        protocol: Protocol = Protocol.VECSCOPE,
    ) -> Measurement:
        """:func:`measure_all` of one."""
        return (await measure_all([(self, setting)], rounds, seed=seed, protocol=protocol))[0]

    async def measure_recall(self, setting: SearchParameter) -> RecallPass:
        """All queries once, untimed, and the plans of some."""
        settings = self.settings_of(setting)
        count = len(self.batch)
        answers = await self.ask(settings, range(count), with_ids=True)
        plans = await self.plans(settings, EXPLAINED_QUERIES)  # of warm caches
        found = [
            [id_ for id_ in row if id_ != own][: self.k]
            for row, own in zip(answers.ids or [], self.batch.own_ids, strict=True)
        ]
        certificate = self.certify(plans)
        if certificate.certified:
            certificate = self.certify_scans(answers, count) or certificate
        return RecallPass(
            setting=setting,
            recalls=recalls_by_distance(await self._true_distances(found), self.truth.distances),
            id_recalls=recalls_by_id(_padded(found, self.k), self.truth.ids),
            short=sum(
                len(row) < there
                for row, there in zip(found, self.truth.found.tolist(), strict=True)
            ),
            certificate=certificate,
            plan_index=plans[0].vector_index,
            server_ms=statistics.median(
                (plan.planning_ms or 0.0) + (plan.execution_ms or 0.0) for plan in plans
            ),
            buffers=round(
                statistics.median(
                    (plan.buffers_hit or 0) + (plan.buffers_read or 0) for plan in plans
                )
            ),
        )

    async def plans(self, settings: dict[str, str], count: int) -> list[Plan]:
        """Of queries that are spread over the batch, really run."""
        order = np.unique(np.linspace(0, len(self.batch) - 1, count).astype(int)).tolist()
        (explained,) = await self.clients.ask([wire.Explain(self.key, settings, order)])
        return [parse_plan(document) for document in explained.documents]

    async def ask(
        self,
        settings: dict[str, str],
        order: Sequence[int],
        *,
        warm_up: Sequence[int] = (),
        with_ids: bool = False,
    ) -> wire.Answers:
        """By the first client."""
        message = wire.Ask(self.key, settings, order, warm_up, with_ids)
        (answers,) = await self.clients.ask([message])
        assert isinstance(answers, wire.Answers)
        return answers

    def certify(self, plans: Sequence[Plan]) -> Certificate:
        """Certified where each of the plans is: by the index, or for the exact scan without one."""
        if self.index_name is None:
            used = next((plan.vector_index for plan in plans if plan.vector_index), None)
            if used is not None:
                return Certificate(False, f"The plan used {used}: that is no exact scan.")
            return Certificate(True, "No vector index took part: every row was compared.")
        each = [plan.certify(self.index_name) for plan in plans]
        return next((one for one in each if not one.certified), each[0])

    def certify_scans(self, answers: wire.Answers, asked: int) -> Certificate | None:
        """Not certified where the index was scanned less often than queries were asked; else
        None."""
        if answers.scans is None or answers.scans >= asked:
            return None
        return Certificate(
            False,
            f"{self.index_name} was scanned {answers.scans:,} times in {asked:,} queries.",
        )

    async def _true_distances(self, found: Sequence[Sequence[Hashable]]) -> DoubleArray:
        """Float64 (q, k), infinite for what is farther than the truth.

        By the collection's own vectors, whatever the candidate holds. A row beside the truth can
        only be as near as the truth's last where a tie is known of; else nothing need be read.
        """
        distances = np.full((len(found), self.k), np.inf)
        unknown: list[tuple[int, Hashable]] = []
        known: list[dict[Hashable, float]] = []
        for query, row in enumerate(found):
            known.append(dict(zip(self.truth.ids[query], self.truth.distances[query], strict=True)))
            if self.truth.tied[query]:
                unknown += [
                    (query, id_)
                    for id_ in row
                    if id_ not in known[query] and (query, id_) not in self._distances
                ]
        for start in range(0, len(unknown), _MOST_VECTORS):
            await self._learn(unknown[start : start + _MOST_VECTORS])
        for query, row in enumerate(found):
            for place, id_ in enumerate(row):
                distance = known[query].get(id_)
                if distance is None:
                    distance = self._distances.get((query, id_), np.inf)
                distances[query, place] = distance
        return distances

    async def _learn(self, wanted: Sequence[tuple[int, Hashable]]) -> None:
        table = self.collection.table
        key, embedding = table.column(table.id), table.column(table.embedding)
        async with self.database.session() as db:
            rows = await db.execute(
                select(key, binary_expression(embedding, table.storage)).where(
                    key.in_({id_ for _, id_ in wanted}), embedding.is_not(None)
                )
            )
            vectors = {row[0]: decode_vector(row[1], table.storage) for row in rows}
        by_query: dict[int, list[Hashable]] = {}
        for query, id_ in wanted:
            if id_ in vectors:
                by_query.setdefault(query, []).append(id_)
        for query, ids in by_query.items():
            between = table.distance.between(
                self.batch.vectors[query], np.stack([vectors[id_] for id_ in ids])
            )
            for id_, distance in zip(ids, between.tolist(), strict=True):
                self._distances[query, id_] = distance


def _padded(found: Sequence[Sequence[Hashable]], k: int) -> npt.NDArray[np.object_]:
    ids: npt.NDArray[Any] = np.full((len(found), k), None, dtype=object)
    for query, row in enumerate(found):
        ids[query, : len(row)] = row
    return ids


# --- rounds -------------------------------------------------------------------------------------

BenchmarkPoint = tuple[IndexBenchmark, SearchParameter]
"""One candidate at one search parameter: what a measurement is made of."""


async def measure_all(
    points: Sequence[BenchmarkPoint],
    rounds: int = ROUNDS.default,
    *,
    seed: int = 0,
    protocol: Protocol = Protocol.VECSCOPE,
    on_progress: OnProgress[Step] = ignore_progress,
) -> list[Measurement]:
    """Measures all points, in a random order that is another in each round; the result has the
    order of ``points``.

    Latencies and queries a second are medians over the rounds, under ANN_BENCHMARKS those of the
    best round. Raises LimitExceeded, InvalidInput, DatabaseProblem where the server or a client
    goes away.
    """
    ROUNDS.check(rounds, "rounds")
    chance = random.Random(seed)
    runs = [
        _PointMeasurement(bench, setting, bench.settings_of(setting)) for bench, setting in points
    ]
    steps = len(runs) * (1 + rounds)
    done = 0
    for number in range(1 + rounds):
        for run in chance.sample(runs, len(runs)):
            if number == 0:
                await run.measure_recall()
            else:
                await run.time_round(chance)
            done += 1
            stage = f"round {number} of {rounds}" if number else "recall"
            await on_progress(Step(done / steps, f"{run.label}: {stage}"))
    for run in runs:
        await run.certify_again()
    return [run.measurement(seed, best=protocol is Protocol.ANN_BENCHMARKS) for run in runs]


@dataclass(eq=False)
class _PointMeasurement:
    """What the rounds gather of one benchmark at one search parameter."""

    bench: IndexBenchmark
    setting: SearchParameter
    settings: dict[str, str]
    seconds: list[DoubleArray] = field(default_factory=list)
    qps: dict[int, list[float]] = field(default_factory=dict)
    recall_pass: RecallPass | None = None
    revocation: Certificate | None = None
    """Why the certificate of the recall pass no longer holds."""

    @property
    def label(self) -> str:
        parameter = f" {self.setting.name} {self.setting.value}" if self.setting.method else ""
        return f"{self.bench.name}{parameter}"

    async def measure_recall(self) -> None:
        self.recall_pass = await self.bench.measure_recall(self.setting)

    async def time_round(self, chance: random.Random) -> None:
        bench, count = self.bench, len(self.bench.batch)
        order = chance.sample(range(count), count)
        warm_up = chance.choices(range(count), k=min(count, WARM_UP_QUERIES))
        answers = await bench.ask(self.settings, order, warm_up=warm_up)
        seconds = np.empty(count)
        seconds[order] = answers.seconds
        self.seconds.append(seconds)
        self.qps.setdefault(1, []).append(count / (answers.ended - answers.started))
        self.revocation = self.revocation or bench.certify_scans(answers, count + len(warm_up))
        for clients in bench.client_counts:
            if clients > 1:
                self.qps.setdefault(clients, []).append(await self._together(clients, chance))

    async def _together(self, clients: int, chance: random.Random) -> float:
        """Queries a second of so many clients at once, each with a share of the queries."""
        bench, count = self.bench, len(self.bench.batch)
        each = max(-(-count // clients), min(count, CLIENT_QUERIES))
        places = range(count)
        warm = [
            wire.Ask(bench.key, self.settings, chance.choices(places, k=WARM_UP_QUERIES))
            for _ in range(clients)
        ]
        await bench.clients.ask(warm)  # all are warm before the first begins
        orders = [chance.choices(places, k=each) for _ in range(clients)]
        answers = await bench.clients.ask(
            [wire.Ask(bench.key, self.settings, order) for order in orders]
        )
        seconds: float = max(one.ended for one in answers) - min(one.started for one in answers)
        return clients * each / seconds

    async def certify_again(self) -> None:
        """What was certified before the rounds may be gone after them."""
        plans = await self.bench.plans(self.settings, 1)
        certificate = self.bench.certify(plans)
        if not certificate.certified:
            self.revocation = self.revocation or certificate
        if self.bench.index_name is None:
            async with self.bench.database.session() as db:
                mark = await current_mark(db, self.bench.collection)
            if mark != self.bench.truth.revision:
                self.revocation = self.revocation or Certificate(
                    False, f"“{self.bench.collection.name}” was written to meanwhile."
                )

    def measurement(self, seed: int, *, best: bool) -> Measurement:
        assert self.recall_pass is not None
        milliseconds = 1000 * np.stack(self.seconds)
        if best:
            milliseconds = milliseconds[[int(milliseconds.mean(axis=1).argmin())]]
        p50, p95, p99 = np.median(np.quantile(milliseconds, (0.5, 0.95, 0.99), axis=1), axis=1)
        certificate = self.recall_pass.certificate
        if certificate.certified:
            certificate = self.revocation or certificate
        return Measurement(
            candidate=self.bench.name,
            setting=self.setting,
            k=self.bench.k,
            queries=len(self.bench.batch),
            rounds=len(self.seconds),
            recall=self.recall_pass.figures(seed),
            latency=LatencyFigures(float(p50), float(p95), float(p99), self.recall_pass.server_ms),
            qps={
                clients: max(rates) if best else statistics.median(rates)
                for clients, rates in self.qps.items()
            },
            short=self.recall_pass.short,
            buffers=self.recall_pass.buffers,
            certified=certificate.certified,
            reason=certificate.reason,
            plan_index=self.recall_pass.plan_index,
            recalls=self.recall_pass.recalls,
            latencies_ms=np.median(milliseconds, axis=0),
        )
