"""What does each index miss, and what would have found it?"""

from collections.abc import Sequence

import streamlit as st

from lib.lab.candidates import default_candidates, start_candidate_builds
from lib.search.compare import compare, index_preset
from lib.search.request import SearchRequest
from lib.search.xray import xray
from lib.services import Services
from lib.store.candidates import Candidate, list_candidates, newest_ready
from lib.store.collections import Collection, list_collections, summarise
from lib.ui.comparison import compare_controls, offer_candidates, show_comparison
from lib.ui.controls import collection_picker, question_field
from lib.ui.page import COMPARE, refresh, start_page, watch_jobs
from lib.ui.states import no_collections, nothing_embedded
from lib.vectors.indexes import IndexKind


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
    candidates = database.query(list_candidates, collection)
    running = database.run(services.jobs.recent(collection_id=collection.id, active_only=True))
    missing = [kind for kind in IndexKind if newest_ready(candidates, kind) is None]
    with answer:
        watch_jobs(running)
        nothing_embedded(summary)
        if summary.embedded and missing:
            if offer_candidates(missing, summary.embedded, busy=bool(running)):
                build(services, collection, missing, summary.embedded)
            return
        query = question_field()
    if not summary.embedded:
        return
    with settings:
        request = compare_controls(query, lists_of(candidates))
    with answer:
        if query.strip():
            show(services, collection, request, candidates)
        else:
            st.info("Ask a question to see which of its true answers each index finds.")


def build(
    services: Services, collection: Collection, kinds: Sequence[IndexKind], documents: int
) -> None:
    offered = default_candidates(documents, collection.dimensions, collection.storage)
    specs = [spec for spec in offered if spec.index.kind in kinds]
    services.database.run(
        start_candidate_builds(services.jobs, services.database, collection, specs)
    )
    refresh()


def lists_of(candidates: Sequence[Candidate]) -> int:
    candidate = newest_ready(candidates, IndexKind.IVFFLAT)
    return 1 if candidate is None else candidate.spec.options["lists"]


def show(
    services: Services,
    collection: Collection,
    request: SearchRequest,
    candidates: Sequence[Candidate],
) -> None:
    run, database = services.database.run, services.database
    columns = index_preset(collection, request, candidates)
    found = run(compare(services.search, database, collection, request.query, columns))
    assert found.embedding is not None  # each column of the preset searches by meaning
    show_comparison(found, run(xray(database, collection, found.embedding, columns)))


start_page(COMPARE, body)
