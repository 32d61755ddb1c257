"""The picked measurement: which one it is, the box to pick another, and its numbers."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from lib.formats import format_count, format_ms, format_percent, format_rate
from lib.lab.measurement import Interval, Measurement
from lib.ui.lab.measurement_rows import key_of
from lib.ui.lab.model import ExperimentResults
from lib.ui.shared.markdown import escape
from lib.ui.shared.url_state import by_value, read_choice, write_choice

_PICKED, _DEFAULT = "setting", "lab_results:usual"


def picked_measurement(results: ExperimentResults) -> Measurement:
    """The measurement that the views are about: the recommended one, until another is picked."""
    options, default = _options(results), key_of(_default_measurement(results))
    if st.session_state.get(_PICKED) == st.session_state.get(_DEFAULT, default):
        st.session_state[_PICKED] = default  # not picked by hand: while it runs, the best moves on
    st.session_state[_DEFAULT] = default
    named = by_value(list(options))
    read_choice(_PICKED, named, default)
    key: str = st.session_state[_PICKED]
    write_choice(_PICKED, named, key, default)  # here: not every view has the box
    return options[key]


def _options(results: ExperimentResults) -> dict[str, Measurement]:
    return {key_of(measurement): measurement for measurement in results.experiment.measurements}


def _default_measurement(results: ExperimentResults) -> Measurement:
    """Where nothing is recommended, the quickest of those with the best recall."""
    return results.recommended or max(
        results.experiment.measurements,
        key=lambda measurement: (
            measurement.setting.method is not None,
            measurement.certified,
            measurement.recall.mean.value,
            -measurement.latency.p50_ms,
        ),
    )


def measurement_picker(results: ExperimentResults) -> None:
    """The box to pick a measurement; a click into a figure or a table moves it."""
    options = _options(results)
    st.selectbox(
        "The setting to look at",
        list(options),
        format_func=lambda key: options[key].label,
        key=_PICKED,
        help="Or click a point of **Recall and speed**, or a row of **All measurements**.",
    )


def pick_clicked_point(chart_key: str) -> None:
    """A chart's callback: its points carry the measurement's key (figures.series.hover_data)."""
    for point in st.session_state[chart_key]["selection"]["points"]:
        data = point.get("customdata")
        if data:
            st.session_state[_PICKED] = data[0]
            return


def pick_ticked_row(table_key: str, measurement_keys: Sequence[str]) -> None:
    """A table's callback. measurement_keys: of its rows."""
    rows = st.session_state[table_key]["selection"]["rows"]
    if rows:
        st.session_state[_PICKED] = measurement_keys[rows[0]]


def show_measurement(measurement: Measurement) -> None:
    """Its recall, latency and throughput, and whether it is certified."""
    with st.container(border=True, gap="small"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(f"**{escape(measurement.label)}**", width="content")
            _certified_badge(measurement)
        st.markdown(
            "  \n".join(
                (
                    _describe_recall(measurement),
                    _describe_latency(measurement),
                    _describe_throughput(measurement),
                    _describe_queries(measurement),
                )
            )
        )


def format_interval(interval: Interval) -> str:
    """The ends of a 95 % interval."""
    return f"{format_percent(interval.low)} to {format_percent(interval.high)}"


def _describe_recall(measurement: Measurement) -> str:
    recall = measurement.recall
    return (
        f"Recall@{measurement.k} **{format_percent(recall.mean.value)}** (95 % interval "
        f"{format_interval(recall.mean)}) · worst decile of the queries "
        f"{format_percent(recall.worst_decile)} · by id {format_percent(recall.id_mean)} · "
        f"{format_count(recall.zero, 'query', 'queries')} without a hit"
    )


def _describe_latency(measurement: Measurement) -> str:
    latency = measurement.latency
    percentiles = (
        f"p50 **{format_ms(latency.p50_ms)}** · p95 **{format_ms(latency.p95_ms)}** · "
        f"p99 {format_ms(latency.p99_ms)}"
    )
    if latency.server_ms is None:
        return percentiles
    return f"{percentiles} · {format_ms(latency.server_ms)} of it in the server"


def _describe_throughput(measurement: Measurement) -> str:
    rates = " · ".join(
        f"**{format_rate(rate)}** queries/s with {format_count(clients, 'client')}"
        for clients, rate in sorted(measurement.qps.items())
    )
    if measurement.buffers is None:
        return rates
    return f"{rates} · {measurement.buffers:,} pages of 8 kB touched by the median query"


def _describe_queries(measurement: Measurement) -> str:
    return (
        f"{format_count(measurement.queries, 'query', 'queries')} in "
        f"{format_count(measurement.rounds, 'round')}, {measurement.short:,} got fewer rows than "
        f"there were to get. {escape(measurement.reason)}"
    )


def _certified_badge(measurement: Measurement) -> None:
    reason = escape(measurement.reason)
    if measurement.certified:
        st.badge("Certified", color="green", icon=":material/verified:", help=reason)
    else:
        st.badge(
            "Not certified",
            color="orange",
            icon=":material/warning:",
            help=f"These figures are not the index's. {reason}",
        )
