"""What an experiment is said to take, before it is run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lib.errors import IndexRefused
from lib.lab.collection_stats import CollectionStats
from lib.lab.estimates import estimate
from lib.lab.measurement import SearchParameter
from lib.lab.plan import Plan, PlannedCandidate, exact_ms, experiment_seconds, query_ms
from lib.lab.spec import ExperimentSpec, QuerySource
from lib.store.candidates import CandidateSpec
from lib.vectors.distance import Distance, ElementType, Storage
from lib.vectors.index_methods import HNSW, IVFFLAT, IterativeScan

FACTS = CollectionStats(100_000, 100_000, 256, Storage.VECTOR, Distance.COSINE, 2**26, 0)
IVF = CandidateSpec(IVFFLAT.spec(lists=100), ElementType.VECTOR)
GRAPH = CandidateSpec(HNSW.spec(), ElementType.VECTOR)
SPEC = ExperimentSpec((IVF, GRAPH), QuerySource(count=500))


def plan(**changes: object) -> Plan:
    facts = replace(FACTS, **changes)  # type: ignore[arg-type]
    return Plan(
        facts, tuple(PlannedCandidate(each, estimate(facts, each)) for each in (IVF, GRAPH))
    )


def test_what_asks_more_takes_longer() -> None:
    usual = experiment_seconds(plan(), SPEC)
    assert usual > plan().build_seconds > 0
    for dearer in (
        replace(SPEC, rounds=6),
        replace(SPEC, queries=QuerySource(count=1000)),
        replace(SPEC, clients=(1, 4)),
    ):
        assert experiment_seconds(plan(), dearer) > usual
    assert experiment_seconds(plan(), replace(SPEC, target=None)) < usual
    assert experiment_seconds(plan(), SPEC, pace=2.0) > usual
    assert experiment_seconds(plan(rows=1_000_000, usable=1_000_000), SPEC) > usual


def test_a_query_that_looks_at_more_takes_longer() -> None:
    def cost(candidate: CandidateSpec, setting: SearchParameter) -> float:
        return query_ms(FACTS, candidate, setting, SPEC)

    few, many = SearchParameter(IVFFLAT, 1), SearchParameter(IVFFLAT, 50)
    assert cost(IVF, few) < cost(IVF, many) < exact_ms(FACTS.rows, FACTS.dimensions)
    short, broad = SearchParameter(HNSW, 20), SearchParameter(HNSW, 200)
    assert cost(GRAPH, short) < cost(GRAPH, broad)
    goes_on = SearchParameter(HNSW, 20, IterativeScan.RELAXED)
    assert cost(GRAPH, short) < cost(GRAPH, goes_on)
    bits = CandidateSpec(HNSW.spec(), ElementType.BIT)
    assert cost(bits, broad) != cost(GRAPH, broad)


def test_a_plan_with_a_refusal_cannot_be_run() -> None:
    whole = plan()
    assert whole.possible
    refused = replace(whole.candidates[0], refusal=IndexRefused("No."))
    assert not replace(whole, candidates=(refused, whole.candidates[1])).possible
    assert not replace(whole, disk_refusal=IndexRefused("Full.")).possible
    assert not replace(whole, candidates=()).possible


def test_only_what_is_still_to_be_built_counts() -> None:
    whole = plan()
    first, second = whole.candidates
    assert whole.disk_bytes == first.estimate.disk_bytes + second.estimate.disk_bytes
    assert whole.build_seconds == pytest.approx(first.estimate.seconds + second.estimate.seconds)
