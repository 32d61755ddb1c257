"""To leave the lab with an index: as text to copy, and built on the collection itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from lib.errors import VecscopeError
from lib.formats import format_ms, format_percent
from lib.lab.artifacts import Takeaway
from lib.lab.experiment import Experiment
from lib.lab.measurement import Measurement
from lib.lab.recommend import Recommendation
from lib.lab.spec import Target
from lib.store.collections import Collection, CollectionKind
from lib.store.jobs import Job, JobStatus
from lib.ui.lab.figures import label_of, setting_words
from lib.ui.shared.jobs import show_ended
from lib.ui.shared.markdown import escape
from lib.ui.shared.page import refresh

_CODE_HEIGHT = 720
_MOST_LINES = 44


@dataclass(frozen=True, eq=False)
class Leaving:
    """takeaway: of a recommendation. check: raises VecscopeError where it cannot be built on the
    collection itself; build: starts to; None where that is not offered. last_build: the last job
    that built an index there."""

    takeaway: Callable[[Recommendation], Takeaway]
    check: Callable[[Recommendation], object] | None = None
    build: Callable[[Recommendation], object] | None = None
    last_build: Job | None = None


def show_leaving(
    collection: Collection,
    experiment: Experiment,
    recommended: Recommendation | None,
    picked: Measurement,
    leaving: Leaving,
) -> None:
    """The recommendation, or the setting that is looked at, as text to take; and the button that
    builds it."""
    advice = _advice_to_take(experiment, recommended, picked)
    if advice is None:
        st.info(
            "The exact scan needs no index. Choose a setting of a candidate to leave with it.",
            icon=":material/inbox:",
        )
        return
    taken = leaving.takeaway(advice)
    st.markdown(f"**{escape(advice.headline)}**")
    for note in taken.notes:
        st.caption(f":material/info: {escape(note)}")
    migration, sql, model, query, words = st.tabs(
        ["Alembic migration", "SQL", "SQLAlchemy", "Each query (SET LOCAL)", "In words"],
        key="lab_results:tabs",
    )
    with migration:
        st.caption(
            "For `migrations/versions`. It builds without locking the table (CONCURRENTLY, outside "
            "of a transaction) and can be taken back; put your last revision in."
        )
        _code(taken.migration, "python", "add_vector_index.py")
    with sql:
        st.caption("For psql. CONCURRENTLY: reading and writing go on while it builds.")
        _code(taken.sql, "sql", "create_index.sql")
    with model:
        st.caption("The same index beside your own table definitions.")
        _code(taken.sqlalchemy, "python", "vector_index.py")
    with query:
        st.caption(
            "Before each query, in its transaction: a pooled connection keeps nothing of it then."
        )
        st.code(taken.set_local, language="sql")
        st.caption("The whole of it, as it was measured:")
        _code(taken.query, "sql", "query.sql")
    with words:
        st.caption("For the pull request, or for who asks why.")
        _code(taken.words, None, "recommendation.txt")
    if leaving.check is not None and leaving.build is not None:
        _offer_build(collection, experiment, leaving, advice, taken)


def _code(text: str, language: str | None, file_name: str) -> None:
    st.code(
        text,
        language=language,
        wrap_lines=language is None,
        height="content" if text.count("\n") <= _MOST_LINES else _CODE_HEIGHT,
    )
    st.download_button(
        f"Download {file_name}",
        text,
        file_name=file_name,
        key=f"lab_results:download:{file_name}",
        icon=":material/download:",
        on_click="ignore",
    )


def _advice_to_take(
    experiment: Experiment, recommended: Recommendation | None, picked: Measurement
) -> Recommendation | None:
    """The recommendation, or where another setting is looked at and wanted, that one. None for the
    exact scan."""
    best = None if recommended is None else recommended.measurement
    if best is not None and not _take_picked(best, picked):
        return recommended
    facts = experiment.facts_of(picked.candidate)
    if facts is None:
        return None
    found = (
        f"Recall@{picked.k} {format_percent(picked.recall.mean.value)}, p95 "
        f"{format_ms(picked.latency.p95_ms)}."
    )
    headline = f"{facts.name} with {setting_words(picked.setting)}, chosen by hand."
    return Recommendation(experiment.spec.target or Target(), facts, picked, headline, (found,))


def _take_picked(recommended: Measurement, picked: Measurement) -> bool:
    if picked is recommended:
        return False
    return (
        st.segmented_control(
            "Leave with",
            [False, True],
            format_func=lambda mine: label_of(picked) if mine else "The recommendation",
            default=False,
            required=True,
            key="lab_results:take_picked",
        )
        is True
    )


def _offer_build(
    collection: Collection,
    experiment: Experiment,
    leaving: Leaving,
    advice: Recommendation,
    taken: Takeaway,
) -> None:
    """On the collection itself: what will be done first, then the second yes."""
    assert leaving.check is not None
    assert leaving.build is not None
    st.divider()
    st.markdown(f"**Build it on {escape(collection.name)} itself**")
    _show_last_build(leaving.last_build)
    if collection.kind is not CollectionKind.MANAGED:
        st.caption(
            "This collection is a table of your own, and is not touched from here: take the SQL or "
            "the migration."
        )
        return
    try:
        leaving.check(advice)
    except VecscopeError as exc:
        st.caption(f"{escape(exc.message)} {escape(exc.hint)}")
        return
    st.caption(
        "Searches go on meanwhile. The index that is there now is dropped once this one is ready. "
        "Afterwards queries of this experiment are asked of the collection itself, to see whether "
        "it finds there what it found here."
    )
    st.code(taken.sql, language="sql", wrap_lines=True)
    sure = st.checkbox(
        f"Yes, replace the index of {escape(collection.name)} by this one",
        # Of the next build alone: a yes is not kept for another one.
        key=f"lab_results:sure:{experiment.id}:{leaving.last_build and leaving.last_build.id}",
    )
    if st.button(
        "Build it there",
        type="primary",
        icon=":material/build:",
        disabled=not sure,
        help=None if sure else "Tick the box first.",
        key="lab_results:build",
    ):
        leaving.build(advice)
        refresh()


def _show_last_build(job: Job | None) -> None:
    """What the collection itself was found to answer, or why nothing was built."""
    if job is None or job.active:
        return
    found = (job.result or {}).get("certified")
    if job.status is not JobStatus.DONE or found is None:
        show_ended(job)
        return
    words = escape(str(found["words"]))
    when = f"{job.finished_at:%d %b %Y %H:%M} UTC" if job.finished_at is not None else ""
    if found["certified"]:
        st.success(f"{words} ({when})", icon=":material/verified:")
    else:
        st.warning(f"{words} ({when})", icon=":material/warning:")
