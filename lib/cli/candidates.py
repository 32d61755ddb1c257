"""``candidates build | list | drop``."""

from __future__ import annotations

import uuid
from typing import Any

import click

from lib.cli.collections import confirm
from lib.cli.output import json_option, note, one_line, print_json, print_table, size
from lib.cli.session import find_collection, follow, open_session
from lib.errors import InvalidInput
from lib.lab.candidates import start_candidate_builds
from lib.store.candidates import (
    Candidate,
    CandidateStorage,
    disk_bytes,
    drop_candidate,
    get_candidate,
    list_candidates,
    parse_candidate,
)
from lib.store.collections import summarise
from lib.vectors.tuning import BuildSettings


@click.group()
def candidates() -> None:
    """Build, list and drop candidates.

    A candidate is a copy of a collection's vectors with an index of its own, to be compared with
    others; the collection itself stays as it is.
    """


@candidates.command()
@click.option("--collection", "name", required=True)
@click.option(
    "--index",
    "indexes",
    required=True,
    multiple=True,
    help="Such as hnsw:m=16,ef_construction=64, ivfflat:lists=100 or hnsw@bit; may be given "
    "several times.",
)
@click.option(
    "--storage",
    type=click.Choice([storage.value for storage in CandidateStorage]),
    help="What the index holds; by default what the collection stores. halfvec takes half the "
    "space; bit a thirtieth, and the full vectors rank again what it finds.",
)
@click.option("--maintenance-work-mem-mb", type=int, help="Memory for the build, in MB.")
@click.option("--parallel-workers", type=int, help="Processes that help with the build.")
@json_option
def build(
    name: str,
    indexes: tuple[str, ...],
    storage: str | None,
    maintenance_work_mem_mb: int | None,
    parallel_workers: int | None,
    as_json: bool,
) -> None:
    """Copy the vectors and build an index on the copy.

    \b
    Examples:
      python -m lib candidates build --collection Films --index hnsw --index ivfflat
      python -m lib candidates build --collection Films --index hnsw:m=24@halfvec --index hnsw@bit
    """
    settings = None
    if maintenance_work_mem_mb is not None or parallel_workers is not None:
        settings = BuildSettings(maintenance_work_mem_mb, parallel_workers)
    with open_session() as services:
        database = services.database
        collection = find_collection(services, name)
        rows = database.query(summarise, collection).embedded
        held = CandidateStorage(storage) if storage else CandidateStorage.of(collection.storage)
        specs = [parse_candidate(index, rows, held) for index in indexes]
        job = database.run(
            start_candidate_builds(services.jobs, database, collection, specs, settings)
        )
        job = follow(services, job, if_stopped="Those that were finished are kept.")
        built = [
            database.query(get_candidate, collection, uuid.UUID(each["candidate_id"]))
            for each in (job.result or {})["candidates"]
        ]
    if as_json:
        made = [_candidate_json(candidate) for candidate in built]
        print_json({"collection": collection.name, "candidates": made})
        return
    for candidate in built:
        click.echo(
            f"Built {candidate.name}: {candidate.rows:,} rows, index in "
            f"{candidate.build_seconds:.1f} s, {size(candidate.index_bytes or 0)}."
        )
        for notice in candidate.notices:
            note(f"The server says: {one_line(notice)}")


@candidates.command("list")
@click.option("--collection", "name", required=True)
@json_option
def list_(name: str, as_json: bool) -> None:
    """Show a collection's candidates, and what they take on disk."""
    with open_session() as services:
        collection = find_collection(services, name)
        found = services.database.query(list_candidates, collection)
    if as_json:
        listed = [_candidate_json(candidate) for candidate in found]
        print_json({"collection": collection.name, "candidates": listed})
    elif not found:
        note(f"“{one_line(collection.name)}” has no candidates.")
    else:
        print_table(
            ("name", "state", "rows", "index", "table", "built in s"),
            [
                (
                    each.name,
                    "stale" if each.ready and each.stale else each.state.value,
                    each.rows,
                    None if each.index_bytes is None else size(each.index_bytes),
                    None if each.table_bytes is None else size(each.table_bytes),
                    None if each.build_seconds is None else round(each.build_seconds, 1),
                )
                for each in found
            ],
        )
        note(f"On disk together: {size(disk_bytes(found))}.")


@candidates.command()
@click.argument("candidate", required=False)
@click.option("--all", "every", is_flag=True, help="All of the collection's.")
@click.option("--collection", "name", required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def drop(candidate: str | None, every: bool, name: str, yes: bool, as_json: bool) -> None:
    """Drop a candidate, by its name or id. Asks first."""
    if (candidate is None) != every:
        raise InvalidInput("Which candidate?", hint="Give its name, or --all.", field="candidate")
    with open_session() as services:
        database = services.database
        collection = find_collection(services, name)
        if candidate is None:
            chosen = database.query(list_candidates, collection)
        else:
            chosen = [database.query(get_candidate, collection, candidate)]
        names = [each.name for each in chosen]
        listed = ", ".join(f"“{each}”" for each in names)
        if chosen and not yes:
            confirm(f"Drop {listed} of “{collection.name}”?")
        for each in chosen:
            database.query(drop_candidate, each)
    if as_json:
        print_json({"collection": collection.name, "dropped": names})
    else:
        click.echo(f"Dropped {listed}." if names else "There was none.")


def _candidate_json(candidate: Candidate) -> dict[str, Any]:
    return {
        "id": candidate.id,
        "name": candidate.name,
        "kind": candidate.kind,
        "options": candidate.spec.options,
        "storage": candidate.storage,
        "distance": candidate.table.distance,
        "state": candidate.state,
        "error": candidate.error,
        "stale": candidate.stale,
        "rows": candidate.rows,
        "table": candidate.table.qualified_name,
        "index": candidate.index_name,
        "copy_seconds": candidate.copy_seconds,
        "build_seconds": candidate.build_seconds,
        "index_bytes": candidate.index_bytes,
        "table_bytes": candidate.table_bytes,
        "maintenance_work_mem": candidate.maintenance_work_mem,
        "parallel_workers": candidate.parallel_workers,
        "notices": candidate.notices,
        "created_at": candidate.created_at,
    }
