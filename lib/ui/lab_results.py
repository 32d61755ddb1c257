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

from lib.errors import VecscopeError
from lib.lab.compared import Compared, Difference
from lib.lab.experiment import RULES, Experiment, ExperimentState, QueryKind, Target
from lib.lab.kept import ExperimentSummary
from lib.lab.measurement import Measurement, Protocol
from lib.lab.queries import QueryBatch
from lib.lab.recommend import Recommendation, ScoreRow
from lib.lab.takeaway import Takeaway
from lib.search.request import Mode, SearchRequest
from lib.store.collections import Collection, CollectionKind
from lib.store.jobs import Job, JobStatus
from lib.ui import lab_charts
from lib.ui.address import by_value, read_choice, write_choice
from lib.ui.example import LIKE
from lib.ui.lab_charts import (
    Picture,
    in_order,
    key_of,
    latency_words,
    measurement_rows,
    rate_words,
    recall_words,
    setting_words,
)
from lib.ui.links import Address, search_address
from lib.ui.text import count, duration, escape, size
from lib.vectors.indexes import IndexKind
from lib.vectors.tuning import IterativeScan, SearchSettings

WORST = 12
_SHOW, _PICKED, _WITH, _TAKEN = "show", "m", "with", "take"
_CODE_HEIGHT = 380
_PROTOCOLS_HELP = "  \n".join(f"**{each.value}**: {RULES[each].words}." for each in Protocol)


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
    exports: Mapping[str, Callable[[], str]] = field(default_factory=dict)
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
                _show_takeaway(results, doors, picked)
            case View.COMPARE:
                _show_compare(results, doors)
    elif experiment.state is not ExperimentState.RUNNING:
        st.info("Nothing was measured.", icon=":material/inbox:")
    _environment(experiment)


# --- what it is about ---------------------------------------------------------------------------


def _basis(experiment: Experiment) -> None:
    spec, data = experiment.spec, experiment.data
    words = [
        data.queries_described if data is not None else spec.queries.words,
        f"k = {spec.k}",
    ]
    if data is not None:
        words += [
            f"{data.rows:,} rows × {data.dimensions:,} ({data.storage})",
            f"{data.distance.replace('_', ' ')} distance",
        ]
    if spec.filters:
        words.append(f"where {' and '.join(map(str, spec.filters))}")
    if data is not None and data.selectivity < 1:
        words.append(f"the filter leaves {recall_words(data.selectivity)} of the rows")
    st.caption(
        f"{escape(' · '.join(words))} · protocol **{spec.protocol.value}**", help=_PROTOCOLS_HELP
    )


def _notes(experiment: Experiment) -> None:
    """What one has to know before one reads a figure."""
    data = experiment.data
    measured = count(len(experiment.measurements), "measurement")
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
            f"{count(data.tied, 'query', 'queries')} had neighbours at the same distance as the "
            f"last: any of them counts as a hit."
        )
    for facts in experiment.facts:
        small += [f"{facts.name}: {notice}" for notice in facts.notices]
    short = sum(each.short > 0 for each in experiment.measurements)
    if short:
        small.append(
            f"With {count(short, 'setting')} some queries got fewer rows than there were to get "
            "(column “short” of all measurements)."
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
            shown = (
                (
                    f"Recall@{measurement.k}",
                    recall_words(recall.mean.value),
                    f"95 % interval {_interval_words(measurement)}, by bootstrap over its queries.",
                ),
                (
                    "p95",
                    latency_words(latency.p95_ms),
                    f"19 of 20 queries are quicker. The median is {latency_words(latency.p50_ms)}.",
                ),
                (
                    "Queries a second",
                    rate_words(measurement.qps.get(1, 0.0)),
                    "With one client that asks one after the other.",
                ),
                ("Index size", size(facts.index_bytes), "On disk (pg_relation_size)."),
                (
                    "Build",
                    duration(facts.build_seconds),
                    "The index alone, on a table that is filled already.",
                ),
            )
            for column, (label, value, help_text) in zip(
                st.columns(len(shown)), shown, strict=True
            ):
                column.metric(label, value, help=help_text)
            st.caption(
                f"95 % interval of the recall: **{_interval_words(measurement)}**, over "
                f"{count(measurement.queries, 'query', 'queries')}"
            )
        # What none can reach is the answer then, and is not hidden.
        with st.expander("The evidence", icon=":material/fact_check:", expanded=facts is None):
            st.markdown("\n".join(f"- {escape(each)}" for each in advice.evidence))


def _interval_words(measurement: Measurement) -> str:
    mean = measurement.recall.mean
    return f"{recall_words(mean.low)} to {recall_words(mean.high)}"


def _target_words(target: Target) -> str:
    words = f"recall of at least {recall_words(target.recall)}"
    if target.p95_ms is not None:
        words += f", p95 of at most {latency_words(target.p95_ms)}"
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
    options = _options(results)
    usual = _usual(results)
    read_choice(_PICKED, by_value(list(options)), usual)
    return options[st.session_state[_PICKED]]


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


def _pick(results: Results) -> Measurement:
    """The box to choose it by; a click into a picture or a table moves it."""
    options = _options(results)
    key = st.selectbox(
        "The setting to look at",
        list(options),
        format_func=lambda found: _label(options[found]),
        key=_PICKED,
        help="Or click a point of the picture, or a row of **All measurements**.",
    )
    write_choice(_PICKED, by_value(list(options)), key, _usual(results))
    return options[key]


def _label(measurement: Measurement) -> str:
    return f"{measurement.candidate}, {setting_words(measurement.setting)}"


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
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"**{escape(picture.title)}**", width="stretch")
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
        pd.DataFrame(list(rows)).to_csv(index=False),
        file_name=f"{name}.csv",
        mime="text/csv",
        key=f"lab_results:csv:{name}",
        icon=":material/download:",
        type="tertiary",
        on_click="ignore",
        help="The figures that this is drawn from.",
    )


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
        "Right and up is better. Each point is a setting: click one to look at it below. The bars "
        "are 95 % intervals, the dashed line is the target."
    )
    _show_detail(_pick(results))
    _show_board(results)


def _show_detail(measurement: Measurement) -> None:
    recall, latency = measurement.recall, measurement.latency
    with st.container(border=True, gap="small"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(f"**{escape(_label(measurement))}**", width="content")
            _certified_badge(certified=measurement.certified, reason=measurement.reason)
        server = (
            ""
            if latency.server_ms is None
            else f" · {latency_words(latency.server_ms)} of it in the server"
        )
        rates = " · ".join(
            f"**{rate_words(rate)}** queries/s with {count(clients, 'client')}"
            for clients, rate in sorted(measurement.qps.items())
        )
        buffers = (
            ""
            if measurement.buffers is None
            else f" · {measurement.buffers:,} pages of 8 kB touched by the median query"
        )
        st.markdown(
            f"Recall@{measurement.k} **{recall_words(recall.mean.value)}** (95 % interval "
            f"{_interval_words(measurement)}) · worst tenth "
            f"of the queries {recall_words(recall.worst_decile)} · by id "
            f"{recall_words(recall.id_mean)} · {count(recall.zero, 'query', 'queries')} without a "
            f"hit  \np50 **{latency_words(latency.p50_ms)}** · p95 "
            f"**{latency_words(latency.p95_ms)}** · p99 {latency_words(latency.p99_ms)}{server}  \n"
            f"{rates}{buffers}  \n"
            f"{count(measurement.queries, 'query', 'queries')} in "
            f"{count(measurement.rounds, 'round')}, {measurement.short:,} got fewer rows than "
            f"there were to get. {escape(measurement.reason)}"
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
        help="The quickest setting that was measured and reaches it. A level counts as reached by "
        "the protocol's own rule.",
    )
    target = results.target
    rows = [
        {
            "Recall": f"≥ {recall_words(row.level)}",
            "Candidate": row.candidate,
            "Best": row.wins,
            "Setting": "not reached"
            if row.measurement is None
            else setting_words(row.measurement.setting),
            "p50, ms": row.measurement and row.measurement.latency.p50_ms,
            "p95, ms": row.measurement and row.measurement.latency.p95_ms,
            "Queries/s": row.measurement and row.measurement.qps.get(1),
            "Index": "–" if row.facts is None else size(row.facts.index_bytes),
            "Build, s": row.facts and row.facts.build_seconds,
            "Certified": row.measurement and row.measurement.certified,
        }
        for row in sorted(results.board, key=lambda row: row.level)
    ]
    best = "Quickest answers (p95)" if target is None else target.priority.label
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        column_config={
            "Recall": st.column_config.TextColumn(width="small"),
            "Candidate": st.column_config.TextColumn(width="medium"),
            "Best": st.column_config.CheckboxColumn(help=f"By: {best}", width="small"),
            **{
                name: st.column_config.NumberColumn(format="%.2f", width="small")
                for name in ("p50, ms", "p95, ms", "Build, s")
            },
            "Queries/s": st.column_config.NumberColumn(format="%.0f", width="small"),
            "Index": st.column_config.TextColumn(width="small"),
            "Certified": st.column_config.CheckboxColumn(
                help="The plan used the candidate's index.", width="small"
            ),
        },
        alt="For each candidate and level of recall the quickest setting, its latency, size and "
        "build time",
    )
    st.caption(f"Protocol **{protocol.value}**: {escape(RULES[protocol].words)}.")


# --- by setting ---------------------------------------------------------------------------------


def _show_settings(results: Results, picked: Measurement) -> None:
    experiment = results.experiment
    _draw(lab_charts.by_parameter(experiment.measurements, results.target), "by-parameter")
    st.caption("Below, p50 is the strong line and p95 the faint one.")
    chosen = _at_target(results, picked)
    names = ", ".join(_label(each) for each in chosen)
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
                f"**{recall_words(float(picked.recalls[place]))}** found, "
                f"{latency_words(float(picked.latencies_ms[place]))}",
                width=190,
            )
            label = escape(_short(batch.labels[place]))
            if how is None:
                st.markdown(label)
                continue
            page, address = how(batch, place, picked)
            st.page_link(
                page,
                label=label,
                icon=":material/arrow_outward:",
                query_params=address,
                help="What was missed, and the setting that would have found it.",
            )


def _short(label: str, characters: int = 90) -> str:
    one_line = " ".join(label.split())
    return one_line if len(one_line) <= characters else f"{one_line[: characters - 1].rstrip()}…"


_Look = Callable[[QueryBatch, int, Measurement], tuple[str, Address]]


def _how_to_look(results: Results, batch: QueryBatch) -> _Look | None:
    """Where a query can be looked at: a row of the collection by example, a text side by side."""
    collection, experiment = results.collection, results.experiment
    if batch.has_own:
        return partial(_by_example, collection)
    if experiment.spec.queries.kind is QueryKind.QUERY_SET and collection.has_model:
        return partial(_side_by_side, collection)
    return None


def _by_example(
    collection: Collection, batch: QueryBatch, place: int, measurement: Measurement
) -> tuple[str, Address]:
    """Search, through that very candidate and with that very setting."""
    address = {**search_address(collection.address, _request("", measurement))}
    address.pop("q", None)
    if measurement.setting.kind is not None:
        address["scan"] = measurement.candidate
    return "pages/search.py", {**address, LIKE: str(batch.own_ids[place])}


def _side_by_side(
    collection: Collection, batch: QueryBatch, place: int, measurement: Measurement
) -> tuple[str, Address]:
    """Compare, which has the x-ray."""
    return "pages/compare.py", {
        "c": collection.address,
        "q": batch.labels[place],
        "k": str(measurement.k),
        "preset": "indexes",
    }


def _request(query: str, measurement: Measurement) -> SearchRequest:
    setting = measurement.setting
    return SearchRequest(
        query,
        mode=Mode.SIMILARITY,
        limit=measurement.k,
        settings=SearchSettings(
            probes=setting.value if setting.kind is IndexKind.IVFFLAT else None,
            ef_search=setting.value if setting.kind is IndexKind.HNSW else None,
            iterative_scan=None
            if setting.iterative_scan is IterativeScan.OFF
            else setting.iterative_scan,
        ),
    )


# --- all measurements ---------------------------------------------------------------------------


def _show_table(results: Results, picked: Measurement) -> None:
    measurements = results.experiment.measurements
    rows = measurement_rows(measurements)
    keys = [key_of(each) for each in in_order(measurements)]
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(
            f"**{count(len(rows), 'measurement')}**, by candidate and rising setting. Click a "
            "heading to sort, tick a row to look at it.",
            width="stretch",
        )
        _download_rows(rows, "measurements")
    frame = pd.DataFrame(
        {
            "Candidate": [row["candidate"] for row in rows],
            "Parameter": [row["parameter"] or "–" for row in rows],
            "Value": [row["value"] for row in rows],
            "Iterative scan": [row["iterative_scan"] for row in rows],
            "Certified": [row["certified"] for row in rows],
            **{label: [row[name] for row in rows] for label, name in _RECALL_COLUMNS + _MS_COLUMNS},
            **{
                f"Queries/s, {count(clients, 'client')}": [
                    row.get(f"qps_{clients}_{'client' if clients == 1 else 'clients'}")
                    for row in rows
                ]
                for clients in sorted({n for each in measurements for n in each.qps})
            },
            "Short": [row["short_queries"] for row in rows],
            "Pages (8 kB)": [row["buffers"] for row in rows],
            "Queries": [row["queries"] for row in rows],
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
            **{label: st.column_config.NumberColumn(format="%.4f") for label, _ in _RECALL_COLUMNS},
            **{label: st.column_config.NumberColumn(format="%.3f") for label, _ in _MS_COLUMNS},
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


_RECALL_COLUMNS = (
    ("Recall", "recall"),
    ("from", "recall_low"),
    ("to", "recall_high"),
    ("Recall by id", "id_recall"),
    ("Worst tenth", "worst_decile_recall"),
)
_MS_COLUMNS = (
    ("p50, ms", "p50_ms"),
    ("p95, ms", "p95_ms"),
    ("p99, ms", "p99_ms"),
    ("Server, ms", "server_ms"),
)


# --- to leave with ------------------------------------------------------------------------------


def _show_takeaway(results: Results, doors: Doors, picked: Measurement) -> None:
    assert doors.takeaway is not None
    advice = _advice_to_take(results, picked)
    if advice is None:
        st.info(
            "The exact scan needs no index. Choose a setting of a candidate to leave with it.",
            icon=":material/inbox:",
        )
        return
    taken = doors.takeaway(advice)
    st.markdown(f"**{escape(advice.headline)}**")
    for note in taken.notes:
        st.caption(f":material/info: {escape(note)}")
    parts = (
        ("Alembic migration", taken.migration, "python", "add_vector_index.py", _MIGRATION_WORDS),
        ("SQL", taken.sql, "sql", "create_index.sql", _SQL_WORDS),
        ("SQLAlchemy", taken.sqlalchemy, "python", "index.py", _SQLALCHEMY_WORDS),
        ("Each query", f"{taken.set_local}\n{taken.query}", "sql", "query.sql", _QUERY_WORDS),
        ("In words", taken.words, None, "recommendation.txt", _WORDS_WORDS),
    )
    for tab, (label, text, language, file_name, words) in zip(
        st.tabs([label for label, *_ in parts], key="lab_results:tabs"), parts, strict=True
    ):
        with tab:
            st.caption(words)
            st.code(
                text,
                language=language,
                wrap_lines=language is None,
                height=_CODE_HEIGHT if text.count("\n") > 18 else "content",
            )
            st.download_button(
                f"Download ({label})",
                text,
                file_name=file_name,
                key=f"lab_results:download:{file_name}",
                icon=":material/download:",
                on_click="ignore",
            )
    if doors.check is not None and doors.build is not None:
        _offer_build(results, doors, advice, taken)


_MIGRATION_WORDS = (
    "For `migrations/versions`: builds without locking the table (CONCURRENTLY, outside of a "
    "transaction), and can be taken back. Set `down_revision` to your last revision."
)
_SQL_WORDS = "For psql. CONCURRENTLY: reading and writing go on while it builds."
_SQLALCHEMY_WORDS = "The same index beside your own table definitions."
_QUERY_WORDS = "The settings hold for one transaction: a pooled connection keeps nothing of them."
_WORDS_WORDS = "For the pull request, or for who asks why."


def _advice_to_take(results: Results, picked: Measurement) -> Recommendation | None:
    """The recommendation, or where another setting is looked at, that one."""
    recommended = results.recommended
    if recommended is not None and not _take_picked(recommended, picked):
        return results.advice
    facts = results.experiment.facts_of(picked.candidate)
    if facts is None:
        return None
    found = (
        f"Recall@{picked.k} {recall_words(picked.recall.mean.value)}, p95 "
        f"{latency_words(picked.latency.p95_ms)}."
    )
    headline = f"{facts.name} with {setting_words(picked.setting)}, chosen by hand."
    return Recommendation(results.target or Target(), facts, picked, headline, (found,))


def _take_picked(recommended: Measurement, picked: Measurement) -> bool:
    if picked is recommended:
        return False
    return (
        st.segmented_control(
            "Leave with",
            [False, True],
            format_func=lambda mine: _label(picked) if mine else "The recommendation",
            default=False,
            required=True,
            key="lab_results:take_picked",
        )
        is True
    )


def _offer_build(results: Results, doors: Doors, advice: Recommendation, taken: Takeaway) -> None:
    """On the collection itself: what will be done first, then the second yes."""
    assert doors.check is not None
    assert doors.build is not None
    collection = results.collection
    st.divider()
    st.markdown(f"**Build it on {escape(collection.name)} itself**")
    _show_last_build(results.last_build)
    if collection.kind is not CollectionKind.MANAGED:
        st.caption(
            "This collection is a table of your own, and is not touched from here: take the SQL or "
            "the migration."
        )
        return
    try:
        doors.check(advice)
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
        key=f"lab_results:sure:{results.experiment.id}",
    )
    if st.button(
        "Build it there",
        type="primary",
        icon=":material/build:",
        disabled=not sure,
        help=None if sure else "Tick the box first.",
        key="lab_results:build",
    ):
        doors.build(advice)


def _show_last_build(job: Job | None) -> None:
    """What the collection itself was found to answer."""
    found = ((job.result if job is not None else None) or {}).get("certified")
    if job is None or job.status is not JobStatus.DONE or found is None:
        return
    words = escape(str(found["words"]))
    when = f"{job.finished_at:%d %b %Y %H:%M} UTC" if job.finished_at is not None else ""
    if found["certified"]:
        st.success(f"{words} ({when})", icon=":material/verified:")
    else:
        st.warning(f"{words} ({when})", icon=":material/warning:")


# --- compare and export -------------------------------------------------------------------------

_EXPORTS = {
    "json": ("JSON, for programs", "application/json"),
    "csv": ("Measurements (csv)", "text/csv"),
    "html": ("One page (HTML)", "text/html"),
}


def _show_compare(results: Results, doors: Doors) -> None:
    if doors.exports:
        st.markdown("**Take the experiment along**")
        with st.container(horizontal=True, gap="small"):
            for ending, make in doors.exports.items():
                label, mime = _EXPORTS[ending]
                st.download_button(
                    label,
                    make,
                    file_name=f"{_file_stem(results.experiment.name)}.{ending}",
                    mime=mime,
                    key=f"lab_results:export:{ending}",
                    icon=":material/download:",
                    on_click="ignore",
                )
        st.caption(
            "The HTML page holds all of it, its pictures too, and needs neither Vecscope nor the "
            "network: for people without access."
        )
    others = {str(each.id): each for each in doors.others if each.id != results.experiment.id}
    if doors.compare is None:
        return
    st.markdown("**Compare with an earlier or later experiment**")
    if not others:
        st.caption("There is no other experiment on this collection yet.")
        return
    read_choice(_WITH, by_value(list(others)), None)
    other = st.selectbox(
        "The other experiment",
        list(others),
        format_func=lambda found: f"{others[found].name} ({others[found].created_at:%d %b %H:%M})",
        index=None,
        key=_WITH,
        placeholder="Choose one",
    )
    write_choice(_WITH, by_value(list(others)), other, None)
    if other is not None:
        _show_compared(doors.compare(others[other].id))


def _file_stem(name: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in name).split()) or "experiment"


def _show_compared(compared: Compared) -> None:
    before, after = escape(compared.before.name), escape(compared.after.name)
    st.caption(f"Before: **{before}** · after: **{after}**")
    if compared.comparable:
        st.markdown("The same was asked of the same data.")
    else:
        st.warning(
            "Not the same was asked, or not of the same data: a difference below may come of that.",
            icon=":material/compare_arrows:",
        )
    for title, differences in (
        ("What was asked", compared.asked),
        ("The data", compared.data),
        ("The environment", compared.environment),
    ):
        if differences:
            st.markdown(f"**{title}**")
            _table_of_differences(differences, title)
    only = [
        f"only {which}: {escape(', '.join(texts))}"
        for which, texts in (("before", compared.only_before), ("after", compared.only_after))
        if texts
    ]
    if only:
        st.caption("Candidates " + "; ".join(only))
    if not compared.measurements:
        st.info("No setting was measured in both.", icon=":material/inbox:")
        return
    apart = sum(each.recall_apart for each in compared.measurements)
    st.markdown(f"**{_compared_title(compared, apart)}**")
    st.dataframe(
        pd.DataFrame(
            [
                {
                    "Candidate": each.candidate,
                    "Setting": setting_words(each.setting),
                    "Recall before": each.before.recall.mean.value,
                    "after": each.after.recall.mean.value,
                    "Change": each.recall_change,
                    "Beyond chance": each.recall_apart,
                    "p50 before, ms": each.before.latency.p50_ms,
                    "p50 after, ms": each.after.latency.p50_ms,
                    "p50 ratio": each.p50_ratio,
                    "p95 ratio": each.p95_ratio,
                }
                for each in compared.measurements
            ]
        ),
        hide_index=True,
        column_config={
            **{
                name: st.column_config.NumberColumn(format="%.4f")
                for name in ("Recall before", "after")
            },
            "Change": st.column_config.NumberColumn(format="%+.4f"),
            "Beyond chance": st.column_config.CheckboxColumn(
                help="The two 95 % intervals do not meet."
            ),
            **{
                name: st.column_config.NumberColumn(format="%.3f")
                for name in ("p50 before, ms", "p50 after, ms")
            },
            **{
                name: st.column_config.NumberColumn(format="%.2f ×", help="After / before.")
                for name in ("p50 ratio", "p95 ratio")
            },
        },
        alt="Settings that were measured in both experiments, with recall and latency",
    )
    st.markdown("**What is advised**")
    st.markdown(
        f"- before: {escape(compared.advice.before)}\n- after: {escape(compared.advice.after)}"
    )


def _compared_title(compared: Compared, apart: int) -> str:
    both = count(len(compared.measurements), "setting")
    ratio = float(np.median([each.p50_ratio for each in compared.measurements]))
    recall = "recall differs beyond chance in none" if not apart else f"recall differs in {apart:,}"
    return f"Of {both} in both, {recall}; the median latency is {ratio:.2f} × that of before"


def _table_of_differences(differences: Sequence[Difference], title: str) -> None:
    st.dataframe(
        pd.DataFrame(
            [{"": each.name, "Before": each.before, "After": each.after} for each in differences]
        ),
        hide_index=True,
        alt=f"{title}: what differs",
    )


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
