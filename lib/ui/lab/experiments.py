"""The experiments of a collection: the box to open one, and the part “Experiments”, where they are
listed, compared, renamed and deleted."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import streamlit as st

from lib.formats import format_count
from lib.lab.experiment import NAME_LENGTH, ExperimentState
from lib.lab.repository import ExperimentSummary
from lib.lab.spec import Target
from lib.ui.lab import candidates_table, diff, results
from lib.ui.lab.controls import experiment_params
from lib.ui.lab.model import CollectionLab
from lib.ui.lab.parts import PART, Part
from lib.ui.shared.links import LinkParams
from lib.ui.shared.markdown import escape
from lib.ui.shared.page import guarded, refresh
from lib.ui.shared.url_state import by_value, unknown_choice
from lib.ui.shared.widgets import choice

_OPEN = "exp"
_PAGE = "pages/index_lab.py"
_MENU_NUMBER = "lab:menus"
_STATES = {
    ExperimentState.RUNNING: ("running", "blue", ":material/sync:"),
    ExperimentState.DONE: ("done", "green", ":material/check:"),
    ExperimentState.FAILED: ("failed", "red", ":material/error:"),
    ExperimentState.CANCELLED: ("cancelled", "orange", ":material/cancel:"),
    ExperimentState.INTERRUPTED: ("interrupted", "orange", ":material/power_off:"),
}


# --- the open experiment ------------------------------------------------------------------------


def experiment_picker(experiments: Sequence[ExperimentSummary]) -> uuid.UUID:
    """The open experiment: the newest, until another is chosen."""
    by_id = {str(experiment.id): experiment for experiment in experiments}
    options = by_value(list(by_id))
    unknown = unknown_choice(_OPEN, options)
    chosen = choice(
        "Experiment",
        options,
        lambda id_: by_id[id_].name,
        key=_OPEN,
        default=next(iter(by_id)),
        help_text="Which one to look at; the newest comes first.",
    )
    if unknown is not None:
        st.warning(
            "The link asks for an experiment that is not here (any more).",
            icon=":material/help:",
        )
    experiment = by_id[chosen]
    st.caption(f"Started {experiment.created_at:%d %b %Y, %H:%M} UTC")
    st.page_link(
        _PAGE,
        label="A new one like this",
        icon=":material/content_copy:",
        query_params=_of_collection({**experiment_params(experiment.spec), PART: Part.NEW.value}),
        help="Opens its settings, to change some of them.",
    )
    return experiment.id


def open_experiment(experiment_id: uuid.UUID) -> None:
    """At the next run of the page."""
    params = _of_collection({_OPEN: str(experiment_id), PART: Part.RESULTS.value})
    st.query_params.from_dict(dict(params))
    # No widget's key, so nobody else forgets it: the URL is read again next time.
    st.session_state.pop(candidates_table.KEY, None)


def _of_collection(params: LinkParams) -> LinkParams:
    return {"c": st.query_params["c"], **params}


# --- the list -----------------------------------------------------------------------------------


def show_experiments(lab: CollectionLab) -> None:
    """All of them, the newest first; two can be ticked and compared."""
    experiments = lab.experiments
    if not experiments:
        st.info("No experiment was made on this collection yet.", icon=":material/science:")
        return
    winners = lab.winners()
    can_compare = len(experiments) > 1
    above = st.container()
    ticked = []
    for experiment in experiments:
        with st.container(border=True, gap="small"):
            left, right = st.columns([5, 2], vertical_alignment="center")
            with left:
                if _title(experiment, can_compare=can_compare):
                    ticked.append(experiment)
            with right:
                _state_and_menu(lab, experiment)
            st.caption(_describe(experiment, winners.get(experiment.id)))
    if can_compare:
        with above:
            _offer_to_compare(ticked)


def _title(experiment: ExperimentSummary, *, can_compare: bool) -> bool:
    """Whether it is ticked."""
    is_ticked = False
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        if can_compare:
            is_ticked = st.checkbox(
                f"Compare {experiment.name}",
                key=f"lab:tick:{experiment.id}",
                label_visibility="collapsed",
                width="content",
            )
        st.page_link(
            _PAGE,
            label=f"**{escape(experiment.name)}**",
            icon=":material/monitoring:",
            query_params=_of_collection({_OPEN: str(experiment.id)}),
        )
    return is_ticked


def _state_and_menu(lab: CollectionLab, experiment: ExperimentSummary) -> None:
    with st.container(
        horizontal=True, horizontal_alignment="right", vertical_alignment="center", gap="small"
    ):
        label, color, icon = _STATES[experiment.state]
        st.badge(label, color=color, icon=icon)  # type: ignore[arg-type]
        if experiment.stale:
            st.badge(
                "stale",
                color="orange",
                icon=":material/history:",
                help="The collection was written to since.",
            )
        with st.popover(
            "Manage",
            icon=":material/more_horiz:",
            key=f"lab:menu:{experiment.id}:{st.session_state.get(_MENU_NUMBER, 0)}",
            type="tertiary",
        ):
            _menu(lab, experiment)


def _describe(experiment: ExperimentSummary, winner: str | None) -> str:
    """Its result first, then what was asked."""
    spec = experiment.spec
    queries = f"k = {spec.k}, {format_count(spec.queries.count, 'query', 'queries')}"
    if spec.queries.name:
        queries += f" of {spec.queries.name}"
    if spec.filters:
        queries += f" where {' and '.join(map(str, spec.filters))}"
    candidates = format_count(len(spec.candidates), "candidate")
    measured = format_count(experiment.measured, "measurement")
    parts = [
        f"target: {_describe_target(spec.target)}",
        queries,
        f"{candidates}, {measured}",
        f"{experiment.created_at:%d %b %Y, %H:%M} UTC",
    ]
    description = escape(" · ".join(parts))
    return description if winner is None else f"Winner: **{escape(winner)}** · {description}"


def _describe_target(target: Target | None) -> str:
    if target is None:
        return "none"
    recall = f"recall ≥ {target.recall:g}"
    return recall if target.p95_ms is None else f"{recall}, p95 ≤ {target.p95_ms:g} ms"


def _offer_to_compare(ticked: Sequence[ExperimentSummary]) -> None:
    if len(ticked) != 2:
        st.caption("Tick two to compare them: what changed, and what came of it.")
        return
    newer, older = ticked  # the list has the newest first
    st.page_link(
        _PAGE,
        label=f"Compare **{escape(older.name)}** with **{escape(newer.name)}**",
        icon=":material/compare_arrows:",
        query_params=_of_collection(
            {
                _OPEN: str(newer.id),
                results.VIEW: results.View.COMPARE.value,
                diff.OTHER: str(older.id),
            }
        ),
    )


# --- rename and delete --------------------------------------------------------------------------


def _menu(lab: CollectionLab, experiment: ExperimentSummary) -> None:
    is_running = experiment.state is ExperimentState.RUNNING
    if st.button(
        "Rename",
        key=f"lab:rename:{experiment.id}",
        icon=":material/edit:",
        width="stretch",
        on_click=_close_menus,
    ):
        _rename_dialog(lab, experiment)
    if st.button(
        "Delete",
        key=f"lab:delete:{experiment.id}",
        icon=":material/delete:",
        width="stretch",
        disabled=is_running,
        help="It is running: cancel it first." if is_running else None,
        on_click=_close_menus,
    ):
        _delete_dialog(lab, experiment)


def _close_menus() -> None:
    """A popover with a new key is a new one, and closed."""
    st.session_state[_MENU_NUMBER] = st.session_state.get(_MENU_NUMBER, 0) + 1


@st.dialog("Rename the experiment", icon=":material/edit:")
@guarded
def _rename_dialog(lab: CollectionLab, experiment: ExperimentSummary) -> None:
    name = st.text_input("Name", experiment.name, max_chars=NAME_LENGTH)
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Leave it"):
            refresh()
        if st.button("Rename", type="primary", key="lab:rename"):
            lab.rename(experiment.id, name)
            refresh()


@st.dialog("Delete this experiment?", icon=":material/delete:")
@guarded
def _delete_dialog(lab: CollectionLab, experiment: ExperimentSummary) -> None:
    st.markdown(
        f"**{escape(experiment.name)}** with "
        f"{format_count(experiment.measured, 'measurement')} will be "
        "gone for good. Its candidates stay on disk until they are dropped."
    )
    if confirm_buttons("Delete for good"):
        lab.delete(experiment.id)
        refresh()


def confirm_buttons(label: str) -> bool:
    """Of a dialog before something is gone for good: no, and a yes with this label."""
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Keep"):
            refresh()
        return st.button(label, type="primary", icon=":material/delete_forever:", key="lab:yes")
