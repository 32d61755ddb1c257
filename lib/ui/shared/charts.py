"""Colours and labels of figures. A colour says what something is, on all pages (Okabe–Ito); the
ground and the text are Streamlit's, light or dark."""

from __future__ import annotations

from lib.formats import shorten

MOVED, SAME = "#E69F00", "#0072B2"
TEXT, VECTOR, FUSED = "#009E73", "#CC79A7", "#D55E00"

# Categories without a meaning of their own; yellow is left out, it vanishes on white.
SERIES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#7f7f7f")

_LABEL_CHARACTERS = 42


def shortened(label: str, characters: int = _LABEL_CHARACTERS) -> str:
    """A label that fits, plain: Plotly reads HTML in labels."""
    short = shorten(label, characters)
    return short.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
