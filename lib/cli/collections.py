"""``collections list | create | drop``."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import click
from sqlalchemy.ext.asyncio import AsyncSession

from lib.cli.output import json_option, note, one_line, print_json, print_table
from lib.cli.session import find_collection, open_session
from lib.errors import InvalidInput
from lib.formats import format_bytes
from lib.services import Services, make_collection
from lib.store.collections import (
    Collection,
    CollectionSummary,
    drop_collection,
    list_collections,
    summarise,
)
from lib.store.records import SCHEMA, TABLE_PREFIX
from lib.vectors.distance import Distance, Storage


@click.group()
def collections() -> None:
    """List, create and drop collections.

    A collection is a named set of documents in one table, embedded by one model.
    """


@collections.command("list")
@json_option
def list_(as_json: bool) -> None:
    """Show all collections: documents, embedded share, model, index and size."""
    with open_session() as services:
        summaries = services.database.query(summarise_all)
    if as_json:
        print_json({"collections": [summary_json(summary) for summary in summaries]})
    else:
        print_summaries(summaries)


@dataclass(frozen=True)
class CollectionOptions:
    """What a new collection is like; None takes the model's own."""

    model: str | None
    distance: str | None
    storage: str | None
    text_config: str

    def make(self, services: Services, name: str) -> Collection:
        return services.database.run(
            make_collection(
                services,
                name,
                model=self.model,
                distance=None if self.distance is None else Distance(self.distance),
                storage=None if self.storage is None else Storage(self.storage),
                text_config=self.text_config,
            )
        )


@collections.command()
@click.argument("name")
@click.option(
    "--model",
    help="The embedding model, such as openai/text-embedding-3-small; by default VECSCOPE_MODEL.",
)
@click.option(
    "--distance",
    type=click.Choice([distance.value for distance in Distance]),
    help="By default the model's own.",
)
@click.option(
    "--storage",
    type=click.Choice([storage.value for storage in Storage]),
    help="halfvec takes half the room. By default vector, where that can be indexed.",
)
@click.option(
    "--text-config",
    default="english",
    show_default=True,
    help="The full-text configuration: the language of the documents, or simple.",
)
@json_option
def create(name: str, as_json: bool, **options: Any) -> None:
    """Create an empty collection called NAME.

    \b
    Example:
      python -m lib collections create "My documents" --text-config german
    """
    with open_session() as services:
        made = CollectionOptions(**options).make(services, name)
    if as_json:
        print_json({"collection": collection_json(made)})
    else:
        click.echo(
            f"Created “{one_line(made.name)}”: {made.model}, {made.dimensions:,} dimensions, "
            f"{made.distance.label}, table {table_name(made)}."
        )


@collections.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def drop(name: str, yes: bool, as_json: bool) -> None:
    """Drop the collection NAME with all of its documents, for good. Asks first."""
    with open_session() as services:
        collection = find_collection(services, name)
        summary = services.database.query(summarise, collection)
        if not yes:
            confirm(f"Drop “{collection.name}” with {summary.documents:,} documents?")
        services.database.query(drop_collection, collection)
    if as_json:
        dropped = collection_json(collection)
        print_json({"dropped": {**dropped, "documents": summary.documents}})
    else:
        click.echo(f"Dropped “{one_line(collection.name)}”, {summary.documents:,} documents.")


def confirm(question: str) -> None:
    """Asks on stderr. Raises InvalidInput where the answer is no, or nobody is there to answer."""
    if not sys.stdin.isatty():
        raise InvalidInput(
            "This asks before it changes anything, and nobody can answer here.", hint="Give --yes."
        )
    if not click.confirm(one_line(question), err=True):
        raise InvalidInput("Nothing was changed.")


async def summarise_all(db: AsyncSession) -> list[CollectionSummary]:
    return [await summarise(db, collection) for collection in await list_collections(db)]


def table_name(collection: Collection) -> str:
    return f"{SCHEMA}.{TABLE_PREFIX}{collection.slug}"


def collection_json(collection: Collection) -> dict[str, Any]:
    return {
        "id": collection.id,
        "name": collection.name,
        "slug": collection.slug,
        "kind": collection.kind,
        "table": table_name(collection),
        "model": collection.model,
        "dimensions": collection.dimensions,
        "distance": collection.distance,
        "storage": collection.storage,
        "text_config": collection.text_config,
    }


def summary_json(summary: CollectionSummary) -> dict[str, Any]:
    return {
        **collection_json(summary.collection),
        "documents": summary.documents,
        "embedded": summary.embedded,
        "failed": summary.failed,
        "size_bytes": summary.size_bytes,
        "index": None if summary.index is None else summary.index.name,
    }


def print_summaries(summaries: list[CollectionSummary]) -> None:
    if not summaries:
        note(
            'There is no collection yet. Try: python -m lib sample, or ingest FILE --collection "…"'
        )
        return
    print_table(
        ("name", "documents", "embedded", "model", "distance", "index", "size"),
        [
            (
                summary.collection.name,
                summary.documents,
                "–" if summary.embedded_share is None else f"{summary.embedded_share:.0%}",
                summary.collection.model,
                summary.collection.distance.value,
                "none (exact)" if summary.index is None else summary.index.label,
                format_bytes(summary.size_bytes),
            )
            for summary in summaries
        ],
    )
