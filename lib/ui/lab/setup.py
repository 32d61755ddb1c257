"""The part “New experiment”: the candidates, what measuring them will take, and the button."""

from __future__ import annotations

import streamlit as st

from lib.formats import format_bytes, format_duration
from lib.lab.plan import Plan
from lib.lab.spec import QueryKind
from lib.ui.lab.candidates_table import read_candidates, show_candidates
from lib.ui.lab.controls import Draft, QueryDraft
from lib.ui.lab.experiments import open_experiment
from lib.ui.lab.model import CollectionLab
from lib.ui.shared.markdown import escape
from lib.ui.shared.page import guarded, refresh


def show_new_experiment(lab: CollectionLab, draft: Draft) -> None:
    rows = lab.embedded_rows
    defaults = lab.default_candidates()
    table = read_candidates(defaults, rows)
    plan = lab.plan(table.specs)
    show_candidates(table, plan, defaults, rows, is_busy=lab.is_busy)
    if table.is_valid and plan.possible and _has_queries(draft.queries):
        _offer_to_run(lab, draft, plan)


def _has_queries(queries: QueryDraft) -> bool:
    """Says how to come by some where there are none."""
    if queries.kind is QueryKind.QUERY_SET and not queries.query_set:
        st.info(
            "This collection has no query set yet. Import one with `python -m lib query-sets "
            "import`, drop a file of questions instead, or take rows of the collection.",
            icon=":material/quiz:",
        )
        return False
    if queries.kind is QueryKind.FILE and queries.file is None:
        st.info(
            "Drop a file of questions or of vectors on the left, or take rows of the collection.",
            icon=":material/upload_file:",
        )
        return False
    return True


@guarded
def _offer_to_run(lab: CollectionLab, draft: Draft, plan: Plan) -> None:
    """The button that says how long it will take, or in its place why it cannot be run."""
    spec = draft.spec([candidate.spec for candidate in plan.candidates])
    seconds = lab.expected_seconds(spec, plan)
    is_pressed = st.button(
        f"Run: about {format_duration(max(seconds, 1.0))}",
        key="lab:run",
        type="primary",
        icon=":material/play_arrow:",
        disabled=lab.is_busy,
        help="A job is running: wait for it, or cancel it."
        if lab.is_busy
        else "Builds what is not built yet, finds the true neighbours, measures every setting and "
        "looks for the target. It can be cancelled and gone on with at any time; leaving this page "
        "changes nothing.",
    )
    st.caption(f"{_describe_costs(plan, seconds)} · by {escape(spec.queries.label)}")
    if is_pressed:
        open_experiment(lab.start(spec, name=draft.advanced.name, source=draft.queries.file))
        refresh()


def _describe_costs(plan: Plan, seconds: float) -> str:
    build_seconds = plan.build_seconds
    parts = [f"{format_duration(build_seconds)} to build" if build_seconds else "nothing to build"]
    if plan.disk_bytes:
        parts.append(f"{format_bytes(plan.disk_bytes)} on disk")
    parts.append(f"{format_duration(max(seconds - build_seconds, 0.0))} to measure")
    return " · ".join(parts)
