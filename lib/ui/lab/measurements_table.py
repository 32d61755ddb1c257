"""The view “All measurements”: a table of them, to sort and to pick from."""

from __future__ import annotations

from functools import partial
from typing import Any, assert_never

import pandas as pd
import streamlit as st

from lib.formats import format_count
from lib.lab.measurement import FIGURES, Figure, FigureUnit, Measurement, RateFigure
from lib.ui.lab.measurement import pick_ticked_row, show_measurement
from lib.ui.lab.measurement_rows import in_order, key_of, measurement_rows
from lib.ui.lab.model import ExperimentResults
from lib.ui.lab.picture import download_rows

_KEY = "lab_results:measurements"
_MAX_HEIGHT, _HEADER_HEIGHT, _ROW_HEIGHT = 620, 38, 35


def show_measurements_table(results: ExperimentResults, picked: Measurement) -> None:
    measurements = in_order(results.experiment.measurements)
    rows = measurement_rows(measurements)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(
            f"**{format_count(len(rows), 'measurement')}**, by candidate and rising setting. "
            "Click a heading to sort, tick a row to look at it.",
            width="stretch",
        )
        download_rows(rows, "measurements")
    # What tells candidates apart at a glance comes first.
    headline = [figure for figure in FIGURES if figure.narrow]
    details = [figure for figure in FIGURES if not figure.narrow]
    rates = RateFigure.of(measurements)
    frame = pd.DataFrame(
        {
            "Candidate": [row["candidate"] for row in rows],
            "Parameter": [row["parameter"] or "–" for row in rows],
            "Value": [row["value"] for row in rows],
            "Iterative scan": [row["iterative_scan"] for row in rows],
            **{figure.heading_with_unit: [row[figure.name] for row in rows] for figure in headline},
            **{rate.heading: [row[rate.name] for row in rows] for rate in rates},
            **{figure.heading_with_unit: [row[figure.name] for row in rows] for figure in details},
        }
    )
    if frame["Iterative scan"].nunique() == 1:
        frame = frame.drop(columns="Iterative scan")
    st.dataframe(
        frame,
        key=_KEY,
        hide_index=True,
        height=min(_MAX_HEIGHT, _HEADER_HEIGHT + _ROW_HEIGHT * len(rows)),
        on_select=partial(pick_ticked_row, _KEY, [key_of(one) for one in measurements]),
        selection_mode="single-row",
        column_config={
            **{figure.heading_with_unit: _column(figure) for figure in FIGURES},
            **{rate.heading: st.column_config.NumberColumn(format="%.1f") for rate in rates},
        },
        alt="Every measurement with its recall, latency and queries a second",
    )
    show_measurement(picked)


def _column(figure: Figure) -> Any:
    """With more digits than elsewhere: here measurements are compared."""
    help_text = figure.help or None
    match figure.unit:
        case FigureUnit.SHARE:
            return st.column_config.NumberColumn(format="%.4f", help=help_text)
        case FigureUnit.MILLISECONDS:
            return st.column_config.NumberColumn(format="%.3f", help=help_text)
        case FigureUnit.PER_SECOND:
            return st.column_config.NumberColumn(format="%.1f", help=help_text)
        case FigureUnit.COUNT:
            return st.column_config.NumberColumn(format="localized", help=help_text)
        case FigureUnit.YES_OR_NO:
            return st.column_config.CheckboxColumn(help=help_text)
        case FigureUnit.TEXT:
            return st.column_config.TextColumn(help=help_text)
        case _:
            assert_never(figure.unit)
