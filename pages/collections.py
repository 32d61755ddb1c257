"""What is in here, and is it healthy?"""

from collections.abc import Sequence

import streamlit as st

from lib.embedding.models import registered_models
from lib.ingest.jobs import start_backfill, start_sample_load
from lib.ingest.sample import SAMPLE_NAME
from lib.services import Services, make_collection
from lib.store.collections import (
    CollectionSummary,
    drop_collection,
    list_collections,
    list_text_configs,
    summarise,
)
from lib.store.jobs import Job
from lib.store.production import drop_production_index, start_index_build
from lib.ui.collections import Action, Pressed, confirm_delete, show_collection, welcome
from lib.ui.controls import new_collection_form
from lib.ui.jobs import show_ended, show_running
from lib.ui.page import COLLECTIONS, live, refresh, start_page


def body(services: Services) -> None:
    database = services.database
    running = database.run(services.jobs.recent(active_only=True))
    summaries = [database.query(summarise, found) for found in database.query(list_collections)]
    if not summaries and not running and welcome():
        load_sample(services)
    show_jobs(services, running)
    for summary in summaries:
        busy = any(job.collection_id == summary.collection.id for job in running)
        pressed = show_collection(summary, busy=busy)
        if pressed is not None:
            act(services, pressed)
    show_new(services, first=not summaries)


def load_sample(services: Services) -> None:
    collection = services.database.run(make_collection(services, SAMPLE_NAME))
    services.database.run(start_sample_load(services.jobs, services.documents, collection))
    refresh()


def show_jobs(services: Services, running: Sequence[Job]) -> None:
    """Running jobs, looked at once a second; the page is drawn again when one ends."""

    def look() -> None:
        jobs = services.database.run(services.jobs.recent(active_only=True))
        if {job.id for job in jobs} != {job.id for job in running}:
            refresh()
        cancelled = show_running(jobs)
        if cancelled is not None:
            services.database.run(services.jobs.cancel(cancelled.id))

    live(look, active=bool(running))
    for job in services.database.run(services.jobs.recent(limit=1)):
        if not job.active:
            show_ended(job)


def act(services: Services, pressed: Pressed) -> None:
    database, collection = services.database, pressed.summary.collection
    match pressed.action:
        case Action.EMBED:
            database.run(start_backfill(services.jobs, services.documents, collection))
        case Action.BUILD_INDEX:
            assert pressed.spec is not None
            database.run(start_index_build(services.jobs, database, collection, pressed.spec))
        case Action.DROP_INDEX:
            database.run(drop_production_index(database, collection))
        case Action.DELETE:
            ask_to_delete(services, pressed.summary)
            return
    refresh()


@st.dialog("Delete this collection?", icon=":material/delete:")
def ask_to_delete(services: Services, summary: CollectionSummary) -> None:
    if confirm_delete(summary):
        services.database.query(drop_collection, summary.collection)
        refresh()


def show_new(services: Services, *, first: bool) -> None:
    with st.expander("Create a collection of your own", icon=":material/add:", expanded=first):
        configs = services.database.query(list_text_configs)
        wanted = new_collection_form(registered_models(), configs)
        if wanted is not None:
            services.database.run(
                make_collection(
                    services,
                    wanted.name,
                    model=wanted.model,
                    distance=wanted.distance,
                    text_config=wanted.text_config,
                )
            )
            refresh()


start_page(COLLECTIONS, body)
