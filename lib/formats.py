"""Numbers as people read them: the same on every page, in reports and in the terminal."""

from __future__ import annotations


def format_bytes(size_bytes: int) -> str:
    """A size such as 12 MB, 1 kB being 1,024 bytes, as PostgreSQL's pg_size_pretty has it."""
    amount, units = float(size_bytes), ("bytes", "kB", "MB", "GB", "TB")
    for unit in units:
        if amount < 1024 or unit == units[-1]:
            break
        amount /= 1024
    return f"{amount:,.0f} {unit}" if unit == "bytes" or amount >= 10 else f"{amount:.1f} {unit}"


def format_count(number: int, noun: str, plural: str | None = None) -> str:
    """A number of things: 1 document, 2,000 documents."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def format_ms(milliseconds: float) -> str:
    """A latency with two or three digits that mean something: 0.87 ms, 4.2 ms, 1,204 ms."""
    digits = 2 if milliseconds < 1 else 1 if milliseconds < 10 else 0
    return f"{milliseconds:,.{digits}f} ms"


def format_duration(seconds: float) -> str:
    """A time that something takes: 865 ms, 4.6 s, 41 s, 2 min, 2 min 5 s, 17 min, 1.5 h.

    Tenths below 10 s, since builds are compared; seconds beside minutes below 10 minutes.
    """
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 600:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:,.1f} h"


def format_percent(share: float) -> str:
    """A share of 0–1 as 95.3 %, or 95 %; 0 and 100 % only where it is exactly that."""
    if 0 < share < 0.0005:
        return "< 0.1 %"
    shown = round(100 * share, 1)
    if shown >= 100 and share < 1:
        return "99.9 %"
    return f"{shown:.0f} %" if shown == round(shown) else f"{shown:.1f} %"


def format_rate(per_second: float) -> str:
    """A rate without its unit: 8.2, 1,204."""
    return f"{per_second:,.0f}" if per_second >= 10 else f"{per_second:.1f}"


def shorten(text: str, characters: int) -> str:
    """A text in one line of at most so many characters, with … where something is left out."""
    line = " ".join(text.split())
    return line if len(line) <= characters else line[: characters - 1].rstrip() + "…"
