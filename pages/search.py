"""What are the answers, and why these?"""

from functools import partial

import streamlit as st

from lib.ingest.sample import SAMPLE_NAME, SAMPLE_QUESTIONS
from lib.search.filters import list_fields
from lib.search.fusion import ranks_by_weight, reigns
from lib.search.request import SearchRequest
from lib.search.service import can_rerank, pool_key, rerank
from lib.search.snippets import make_snippet
from lib.search.threshold import count_below, widest_gap
from lib.services import Services
from lib.store.collections import (
    Collection,
    CollectionSummary,
    example_questions,
    list_categories,
    list_searchable,
    summarise,
)
from lib.ui.controls import collection_picker, question_field, search_controls
from lib.ui.memory import remember
from lib.ui.page import SEARCH, start_page
from lib.ui.results import show_examples, show_hits, show_no_hits, show_sql, show_summary
from lib.ui.states import no_collections, nothing_embedded
from lib.ui.workbench import WEIGHTS, View, show_plan, show_strip, show_weight, view_picker
from lib.vectors.search import SearchResult

FRESH_SECONDS = 5.0


def body(services: Services) -> None:
    database = services.database
    collections = database.query(list_searchable)
    if not collections:
        no_collections()
        return
    settings, answer = st.columns([1, 3], gap="large")
    with settings:
        collection = collection_picker(collections)
    state, ask = (collection.address, collection.id, collection.change_mark), database.query
    look = partial(ask, summarise, collection)
    summary = remember("summary", state, look, most_seconds=FRESH_SECONDS)
    with answer:
        query = question_field()
        nothing_embedded(summary)
    if not summary.documents:
        return
    with settings:
        categories = remember("categories", state, partial(ask, list_categories, collection))
        fields = remember("fields", state, partial(ask, list_fields, collection))
        request = search_controls(summary, categories, fields, query)
    with answer:
        if query.strip():
            show_answer(services, collection, summary, request)
        else:
            is_sample = collection.name == SAMPLE_NAME
            show_examples(
                SAMPLE_QUESTIONS if is_sample else database.query(example_questions, collection)
            )


def show_answer(
    services: Services, collection: Collection, summary: CollectionSummary, request: SearchRequest
) -> None:
    run, search = services.database.run, services.search
    asked = (collection.id, collection.change_mark, summary.indexes, pool_key(request))
    pool = remember("pool", asked, lambda: run(search.fetch_pool(collection, request)))
    result = rerank(pool, request)
    plan = remember("plan", asked, lambda: run(search.plan_of(collection, pool)))
    show_summary(result, plan, request, summary.index)
    if request.max_distance is not None:
        show_cut(services, collection, request, asked)
    match view_picker(can_weigh=can_rerank(request)):
        case View.RESULTS:
            show_results(result, request, collection)
        case View.WEIGHT:
            ranks = ranks_by_weight(pool.hits, request.fusion, WEIGHTS)
            leaders = reigns(pool.hits, request.fusion) if pool.hits else []
            show_weight(pool.hits, ranks.tolist(), [later.start for later in leaders[1:]], request)
        case View.PLAN:
            fresh = run(search.search(collection, request))
            show_plan(fresh, run(search.plan_of(collection, fresh, analyze=True)))
        case View.SQL:
            show_sql(run(search.search(collection, request)))


def show_results(result: SearchResult, request: SearchRequest, collection: Collection) -> None:
    if not result.hits:
        show_no_hits(result, request)
    language = collection.text_config
    show_hits(
        result.hits,
        [make_snippet(hit.document.content, request.query, language=language) for hit in result],
    )


def show_cut(
    services: Services, collection: Collection, request: SearchRequest, asked: tuple[object, ...]
) -> None:
    """The distances under the threshold's slider."""
    search = services.search
    distances = remember(
        "distances",
        asked,
        lambda: services.database.run(search.nearest_distances(collection, request)),
    )
    near = request.max_distance
    if near is not None:
        show_strip(distances, near, count_below(distances, near), widest_gap(distances))


start_page(SEARCH, body)
