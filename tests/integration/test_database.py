"""The loop thread, the pool and the unit of work, against a real server."""

from __future__ import annotations

from sqlalchemy import select

from lib.store.database import Database
from lib.store.records import CollectionRecord


def test_a_unit_of_work_commits_at_its_end(database: Database) -> None:
    async def write() -> None:
        async with database.session() as session:
            session.add(
                CollectionRecord(
                    slug="books",
                    name="Books",
                    kind="managed",
                    model="m",
                    dimensions=3,
                    distance="cosine",
                    storage="vector",
                )
            )

    async def read() -> list[str]:
        async with database.session() as session:
            return list(await session.scalars(select(CollectionRecord.name)))

    database.run(write())
    assert database.run(read()) == ["Books"]
