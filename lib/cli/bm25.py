"""``bm25 build | status | drop``: the BM25 index of a collection. ``words`` is its earlier name."""

from __future__ import annotations

from typing import Any

import click

from lib.cli.collections import confirm
from lib.cli.output import collection_option, json_option, note, one_line, print_json
from lib.cli.session import find_collection, follow, open_session
from lib.formats import format_bytes
from lib.search.bm25 import (
    LexicalIndex,
    drop_lexical_index,
    find_lexical_index,
    start_lexical_build,
)

_JSON_KEY = "words"
"""As programs that read the output have known it from the first."""


@click.group()
def bm25() -> None:
    """Build, show and drop the BM25 index of a collection.

    It says which word is in which document how often. Once it is built, it follows every change of
    the documents by itself.
    """


@bm25.command()
@collection_option
@json_option
def build(name: str, as_json: bool) -> None:
    """Build the BM25 index, anew where there is one. Readers do not wait, writers do.

    \b
    Example:
      python -m lib bm25 build --collection Films
      python -m lib search "lost in space" --collection Films --text-method bm25
    """
    with open_session() as services:
        collection = find_collection(services, name)
        job = services.database.run(
            start_lexical_build(services.jobs, services.database, collection)
        )
        follow(services, job, if_stopped="What was there before is as it was.")
        index = services.database.query(find_lexical_index, collection)
    _print(collection.name, index, as_json=as_json)


@bm25.command()
@collection_option
@json_option
def status(name: str, as_json: bool) -> None:
    """Show whether there is a BM25 index, and how large it is."""
    with open_session() as services:
        collection = find_collection(services, name)
        index = services.database.query(find_lexical_index, collection)
    _print(collection.name, index, as_json=as_json)


@bm25.command()
@collection_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def drop(name: str, yes: bool, as_json: bool) -> None:
    """Drop the BM25 index; ranking by BM25 needs another one then. Asks first."""
    with open_session() as services:
        collection = find_collection(services, name)
        if not yes:
            confirm(f"Drop the BM25 index of “{collection.name}”?")
        services.database.query(drop_lexical_index, collection)
    if as_json:
        print_json({"collection": collection.name, _JSON_KEY: None})
    else:
        click.echo(f"Dropped the BM25 index of “{one_line(collection.name)}”.")


def _print(name: str, index: LexicalIndex | None, *, as_json: bool) -> None:
    if as_json:
        print_json({"collection": name, _JSON_KEY: None if index is None else _json(index)})
    elif index is None:
        note(f"“{one_line(name)}” has no BM25 index: it can be ranked by ts_rank, not by BM25.")
    else:
        click.echo(
            f"{one_line(name)}: {index.documents:,} documents with {index.average_length:,.1f} "
            f"words each, {index.lexemes:,} different words, {format_bytes(index.size_bytes)}, "
            f"built {index.built_at:%Y-%m-%d %H:%M}."
        )


def _json(index: LexicalIndex) -> dict[str, Any]:
    return {
        "documents": index.documents,
        "average_length": index.average_length,
        "lexemes": index.lexemes,
        "size_bytes": index.size_bytes,
        "built_at": index.built_at,
    }
