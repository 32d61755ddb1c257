"""The panel Missed by an index: the recall of a candidate's index over the documents of a map."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import streamlit as st

from lib.formats import format_percent
from lib.projection.recall import QUERIES, DocumentRecall, K
from lib.store.candidates import Candidate
from lib.ui.map.model import MapView
from lib.ui.shared.markdown import escape
from lib.ui.shared.page import refresh
from lib.vectors.tuning import SearchSettings

_RECALL = "map:lost"


def measured_recall(projection_id: uuid.UUID) -> DocumentRecall | None:
    """What was measured last, until another map is looked at."""
    stored = st.session_state.get(_RECALL)
    return stored[1] if stored is not None and stored[0] == projection_id else None


def show_index_recall(view: MapView, candidates: Sequence[Candidate]) -> None:
    """A form to measure a candidate's index, and what was measured last."""
    ready = [candidate for candidate in candidates if candidate.ready]
    if ready:
        _index_form(view, ready)
    else:
        st.info(
            "To see which documents an index misses, it needs a copy of the vectors to try it on "
            "(a candidate). Build one on the Compare page or in the Index Lab.",
            icon=":material/content_copy:",
        )
    recall = measured_recall(view.projection.id)
    if recall is not None:
        _show_recall(recall)


def _index_form(view: MapView, candidates: Sequence[Candidate]) -> None:
    left, right = st.columns(2)
    with left:
        candidate = st.selectbox(
            "Index",
            candidates,
            format_func=lambda candidate: candidate.name,
            key="lost_index",
            help="A candidate: a copy of the vectors with one index.",
        )
    with right:
        settings = _search_settings(candidate)
    if st.button(f"Measure with {QUERIES.default} documents", icon=":material/play_arrow:"):
        with st.spinner("Searching the index, and comparing with the exact neighbours …"):
            recall = view.measure_recall(candidate, settings)
        st.session_state[_RECALL] = (view.projection.id, recall)
        refresh()


def _search_settings(candidate: Candidate) -> SearchSettings:
    parameter = candidate.method.search_parameter
    limits = parameter.limits(candidate.index.options)
    # An index that returns no more rows than the value has to return the document besides its
    # neighbours.
    start = K.default + 1 if parameter.bounds_result else limits.low
    value = st.slider(
        parameter.label,
        limits.low,
        max(limits.high, limits.low + 1),
        start,
        key=f"lost_{parameter.link}",
        help="Small values show where the index misses documents; larger ones find more.",
    )
    return SearchSettings().with_value(candidate.method, min(value, limits.high))


def _show_recall(recall: DocumentRecall) -> None:
    st.markdown(
        f"**Recall {recall.recall:.3f}**: of the {recall.k} true nearest of {recall.queries:,} "
        f"documents of the map, the index found {format_percent(recall.recall)}."
    )
    if not recall.certified:
        st.warning(f"Not certified: {escape(recall.reason)}", icon=":material/warning:")
    st.caption(
        "Colour by “Missed by the index”: dark points are true neighbours that the index missed; "
        "grey ones were nobody's neighbours in this sample."
    )
