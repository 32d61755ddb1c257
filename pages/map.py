"""What is in there, and where does a question land?"""

from collections.abc import Sequence
from functools import partial

from lib.projection.build import estimated_seconds, start_projection
from lib.projection.coloring import describe_coloring
from lib.projection.placing import place_documents
from lib.projection.repository import delete_projection, list_projections
from lib.projection.settings import FIRST_MAPS, ProjectionSettings
from lib.search.filters import list_fields
from lib.services import Services
from lib.store import candidates as copies
from lib.store import collections as store
from lib.store.jobs import JobKind
from lib.ui.map import controls as ui
from lib.ui.map.figures import map_points, picture
from lib.ui.map.map_layer import layer_data
from lib.ui.map.model import MapModel
from lib.ui.map.panels import kept_lost, show_below
from lib.ui.search.controls import search_controls
from lib.ui.shared.empty_states import nothing_embedded
from lib.ui.shared.model import PageModel
from lib.ui.shared.page import MAP, refresh, start_page, watch_jobs
from lib.ui.shared.session_cache import CHANGING_SECONDS, cached_by_name
from lib.ui.shared.widgets import page_head


def body(model: PageModel) -> None:
    services = model.services
    ask, run, jobs = services.database.query, services.database.run, services.jobs
    head = page_head(ask(store.list_collections))
    if head is None:
        return
    collection, settings, answer = head
    look, maps = partial(ask, store.summarise, collection), ask(list_projections, collection)
    summary = cached_by_name("summary", collection, look, most_seconds=CHANGING_SECONDS)
    active = run(jobs.recent(collection_id=collection.id, active_only=True))
    running = [job for job in active if job.kind is JobKind.PROJECTION]
    with answer:
        watch_jobs(running)
        nothing_embedded(summary)
    if not summary.embedded:
        return
    seconds = partial(estimated_seconds, summary.embedded, collection.dimensions)
    wanted: Sequence[ProjectionSettings] = ()
    if maps:
        with settings:
            shown = ui.map_pickers(maps)
            wanted = ui.build_form(seconds)
        with answer:
            if ui.show_stale(shown[0], busy=bool(running)):
                run(place_documents(jobs, services.database, collection, shown[0]))
                refresh()
        opened = partial(MapModel.open, services.database, services.search, collection)
        views = [
            cached_by_name(f"map {n}", (collection, each), partial(opened, each.id))
            for n, each in enumerate(shown)
        ]
        candidates = ask(copies.list_candidates, collection)
        view = show_maps(services, summary, views, candidates, (settings, answer))
        with answer:
            show_below(view, maps, candidates, partial(ask, delete_projection))
    else:
        with answer:
            needs = sum(map(seconds, FIRST_MAPS))
            if ui.offer_map(summary.embedded, needs, busy=bool(running)):
                wanted = FIRST_MAPS
    for each in wanted:
        run(start_projection(jobs, services.database, collection, each))
    if wanted:
        refresh()


def show_maps(
    services: Services,
    summary: store.CollectionSummary,
    views: Sequence[MapModel],
    candidates: Sequence[copies.Candidate],
    columns: Sequence[ui.Place],
) -> MapModel:
    """The picture, and perhaps another map beside it; gives the first one as it is shown."""
    ask, collection, id_ = services.database.query, summary.collection, views[0].projection.id
    missed = kept_lost(id_)
    with columns[0]:
        questions, kmeans_clusters = ui.questions_field(), ui.cluster_picker()
        views = [
            cached_by_name(
                f"groups {n}", (view.key, kmeans_clusters), partial(view.clustered, kmeans_clusters)
            )
            for n, view in enumerate(views)
        ]
        by = ui.color_picker(views[0].colors(asked=bool(questions.now), tried=missed is not None))
        names = ui.names_slider()
        with ui.search_menu():
            list_kinds = partial(ask, store.list_categories, collection)
            categories = cached_by_name("categories", collection, list_kinds)
            fields = cached_by_name("fields", collection, partial(ask, list_fields, collection))
            request = search_controls(summary, categories, fields, questions.now, candidates)
    for number, (view, place) in enumerate(zip(views, ui.places(columns[1], views), strict=True)):
        key = (*view.key, questions.asked, request)
        asked = cached_by_name(
            f"asked {number}", key, partial(view.ask_all, request, questions.asked)
        )
        tried, vector = missed if number == 0 else None, asked[-1].vector if asked else None
        colors = partial(view.coloring, by, vector, tried)
        coloring = cached_by_name(f"colors {number}", (*view.key, by, questions.now, tried), colors)
        draw = partial(map_points, view.projection.coordinates, view.details)
        points = cached_by_name(f"points {number}", view.key, draw)
        with place:
            figure = picture(
                points,
                coloring,
                asked,
                view.places(ui.chosen_ids(id_)),
                zoom=ui.zoomed(),
                revision=str(view.projection.id),
            )
            over = layer_data(points, view.cluster_names(), names, asked)
            ui.show_chart(figure, over, view.projection, view.ids if number == 0 else None)
            ui.caption(
                view.projection, describe_coloring(coloring, view.projection), points.outside
            )
            ui.show_question(asked)
    return views[0]


start_page(MAP, PageModel, body)
