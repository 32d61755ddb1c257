"""``export``: a collection into a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lib.cli.documents import document_filter, filter_options
from lib.cli.output import collection_option, json_option, print_json
from lib.cli.session import find_collection, follow, open_session
from lib.errors import AlreadyExists
from lib.formats import format_bytes
from lib.ingest.export import format_of, start_export


@click.command()
@collection_option
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Its ending says what is written: .jsonl or .parquet.",
)
@click.option("--embeddings", is_flag=True, help="Write the embeddings too.")
@click.option("--overwrite", is_flag=True, help="Replace FILE where it is there already.")
@filter_options
@json_option
def export(
    name: str, out: Path, embeddings: bool, overwrite: bool, as_json: bool, **which: Any
) -> None:
    """Write a collection, or what a filter finds in it, to a file that loads back to the same.

    \b
    Examples:
      python -m lib export --collection Films --out films.jsonl
      python -m lib export --collection Films --out films.parquet --embeddings
    """
    where = document_filter(**which)
    format_of(out)
    if out.exists() and not overwrite:
        raise AlreadyExists(
            f"{out} is there already.", hint="Take another name, or give --overwrite.", field="out"
        )
    with open_session() as services:
        collection = find_collection(services, name)
        job = services.database.run(
            start_export(
                services.jobs,
                services.database,
                collection,
                out,
                with_embeddings=embeddings,
                where=where,
            )
        )
        job = follow(services, job, if_stopped="Nothing was left behind.")
    exported = job.result or {}
    if as_json:
        print_json({"collection": collection.name, **exported})
    else:
        click.echo(
            f"Wrote {exported['documents']:,} documents to {exported['path']}, "
            f"{format_bytes(exported['size_bytes'])}, in {exported['seconds']:.1f} s."
        )
