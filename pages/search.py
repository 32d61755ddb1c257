"""What are the answers, and why these?"""

from functools import partial

from lib.search import saved
from lib.search.example import document_labels
from lib.search.filters import list_fields
from lib.search.service import answering_index, asks_an_index, can_rerank, rerank
from lib.services import first_questions
from lib.store import collections as store
from lib.store.candidates import list_candidates
from lib.ui.search import example, history, results
from lib.ui.search import saved as menu
from lib.ui.search import views as workbench
from lib.ui.search.controls import question_field, search_controls
from lib.ui.search.model import SearchModel, threshold_preview
from lib.ui.search.views import WEIGHTS, View
from lib.ui.shared import links
from lib.ui.shared.empty_states import nothing_embedded
from lib.ui.shared.model import PageModel
from lib.ui.shared.page import SEARCH, guarded, start_page
from lib.ui.shared.session_cache import CHANGING_SECONDS, cached_by_name
from lib.ui.shared.widgets import page_head
from lib.vectors.catalog import IndexDescription


def body(model: PageModel) -> None:
    services = model.services
    ask = services.database.query
    head = page_head(ask(store.list_searchable))
    if head is None:
        return
    collection, settings, answer = head
    look = partial(ask, store.summarise, collection)
    summary = cached_by_name("summary", collection, look, most_seconds=CHANGING_SECONDS)
    with answer:
        guarded(menu.open_link)(partial(ask, saved.get_saved, collection), collection.address)
        query = question_field()
        given = example.given_example(query, partial(ask, saved.list_saved, collection))
        nothing_embedded(summary)
    if not summary.documents:
        return
    with settings:
        kinds = partial(ask, store.list_categories, collection)
        categories = cached_by_name("categories", collection, kinds)
        fields = cached_by_name("fields", collection, partial(ask, list_fields, collection))
        find = partial(ask, list_candidates, collection)
        candidates = cached_by_name("candidates", collection, find, most_seconds=CHANGING_SECONDS)
        request = search_controls(summary, categories, fields, query, candidates)
    index = answering_index(request, summary.index, candidates)
    asking = SearchModel(services.database, services.search, collection, request)
    with answer:
        show_menus(asking, given)
        if given is not None:
            show_like(asking, given, index)
        elif query.strip():
            history.note_asked(query)
            show_answer(asking, index, None)
        else:
            results.show_examples(ask(first_questions, collection))


def show_menus(asking: SearchModel, given: example.Given | None) -> None:
    ask, collection = asking.database.query, asking.collection
    with results.row():
        example.example_menu(collection.dimensions, has_model=collection.has_model)
        read = given and partial(given.example, collection)
        kept = (saved.list_saved, saved.save_search, saved.delete_saved)
        doors = (partial(ask, each, collection) for each in kept)
        guarded(menu.saved_menu)(asking.request, read, *doors)
        history.show_history()
        links.compare_link(collection.address, asking.request)


def show_like(asking: SearchModel, given: example.Given, index: IndexDescription | None) -> None:
    collection = asking.collection
    labels = asking.database.query(document_labels, collection, given.documents)
    example.show_example(given, labels)
    wanted = given.example(collection)
    history.note_asked(example.example_title(given, labels))
    embedding = cached_by_name("like", (collection, wanted), partial(asking.embed, wanted))
    show_answer(asking.like(wanted, embedding), index, given)


def show_answer(
    asking: SearchModel, index: IndexDescription | None, given: example.Given | None
) -> None:
    request, state = asking.request, (asking.collection, index)
    asked = (*state, asking.pool_key)
    pool = cached_by_name("pool", asked, asking.pool)
    result, plan = rerank(pool, request), None
    if asks_an_index(request, has_index=index is not None):
        plan = cached_by_name("plan", (*state, asking.shape_key), lambda: asking.plan(pool))
    results.show_summary(result, plan, request, index)
    if results.lacks_words(result, request):
        results.offer_any(result, request, cached_by_name("any", asked, asking.matches_with_any))
    if request.max_distance is not None:
        distances = cached_by_name("distances", (*state, asking.distances_key), asking.distances)
        workbench.show_strip(threshold_preview(distances, request.max_distance))
    with results.row():
        view = workbench.view_picker(can_weigh=can_rerank(request))
        layout = results.layout_picker() if view is View.RESULTS else None
        results.export_menu(asking.csv, asking.jsonl)
    match view:
        case View.RESULTS:
            results.show_answers(asking.answers(pool, result), result, layout, request, given)
        case View.WEIGHT:
            workbench.show_weight(pool.hits, asking.weighing(pool, WEIGHTS), request)
        case View.PLAN:
            why = cached_by_name("diagnosis", (*state, request, asking.example), asking.diagnosis)
            workbench.show_diagnosis(why, result.settings)
        case View.SQL:
            workbench.show_code(asking.taken_along())


start_page(SEARCH, PageModel, body)
