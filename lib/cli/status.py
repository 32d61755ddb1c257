"""``status``: the server, the collections, the running work and the models."""

from __future__ import annotations

from typing import Any

import click
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from lib.cli.collections import print_summaries, summarise_all, summary_json
from lib.cli.output import json_option, one_line, print_json, print_table
from lib.cli.session import open_session
from lib.embedding.models import registered_models
from lib.embedding.service import missing_key
from lib.services import Services
from lib.store.jobs import Job, JobStatus
from lib.vectors.tuning import pgvector_version

_RECENT_JOBS = 20


@click.command()
@json_option
def status(as_json: bool) -> None:
    """Show the server, the collections, work that runs or was interrupted, and which models can
    be used."""
    with open_session() as services:
        server = services.database.query(_server, services)
        summaries = services.database.query(summarise_all)
        recent = services.database.run(services.jobs.recent(limit=_RECENT_JOBS))
    jobs = [job for job in recent if job.active or job.status is JobStatus.INTERRUPTED]
    models = [(model.name, missing_key(model)) for model in registered_models()]
    if as_json:
        print_json(
            {
                "server": server,
                "collections": [summary_json(summary) for summary in summaries],
                "jobs": [_job_json(job) for job in jobs],
                "models": [
                    {"name": name, "usable": missing is None, "missing": missing}
                    for name, missing in models
                ],
                "default_model": services.settings.model,
            }
        )
        return
    click.echo(
        f"PostgreSQL {server['postgresql']}, pgvector {server['pgvector']}, at {server['at']}\n"
    )
    print_summaries(summaries)
    if jobs:
        click.echo()
        print_table(
            ("job", "state", "done", "message"),
            [
                (
                    job.title,
                    job.status.value,
                    "–" if job.share is None else f"{job.share:.0%}",
                    job.message if job.active else job.hint,
                )
                for job in jobs
            ],
        )
    click.echo()
    print_table(
        ("model", "can be used"),
        [
            (name, "yes" if missing is None else f"no: {missing} is not set")
            for name, missing in models
        ],
    )


async def _server(db: AsyncSession, services: Services) -> dict[str, Any]:
    """No address in full: it may hold a password."""
    url = services.database.url
    version = (await db.execute(text("SHOW server_version"))).scalar_one()
    pgvector = await pgvector_version(db)
    bundled = services.settings.database_url is None
    place = f"{url.host or url.query.get('host', 'localhost')}:{url.port or 5432}/{url.database}"
    return {
        "bundled": bundled,
        "at": one_line(f"{services.settings.home} (bundled)" if bundled else place),
        "postgresql": str(version),
        "pgvector": ".".join(str(number) for number in pgvector),
    }


def _job_json(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "kind": job.kind,
        "title": job.title,
        "status": job.status,
        "share": job.share,
        "message": job.message,
        "error": job.error,
        "hint": job.hint,
        "created_at": job.created_at,
        "updated_at": job.updated_at,
    }
