"""``index create | drop | list``."""

from __future__ import annotations

from typing import Any

import click

from lib.cli.collections import confirm
from lib.cli.index_options import IndexMethodChoice, build_options
from lib.cli.output import collection_option, json_option, note, one_line, print_json, print_table
from lib.cli.session import find_searchable, follow, open_session
from lib.formats import format_bytes
from lib.store.candidates import CandidateSpec, indexed_table
from lib.store.collections import summarise
from lib.store.production import drop_production_index, start_index_build
from lib.vectors.catalog import IndexDescription
from lib.vectors.distance import ElementType
from lib.vectors.index_methods import IndexMethod, index_methods
from lib.vectors.tuning import BuildSettings


@click.group()
def index() -> None:
    """Create, drop and list vector indexes.

    A collection has one at the most. Without one every search compares all rows: exact, and quick
    enough for some ten thousand documents.
    """


@index.command()
@collection_option
@click.option(
    "--kind",
    required=True,
    type=IndexMethodChoice(),
    help="  ".join(f"{method.name}: {method.help}" for method in index_methods()),
)
@click.option(
    "--storage",
    type=click.Choice([ElementType.HALFVEC.value, ElementType.BIT.value]),
    help="Hold less than the column does: halfvec takes half the room, bit far less, and the full "
    "vectors rank what it finds.",
)
@build_options
@click.option("--maintenance-work-mem-mb", type=int, help="Memory for the build, in MB.")
@click.option("--parallel-workers", type=int, help="Processes that help with the build.")
@json_option
def create(
    name: str,
    kind: IndexMethod,
    storage: str | None,
    maintenance_work_mem_mb: int | None,
    parallel_workers: int | None,
    as_json: bool,
    **options: int | None,
) -> None:
    """Build a vector index, without locking readers or writers out.

    The index that was there before is dropped once the new one is valid; Ctrl-C leaves the old
    one as it was.

    \b
    Examples:
      python -m lib index create --collection Films --kind hnsw
      python -m lib index create --collection Films --kind ivfflat --lists 200
      python -m lib index create --collection Films --kind hnsw --storage halfvec
    """
    chosen = {option: value for option, value in options.items() if value is not None}
    settings = BuildSettings(maintenance_work_mem_mb, parallel_workers)
    with open_session() as services:
        collection = find_searchable(services, name)
        if chosen:
            spec = kind.spec(**chosen)
        else:
            rows = services.database.query(summarise, collection).embedded
            spec = kind.recommended(rows)
        candidate = CandidateSpec(spec, ElementType(storage or collection.storage.value))
        job = services.database.run(
            start_index_build(
                services.jobs,
                services.database,
                collection,
                spec,
                settings,
                table=indexed_table(collection.table, candidate),
            )
        )
        job = follow(services, job, if_stopped="The index that was there before is as it was.")
    built = job.result or {}
    if as_json:
        print_json({"collection": collection.name, **built, "options": dict(spec.options)})
        return
    click.echo(
        f"Built {built['name']} in {built['seconds']:.1f} s, {format_bytes(built['index_bytes'])}."
    )
    for replaced in built["replaced"]:
        click.echo(f"Dropped {replaced}, which it replaces.")
    for notice in built["notices"]:
        note(f"The server says: {one_line(notice)}")


@index.command()
@collection_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def drop(name: str, yes: bool, as_json: bool) -> None:
    """Drop the vector index; searches compare all rows then. Asks first."""
    with open_session() as services:
        collection = find_searchable(services, name)
        if not yes:
            confirm(f"Drop the vector index of “{collection.name}”?")
        dropped = services.database.run(drop_production_index(services.database, collection))
    if as_json:
        print_json({"collection": collection.name, "dropped": dropped})
    else:
        click.echo(f"Dropped {', '.join(dropped)}.")


@index.command("list")
@collection_option
@json_option
def list_(name: str, as_json: bool) -> None:
    """Show the vector indexes of a collection."""
    with open_session() as services:
        collection = find_searchable(services, name)
        found = services.database.query(summarise, collection).indexes
    if as_json:
        print_json({"collection": collection.name, "indexes": [_index_json(i) for i in found]})
    elif not found:
        note(f"“{one_line(collection.name)}” has no vector index: every search is exact.")
    else:
        print_table(
            ("name", "kind", "size", "valid"),
            [
                (i.name, i.label, format_bytes(i.size_bytes), "yes" if i.valid else "no")
                for i in found
            ],
            most=63,
        )


def _index_json(found: IndexDescription) -> dict[str, Any]:
    return {
        "name": found.name,
        "kind": found.method.name,
        "options": found.options,
        "operator_class": found.operator_class,
        "on": found.indexed_as.label or "column",
        "size_bytes": found.size_bytes,
        "valid": found.valid,
    }
