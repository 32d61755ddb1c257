"""The views of a search: the answers, the range of the weight, what a threshold cuts, and the
plan. Only the view that is open is drawn, and costs anything."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import streamlit as st

from lib.search.request import SearchRequest
from lib.search.threshold import Gap
from lib.ui.address import by_value, read_choice, write_choice
from lib.ui.charts import RankLine, distance_strip, weight_chart
from lib.ui.text import count, escape, milliseconds
from lib.vectors.plans import Plan
from lib.vectors.search import Hit, SearchResult

# The weights that the chart draws; more would hide the lines in their own marks.
WEIGHTS = tuple(step / 20 for step in range(21))
MOST_LINES = 12
MOST_RANK = 10


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


def view_picker(*, can_weigh: bool) -> View:
    """The open view, in the address. can_weigh: whether there is a weight to look at."""
    views = [view for view in View if view is not View.WEIGHT or can_weigh]
    named = by_value(views)
    read_choice("view", named, View.RESULTS)
    view = st.segmented_control(
        "View",
        views,
        format_func=lambda found: found.label,
        required=True,
        key="view",
        label_visibility="collapsed",
        help="**Answers**: the documents.  \n**Weight**: how their ranks change as meaning counts "
        "more or less against words.  \n**Plan**: which index answered, and what it cost.  \n"
        "**SQL**: what was asked of PostgreSQL, to copy.",
    )
    assert view is not None
    write_choice("view", named, view, View.RESULTS)
    return view


def show_weight(
    pool: Sequence[Hit],
    ranks: Sequence[Sequence[int]],
    changes: Sequence[float],
    request: SearchRequest,
) -> None:
    """The rank of each document as the weight goes from 0 to 1.

    ranks: for each hit of the pool its rank at each of WEIGHTS. changes: the weights at which
    another document becomes the first.
    """
    best = [min(line) for line in ranks]
    chosen = [place for place in range(len(pool)) if best[place] <= MOST_RANK]
    at_now = min(range(len(WEIGHTS)), key=lambda step: abs(WEIGHTS[step] - request.vector_weight))
    chosen.sort(key=lambda place: ranks[place][at_now])
    lines = [RankLine(pool[place].document.label, ranks[place]) for place in chosen[:MOST_LINES]]
    st.markdown(f"**{_finding(changes)}**")
    st.plotly_chart(
        weight_chart(lines, WEIGHTS, request.vector_weight, changes, MOST_RANK),
        key="weight_chart",
        alt="The rank of each document by the weight of meaning against words",
    )
    st.caption(
        f"The {len(lines)} documents that are among the first {MOST_RANK} at some weight and best "
        "placed at the current one (dashed line). A line that is nearly level does not care about "
        "the weight; triangles mark where the first place changes."
    )


def _finding(changes: Sequence[float]) -> str:
    if not changes:
        return "The same document is first at every weight"
    where = ", ".join(f"{change:.2f}" for change in changes)
    return f"The first place changes {count(len(changes), 'time')}: at weight {where}"


def show_strip(
    distances: Sequence[float], threshold: float, below: int, suggestion: Gap | None
) -> None:
    """What the threshold cuts of this question's nearest documents."""
    st.plotly_chart(
        distance_strip(distances, threshold, suggestion),
        key="distance_strip",
        config={"displayModeBar": False},
        alt="The distances of the nearest documents, and the threshold",
    )
    words = f"{below:,} of this question's {len(distances):,} nearest are below {threshold:g}."
    if suggestion is not None:
        words += (
            f" A suggestion: {suggestion.threshold:.2f}, in the middle of the widest gap "
            f"({suggestion.below:,} below it)."
        )
    st.caption(words)


def show_plan(result: SearchResult, plan: Plan) -> None:
    """Which index answered, and what it cost, in words and numbers; the raw plan below."""
    st.markdown(f"**{escape(plan.summary)}**")
    figures = st.columns(4)
    figures[0].metric(
        "Server time",
        "–" if plan.execution_ms is None else milliseconds(plan.execution_ms),
        help="What PostgreSQL took for the statement alone (EXPLAIN ANALYZE), planning apart.",
    )
    figures[1].metric(
        "Planning",
        "–" if plan.planning_ms is None else milliseconds(plan.planning_ms),
        help="What it took to choose the plan.",
    )
    figures[2].metric(
        "Pages read",
        f"{(plan.buffers_hit or 0) + (plan.buffers_read or 0):,}",
        help=f"Pages of 8 kB that were looked at: {plan.buffers_hit or 0:,} in memory already, "
        f"{plan.buffers_read or 0:,} fetched.",
    )
    figures[3].metric(
        "Thrown away",
        f"{plan.rows_removed_by_filter or 0:,}",
        help="Rows that were read and did not pass a filter.",
    )
    if result.settings:
        st.markdown("Settings of this search:")
        st.code("\n".join(f"{name} = {value}" for name, value in result.settings.items()))
    with st.expander("The plan as PostgreSQL gives it (JSON)"):
        st.json(dict(plan.raw), expanded=3)
