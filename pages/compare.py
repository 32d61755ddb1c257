"""The same question asked in several ways: what does each one find, and what does it miss?"""

from collections.abc import Sequence

from lib.search.compare import (
    Preset,
    duplicate_columns,
    label_columns,
    needs_word_index,
    preset_requests,
)
from lib.search.request import SearchRequest
from lib.ui.compare import columns as controls
from lib.ui.compare.columns import CompareColumn
from lib.ui.compare.model import CompareModel
from lib.ui.compare.results import show_comparison
from lib.ui.search.controls import no_word_index, question_field
from lib.ui.search.options import SearchOptions
from lib.ui.shared.empty_states import nothing_embedded
from lib.ui.shared.page import COMPARE, refresh, start_page, watch_jobs
from lib.ui.shared.widgets import page_head


def body(model: CompareModel) -> None:
    head = page_head(model.collections())
    if head is None:
        return
    collection, settings, answer = head
    summary = model.summary(collection)
    options = model.options(summary, model.candidates(collection))
    missing = model.missing_methods(options.candidates)
    with settings:
        preset = controls.preset_picker(
            Preset.possible(has_model=collection.has_model, has_candidates=not missing)
        )
        limit = controls.limit_slider()
        shown = controls.shown_columns()
    with answer:
        running = model.running_jobs(collection)
        watch_jobs(running)
        nothing_embedded(summary)
        if preset is Preset.INDEXES and missing:
            if controls.offer_candidates(missing, summary.embedded, busy=bool(running)):
                model.build_candidates(summary, missing)
                refresh()
        elif summary.documents:
            asked = SearchRequest(question_field(), limit=limit)
            drawn = draw_columns(options, preset, shown, asked)
            show_answers(model, options, drawn, asked.query)


def draw_columns(
    options: SearchOptions, preset: Preset, shown: Sequence[int], asked: SearchRequest
) -> list[CompareColumn]:
    defaults = preset_requests(preset, options.collection, options.candidates)
    return controls.draw_columns(defaults, shown, options, asked)


def show_answers(
    model: CompareModel,
    options: SearchOptions,
    drawn: Sequence[CompareColumn],
    query: str,
) -> None:
    columns = label_columns([column.request for column in drawn], options.candidates)
    controls.name_columns(drawn, columns, duplicate_columns(columns))
    if not query.strip():
        controls.offer_questions(model.first_questions(options.collection))
    elif needs_word_index(columns) and not options.summary.has_word_index:
        no_word_index(options.collection)
    else:
        comparison, misses = model.compare(options.summary, query, columns)
        show_comparison(drawn, comparison, misses)


start_page(COMPARE, CompareModel, body)
