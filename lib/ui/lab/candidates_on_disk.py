"""The part “Candidates on disk”: what the candidates take, and the way to drop them."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from lib.formats import format_bytes, format_count, format_duration
from lib.store.candidates import Candidate, CandidateState
from lib.ui.lab.experiments import confirm_buttons
from lib.ui.lab.model import CollectionLab
from lib.ui.shared.markdown import escape
from lib.ui.shared.page import guarded, refresh

_BADGES = {
    CandidateState.BUILDING: ("being built", "blue", ":material/sync:"),
    CandidateState.READY: ("fresh", "green", ":material/check:"),
    CandidateState.FAILED: ("failed", "red", ":material/error:"),
    CandidateState.INTERRUPTED: ("interrupted", "orange", ":material/power_off:"),
}
_STATE_HELP = {
    CandidateState.BUILDING: "A job is building it.",
    CandidateState.READY: "It holds what the collection holds: experiments use it again.",
    CandidateState.FAILED: "It could not be built.",
    CandidateState.INTERRUPTED: "Its process ended before it was built.",
}


def show_candidates_on_disk(lab: CollectionLab) -> None:
    candidates = lab.candidates
    if not candidates:
        st.info(
            "There is no candidate of this collection: nothing of the lab takes room on disk.",
            icon=":material/hard_drive:",
        )
        return
    stale = [candidate for candidate in candidates if candidate.stale]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(
            f"**{_describe_total(candidates)}**",
            help="Copies of the collection's vectors that are Vecscope's own, each with one index. "
            "Experiments use them again; the collection itself needs none of them.",
        )
        if stale and st.button(
            f"Drop the {format_count(len(stale), 'stale one')}",
            icon=":material/delete_sweep:",
            disabled=lab.is_busy,
            help="They hold what the collection was before it was last written to.",
        ):
            _drop_dialog(lab, stale)
    for candidate in candidates:
        _show_candidate(lab, candidate)


def _describe_total(candidates: Sequence[Candidate]) -> str:
    size = format_bytes(sum(candidate.size_bytes or 0 for candidate in candidates))
    if len(candidates) == 1:
        return f"One candidate takes {size} on disk"
    return f"{format_count(len(candidates), 'candidate')} take {size} on disk"


def _show_candidate(lab: CollectionLab, candidate: Candidate) -> None:
    with st.container(border=True, gap="small"):
        left, right = st.columns([5, 2], vertical_alignment="center")
        with left, st.container(horizontal=True, gap="small", vertical_alignment="center"):
            st.markdown(f"**{escape(candidate.name)}**", width="content")
            _badge(candidate)
        with (
            right,
            st.container(
                horizontal=True,
                horizontal_alignment="right",
                vertical_alignment="center",
                gap="small",
            ),
        ):
            if candidate.ready:
                st.page_link(
                    "pages/search.py",
                    label="Search it",
                    icon=":material/search:",
                    query_params={"c": lab.collection.address, "scan": candidate.name},
                    width="content",
                )
            if st.button(
                "Drop",
                key=f"lab:drop:{candidate.id}",
                icon=":material/delete:",
                disabled=lab.is_busy or candidate.state is CandidateState.BUILDING,
                help="A job is running on this collection." if lab.is_busy else None,
            ):
                _drop_dialog(lab, [candidate])
        st.caption(escape(_describe(candidate)))


def _badge(candidate: Candidate) -> None:
    if candidate.stale:
        st.badge(
            "stale",
            color="orange",
            icon=":material/history:",
            help="The collection was written to since it was copied. A new experiment builds it "
            "anew.",
        )
        return
    label, color, icon = _BADGES[candidate.state]
    help_text = escape(candidate.error) if candidate.error else _STATE_HELP[candidate.state]
    st.badge(label, color=color, icon=icon, help=help_text)  # type: ignore[arg-type]


def _describe(candidate: Candidate) -> str:
    parts = [] if candidate.rows is None else [format_count(candidate.rows, "row")]
    if candidate.index_bytes is not None and candidate.table_bytes is not None:
        parts.append(f"index {format_bytes(candidate.index_bytes)}")
        parts.append(f"vectors {format_bytes(candidate.table_bytes)}")
    created = f"{candidate.created_at:%d %b %Y, %H:%M} UTC"
    if candidate.build_seconds is not None:
        created += f", index built in {format_duration(candidate.build_seconds)}"
    return " · ".join([*parts, created])


@st.dialog("Drop from disk?", icon=":material/delete:")
@guarded
def _drop_dialog(lab: CollectionLab, candidates: Sequence[Candidate]) -> None:
    names = ", ".join(f"**{escape(candidate.name)}**" for candidate in candidates)
    freed = format_bytes(sum(candidate.size_bytes or 0 for candidate in candidates))
    st.markdown(
        f"{names}: {'it goes' if len(candidates) == 1 else 'they go'}, and {freed} on disk "
        "get free. Experiments keep their figures; to measure more, it is built again."
    )
    if confirm_buttons("Drop"):
        lab.drop(candidates)
        refresh()
