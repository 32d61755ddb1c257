"""What is in there, and where does a question land?"""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from lib.projection.repository import ProjectionSummary
from lib.store.collections import CollectionSummary
from lib.ui.map.chart import MapDisplay, show_map, show_stale
from lib.ui.map.controls import (
    build_form,
    cluster_picker,
    color_picker,
    map_pickers,
    names_slider,
    offer_first_map,
    questions_field,
    search_menu,
)
from lib.ui.map.index_recall import measured_recall
from lib.ui.map.model import MapModel, MapSlot
from lib.ui.map.panels import show_panel
from lib.ui.search.controls import search_controls
from lib.ui.search.options import SearchOptions
from lib.ui.shared.empty_states import nothing_embedded
from lib.ui.shared.page import MAP, refresh, start_page, watch_jobs
from lib.ui.shared.widgets import page_head


def body(model: MapModel) -> None:
    head = page_head(model.list_collections())
    if head is None:
        return
    collection, settings, answer = head
    summary = model.summary(collection)
    maps = model.maps(collection)
    jobs = model.running_jobs(collection)
    with answer:
        watch_jobs(jobs)
        nothing_embedded(summary)
    if not summary.embedded:
        return
    if not maps:
        with answer:
            offer_first_map(model, summary, is_building=bool(jobs))
        return
    with settings:
        current, other = map_pickers(maps)
        new_map = build_form(model, summary)
    with answer:
        show_stale(model, collection, current, is_busy=bool(jobs))
    show_maps(model, summary, current, other, settings, answer)
    if new_map is not None:
        model.build(collection, [new_map])
        refresh()


def show_maps(
    model: MapModel,
    summary: CollectionSummary,
    current: ProjectionSummary,
    other: ProjectionSummary | None,
    settings: DeltaGenerator,
    answer: DeltaGenerator,
) -> None:
    """The map, perhaps another one beside it, and the panel about the first one."""
    collection = summary.collection
    recall = measured_recall(current.id)
    with settings:
        questions = questions_field()
        clusters = cluster_picker()
        view = model.view(MapSlot.FIRST, collection, current, clusters)
        options = view.color_options(
            has_question=bool(questions.current), has_recall=recall is not None
        )
        color_by = color_picker(options)
        max_names = names_slider()
        with search_menu():
            search_options = SearchOptions(
                summary,
                model.categories(collection),
                model.fields(collection),
                model.candidates(collection),
            )
            request = search_controls(search_options, questions.current)
    display = MapDisplay(color_by, max_names, request, questions.shown)
    with answer:
        if other is None:
            show_map(view, display, recall)
        else:
            left, right = st.columns(2)
            with left:
                show_map(view, display, recall)
            with right:
                show_map(model.view(MapSlot.SECOND, collection, other, clusters), display, None)
        show_panel(model, view)


start_page(MAP, MapModel, body)
