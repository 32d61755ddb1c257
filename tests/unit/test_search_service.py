"""What the search service fills in where nobody chose."""

from __future__ import annotations

import pytest

from lib.search.request import Mode, SearchRequest
from lib.search.service import effective_settings
from lib.vectors.index_methods import IterativeScan
from lib.vectors.statements import TextQuery
from lib.vectors.tuning import Scan, SearchSettings

STRICT, RELAXED = IterativeScan.STRICT, IterativeScan.RELAXED


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        # pgvector's ef_search is 40: enough for 10 or 40 rows, not for 41.
        (SearchRequest("q", Mode.SIMILARITY), SearchSettings()),
        (SearchRequest("q", Mode.SIMILARITY, limit=40), SearchSettings()),
        (SearchRequest("q", Mode.SIMILARITY, limit=41), SearchSettings(ef_search=41)),
        (SearchRequest("q", Mode.SIMILARITY, limit=5000), SearchSettings(ef_search=1000)),
        # A hybrid's vector leg fetches its pool, and at least what is asked for.
        (SearchRequest("q", Mode.HYBRID, pool=40), SearchSettings()),
        (SearchRequest("q", Mode.HYBRID, pool=300), SearchSettings(ef_search=300)),
        (SearchRequest("q", Mode.HYBRID, pool=50, limit=80), SearchSettings(ef_search=80)),
        # A filter comes after the index: it goes on looking.
        (
            SearchRequest("q", Mode.SIMILARITY, category="a"),
            SearchSettings(iterative_scan=STRICT),
        ),
        # What was chosen stays.
        (
            SearchRequest("q", Mode.SIMILARITY, limit=99, settings=SearchSettings(ef_search=7)),
            SearchSettings(ef_search=7),
        ),
        (
            SearchRequest(
                "q",
                Mode.SIMILARITY,
                category="a",
                settings=SearchSettings(iterative_scan=RELAXED, probes=3),
            ),
            SearchSettings(iterative_scan=RELAXED, probes=3),
        ),
        (
            SearchRequest(
                "q",
                Mode.SIMILARITY,
                category="a",
                settings=SearchSettings(iterative_scan=IterativeScan.OFF),
            ),
            SearchSettings(iterative_scan=IterativeScan.OFF),
        ),
        (
            SearchRequest(
                "q",
                Mode.HYBRID,
                pool=300,
                category="a",
                settings=SearchSettings(scan=Scan.EXACT),
            ),
            SearchSettings(scan=Scan.EXACT),
        ),
    ],
)
def test_an_index_is_not_short_of_rows(request_: SearchRequest, expected: SearchSettings) -> None:
    assert effective_settings(request_, iterative_scan_exists=True) == expected


def test_an_old_pgvector_is_not_asked_for_iterative_scan() -> None:
    request = SearchRequest("q", Mode.SIMILARITY, category="a")
    assert effective_settings(request, iterative_scan_exists=False) == SearchSettings()


@pytest.mark.parametrize(
    ("mode", "chosen", "expected"),
    [
        (Mode.TEXT, None, TextQuery.WEB),
        (Mode.HYBRID, None, TextQuery.ANY),
        (Mode.TEXT, TextQuery.PLAIN, TextQuery.PLAIN),
        (Mode.HYBRID, TextQuery.WEB, TextQuery.WEB),
    ],
)
def test_how_a_question_becomes_a_text_query(
    mode: Mode, chosen: TextQuery | None, expected: TextQuery
) -> None:
    assert SearchRequest("q", mode, text_query=chosen).text_kind is expected
