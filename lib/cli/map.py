"""``map build | list | export | neighbours | place | delete``."""

from __future__ import annotations

import math
import uuid
from pathlib import Path
from typing import Any

import click

from lib.cli.collections import confirm
from lib.cli.output import collection_option, json_option, note, one_line, print_json, print_table
from lib.cli.session import find_collection, follow, open_session
from lib.errors import AlreadyExists, InvalidInput, NotFound
from lib.formats import format_bytes, format_duration, format_percent
from lib.projection.build import start_projection
from lib.projection.distances import neighbours_on_map
from lib.projection.document_details import load_document_details
from lib.projection.export import map_format_of, write_map
from lib.projection.placing import place_documents
from lib.projection.repository import (
    Projection,
    ProjectionSummary,
    delete_projection,
    find_projection,
    get_projection,
    list_projections,
)
from lib.projection.settings import (
    EPOCHS,
    MIN_DIST,
    NEIGHBOURS,
    SAMPLE,
    SEED,
    Method,
    ProjectionSettings,
)
from lib.services import Services
from lib.store.browse import get_document
from lib.store.collections import Collection

projection_argument = click.argument("projection", required=False, metavar="[MAP]")


@click.group("map")
def map_() -> None:
    """Build, list and export maps of a collection.

    A map lays the embeddings out in two or three dimensions, so that neighbours stay neighbours as
    far as that is possible; its quality is measured. MAP is a map's name or id; without it, the
    newest.
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
@click.option(
    "--dimensions",
    type=click.IntRange(2, 3),
    default=2,
    show_default=True,
    help="3 preserves a little more, and is harder to read.",
)
@click.option(
    "--n-neighbors",
    type=click.IntRange(NEIGHBOURS.low, NEIGHBOURS.high),
    default=NEIGHBOURS.default,
    show_default=True,
    help="Small shows local structure, large the global one.",
)
@click.option(
    "--min-dist", type=float, default=MIN_DIST, show_default=True, help="How close, 0 to 1."
)
@click.option("--epochs", type=click.IntRange(EPOCHS.low, EPOCHS.high), help="By default: by size.")
@click.option(
    "--limit",
    type=click.IntRange(SAMPLE.low, SAMPLE.high),
    default=SAMPLE.default,
    show_default=True,
    help="A larger collection is sampled, each category in proportion.",
)
@click.option(
    "--seed",
    type=click.IntRange(SEED.low, SEED.high),
    default=SEED.default,
    help="Another one gives another layout of the same neighbours.",
)
@click.option("--name", "map_name", help="By default what the settings say.")
@json_option
def build(name: str, method: str, map_name: str | None, as_json: bool, **options: Any) -> None:
    """Lay a collection out and store the map.

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
        projection_id = uuid.UUID((job.result or {})["projection_id"])
        built = database.query(find_projection, collection, projection_id)
    if as_json:
        print_json({"collection": collection.name, "map": _to_json(built)})
        return
    measured = built.fidelity
    click.echo(
        f"Built {one_line(built.name)}: {built.points:,} points in "
        f"{format_duration(built.build_seconds)}."
    )
    click.echo(
        f"Trustworthiness {measured.trustworthiness:.3f}, continuity {measured.continuity:.3f}; "
        f"{format_percent(measured.local)} of a point's {measured.k} true nearest neighbours are "
        "preserved."
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
        maps = services.database.query(list_projections, collection)
    if as_json:
        print_json({"collection": collection.name, "maps": [_to_json(summary) for summary in maps]})
    elif not maps:
        note(f"“{one_line(collection.name)}” has no maps.")
    else:
        print_table(
            ("name", "points", "placed", "of", "trustworthiness", "continuity", "state"),
            [
                (
                    summary.name,
                    summary.points,
                    summary.placed_points,
                    summary.documents,
                    round(summary.fidelity.trustworthiness, 3),
                    round(summary.fidelity.continuity, 3),
                    "stale" if summary.stale else "fresh",
                )
                for summary in maps
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
        loaded = _load_projection(services, collection, projection)
        details = services.database.query(load_document_details, collection, loaded.ids.tolist())
    size_bytes = write_map(loaded, details, out)
    if as_json:
        print_json(
            {
                "collection": collection.name,
                "map": _to_json(loaded),
                "path": out,
                "size_bytes": size_bytes,
            }
        )
    else:
        click.echo(f"Wrote {loaded.points:,} points to {out}, {format_bytes(size_bytes)}.")


@map_.command()
@projection_argument
@collection_option
@click.option("--document", required=True, metavar="ID", help="As documents list shows it.")
@click.option(
    "--part",
    type=int,
    default=0,
    show_default=True,
    help="Which part of a long document, from 0.",
)
@json_option
def neighbours(projection: str | None, name: str, document: str, part: int, as_json: bool) -> None:
    """Show a document's true nearest neighbours, and where the map has them."""
    with open_session() as services:
        query, collection = services.database.query, find_collection(services, name)
        loaded = _load_projection(services, collection, projection)
        parts = query(get_document, collection, document, part).parts
        id_ = next((stored.id for stored in parts if stored.part == part), None)
        if id_ is None or id_ not in loaded.index_of:
            raise NotFound(
                f"Part {part} of “{document}” is not on the map “{loaded.name}”.",
                hint="Place it there: python -m lib map place.",
                field="document",
            )
        index = loaded.index_of[id_]
        nearest = neighbours_on_map(loaded, index)
        ids = [loaded.ids[neighbour.index] for neighbour in nearest]
        titles = query(load_document_details, collection, ids).titles
    if as_json:
        preserved = float(loaded.local_fidelity[index])
        print_json(
            {
                "collection": collection.name,
                "map": loaded.name,
                "document": document,
                "local_fidelity": None if math.isnan(preserved) else preserved,
                "neighbours": [
                    {
                        "distance": neighbour.distance,
                        "drawn": neighbour.map_distance,
                        "rank_on_map": neighbour.map_rank,
                        "id": id_,
                        "title": title,
                    }
                    for neighbour, id_, title in zip(nearest, ids, titles, strict=True)
                ],
            }
        )
        return
    print_table(
        ("title", loaded.distance.label, "distance on the map", "rank on the map"),
        [
            (
                title,
                round(neighbour.distance, 4),
                round(neighbour.map_distance, 3),
                neighbour.map_rank,
            )
            for neighbour, title in zip(nearest, titles, strict=True)
        ],
    )


@map_.command()
@projection_argument
@collection_option
@json_option
def place(projection: str | None, name: str, as_json: bool) -> None:
    """Place the documents that are not on a map yet, each among its nearest neighbours."""
    with open_session() as services:
        database, collection = services.database, find_collection(services, name)
        loaded = _load_projection(services, collection, projection)
        job = database.run(place_documents(services.jobs, database, collection, loaded))
        job = follow(services, job, if_stopped="The map is as it was.")
    result = job.result or {}
    if as_json:
        print_json({"collection": collection.name, "map": loaded.name, **result})
    else:
        click.echo(
            f"Placed {result['placed']:,} documents on {one_line(loaded.name)}; "
            f"{result['remaining']:,} are still to be placed."
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
        summary = query(find_projection, collection, projection)
        if not yes:
            confirm(f"Delete the map “{summary.name}” of “{collection.name}”?")
        query(delete_projection, summary)
    if as_json:
        print_json({"collection": collection.name, "deleted": summary.name})
    else:
        click.echo(f"Deleted {one_line(summary.name)}.")


def _load_projection(
    services: Services, collection: Collection, name_or_id: str | None
) -> Projection:
    """The newest where there is no name or id. Raises NotFound and InvalidInput."""
    query = services.database.query
    if name_or_id is not None:
        return query(get_projection, collection, name_or_id)
    maps = query(list_projections, collection)
    if not maps:
        raise InvalidInput(
            f"“{collection.name}” has no map.",
            hint=f'Build one: python -m lib map build --collection "{collection.name}"',
        )
    return query(get_projection, collection, maps[0].id)


def _to_json(summary: ProjectionSummary) -> dict[str, Any]:
    return {
        "id": summary.id,
        "name": summary.name,
        "parameters": summary.parameters,
        "distance": summary.distance,
        "points": summary.points,
        "placed": summary.placed_points,
        "documents": summary.documents,
        "left_out": summary.left_out,
        "stale": summary.stale,
        "fidelity": summary.fidelity.to_json(),
        "versions": dict(summary.versions),
        "build_seconds": summary.build_seconds,
        "created_at": summary.created_at,
    }
