"""Hits as a file to take along: CSV for spreadsheets, JSON lines for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from lib.vectors.search import Hit

COLUMNS = (
    "rank",
    "id",
    "external_id",
    "part",
    "title",
    "category",
    "distance",
    "similarity",
    "vector_rank",
    "text_rank",
    "text_value",
    "fused",
    "content",
    "metadata",
)
# A spreadsheet takes a cell that begins like this for a formula and runs it, wherever the text came
# from (OWASP, "CSV Injection").
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def hits_csv(hits: Sequence[Hit]) -> bytes:
    """UTF-8 with a byte-order mark, which tells Excel; lines end with CR LF (RFC 4180).

    A text that a spreadsheet would take for a formula has an apostrophe before it; numbers stay
    what they are.
    """
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow(COLUMNS)
    for row in _rows(hits):
        row["metadata"] = json.dumps(row["metadata"], ensure_ascii=False, default=str)
        writer.writerow([harmless(row[name]) for name in COLUMNS])
    return stream.getvalue().encode("utf-8-sig", "replace")


def hits_jsonl(hits: Sequence[Hit]) -> bytes:
    """UTF-8, an object a line, with the names of COLUMNS."""
    lines = (json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in _rows(hits))
    return "".join(lines).encode("utf-8", "replace")


def _rows(hits: Sequence[Hit]) -> list[dict[str, Any]]:
    rows = []
    for rank, hit in enumerate(hits, start=1):
        values = {**asdict(hit), **asdict(hit.document), "rank": rank}
        values["id"] = _plain(values["id"])
        values["metadata"] = values["metadata"] or {}
        rows.append({name: values[name] for name in COLUMNS})
    return rows


def _plain(key: Any) -> Any:
    """A key of any type, as JSON can have it."""
    return key if isinstance(key, str | int) else str(key)


def harmless(value: Any) -> Any:
    """A cell that no spreadsheet runs: one like a formula has an apostrophe before it."""
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        return f"'{value}"
    return value
