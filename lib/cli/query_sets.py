"""``query-sets``: the queries of a collection, with the judgments and the truth that came along."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from lib.cli.collections import confirm
from lib.cli.output import collection_option, json_option, note, one_line, print_json, print_table
from lib.cli.query_file import save_query_sets
from lib.cli.session import find_collection, open_session
from lib.errors import InvalidInput
from lib.evaluation.query_sets import (
    QuerySetSummary,
    SavedQuerySet,
    drop_query_set,
    get_query_set,
    list_queries,
    list_query_sets,
    missing_documents,
    summarise_query_set,
)
from lib.ingest.beir import find_judged
from lib.ingest.file_source import FileSource
from lib.ingest.queries import QueryStream
from lib.ingest.vectors import NEIGHBOURS, TEST, is_hdf5, is_vector_file, vector_queries
from lib.services import Services
from lib.store.collections import Collection

_SHOWN = 10


@click.group("query-sets", no_args_is_help=True)
def query_sets() -> None:
    """List, show, import and drop query sets.

    A query set belongs to one collection. Its queries are texts or vectors; for each there may be
    judgments (how well a document answers it) or its true nearest neighbours.
    """


@query_sets.command("list")
@collection_option
@json_option
def list_(name: str, as_json: bool) -> None:
    """Show the query sets of a collection."""
    with open_session() as services:
        collection = find_collection(services, name)
        found = services.database.query(list_query_sets, collection)
    if as_json:
        print_json({"collection": collection.name, "query_sets": [*map(query_set_json, found)]})
    elif found:
        print_query_sets(found)
    else:
        click.echo(f"“{one_line(collection.name)}” has no query set.")


@query_sets.command()
@click.argument("query_set")
@collection_option
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=_SHOWN,
    show_default=True,
    help="At most so many queries.",
)
@json_option
def show(query_set: str, name: str, limit: int, as_json: bool) -> None:
    """Show the first queries of a set, and which judged documents are not stored."""
    with open_session() as services:
        query = services.database.query
        collection = find_collection(services, name)
        found = query(get_query_set, collection, query_set)
        summary = query(summarise_query_set, collection, found)
        queries = query(list_queries, found, limit=limit)
        missing = query(missing_documents, collection, found, limit)
    if as_json:
        listed = [
            {
                "id": item.id,
                "external_id": item.external_id,
                "text": item.text,
                "dimensions": None if item.embedding is None else len(item.embedding),
                "truth": None if item.truth is None else len(item.truth),
            }
            for item in queries
        ]
        known = {**query_set_json(summary), "queries_shown": listed, "missing": missing}
        print_json({"collection": collection.name, "query_set": known})
        return
    print_query_sets([summary])
    click.echo()
    print_table(
        ("id", "query"),
        [(item.external_id, item.text or f"{_dimensions(item.embedding)}") for item in queries],
        most=90,
    )
    if missing:
        click.echo(f"\nJudged, but not stored: {', '.join(map(one_line, missing))}")


@query_sets.command()
@click.argument("query_set")
@collection_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def drop(query_set: str, name: str, yes: bool, as_json: bool) -> None:
    """Drop a query set with its queries and judgments. Asks first."""
    with open_session() as services:
        collection = find_collection(services, name)
        found = services.database.query(get_query_set, collection, query_set)
        summary = services.database.query(summarise_query_set, collection, found)
        if not yes:
            confirm(f"Drop “{found.name}” with {summary.judgments:,} judgments?")
        services.database.query(drop_query_set, found)
    if as_json:
        print_json({"dropped": query_set_json(summary)})
    else:
        click.echo(f"Dropped “{one_line(found.name)}”.")


@query_sets.command("import")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@collection_option
@click.option("--as", "set_name", help="What to call it; by default the folder's or file's name.")
@click.option("--split", "splits", multiple=True, help="BEIR form: only this split, such as test.")
@click.option(
    "--truth",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Vectors: the row numbers of their true neighbours, such as groundtruth.ivecs.",
)
@click.option("--base", help="Vectors with --truth: the file that the documents were loaded from.")
@json_option
def import_(
    path: Path,
    name: str,
    set_name: str | None,
    splits: Sequence[str],
    truth: Path | None,
    base: str | None,
    as_json: bool,
) -> None:
    """Import queries for a collection that is there already.

    PATH is a folder in BEIR form (queries.jsonl with qrels.tsv or qrels/*.tsv), a file in
    ann-benchmarks' form (hdf5), or a file of query vectors (npy, fvecs). Importing a set of the
    same name again replaces its contents.

    \b
    Examples:
      python -m lib query-sets import scifact/ --collection Papers --split test
      python -m lib query-sets import sift_query.fvecs --collection SIFT \\
          --truth sift_groundtruth.ivecs --base sift_base.fvecs
    """
    with open_session() as services:
        collection = find_collection(services, name)
        streams = _query_streams(path, collection, splits, truth, base)
        if set_name is not None and len(streams) > 1:
            raise InvalidInput(
                f"There are {len(streams)} splits, and each becomes a query set.",
                hint="Choose one by --split, or leave --as out.",
                field="as",
            )
        saved, problems = save_query_sets(services, collection, streams, set_name)
        if not saved:
            raise InvalidInput(problems[0].reason, hint=problems[0].hint)
        summaries = summaries_of(services, collection, saved)
    if as_json:
        listed = saved_json(saved, summaries)
        told = [asdict(problem) for problem in problems]
        print_json({"collection": collection.name, "query_sets": listed, "problems": told})
    else:
        print_saved(saved, summaries)
        for problem in problems:
            note(f"{problem.source}, {problem.place}: {one_line(problem.reason)}")


def _query_streams(
    path: Path, collection: Collection, splits: Sequence[str], truth: Path | None, base: str | None
) -> list[QueryStream]:
    if path.is_dir():
        judged = find_judged(path)
        if judged is None:
            raise InvalidInput(
                f"{path} is no folder in BEIR form.",
                hint="It needs queries.jsonl, and qrels.tsv or qrels/*.tsv.",
            )
        return judged.query_streams(splits)
    if not is_vector_file(path.name):
        raise InvalidInput(
            f"{path.name} is no file of vectors.",
            hint="Give a folder in BEIR form, or a file such as hdf5, npy or fvecs.",
        )
    source = FileSource.from_path(path)
    if truth is not None and base is None:
        raise InvalidInput(
            "The true neighbours are given by row number, and it is not known of which file.",
            hint="Name the file that the documents were loaded from: --base.",
            field="base",
        )
    in_one = is_hdf5(path.name)
    answers = FileSource.from_path(truth) if truth is not None else None
    return [
        vector_queries(
            source,
            dimensions=collection.dimensions,
            distance=collection.distance,
            dataset=TEST if in_one else None,
            truth=source.reopened() if in_one else answers,
            truth_dataset=NEIGHBOURS if in_one else None,
            base=base or source.name,
            name=path.stem,
        )
    ]


# --- what others print too ----------------------------------------------------------------------


def summaries_of(
    services: Services, collection: Collection, saved: Sequence[SavedQuerySet]
) -> list[QuerySetSummary]:
    """Counted against the documents that are stored now."""
    return [
        services.database.query(summarise_query_set, collection, found.query_set) for found in saved
    ]


def query_set_json(summary: QuerySetSummary) -> dict[str, Any]:
    return {
        "id": summary.query_set.id,
        "name": summary.query_set.name,
        "kind": summary.query_set.kind,
        "queries": summary.queries,
        "judged": summary.judged,
        "with_truth": summary.with_truth,
        "judgments": summary.judgments,
        "missing_documents": summary.missing,
    }


def saved_json(
    saved: Sequence[SavedQuerySet], summaries: Sequence[QuerySetSummary]
) -> list[dict[str, Any]]:
    return [
        {**query_set_json(summary), "unknown_queries": found.unknown_queries}
        for found, summary in zip(saved, summaries, strict=True)
    ]


def print_query_sets(summaries: Sequence[QuerySetSummary]) -> None:
    print_table(
        ("query set", "kind", "queries", "judged", "judgments", "not stored", "with truth"),
        [
            (
                summary.query_set.name,
                summary.query_set.kind.value,
                summary.queries,
                summary.judged,
                summary.judgments,
                summary.missing,
                summary.with_truth,
            )
            for summary in summaries
        ],
    )


def print_saved(saved: Sequence[SavedQuerySet], summaries: Sequence[QuerySetSummary]) -> None:
    print_query_sets(summaries)
    for found, summary in zip(saved, summaries, strict=True):
        name = one_line(found.query_set.name)
        if summary.missing:
            note(f"“{name}”: {summary.missing:,} judgments are of documents that are not stored.")
        if found.unknown_queries:
            note(f"“{name}”: {found.unknown_queries:,} judgments of unknown queries left out.")


def _dimensions(embedding: Any) -> str:
    return f"a vector of {len(embedding):,} dimensions"
