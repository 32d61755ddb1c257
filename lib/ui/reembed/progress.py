"""The second step of a re-embedding: how far the new vectors are, and the switch to them."""

from __future__ import annotations

import streamlit as st

from lib.formats import format_count
from lib.ingest.reembed import ShadowState
from lib.store.collections import Collection
from lib.ui.reembed.model import ReembedModel
from lib.ui.shared.markdown import escape
from lib.ui.shared.page import guarded, refresh


@guarded
def show_progress(
    model: ReembedModel, collection: Collection, shadow: Collection, *, is_busy: bool
) -> None:
    """How far the new vectors are, and what can be done. shadow: the collection as seen by
    them."""
    progress = model.progress(shadow)
    st.subheader(escape(shadow.model), anchor=False)
    columns = st.columns(3)
    columns[0].metric("Embedded", f"{progress.embedded:,} of {progress.documents:,}")
    columns[1].metric("Still to do", f"{progress.untried:,}")
    columns[2].metric("Refused", f"{progress.failed:,}")
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        wants_more = bool(progress.untried) and st.button(
            "Go on", icon=":material/play_arrow:", disabled=is_busy
        )
        wants_switch = st.button(
            "Switch now",
            type="primary",
            icon=":material/swap_horiz:",
            disabled=is_busy or not progress.embedded,
            help="What came in meanwhile is embedded first.",
        )
        wants_discard = st.button("Discard", icon=":material/delete:", disabled=is_busy)
        st.page_link(
            "pages/search.py",
            label="Search by it",
            icon=":material/search:",
            query_params={"c": shadow.address},
        )
    if wants_more:
        model.start(collection, shadow.model)
        refresh()
    if wants_switch:
        _ask_to_switch(model, collection, shadow, progress)
    if wants_discard:
        _ask_to_discard(model, collection, shadow, progress)
    if progress.failed:
        _show_reasons(model, shadow)


def _show_reasons(model: ReembedModel, shadow: Collection) -> None:
    """Why documents have no new vector."""
    reasons = model.missing(shadow)
    if not reasons:
        return
    st.dataframe(
        {
            "Why": [reason.reason for reason in reasons],
            "Documents": [reason.count for reason in reasons],
            "Such as": [", ".join(reason.examples) for reason in reasons],
        },
        hide_index=True,
        alt="Why documents could not be embedded, the most frequent reason first.",
    )


@st.dialog("Switch to the new vectors?", icon=":material/swap_horiz:")
@guarded
def _ask_to_switch(
    model: ReembedModel, collection: Collection, shadow: Collection, progress: ShadowState
) -> None:
    st.markdown(
        f"**{escape(collection.name)}** will be searched by **{escape(shadow.model)}**. The "
        f"vectors of {escape(collection.model)} go for good, with their vector index and the "
        "candidates made of them. Build a new index afterwards."
    )
    is_agreed = True
    if progress.failed:
        is_agreed = st.checkbox(
            f"{format_count(progress.failed, 'document')} that the new model refused will be "
            "found by keyword search only. That is all right."
        )
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Not yet"):
            st.rerun()
        is_pressed = st.button("Switch", type="primary", disabled=not is_agreed)
    if is_pressed:
        model.switch(collection, even_if_incomplete=bool(progress.failed))
        refresh()


@st.dialog("Discard the new vectors?", icon=":material/delete:")
@guarded
def _ask_to_discard(
    model: ReembedModel, collection: Collection, shadow: Collection, progress: ShadowState
) -> None:
    st.markdown(
        f"The {format_count(progress.embedded, 'vector')} of **{escape(shadow.model)}** will "
        "be gone for good. The collection stays as it is."
    )
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Keep them"):
            st.rerun()
        is_pressed = st.button("Discard for good", type="primary", icon=":material/delete_forever:")
    if is_pressed:
        model.discard(collection)
        refresh()
