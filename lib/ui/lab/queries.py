"""The view “Query by query”: how the recalls are spread, and where the worst queries can be looked
at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import streamlit as st

from lib.formats import format_ms, format_percent, shorten
from lib.lab.experiment import Experiment
from lib.lab.measurement import Measurement
from lib.lab.queries import QueryBatch
from lib.lab.spec import QueryKind
from lib.search.compare import Preset
from lib.search.filters import CATEGORY, Filter, FilterOp
from lib.search.request import Mode, SearchRequest
from lib.ui.lab.figures.queries import recall_histogram
from lib.ui.lab.measurement import measurement_picker
from lib.ui.lab.model import CollectionLab, ExperimentResults
from lib.ui.lab.picture import show_picture
from lib.ui.search.example import LIKE
from lib.ui.shared.links import LinkParams, column_prefix, search_params
from lib.ui.shared.markdown import escape
from lib.vectors.index_methods import index_methods
from lib.vectors.tuning import Scan

MAX_WORST = 12
_MAX_LABEL = 90

LinkOfQuery = Callable[[int], tuple[str, LinkParams, str]]
"""From a query's number to the page that shows it, the link's parameters, and its help."""


def show_queries(lab: CollectionLab, results: ExperimentResults, picked: Measurement) -> None:
    measurement_picker(results)
    show_picture(recall_histogram(picked), "recalls")
    batch = lab.queries(results.experiment)
    if batch is None:
        st.caption("The queries themselves were not kept.")
        return
    worst_first = np.argsort(picked.recalls, kind="stable")[:MAX_WORST]
    numbers = [int(number) for number in worst_first if picked.recalls[number] < 1]
    if not numbers:
        st.success(
            "No query missed a true neighbour with this setting.", icon=":material/done_all:"
        )
        return
    st.markdown("**The worst queries**")
    link = _link_of_query(lab, results.experiment, batch, picked)
    if link is None:
        st.caption("They are vectors from a file: there is no document or text of theirs to open.")
    for number in numbers:
        _show_query(batch, number, picked, link)


def _show_query(
    batch: QueryBatch, number: int, picked: Measurement, link: LinkOfQuery | None
) -> None:
    recall, latency_ms = float(picked.recalls[number]), float(picked.latencies_ms[number])
    label = escape(shorten(batch.labels[number], _MAX_LABEL))
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        st.markdown(f"**{format_percent(recall)}** found, {format_ms(latency_ms)}", width=190)
        if link is None:
            st.markdown(label)
            return
        page, params, help_text = link(number)
        st.page_link(
            page,
            label=label,
            icon=":material/arrow_outward:",
            query_params=params,
            help=help_text,
        )


def _link_of_query(
    lab: CollectionLab, experiment: Experiment, batch: QueryBatch, picked: Measurement
) -> LinkOfQuery | None:
    """Where queries can be looked at: a row of the collection in Search, by example; a text in
    Compare, side by side. None where they are bare vectors."""
    collection = lab.collection

    def in_search(number: int) -> tuple[str, LinkParams, str]:
        params = _search_params(collection.address, experiment, picked)
        help_text = (
            "Search by this document, through this very candidate and setting."
            if collection.has_model
            else "Search by this document: its true neighbours."  # no index is offered there
        )
        return "pages/search.py", {**params, LIKE: str(batch.own_ids[number])}, help_text

    def in_compare(number: int) -> tuple[str, LinkParams, str]:
        params = _compare_params(collection.address, batch.labels[number], picked)
        help_text = "What was missed, and the setting that would have found it."
        return "pages/compare.py", params, help_text

    if batch.has_own:
        return in_search
    if experiment.spec.queries.kind is QueryKind.QUERY_SET and collection.has_model:
        return in_compare
    return None


def _search_params(collection: str, experiment: Experiment, measurement: Measurement) -> LinkParams:
    """Of Search, through that very candidate, with that very setting and filter."""
    setting, spec = measurement.setting, experiment.spec
    category = spec.category
    own = None if category is None else Filter(CATEGORY, FilterOp.EQUALS, category)
    request = SearchRequest(
        "",
        mode=Mode.SIMILARITY,
        limit=measurement.k,
        category=category,
        filters=tuple(one for one in spec.filters if one != own),
        settings=setting.search_settings(has_iterative_scan=bool(spec.filters)),
    )
    params: dict[str, Any] = {**search_params(collection, request)}
    del params["q"]
    params["scan"] = Scan.EXACT.value if setting.method is None else measurement.candidate
    return params


def _compare_params(collection: str, question: str, measurement: Measurement) -> LinkParams:
    """Of Compare, which has the X-ray, with that candidate and setting in its column."""
    params = {
        "c": collection,
        "q": question,
        "k": str(measurement.k),
        "preset": Preset.INDEXES.value,
    }
    method = measurement.setting.method
    if method is not None:
        # The preset's first column is the exact scan, then there is one for each method.
        column = column_prefix(2 + index_methods().index(method))
        params[f"{column}scan"] = measurement.candidate
        params[f"{column}{method.search_parameter.link}"] = str(measurement.setting.value)
    return params
