"""What will be stored, and what could not be?"""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from lib.ingest.incoming import IncomingProblem
from lib.ingest.jobs import start_load
from lib.ingest.preview import preview_file
from lib.ingest.readers import EXTENSIONS
from lib.ingest.service import Feed, file_feed
from lib.ingest.source import ReadOptions, Source
from lib.services import Services
from lib.store.collections import Collection, list_collections, summarise
from lib.store.jobs import Job, JobKind
from lib.ui.controls import collection_picker
from lib.ui.jobs import is_news, show_ended, show_running
from lib.ui.page import UPLOAD, guarded, live, refresh, start_page
from lib.ui.states import no_collections, search_it
from lib.ui.upload import (
    MOST_PREVIEWS,
    column_controls,
    drop_zone,
    empty_drop_zone,
    file_frame,
    load_button,
    more_files,
    same_names,
    show_preview,
    show_problems,
    show_target,
)


def body(services: Services) -> None:
    collections = services.database.query(list_collections)
    if not collections:
        no_collections()
        return
    settings, answer = st.columns([1, 3], gap="large")
    with settings:
        collection = collection_picker(collections)
        summary = services.database.query(summarise, collection)
        show_target(summary)
    with answer:
        jobs = services.database.run(services.jobs.recent(collection_id=collection.id))
        files = drop_zone(EXTENSIONS, collection.name)
        feeds = look_into(files)
        busy = any(job.active for job in jobs)
        if feeds and load_button(len(feeds), collection.name, busy=busy):
            load(services, collection, feeds)
        show_running_jobs(services, collection, jobs)
        if not files:
            show_last_load(collection, jobs)


def look_into(files: Sequence[Any]) -> list[Feed]:
    """A first look at each of the first files, with the choice of columns for tables; a file that
    cannot be read says so and is left out."""
    feeds: list[Feed] = []

    @guarded
    def look(file: Any) -> None:
        source, options = Source.from_bytes(file.name, file.getbuffer()), ReadOptions()
        preview = preview_file(source)
        with file_frame(preview, alone=len(files) == 1):
            if preview.header:
                options = ReadOptions(columns=column_controls(preview, file.file_id))
                preview = preview_file(source, options)
            show_preview(preview)
        feeds.append(file_feed(source, options))

    for file in files[:MOST_PREVIEWS]:
        look(file)
    same_names([file.name for file in files])
    rest = files[MOST_PREVIEWS:]
    more_files([file.name for file in rest])
    feeds.extend(file_feed(Source.from_bytes(file.name, file.getbuffer())) for file in rest)
    return feeds


@guarded
def load(services: Services, collection: Collection, feeds: Sequence[Feed]) -> None:
    services.database.run(start_load(services.jobs, services.documents, collection, feeds))
    empty_drop_zone()
    refresh()


def show_running_jobs(services: Services, collection: Collection, jobs: Sequence[Job]) -> None:
    running = [job for job in jobs if job.active]

    def look() -> None:
        recent = services.database.run(services.jobs.recent(collection_id=collection.id))
        now = [job for job in recent if job.active]
        if {job.id for job in now} != {job.id for job in running}:
            refresh()
        cancelled = show_running(now)
        if cancelled is not None:
            services.database.run(services.jobs.cancel(cancelled.id))

    live(look, active=bool(running))


def show_last_load(collection: Collection, jobs: Sequence[Job]) -> None:
    ended = [job for job in jobs if job.kind is JobKind.LOAD and is_news(job)]
    for job in ended[:1]:
        show_ended(job)
        search_it(collection)
        result = job.result or {}
        problems = [IncomingProblem(**problem) for problem in result.get("problems", ())]
        show_problems(problems, result.get("problem_count", 0))


start_page(UPLOAD, body)
