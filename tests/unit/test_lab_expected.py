"""How many queries the exact scan is asked, and how a run is shared out."""

from __future__ import annotations

from lib.lab.plan import exact_queries
from lib.lab.progress import Phase, expected_seconds
from lib.lab.spec import ExperimentSpec, QuerySource
from lib.store.candidates import parse_candidate
from lib.vectors.distance import Storage

SPEC = ExperimentSpec((parse_candidate("hnsw", 0, Storage.VECTOR),), clients=(1, 4), rounds=3)


def test_the_exact_scan_is_asked_what_a_minute_allows() -> None:
    # 16 passes (1 for the recall, 3 rounds of 1 + 4 clients) at 6·10⁸ values a second.
    assert exact_queries(SPEC, 10_000, 256) == 50  # 4 ms: 14,000 would do, no more than 50
    assert exact_queries(SPEC, 200_000, 384) == 29  # 128 ms: 60 / (16 · 0.128) = 29.3
    assert exact_queries(SPEC, 1_000_000, 1536) == 10  # 2.6 s: 1.5, no fewer than 10
    few = ExperimentSpec(SPEC.candidates, queries=QuerySource(count=4))
    assert exact_queries(few, 10_000, 256) == 4
    assert exact_queries(SPEC, 0, 256) == 50


def test_a_phase_with_nothing_to_do_takes_no_share() -> None:
    shares = expected_seconds(SPEC, rows=10_000, dimensions=256, settings=8, build_seconds=0)
    assert list(shares) == list(Phase)
    assert shares[Phase.BUILD] == 0
    assert shares[Phase.SWEEP] > shares[Phase.TARGET] > 0
    no_target = ExperimentSpec(SPEC.candidates, target=None)
    found = expected_seconds(no_target, rows=10_000, dimensions=256, settings=8, build_seconds=9)
    assert (found[Phase.TARGET], found[Phase.BUILD]) == (0, 9)
