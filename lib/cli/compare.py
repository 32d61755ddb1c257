"""``search --compare``: the question through exact scan, IVFFlat and HNSW, and their x-ray."""

from __future__ import annotations

import click

from lib.cli.output import note, one_line, print_json, print_table
from lib.errors import InvalidInput
from lib.search.compare import (
    ComparedColumn,
    Comparison,
    compare,
    comparison_json,
    index_preset,
)
from lib.search.miss_analysis import ColumnMisses, MissAnalysis, analyse_misses, misses_json
from lib.search.request import SearchRequest
from lib.services import Services
from lib.store.candidates import list_candidates
from lib.store.collections import Collection
from lib.vectors.tuning import Scan


def print_comparison(
    services: Services, collection: Collection, request: SearchRequest, *, as_json: bool
) -> None:
    """Raises InvalidInput where a candidate is missing, or the request chooses an index itself."""
    if request.settings.scan is Scan.EXACT or request.candidate_id or request.max_distance:
        raise InvalidInput(
            "--compare asks the exact scan and one candidate of each kind.",
            hint="Leave --exact, --candidate and --max-distance out; --probes, --ef-search, "
            "--limit and filters hold for it.",
        )
    database = services.database
    candidates = database.query(list_candidates, collection)
    columns = index_preset(collection, request, candidates)
    comparison = database.run(
        compare(services.search, database, collection, request.query, columns)
    )
    assert comparison.embedding is not None  # all three search by meaning
    analysis = database.run(analyse_misses(database, collection, comparison.embedding, columns))
    if as_json:
        document = comparison_json(comparison) | {"xray": misses_json(analysis)}
        print_json({"collection": collection.name} | document)
        return
    _print_columns(comparison, analysis)
    _print_rank_changes(comparison)
    for column in analysis.columns:
        _print_misses(column)


def _print_columns(comparison: Comparison, analysis: MissAnalysis) -> None:
    recalls = {column.label: column.recall for column in analysis.columns}
    print_table(
        ("", "answered by", "found", "recall", "RBO", "ms"),
        [
            (
                column.label,
                _answered_by(column),
                len(column.result),
                f"{recalls[column.label]:.2f}" if column.label in recalls else None,
                f"{comparison.similarities[place - 1].rbo:.3f}" if place else None,
                round(column.result.database_ms, 1),
            )
            for place, column in enumerate(comparison.columns)
        ],
    )
    for column in comparison.columns:
        if column.candidate is not None and column.candidate.stale:
            note(f"{column.candidate.name} is stale: the collection was written to since.")
        if column.result.truncated_because:
            note(f"{column.label}: {column.result.truncated_because}")


def _answered_by(column: ComparedColumn) -> str:
    if column.candidate is None:
        return "every row compared"
    certified = column.certificate is not None and column.certificate.certified
    return column.candidate.name + ("" if certified else " (not certified)")


def _print_rank_changes(comparison: Comparison) -> None:
    click.echo()
    print_table(
        (*(column.label for column in comparison.columns), "document"),
        [
            (*move.ranks, move.document.title or move.document.external_id)
            for move in comparison.rank_changes
        ],
    )


def _print_misses(column: ColumnMisses) -> None:
    now = f"{column.parameter} = {column.setting}"
    click.echo()
    if not column.missed:
        click.echo(f"{column.label} finds all {len(column.truth)} with {now}.")
    else:
        click.echo(f"{column.label} with {now} misses {len(column.missed)}:")
        for missed in column.missed:
            name = one_line(missed.hit.document.title or str(missed.hit.document.external_id))
            found = (
                "not found by any setting that was tried"
                if missed.found_from is None
                else f"found with {column.parameter} = {missed.found_from}"
            )
            click.echo(f"  #{missed.true_rank} at {missed.hit.distance:.4f}, {found}: {name}")
        if column.all_found_from is not None:
            click.echo(f"All are found with {column.parameter} = {column.all_found_from}.")
    if column.note:
        note(column.note)
