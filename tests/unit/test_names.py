"""Names: looked up, and made unique."""

import uuid
from dataclasses import dataclass

import pytest

from lib.errors import NotFound
from lib.store.names import NameLookup, free_name, free_slug, names_hint

LOOKUP = NameLookup("candidate", field="candidate", advice="Build one first.")


@dataclass(frozen=True)
class Thing:
    id: uuid.UUID
    name: str


FIRST = Thing(uuid.UUID(int=1), "Straße")
SECOND = Thing(uuid.UUID(int=2), str(uuid.UUID(int=1)))
"""Its name is the first one's id."""


@pytest.mark.parametrize(
    ("id_or_name", "thing"),
    [
        (FIRST.id, FIRST),
        (str(FIRST.id), FIRST),
        ("STRASSE", FIRST),
        (SECOND.id, SECOND),
    ],
)
def test_found_by_id_or_by_name(id_or_name, thing):
    assert LOOKUP.find([SECOND, FIRST], id_or_name, "Books") is thing


def test_what_is_not_there_is_refused_with_what_there_is():
    with pytest.raises(NotFound) as by_name:
        LOOKUP.find([FIRST], "street", "Books")
    assert by_name.value.message == "“Books” has no candidate called “street”."
    assert (by_name.value.hint, by_name.value.field) == ("There is: “Straße”.", "candidate")
    with pytest.raises(NotFound) as by_id:
        LOOKUP.find([], uuid.UUID(int=3), "Books")
    assert by_id.value.message == "“Books” has no such candidate (any more)."
    assert by_id.value.hint == "Build one first."


def test_a_hint_lists_ten_names():
    assert names_hint(list("abcdefghijkl"), "") == "There is: a, b, c, d, e, f, g, h, i, j."


def test_a_number_makes_a_name_free():
    taken = {"map", "map (2)"}
    assert free_name("map", taken.__contains__, lambda n: f"map ({n})") == "map (3)"
    assert free_name("other", taken.__contains__, lambda n: f"other ({n})") == "other"


def test_a_free_slug_is_no_longer_than_it_may_be():
    assert free_slug("abcde", {"abcde", "abc_2"}, most=5) == "abc_3"
    assert free_slug("abcde", set(), most=5) == "abcde"
