"""The settings column of the map page: which map, its clusters and colours, the questions, and the
form that builds another map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from lib.formats import format_count, format_duration
from lib.projection.coloring import FIELD_PREFIX, ColorBy
from lib.projection.repository import ProjectionSummary
from lib.projection.settings import (
    CLUSTERS,
    FIRST_MAPS,
    MIN_DIST,
    NEIGHBOURS,
    SAMPLE,
    SEED,
    ClusterMethod,
    ClusterSettings,
    Method,
    ProjectionSettings,
)
from lib.store.collections import CollectionSummary
from lib.ui.map.model import MapModel
from lib.ui.shared.page import refresh
from lib.ui.shared.url_state import by_value
from lib.ui.shared.widgets import choice, number_slider, optional_choice

MAX_QUESTIONS = 20
MAX_NAMES, DEFAULT_NAMES = 60, 14
MAX_NEIGHBOURS_ON_SLIDER = 100


# --- maps ---------------------------------------------------------------------------------------


def map_pickers(
    maps: Sequence[ProjectionSummary],
) -> tuple[ProjectionSummary, ProjectionSummary | None]:
    """The map that is looked at, and perhaps another one to compare with; their ids are in the
    URL."""
    by_id = {str(summary.id): summary for summary in maps}
    current = choice(
        "Map",
        by_value(list(by_id)),
        lambda id_: by_id[id_].name,
        key="map",
        default=str(maps[0].id),
        help_text="The newest comes first.",
    )
    others = [id_ for id_ in by_id if id_ != current]
    if not others:
        return by_id[current], None
    other = optional_choice(
        "Compare with",
        by_value(others),
        lambda id_: by_id[id_].name,
        key="beside",
        placeholder="No other map",
        help_text="A second map of the same collection, with the same selection. What both maps "
        "show is more than chance; what only one shows may come from its layout.",
    )
    return by_id[current], None if other is None else by_id[other]


def cluster_picker() -> ClusterSettings | None:
    """Other clusters than the map was built with; None leaves those."""
    method = choice(
        "Clusters",
        by_value(list(ClusterMethod)),
        _cluster_label,
        key="clusters",
        default=ClusterMethod.HDBSCAN,
        help_text="**Density clusters** (HDBSCAN): dense regions of the map, as many as there are; "
        "what lies between them is in none.  \n**Clusters of the vectors** (k-means): a number "
        "that you choose; every document is in one, and the layout has no influence.",
    )
    match method:
        case ClusterMethod.HDBSCAN:
            return None
        case ClusterMethod.KMEANS:
            count = number_slider(
                "Number of clusters (k)",
                CLUSTERS.low,
                CLUSTERS.high,
                CLUSTERS.default,
                1,
                key="groups",
                help_text="How many clusters k-means makes.",
            )
            return ClusterSettings(ClusterMethod.KMEANS, count=count)
        case _:
            assert_never(method)


def _cluster_label(method: ClusterMethod) -> str:
    match method:
        case ClusterMethod.HDBSCAN:
            return "Density clusters (HDBSCAN)"
        case ClusterMethod.KMEANS:
            return "Clusters of the vectors (k-means)"
        case _:
            assert_never(method)


def color_picker(options: Sequence[str]) -> str:
    """What the colours show."""
    return choice(
        "Colour by",
        by_value(options),
        _color_label,
        key="color",
        default=options[0],
        help_text="**Cluster**: named by its distinctive terms.  \n**Neighbourhood preservation**: "
        "which points lie among their true neighbours, and which only seem to.  \n**Distance to "
        "the question** and **Missed by the index** come when there is a question, or an index was "
        "measured.",
    )


def _color_label(option: str) -> str:
    if option.startswith(FIELD_PREFIX):
        return f"{option.removeprefix(FIELD_PREFIX)} (metadata)"
    return ColorBy(option).label


def names_slider() -> int:
    """How many clusters are named on the map at a time."""
    return number_slider(
        "Names on the map",
        0,
        MAX_NAMES,
        DEFAULT_NAMES,
        1,
        key="names",
        help_text="At most so many at a time, of the largest clusters in sight. Zoom in with the "
        "mouse wheel to see the names of smaller ones, and then the documents' own titles.",
    )


# --- questions ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class QuestionSeries:
    """The questions of a demo, shown one step at a time."""

    texts: tuple[str, ...]
    step: int
    """Which one is the current one, from 0."""

    @property
    def shown(self) -> tuple[str, ...]:
        """Up to the current one, which is the last."""
        return self.texts[: self.step + 1]

    @property
    def current(self) -> str:
        """Empty where there is no question."""
        return self.texts[self.step] if self.texts else ""


def questions_field() -> QuestionSeries:
    """One question a line; with several, a slider for the step."""
    text = st.text_area(
        "Questions",
        key="q",
        bind="query-params",
        height=86,
        placeholder="Ask something, and press Ctrl+Enter. One question a line makes a path.",
        help="A question is placed on the map by the weighted mean of its nearest documents, and "
        "its hits are marked. It was not laid out with the map: its position shows where its hits "
        "are, not more.",
    )
    lines = [line.strip() for line in (text or "").splitlines()]
    texts = tuple(line for line in lines if line)[:MAX_QUESTIONS]
    if len(texts) < 2:
        return QuestionSeries(texts, 0)
    step = number_slider(
        "Step",
        1,
        len(texts),
        1,
        1,
        key="step",
        help_text="Which question is the current one; the dotted line is the path so far.",
    )
    return QuestionSeries(texts, step - 1)


def search_menu() -> DeltaGenerator:
    """The popover with the settings of the search; to be drawn in."""
    return st.popover("Search settings", icon=":material/tune:", width="stretch")


# --- building -----------------------------------------------------------------------------------


def offer_first_map(model: MapModel, summary: CollectionSummary, *, is_building: bool) -> None:
    """Offers to build the first map, and starts it when the button is pressed."""
    if is_building:
        st.caption(
            "The first map is being built. It is shown as soon as it is ready; you can leave the "
            "page meanwhile."
        )
        return
    st.info(
        "There is no map of this collection yet. A map places each document near those that are "
        "like it: you see what the collection is about, which documents are there twice, and where "
        "a question lands.",
        icon=":material/map:",
    )
    documents = format_count(summary.embedded, "document")
    duration = format_duration(model.estimated_seconds(summary, FIRST_MAPS))
    if st.button(
        f"Build the map of {documents} (about {duration})",
        type="primary",
        icon=":material/draw:",
        help="A quick map (PCA) comes first, then the map itself (UMAP), as a job: you can leave "
        "the page meanwhile.",
    ):
        model.build(summary.collection, FIRST_MAPS)
        refresh()


def build_form(model: MapModel, summary: CollectionSummary) -> ProjectionSettings | None:
    """Settings for another map, in a popover; None until the button is pressed."""
    with st.popover("Build another map", icon=":material/draw:"):
        settings = _projection_settings()
        duration = format_duration(model.estimated_seconds(summary, [settings]))
        is_pressed = st.button(
            f"Build (about {duration})", type="primary", key="new_map", icon=":material/draw:"
        )
    return settings if is_pressed else None


def _projection_settings() -> ProjectionSettings:
    method = st.segmented_control(
        "Method",
        list(Method),
        format_func=lambda method: method.label,
        default=Method.UMAP,
        required=True,
        key="new_map_method",
        help="**UMAP** keeps neighbours together and separates clusters.  \n**PCA** turns the "
        "vectors so that most of their variance is seen; it is quick and preserves large distances "
        "better than small ones.",
    )
    n_neighbors, min_dist = NEIGHBOURS.default, MIN_DIST
    if method is Method.UMAP:
        n_neighbors = st.slider(
            "Neighbours that stay together (n_neighbors)",
            NEIGHBOURS.low,
            MAX_NEIGHBOURS_ON_SLIDER,
            NEIGHBOURS.default,
            key="new_map_neighbours",
            help="Few show local structure, many the global one.",
        )
        min_dist = st.slider(
            "How close points may lie (min_dist)",
            0.0,
            1.0,
            MIN_DIST,
            0.05,
            key="new_map_min_dist",
            help="Small values make dense clusters, large ones spread them.",
        )
    is_3d = st.checkbox(
        "Three dimensions",
        key="new_map_solid",
        help="Preserves a little more, and is harder to read: it can be turned, not selected in.",
    )
    limit = st.number_input(
        "Maximum number of documents",
        SAMPLE.low,
        SAMPLE.high,
        SAMPLE.default,
        key="new_map_limit",
        help="A larger collection is sampled, each category by its share.",
    )
    seed = st.number_input(
        "Random seed",
        SEED.low,
        SEED.high,
        SEED.default,
        key="new_map_seed",
        help="The same seed and data give the same map; another one shows what is chance.",
    )
    return ProjectionSettings(
        method=method or Method.UMAP,
        dimensions=3 if is_3d else 2,
        seed=int(seed),
        limit=int(limit),
        n_neighbors=n_neighbors,
        min_dist=min_dist,
    )
