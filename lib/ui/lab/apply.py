"""The view “Export and apply”: an index with its setting as text to copy, and built on the
collection itself."""

from __future__ import annotations

import streamlit as st

from lib.errors import VecscopeError
from lib.formats import format_ms, format_percent
from lib.lab.artifacts import IndexArtifacts
from lib.lab.experiment import Experiment
from lib.lab.measurement import Measurement
from lib.lab.recommend import Recommendation
from lib.lab.spec import Target
from lib.store.collections import CollectionKind
from lib.store.jobs import Job, JobKind, JobStatus
from lib.ui.lab.model import CollectionLab, ExperimentResults
from lib.ui.shared.jobs import show_ended
from lib.ui.shared.markdown import escape
from lib.ui.shared.page import refresh

_CODE_HEIGHT = 720
_MAX_LINES = 44


def show_export_and_apply(
    lab: CollectionLab, results: ExperimentResults, picked: Measurement
) -> None:
    """The recommendation, or the picked setting, as text; and the button that builds it."""
    choice = _recommended_or_picked(results, picked)
    if choice is None:
        st.info(
            "The exact scan needs no index. Choose a setting of a candidate to export.",
            icon=":material/inbox:",
        )
        return
    export = lab.index_artifacts(results.experiment, choice)
    st.markdown(f"**{escape(choice.headline)}**")
    for note in export.notes:
        st.caption(f":material/info: {escape(note)}")
    _show_texts(export)
    _show_apply(lab, results.experiment, choice, export.sql)


# --- which setting ------------------------------------------------------------------------------


def _recommended_or_picked(
    results: ExperimentResults, picked: Measurement
) -> Recommendation | None:
    """The recommendation; the picked setting where another one is looked at and chosen here. None
    for the exact scan."""
    recommended = results.recommended
    if recommended is not None and (picked is recommended or not _choose_picked(picked)):
        return results.recommendation
    return _chosen_by_hand(results.experiment, picked)


def _choose_picked(picked: Measurement) -> bool:
    return (
        st.segmented_control(
            "Setting to export",
            [False, True],
            format_func=lambda is_picked: picked.label if is_picked else "The recommendation",
            default=False,
            required=True,
            key="lab_results:take_picked",
        )
        is True
    )


def _chosen_by_hand(experiment: Experiment, picked: Measurement) -> Recommendation | None:
    candidate = experiment.facts_of(picked.candidate)
    if candidate is None:
        return None
    headline = f"{candidate.name} with {picked.setting.label}, chosen by hand."
    recall, p95 = format_percent(picked.recall.mean.value), format_ms(picked.latency.p95_ms)
    return Recommendation(
        experiment.spec.target or Target(),
        candidate,
        picked,
        headline,
        (f"Recall@{picked.k} {recall}, p95 {p95}.",),
    )


# --- export -------------------------------------------------------------------------------------


def _show_texts(export: IndexArtifacts) -> None:
    migration, sql, model, query, rationale = st.tabs(
        ["Alembic migration", "SQL", "SQLAlchemy", "Each query (SET LOCAL)", "Rationale"],
        key="lab_results:tabs",
    )
    with migration:
        st.caption(
            "For `migrations/versions`. It builds without locking the table (CONCURRENTLY, outside "
            "of a transaction) and can be taken back; put your last revision in."
        )
        _show_code(export.migration, "python", "add_vector_index.py")
    with sql:
        st.caption("For psql. CONCURRENTLY: reading and writing go on while it builds.")
        _show_code(export.sql, "sql", "create_index.sql")
    with model:
        st.caption("The same index beside your own table definitions.")
        _show_code(export.sqlalchemy, "python", "vector_index.py")
    with query:
        st.caption(
            "Before each query, in its transaction: a pooled connection keeps nothing of it then."
        )
        st.code(export.set_local, language="sql")
        st.caption("The whole transaction, as it was measured:")
        _show_code(export.query, "sql", "query.sql")
    with rationale:
        st.caption("For the pull request, or for who asks why.")
        _show_code(export.recommendation, None, "recommendation.txt")


def _show_code(text: str, language: str | None, file_name: str) -> None:
    st.code(
        text,
        language=language,
        wrap_lines=language is None,
        height="content" if text.count("\n") <= _MAX_LINES else _CODE_HEIGHT,
    )
    st.download_button(
        f"Download {file_name}",
        text,
        file_name=file_name,
        key=f"lab_results:download:{file_name}",
        icon=":material/download:",
        on_click="ignore",
    )


# --- apply --------------------------------------------------------------------------------------


def _show_apply(
    lab: CollectionLab, experiment: Experiment, choice: Recommendation, sql: str
) -> None:
    """The build on the collection itself: first what will be done, then a second yes."""
    collection, last_build = lab.collection, lab.last_job(JobKind.INDEX)
    st.divider()
    st.markdown(f"**Build it on {escape(collection.name)} itself**")
    _show_last_build(last_build)
    if collection.kind is not CollectionKind.MANAGED:
        st.caption(
            "This collection is a table of your own, and is not touched from here: take the SQL or "
            "the migration."
        )
        return
    try:
        lab.check_applicable(choice)
    except VecscopeError as exc:
        st.caption(f"{escape(exc.message)} {escape(exc.hint)}")
        return
    st.caption(
        "Searches go on meanwhile. The index that is there now is dropped once this one is ready. "
        "Afterwards queries of this experiment are asked of the collection itself, to see whether "
        "it finds there what it found here."
    )
    st.code(sql, language="sql", wrap_lines=True)
    is_sure = st.checkbox(
        f"Yes, replace the index of {escape(collection.name)} by this one",
        # Of the next build alone: a yes is not kept for another one.
        key=f"lab_results:sure:{experiment.id}:{last_build and last_build.id}",
    )
    if st.button(
        "Build it there",
        type="primary",
        icon=":material/build:",
        disabled=not is_sure,
        help=None if is_sure else "Tick the box first.",
        key="lab_results:build",
    ):
        lab.apply(experiment, choice)
        refresh()


def _show_last_build(job: Job | None) -> None:
    """Whether the collection itself was certified after the last build, or why nothing was
    built."""
    if job is None or job.active:
        return
    certificate = (job.result or {}).get("certified")
    if job.status is not JobStatus.DONE or certificate is None:
        show_ended(job)
        return
    ended_at = f"{job.finished_at:%d %b %Y %H:%M} UTC" if job.finished_at is not None else ""
    text = f"{escape(str(certificate['words']))} ({ended_at})"
    if certificate["certified"]:
        st.success(text, icon=":material/verified:")
    else:
        st.warning(text, icon=":material/warning:")
