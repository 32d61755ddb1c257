"""A figure on the page: with its title, and its numbers to download."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from lib.ui.lab.figures.series import Picture
from lib.ui.lab.measurement_rows import Row
from lib.ui.shared.markdown import escape


def show_picture(picture: Picture, name: str, *, key: str | None = None, **options: Any) -> None:
    """name: of the file of its numbers, and of the chart where no key is given. options: of
    st.plotly_chart."""
    title, download = st.columns([6, 1], vertical_alignment="center")
    title.markdown(f"**{escape(picture.title)}**")
    with download.container(horizontal_alignment="right"):
        download_rows(picture.rows, name)
    st.plotly_chart(
        picture.figure,
        key=key or name,
        config={"displayModeBar": False},
        alt=picture.alt,
        **options,
    )


def download_rows(rows: Sequence[Row], name: str) -> None:
    st.download_button(
        "Data (csv)",
        partial(_csv, rows),
        file_name=f"{name}.csv",
        mime="text/csv",
        key=f"lab_results:csv:{name}",
        icon=":material/download:",
        type="tertiary",
        on_click="ignore",
        help="The numbers behind this.",
    )


def _csv(rows: Sequence[Row]) -> str:
    return str(pd.DataFrame(list(rows)).to_csv(index=False))
