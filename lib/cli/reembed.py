"""``reembed estimate | start | status | switch | discard``: another model for a collection."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from lib.cli.collections import confirm
from lib.cli.output import collection_option, json_option, note, one_line, print_json
from lib.cli.session import find_collection, follow, open_session
from lib.errors import NotFound
from lib.formats import format_bytes
from lib.ingest.reembed import (
    Estimate,
    ShadowState,
    discard_reembedding,
    estimate_reembedding,
    shadow_state,
    start_reembedding,
    start_switch,
)
from lib.services import Services
from lib.store.collections import NEXT_SUFFIX, Collection

model_option = click.option(
    "--model", required=True, help="Such as openai/text-embedding-3-small; see: status."
)


@click.group()
def reembed() -> None:
    """Embed a collection again by another model, beside its own vectors, and switch to it.

    While the new vectors grow, and until the switch, both can be searched: the new ones under the
    collection's name with ~next behind it.

    \b
    Example:
      python -m lib reembed start --collection Films --model openai/text-embedding-3-small
      python -m lib search "deep sea" --collection Films~next
      python -m lib reembed switch --collection Films
    """


@reembed.command()
@collection_option
@model_option
@json_option
def estimate(name: str, model: str, as_json: bool) -> None:
    """Say what embedding by a model would cost. Asks no provider."""
    with open_session() as services:
        collection = find_collection(services, name)
        found = services.database.run(estimate_reembedding(services.documents, collection, model))
    if as_json:
        print_json({**asdict(found), "model": found.model.name})
    else:
        _print_estimate(found)


@reembed.command()
@collection_option
@model_option
@json_option
def start(name: str, model: str, as_json: bool) -> None:
    """Embed all documents by another model; where that had begun before, go on with it."""
    with open_session() as services:
        collection = find_collection(services, name)
        if not as_json and collection.reembedding is None:
            found = estimate_reembedding(services.documents, collection, model)
            _print_estimate(services.database.run(found))
        job = services.database.run(
            start_reembedding(services.jobs, services.documents, collection, model)
        )
        follow(
            services,
            job,
            if_stopped="What was done is kept. Run the same again to go on from there.",
        )
        state = _state(services, find_collection(services, name))
    if as_json:
        print_json({"collection": collection.name, "model": model, **asdict(state)})
        return
    _print_state(model, state)
    quoted = one_line(collection.name)
    note(
        f'Try it: python -m lib search "…" --collection "{quoted}{NEXT_SUFFIX}"\n'
        f'Then:   python -m lib reembed switch --collection "{quoted}"'
    )


@reembed.command()
@collection_option
@json_option
def status(name: str, as_json: bool) -> None:
    """Show how far the new vectors are."""
    with open_session() as services:
        collection = find_collection(services, name)
        state = None if collection.reembedding is None else _state(services, collection)
    under_way = collection.reembedding
    if as_json:
        found = (
            None if under_way is None or state is None else {**under_way.to_json(), **asdict(state)}
        )
        print_json({"collection": collection.name, "model": collection.model, "next": found})
    elif under_way is None or state is None:
        click.echo(
            f"“{one_line(collection.name)}” is embedded by {collection.model}, and by no other."
        )
    else:
        _print_state(under_way.model, state)


@reembed.command()
@collection_option
@click.option(
    "--even-if-incomplete", is_flag=True, help="Also where the new model refused some documents."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def switch(name: str, even_if_incomplete: bool, yes: bool, as_json: bool) -> None:
    """Switch the collection to the new vectors. The old ones go for good. Asks first."""
    with open_session() as services:
        collection = find_collection(services, name)
        if collection.reembedding is None:
            raise NotFound(
                f"“{collection.name}” is not being embedded again.", hint="See: reembed start."
            )
        if not yes:
            confirm(
                f"Switch “{collection.name}” to {collection.reembedding.model}? The vectors of "
                f"{collection.model} go for good, with their index and candidates."
            )
        job = services.database.run(
            start_switch(
                services.jobs,
                services.documents,
                collection,
                even_if_incomplete=even_if_incomplete,
            )
        )
        job = follow(services, job, if_stopped="Nothing was switched; what was embedded is kept.")
    result: dict[str, Any] = job.result or {}
    if as_json:
        print_json({"collection": collection.name, **result})
        return
    click.echo(f"“{one_line(collection.name)}” is embedded by {result['switched_to']} now.")
    for index in result["dropped_indexes"]:
        click.echo(f"The index {index} went with the old vectors.")
    if result["index"] is None:
        suggested = result["suggested_index"]
        note(
            f"There is no vector index now. Suggested: {suggested['kind']}; {suggested['reason']}."
        )


@reembed.command()
@collection_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def discard(name: str, yes: bool, as_json: bool) -> None:
    """Give the new vectors up; the collection stays as it is. Asks first."""
    with open_session() as services:
        collection = find_collection(services, name)
        under_way = collection.reembedding
        if under_way is None:
            raise NotFound(f"“{collection.name}” is not being embedded again.")
        if not yes:
            confirm(f"Discard the vectors of {under_way.model}?")
        services.database.run(discard_reembedding(services.jobs, services.documents, collection))
    if as_json:
        print_json({"collection": collection.name, "discarded": under_way.model})
    else:
        click.echo(f"Discarded the vectors of {under_way.model}.")


def _state(services: Services, collection: Collection) -> ShadowState:
    following = collection.as_shadow
    if following is None:
        raise NotFound(f"“{collection.name}” is not being embedded again (any more).")
    return services.database.query(shadow_state, following)


def _print_estimate(found: Estimate) -> None:
    about = "" if found.tokens_are_exact else "about "
    parts = [f"{found.documents:,} documents", f"{about}{found.tokens:,} tokens"]
    if found.cost_usd is None:
        parts.append("price not known")
    elif found.cost_usd:
        parts.append(f"{found.cost_usd:.2f} USD")
    if found.seconds is not None:
        parts.append(f"about {found.seconds:,.0f} s")
    if found.extra_bytes is not None:
        parts.append(f"{format_bytes(found.extra_bytes)} more on disk until the switch")
    note(f"{found.model.name}: {', '.join(parts)}.")
    if found.missing_key is not None:
        note(f"{found.missing_key} is not set, and it needs it.")


def _print_state(model: str, state: ShadowState) -> None:
    click.echo(f"{model}: {state.embedded:,} of {state.documents:,} documents are embedded.")
    if state.untried:
        click.echo(f"{state.untried:,} are still to be done.")
    if state.failed:
        click.echo(
            f"{state.failed:,} failed: see documents list --state failed with {NEXT_SUFFIX}."
        )
