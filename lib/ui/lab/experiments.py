"""Index Lab's frame: its parts, the experiments there are, and the candidates on disk."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum, auto

import streamlit as st

from lib.formats import format_bytes, format_count, format_duration
from lib.lab.experiment import NAME_LENGTH, ExperimentState
from lib.lab.repository import ExperimentSummary
from lib.store.candidates import Candidate, CandidateState
from lib.store.collections import Collection, CollectionSummary
from lib.ui.lab.candidates_table import KEY
from lib.ui.lab.setup import setup_address
from lib.ui.shared.empty_states import nothing_embedded
from lib.ui.shared.links import LinkParams
from lib.ui.shared.markdown import escape
from lib.ui.shared.page import guarded, refresh
from lib.ui.shared.url_state import by_value, read_choice, unknown_choice, write_choice

_PART, _OPEN = "part", "exp"
_PAGE = "pages/index_lab.py"
_TURN = "lab:menus"
LEAST_ROWS = 2
"""A row's neighbour is another row."""


class Part(StrEnum):
    """What the page shows."""

    RESULTS = "results"
    NEW = "new"
    ALL = "all"
    DISK = "disk"

    @property
    def label(self) -> str:
        return {
            "results": "Results",
            "new": "New experiment",
            "all": "Experiments",
            "disk": "Candidates on disk",
        }[self.value]


class Action(Enum):
    """What was pressed in a list."""

    RENAME = auto()
    DELETE = auto()
    DROP = auto()


@dataclass(frozen=True)
class Pressed:
    """experiment, candidates: what it is about."""

    action: Action
    experiment: ExperimentSummary | None = None
    candidates: tuple[Candidate, ...] = ()


def part_picker(experiments: Sequence[ExperimentSummary], candidates: Sequence[Candidate]) -> Part:
    """The open part, in the address. With no experiment yet, a new one comes first."""
    usual = Part.RESULTS if experiments else Part.NEW
    parts = [part for part in Part if experiments or part is not Part.RESULTS]
    named = by_value(parts)
    labels = {
        Part.ALL: f"{Part.ALL.label} ({len(experiments):,})",
        Part.DISK: f"{Part.DISK.label} ({len(candidates):,})",
    }
    read_choice(_PART, named, usual)
    part = st.segmented_control(
        "Part of the lab",
        parts,
        format_func=lambda found: labels.get(found, found.label),
        required=True,
        key=_PART,
        label_visibility="collapsed",
    )
    assert part is not None
    write_choice(_PART, named, part, usual)
    return part


def is_open(part: Part) -> bool:
    return bool(st.session_state.get(_PART) == part)


def can_measure(summary: CollectionSummary) -> bool:
    """Whether there is enough to measure by; says what is missing where there is not."""
    if not summary.documents or summary.missing:
        nothing_embedded(summary)
    if summary.documents and summary.embedded < LEAST_ROWS:
        st.info(
            f"{escape(summary.collection.name)} has "
            f"{format_count(summary.embedded, 'embedded document')}."
            f" To measure an index there must be at least {LEAST_ROWS}, and some thousands for it "
            "to mean something.",
            icon=":material/inbox:",
        )
        st.page_link(
            "pages/upload.py",
            label="Upload documents",
            icon=":material/upload_file:",
            query_params={"c": summary.collection.slug},
        )
    return summary.embedded >= LEAST_ROWS


# --- which experiment ---------------------------------------------------------------------------


def experiment_picker(experiments: Sequence[ExperimentSummary]) -> uuid.UUID:
    """The open experiment: the newest, until another is chosen."""
    by_id = {str(each.id): each for each in experiments}
    named, usual = by_value(list(by_id)), next(iter(by_id))
    unknown = unknown_choice(_OPEN, named)
    read_choice(_OPEN, named, usual)
    found = st.selectbox(
        "Experiment",
        list(by_id),
        format_func=lambda each: by_id[each].name,
        key=_OPEN,
        help="Which one to look at; the newest comes first.",
    )
    write_choice(_OPEN, named, found, usual)
    if unknown is not None:
        st.warning(
            "The address asks for an experiment that is not here (any more).",
            icon=":material/help:",
        )
    chosen = by_id[found]
    st.caption(f"Started {chosen.created_at:%d %b %Y, %H:%M} UTC")
    st.page_link(
        _PAGE,
        label="A new one like this",
        icon=":material/content_copy:",
        query_params=_with_collection({**setup_address(chosen.spec), _PART: Part.NEW.value}),
        help="Opens its settings, to change some of them.",
    )
    return chosen.id


def open_experiment(experiment_id: object) -> None:
    """At the next run of the page."""
    address = _with_collection({_OPEN: str(experiment_id), _PART: Part.RESULTS.value})
    st.query_params.from_dict(dict(address))
    st.session_state.pop(KEY, None)  # no widget's: what was last written is then read again


def _with_collection(address: LinkParams) -> LinkParams:
    return {"c": st.query_params["c"], **address}


# --- the experiments ----------------------------------------------------------------------------

_STATES = {
    ExperimentState.RUNNING: ("running", "blue", ":material/sync:"),
    ExperimentState.DONE: ("done", "green", ":material/check:"),
    ExperimentState.FAILED: ("failed", "red", ":material/error:"),
    ExperimentState.CANCELLED: ("cancelled", "orange", ":material/cancel:"),
    ExperimentState.INTERRUPTED: ("interrupted", "orange", ":material/power_off:"),
}


def show_experiments(
    experiments: Sequence[ExperimentSummary], winners: Mapping[uuid.UUID, str]
) -> Pressed | None:
    """All of them, the newest first; two can be ticked and compared. winners: in words."""
    if not experiments:
        st.info("No experiment was made on this collection yet.", icon=":material/science:")
        return None
    can_compare = len(experiments) > 1
    over = st.container()
    pressed: Pressed | None = None
    ticked = []
    for each in experiments:
        with st.container(border=True, gap="small"):
            is_ticked, found = _experiment_head(each, can_compare=can_compare)
            st.caption(_experiment_words(each, winners.get(each.id)))
        ticked += [each] if is_ticked else []
        pressed = pressed or found
    if can_compare:
        with over:
            _offer_to_compare(ticked)
    return pressed


def _experiment_head(each: ExperimentSummary, *, can_compare: bool) -> tuple[bool, Pressed | None]:
    """Whether it is ticked, and what was pressed."""
    is_ticked = False
    left, right = st.columns([5, 2], vertical_alignment="center")
    with left, st.container(horizontal=True, gap="small", vertical_alignment="center"):
        if can_compare:
            is_ticked = st.checkbox(
                f"Compare {each.name}",
                key=f"lab:tick:{each.id}",
                label_visibility="collapsed",
                width="content",
            )
        st.page_link(
            _PAGE,
            label=f"**{escape(each.name)}**",
            icon=":material/monitoring:",
            query_params=_with_collection({_OPEN: str(each.id)}),
        )
    with (
        right,
        st.container(
            horizontal=True,
            horizontal_alignment="right",
            vertical_alignment="center",
            gap="small",
        ),
    ):
        label, color, icon = _STATES[each.state]
        st.badge(label, color=color, icon=icon)  # type: ignore[arg-type]
        if each.stale:
            st.badge(
                "stale",
                color="orange",
                icon=":material/history:",
                help="The collection was written to since.",
            )
        with st.popover(
            "Manage",
            icon=":material/more_horiz:",
            key=f"lab:menu:{each.id}:{st.session_state.get(_TURN, 0)}",
            type="tertiary",
        ):
            pressed = _experiment_menu(each)
    return is_ticked, pressed


def _experiment_words(each: ExperimentSummary, winner: str | None) -> str:
    """Its result first, then what was asked."""
    spec = each.spec
    words = [] if winner is None else [f"Winner: **{escape(winner)}**"]
    asked = f"k = {spec.k}, {format_count(spec.queries.count, 'query', 'queries')}"
    if spec.queries.name:
        asked += f" of {spec.queries.name}"
    if spec.filters:
        asked += f" where {' and '.join(map(str, spec.filters))}"
    words += [
        escape(each_part)
        for each_part in (
            f"target: {_target_words(each)}",
            asked,
            _candidates_words(each),
            f"{each.created_at:%d %b %Y, %H:%M} UTC",
        )
    ]
    return " · ".join(words)


def _candidates_words(each: ExperimentSummary) -> str:
    candidates = format_count(len(each.spec.candidates), "candidate")
    return f"{candidates}, {format_count(each.measured, 'measurement')}"


def _target_words(each: ExperimentSummary) -> str:
    target = each.spec.target
    if target is None:
        return "none"
    words = f"recall ≥ {target.recall:g}"
    return words if target.p95_ms is None else f"{words}, p95 ≤ {target.p95_ms:g} ms"


def _experiment_menu(each: ExperimentSummary) -> Pressed | None:
    busy = each.state is ExperimentState.RUNNING
    if st.button(
        "Rename",
        key=f"lab:rename:{each.id}",
        icon=":material/edit:",
        width="stretch",
        on_click=_close_menus,
    ):
        return Pressed(Action.RENAME, experiment=each)
    if st.button(
        "Delete",
        key=f"lab:delete:{each.id}",
        icon=":material/delete:",
        width="stretch",
        disabled=busy,
        help="It is running: cancel it first." if busy else None,
        on_click=_close_menus,
    ):
        return Pressed(Action.DELETE, experiment=each)
    return None


def _close_menus() -> None:
    """A popover with a new key is a new one, and closed."""
    st.session_state[_TURN] = st.session_state.get(_TURN, 0) + 1


def _offer_to_compare(ticked: Sequence[ExperimentSummary]) -> None:
    if len(ticked) != 2:
        st.caption("Tick two to compare them: what changed, and what came of it.")
        return
    newer, older = ticked  # the list has the newest first
    st.page_link(
        _PAGE,
        label=f"Compare **{escape(older.name)}** with **{escape(newer.name)}**",
        icon=":material/compare_arrows:",
        query_params=_with_collection(
            {_OPEN: str(newer.id), "show": "compare", "with": str(older.id)}
        ),
    )


# --- before something is changed for good -------------------------------------------------------


def ask_first(
    pressed: Pressed | None,
    *,
    rename: Callable[[uuid.UUID, str], None],
    delete: Callable[[uuid.UUID], None],
    drop: Callable[[Sequence[Candidate]], None],
) -> None:
    """In a dialog; what was said yes to is done, and the page is drawn again."""
    if pressed is None:
        return
    titles = {
        Action.RENAME: ("Rename the experiment", ":material/edit:"),
        Action.DELETE: ("Delete this experiment?", ":material/delete:"),
        Action.DROP: ("Drop from disk?", ":material/delete:"),
    }
    title, icon = titles[pressed.action]

    def draw() -> None:
        experiment = pressed.experiment
        if experiment is None:
            if _confirm_drop(pressed.candidates):
                drop(pressed.candidates)
                refresh()
        elif pressed.action is Action.DELETE:
            if _confirm_delete(experiment):
                delete(experiment.id)
                refresh()
        elif (name := _name_form(experiment.name)) is not None:
            rename(experiment.id, name)
            refresh()

    st.dialog(title, icon=icon)(guarded(draw))()


def _name_form(current: str) -> str | None:
    """The new name, once it was said yes to."""
    name = st.text_input("Name", current, max_chars=NAME_LENGTH)
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Leave it"):
            st.rerun()
        return name if st.button("Rename", type="primary", key="lab:rename") else None


def _confirm_delete(experiment: ExperimentSummary) -> bool:
    st.markdown(
        f"**{escape(experiment.name)}** with "
        f"{format_count(experiment.measured, 'measurement')} will be "
        "gone for good. Its candidates stay on disk until they are dropped."
    )
    return _yes("Delete for good")


def _confirm_drop(candidates: Sequence[Candidate]) -> bool:
    names = ", ".join(f"**{escape(each.name)}**" for each in candidates)
    freed = sum(each.size_bytes or 0 for each in candidates)
    st.markdown(
        f"{names}: {'it goes' if len(candidates) == 1 else 'they go'}, and "
        f"{format_bytes(freed)} on disk "
        "get free. Experiments keep their figures; to measure more, it is built again."
    )
    return _yes("Drop")


def _yes(label: str) -> bool:
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Keep"):
            st.rerun()
        return st.button(label, type="primary", icon=":material/delete_forever:", key="lab:yes")


# --- the candidates -----------------------------------------------------------------------------

_BADGES = {
    CandidateState.BUILDING: ("being built", "blue", ":material/sync:"),
    CandidateState.READY: ("fresh", "green", ":material/check:"),
    CandidateState.FAILED: ("failed", "red", ":material/error:"),
    CandidateState.INTERRUPTED: ("interrupted", "orange", ":material/power_off:"),
}


def show_disk(
    candidates: Sequence[Candidate], collection: Collection, *, busy: bool
) -> Pressed | None:
    """What the candidates take, and the way to drop them."""
    if not candidates:
        st.info(
            "There is no candidate of this collection: nothing of the lab takes room on disk.",
            icon=":material/hard_drive:",
        )
        return None
    stale = tuple(each for each in candidates if each.stale)
    taken = format_bytes(sum(each.size_bytes or 0 for each in candidates))
    pressed: Pressed | None = None
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(
            f"**{format_count(len(candidates), 'candidate')} take {taken} on disk**"
            if len(candidates) > 1
            else f"**One candidate takes {taken} on disk**",
            help="Copies of the collection's vectors that are Vecscope's own, each with one index. "
            "Experiments use them again; the collection itself needs none of them.",
        )
        if stale and st.button(
            f"Drop the {format_count(len(stale), 'stale one')}",
            icon=":material/delete_sweep:",
            disabled=busy,
            help="They hold what the collection was before it was last written to.",
        ):
            pressed = Pressed(Action.DROP, candidates=stale)
    for each in candidates:
        pressed = _candidate_row(each, collection, busy=busy) or pressed
    return pressed


def _candidate_row(each: Candidate, collection: Collection, *, busy: bool) -> Pressed | None:
    with st.container(border=True, gap="small"):
        left, right = st.columns([5, 2], vertical_alignment="center")
        with left, st.container(horizontal=True, gap="small", vertical_alignment="center"):
            st.markdown(f"**{escape(each.name)}**", width="content")
            label, color, icon = _BADGES[each.state]
            if each.stale:
                label, color, icon = "stale", "orange", ":material/history:"
            st.badge(label, color=color, icon=icon, help=_why(each))  # type: ignore[arg-type]
        with (
            right,
            st.container(
                horizontal=True,
                horizontal_alignment="right",
                vertical_alignment="center",
                gap="small",
            ),
        ):
            if each.ready:
                st.page_link(
                    "pages/search.py",
                    label="Search it",
                    icon=":material/search:",
                    query_params={"c": collection.address, "scan": each.name},
                    width="content",
                )
            being_built = each.state is CandidateState.BUILDING
            dropped = st.button(
                "Drop",
                key=f"lab:drop:{each.id}",
                icon=":material/delete:",
                disabled=busy or being_built,
                help="A job is running on this collection." if busy else None,
            )
        st.caption(_candidate_words(each))
    return Pressed(Action.DROP, candidates=(each,)) if dropped else None


def _candidate_words(each: Candidate) -> str:
    words = [] if each.rows is None else [format_count(each.rows, "row")]
    if each.index_bytes is not None and each.table_bytes is not None:
        words += [
            f"index {format_bytes(each.index_bytes)}",
            f"vectors {format_bytes(each.table_bytes)}",
        ]
    took = (
        ""
        if each.build_seconds is None
        else f", index built in {format_duration(each.build_seconds)}"
    )
    words.append(f"{each.created_at:%d %b %Y, %H:%M} UTC{took}")
    return escape(" · ".join(words))


def _why(each: Candidate) -> str:
    if each.stale:
        return "The collection was written to since it was copied. A new experiment builds it anew."
    if each.error:
        return escape(each.error)
    words = {
        CandidateState.BUILDING: "A job is building it.",
        CandidateState.READY: "It holds what the collection holds: experiments use it again.",
        CandidateState.FAILED: "It could not be built.",
        CandidateState.INTERRUPTED: "Its process ended before it was built.",
    }
    return words[each.state]
