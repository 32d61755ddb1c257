"""``ingest``, ``sample`` and ``backfill``: documents in, and embedded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from lib.cli.collections import CollectionOptions
from lib.cli.files import find_files, split_beir_folders
from lib.cli.output import collection_option, json_option, note, one_line, print_json, print_table
from lib.cli.precomputed_vectors import (
    PrecomputedVectors,
    find_or_create,
    find_precomputed_vectors,
    with_embedding_column,
)
from lib.cli.query_file import save_query_sets
from lib.cli.query_sets import print_saved, saved_json, summaries_of
from lib.cli.session import find_collection, follow, open_session
from lib.errors import InvalidInput, NotFound
from lib.evaluation.query_sets import QuerySetSummary, SavedQuerySet
from lib.formats import format_duration
from lib.ingest.beir import JudgedFolder
from lib.ingest.columns import ColumnChoice
from lib.ingest.document_stream import DocumentStream, file_stream
from lib.ingest.incoming import IncomingProblem
from lib.ingest.jobs import (
    can_resume,
    resume_load,
    start_backfill,
    start_load,
    start_sample_load,
)
from lib.ingest.missing import Missing
from lib.ingest.pipeline import LoadOptions
from lib.ingest.problems import problems_path
from lib.ingest.queries import QueryStream
from lib.ingest.read_options import MAX_PART_TOKENS, MIN_PART_TOKENS, ReadOptions
from lib.ingest.readers.registry import EXTENSIONS
from lib.ingest.sample import SAMPLE_NAME
from lib.services import Services
from lib.store.collections import Collection, list_collections
from lib.store.jobs import Job
from lib.vectors.distance import Distance, Storage

SHOWN_PROBLEMS = 20
_RECENT_JOBS = 200
_GO_ON = "What was done is kept. Run the same command again to go on from there."


def _go_on(job: Job) -> str:
    if not job.parameters.get("files"):
        return _GO_ON
    return f"{_GO_ON.removesuffix('.')}, or: python -m lib ingest --resume {str(job.id)[:8]}"


@click.command()
@click.argument("paths", nargs=-1, metavar="PATH…", type=click.Path(exists=True))
@click.option("--collection", "name", help="Where to; made if it is not there.")
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
@click.option(
    "--part-tokens",
    type=click.IntRange(MIN_PART_TOKENS, MAX_PART_TOKENS),
    default=400,
    show_default=True,
    help="Texts: how long a part may be, in tokens of the collection's model.",
)
@click.option(
    "--overlap-tokens",
    type=click.IntRange(min=0),
    default=40,
    show_default=True,
    help="Texts: how much of a part the next one repeats.",
)
@click.option(
    "--replace-all",
    is_flag=True,
    help="When all is loaded, remove the collection's documents that did not come again.",
)
@click.option("--no-embed", is_flag=True, help="Store the texts only; backfill embeds them later.")
@click.option("--resume", metavar="JOB", help="Go on with a load that was stopped, by its id.")
@json_option
@click.pass_context
def ingest(
    ctx: click.Context,
    paths: Sequence[str],
    name: str | None,
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
    part_tokens: int,
    overlap_tokens: int,
    replace_all: bool,
    no_embed: bool,
    resume: str | None,
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
      python -m lib ingest --resume 1f0c2a44
    """
    if resume is not None:
        if paths or name:
            raise click.UsageError("--resume takes no PATH and no --collection: the job has them.")
        if not _resume(resume, as_json=as_json):
            ctx.exit(1)
        return
    if not paths or not name:
        raise click.UsageError("Give a PATH and --collection, or --resume.")
    options = ReadOptions(
        encoding=encoding,
        delimiter="\t" if delimiter == "\\t" else delimiter,
        columns=ColumnChoice(
            text_columns, title_column, category_column, id_column, embedding_column or ""
        ),
        part_tokens=part_tokens,
        overlap_tokens=overlap_tokens,
        texts=texts,
        dataset=dataset,
    )
    load_input = _find_input(paths, options, replace_all=replace_all)
    with open_session() as services:
        collection = find_or_create(
            services,
            name,
            CollectionOptions(model, distance, storage, "english"),
            load_input.vectors,
            embedding_column,
        )
        options = with_embedding_column(options, collection, load_input.vectors, embedding_column)
        queries = load_input.query_streams(collection, splits)
        saved, unread = save_query_sets(services, collection, queries)
        job = services.database.run(
            start_load(
                services.jobs,
                services.documents,
                collection,
                load_input.document_streams(options),
                LoadOptions(embed=not no_embed, replace_all=replace_all),
            )
        )
        job = follow(services, job, if_stopped=_go_on(job))
        summaries = summaries_of(services, collection, saved)
    unread = [*load_input.problems, *unread]
    if not _print_load(services, collection, job, unread, saved, summaries, as_json=as_json):
        ctx.exit(1)


@dataclass(frozen=True)
class _LoadInput:
    """What the paths of the command name."""

    beir_folders: list[JudgedFolder]
    vectors: PrecomputedVectors
    """With all other files among its sources."""
    problems: list[IncomingProblem]

    def document_streams(self, options: ReadOptions) -> list[DocumentStream]:
        return [
            *(file_stream(source, options) for source in self.vectors.sources),
            *(folder.documents() for folder in self.beir_folders),
        ]

    def query_streams(self, collection: Collection, splits: Sequence[str]) -> list[QueryStream]:
        return [
            *(stream for folder in self.beir_folders for stream in folder.query_streams(splits)),
            *self.vectors.query_streams(collection),
        ]


def _find_input(paths: Sequence[str], options: ReadOptions, *, replace_all: bool) -> _LoadInput:
    """Raises InvalidInput where nothing can be read, or where --replace-all would delete the
    documents of a file that cannot be read."""
    beir_folders, others = split_beir_folders([Path(path) for path in paths])
    files = find_files(others)
    vectors = find_precomputed_vectors(files.sources, options)
    unreadable = [problem.source for problem in (*files.unreadable, *vectors.problems)]
    if replace_all and unreadable:
        raise InvalidInput(
            f"{unreadable[0]} cannot be read, so its documents would be taken for gone.",
            hint="Leave --replace-all out, or make the file readable.",
            field="replace_all",
        )
    if not vectors.sources and not beir_folders:
        raise InvalidInput(
            vectors.problems[0].reason if vectors.problems else "None of these files can be read.",
            hint=f"What can be read: {', '.join(EXTENSIONS)}.",
        )
    return _LoadInput(beir_folders, vectors, [*files.problems, *vectors.problems])


def _resume(job_id: str, *, as_json: bool) -> bool:
    """Says whether there is anything that was loaded."""
    with open_session() as services:
        found = _find_job(services, job_id)
        job = services.database.run(resume_load(services.jobs, services.documents, found.id))
        collection = next(
            collection
            for collection in services.database.query(list_collections)
            if collection.id == job.collection_id
        )
        job = follow(services, job, if_stopped=_go_on(job))
    return _print_load(services, collection, job, [], [], [], as_json=as_json)


def _find_job(services: Services, job_id: str) -> Job:
    """By the beginning of its id. Raises NotFound, InvalidInput where several begin so."""
    recent = services.database.run(services.jobs.recent(limit=_RECENT_JOBS))
    found = [job for job in recent if str(job.id).startswith(job_id.lower())]
    if len(found) == 1:
        return found[0]
    stopped = [f"{str(job.id)[:8]} ({one_line(job.title)})" for job in recent if can_resume(job)]
    raise (InvalidInput if found else NotFound)(
        f"{len(found)} jobs have an id that begins with “{one_line(job_id)}”.",
        hint=f"These can be resumed: {', '.join(stopped[:5])}."
        if stopped
        else "There is no load that can be resumed.",
        field="resume",
    )


@click.command()
@click.option(
    "--collection",
    "name",
    default=SAMPLE_NAME,
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
        options = CollectionOptions(None, None, None, "english")
        collection = find_or_create(services, name, options, PrecomputedVectors())
        job = services.database.run(
            start_sample_load(services.jobs, services.documents, collection, limit)
        )
        job = follow(services, job, if_stopped=_GO_ON)
    _print_load(services, collection, job, [], [], [], as_json=as_json)


@click.command()
@collection_option
@click.option("--dry-run", is_flag=True, help="Only say what is missing, and why.")
@json_option
def backfill(name: str, dry_run: bool, as_json: bool) -> None:
    """Embed the documents that have no embedding yet, such as after a provider's failure."""
    with open_session() as services:
        collection = find_collection(services, name)
        if dry_run:
            missing = services.database.run(services.documents.missing_report(collection))
            _print_missing(collection, missing, as_json=as_json)
            return
        job = services.database.run(start_backfill(services.jobs, services.documents, collection))
        job = follow(services, job, if_stopped=_GO_ON)
    embedded = (job.result or {})["embedded"]
    if as_json:
        print_json({"collection": collection.name, "embedded": embedded})
    else:
        click.echo(_embedded_line(embedded))


def _print_missing(collection: Collection, missing: Sequence[Missing], *, as_json: bool) -> None:
    if as_json:
        print_json({"collection": collection.name, "missing": [asdict(item) for item in missing]})
    elif not missing:
        click.echo(f"{collection.name}: every document has its embedding.")
    else:
        print_table(
            ("documents", "why", "such as"),
            [
                (f"{'≥ ' if item.at_least else ''}{item.count:,}", item.reason, item.examples[0])
                for item in missing
            ],
            most=80,
        )


# --- what became of it --------------------------------------------------------------------------


def _print_load(
    services: Services,
    collection: Collection,
    job: Job,
    unread: Sequence[IncomingProblem],
    saved: Sequence[SavedQuerySet],
    summaries: Sequence[QuerySetSummary],
    *,
    as_json: bool,
) -> bool:
    """Says whether there is anything that was loaded."""
    result: dict[str, Any] = job.result or {}
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
    gone = result["removed_parts"] + result["removed"]
    removed = f", {gone:,} removed" if gone else ""
    click.echo(
        f"{collection.name}: {stored['new']:,} new, {stored['changed']:,} changed, "
        f"{stored['unchanged']:,} unchanged{repeated}{removed}, in "
        f"{format_duration(result['seconds'])}."
    )
    if result["kept_because"]:
        click.echo(result["kept_because"])
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
            whole = problems_path(services.settings.home, job.id)
            note(f"… and {count - SHOWN_PROBLEMS:,} more: see {whole} or --json.")
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
