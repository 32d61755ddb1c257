"""``words build | status | drop``: the word index that BM25 needs."""

from __future__ import annotations

from typing import Any

import click

from lib.cli.collections import confirm
from lib.cli.output import json_option, note, one_line, print_json
from lib.cli.session import find_collection, follow, open_session
from lib.formats import format_bytes
from lib.search.bm25 import (
    LexicalIndex,
    drop_lexical_index,
    find_lexical_index,
    start_lexical_build,
)


@click.group()
def words() -> None:
    """Build, show and drop the word index of a collection.

    It is what ranking by BM25 needs: which word is in which document how often. Once it is built,
    it follows every change of the documents by itself.
    """


@words.command()
@click.option("--collection", "name", required=True)
@json_option
def build(name: str, as_json: bool) -> None:
    """Build the word index, anew where there is one. Readers do not wait, writers do.

    \b
    Example:
      python -m lib words build --collection Films
      python -m lib search "lost in space" --collection Films --text-method bm25
    """
    with open_session() as services:
        collection = find_collection(services, name)
        job = services.database.run(
            start_lexical_build(services.jobs, services.database, collection)
        )
        follow(services, job, if_stopped="What was there before is as it was.")
        found = services.database.query(find_lexical_index, collection)
    _print(collection.name, found, as_json=as_json)


@words.command()
@click.option("--collection", "name", required=True)
@json_option
def status(name: str, as_json: bool) -> None:
    """Show whether there is a word index, and how large it is."""
    with open_session() as services:
        collection = find_collection(services, name)
        found = services.database.query(find_lexical_index, collection)
    _print(collection.name, found, as_json=as_json)


@words.command()
@click.option("--collection", "name", required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def drop(name: str, yes: bool, as_json: bool) -> None:
    """Drop the word index; BM25 has to wait for another one then. Asks first."""
    with open_session() as services:
        collection = find_collection(services, name)
        if not yes:
            confirm(f"Drop the word index of “{collection.name}”?")
        services.database.query(drop_lexical_index, collection)
    if as_json:
        print_json({"collection": collection.name, "words": None})
    else:
        click.echo(f"Dropped the word index of “{one_line(collection.name)}”.")


def _print(name: str, found: LexicalIndex | None, *, as_json: bool) -> None:
    if as_json:
        print_json({"collection": name, "words": None if found is None else _json(found)})
    elif found is None:
        note(f"“{one_line(name)}” has no word index: it can be ranked by ts_rank, not by BM25.")
    else:
        click.echo(
            f"{one_line(name)}: {found.documents:,} documents with {found.average_length:,.1f} "
            f"words each, {found.lexemes:,} different words, {format_bytes(found.size_bytes)}, "
            f"built {found.built_at:%Y-%m-%d %H:%M}."
        )


def _json(found: LexicalIndex) -> dict[str, Any]:
    return {
        "documents": found.documents,
        "average_length": found.average_length,
        "lexemes": found.lexemes,
        "size_bytes": found.size_bytes,
        "built_at": found.built_at,
    }
