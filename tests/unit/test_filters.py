"""Filters as they are typed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import InvalidInput
from lib.search.filters import Filter, FilterOp, parse_filter

EQUALS, IN, EXISTS = FilterOp.EQUALS, FilterOp.IN, FilterOp.EXISTS
AT_LEAST, AT_MOST = FilterOp.AT_LEAST, FilterOp.AT_MOST


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("genre=drama", Filter("genre", EQUALS, "drama")),
        ("year=2019", Filter("year", EQUALS, "2019")),
        ("genre=drama, comedy", Filter("genre", IN, ("drama", "comedy"))),
        ('author="Woolf, V.",Joyce', Filter("author", IN, ("Woolf, V.", "Joyce"))),
        ('author="Woolf, V."', Filter("author", EQUALS, "Woolf, V.")),
        ("formula=a=b", Filter("formula", EQUALS, "a=b")),
        ("text=x>=3", Filter("text", EQUALS, "x>=3")),
        ("genre=", Filter("genre", EQUALS, "")),
        ("year>=2019", Filter("year", AT_LEAST, 2019)),
        ("year<=-1.5", Filter("year", AT_MOST, -1.5)),
        (" year >= 1e3 ", Filter("year", AT_LEAST, 1000.0)),
        ("date>=2024-01-31", Filter("date", AT_LEAST, "2024-01-31")),
        ("date>=NaN", Filter("date", AT_LEAST, "NaN")),
        ("year", Filter("year", EXISTS)),
    ],
)
def test_what_is_typed(typed: str, expected: Filter) -> None:
    assert parse_filter(typed) == expected


@pytest.mark.parametrize("typed", ["", "=a", ">=3", "year>=", 'a="x', 'a="x"y'])
def test_what_is_no_filter(typed: str) -> None:
    with pytest.raises(InvalidInput):
        parse_filter(typed)


@pytest.mark.parametrize(
    ("op", "value"),
    [
        (EQUALS, 3),
        (EQUALS, None),
        (IN, "a"),
        (IN, ()),
        (IN, ("a",) * 1001),
        (EXISTS, "a"),
        (AT_LEAST, ("a",)),
        (AT_LEAST, True),
        (AT_MOST, float("inf")),
    ],
)
def test_a_value_that_does_not_fit(op: FilterOp, value: object) -> None:
    with pytest.raises(InvalidInput):
        Filter("field", op, value)  # type: ignore[arg-type]


words = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"))
values = st.one_of(
    words.map(lambda value: (EQUALS, value)),
    st.lists(words, min_size=2, max_size=4).map(lambda found: (IN, tuple(found))),
    st.tuples(
        st.sampled_from([AT_LEAST, AT_MOST]),
        st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    ),
    st.just((EXISTS, None)),
)


@given(field=st.from_regex(r"[a-z_.]{1,8}", fullmatch=True), comparison=values)
def test_a_filter_is_read_as_it_is_written(field: str, comparison: tuple[FilterOp, object]) -> None:
    wanted = Filter(field, *comparison)  # type: ignore[arg-type]
    assert parse_filter(str(wanted)) == wanted
