"""What will be stored, and what could not be?"""

from collections.abc import Sequence
from dataclasses import asdict

import streamlit as st

from lib.embedding.tokens import max_tokens_of
from lib.evaluation.query_sets import save_query_set
from lib.ingest import dropped
from lib.ingest.jobs import can_resume, resume_load, start_backfill
from lib.ingest.pipeline import LoadOptions
from lib.ingest.preview import format_of, preview_file
from lib.ingest.problems import problems_path
from lib.ingest.read_options import ReadOptions
from lib.services import Services, make_collection
from lib.settings import NO_MODEL
from lib.store.collections import Collection, CollectionSummary, list_collections, summarise
from lib.store.jobs import Job
from lib.ui.shared.empty_states import no_collections
from lib.ui.shared.model import PageModel
from lib.ui.shared.page import UPLOAD, guarded, refresh, start_page, watch_jobs
from lib.ui.shared.session_cache import cached_by_name
from lib.ui.shared.widgets import collection_picker
from lib.ui.upload import drop_zone as upload
from lib.ui.upload import loads
from lib.ui.upload.preview import Dropped, NewCollection, Texts, look_into, switch_to

SortedOut, Ready = dropped.SortedOut[Dropped], dropped.Ready[Dropped]


def body(model: PageModel) -> None:
    services = model.services
    database = services.database
    collections = database.query(list_collections)
    if not collections:
        no_collections()
        return
    settings, answer = st.columns([1, 3], gap="large")
    with settings:
        collection = collection_picker(collections)
        summary = database.query(summarise, collection)
        upload.show_target(summary)
        base = upload.parts_controls(collection, max_tokens_of(collection.model))
        options = upload.load_options(summary)
    with answer:
        jobs = database.run(services.jobs.recent(collection_id=collection.id))
        running = [job for job in jobs if job.active]
        watch_jobs(running, loads.show_running_loads)
        files = upload.drop_zone(collection.name)
        if files:
            sorted_out = dropped.sort_out(files, upload.MOST_PREVIEWS)
            ready = first_looks(services, collection, sorted_out, base)
            upload.same_ids(ready)
            if upload.load_button(ready, collection.name, busy=bool(running)):
                load(services, collection, ready, options)
        elif not running:
            show_last_load(services, summary, jobs)
            show_missing(services, summary)


def first_looks(
    services: Services, collection: Collection, files: SortedOut, base: ReadOptions
) -> Ready:
    """Into some of the files, each with the choice of how it is read."""
    chosen: list[dropped.Chosen] = []

    @guarded
    def look(file: Dropped) -> None:
        texts = Texts(*dropped.texts_beside(file, files))
        found = look_into(file, base, collection, texts, preview_file, is_open=not chosen)
        if isinstance(found, NewCollection):
            new = make_collection(services, model=NO_MODEL, **asdict(found))
            switch_to(services.database.run(new))
            refresh()
        elif found is not None:
            chosen.append(found)

    upload.same_names(files)
    upload.show_judged(files.judged)
    for file in files.looked:
        if file not in [one.texts for one in chosen]:
            look(file)
    upload.show_rest(files, format_of)
    return dropped.with_rest(chosen, files, base)


@guarded
def load(services: Services, collection: Collection, ready: Ready, options: LoadOptions) -> None:
    database, home = services.database, services.settings.home
    prepared = dropped.prepare(home, collection, ready, upload.judged_name(ready.judged))
    saved = [database.query(save_query_set, collection, feed) for feed in prepared.queries]
    jobs, documents = services.jobs, services.documents
    database.run(dropped.start_prepared(jobs, documents, collection, prepared, options))
    upload.empty_drop_zone(saved)
    refresh()


@guarded
def show_last_load(services: Services, summary: CollectionSummary, jobs: Sequence[Job]) -> None:
    job = loads.last_load(jobs)
    if job is None:
        return
    if loads.show_ended_load(job, can_go_on=can_resume(job)):
        services.database.run(resume_load(services.jobs, services.documents, job.id))
        refresh()
    upload.show_saved(summary.collection)
    loads.show_next_steps(summary)
    loads.show_problems(job, problems_path(services.settings.home, job.id))


@guarded
def show_missing(services: Services, summary: CollectionSummary) -> None:
    if not summary.missing:
        return
    run, documents, collection = services.database.run, services.documents, summary.collection
    report = cached_by_name("missing", summary, lambda: run(documents.missing_report(collection)))
    if loads.show_missing(summary, report):
        run(start_backfill(services.jobs, documents, collection))
        refresh()


start_page(UPLOAD, PageModel, body)
