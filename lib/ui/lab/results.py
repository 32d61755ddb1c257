"""What came of an experiment: the answer, the pictures, the worst queries, all measurements, what
to leave with, and how it differs from another one. Only the view that is open is drawn."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from lib.formats import (
    format_bytes,
    format_count,
    format_duration,
    format_ms,
    format_percent,
    format_rate,
    shorten,
)
from lib.lab.artifacts import Takeaway
from lib.lab.diff import Compared
from lib.lab.experiment import Experiment, ExperimentState
from lib.lab.measurement import Measurement, Protocol
from lib.lab.queries import QueryBatch
from lib.lab.recommend import Recommendation, ScoreRow
from lib.lab.repository import ExperimentSummary
from lib.lab.spec import RULES, QueryKind, Target
from lib.search.compare import Preset
from lib.search.filters import CATEGORY, Filter, FilterOp
from lib.search.request import Mode, SearchRequest
from lib.store.collections import Collection
from lib.store.jobs import Job
from lib.ui.lab import figures as lab_charts
from lib.ui.lab.apply import Leaving, show_leaving
from lib.ui.lab.diff import Exports, pick_other, show_compared, show_exports
from lib.ui.lab.figures import Picture, in_order, key_of, label_of, measurement_rows, setting_words
from lib.ui.search.example import LIKE
from lib.ui.shared.links import LinkParams, column_prefix, search_params
from lib.ui.shared.markdown import escape
from lib.ui.shared.url_state import by_value, read_choice, write_choice
from lib.vectors.distance import Distance
from lib.vectors.index_methods import IndexKind
from lib.vectors.tuning import Scan, SearchSettings

WORST = 12
_SHOW, _PICKED, _USUAL = "result", "setting", "lab_results:usual"
_PROTOCOLS_HELP = "  \n".join(f"**{each.value}**: {RULES[each].description}." for each in Protocol)


class View(StrEnum):
    ANSWER = "answer"
    SETTINGS = "settings"
    QUERIES = "queries"
    TABLE = "table"
    TAKE = "take"
    COMPARE = "compare"

    @property
    def label(self) -> str:
        return {
            "answer": "Recall and speed",
            "settings": "By setting",
            "queries": "Query by query",
            "table": "All measurements",
            "take": "Leave with it",
            "compare": "Compare and export",
        }[self.value]


@dataclass(frozen=True, eq=False)
class Results:
    """An experiment and what is made of it. advice: None where no target was set, or nothing was
    found out about it yet. pareto: by rising recall. last_build: the last job that built an index
    on the collection itself."""

    collection: Collection
    experiment: Experiment
    advice: Recommendation | None
    board: Sequence[ScoreRow]
    pareto: Sequence[Measurement]
    last_build: Job | None = None

    @property
    def target(self) -> Target | None:
        return self.experiment.spec.target

    @property
    def recommended(self) -> Measurement | None:
        return None if self.advice is None else self.advice.measurement


@dataclass(frozen=True, eq=False)
class Doors:
    """What the page does for the results, each only when it is asked for; None leaves the part out.

    queries: the experiment's, in the order of its recalls. takeaway: of the recommendation, or of
    a setting that was chosen by hand. check: raises VecscopeError where that cannot be built on
    the collection itself; build: starts to. exports: by file ending. others: experiments to
    compare with; compare: with the one of that id.
    """

    queries: Callable[[], QueryBatch | None]
    takeaway: Callable[[Recommendation], Takeaway] | None = None
    check: Callable[[Recommendation], object] | None = None
    build: Callable[[Recommendation], object] | None = None
    exports: Exports = field(default_factory=dict)
    others: Sequence[ExperimentSummary] = ()
    compare: Callable[[uuid.UUID], Compared] | None = None


def show_experiment(results: Results, doors: Doors) -> None:
    """All of it, also while it still runs."""
    experiment = results.experiment
    _basis(experiment)
    _notes(experiment)
    if experiment.measurements:
        _answer(results)
        view = _view_picker(doors)
        picked = _picked(results)
        match view:
            case View.ANSWER:
                _show_trade(results, picked)
            case View.SETTINGS:
                _show_settings(results, picked)
            case View.QUERIES:
                _show_queries(results, doors, picked)
            case View.TABLE:
                _show_table(results, picked)
            case View.TAKE:
                assert doors.takeaway is not None  # else the view is not offered
                leaving = Leaving(doors.takeaway, doors.check, doors.build, results.last_build)
                show_leaving(results.collection, experiment, results.advice, picked, leaving)
            case View.COMPARE:
                _show_compare(results, doors)
    elif experiment.state is not ExperimentState.RUNNING:
        st.info("Nothing was measured.", icon=":material/inbox:")
    _environment(experiment)


# --- what it is about ---------------------------------------------------------------------------


def _basis(experiment: Experiment) -> None:
    spec, data = experiment.spec, experiment.data
    words = [
        data.queries_described if data is not None else spec.queries.label,
        f"k = {spec.k}",
    ]
    if data is not None:
        words += [
            f"{data.rows:,} rows × {data.dimensions:,} ({data.storage})",
            Distance(data.distance).label,
        ]
    if spec.filters:
        words.append(f"where {' and '.join(map(str, spec.filters))}")
    if data is not None and data.selectivity < 1:
        words.append(f"the filter leaves {format_percent(data.selectivity)} of the rows")
    st.caption(
        f"{escape(' · '.join(words))} · protocol **{spec.protocol.value}**", help=_PROTOCOLS_HELP
    )


def _notes(experiment: Experiment) -> None:
    """What one has to know before one reads a figure."""
    data = experiment.data
    measured = format_count(len(experiment.measurements), "measurement")
    match experiment.state:
        case ExperimentState.FAILED:
            st.error(
                f"**It failed.** {escape(experiment.error)} {escape(experiment.hint)}  \n"
                f"{measured} are kept.",
                icon=":material/error:",
            )
        case ExperimentState.CANCELLED | ExperimentState.INTERRUPTED:
            st.warning(
                f"**It was {experiment.state.value}.** {measured} are kept; it can go on from "
                "there.",
                icon=":material/power_off:",
            )
        case ExperimentState.RUNNING:
            st.info(f"It is being measured: {measured} so far.", icon=":material/pending:")
    if experiment.stale:
        st.warning(
            "**Stale**: the collection was written to since. The figures are of its state then.",
            icon=":material/history:",
        )
    if experiment.changed:
        st.warning(escape(experiment.changed), icon=":material/edit_note:")
    uncertified = [each for each in experiment.measurements if not each.certified]
    if uncertified:
        reasons = dict.fromkeys(each.reason for each in uncertified)
        st.warning(
            f"**{len(uncertified):,} of {measured} are not certified**: they are not the index's, "
            f"are drawn hollow, and win nothing. {escape(next(iter(reasons)))}",
            icon=":material/warning:",
        )
    small = list(data.notes) if data is not None else []
    if data is not None and data.tied:
        small.append(
            f"{format_count(data.tied, 'query', 'queries')} had neighbours at the same "
            "distance as the last: any of them counts as a hit."
        )
    for facts in experiment.facts:
        small += [f"{facts.name}: {notice}" for notice in facts.notices]
    short = sum(each.short > 0 for each in experiment.measurements)
    if short:
        small.append(
            f"With {format_count(short, 'setting')} some queries got fewer rows than there "
            "were to get (column “short” of all measurements)."
        )
    if small:
        st.caption("  \n".join(f":material/info: {escape(each)}" for each in small))


# --- the answer ---------------------------------------------------------------------------------


def _answer(results: Results) -> None:
    advice = results.advice
    if advice is None:
        if results.target is None:
            st.caption("No target was set: this experiment measured settings and no more.")
        return
    with st.container(border=True):
        st.caption(f"Target: {_target_words(advice.target)}")
        st.subheader(escape(advice.headline), anchor=False)
        facts, measurement = advice.winner, advice.measurement
        if facts is not None and measurement is not None:
            recall, latency = measurement.recall, measurement.latency
            by_id = RULES[results.experiment.spec.protocol].by_id
            shown = (
                (
                    f"Recall@{measurement.k}" + (" by id" if by_id else ""),
                    format_percent(recall.id_mean if by_id else recall.mean.value),
                    "The share of just the true neighbours that it found: ties are misses."
                    if by_id
                    else "The share of the true neighbours that it found, ties being hits.",
                ),
                (
                    "p95",
                    format_ms(latency.p95_ms),
                    f"19 of 20 queries are quicker. The median is {format_ms(latency.p50_ms)}.",
                ),
                (
                    "Queries a second",
                    format_rate(measurement.qps.get(1, 0.0)),
                    "With one client that asks one after the other.",
                ),
                ("Index size", format_bytes(facts.index_bytes), "On disk (pg_relation_size)."),
                (
                    "Build",
                    format_duration(facts.build_seconds),
                    "The index alone, on a table that is filled already.",
                ),
            )
            for column, (label, value, help_text) in zip(
                st.columns(len(shown)), shown, strict=True
            ):
                column.metric(label, value, help=help_text)
            st.caption(
                f"95 % interval of the recall{' by distance' if by_id else ''}: "
                f"**{_interval_words(measurement)}**, by bootstrap over "
                f"{format_count(measurement.queries, 'query', 'queries')}"
            )
        # What none can reach is the answer then, and is not hidden.
        with st.expander("The evidence", icon=":material/fact_check:", expanded=facts is None):
            st.markdown("\n".join(f"- {escape(each)}" for each in advice.evidence))


def _interval_words(measurement: Measurement) -> str:
    mean = measurement.recall.mean
    return f"{format_percent(mean.low)} to {format_percent(mean.high)}"


def _target_words(target: Target) -> str:
    words = f"recall of at least {format_percent(target.recall)}"
    if target.p95_ms is not None:
        words += f", p95 of at most {format_ms(target.p95_ms)}"
    return f"{words}; of those that reach it: {target.priority.label.lower()}"


# --- which view, and which setting --------------------------------------------------------------


def _view_picker(doors: Doors) -> View:
    views = [view for view in View if view is not View.TAKE or doors.takeaway is not None]
    named = by_value(views)
    read_choice(_SHOW, named, View.ANSWER)
    view = st.segmented_control(
        "View",
        views,
        format_func=lambda found: found.label,
        required=True,
        key=_SHOW,
        label_visibility="collapsed",
    )
    assert view is not None
    write_choice(_SHOW, named, view, View.ANSWER)
    return view


def _picked(results: Results) -> Measurement:
    """The measurement that is looked at: the recommended one, until another is chosen."""
    options, usual = _options(results), _usual(results)
    if st.session_state.get(_PICKED) == st.session_state.get(_USUAL, usual):
        st.session_state[_PICKED] = usual  # not chosen by hand: while it runs, the best moves on
    st.session_state[_USUAL] = usual
    named = by_value(list(options))
    read_choice(_PICKED, named, usual)
    key: str = st.session_state[_PICKED]
    write_choice(_PICKED, named, key, usual)  # here: not each view has the box
    return options[key]


def _options(results: Results) -> dict[str, Measurement]:
    return {key_of(each): each for each in results.experiment.measurements}


def _usual(results: Results) -> str:
    """Where nothing is recommended, the quickest of those with the best recall."""
    best = results.recommended or max(
        results.experiment.measurements,
        key=lambda each: (
            each.setting.kind is not None,
            each.certified,
            each.recall.mean.value,
            -each.latency.p50_ms,
        ),
    )
    return key_of(best)


def _pick(results: Results) -> None:
    """The box to choose it by; a click into a picture or a table moves it."""
    options = _options(results)
    st.selectbox(
        "The setting to look at",
        list(options),
        format_func=lambda found: label_of(options[found]),
        key=_PICKED,
        help="Or click a point of **Recall and speed**, or a row of **All measurements**.",
    )


def _take_point(key: str) -> None:
    """A click, before anything is drawn."""
    for point in st.session_state[key]["selection"]["points"]:
        named = point.get("customdata")
        if named:
            st.session_state[_PICKED] = named[0]
            return


def _take_row(key: str, keys: Sequence[str]) -> None:
    rows = st.session_state[key]["selection"]["rows"]
    if rows:
        st.session_state[_PICKED] = keys[rows[0]]


def _draw(picture: Picture, name: str, **options: Any) -> None:
    """A picture with its title and its data. name: of the key, and of the file."""
    title, data = st.columns([6, 1], vertical_alignment="center")
    title.markdown(f"**{escape(picture.title)}**")
    with data.container(horizontal_alignment="right"):
        _download_rows(picture.rows, name)
    key = options.pop("key", name)
    st.plotly_chart(
        picture.figure,
        key=key,
        config={"displayModeBar": False},
        alt=picture.alt,
        **options,
    )


def _download_rows(rows: Sequence[Mapping[str, object]], name: str) -> None:
    st.download_button(
        "Data (csv)",
        partial(_csv, rows),
        file_name=f"{name}.csv",
        mime="text/csv",
        key=f"lab_results:csv:{name}",
        icon=":material/download:",
        type="tertiary",
        on_click="ignore",
        help="The figures that this is drawn from.",
    )


def _csv(rows: Sequence[Mapping[str, object]]) -> str:
    return str(pd.DataFrame(list(rows)).to_csv(index=False))


# --- recall and speed ---------------------------------------------------------------------------


def _show_trade(results: Results, picked: Measurement) -> None:
    # A key for each setting: a point that was clicked does not stay selected in the next picture.
    key = f"lab_results:trade:{key_of(picked)}"
    _draw(
        lab_charts.recall_qps(
            results.experiment.measurements,
            results.pareto,
            results.target,
            recommended=results.recommended,
            picked=picked,
        ),
        "recall-qps",
        key=key,
        on_select=partial(_take_point, key),
        selection_mode="points",
    )
    st.caption(
        "Right and up is better. Each point is a setting: click one to look at it below. Its bar "
        "is the 95 % interval, the dashed line the target."
    )
    _pick(results)
    _show_detail(picked)
    _show_board(results)


def _show_detail(measurement: Measurement) -> None:
    recall, latency = measurement.recall, measurement.latency
    with st.container(border=True, gap="small"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(f"**{escape(label_of(measurement))}**", width="content")
            _certified_badge(certified=measurement.certified, reason=measurement.reason)
        server = (
            ""
            if latency.server_ms is None
            else f" · {format_ms(latency.server_ms)} of it in the server"
        )
        rates = " · ".join(
            f"**{format_rate(rate)}** queries/s with {format_count(clients, 'client')}"
            for clients, rate in sorted(measurement.qps.items())
        )
        buffers = (
            ""
            if measurement.buffers is None
            else f" · {measurement.buffers:,} pages of 8 kB touched by the median query"
        )
        st.markdown(
            f"Recall@{measurement.k} **{format_percent(recall.mean.value)}** (95 % interval "
            f"{_interval_words(measurement)}) · worst tenth "
            f"of the queries {format_percent(recall.worst_decile)} · by id "
            f"{format_percent(recall.id_mean)} · "
            f"{format_count(recall.zero, 'query', 'queries')} without a "
            f"hit  \np50 **{format_ms(latency.p50_ms)}** · p95 "
            f"**{format_ms(latency.p95_ms)}** · p99 {format_ms(latency.p99_ms)}{server}  \n"
            f"{rates}{buffers}  \n"
            f"{format_count(measurement.queries, 'query', 'queries')} in "
            f"{format_count(measurement.rounds, 'round')}, {measurement.short:,} got fewer "
            f"rows than there were to get. {escape(measurement.reason)}"
        )


def _certified_badge(*, certified: bool, reason: str) -> None:
    if certified:
        st.badge("Certified", color="green", icon=":material/verified:", help=escape(reason))
    else:
        st.badge(
            "Not certified",
            color="orange",
            icon=":material/warning:",
            help=f"These figures are not the index's. {escape(reason)}",
        )


def _show_board(results: Results) -> None:
    protocol = results.experiment.spec.protocol
    st.markdown(
        "**What each candidate takes to reach a recall**",
        help="The smallest setting that was measured and reaches it. A level counts as reached by "
        "the protocol's own rule.",
    )
    target = results.target
    rows = [_board_row(row) for row in sorted(results.board, key=lambda row: row.level)]
    best = "Quickest answers (p95)" if target is None else target.priority.label
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        column_config={
            "Best": st.column_config.TextColumn(help=f"By: {best}"),
            **{
                name: st.column_config.NumberColumn(format="%.2f")
                for name in ("p50, ms", "p95, ms")
            },
            "Queries/s": st.column_config.NumberColumn(
                format="%.0f", help="With one client that asks one after the other."
            ),
            "Certified": st.column_config.TextColumn(
                help="Whether the plan used the candidate's index."
            ),
        },
        alt="For each candidate and level of recall the smallest setting, its latency, size and "
        "build time",
    )
    st.caption(f"Protocol **{protocol.value}**: {escape(RULES[protocol].description)}.")


def _board_row(row: ScoreRow) -> dict[str, object]:
    found, facts = row.measurement, row.facts
    shown: dict[str, object] = {
        "Recall": f"≥ {format_percent(row.level)}",
        "Best": "★" if row.wins else "",
        "Candidate": row.candidate,
        "Setting": "not reached" if found is None else setting_words(found.setting),
        "p50, ms": None if found is None else found.latency.p50_ms,
        "p95, ms": None if found is None else found.latency.p95_ms,
        "Queries/s": None if found is None else found.qps.get(1),
        "Index": "–" if facts is None else format_bytes(facts.index_bytes),
        "Build": "–" if facts is None else format_duration(facts.build_seconds),
        "Certified": "–" if found is None else "yes" if found.certified else "NO",
    }
    return shown


# --- by setting ---------------------------------------------------------------------------------


def _show_settings(results: Results, picked: Measurement) -> None:
    experiment = results.experiment
    _draw(lab_charts.by_parameter(experiment.measurements, results.target), "by-parameter")
    st.caption(
        "In the lower half the line with points is p50, the thin one above it p95. Dashed: the "
        "target."
    )
    chosen = _at_target(results, picked)
    names = ", ".join(label_of(each) for each in chosen)
    _draw(lab_charts.latency_shares(chosen), "latencies")
    st.caption(
        "The setting of each candidate that reaches the target, and the one that is looked at: "
        f"{escape(names)}. Each query by the median of its rounds; the p95 of the tables is the "
        "median of the rounds' own."
    )
    if any(len(each.qps) > 1 for each in chosen):
        _draw(lab_charts.by_clients(chosen), "clients")
    if experiment.facts:
        _draw(lab_charts.costs(experiment.facts), "costs")


def _at_target(results: Results, picked: Measurement) -> list[Measurement]:
    """One of each candidate: at the target, else at the lowest level of the scoreboard that it
    reaches; and the one that is looked at."""
    level = None if results.target is None else results.target.recall
    found: dict[str, Measurement] = {}
    for outcome in results.experiment.outcomes:
        for each in results.experiment.measurements_of(outcome.candidate):
            if each.setting == outcome.setting:
                found[outcome.candidate] = each
    for row in sorted(results.board, key=lambda row: abs(row.level - (level or row.level))):
        if row.measurement is not None:
            found.setdefault(row.candidate, row.measurement)
    chosen = list(found.values())
    return chosen if any(each is picked for each in chosen) else [*chosen, picked]


# --- query by query -----------------------------------------------------------------------------


def _show_queries(results: Results, doors: Doors, picked: Measurement) -> None:
    _pick(results)
    _draw(lab_charts.recall_histogram(picked), "recalls")
    batch = doors.queries()
    if batch is None:
        st.caption("The queries themselves were not kept.")
        return
    worst = np.argsort(picked.recalls, kind="stable")[:WORST]
    missing = [int(place) for place in worst if picked.recalls[place] < 1]
    if not missing:
        st.success(
            "No query missed a true neighbour with this setting.", icon=":material/done_all:"
        )
        return
    st.markdown("**The worst queries**")
    how = _how_to_look(results, batch)
    if how is None:
        st.caption("They are vectors from a file: there is no document or text of theirs to open.")
    for place in missing:
        with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
            st.markdown(
                f"**{format_percent(float(picked.recalls[place]))}** found, "
                f"{format_ms(float(picked.latencies_ms[place]))}",
                width=190,
            )
            label = escape(shorten(batch.labels[place], 90))
            if how is None:
                st.markdown(label)
                continue
            page, address = how(batch, place, picked)
            st.page_link(
                page,
                label=label,
                icon=":material/arrow_outward:",
                query_params=address,
                help=_LOOK_HELP[page] if results.collection.has_model else _PLAIN_HELP,
            )


_LOOK_HELP = {
    "pages/search.py": "Search by this document, through this very candidate and setting.",
    "pages/compare.py": "What was missed, and the setting that would have found it.",
}
# Without a model Search offers no index to go through.
_PLAIN_HELP = "Search by this document: its true neighbours."


_Look = Callable[[QueryBatch, int, Measurement], tuple[str, LinkParams]]


def _how_to_look(results: Results, batch: QueryBatch) -> _Look | None:
    """Where a query can be looked at: a row of the collection by example, a text side by side."""
    if batch.has_own:
        return partial(_by_example, results)
    if results.experiment.spec.queries.kind is QueryKind.QUERY_SET and results.collection.has_model:
        return partial(_side_by_side, results)
    return None


def _by_example(
    results: Results, batch: QueryBatch, place: int, measurement: Measurement
) -> tuple[str, LinkParams]:
    """Search, through that very candidate, with that very setting and filter."""
    setting, spec = measurement.setting, results.experiment.spec
    others = [
        each
        for each in spec.filters
        if spec.category is None or each != Filter(CATEGORY, FilterOp.EQUALS, spec.category)
    ]
    request = SearchRequest(
        "",
        mode=Mode.SIMILARITY,
        limit=measurement.k,
        category=spec.category,
        filters=tuple(others),
        settings=SearchSettings(
            probes=setting.value if setting.kind is IndexKind.IVFFLAT else None,
            ef_search=setting.value if setting.kind is IndexKind.HNSW else None,
            iterative_scan=setting.iterative_scan if spec.filters else None,
        ),
    )
    address = {**search_params(results.collection.address, request)}
    del address["q"]
    address["scan"] = Scan.EXACT.value if setting.kind is None else measurement.candidate
    return "pages/search.py", {**address, LIKE: str(batch.own_ids[place])}


def _side_by_side(
    results: Results, batch: QueryBatch, place: int, measurement: Measurement
) -> tuple[str, LinkParams]:
    """Compare, which has the x-ray, with that candidate and setting in its column."""
    address = {
        "c": results.collection.address,
        "q": batch.labels[place],
        "k": str(measurement.k),
        "preset": Preset.INDEXES.value,
    }
    kind = measurement.setting.kind
    if kind is not None:
        column = column_prefix(_COLUMNS[kind])
        parameter = "probes" if kind is IndexKind.IVFFLAT else "ef"
        address[f"{column}scan"] = measurement.candidate
        address[f"{column}{parameter}"] = str(measurement.setting.value)
    return "pages/compare.py", address


# Of the preset, whose first is the exact scan.
_COLUMNS = {IndexKind.IVFFLAT: 2, IndexKind.HNSW: 3}


# --- all measurements ---------------------------------------------------------------------------


def _show_table(results: Results, picked: Measurement) -> None:
    measurements = results.experiment.measurements
    ordered, rows = in_order(measurements), measurement_rows(measurements)
    keys = [key_of(each) for each in ordered]
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(
            f"**{format_count(len(rows), 'measurement')}**, by candidate and rising setting. "
            "Click a heading to sort, tick a row to look at it.",
            width="stretch",
        )
        _download_rows(rows, "measurements")
    frame = pd.DataFrame(
        {
            "Candidate": [row["candidate"] for row in rows],
            "Parameter": [row["parameter"] or "–" for row in rows],
            "Value": [row["value"] for row in rows],
            "Iterative scan": [row["iterative_scan"] for row in rows],
            **{label: [row[name] for row in rows] for label, name in _MAIN_COLUMNS},
            **{
                f"Queries/s, {format_count(clients, 'client')}": [
                    each.qps.get(clients) for each in ordered
                ]
                for clients in sorted({number for each in ordered for number in each.qps})
            },
            "Certified": [row["certified"] for row in rows],
            **{label: [row[name] for row in rows] for label, name in _OTHER_COLUMNS},
            "Plan's index": [row["plan_index"] or "none" for row in rows],
        }
    )
    if len({row["iterative_scan"] for row in rows}) == 1:
        frame = frame.drop(columns="Iterative scan")
    key = "lab_results:measurements"
    st.dataframe(
        frame,
        key=key,
        hide_index=True,
        height=min(620, 38 + 35 * len(rows)),
        on_select=partial(_take_row, key, keys),
        selection_mode="single-row",
        column_config={
            **{
                label: st.column_config.NumberColumn(
                    format="%.3f" if label.endswith("ms") else "%.4f"
                )
                for label, _ in (*_MAIN_COLUMNS, *_OTHER_COLUMNS[:3])
            },
            **{
                label: st.column_config.NumberColumn(format="%.1f")
                for label in frame.columns
                if label.startswith("Queries/s")
            },
            "Short": st.column_config.NumberColumn(
                help="Queries that got fewer rows than there were to get."
            ),
        },
        alt="Every measurement with its recall, latency and queries a second",
    )
    _show_detail(picked)


# Heading → name in the rows.
_MAIN_COLUMNS = (
    ("Recall", "recall"),
    ("from", "recall_low"),
    ("to", "recall_high"),
    ("p50, ms", "p50_ms"),
    ("p95, ms", "p95_ms"),
    ("p99, ms", "p99_ms"),
)
_OTHER_COLUMNS = (
    ("Server, ms", "server_ms"),
    ("Recall by id", "id_recall"),
    ("Worst tenth", "worst_decile_recall"),
    ("Without a hit", "zero_recall_queries"),
    ("Short", "truncated"),
    ("Pages (8 kB)", "buffers"),
    ("Queries", "queries"),
)


def _show_compare(results: Results, doors: Doors) -> None:
    show_exports(results.experiment.name, doors.exports)
    if doors.compare is not None:
        other = pick_other(results.experiment, doors.others)
        if other is not None:
            show_compared(doors.compare(other.id))


# --- the environment ----------------------------------------------------------------------------


def _environment(experiment: Experiment) -> None:
    facts: dict[str, object] = {}
    for name, value in experiment.environment.items():
        if isinstance(value, Mapping):
            facts |= {f"{each} (server)": found for each, found in value.items()}
        else:
            facts[name.replace("_", " ")] = value
    for candidate in experiment.facts:
        facts[f"built: {candidate.name}"] = (
            f"{candidate.rows:,} rows, maintenance_work_mem {candidate.maintenance_work_mem}, "
            f"parallel workers {candidate.parallel_workers}"
            + (", built before this experiment" if candidate.reused else "")
        )
    if not facts:
        return
    with st.expander("Where it was measured", icon=":material/dns:"):
        st.dataframe(
            pd.DataFrame({"": list(facts), "Value": [str(value) for value in facts.values()]}),
            hide_index=True,
            alt="The environment of the experiment",
        )
