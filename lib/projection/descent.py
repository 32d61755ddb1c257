"""UMAP's stochastic gradient descent: umap-learn's own, more than twice as quick on one thread.

Most of umap-learn's time goes into x**b; here a table knows it
(docs/decisions/023-umaps-descent-is-our-own.md).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from lib.vectors.distance import FloatArray

_NEGATIVES = 5  # points pushed off for each one that is pulled close; umap-learn's own number
_MANTISSAS = 4096


def descend(
    start: FloatArray,
    heads: npt.NDArray[np.int32],
    tails: npt.NDArray[np.int32],
    strengths: FloatArray,
    curve: tuple[float, float],
    epochs: int,
    random: np.random.RandomState,
    on_epoch: Callable[[int, int], None],
) -> FloatArray:
    """Coordinates after so many epochs: float32 (n, dimensions).

    start: (n, dimensions), about 10 wide. heads, tails, strengths: (edges,), both directions of
    each; the strongest is drawn on in each epoch, the others in proportion. curve: a and b of
    1 / (1 + a d²ᵇ), how strongly points at a distance d belong together (McInnes, Healy, Melville
    2018, "UMAP", section 4.2). on_epoch is told how many epochs of how many are done.
    """
    step = compiled_epoch()
    at = np.array(start, dtype=np.float32, order="C")
    drawn = strengths >= strengths.max() / epochs  # weaker ones would have no turn
    heads, tails = heads[drawn], tails[drawn]
    between = strengths.max() / strengths[drawn].astype(np.float64)
    due, push_due = between.copy(), between / _NEGATIVES
    a, b = (np.float32(each) for each in curve)
    powers = power_tables(curve[1])
    state = np.uint64(random.randint(1, 2**63 - 1, dtype=np.int64))
    reported = max(1, epochs // 100)
    for epoch in range(epochs):
        rate = np.float32(1.0 - epoch / epochs)
        state = np.uint64(
            step(at, heads, tails, between, due, push_due, epoch, rate, a, b, *powers, state)
        )
        if (epoch + 1) % reported == 0:
            on_epoch(epoch + 1, epochs)
    return at


def power_tables(exponent: float) -> tuple[FloatArray, FloatArray]:
    """(2**e)**exponent of each binary exponent e of a float32, and m**exponent of 4,096 mantissas m
    in the middle of their ranges: the product of two is a power, to one part in 8,000."""
    scales = 2.0 ** (exponent * (np.arange(256) - 127.0))
    mantissas = (1.0 + (np.arange(_MANTISSAS) + 0.5) / _MANTISSAS) ** exponent
    return scales.astype(np.float32), mantissas.astype(np.float32)


@cache
def compiled_epoch() -> Any:
    """One epoch over the edges that are due, in place; it returns the next random state, that of
    Marsaglia's xorshift64 (2003). Importing what compiles it takes a second."""
    import numba

    @numba.njit(fastmath=True, cache=True)
    def epoch_over_edges(
        at: Any,
        heads: Any,
        tails: Any,
        between: Any,
        due: Any,
        push_due: Any,
        epoch: Any,
        rate: Any,
        a: Any,
        b: Any,
        scales: Any,
        mantissas: Any,
        state: Any,
    ) -> Any:
        n, dimensions = at.shape
        one, limit = np.float32(1.0), np.float32(4.0)
        for edge in range(len(heads)):
            if due[edge] > epoch:
                continue
            j, k = heads[edge], tails[edge]
            squared = np.float32(0.0)
            for axis in range(dimensions):
                squared += (at[j, axis] - at[k, axis]) ** 2
            if squared > 0:
                bits = np.float32(squared).view(np.uint32)
                power = scales[bits >> 23] * mantissas[(bits >> 11) & 4095]
                pull = -(a + a) * b * power / (squared * (a * power + one))
                for axis in range(dimensions):
                    step = pull * (at[j, axis] - at[k, axis])
                    step = rate * min(limit, max(-limit, step))
                    at[j, axis] += step
                    at[k, axis] -= step
            due[edge] += between[edge]
            apart = between[edge] / _NEGATIVES
            count = int((epoch - push_due[edge]) / apart)
            push_due[edge] += count * apart
            for _ in range(count):
                state ^= state << np.uint64(13)
                state ^= state >> np.uint64(7)
                state ^= state << np.uint64(17)
                other = ((state >> np.uint64(32)) * np.uint64(n)) >> np.uint64(32)
                squared = np.float32(0.0)
                for axis in range(dimensions):
                    squared += (at[j, axis] - at[other, axis]) ** 2
                if squared > 0:  # not for the point itself
                    bits = np.float32(squared).view(np.uint32)
                    power = scales[bits >> 23] * mantissas[(bits >> 11) & 4095]
                    push = (b + b) / ((np.float32(0.001) + squared) * (a * power + one))
                    for axis in range(dimensions):
                        step = push * (at[j, axis] - at[other, axis])
                        at[j, axis] += rate * min(limit, max(-limit, step))
        return state

    return epoch_over_edges
