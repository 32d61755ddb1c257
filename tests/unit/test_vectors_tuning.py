"""Limits, and the settings of one transaction."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import InvalidInput, LimitExceeded
from lib.limits import IntRange
from lib.vectors.index_methods import EF_CONSTRUCTION, EF_SEARCH, LISTS, PROBES, IterativeScan, M
from lib.vectors.tuning import MAX_SCAN_TUPLES, BuildSettings, Scan, SearchSettings, set_local_text


def test_limits_are_pgvectors() -> None:
    """ivfflat.h (IVFFLAT_MAX_LISTS …) and hnsw.h (HNSW_MAX_M …), with their defaults."""
    expected = {
        (1, 32768, 100): LISTS,
        (1, 32768, 1): PROBES,
        (2, 100, 16): M,
        (4, 1000, 64): EF_CONSTRUCTION,
        (1, 1000, 40): EF_SEARCH,
        (1, 2147483647, 20000): MAX_SCAN_TUPLES,
    }
    for (low, high, default), limits in expected.items():
        assert (limits.low, limits.high, limits.default) == (low, high, default)


def test_a_limit_takes_its_ends_and_nothing_beyond() -> None:
    limits = IntRange(2, 100, 16)
    assert [limits.check(value, "m") for value in (2, 100)] == [2, 100]
    for value in (1, 101, -5):
        with pytest.raises(LimitExceeded, match="outside 2–100") as caught:
            limits.check(value, "m")
        assert caught.value.field == "m"
    for value in (True, 3.0, "3", None):
        with pytest.raises(LimitExceeded, match="whole number"):
            limits.check(value, "m")  # type: ignore[arg-type]


def test_nothing_chosen_sets_nothing() -> None:
    assert SearchSettings().server_settings() == {}
    assert BuildSettings().server_settings() == {}
    assert set_local_text({}) == ""


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (SearchSettings(probes=7), {"ivfflat.probes": "7"}),
        (SearchSettings(ef_search=99), {"hnsw.ef_search": "99"}),
        (SearchSettings(max_scan_tuples=5), {"hnsw.max_scan_tuples": "5"}),
        (
            SearchSettings(iterative_scan=IterativeScan.OFF),
            {"hnsw.iterative_scan": "off", "ivfflat.iterative_scan": "off"},
        ),
        (
            SearchSettings(iterative_scan=IterativeScan.RELAXED),
            {"hnsw.iterative_scan": "relaxed_order", "ivfflat.iterative_scan": "relaxed_order"},
        ),
        (  # IVFFlat has no strict order: pgvector README, "Iterative Index Scans"
            SearchSettings(iterative_scan=IterativeScan.STRICT),
            {"hnsw.iterative_scan": "strict_order", "ivfflat.iterative_scan": "relaxed_order"},
        ),
        (SearchSettings(scan=Scan.EXACT), {"enable_indexscan": "off"}),
        (SearchSettings(scan=Scan.INDEX), {"enable_seqscan": "off", "enable_sort": "off"}),
        (
            BuildSettings(maintenance_work_mem_mb=512, parallel_workers=0),
            {"maintenance_work_mem": "512MB", "max_parallel_maintenance_workers": "0"},
        ),
    ],
)
def test_settings_by_postgresqls_names(
    chosen: SearchSettings | BuildSettings, expected: dict[str, str]
) -> None:
    assert chosen.server_settings() == expected


@pytest.mark.parametrize(
    "options",
    [
        {"probes": 0},
        {"probes": 32769},
        {"ef_search": 1001},
        {"max_scan_tuples": 2**31},
        {"probes": 3, "scan": Scan.EXACT},
        {"ef_search": 3, "scan": Scan.EXACT},
    ],
)
def test_impossible_settings_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        SearchSettings(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"maintenance_work_mem_mb": 0},
        {"maintenance_work_mem_mb": 2_097_152},  # 2 TB: MAX_KILOBYTES is one kB below
        {"parallel_workers": -1},
        {"parallel_workers": 1025},
    ],
)
def test_impossible_build_settings_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(LimitExceeded):
        BuildSettings(**options)


def or_none(low: int, high: int) -> st.SearchStrategy[int | None]:
    return st.none() | st.integers(low, high)


@given(
    probes=or_none(1, 32768),
    ef_search=or_none(1, 1000),
    max_scan_tuples=or_none(1, 2**31 - 1),
    iterative_scan=st.none() | st.sampled_from(IterativeScan),
    scan=st.sampled_from([Scan.AUTO, Scan.INDEX]),
)
def test_every_possible_choice_is_sent_as_it_is(
    probes: int | None,
    ef_search: int | None,
    max_scan_tuples: int | None,
    iterative_scan: IterativeScan | None,
    scan: Scan,
) -> None:
    chosen = SearchSettings(
        probes=probes,
        ef_search=ef_search,
        iterative_scan=iterative_scan,
        max_scan_tuples=max_scan_tuples,
        scan=scan,
    )
    sent = chosen.server_settings()
    for name, value in (
        ("ivfflat.probes", probes),
        ("hnsw.ef_search", ef_search),
        ("hnsw.max_scan_tuples", max_scan_tuples),
    ):
        assert sent.get(name) == (None if value is None else str(value))
    assert ("hnsw.iterative_scan" in sent) == (iterative_scan is not None)
    assert sent.get("ivfflat.iterative_scan") != "strict_order"
    # and the text to paste says the same, one line each
    lines = set_local_text(sent).splitlines()
    pasted = [re.fullmatch(r"SET LOCAL ([a-z_.]+) = '([a-z0-9_]+)';", line) for line in lines]
    assert {found[1]: found[2] for found in pasted if found} == sent
