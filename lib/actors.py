"""Who writes: every function that changes something says by ``actor`` for whom it does.

Today there is one actor, whoever runs Vecscope. Roles and an audit trail have their place here:
:func:`writes` stands before every write, so that neither has to touch each of them again. An actor
is always passed on, never looked up: a job runs on the loop, far from whoever started it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_writers: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Actor:
    """Whoever has something written: recorded with jobs."""

    name: str

    def __str__(self) -> str:
        return self.name


LOCAL = Actor("local")
"""Whoever runs the server or the command line."""


def writers() -> Mapping[str, str]:
    """Every registered function that has been imported, by its qualified name, and its action."""
    return MappingProxyType(_writers)


def writes(
    action: str,
) -> Callable[[Callable[P, Coroutine[Any, Any, T]]], Callable[P, Coroutine[Any, Any, T]]]:
    """Registers an async function as one that writes, under an action such as "collections.drop".

    Raises TypeError where the function has no keyword ``actor`` with LOCAL as its default.
    """

    def register(
        function: Callable[P, Coroutine[Any, Any, T]],
    ) -> Callable[P, Coroutine[Any, Any, T]]:
        name = f"{function.__module__}.{function.__qualname__}"
        actor = inspect.signature(function).parameters.get("actor")
        if actor is None or actor.kind is not actor.KEYWORD_ONLY or actor.default is not LOCAL:
            raise TypeError(f"{name} writes, and takes no keyword actor: Actor = LOCAL")
        _writers[name] = action
        return function

    return register
