"""The same question asked in several ways: what does each one find, and what does it miss?"""

from collections.abc import Sequence
from functools import partial

from lib.lab.candidates import default_candidates, start_candidate_builds
from lib.search.compare import (
    Preset,
    duplicate_columns,
    label_columns,
    needs_word_index,
    preset_requests,
)
from lib.search.filters import list_fields
from lib.search.miss_analysis import compare_with_misses
from lib.search.request import SearchRequest
from lib.services import Services, first_questions
from lib.store.candidates import Candidate, list_candidates, newest_ready
from lib.store.collections import (
    CollectionSummary,
    list_categories,
    list_collections,
    summarise,
)
from lib.ui.compare import columns as comparison
from lib.ui.search.controls import column_controls, no_word_index, question_field
from lib.ui.shared.empty_states import nothing_embedded
from lib.ui.shared.model import PageModel
from lib.ui.shared.page import COMPARE, refresh, start_page, watch_jobs
from lib.ui.shared.session_cache import cached_by_name
from lib.ui.shared.widgets import page_head
from lib.vectors.index_methods import IndexKind


def body(model: PageModel) -> None:
    services = model.services
    database = services.database
    head = page_head(database.query(list_collections))
    if head is None:
        return
    collection, settings, answer = head
    summary = database.query(summarise, collection)
    candidates = database.query(list_candidates, collection)
    missing = [kind for kind in IndexKind if newest_ready(candidates, kind) is None]
    with settings:
        preset = comparison.preset_picker(
            Preset.possible(has_model=collection.has_model, has_candidates=not missing)
        )
        limit, shown = comparison.limit_slider(), comparison.shown_columns()
    with answer:
        running = database.run(services.jobs.recent(collection_id=collection.id, active_only=True))
        watch_jobs(running)
        nothing_embedded(summary)
        if preset is Preset.INDEXES and missing:
            if comparison.offer_candidates(missing, summary.embedded, busy=bool(running)):
                build(services, summary, missing)
        elif summary.documents:
            asked = SearchRequest(question_field(), limit=limit)
            columns = draw(services, summary, candidates, preset, shown, asked)
            show(services, summary, candidates, columns, asked.query)


def draw(
    services: Services,
    summary: CollectionSummary,
    candidates: Sequence[Candidate],
    preset: Preset,
    shown: Sequence[int],
    asked: SearchRequest,
) -> list[comparison.CompareColumn]:
    """The columns with their settings."""
    ask, collection = services.database.query, summary.collection
    categories = cached_by_name("categories", collection, partial(ask, list_categories, collection))
    fields = cached_by_name("fields", collection, partial(ask, list_fields, collection))
    return comparison.draw_columns(
        preset_requests(preset, collection, candidates),
        shown,
        collection,
        lambda scope: column_controls(scope, summary, categories, fields, candidates, asked),
    )


def show(
    services: Services,
    summary: CollectionSummary,
    candidates: Sequence[Candidate],
    slots: Sequence[comparison.CompareColumn],
    query: str,
) -> None:
    """The answer of each column, and how they differ."""
    database, collection = services.database, summary.collection
    columns = label_columns([slot.request for slot in slots], candidates)
    comparison.name_columns(slots, columns, duplicate_columns(columns))
    if not query.strip():
        comparison.offer_questions(database.query(first_questions, collection))
    elif needs_word_index(columns) and not summary.has_word_index:
        no_word_index(collection)
    else:
        ask = partial(compare_with_misses, services.search, database, collection, query, columns)
        key = (collection.id, collection.revision, summary.indexes, query, columns)
        found, seen = cached_by_name("compared", key, lambda: database.run(ask()))
        comparison.show_comparison(slots, found, seen)


def build(services: Services, summary: CollectionSummary, kinds: Sequence[IndexKind]) -> None:
    database, collection = services.database, summary.collection
    offered = default_candidates(summary.embedded, collection.dimensions, collection.storage)
    specs = [spec for spec in offered if spec.index.kind in kinds]
    database.run(start_candidate_builds(services.jobs, database, collection, specs))
    refresh()


start_page(COMPARE, PageModel, body)
