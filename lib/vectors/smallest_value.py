"""The search for the smallest value of a search parameter that reaches a target, such as a recall,
or one document found. Pure: it says which value to try next."""

from __future__ import annotations

import math
from collections.abc import Mapping


def next_value(
    known: Mapping[int, bool], low: int, high: int, *, doubling: bool = False
) -> int | None:
    """The value to try next, looking for the smallest in low…high that reaches a target; None
    where the search is over: :func:`smallest` tells what it found.

    known: value → whether it reached. While none has reached, ``high`` is tried: it tells at once
    whether any will. With ``doubling`` it is twice the largest that was tried instead, from ``low``
    on: right where a higher value is dear to try and the smallest is likely to be low.

    Where recall does not rise with every step (HNSW's may waver) it is one that reaches while the
    one below does not. Between the two nearest known values the geometric middle is taken: recall
    changes with the logarithm of both parameters.
    """
    tried = {value: ok for value, ok in known.items() if low <= value <= high}
    reaching = smallest(tried)
    if reaching is None:
        if high in tried:
            return None
        if not doubling:
            return high
        return min(2 * max(tried), high) if tried else low
    failing = max(
        (value for value, ok in tried.items() if not ok and value < reaching), default=low - 1
    )
    if reaching - failing <= 1:
        return None
    middle = round(math.sqrt(max(failing, 1) * reaching))
    return min(max(middle, failing + 1), reaching - 1)


def smallest(known: Mapping[int, bool]) -> int | None:
    """The smallest value that is known to reach."""
    return min((value for value, ok in known.items() if ok), default=None)
