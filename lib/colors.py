"""Colours of what charts and reports compare: one for each index method, and the exact scan's."""

from __future__ import annotations

from lib.vectors.index_methods import IndexMethod, index_methods

EXACT = "#7f7f7f"
# Okabe and Ito 2008, told apart by colour-blind readers too.
_METHODS = ("#E69F00", "#0072B2", "#CC79A7", "#56B4E9", "#D55E00")


def method_color(method: IndexMethod | None) -> str:
    """By the method's place in the registry; None is the exact scan."""
    if method is None:
        return EXACT
    return _METHODS[index_methods().index(method) % len(_METHODS)]
