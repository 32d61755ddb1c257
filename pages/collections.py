"""What is in here, and is it healthy?"""

from collections.abc import Sequence
from dataclasses import asdict

import streamlit as st

from lib.embedding.models import registered_models, resolve_model
from lib.embedding.provider import missing_key
from lib.ingest.jobs import start_backfill, start_sample_load
from lib.ingest.sample import SAMPLE_NAME
from lib.search.bm25 import drop_lexical_index, find_lexical_index, start_lexical_build
from lib.services import Services, make_collection
from lib.store.collections import (
    Collection,
    CollectionSummary,
    drop_collection,
    list_collections,
    list_text_configs,
    summarise,
)
from lib.store.jobs import Job
from lib.store.production import drop_production_index, start_index_build
from lib.ui.collections.cards import (
    Action,
    Pressed,
    confirm_delete,
    model_picker,
    new_collection_form,
    offer_sample,
    show_collection,
    show_model,
    welcome,
)
from lib.ui.shared.jobs import show_ended
from lib.ui.shared.model import PageModel
from lib.ui.shared.page import COLLECTIONS, guarded, refresh, start_page, watch_jobs


def body(model: PageModel) -> None:
    services = model.services
    running = services.database.run(services.jobs.recent(active_only=True))
    collections = services.database.query(list_collections)
    if not collections and not running and welcome():
        make_sample(services)
    watch_jobs(running)
    for job in services.database.run(services.jobs.recent(limit=1)):
        show_ended(job)
    for collection in collections:
        show_one(services, collection, running)
    with st.expander("Create a collection of your own", icon=":material/add:"):
        show_new(services)
    if offer_sample(collections):
        make_sample(services)


@guarded
def show_one(services: Services, collection: Collection, running: Sequence[Job]) -> None:
    busy = any(job.collection_id == collection.id for job in running)
    summary = services.database.query(summarise, collection)
    words = services.database.query(find_lexical_index, collection)
    pressed = show_collection(summary, words, busy=busy)
    if pressed is not None:
        act(services, pressed)


def act(services: Services, pressed: Pressed) -> None:
    database, collection = services.database, pressed.summary.collection
    match pressed.action:
        case Action.LOAD_SAMPLE:
            database.run(start_sample_load(services.jobs, services.documents, collection))
        case Action.EMBED:
            database.run(start_backfill(services.jobs, services.documents, collection))
        case Action.BUILD_INDEX:
            assert pressed.spec is not None
            database.run(start_index_build(services.jobs, database, collection, pressed.spec))
        case Action.DROP_INDEX:
            database.run(drop_production_index(database, collection))
        case Action.BUILD_WORDS:
            database.run(start_lexical_build(services.jobs, database, collection))
        case Action.DROP_WORDS:
            database.query(drop_lexical_index, collection)
        case Action.DELETE:
            ask_to_delete(services, pressed.summary)
            return
    refresh()


@st.dialog("Delete this collection?", icon=":material/delete:")
@guarded
def ask_to_delete(services: Services, summary: CollectionSummary) -> None:
    if confirm_delete(summary):
        services.database.query(drop_collection, summary.collection)
        refresh()


@guarded
def make_sample(services: Services) -> None:
    collection = services.database.run(make_collection(services, SAMPLE_NAME))
    services.database.run(start_sample_load(services.jobs, services.documents, collection))
    refresh()


@guarded
def show_new(services: Services) -> None:
    named = model_picker(registered_models(), services.settings.model)
    model = resolve_model(named, services.settings)
    variable = missing_key(model)
    show_model(model, variable)
    languages = services.database.query(list_text_configs)
    wanted = new_collection_form(model, languages, usable=variable is None)
    if wanted is not None:
        services.database.run(make_collection(services, model=named, **asdict(wanted)))
        refresh()


start_page(COLLECTIONS, PageModel, body)
