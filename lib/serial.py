"""Dataclasses as JSON that is stored or handed out, and back, by their type annotations."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Set
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from lib.errors import InvalidInput

T = TypeVar("T")


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def to_json(value: Any, *, without: Set[str] = frozenset()) -> dict[str, Any]:
    """All fields of a dataclass under their names, but for those of ``without``, for
    ``json.dumps``. Defaults too: what is stored does not change its meaning when a default does."""
    document: dict[str, Any] = _adapter(cast(Any, type(value))).dump_python(
        value, mode="json", exclude=set(without)
    )
    return document


def from_json(
    kind: type[T], document: Any, *, what: str = "record", without: Set[str] = frozenset()
) -> T:
    """What :func:`to_json` gave; a name that is missing takes the default.

    what: how the value is called in an error. Raises InvalidInput, naming the field, where a value
    does not fit, and for a name that is no field or one of ``without``.
    """
    if not isinstance(document, Mapping):
        raise InvalidInput(f"The settings of a {what} are a JSON object.")
    fields = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for name in document:
        if name not in fields - without:
            raise InvalidInput(f"A {what} has no setting “{name}”.", field=str(name))
    try:
        value: T = _adapter(cast(Any, kind)).validate_python(dict(document))
    except ValidationError as exc:
        problem = exc.errors()[0]
        name = ".".join(str(part) for part in problem["loc"])
        raise InvalidInput(
            f"The setting “{name}” of the {what} cannot be used: {problem['msg']}.", field=name
        ) from None
    return value
