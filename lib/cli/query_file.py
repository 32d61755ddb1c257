"""Query files: the queries that a command reads are saved as query sets of a collection."""

from __future__ import annotations

from collections.abc import Sequence

from lib.errors import InvalidInput
from lib.evaluation.query_sets import SavedQuerySet, save_query_set
from lib.ingest.incoming import IncomingProblem
from lib.ingest.queries import QueryStream
from lib.services import Services
from lib.store.collections import Collection


def save_query_sets(
    services: Services,
    collection: Collection,
    streams: Sequence[QueryStream],
    name: str | None = None,
) -> tuple[list[SavedQuerySet], list[IncomingProblem]]:
    """The query sets that were saved, and what could not be read.

    name: of the query set, in place of the file's.
    """
    saved: list[SavedQuerySet] = []
    problems: list[IncomingProblem] = []
    for stream in streams:
        try:
            query_set = services.database.query(save_query_set, collection, stream, name=name)
        except InvalidInput as exc:
            problems.append(IncomingProblem(stream.name, "", exc.message, exc.hint))
            continue
        saved.append(query_set)
        problems.extend(query_set.problems)
    return saved, problems
