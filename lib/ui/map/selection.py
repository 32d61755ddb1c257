"""The selected documents of a map: kept with the map they are on, and in the URL as long as they
are few; and the panel that shows them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from functools import partial

import pandas as pd
import streamlit as st

from lib.formats import format_count, format_percent
from lib.ui.map.model import MapView, SelectedDocument
from lib.ui.shared.links import like_params
from lib.ui.shared.markdown import escape
from lib.ui.shared.page import guarded

MAX_LINK_DOCUMENTS = 20
MAX_ROWS = 1_000
_SELECTED = "map:chosen"
_IN_URL = "sel"
_ZOOM = "zoom"


def selected_ids(projection_id: uuid.UUID) -> list[str]:
    """Of the documents selected on this map, as a link has them."""
    stored = st.session_state.get(_SELECTED)
    if stored is not None and stored[0] == projection_id:
        return list(stored[1])
    return [id_ for id_ in st.query_params.get(_IN_URL, "").split(",") if id_]


def select_documents(projection_id: uuid.UUID, hex_ids: Sequence[str]) -> None:
    """Selects these documents in place of those that were; in the URL too, if they are few."""
    st.session_state[_SELECTED] = (projection_id, list(hex_ids))
    if 0 < len(hex_ids) <= MAX_LINK_DOCUMENTS:
        st.query_params[_IN_URL] = ",".join(hex_ids)
    else:
        st.query_params.pop(_IN_URL, None)


def is_zoomed() -> bool:
    """Whether the map shows the selection alone; the toggle is drawn after the map."""
    return bool(st.session_state.get(_ZOOM, st.query_params.get(_ZOOM) == "true"))


def show_selection(view: MapView) -> None:
    """The selected documents, their distinctive terms, and the two distances of a pair."""
    projection_id = view.projection.id
    indices = view.indices(selected_ids(projection_id)).tolist()
    if not indices:
        st.info(
            "Select points to see what they are: click one, or take the box or the lasso above the "
            "map and draw around some. Double-click to select nothing.",
            icon=":material/highlight_alt:",
        )
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{format_count(len(indices), 'document')} selected**", width="content")
        st.toggle("Zoom to them", key=_ZOOM, bind="query-params", width="content")
        st.button(
            "Clear",
            on_click=select_documents,
            args=(projection_id, []),
            icon=":material/deselect:",
            type="tertiary",
        )
        _export_buttons(view, indices)
        if len(indices) <= MAX_LINK_DOCUMENTS:
            st.page_link(
                "pages/search.py",
                label="Search for more like these" if len(indices) > 1 else "More like this",
                icon=":material/search:",
                query_params=like_params(view.document_ids(indices)),
                width="content",
            )
    terms = view.terms(indices)
    if terms:
        st.markdown(f"Distinctive terms: {', '.join(f'**{escape(term)}**' for term in terms)}")
    if len(indices) == 2:
        guarded(_show_pair_distance)(view, *indices)
    _show_table(view.documents(indices))


def _export_buttons(view: MapView, indices: Sequence[int]) -> None:
    """CSV and JSON lines, written when they are asked for."""
    st.download_button(
        "CSV",
        partial(view.csv, indices),
        file_name="selection.csv",
        mime="text/csv",
        icon=":material/download:",
        type="tertiary",
        on_click="ignore",
    )
    st.download_button(
        "JSON lines",
        partial(view.jsonl, indices),
        file_name="selection.jsonl",
        mime="application/jsonl",
        icon=":material/download:",
        type="tertiary",
        on_click="ignore",
    )


def _show_pair_distance(view: MapView, first: int, second: int) -> None:
    pair = view.pair_distance(first, second)
    true_rank = (
        "not among its nearest that are stored"
        if pair.true_rank is None
        else f"its neighbour number {pair.true_rank}"
    )
    left, right = st.columns(2)
    left.metric(
        f"True distance ({view.collection.distance.label})",
        f"{pair.distance:.4f}",
        help=f"Between the vectors. In truth the second document is {true_rank}.",
    )
    right.metric(
        "Distance on the map",
        f"{format_percent(pair.map_distance)} of its width",
        help=f"On the map the second is the first one's neighbour number {pair.map_rank:,}. "
        "The two distances have no common unit: compare only near with far.",
    )


def _show_table(documents: Sequence[SelectedDocument]) -> None:
    st.dataframe(
        pd.DataFrame(
            [
                {
                    "Title": document.title,
                    "Category": document.category,
                    "Cluster": document.cluster,
                    "Neighbourhood preservation": document.local_fidelity,
                    "Beginning": document.snippet,
                }
                for document in documents[:MAX_ROWS]
            ]
        ),
        hide_index=True,
        column_config={
            "Neighbourhood preservation": st.column_config.ProgressColumn(
                min_value=0.0,
                max_value=1.0,
                format="percent",
                help="How many of its true nearest neighbours are among its nearest on the map.",
            )
        },
        alt="The selected documents",
    )
    if len(documents) > MAX_ROWS:
        st.caption(f"The first {MAX_ROWS:,} of {len(documents):,}; the download has all.")
