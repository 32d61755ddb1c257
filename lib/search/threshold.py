"""What a distance threshold cuts, and where a natural place for one is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FEWEST_FOR_A_SUGGESTION = 5


@dataclass(frozen=True, slots=True)
class Gap:
    """The widest step between neighbouring distances. below: how many are nearer than it."""

    threshold: float
    width: float
    below: int


def count_below(distances: Sequence[float], threshold: float) -> int:
    """How many distances a threshold lets through: distance < threshold."""
    return int((np.asarray(distances, dtype=np.float64) < threshold).sum())


def widest_gap(distances: Sequence[float]) -> Gap | None:
    """The middle of the largest gap between two neighbouring distances, the nearer of equals; a
    suggestion, no more. None for too few distances, or where all are equal.

    The first distance is left out as a border: a document that is the question itself makes a gap
    that says nothing.
    """
    ordered = np.sort(np.asarray(distances, dtype=np.float64))
    ordered = ordered[np.isfinite(ordered)]
    if len(ordered) < FEWEST_FOR_A_SUGGESTION:
        return None
    steps = np.diff(ordered[1:])
    place = int(np.argmax(steps)) + 1
    width = float(steps[place - 1])
    if width <= 0.0:
        return None
    return Gap(float(ordered[place] + ordered[place + 1]) / 2, width, place + 1)
