"""Experiments made by hand, for what only reads measurements."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from lib.lab.experiment import CandidateFacts, DataFacts, Experiment, ExperimentState, TargetResult
from lib.lab.measurement import (
    EXACT_NAME,
    Interval,
    LatencyFigures,
    Measurement,
    RecallFigures,
    SearchParameter,
)
from lib.lab.spec import ExperimentSpec
from lib.store.candidates import CandidateSpec
from lib.vectors.distance import ElementType
from lib.vectors.index_methods import HNSW, IVFFLAT, IndexMethod

IVF = "IVFFlat lists 100"
GRAPH = "HNSW m 16, ef_construction 64"
WHEN = datetime(2026, 11, 23, 5, 0, tzinfo=UTC)


def figures(mean: float, *, spread: float = 0.01, by_id: float | None = None) -> RecallFigures:
    return RecallFigures(
        Interval(mean, mean - spread, min(1.0, mean + spread)),
        id_mean=mean if by_id is None else by_id,
        worst_decile=mean / 2,
        zero=0,
    )


def measured(
    candidate: str,
    kind: IndexMethod | None,
    value: int | None,
    recall: float,
    p50_ms: float,
    *,
    p95_ms: float | None = None,
    qps: Mapping[int, float] | None = None,
    certified: bool = True,
    spread: float = 0.01,
    by_id: float | None = None,
    short: int = 0,
) -> Measurement:
    plan_index = None if kind is None else "the_index"
    return Measurement(
        candidate=candidate,
        setting=SearchParameter(kind, value),
        k=10,
        queries=4,
        rounds=3,
        recall=figures(recall, spread=spread, by_id=by_id),
        latency=LatencyFigures(p50_ms, p95_ms or 2 * p50_ms, 3 * p50_ms),
        qps={1: 1000 / p50_ms} if qps is None else qps,
        short=short,
        buffers=120,
        certified=certified,
        reason="The plan used the_index." if certified else "The plan used no vector index.",
        plan_index=plan_index if certified else None,
        recalls=np.array([recall, recall, 0.5, 1.0]),
        latencies_ms=np.array([p50_ms, p50_ms, p50_ms, 3 * p50_ms]),
    )


def facts(
    name: str,
    kind: IndexMethod,
    *,
    index_bytes: int = 50_000_000,
    build_seconds: float = 12.0,
    storage: str = "vector",
) -> CandidateFacts:
    options = {"lists": 100} if kind is IVFFLAT else {"m": 16, "ef_construction": 64}
    listed = ",".join(f"{key}={value}" for key, value in options.items())
    return CandidateFacts(
        id=uuid.uuid5(uuid.NAMESPACE_OID, name),
        name=name,
        text=f"{kind.name}:{listed}@{storage}",
        method=kind,
        options=options,
        storage=storage,
        index_name="the_index",
        rows=100_000,
        change_mark=7,
        build_seconds=build_seconds,
        index_bytes=index_bytes,
        table_bytes=100_000_000,
        maintenance_work_mem="64MB",
        parallel_workers=2,
    )


# The table that the tests are worked by hand on. Recall; its interval is ± 0.01.
#   IVFFlat: 20 MB, 2 s     probes 1 → 0.50 in 0.5 ms, 10 → 0.93 in 2 ms, 30 → 0.97 in 5 ms
#   HNSW:    80 MB, 20 s    ef 10 → 0.88 in 0.4 ms, 40 → 0.965 in 0.8 ms, 200 → 0.995 in 2.5 ms
#   exact:   1.0 in 40 ms
IVF_FACTS = facts(IVF, IVFFLAT, index_bytes=20_000_000, build_seconds=2.0)
GRAPH_FACTS = facts(GRAPH, HNSW, index_bytes=80_000_000, build_seconds=20.0)
TABLE = (
    measured(IVF, IVFFLAT, 1, 0.50, 0.5),
    measured(IVF, IVFFLAT, 10, 0.93, 2.0),
    measured(IVF, IVFFLAT, 30, 0.97, 5.0),
    measured(GRAPH, HNSW, 10, 0.88, 0.4),
    measured(GRAPH, HNSW, 40, 0.965, 0.8),
    measured(GRAPH, HNSW, 200, 0.995, 2.5),
    measured(EXACT_NAME, None, None, 1.0, 40.0, spread=0.0),
)


def target_result(candidate: str, kind: IndexMethod, value: int) -> TargetResult:
    return TargetResult(candidate, SearchParameter(kind, value), True, 0.955)


def experiment(
    measurements: Sequence[Measurement] = TABLE,
    *,
    target_results: Sequence[TargetResult] = (
        target_result(IVF, IVFFLAT, 30),
        target_result(GRAPH, HNSW, 40),
    ),
    facts: Sequence[CandidateFacts] = (IVF_FACTS, GRAPH_FACTS),
    name: str = "First",
    **spec: Any,
) -> Experiment:
    return Experiment(
        id=uuid.uuid5(uuid.NAMESPACE_OID, name),
        collection_id=uuid.uuid5(uuid.NAMESPACE_OID, "collection"),
        job_id=None,
        name=name,
        spec=ExperimentSpec(
            (
                CandidateSpec(IVFFLAT.spec(lists=100), ElementType.VECTOR),
                CandidateSpec(HNSW.spec(), ElementType.VECTOR),
            ),
            **spec,
        ),
        state=ExperimentState.DONE,
        error="",
        hint="",
        environment={"postgres": "18.4", "pgvector": "0.8.5", "cpus": 2, "settings": {}},
        data=DataFacts(
            rows=100_000,
            dimensions=256,
            distance="cosine",
            storage="vector",
            change_mark=7,
            queries=4,
            queries_described="4 rows at random (seed 0)",
            selectivity=1.0,
        ),
        facts=tuple(facts),
        target_results=tuple(target_results),
        measurements=tuple(measurements),
        changed="",
        stale=False,
        created_at=WHEN,
        finished_at=WHEN,
    )
