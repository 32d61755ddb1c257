"""Numbers as people read them: units, few digits, and no 0 or 100 % that is not exactly that."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.formats import (
    format_bytes,
    format_count,
    format_duration,
    format_ms,
    format_percent,
    format_rate,
    shorten,
)


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [
        (0, "0 bytes"),
        (512, "512 bytes"),
        (1023, "1,023 bytes"),
        (1536, "1.5 kB"),
        (3 * 1024, "3.0 kB"),
        (10 * 1024**2, "10 MB"),
        (12_300_000, "12 MB"),
        (5 * 2**30, "5.0 GB"),
        (5 * 1024**5, "5,120 TB"),
    ],
)
def test_bytes(size_bytes: int, shown: str) -> None:
    assert format_bytes(size_bytes) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0, "0 ms"),
        (0.04, "40 ms"),
        (0.25, "250 ms"),
        (0.865, "865 ms"),
        (0.9996, "1.0 s"),
        (1.24, "1.2 s"),
        (4.57, "4.6 s"),
        (9.96, "10 s"),
        (41.3, "41 s"),
        (89, "89 s"),
        (90, "1 min 30 s"),
        (120, "2 min"),
        (125, "2 min 5 s"),
        (599.6, "10 min"),
        (1020, "17 min"),
        (5400, "1.5 h"),
        (7200, "2.0 h"),
    ],
)
def test_durations(seconds: float, shown: str) -> None:
    assert format_duration(seconds) == shown


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [
        (0.04, "0.04 ms"),
        (0.871, "0.87 ms"),
        (4.21, "4.2 ms"),
        (41.3, "41 ms"),
        (99.94, "100 ms"),
        (1204.2, "1,204 ms"),
    ],
)
def test_latencies(milliseconds: float, shown: str) -> None:
    assert format_ms(milliseconds) == shown


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (0.0, "0 %"),
        (0.0001, "< 0.1 %"),
        (0.0006, "0.1 %"),
        (0.9, "90 %"),
        (0.95, "95 %"),
        (0.953, "95.3 %"),
        (0.9996, "99.9 %"),
        (0.99999, "99.9 %"),
        (1.0, "100 %"),
    ],
)
def test_shares(share: float, shown: str) -> None:
    assert format_percent(share) == shown


@given(st.floats(0, 1))
def test_a_share_is_0_or_100_percent_only_where_it_is_exactly_that(share: float) -> None:
    assert (format_percent(share) == "0 %") == (share == 0)
    assert (format_percent(share) == "100 %") == (share == 1)


def test_counts_and_rates() -> None:
    assert format_count(1, "document") == "1 document"
    assert format_count(2000, "document") == "2,000 documents"
    assert format_count(2, "query", "queries") == "2 queries"
    assert (format_rate(8.24), format_rate(1204.4)) == ("8.2", "1,204")


def test_a_long_text_is_shortened_to_one_line() -> None:
    assert shorten("a  b\nc", 70) == "a b c"
    assert shorten("abcdef", 6) == "abcdef"
    assert shorten("abc defg", 5) == "abc…"
