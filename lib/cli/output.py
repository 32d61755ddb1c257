"""What commands print: JSON and tables on stdout, errors on stderr."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from lib.errors import VecscopeError

F = TypeVar("F", bound=Callable[..., Any])


class Stopped(VecscopeError):
    """A person stopped it by Ctrl-C, and it has ended in good order."""


def json_option(command: F) -> F:
    """``--json`` → as_json."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON document, for machines."
    )(command)


collection_option = click.option(
    "--collection", "name", required=True, help="The collection's name."
)
"""``--collection`` → name."""


def print_json(document: Any) -> None:
    """Ids and times become text. ASCII only, so that no terminal's encoding can break it."""
    click.echo(json.dumps(document, indent=2, default=str, allow_nan=False))


def note(text: str) -> None:
    """A line beside the result: on stderr."""
    click.echo(text, err=True)


def print_error(error: VecscopeError, *, as_json: bool) -> None:
    """One line that says what is wrong, and one that says what to do."""
    if as_json:
        said = {"message": error.message, "hint": error.hint, "field": error.field}
        print_json({"error": said})
    note(click.style("Error: ", fg="red", bold=True) + one_line(error.message))
    if error.hint:
        note(f"Hint: {one_line(error.hint)}")


def one_line(text: str) -> str:
    """Text from documents and file names, with nothing in it that could steer a terminal."""
    line = " ".join(text.split())
    return line if line.isprintable() else "".join(c if c.isprintable() else "�" for c in line)


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]], *, most: int = 60) -> None:
    """Columns as wide as their widest cell, ``most`` characters at the most; numbers to the
    right, "–" where there is nothing."""
    cells = [["–" if cell is None else one_line(str(cell)) for cell in row] for row in rows]
    cells = [[cell if _width(cell) <= most else _cut(cell, most) for cell in row] for row in cells]
    lines = [list(header), *cells]
    widths = [max(_width(line[column]) for line in lines) for column in range(len(header))]
    numeric = [
        bool(rows)
        and all(isinstance(row[column], int | float) or row[column] is None for row in rows)
        for column in range(len(header))
    ]
    for number, line in enumerate(lines):
        padded = []
        for cell, width, right in zip(line, widths, numeric, strict=True):
            space = " " * (width - _width(cell))
            padded.append(space + cell if right else cell + space)
        text = "  ".join(padded).rstrip()
        click.echo(click.style(text, bold=True) if number == 0 else text)


def _width(text: str) -> int:
    """Columns of a terminal: East Asian characters and most emoji take two."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def _cut(text: str, most: int) -> str:
    while text and _width(text) >= most:
        text = text[:-1]
    return text + "…"
