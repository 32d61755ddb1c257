"""How alike two answers are, against tables worked by hand and the measures' own definitions."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import InvalidInput
from lib.search.compare import (
    ComparedColumn,
    index_preset,
    jaccard,
    overlap,
    rank_biased_overlap,
    rank_changes_between,
)
from lib.search.request import Mode, SearchRequest
from lib.vectors.search import Document, Hit, SearchResult
from lib.vectors.statements import nearest_statement
from lib.vectors.table import VectorTable


def extrapolated(one: str, other: str, p: float) -> float:
    """RBO by its definition, an infinite sum of agreements (Webber et al., equation 4): each order
    is taken to go on agreeing as it did, place by place (their section 4.4)."""
    short, long = sorted((one, other), key=len)
    s, l = len(short), len(long)  # noqa: E741
    known = [len(set(short[:d]) & set(long[:d])) for d in range(l + 1)]

    def agreement(d: int) -> float:
        if d <= s:
            return known[d] / d
        if d <= l:
            return (known[d] + known[s] / s * (d - s)) / d
        return agreement(l)

    return (1 - p) * sum(p ** (d - 1) * agreement(d) for d in range(1, 3000))


# Worked by hand for p = 0.5: (1−p)/p is 1, and p^d is ½, ¼, ⅛, …
@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("ab", "ab", 1.0),  # 1·½ + 1·¼ + 1·¼
        ("ab", "cd", 0.0),
        ("ab", "ba", 0.5),  # 0·½ + (2/2)·¼ + (2/2)·¼
        ("abc", "acb", 0.875),  # 1·½ + ½·¼ + 1·⅛ + 1·⅛
        ("a", "ab", 1.0),  # ½ + ½·¼ + 1·1/(1·2)·¼ + ((1−1)/2 + 1/1)·¼
        ("b", "ab", 0.25),  # 0 + ½·¼ + 0 + ((1−0)/2 + 0)·¼
        ("", "", 1.0),
        ("", "a", 0.0),
    ],
)
def test_rank_biased_overlap_by_hand(one: str, other: str, expected: float) -> None:
    assert rank_biased_overlap(one, other, 0.5) == pytest.approx(expected)
    assert rank_biased_overlap(other, one, 0.5) == pytest.approx(expected)


ORDERS = st.permutations("abcdefgh").flatmap(
    lambda order: st.integers(1, len(order)).map(lambda n: "".join(order[:n]))
)


@given(ORDERS, ORDERS, st.sampled_from([0.5, 0.9, 0.98]))
def test_rank_biased_overlap_is_the_infinite_sum(one: str, other: str, p: float) -> None:
    assert rank_biased_overlap(one, other, p) == pytest.approx(extrapolated(one, other, p))
    assert rank_biased_overlap(one, one, p) == pytest.approx(1.0)


def test_the_first_places_count_most() -> None:
    order = "abcdefgh"
    swapped = [order[:n] + order[n + 1] + order[n] + order[n + 2 :] for n in range(len(order) - 1)]
    values = [rank_biased_overlap(order, each) for each in swapped]
    assert all(a < b for a, b in itertools.pairwise(values))


def test_overlap_and_jaccard() -> None:
    assert (overlap("abcd", "cdef"), jaccard("abcd", "cdef")) == (0.5, 2 / 6)
    assert (overlap("ab", "abcd"), jaccard("ab", "abcd")) == (0.5, 0.5)
    assert (overlap("ab", ""), jaccard("ab", "")) == (0.0, 0.0)
    assert (overlap("", ""), jaccard("", "")) == (1.0, 1.0)


def column(label: str, ids: str) -> ComparedColumn:
    hits = tuple(Hit(Document(id_)) for id_ in ids)
    statement = nearest_statement(VectorTable("docs", dimensions=1), [1.0], 10)
    return ComparedColumn(label, SearchRequest("q"), SearchResult(hits, statement, 10))


def test_moves() -> None:
    rank_changes = rank_changes_between([column("x", "abc"), column("y", "ca"), column("z", "db")])
    assert [(move.document.id, move.ranks, move.only_in) for move in rank_changes] == [
        ("a", (1, 2, None), None),
        ("b", (2, None, 2), None),
        ("c", (3, 1, None), None),
        ("d", (None, None, 1), 2),
    ]


# --- the preset -----------------------------------------------------------------------------------


@dataclass
class Named:
    name: str


def test_the_preset_says_what_to_build() -> None:
    with pytest.raises(InvalidInput, match="no IVFFlat and HNSW candidate") as missing:
        index_preset(Named("My films"), SearchRequest("q", Mode.HYBRID), ())  # type: ignore[arg-type]
    assert '--collection "My films" --index ivfflat --index hnsw' in missing.value.hint
