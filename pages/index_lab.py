"""Which index, which settings?"""

import uuid
from collections.abc import Sequence
from functools import partial

import streamlit as st

from lib.evaluation.query_sets import list_query_sets
from lib.lab.candidates import default_candidates
from lib.lab.plan import Plan
from lib.lab.recommend import pareto, recommend, scoreboard
from lib.lab.repository import ExperimentSummary
from lib.search.filters import list_fields
from lib.services import Services
from lib.store import collections as store
from lib.store.jobs import Job, JobKind
from lib.ui.lab import candidates_table as lab_table
from lib.ui.lab import experiments as lab
from lib.ui.lab import progress as lab_run
from lib.ui.lab import results as lab_results
from lib.ui.lab import setup as lab_setup
from lib.ui.lab.model import LabModel
from lib.ui.shared.empty_states import no_collections
from lib.ui.shared.model import PageModel
from lib.ui.shared.page import INDEX_LAB, guarded, refresh, start_page, watch_jobs
from lib.ui.shared.session_cache import cached_by_name
from lib.ui.shared.widgets import collection_picker

FRESH_SECONDS = 60.0


def body(model: PageModel) -> None:
    services = model.services
    collections = services.database.query(store.list_collections)
    if not collections:
        no_collections()
        return
    settings, answer = st.columns([1, 3], gap="large")
    with settings:
        collection = collection_picker(collections)
    state = (collection.id, collection.change_mark)
    look = partial(services.database.query, store.summarise, collection)
    summary = cached_by_name("lab summary", state, look, most_seconds=FRESH_SECONDS)
    desk = LabModel(services.database, services.jobs, services.settings, summary)
    jobs, experiments, candidates = desk.recent(), desk.experiments(), desk.candidates()
    running, pressed = [job for job in jobs if job.active], None
    with answer:
        lab_run.note_lines(running)
        watch_jobs(running, lab_run.show_jobs)
        lab_run.show_news(jobs)
        can_measure = lab.can_measure(summary)
        part = lab.part_picker(experiments, candidates)
        if part is lab.Part.ALL:
            key = [(each.id, each.measured, each.state) for each in experiments]
            winners = cached_by_name("winners", tuple(key), partial(desk.winners, experiments))
            pressed = lab.show_experiments(experiments, winners)
        elif part is lab.Part.DISK:
            pressed = lab.show_disk(candidates, collection, busy=bool(running))
    if part is lab.Part.RESULTS:
        with settings:
            chosen = lab.experiment_picker(experiments)
        with answer:
            show_results(desk, chosen, experiments, jobs)
    elif part is lab.Part.NEW and can_measure:
        with settings:
            draft = draw_settings(services, desk)
        with answer:
            set_up(desk, draft, busy=bool(running))
    lab.ask_first(pressed, rename=desk.rename, delete=desk.delete, drop=desk.drop)


def draw_settings(services: Services, desk: LabModel) -> lab_setup.Draft:
    ask, collection = services.database.query, desk.collection
    state = (collection.id, collection.change_mark)
    categories = cached_by_name(
        "categories", state, partial(ask, store.list_categories, collection)
    )
    fields = cached_by_name("fields", state, partial(ask, list_fields, collection))
    query_sets = ask(list_query_sets, collection)
    return lab_setup.setup_controls(desk.summary, categories, fields, query_sets, desk.matching)


def set_up(desk: LabModel, draft: lab_setup.Draft, *, busy: bool) -> None:
    collection, rows = desk.collection, desk.summary.embedded
    usual = default_candidates(rows, collection.dimensions, collection.storage)
    table = lab_table.read_candidates(usual, rows)
    key = (collection.id, collection.change_mark, rows, table.specs, len(desk.candidates()))
    plan = cached_by_name(
        "lab plan", key, partial(desk.plan, table.specs), most_seconds=FRESH_SECONDS
    )
    lab_table.show_candidates(table, plan, usual, rows, busy=busy)
    if table.whole and plan.possible and lab_setup.can_ask(draft):
        offer(desk, draft, plan, key, busy=busy)


@guarded
def offer(desk: LabModel, draft: lab_setup.Draft, plan: Plan, key: object, *, busy: bool) -> None:
    """The button that says how long it will take, or in its place why it cannot be run."""
    spec = draft.spec([each.spec for each in plan.candidates])
    seconds = cached_by_name("seconds", (key, spec), partial(desk.seconds, spec, plan))
    if lab_setup.run_button(plan, spec, seconds, busy=busy):
        lab.open_experiment(desk.start(spec, name=draft.name, source=draft.source))
        refresh()


@guarded
def show_results(
    desk: LabModel, chosen: uuid.UUID, experiments: Sequence[ExperimentSummary], jobs: Sequence[Job]
) -> None:
    experiment = desk.experiment(chosen)
    if lab_run.offer_to_go_on(experiment, busy=any(job.active for job in jobs)):
        desk.resume(experiment)
        refresh()
    found = (recommend(experiment), scoreboard(experiment), pareto(experiment.measurements))
    built = next((job for job in jobs if job.kind is JobKind.INDEX), None)
    results = lab_results.Results(desk.collection, experiment, *found, built)
    doors = lab_results.Doors(
        queries=partial(desk.queries, experiment),
        takeaway=partial(desk.takeaway, experiment),
        check=desk.check_applicable,
        build=partial(desk.apply, experiment),
        exports=desk.exports(experiment),
        others=experiments,
        compare=partial(desk.compare, experiment),
    )
    lab_results.show_experiment(results, doors)


start_page(INDEX_LAB, PageModel, body)
