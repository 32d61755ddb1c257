"""``documents list | show | delete``: what is stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from lib.cli.collections import confirm
from lib.cli.output import collection_option, json_option, note, one_line, print_json, print_table
from lib.cli.session import find_collection, find_searchable, open_session
from lib.errors import InvalidInput
from lib.store.browse import (
    PAGE_ROWS,
    DocumentFilter,
    DocumentLine,
    EmbeddingState,
    Order,
    StoredDocument,
    count_documents,
    count_removal,
    delete_documents,
    find_neighbours,
    get_document,
    list_documents,
)
from lib.vectors.search import Hit

F = TypeVar("F", bound=Callable[..., Any])


def filter_options(command: F) -> F:
    """Which documents: --words, --category, --state and --where."""
    for option in (
        click.option(
            "--where",
            "metadata",
            metavar="FIELD=VALUE",
            help="Only where this field of the metadata is that, or has it in its list.",
        ),
        click.option(
            "--state",
            type=click.Choice([state.value for state in EmbeddingState]),
            help="Only embedded ones; those still missing an embedding; or those that failed.",
        ),
        click.option("--category", help="Only this category."),
        click.option(
            "--words",
            default="",
            help="Only where each of these words occurs in the title, the text or the id.",
        ),
    ):
        command = option(command)
    return command


def document_filter(
    *,
    words: str,
    category: str | None,
    state: str | None,
    metadata: str | None,
    external_ids: tuple[str, ...] = (),
) -> DocumentFilter:
    """Raises InvalidInput for a --where without a field."""
    field = None
    if metadata is not None:
        name, equals, value = metadata.partition("=")
        if not name or not equals:
            raise InvalidInput(
                f"“{metadata}” is no FIELD=VALUE.",
                hint="Such as --where page=3.",
                field="where",
            )
        field = (name, value)
    return DocumentFilter(
        words=words,
        category=category,
        state=None if state is None else EmbeddingState(state),
        metadata=field,
        external_ids=external_ids,
    )


@click.group()
def documents() -> None:
    """List, show and delete the documents of a collection.

    A document is one row; a long file becomes several, its parts, under one id.
    """


@documents.command("list")
@collection_option
@filter_options
@click.option(
    "--order",
    type=click.Choice([order.value for order in Order]),
    default=Order.ID.value,
    show_default=True,
    help="By id is quick at any size.",
)
@click.option(
    "--limit",
    type=click.IntRange(PAGE_ROWS.low, PAGE_ROWS.high),
    default=PAGE_ROWS.default,
    show_default=True,
    help="At most so many documents.",
)
@json_option
def list_(name: str, order: str, limit: int, as_json: bool, **which: Any) -> None:
    """Show documents: id, part, title, category, whether embedded, and how long.

    \b
    Examples:
      python -m lib documents list --collection Films --words "deep sea"
      python -m lib documents list --collection Films --state failed
    """
    where = document_filter(**which)
    with open_session() as services:
        query, collection = services.database.query, find_searchable(services, name)
        page = query(list_documents, collection, where, order=Order(order), limit=limit)
        total = query(count_documents, collection, where)
    if as_json:
        print_json(
            {
                "collection": collection.name,
                "documents": [_line_json(line) for line in page.documents],
                "total": total.documents,
                "total_is_exact": total.is_exact,
            }
        )
        return
    print_table(
        ("id", "part", "title", "category", "embedding", "characters"),
        [
            (
                line.external_id,
                line.part,
                line.title,
                line.category,
                line.embedding_error or line.state.label.lower(),
                line.characters,
            )
            for line in page.documents
        ],
        most=50,
    )
    more = "" if total.is_exact else "more than "
    note(f"{len(page.documents):,} of {more}{total.documents:,}")


@documents.command()
@click.argument("external_id", metavar="ID")
@collection_option
@click.option(
    "--part",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Which part of a long document, from 0.",
)
@click.option(
    "--neighbours",
    type=click.IntRange(min=0, max=100),
    default=5,
    show_default=True,
    help="How many of the nearest documents to show.",
)
@json_option
def show(external_id: str, name: str, part: int, neighbours: int, as_json: bool) -> None:
    """Show the document ID in full: its text, metadata, embedding and nearest documents."""
    with open_session() as services:
        query, collection = services.database.query, find_searchable(services, name)
        found = query(get_document, collection, external_id, part)
        shown = next((one for one in found.parts if one.part == part), None)
        if shown is None:
            raise InvalidInput(
                f"“{external_id}” has no part {part}.",
                hint=f"It has {found.part_count:,}, the first is {found.parts[0].part}.",
                field="part",
            )
        hits = query(find_neighbours, collection, shown, neighbours) if neighbours else ()
    if as_json:
        print_json({"collection": collection.name, **_document_json(shown, found.part_count, hits)})
    else:
        _print_document(shown, found.part_count, hits)


@documents.command()
@click.argument("external_ids", metavar="ID…", nargs=-1)
@collection_option
@filter_options
@click.option("--all", "everything", is_flag=True, help="All documents of the collection.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def delete(
    external_ids: tuple[str, ...],
    name: str,
    everything: bool,
    yes: bool,
    as_json: bool,
    **which: Any,
) -> None:
    """Delete documents for good: by their ids, or all that a filter finds. Asks first.

    A document goes with all of its parts.

    \b
    Examples:
      python -m lib documents delete --collection Notes drafts/old.md
      python -m lib documents delete --collection Notes --category drafts
    """
    where = document_filter(**which, external_ids=external_ids)
    if where.is_empty != everything:
        raise InvalidInput(
            "--all means every document, and leaves nothing to choose."
            if everything
            else "Which documents?",
            hint="Give ids, a filter such as --category, or --all; --all only by itself.",
        )
    with open_session() as services:
        query, collection = services.database.query, find_collection(services, name)
        removal = query(count_removal, collection, where)
        if removal.documents and not yes:
            confirm(
                f"Delete {removal.documents:,} documents ({removal.external_ids:,} ids) of "
                f"“{collection.name}” for good?"
            )
        removal = query(delete_documents, collection, where, at_most=removal.documents)
    if as_json:
        print_json(
            {
                "collection": collection.name,
                "deleted": {
                    "documents": removal.documents,
                    "external_ids": removal.external_ids,
                },
            }
        )
    else:
        click.echo(
            f"Deleted {removal.documents:,} documents ({removal.external_ids:,} ids) of "
            f"“{one_line(collection.name)}”."
        )


# --- what is printed ----------------------------------------------------------------------------


def _line_json(line: DocumentLine) -> dict[str, Any]:
    return {
        "id": line.id,
        "external_id": line.external_id,
        "part": line.part,
        "title": line.title,
        "category": line.category,
        "state": line.state,
        "embedding_error": line.embedding_error,
        "characters": line.characters,
        "updated_at": line.updated_at,
    }


def _document_json(
    document: StoredDocument, part_count: int, hits: tuple[Hit, ...]
) -> dict[str, Any]:
    embedding = document.embedding
    return {
        "id": document.id,
        "external_id": document.external_id,
        "part": document.part,
        "parts": part_count,
        "title": document.title,
        "category": document.category,
        "content": document.content,
        "metadata": document.metadata,
        "embedding": None if embedding is None else [float(number) for number in embedding],
        "norm": document.norm,
        "embedding_error": document.embedding_error,
        "created_at": document.created_at,
        "updated_at": document.updated_at,
        "neighbours": [
            {
                "external_id": hit.document.external_id,
                "part": hit.document.part,
                "title": hit.document.title,
                "distance": hit.distance,
                "similarity": hit.similarity,
            }
            for hit in hits
        ],
    }


def _print_document(document: StoredDocument, part_count: int, hits: tuple[Hit, ...]) -> None:
    click.echo(click.style(one_line(document.title or document.external_id), bold=True))
    place = f"part {document.part}" + (f" of {part_count:,}" if part_count > 1 else "")
    category = f", {document.category}" if document.category else ""
    click.echo(one_line(f"{document.external_id}, {place}{category}") + "\n")
    for line in document.content.splitlines():
        click.echo("".join(c if c.isprintable() else "�" for c in line.expandtabs()))
    click.echo()
    for field, value in document.metadata.items():
        click.echo(one_line(f"{field}: {value}"))
    if document.embedding is None:
        note(one_line(document.embedding_error or "Not embedded yet."))
        return
    numbers = ", ".join(f"{number:.4f}" for number in document.first_numbers)
    dimensions = f"{len(document.embedding):,} dimensions"
    click.echo(f"embedding: {dimensions}, norm {document.norm:.4f}, [{numbers}, …]")
    if hits:
        click.echo("\nNearest to it:")
        print_table(
            ("similarity", "id", "part", "title"),
            [
                (
                    f"{hit.similarity:.3f}",
                    hit.document.external_id,
                    hit.document.part,
                    hit.document.title,
                )
                for hit in hits
            ],
        )
