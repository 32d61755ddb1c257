"""What are the answers, and why these?"""

import streamlit as st

from lib.ingest.sample import SAMPLE_NAME, SAMPLE_QUESTIONS
from lib.search.snippets import make_snippet
from lib.services import Services
from lib.store.collections import (
    example_questions,
    list_categories,
    list_collections,
    summarise,
)
from lib.ui.controls import collection_picker, question_field, search_controls
from lib.ui.page import SEARCH, start_page
from lib.ui.results import (
    show_behind,
    show_examples,
    show_hits,
    show_no_hits,
    show_summary,
)
from lib.ui.states import no_collections, nothing_embedded


def body(services: Services) -> None:
    database = services.database
    collections = database.query(list_collections)
    if not collections:
        no_collections()
        return
    settings, answer = st.columns([1, 3], gap="large")
    with settings:
        collection = collection_picker(collections)
        summary = database.query(summarise, collection)
    with answer:
        query = question_field()
    if not summary.documents:
        with answer:
            nothing_embedded(summary)
        return
    with settings:
        request = search_controls(summary, database.query(list_categories, collection), query)
    with answer:
        if not query.strip():
            is_sample = collection.name == SAMPLE_NAME
            show_examples(
                SAMPLE_QUESTIONS if is_sample else database.query(example_questions, collection)
            )
            return
        nothing_embedded(summary)
        result = database.run(services.search.search(collection, request))
        show_summary(result, request, summary.index)
        if not result.hits:
            show_no_hits(result, request)
        snippets = [
            make_snippet(hit.document.content, query, language=collection.text_config)
            for hit in result
        ]
        show_hits(result.hits, snippets)
        show_behind(result)


start_page(SEARCH, body)
