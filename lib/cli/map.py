"""``map build | list | export | neighbours | place | delete``."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import click

from lib.cli.collections import confirm
from lib.cli.output import json_option, note, one_line, print_json, print_table
from lib.cli.session import find_collection, follow, open_session
from lib.errors import AlreadyExists, InvalidInput, NotFound
from lib.formats import format_bytes
from lib.projection.build import start_projection
from lib.projection.export import drawn_neighbours, map_format_of, write_map
from lib.projection.facts import document_facts
from lib.projection.placing import place_documents
from lib.projection.repository import (
    Projection,
    ProjectionSummary,
    delete_projection,
    find_projection,
    get_projection,
    list_projections,
)
from lib.projection.settings import EPOCHS, NEIGHBOURS, SAMPLE, SEED, Method, ProjectionSettings
from lib.services import Services
from lib.store.browse import get_document
from lib.store.collections import Collection

collection_option = click.option("--collection", "name", required=True)
projection_argument = click.argument("projection", required=False, metavar="[MAP]")


@click.group("map")
def map_() -> None:
    """Build, list and export maps of a collection.

    A map lays the embeddings out in two or three dimensions, so that neighbours stay neighbours as
    far as that is possible; how far it was, it says itself. MAP is a map's name or id; without it,
    the newest.
    """


@map_.command()
@collection_option
@click.option(
    "--method",
    type=click.Choice([method.value for method in Method]),
    default=Method.UMAP.value,
    show_default=True,
    help="PCA is ready in seconds, and shows less.",
)
@click.option("--dimensions", type=click.IntRange(2, 3), default=2, show_default=True)
@click.option(
    "--n-neighbors",
    type=click.IntRange(NEIGHBOURS.low, NEIGHBOURS.high),
    default=NEIGHBOURS.default,
    show_default=True,
    help="Small shows fine structure, large the whole.",
)
@click.option("--min-dist", type=float, default=0.1, show_default=True, help="How close, 0 to 1.")
@click.option("--epochs", type=click.IntRange(EPOCHS.low, EPOCHS.high), help="By default: by size.")
@click.option(
    "--limit",
    type=click.IntRange(SAMPLE.low, SAMPLE.high),
    default=SAMPLE.default,
    show_default=True,
    help="A larger collection is sampled, each category in proportion.",
)
@click.option("--seed", type=click.IntRange(SEED.low, SEED.high), default=SEED.default)
@click.option("--name", "map_name", help="By default what the settings say.")
@json_option
def build(name: str, method: str, map_name: str | None, as_json: bool, **options: Any) -> None:
    """Lay a collection out and keep the result.

    \b
    Examples:
      python -m lib map build --collection Films
      python -m lib map build --collection Films --method pca
      python -m lib map build --collection Films --n-neighbors 50 --dimensions 3
    """
    settings = ProjectionSettings(method=Method(method), **options)
    with open_session() as services:
        database, collection = services.database, find_collection(services, name)
        job = database.run(
            start_projection(services.jobs, database, collection, settings, name=map_name)
        )
        job = follow(services, job, if_stopped="Nothing of it is left.")
        wanted = uuid.UUID((job.result or {})["projection_id"])
        built = database.query(find_projection, collection, wanted)
    if as_json:
        print_json({"collection": collection.name, "map": _json(built)})
        return
    measured = built.fidelity
    click.echo(
        f"Built {one_line(built.name)}: {built.points:,} points in {built.build_seconds:.1f} s."
    )
    click.echo(
        f"Trustworthiness {measured.trustworthiness:.3f}, continuity {measured.continuity:.3f}; "
        f"a point keeps {measured.local:.0%} of its {measured.k} true nearest neighbours."
    )
    if built.left_out:
        note(f"{built.left_out:,} documents stayed out: their embeddings are all zeros.")


@map_.command("list")
@collection_option
@json_option
def list_(name: str, as_json: bool) -> None:
    """Show a collection's maps, the newest first."""
    with open_session() as services:
        collection = find_collection(services, name)
        found = services.database.query(list_projections, collection)
    if as_json:
        print_json({"collection": collection.name, "maps": [_json(each) for each in found]})
    elif not found:
        note(f"“{one_line(collection.name)}” has no maps.")
    else:
        print_table(
            ("name", "points", "placed", "of", "trustworthiness", "continuity", "state"),
            [
                (
                    each.name,
                    each.points,
                    each.placed_points,
                    each.documents,
                    round(each.fidelity.trustworthiness, 3),
                    round(each.fidelity.continuity, 3),
                    "stale" if each.stale else "fresh",
                )
                for each in found
            ],
        )


@map_.command()
@projection_argument
@collection_option
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Its ending says what is written: .csv or .parquet.",
)
@click.option("--overwrite", is_flag=True, help="Replace FILE where it is there already.")
@json_option
def export(projection: str | None, name: str, out: Path, overwrite: bool, as_json: bool) -> None:
    """Write a map's coordinates to a file, with titles, categories and clusters."""
    map_format_of(out)
    if out.exists() and not overwrite:
        raise AlreadyExists(
            f"{out} is there already.", hint="Take another name, or give --overwrite.", field="out"
        )
    with open_session() as services:
        collection = find_collection(services, name)
        drawn = _find(services, collection, projection)
        facts = services.database.query(document_facts, collection, drawn.ids.tolist())
    size_bytes = write_map(drawn, facts, out)
    if as_json:
        print_json(
            {
                "collection": collection.name,
                "map": _json(drawn),
                "path": out,
                "size_bytes": size_bytes,
            }
        )
    else:
        click.echo(f"Wrote {drawn.points:,} points to {out}, {format_bytes(size_bytes)}.")


@map_.command()
@projection_argument
@collection_option
@click.option("--document", required=True, metavar="ID", help="As documents list shows it.")
@click.option("--part", type=int, default=0, show_default=True)
@json_option
def neighbours(projection: str | None, name: str, document: str, part: int, as_json: bool) -> None:
    """Show a document's true nearest neighbours, and where the map has them."""
    with open_session() as services:
        query, collection = services.database.query, find_collection(services, name)
        drawn = _find(services, collection, projection)
        parts = query(get_document, collection, document, part).parts
        asked = next((each.id for each in parts if each.part == part), None)
        if asked is None or asked not in drawn.place_of:
            raise NotFound(
                f"Part {part} of “{document}” is not on the map “{drawn.name}”.",
                hint="Place it there: python -m lib map place.",
                field="document",
            )
        place = drawn.place_of[asked]
        found = list(drawn_neighbours(drawn, place))
        ids = [drawn.ids[each["place"]] for each in found]
        facts = query(document_facts, collection, ids)
    for each, id_, title in zip(found, ids, facts.titles, strict=True):
        del each["place"]
        each |= {"id": id_, "title": title}
    if as_json:
        kept = float(drawn.local_fidelity[place])
        print_json(
            {
                "collection": collection.name,
                "map": drawn.name,
                "document": document,
                "local_fidelity": None if kept != kept else kept,
                "neighbours": found,
            }
        )
        return
    print_table(
        ("title", drawn.distance.label, "distance drawn", "rank on the map"),
        [
            (
                each["title"],
                round(each["distance"], 4),
                round(each["drawn"], 3),
                each["rank_on_map"],
            )
            for each in found
        ],
    )


@map_.command()
@projection_argument
@collection_option
@json_option
def place(projection: str | None, name: str, as_json: bool) -> None:
    """Put the documents that are not on a map onto it, each among its nearest neighbours."""
    with open_session() as services:
        database, collection = services.database, find_collection(services, name)
        drawn = _find(services, collection, projection)
        job = database.run(place_documents(services.jobs, database, collection, drawn))
        job = follow(services, job, if_stopped="The map is as it was.")
    placed = job.result or {}
    if as_json:
        print_json({"collection": collection.name, "map": drawn.name, **placed})
    else:
        click.echo(
            f"Placed {placed['placed']:,} documents on {one_line(drawn.name)}; "
            f"{placed['remaining']:,} are still to be placed."
        )


@map_.command()
@click.argument("projection", metavar="MAP")
@collection_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def delete(projection: str, name: str, yes: bool, as_json: bool) -> None:
    """Delete a map, by its name or id. Asks first."""
    with open_session() as services:
        query, collection = services.database.query, find_collection(services, name)
        found = query(find_projection, collection, projection)
        if not yes:
            confirm(f"Delete the map “{found.name}” of “{collection.name}”?")
        query(delete_projection, found)
    if as_json:
        print_json({"collection": collection.name, "deleted": found.name})
    else:
        click.echo(f"Deleted {one_line(found.name)}.")


def _find(services: Services, collection: Collection, wanted: str | None) -> Projection:
    """By name or id; without, the newest. Raises NotFound and InvalidInput."""
    query = services.database.query
    if wanted is None:
        found = query(list_projections, collection)
        if not found:
            raise InvalidInput(
                f"“{collection.name}” has no map.",
                hint=f'Build one: python -m lib map build --collection "{collection.name}"',
            )
        return query(get_projection, collection, found[0].id)
    return query(get_projection, collection, wanted)


def _json(found: ProjectionSummary) -> dict[str, Any]:
    return {
        "id": found.id,
        "name": found.name,
        "parameters": found.parameters,
        "distance": found.distance,
        "points": found.points,
        "placed": found.placed_points,
        "documents": found.documents,
        "left_out": found.left_out,
        "stale": found.stale,
        "fidelity": found.fidelity.to_json(),
        "versions": dict(found.versions),
        "build_seconds": found.build_seconds,
        "created_at": found.created_at,
    }
