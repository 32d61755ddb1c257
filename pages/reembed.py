"""What would another model take, and is it the better one?"""

import streamlit as st

from lib.embedding.models import registered_models
from lib.ingest.reembed import (
    NextState,
    discard_reembedding,
    estimate_reembedding,
    next_state,
    start_reembedding,
    start_switch,
)
from lib.services import Services
from lib.store.collections import Collection, list_collections
from lib.store.jobs import JobKind
from lib.ui.reembed.steps import (
    Step,
    confirm_discard,
    confirm_switch,
    explain,
    model_choice,
    show_estimate,
    show_reasons,
    show_under_way,
)
from lib.ui.shared.empty_states import no_collections
from lib.ui.shared.jobs import show_ended
from lib.ui.shared.model import PageModel
from lib.ui.shared.page import REEMBED, guarded, refresh, start_page, watch_jobs
from lib.ui.shared.session_cache import cached_by_name
from lib.ui.shared.widgets import collection_picker


def body(model: PageModel) -> None:
    services = model.services
    collections = services.database.query(list_collections)
    if not collections:
        no_collections()
        return
    settings, answer = st.columns([1, 3], gap="large")
    with settings:
        collection = collection_picker(collections)
    with answer:
        recent = services.database.run(services.jobs.recent(collection_id=collection.id))
        jobs = [job for job in recent if job.kind is JobKind.REEMBED]
        running = [job for job in jobs if job.active]
        watch_jobs(running)
        for job in jobs[:1]:
            show_ended(job)
        following = collection.as_shadow
        if following is None:
            choose(services, collection, busy=bool(running))
        else:
            go_on(services, collection, following, busy=bool(running))


@guarded
def choose(services: Services, collection: Collection, *, busy: bool) -> None:
    explain(collection)
    model = model_choice(registered_models(), collection)
    if model is None:
        return
    run, documents = services.database.run, services.documents
    found = cached_by_name(
        "estimate",
        (collection.id, collection.revision, model),
        lambda: run(estimate_reembedding(documents, collection, model)),
    )
    if show_estimate(found, busy=busy):
        start(services, collection, model)


def start(services: Services, collection: Collection, model: str) -> None:
    job = start_reembedding(services.jobs, services.documents, collection, model)
    services.database.run(job)
    refresh()


@guarded
def go_on(services: Services, collection: Collection, following: Collection, *, busy: bool) -> None:
    state = services.database.query(next_state, following)
    match show_under_way(following, state, busy=busy):
        case Step.GO_ON:
            start(services, collection, following.model)
        case Step.SWITCH:
            ask_to_switch(services, collection, following, state)
        case Step.DISCARD:
            ask_to_discard(services, collection, following, state)
    if state.failed:
        show_reasons(services.database.run(services.documents.missing_report(following)))


@st.dialog("Switch to the new vectors?", icon=":material/swap_horiz:")
@guarded
def ask_to_switch(
    services: Services, collection: Collection, following: Collection, state: NextState
) -> None:
    if confirm_switch(collection, following, state):
        agreed = bool(state.failed)
        services.database.run(
            start_switch(services.jobs, services.documents, collection, even_if_incomplete=agreed)
        )
        refresh()


@st.dialog("Discard the new vectors?", icon=":material/delete:")
@guarded
def ask_to_discard(
    services: Services, collection: Collection, following: Collection, state: NextState
) -> None:
    if confirm_discard(following, state):
        services.database.run(discard_reembedding(services.jobs, services.documents, collection))
        refresh()


start_page(REEMBED, PageModel, body)
