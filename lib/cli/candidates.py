"""``candidates estimate | build | list | drop``."""

from __future__ import annotations

import uuid
from typing import Any

import click

from lib.cli.collections import confirm
from lib.cli.output import collection_option, json_option, note, one_line, print_json, print_table
from lib.cli.session import find_collection, follow, open_session
from lib.errors import InvalidInput
from lib.formats import format_bytes
from lib.lab.candidates import check_candidates, default_candidates, start_candidate_builds
from lib.lab.collection_stats import collect_stats
from lib.lab.estimates import Estimate, check_spec, disk_warning, estimate
from lib.services import Services
from lib.store.candidates import (
    Candidate,
    CandidateSpec,
    disk_bytes,
    drop_candidate,
    get_candidate,
    list_candidates,
    parse_candidate,
)
from lib.store.collections import Collection, summarise
from lib.vectors.distance import ElementType
from lib.vectors.tuning import BuildSettings


@click.group()
def candidates() -> None:
    """Estimate, build, list and drop candidates.

    A candidate is a copy of a collection's vectors with an index of its own, to be compared with
    others; the collection itself stays as it is.
    """


_INDEXES = click.option(
    "--index",
    "indexes",
    multiple=True,
    help="Such as hnsw:m=16,ef_construction=64, ivfflat:lists=100 or hnsw@bit; may be given "
    "several times. By default one of each kind.",
)
_STORAGE = click.option(
    "--storage",
    type=click.Choice([storage.value for storage in ElementType]),
    help="What the index holds; by default what the collection stores. halfvec takes half the "
    "space; bit a thirtieth, and the full vectors rank again what it finds.",
)
_MEMORY = click.option("--maintenance-work-mem-mb", type=int, help="Memory for the build, in MB.")
_WORKERS = click.option("--parallel-workers", type=int, help="Processes that help with the build.")


@candidates.command("estimate")
@collection_option
@_INDEXES
@_STORAGE
@_MEMORY
@_WORKERS
@json_option
def estimate_(
    name: str,
    indexes: tuple[str, ...],
    storage: str | None,
    maintenance_work_mem_mb: int | None,
    parallel_workers: int | None,
    as_json: bool,
) -> None:
    """Say what candidates would take: disk, memory and time. Nothing is built.

    \b
    Example:
      python -m lib candidates estimate --collection Films --index hnsw --index hnsw@bit
    """
    settings = _settings(maintenance_work_mem_mb, parallel_workers)
    with open_session() as services:
        database = services.database
        collection = find_collection(services, name)
        specs = _specs(services, collection, indexes, storage)
        stats = database.run(collect_stats(database, collection, specs))
    found = [estimate(stats, spec, settings) for spec in specs]
    # before anything is said: what is refused has no estimate
    warnings = {str(s): check_spec(stats, collection, s, settings) for s in specs}
    disk = disk_warning(stats, found)
    if as_json:
        listed = [
            {**_estimate_json(each), "warnings": list(warnings[str(each.spec)])} for each in found
        ]
        print_json({"collection": collection.name, "candidates": listed, "disk": disk})
        return
    print_table(
        ("candidate", "index", "table", "memory to build", "seconds", "from earlier builds"),
        [
            (
                each.spec.label,
                format_bytes(each.index_bytes),
                format_bytes(each.table_bytes),
                format_bytes(each.memory_bytes),
                round(each.seconds, 1),
                each.calibrated_by or None,
            )
            for each in found
        ],
    )
    for each in found:
        for warning in warnings[str(each.spec)]:
            note(f"{each.spec.label}: {warning}")
    if disk is not None:
        note(disk)


@candidates.command()
@collection_option
@_INDEXES
@_STORAGE
@_MEMORY
@_WORKERS
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
    settings = _settings(maintenance_work_mem_mb, parallel_workers)
    with open_session() as services:
        database = services.database
        collection = find_collection(services, name)
        specs = _specs(services, collection, indexes, storage)
        for warning in database.run(check_candidates(database, collection, specs, settings)):
            note(warning)
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
            f"{candidate.build_seconds:.1f} s, {format_bytes(candidate.index_bytes or 0)}."
        )
        for notice in candidate.notices:
            note(f"The server says: {one_line(notice)}")


@candidates.command("list")
@collection_option
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
                    None if each.index_bytes is None else format_bytes(each.index_bytes),
                    None if each.table_bytes is None else format_bytes(each.table_bytes),
                    None if each.build_seconds is None else round(each.build_seconds, 1),
                )
                for each in found
            ],
        )
        note(f"On disk together: {format_bytes(disk_bytes(found))}.")


@candidates.command()
@click.argument("candidate", required=False)
@click.option("--all", "every", is_flag=True, help="All of the collection's.")
@collection_option
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


def _settings(memory_mb: int | None, workers: int | None) -> BuildSettings | None:
    return None if memory_mb is None and workers is None else BuildSettings(memory_mb, workers)


def _specs(
    services: Services, collection: Collection, indexes: tuple[str, ...], storage: str | None
) -> list[CandidateSpec]:
    rows = services.database.query(summarise, collection).embedded
    stored_as = ElementType(storage) if storage else ElementType.of(collection.storage)
    if not indexes:
        return list(default_candidates(rows, collection.dimensions, stored_as))
    return [parse_candidate(index, rows, stored_as) for index in indexes]


def _estimate_json(found: Estimate) -> dict[str, Any]:
    return {
        "candidate": str(found.spec),
        "rows": found.rows,
        "table_bytes": found.table_bytes,
        "index_bytes": found.index_bytes,
        "memory_bytes": found.memory_bytes,
        "maintenance_work_mem_bytes": found.maintenance_work_mem_bytes,
        "parallel_workers": found.workers,
        "copy_seconds": found.copy_seconds,
        "build_seconds": found.build_seconds,
        "calibrated_by": found.calibrated_by,
    }


def _candidate_json(candidate: Candidate) -> dict[str, Any]:
    return {
        "id": candidate.id,
        "name": candidate.name,
        "kind": candidate.method.name,
        "options": candidate.index.options,
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
