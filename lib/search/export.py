"""The export of a search: as SQL, as SQLAlchemy code, as JSON and as a command line.

There is no HTTP API, so there is nothing for ``curl``; the command line takes its place.
"""

from __future__ import annotations

import json
import shlex
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lib.search.example import Example
from lib.search.request import Mode, SearchRequest
from lib.serial import from_json, to_json
from lib.vectors.code import statement_code
from lib.vectors.distance import FloatArray, vector_text
from lib.vectors.index_methods import IterativeScan
from lib.vectors.search import SearchResult
from lib.vectors.tuning import Scan

PROGRAM = "python -m lib"
_SHOWN_NUMBERS = 2
_WIDTH = 88


@dataclass(frozen=True, slots=True)
class CodeText:
    """Code that holds vectors, to be copied and to be read."""

    full: str
    """It runs as it is."""
    abbreviated: str
    """With each vector cut short."""


# --- SQL and Python -----------------------------------------------------------------------------


def sql_text(result: SearchResult) -> CodeText:
    """The whole transaction for psql: its settings, and the statement with its parameters in it."""
    full = abbreviated = result.sql
    for vector in statement_code(result.statement).vectors.values():
        abbreviated = abbreviated.replace(
            f"'{vector_text(vector)}'", f"'{_abbreviated(vector, ',')}'"
        )
    return CodeText(full, abbreviated)


def python_text(result: SearchResult) -> CodeText:
    """A program in SQLAlchemy that asks the same of the database in DATABASE_URL."""
    code = statement_code(result.statement, uses=("create_engine", "func", "select"))
    columns = [name for name in _SHOWN_COLUMNS if name in result.statement.selected_columns]
    settings = "".join(f'    "{name}": "{value}",\n' for name, value in result.settings.items())
    run = [
        *([f"settings = {{\n{settings}}}"] if settings else []),
        "with engine.begin() as connection:",
        *(_SETTING if settings else ()),
        "    for row in connection.execute(statement):",
        f"        print({', '.join(f'row.{name}' for name in columns)})",
    ]

    def program(vectors: Mapping[str, str]) -> str:
        parts = [
            "\n".join(["import os", *code.imports]),
            "# postgresql+psycopg://user:password@host:5432/database",
            'engine = create_engine(os.environ["DATABASE_URL"])',
            *(f"{name} = {vector}" for name, vector in vectors.items()),
            code.body,
            "",
            *run,
        ]
        return "\n".join(parts) + "\n"

    return CodeText(
        full=program({name: f"[\n{_lines(v)}\n]" for name, v in code.vectors.items()}),
        abbreviated=program({name: _abbreviated(v, ", ") for name, v in code.vectors.items()}),
    )


_SHOWN_COLUMNS = ("id", "title", "distance", "text_value", "fused")
_SETTING = (
    "    for name, value in settings.items():  # for this transaction only",
    "        connection.execute(select(func.set_config(name, value, True)))",
)


def _abbreviated(vector: FloatArray, between: str) -> str:
    """Such as ``[0.1,0.2,… 256 numbers]``."""
    numbers = _written(vector)
    if len(numbers) <= _SHOWN_NUMBERS + 1:
        return f"[{between.join(numbers)}]"
    return f"[{between.join(numbers[:_SHOWN_NUMBERS])}{between}… {len(numbers):,} numbers]"


def _lines(vector: FloatArray) -> str:
    lines = textwrap.wrap(", ".join(_written(vector)), _WIDTH - 4)
    return textwrap.indent("\n".join(lines), "    ")


def _written(vector: FloatArray) -> list[str]:
    return vector_text(vector)[1:-1].split(",")


# --- JSON ---------------------------------------------------------------------------------------


_NO_SETTINGS = {"with_plan"}
"""Fields of a request that are no settings of a search."""


def request_to_json(request: SearchRequest) -> dict[str, Any]:
    """All settings of a request under stable names, for ``json.dumps``."""
    return to_json(request, without=_NO_SETTINGS)


def request_from_json(document: Any) -> SearchRequest:
    """What :func:`request_to_json` gave; a name that is missing takes the default.

    Raises InvalidInput, naming the setting, for anything else.
    """
    return from_json(SearchRequest, document, what="search", without=_NO_SETTINGS)


def example_to_json(example: Example) -> dict[str, Any]:
    """Its documents by their ids, its text and its vector."""
    return to_json(example)


def example_from_json(document: Any) -> Example:
    """What :func:`example_to_json` gave. Raises InvalidInput for anything else."""
    return from_json(Example, document, what="search")


# --- the command line ---------------------------------------------------------------------------


def command_line(
    request: SearchRequest, collection: str, example: Example | None = None
) -> str | None:
    """The same search as a command for a POSIX shell; defaults are left out. None where it cannot
    be one: an example with a text."""
    if example is not None and example.text:
        return None
    plain, default = request, SearchRequest("")
    arguments: list[str] = []

    def add(option: str, value: object, usual: object = None) -> None:
        if value is not None and value != usual:
            arguments.extend((f"--{option}", str(value)))

    add("collection", collection)
    if example is None:
        add("mode", plain.mode.value)
    else:
        for document in example.like:
            add("like", document)
        for document in example.unlike:
            add("unlike", document)
        add("vector", None if example.vector is None else json.dumps(example.vector))
    add("limit", plain.limit, default.limit)
    if plain.mode is not Mode.TEXT:
        add("max-distance", plain.max_distance)
    add("category", plain.category)
    for each in plain.filters:
        add("filter", str(each))
    if plain.mode is Mode.HYBRID:
        add("vector-weight", plain.vector_weight, default.vector_weight)
        add("fusion", plain.fusion.value, default.fusion.value)
        add("pool", plain.pool, default.pool)
    if plain.mode.uses_text:
        add("text-query", None if plain.text_query is None else plain.text_query.value)
        add("text-method", plain.text_method.value, default.text_method.value)
        add("k1", plain.bm25.k1, default.bm25.k1)
        add("b", plain.bm25.b, default.bm25.b)
    if plain.mode.uses_vectors:
        settings = plain.settings
        for name, value in settings.parameters.items():
            add(name.replace("_", "-"), value)
        add("max-scan-tuples", settings.max_scan_tuples)
        add("iterative-scan", _ITERATIVE[settings.iterative_scan])
        add("candidate", plain.candidate_id)
        implied = Scan.INDEX if settings.parameters else Scan.AUTO
        add("scan", settings.scan.value, implied.value)
    asked = ["--", shlex.quote(plain.query)] if example is None else []
    return " ".join([PROGRAM, "search", *map(shlex.quote, arguments), *asked])


_ITERATIVE = {
    None: None,
    IterativeScan.OFF: "off",
    IterativeScan.STRICT: "strict",
    IterativeScan.RELAXED: "relaxed",
}
