"""Saved searches: a question or an example, and its settings, under a name, to be opened from a
link.

Every function takes the session first and the collection second.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from lib.actors import LOCAL, Actor, writes
from lib.errors import AlreadyExists, NotFound
from lib.search.example import Example
from lib.search.export import example_from_json, example_to_json, request_from_json, request_to_json
from lib.search.request import SearchRequest
from lib.store.collections import Collection, check_name, slugify
from lib.store.names import free_slug, names_hint
from lib.store.records import SavedSearchRecord
from lib.vectors.statements import sendable

_EXAMPLE = "example"
_SLUG_LENGTH = 48


@dataclass(frozen=True)
class SavedSearch:
    """A search under a name: its request, and what it asks by in place of a question."""

    id: uuid.UUID

    slug: str
    """What a link names it by, unique in its collection."""

    name: str

    document: Mapping[str, Any]
    """The request as JSON, with an example under ``example``."""

    created_at: datetime

    @property
    def request(self) -> SearchRequest:
        """Raises InvalidInput where it was saved by a version that had other settings."""
        asked = {name: value for name, value in self.document.items() if name != _EXAMPLE}
        return request_from_json(asked)

    @property
    def example(self) -> Example | None:
        """None where it asks a question. Its documents may be gone. Raises InvalidInput."""
        found = self.document.get(_EXAMPLE)
        return None if found is None else example_from_json(found)


@writes("saved_searches.save")
async def save_search(
    db: AsyncSession,
    collection: Collection,
    name: str,
    request: SearchRequest,
    *,
    example: Example | None = None,
    replaces: bool = False,
    actor: Actor = LOCAL,
) -> SavedSearch:
    """Keeps a request under a name.

    example: what it asks by in place of its question. replaces: takes the place of the one of
    that name, whose link stays.
    Raises InvalidInput for a name that is empty or too long, AlreadyExists where it is taken.
    """
    name = check_name(name)
    document = request_to_json(replace(request, query=sendable(request.query)))
    if example is not None:
        document[_EXAMPLE] = example_to_json(replace(example, text=sendable(example.text)))
    # One at a time: a name and a slug are looked up and then taken.
    await db.execute(text("LOCK TABLE vecscope.saved_searches IN SHARE ROW EXCLUSIVE MODE"))
    there = (await db.scalars(_of(collection))).all()
    record = next((each for each in there if each.name.casefold() == name.casefold()), None)
    if record is not None and not replaces:
        raise AlreadyExists(
            f"There is a saved search called “{record.name}” already.",
            hint="Take another name, or replace that one.",
            field="name",
        )
    if record is None:
        slug = free_slug(slugify(name), {each.slug for each in there}, _SLUG_LENGTH)
        record = SavedSearchRecord(collection_id=collection.id, slug=slug)
        db.add(record)
    record.name, record.request = name, document
    await db.flush()
    await db.refresh(record)
    return _saved(record)


async def list_saved(db: AsyncSession, collection: Collection) -> list[SavedSearch]:
    """All of the collection's, by name."""
    return [_saved(record) for record in await db.scalars(_of(collection))]


async def get_saved(db: AsyncSession, collection: Collection, slug: str) -> SavedSearch:
    """Raises NotFound, naming what there is."""
    saved = await list_saved(db, collection)
    for each in saved:
        if each.slug == slug:
            return each
    raise NotFound(
        f"“{collection.name}” has no saved search “{slug}” (any more).",
        hint=names_hint([f"“{each.name}”" for each in saved], ""),
        field="saved",
    )


@writes("saved_searches.delete")
async def delete_saved(
    db: AsyncSession, collection: Collection, slug: str, *, actor: Actor = LOCAL
) -> None:
    """Raises NotFound."""
    found = await get_saved(db, collection, slug)
    await db.execute(delete(SavedSearchRecord).where(SavedSearchRecord.id == found.id))


def _of(collection: Collection) -> Any:
    return (
        select(SavedSearchRecord)
        .where(SavedSearchRecord.collection_id == collection.id)
        .order_by(func.lower(SavedSearchRecord.name))
    )


def _saved(record: SavedSearchRecord) -> SavedSearch:
    return SavedSearch(
        id=record.id,
        slug=record.slug,
        name=record.name,
        document=record.request,
        created_at=record.created_at,
    )
