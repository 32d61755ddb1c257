"""What are the answers, and why these?"""

from lib.search.request import SearchRequest
from lib.store.collections import Collection
from lib.ui.search import history, results, saved, views
from lib.ui.search.controls import question_field, search_controls
from lib.ui.search.example import (
    ExampleInput,
    example_menu,
    example_title,
    read_example,
    show_example,
)
from lib.ui.search.model import Search, SearchModel
from lib.ui.search.views import View
from lib.ui.shared.empty_states import nothing_embedded
from lib.ui.shared.links import compare_link
from lib.ui.shared.page import SEARCH, guarded, start_page
from lib.ui.shared.widgets import page_head


def body(model: SearchModel) -> None:
    head = page_head(model.collections())
    if head is None:
        return
    collection, settings, answer = head
    summary = model.summary(collection)
    with answer:
        guarded(saved.open_link)(model, collection)
        query = question_field()
        example = read_example(query, model, collection)
        nothing_embedded(summary)
    if not summary.documents:
        return
    with settings:
        request = search_controls(model.options(summary), query)
    with answer:
        show_menus(model, collection, request, example)
        if example is not None:
            show_search_by_example(model, collection, request, example)
        elif query.strip():
            history.note_search(query)
            show_search(model.search(collection, request), None)
        else:
            results.show_first_questions(model.first_questions(collection))


def show_menus(
    model: SearchModel,
    collection: Collection,
    request: SearchRequest,
    example: ExampleInput | None,
) -> None:
    with results.row():
        example_menu(collection.dimensions, has_model=collection.has_model)
        guarded(saved.saved_menu)(model, collection, request, example)
        history.show_history()
        compare_link(collection.address, request)


def show_search_by_example(
    model: SearchModel, collection: Collection, request: SearchRequest, example: ExampleInput
) -> None:
    labels = model.document_labels(collection, example.documents)
    show_example(example, labels)
    parsed = example.example(collection)
    history.note_search(example_title(example, labels))
    show_search(model.search(collection, request, parsed), example)


def show_search(search: Search, example: ExampleInput | None) -> None:
    results.show_summary(search)
    results.offer_any_word(search)
    if search.request.max_distance is not None:
        views.show_threshold(search.threshold_preview(search.request.max_distance))
    with results.row():
        view = views.view_picker(search)
        layout = results.layout_picker() if view is View.RESULTS else None
        results.export_menu(search)
    match view:
        case View.RESULTS:
            results.show_answers(search, layout, example)
        case View.WEIGHT:
            views.show_weight(search)
        case View.PLAN:
            views.show_diagnosis(search.diagnosis(), search.result.settings)
        case View.SQL:
            views.show_code(search.export(), is_reranked=search.can_rerank)


start_page(SEARCH, SearchModel, body)
