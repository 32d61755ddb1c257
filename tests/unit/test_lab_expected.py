"""How many queries the exact scan is asked, and how a run is shared out."""

from __future__ import annotations

from dataclasses import replace

from lib.lab.collection_stats import CollectionStats
from lib.lab.estimates import estimate
from lib.lab.plan import (
    Plan,
    PlannedCandidate,
    exact_queries,
    experiment_seconds,
    phase_seconds,
)
from lib.lab.progress import Phase
from lib.lab.spec import ExperimentSpec, QuerySource
from lib.store.candidates import parse_candidate
from lib.vectors.distance import Distance, Storage

SPEC = ExperimentSpec((parse_candidate("hnsw", 0, Storage.VECTOR),), clients=(1, 4), rounds=3)
STATS = CollectionStats(10_000, 10_000, 256, Storage.VECTOR, Distance.COSINE, 2**26, 0)


def plan(build_seconds: float) -> Plan:
    spec = SPEC.candidates[0]
    expected = replace(estimate(STATS, spec), copy_seconds=0.0, build_seconds=build_seconds)
    return Plan(STATS, (PlannedCandidate(spec, expected),))


def test_the_exact_scan_is_asked_what_a_minute_allows() -> None:
    # 16 passes (1 for the recall, 3 rounds of 1 + 4 clients) at 6·10⁸ values a second.
    assert exact_queries(SPEC, 10_000, 256) == 50  # 4 ms: 14,000 would do, no more than 50
    assert exact_queries(SPEC, 200_000, 384) == 29  # 128 ms: 60 / (16 · 0.128) = 29.3
    assert exact_queries(SPEC, 1_000_000, 1536) == 10  # 2.6 s: 1.5, no fewer than 10
    few = ExperimentSpec(SPEC.candidates, queries=QuerySource(count=4))
    assert exact_queries(few, 10_000, 256) == 4
    assert exact_queries(SPEC, 0, 256) == 50


def test_a_phase_with_nothing_to_do_takes_no_share() -> None:
    shares = phase_seconds(plan(build_seconds=0), SPEC)
    assert list(shares) == list(Phase)
    assert shares[Phase.BUILD] == 0
    assert shares[Phase.SWEEP] > shares[Phase.TARGET] > 0
    no_target = ExperimentSpec(SPEC.candidates, target=None)
    found = phase_seconds(plan(build_seconds=9), no_target)
    assert (found[Phase.TARGET], found[Phase.BUILD]) == (0, 9)


def test_the_bar_and_the_button_go_by_one_model() -> None:
    whole = plan(build_seconds=9)
    assert experiment_seconds(whole, SPEC) == sum(phase_seconds(whole, SPEC).values())


def test_truth_takes_what_its_operations_and_its_reading_take() -> None:
    # 100,000 × 256 rows, 1,000 queries: 2 · 1,000 · 100,000 · 256 / 2.5·10¹⁰ s = 2.05 s, and
    # 100,000 · (4 · 256 + 8) bytes / 150 MB/s = 0.69 s.
    stats = replace(STATS, rows=100_000, usable=100_000)
    spec = replace(SPEC, queries=QuerySource(count=1000))
    truth = phase_seconds(replace(plan(0), stats=stats), spec)[Phase.TRUTH]
    assert round(truth, 2) == 2.74
