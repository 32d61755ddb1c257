"""The views of a search besides its answers: the ranks over the vector weight, what a distance
threshold cuts, the plan, and the export. Only the view that is open is drawn, and costs anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import partial

import streamlit as st

from lib.formats import format_count, format_ms
from lib.search.diagnosis.report import Diagnosis
from lib.search.export import CodeText
from lib.ui.search.figures import RankLine, distance_strip, weight_chart
from lib.ui.search.model import Search, SearchExport, ThresholdPreview
from lib.ui.shared.markdown import escape, laid_out
from lib.ui.shared.url_state import by_value
from lib.ui.shared.widgets import segmented
from lib.vectors.search import Hit

# The weights that the chart draws; more would hide the lines in their own marks.
WEIGHTS = tuple(step / 20 for step in range(21))
MAX_LINES = 12
MAX_RANK = 10


class View(StrEnum):
    """What the right side of the page shows."""

    RESULTS = "results"
    WEIGHT = "weight"
    PLAN = "plan"
    SQL = "sql"

    @property
    def label(self) -> str:
        return {
            "results": "Answers",
            "weight": "Weight",
            "plan": "Plan",
            "sql": "SQL",
        }[self.value]


def view_picker(search: Search) -> View:
    """The open view, in the URL."""
    return segmented(
        "View",
        by_value([view for view in View if view is not View.WEIGHT or search.can_rerank]),
        lambda view: view.label,
        key="view",
        default=View.RESULTS,
        show_label=False,
        help_text="**Answers**: the documents.  \n**Weight**: how their ranks change with the "
        "vector weight.  \n**Plan**: which index answered, and what it cost.  \n**SQL**: what was "
        "asked of PostgreSQL, to copy.",
    )


# --- the weight and the threshold ---------------------------------------------------------------


def show_weight(search: Search) -> None:
    """The rank of each document as the vector weight goes from 0 to 1."""
    weight_ranks, weight = search.weight_ranks(WEIGHTS), search.request.vector_weight
    lines = _rank_lines(search.pool.hits, weight_ranks.ranks.tolist(), weight)
    changes = weight_ranks.changes
    st.markdown(f"**{_finding(changes)}**")
    # A key for each weight: a point that was clicked does not stay selected in the next chart.
    key = f"weight_chart:{weight:g}"
    st.plotly_chart(
        weight_chart(lines, WEIGHTS, weight, changes, MAX_RANK),
        key=key,
        on_select=partial(_take_weight, key),
        selection_mode="points",
        config={"displayModeBar": False},
        alt="The rank of each document by the vector weight",
    )
    st.caption(
        f"The {len(lines)} documents that are among the first {MAX_RANK} at some weight and best "
        "placed at the current one (dashed line). Click a point to take its weight. A line that is "
        "nearly level does not depend on the weight; triangles mark where the first place changes."
    )


def _rank_lines(
    pool: Sequence[Hit], ranks: Sequence[Sequence[int]], weight: float
) -> list[RankLine]:
    """Of the documents that are among the first at some weight, those best placed at this one."""
    at_weight = min(range(len(WEIGHTS)), key=lambda step: abs(WEIGHTS[step] - weight))
    lines = [
        RankLine(hit.document.label, ranks_of_hit)
        for hit, ranks_of_hit in zip(pool, ranks, strict=True)
        if min(ranks_of_hit) <= MAX_RANK
    ]
    lines.sort(key=lambda line: line.ranks[at_weight])
    return lines[:MAX_LINES]


def _take_weight(key: str) -> None:
    """Moves the slider to the point that was clicked; before it is drawn, as a callback."""
    points = st.session_state[key]["selection"]["points"]
    if points:
        st.session_state["w"] = min(WEIGHTS, key=lambda weight: abs(weight - points[0]["x"]))


def _finding(changes: Sequence[float]) -> str:
    if not changes:
        return "The same document is first at every weight"
    where = ", ".join(f"{change:.2f}" for change in changes)
    return f"The first place changes {format_count(len(changes), 'time')}: at weight {where}"


def show_threshold(preview: ThresholdPreview) -> None:
    """What the distance threshold cuts of this question's nearest documents."""
    st.plotly_chart(
        distance_strip(preview.distances, preview.threshold, preview.gap),
        key="distance_strip",
        config={"displayModeBar": False},
        alt="The distances of the nearest documents, and the threshold",
    )
    caption = (
        f"{preview.below:,} of this question's {len(preview.distances):,} nearest are below "
        f"{preview.threshold:g}."
    )
    if preview.gap is not None:
        caption += (
            f" A suggestion: {preview.gap.threshold:.2f}, in the middle of the widest gap "
            f"({preview.gap.below:,} below it)."
        )
    st.caption(caption)


# --- the plan -----------------------------------------------------------------------------------

_SIGNS = {
    True: ":green[:material/check_circle:]",
    False: ":orange[:material/cancel:]",
    None: ":gray[:material/remove:]",
}


def show_diagnosis(diagnosis: Diagnosis, settings: Mapping[str, str]) -> None:
    """Which index answered or why none did, reason by reason; what it cost; the raw plan below.

    settings: those of the search, by PostgreSQL's names.
    """
    st.markdown(f"**{escape(diagnosis.sentence)}**")
    _figures(diagnosis)
    if diagnosis.checks:
        _show_checks(diagnosis)
    if settings:
        st.markdown("**Settings of this search**")
        st.code("\n".join(f"{name} = {value}" for name, value in settings.items()), language=None)
    with st.expander("The plan as PostgreSQL gives it (JSON)", icon=":material/data_object:"):
        st.json(dict(diagnosis.plan.raw), expanded=3)


def _figures(diagnosis: Diagnosis) -> None:
    figures, plan = diagnosis.figures, diagnosis.plan
    hit, read = figures.buffers_hit, figures.buffers_read
    shown = (
        (
            "Server time",
            format_ms(figures.execution_ms),
            "What PostgreSQL took for the statement alone (EXPLAIN ANALYZE), planning apart.",
        ),
        (
            "Planning",
            "–" if plan.planning_ms is None else format_ms(plan.planning_ms),
            "What it took to choose the plan.",
        ),
        (
            "Pages read (buffers)",
            f"{hit + read:,}",
            f"Pages of 8 kB that were looked at: {hit:,} in memory already, {read:,} fetched.",
        ),
        (
            "Rows visited",
            f"{figures.rows_visited:,}",
            "Rows of the table that were looked at, before filters; once for each step that did.",
        ),
        (
            "Removed by filter",
            f"{figures.rows_removed_by_filter:,}",
            "Rows that were read and did not pass a filter.",
        ),
    )
    for column, (label, value, help_text) in zip(st.columns(len(shown)), shown, strict=True):
        column.metric(label, value, help=help_text)


def _show_checks(diagnosis: Diagnosis) -> None:
    """Those that do not hold first: they are why, or what may cost answers."""
    failed = [check for check in diagnosis.checks if check.ok is False]
    if failed:
        st.markdown(
            "**Why no vector index answered**" if diagnosis.reasons else "**What may cost answers**"
        )
        for check in failed:
            with st.container(border=True, gap="small"):
                st.markdown(f"{_SIGNS[False]} **{check.name.label}**: it does not hold.")
                st.markdown(escape(check.words))
                if check.fix:
                    st.markdown(f":material/build: What to do: {escape(check.fix)}")
    others = [check for check in diagnosis.checks if check.ok is not False]
    holding = sum(check.ok is True for check in others)
    label = f"{format_count(holding, 'condition')} of an index search that {_hold(holding)}"
    with st.expander(label, icon=":material/checklist:", expanded=not failed):
        for check in others:
            says = "holds" if check.ok else "does not matter here"
            st.markdown(
                f"{_SIGNS[check.ok]} **{check.name.label}** – {says}. {escape(check.words)}"
            )


def _hold(number: int) -> str:
    return "holds" if number == 1 else "hold"


# --- the export ----------------------------------------------------------------------------


def show_code(search: SearchExport, *, is_reranked: bool) -> None:
    """The search to run elsewhere. is_reranked: whether the page ranks a pool that it fetched."""
    if is_reranked:
        st.caption(
            "This page fetches both sides' candidates once and fuses them itself, so that the "
            "weight moves without the server. The statement here fuses them in SQL, to the same "
            "answer; the command line and the files under Export run just this one."
        )
    as_sql, as_python, as_json, as_command = st.tabs(
        ["SQL", "Python (SQLAlchemy)", "Settings (JSON)", "Command line"], key="code"
    )
    with as_sql:
        st.caption("The whole transaction with its settings and parameters, for psql.")
        _code(
            CodeText(laid_out(search.sql.full), laid_out(search.sql.abbreviated)),
            "sql",
            "search.sql",
            "SQL",
        )
    with as_python:
        st.caption(
            "A program that needs sqlalchemy, pgvector and psycopg, and none of Vecscope. It asks "
            "the database that DATABASE_URL names."
        )
        _code(search.python, "python", "search.py", "Python")
    with as_json:
        st.caption("All settings under stable names, as `search --json` prints them.")
        st.code(search.settings, language="json", height=_CODE_HEIGHT)
        _download(search.settings, "search.json", "JSON")
    with as_command:
        if search.command is None:
            st.info(
                "The command line takes documents and vectors as examples, and no texts.",
                icon=":material/terminal:",
            )
        else:
            st.caption("For a POSIX shell, in Vecscope's folder; with --json for programs.")
            st.code(search.command, language="bash", wrap_lines=True)


_CODE_HEIGHT = 420
_MIMES = {"sql": "application/sql", "py": "text/x-python", "json": "application/json"}


def _code(code: CodeText, language: str, file_name: str, label: str) -> None:
    is_abbreviated = code.full != code.abbreviated
    if is_abbreviated:
        st.caption("The question's vector is abbreviated here. To copy, take the full text below.")
    st.code(code.abbreviated, language=language, height=_CODE_HEIGHT)
    _download(code.full, file_name, label)
    if is_abbreviated:
        with st.expander("In full, to copy", icon=":material/content_copy:"):
            st.code(code.full, language=language, height=200)


def _download(text: str, file_name: str, label: str) -> None:
    st.download_button(
        f"Download ({label})",
        text,
        file_name=file_name,
        mime=_MIMES[file_name.rpartition(".")[2]],
        key=f"download:{file_name}",
        icon=":material/download:",
        on_click="ignore",
    )
