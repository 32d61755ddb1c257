"""``ingest``, ``sample`` and ``backfill``: documents in, and embedded."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from lib.cli.collections import CollectionOptions
from lib.cli.given import (
    GivenVectors,
    find_or_make,
    look_for_vectors,
    queries_of,
    read_options,
    save_queries,
)
from lib.cli.output import json_option, note, print_json, print_table
from lib.cli.query_sets import print_saved, saved_json, summaries_of
from lib.cli.session import find_collection, follow, open_session
from lib.errors import InvalidInput
from lib.evaluation.query_sets import QuerySetSummary, SavedQuerySet
from lib.ingest.beir import JudgedFolder, find_judged
from lib.ingest.columns import ColumnChoice
from lib.ingest.incoming import IncomingProblem
from lib.ingest.jobs import start_backfill, start_load, start_sample_load
from lib.ingest.readers import EXTENSIONS, reader_for
from lib.ingest.service import file_feed
from lib.ingest.source import ReadOptions, Source
from lib.store.collections import Collection
from lib.vectors.distance import Distance, Storage

SAMPLE_COLLECTION = "Python documentation"
SHOWN_PROBLEMS = 20
_GO_ON = "What was done is kept. Run the same command again to go on from there."


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH…", type=click.Path(exists=True))
@click.option("--collection", "name", required=True, help="Where to; made if it is not there.")
@click.option("--model", help="The embedding model of a new collection.")
@click.option(
    "--distance",
    type=click.Choice([distance.value for distance in Distance]),
    help="Of a new collection; by default the model's, or as the vectors suggest.",
)
@click.option(
    "--storage",
    type=click.Choice([storage.value for storage in Storage]),
    help="Of a new collection: halfvec takes half the room.",
)
@click.option(
    "--text-column",
    "text_columns",
    multiple=True,
    help="Tables: the column to search in. Give it again to join several.",
)
@click.option("--title-column", help='Tables: the column with the title; "" for none.')
@click.option("--category-column", help='Tables: the column with the category; "" for none.')
@click.option("--id-column", help='Tables: the column with the id; "" for none.')
@click.option(
    "--embedding-column", help="Tables: the column with vectors to be stored as they are."
)
@click.option(
    "--texts",
    type=click.Path(exists=True, dir_okay=False),
    help="Vectors: the file with their texts; by default one that lies beside them and fits.",
)
@click.option("--dataset", help="Vectors: which array, in a file that holds several.")
@click.option("--split", "splits", multiple=True, help="BEIR form: only this split, such as test.")
@click.option("--encoding", help="Such as cp1252; found out where it is not given.")
@click.option("--delimiter", help="Tables: one character; found out where it is not given.")
@json_option
@click.pass_context
def ingest(
    ctx: click.Context,
    paths: Sequence[str],
    name: str,
    model: str | None,
    distance: str | None,
    storage: str | None,
    text_columns: tuple[str, ...],
    title_column: str | None,
    category_column: str | None,
    id_column: str | None,
    embedding_column: str | None,
    texts: str | None,
    dataset: str | None,
    splits: tuple[str, ...],
    encoding: str | None,
    delimiter: str | None,
    as_json: bool,
) -> None:
    """Load files and folders into a collection, and embed them.

    Folders are walked, without hidden files; a document's id begins with its file's path inside
    the folder. Loading the same again changes what has changed and embeds only that. Ctrl-C stops
    in good order: what is done is kept, and the same command goes on from there.

    A folder with corpus.jsonl, queries.jsonl and qrels (BEIR form) becomes documents and a query
    set. Files of vectors (npy, npz, fvecs, hdf5) and tables with a column of vectors are stored as
    they are: a new collection then has no model, unless --model names the one that made them.

    What cannot be read is listed, and the rest is loaded. The exit code is 1 only where nothing
    could be loaded.

    \b
    Examples:
      python -m lib ingest notes/ --collection "My notes"
      python -m lib ingest films.csv --collection Films --text-column plot --title-column name
      python -m lib ingest scifact/ --collection Papers
      python -m lib ingest vectors.npy --collection Emoji --texts labels.txt
    """
    options = ReadOptions(
        encoding=encoding,
        delimiter="\t" if delimiter == "\\t" else delimiter,
        columns=ColumnChoice(
            text_columns, title_column, category_column, id_column, embedding_column or ""
        ),
        texts=texts,
        dataset=dataset,
    )
    judged, others = _part_judged([Path(path) for path in paths])
    found = _find_files(others)
    vectors = look_for_vectors(found.sources, options)
    problems = [*found.problems, *vectors.problems]
    if not vectors.sources and not judged:
        raise InvalidInput(
            vectors.problems[0].reason if vectors.problems else "None of these files can be read.",
            hint=f"What can be read: {', '.join(EXTENSIONS)}.",
        )
    with open_session() as services:
        wanted = CollectionOptions(model, distance, storage, "english")
        collection = find_or_make(services, name, wanted, vectors, embedding_column)
        options = read_options(options, collection, vectors, embedding_column)
        feeds = [file_feed(source, options) for source in vectors.sources]
        feeds += [folder.documents() for folder in judged]
        queries = [feed for folder in judged for feed in folder.query_feeds(splits)]
        queries += queries_of(vectors, collection)
        saved, unread = save_queries(services, collection, queries)
        job = services.database.run(
            start_load(services.jobs, services.documents, collection, feeds)
        )
        job = follow(services, job, if_stopped=_GO_ON)
        summaries = summaries_of(services, collection, saved)
    if not _print_load(
        collection, job.result or {}, [*problems, *unread], saved, summaries, as_json=as_json
    ):
        ctx.exit(1)


@click.command()
@click.option(
    "--collection",
    "name",
    default=SAMPLE_COLLECTION,
    show_default=True,
    help="Where to; made if it is not there.",
)
@click.option("--limit", type=click.IntRange(min=1), help="At most so many documents.")
@json_option
def sample(name: str, limit: int | None, as_json: bool) -> None:
    """Load the sample: documentation of Python and of the installed packages.

    It is read from this machine; nothing comes from the network.
    """
    with open_session() as services:
        wanted = CollectionOptions(None, None, None, "english")
        collection = find_or_make(services, name, wanted, GivenVectors())
        job = services.database.run(
            start_sample_load(services.jobs, services.documents, collection, limit)
        )
        job = follow(services, job, if_stopped=_GO_ON)
    _print_load(collection, job.result or {}, [], [], [], as_json=as_json)


@click.command()
@click.option("--collection", "name", required=True)
@json_option
def backfill(name: str, as_json: bool) -> None:
    """Embed the documents that have no embedding yet, such as after a provider's failure."""
    with open_session() as services:
        collection = find_collection(services, name)
        job = services.database.run(start_backfill(services.jobs, services.documents, collection))
        job = follow(services, job, if_stopped=_GO_ON)
    embedded = (job.result or {})["embedded"]
    if as_json:
        print_json({"collection": collection.name, "embedded": embedded})
    else:
        click.echo(_embedded_line(embedded))


# --- files --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Found:
    sources: list[Source]
    problems: list[IncomingProblem]


def _part_judged(paths: Sequence[Path]) -> tuple[list[JudgedFolder], list[Path]]:
    """The folder in BEIR form, if there is one, and the other paths.

    Raises InvalidInput where there are two: their ids are numbers mostly, the same ones in each.
    """
    judged = {
        path: folder
        for path in paths
        if path.is_dir() and (folder := find_judged(path)) is not None and folder.corpus is not None
    }
    if len(judged) > 1:
        raise InvalidInput(
            f"{' and '.join(map(str, judged))} are judged collections, whose ids may be the same.",
            hint="Load each into a collection of its own.",
        )
    return list(judged.values()), [path for path in paths if path not in judged]


def _find_files(paths: Sequence[Path]) -> _Found:
    """Raises InvalidInput where two files would have the same name, and so the same ids."""
    sources: list[Source] = []
    problems: list[IncomingProblem] = []
    places: dict[str, Path] = {}
    for path, name in _walk(paths, problems):
        try:
            if not path.is_file():
                raise InvalidInput("It is no ordinary file.")
            reader_for(name)
            source = Source.from_path(path, name=name)
        except InvalidInput as exc:
            problems.append(IncomingProblem(name, "", exc.message, exc.hint))
        except OSError as exc:
            problems.append(IncomingProblem(name, "", f"It cannot be read: {exc.strerror}."))
        else:
            other = places.setdefault(source.name, path)
            if other != path:
                raise InvalidInput(
                    f"{other} and {path} would both be called {source.name}, and one would replace "
                    "the other.",
                    hint="Name the folder above them instead.",
                )
            sources.append(source)
    return _Found(sources, problems)


def _walk(paths: Sequence[Path], problems: list[IncomingProblem]) -> Iterator[tuple[Path, str]]:
    """(file, its name: its path inside the folder that was named), each file once, by name."""
    seen: set[Path] = set()

    def not_listed(exc: OSError) -> None:
        problems.append(IncomingProblem(str(exc.filename), "", f"{exc.strerror}."))

    for path in paths:
        if not path.is_dir():
            found = [(path, path.name)]
        else:
            found = []
            for folder, folders, files in os.walk(path, onerror=not_listed):
                folders[:] = sorted(name for name in folders if not name.startswith("."))
                for name in sorted(files):
                    if not name.startswith("."):
                        file = Path(folder, name)
                        found.append((file, file.relative_to(path).as_posix()))
        for file, name in found:
            if file.resolve() not in seen:
                seen.add(file.resolve())
                yield file, name


# --- what became of it --------------------------------------------------------------------------


def _print_load(
    collection: Collection,
    result: dict[str, Any],
    unread: Sequence[IncomingProblem],
    saved: Sequence[SavedQuerySet],
    summaries: Sequence[QuerySetSummary],
    *,
    as_json: bool,
) -> bool:
    """Says whether there is anything that was loaded."""
    stored, embedded = result["stored"], result["embedded"]
    problems = [
        *(
            {"source": p.source, "place": p.place, "reason": p.reason, "hint": p.hint}
            for p in unread
        ),
        *result["problems"],
    ]
    count = result["problem_count"] + len(unread)
    if as_json:
        summary = {**result, "problems": problems, "problem_count": count}
        if saved:
            summary["query_sets"] = saved_json(saved, summaries)
        print_json({"collection": collection.name, **summary})
        return any(stored.values())
    repeated = f", {stored['repeated']:,} repeated" if stored["repeated"] else ""
    removed = f", {result['removed_parts']:,} removed" if result["removed_parts"] else ""
    click.echo(
        f"{collection.name}: {stored['new']:,} new, {stored['changed']:,} changed, "
        f"{stored['unchanged']:,} unchanged{repeated}{removed}, in {result['seconds']:.1f} s."
    )
    if collection.has_model:
        click.echo(_embedded_line(embedded))
    if saved:
        click.echo()
        print_saved(saved, summaries)
    if count:
        click.echo(f"\n{count:,} could not be loaded as they stood:")
        print_table(
            ("file", "place", "what is wrong"),
            [(p["source"], p["place"], p["reason"]) for p in problems[:SHOWN_PROBLEMS]],
            most=80,
        )
        if count > SHOWN_PROBLEMS:
            note(f"… and {count - SHOWN_PROBLEMS:,} more; --json lists the first thousand.")
    return any(stored.values())


def _embedded_line(embedded: dict[str, Any]) -> str:
    parts = [f"Embedded {embedded['embedded']:,}"]
    if embedded["failed"]:
        parts.append(f"{embedded['failed']:,} failed: backfill tries them again")
    if embedded["truncated"]:
        parts.append(f"{embedded['truncated']:,} too long for the model, their beginning counts")
    usage = embedded["usage"]
    if usage["cost_usd"]:
        parts.append(f"{usage['tokens']:,} tokens, {usage['cost_usd']:.4f} USD")
    return "; ".join(parts) + "."
