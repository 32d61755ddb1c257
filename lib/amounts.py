"""Amounts as people read them, on pages, in reports and on the command line."""

from __future__ import annotations


def size(size_bytes: int) -> str:
    """Such as 12 MB, 1 kB being 1,024 bytes, as PostgreSQL writes it."""
    amount, units = float(size_bytes), ("bytes", "kB", "MB", "GB", "TB")
    for unit in units:
        if amount < 1024 or unit == units[-1]:
            break
        amount /= 1024
    return f"{amount:,.0f} {unit}" if unit == "bytes" or amount >= 10 else f"{amount:.1f} {unit}"
