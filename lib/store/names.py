"""Names that people give to what is stored: made unique, and looked up."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from lib.errors import NotFound

_MOST_LISTED = 10
"""How many names a hint lists."""


class Named(Protocol):
    """What has an id and a name."""

    @property
    def id(self) -> uuid.UUID: ...

    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=Named)


@dataclass(frozen=True, slots=True)
class NameLookup:
    """How things of one kind are looked up, and what is said where one is not there."""

    kind: str
    """Such as “candidate”."""
    field: str
    """The field of the NotFound."""
    advice: str
    """The hint where there is none of the kind."""

    def find(self, items: Sequence[N], id_or_name: uuid.UUID | str, owner: str) -> N:
        """By id, or by name (capitals do not matter); an id goes before a name.

        owner: the name of their collection. Raises NotFound, naming what there is.
        """
        for item in items:
            if id_or_name in (item.id, str(item.id)):
                return item
        for item in items:
            if isinstance(id_or_name, str) and item.name.casefold() == id_or_name.casefold():
                return item
        raise self.not_found(id_or_name, owner, [item.name for item in items])

    def not_found(
        self, id_or_name: uuid.UUID | str, owner: str, names: Sequence[str] = ()
    ) -> NotFound:
        """names: of what there is."""
        return NotFound(
            f"“{owner}” has no such {self.kind} (any more)."
            if isinstance(id_or_name, uuid.UUID)
            else f"“{owner}” has no {self.kind} called “{id_or_name}”.",
            hint=names_hint([f"“{name}”" for name in names], self.advice),
            field=self.field,
        )


def names_hint(names: Sequence[str], advice: str) -> str:
    """The hint that lists the first names of what there is; the advice where there is none."""
    return f"There is: {', '.join(names[:_MOST_LISTED])}." if names else advice


def free_name(name: str, is_taken: Callable[[str], bool], numbered: Callable[[int], str]) -> str:
    """The name, or the first numbered one, from 2, that is free."""
    free, number = name, 1
    while is_taken(free):
        number += 1
        free = numbered(number)
    return free


def free_slug(slug: str, taken: Container[str], most: int) -> str:
    """The slug, or with the first number that makes it free, in at most so many characters."""

    def numbered(number: int) -> str:
        tail = f"_{number}"
        return slug[: most - len(tail)] + tail

    return free_name(slug, taken.__contains__, numbered)
