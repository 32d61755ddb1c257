from __future__ import annotations

import pytest

from lib.search.fusion import count_below, widest_gap


def test_the_middle_of_the_widest_gap() -> None:
    gap = widest_gap([0.5, 0.1, 0.2, 0.22, 0.52, 0.55])
    assert gap is not None
    assert gap.threshold == pytest.approx((0.22 + 0.5) / 2)
    assert gap.width == pytest.approx(0.28)
    assert gap.below == 3
    assert count_below([0.5, 0.1, 0.2, 0.22, 0.52, 0.55], gap.threshold) == gap.below


def test_the_question_itself_makes_no_gap() -> None:
    """0 stands far from the rest, but a threshold between would leave the document alone."""
    gap = widest_gap([0.0, 0.6, 0.61, 0.70, 0.71])
    assert gap is not None
    assert gap.below == 3


def test_nothing_to_suggest() -> None:
    assert widest_gap([]) is None
    assert widest_gap([0.1, 0.2, 0.3, 0.9]) is None
    assert widest_gap([0.4] * 9) is None
    assert widest_gap([0.4] * 9 + [float("nan")] * 3) is None


def test_a_threshold_is_strict() -> None:
    assert count_below([0.1, 0.2, 0.3], 0.2) == 1
