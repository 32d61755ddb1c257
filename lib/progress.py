"""Progress of long work: what it tells while it runs, and the callback that it tells it to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar


class Progress(Protocol):
    """How far long work is. Work that has more to tell has a class of its own with these two."""

    @property
    def share(self) -> float | None:
        """0–1; None where it cannot be told."""

    @property
    def message(self) -> str:
        """What is being done, in one line for people."""


@dataclass(frozen=True, slots=True)
class Step:
    """Progress of work that has nothing more to tell."""

    share: float | None
    message: str


ProgressT = TypeVar("ProgressT", bound=Progress)

OnProgress = Callable[[ProgressT], Awaitable[None]]
"""Called while the work goes on, as often as the work likes; it may raise to stop the work."""


async def ignore_progress(_progress: Progress) -> None:
    """For work that nobody watches."""
