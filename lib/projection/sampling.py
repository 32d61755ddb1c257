"""Which documents of a large collection are laid out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def stratified(categories: Sequence[str | None], limit: int, seed: int) -> npt.NDArray[np.int64]:
    """Places of at most ``limit`` of them, ascending, each category in proportion to its size.

    Shares are rounded by the largest remainder (Hamilton's method); a category that would get
    nothing gets one as long as there is room, so that none is missing from the picture. The same
    seed and the same categories give the same places.
    """
    count = len(categories)
    if count <= limit:
        return np.arange(count)
    _, kinds = np.unique(
        np.array(["" if each is None else f" {each}" for each in categories]), return_inverse=True
    )
    sizes = np.bincount(kinds)
    exact = sizes * (limit / count)
    quotas = np.floor(exact).astype(np.int64)
    if len(sizes) <= limit:
        quotas = np.maximum(quotas, 1)
    while quotas.sum() > limit:  # what was rounded up to one is taken from the largest
        quotas[np.argmax(quotas)] -= 1
    order = np.argsort(-(exact - quotas), kind="stable")
    quotas[order[: limit - quotas.sum()]] += 1
    random = np.random.default_rng(seed)
    chosen = [
        random.choice(np.flatnonzero(kinds == kind), quota, replace=False)
        for kind, quota in enumerate(quotas.tolist())
    ]
    return np.sort(np.concatenate(chosen))
