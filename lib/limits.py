"""Ranges that numbers are checked against; widgets and options take their limits from them."""

from __future__ import annotations

from dataclasses import dataclass

from lib.errors import LimitExceeded


@dataclass(frozen=True, slots=True)
class IntRange:
    """An inclusive range of whole numbers, with where to start."""

    low: int
    high: int
    default: int

    def check(self, value: int, field: str) -> int:
        """Raises LimitExceeded, naming the field and the range."""
        if isinstance(value, bool) or not isinstance(value, int):
            raise LimitExceeded(f"{field} must be a whole number, not {value!r}.", field=field)
        if not self.low <= value <= self.high:
            raise LimitExceeded(
                f"{field} is {value:,}, outside {self.low:,}–{self.high:,}.", field=field
            )
        return value
