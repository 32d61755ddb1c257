"""The map page: its settings, the picture and what is selected on it.

What was selected is kept with the map that it is on, and in the address as long as it is short.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from lib.formats import format_count, format_duration
from lib.projection.coloring import FIELD_PREFIX, ColorBy
from lib.projection.repository import ProjectionSummary
from lib.projection.settings import (
    CLUSTERS,
    NEIGHBOURS,
    SAMPLE,
    SEED,
    ClusterMethod,
    ClusterSettings,
    Method,
    ProjectionSettings,
)
from lib.ui.map.figures import SOLID
from lib.ui.map.map_layer import show_layer
from lib.ui.map.model import Question
from lib.ui.shared.markdown import escape
from lib.ui.shared.url_state import by_value, read_choice, write_choice

MOST_IN_ADDRESS = 20
MOST_QUESTIONS = 20
MOST_NAMES, USUAL_NAMES = 60, 14
_CHART = "map_chart"
_CHOSEN = "map:chosen"
_ZOOM = "zoom"
_ADDRESS = "sel"
# Of the nearest documents around a question, in widths of the map (lib.projection.placing).
FAR_SPREAD = 0.1


Place = Any  # of Streamlit's: what is drawn in it


# --- settings -----------------------------------------------------------------------------------


def map_pickers(maps: Sequence[ProjectionSummary]) -> list[ProjectionSummary]:
    """The map that is looked at, and perhaps another one beside it; their ids are in the
    address."""
    ids = {str(each.id): each for each in maps}
    names, usual = by_value(list(ids)), str(maps[0].id)
    read_choice("map", names, usual)
    current = st.selectbox(
        "Map",
        list(ids),
        format_func=lambda each: ids[each].name,
        key="map",
        help="The newest comes first.",
    )
    write_choice("map", names, current, usual)
    others = [each for each in ids if each != current]
    if not others:
        return [ids[current]]
    read_choice("beside", by_value(others), None)
    beside = st.selectbox(
        "Beside it",
        others,
        index=None,
        format_func=lambda each: ids[each].name,
        placeholder="No other map",
        key="beside",
        help="A second map of the same collection, with the same selection. What two maps show "
        "alike is more than chance; what only one shows may be the layout's.",
    )
    write_choice("beside", by_value(others), beside, None)
    return [ids[current]] + ([ids[beside]] if beside is not None else [])


def places(answer: Any, views: Sequence[object]) -> list[Any]:
    """Where each map is drawn."""
    with answer:
        return list(st.columns(len(views)))


def cluster_picker() -> ClusterSettings | None:
    """Other clusters than the map was drawn with; None leaves those."""
    named = by_value(list(ClusterMethod))
    read_choice("clusters", named, ClusterMethod.HDBSCAN)
    method = st.selectbox(
        "Clusters",
        list(ClusterMethod),
        format_func=lambda each: _CLUSTER_LABELS[each],
        key="clusters",
        help="**Crowds on the map** (HDBSCAN): as many as there are, and what lies between them is "
        "in none.  \n**Groups of the vectors** (k-means): a number that you choose; every document "
        "is in one, and the layout has no say in it.",
    )
    write_choice("clusters", named, method, ClusterMethod.HDBSCAN)
    if method is not ClusterMethod.KMEANS:
        return None
    kmeans_clusters = st.slider(
        "Groups (k)",
        CLUSTERS.low,
        CLUSTERS.high,
        CLUSTERS.default,
        key="groups",
        bind="query-params",
        help="How many groups k-means makes.",
    )
    return ClusterSettings(ClusterMethod.KMEANS, count=kmeans_clusters)


_CLUSTER_LABELS = {
    ClusterMethod.HDBSCAN: "Crowds on the map (HDBSCAN)",
    ClusterMethod.KMEANS: "Groups of the vectors (k-means)",
}


def color_picker(options: Sequence[str]) -> str:
    """What the colours say."""
    named = by_value(options)
    read_choice("color", named, options[0])
    chosen = st.selectbox(
        "Colour by",
        list(options),
        format_func=_color_label,
        key="color",
        help="**Cluster**: crowds on the map (HDBSCAN), named after the words that set them "
        "apart.  \n**Neighbours kept**: which points stand among their true neighbours, and which "
        "only seem to.  \n**Distance to the question** and **Lost by the index** come when there "
        "is a question, or an index was tried.",
    )
    write_choice("color", named, chosen, options[0])
    return str(chosen)


def _color_label(option: str) -> str:
    if option.startswith(FIELD_PREFIX):
        return f"{option.removeprefix(FIELD_PREFIX)} (metadata)"
    return ColorBy(option).label


def search_menu() -> Any:
    """Where the settings of the search are; to be drawn in."""
    return st.popover("How to search", icon=":material/tune:", width="stretch")


def zoomed() -> bool:
    """Whether the map shows the selection alone."""
    return bool(st.session_state.get(_ZOOM, st.query_params.get(_ZOOM) == "true"))


def zoom_toggle() -> None:
    """Whether to show the selection alone."""
    st.toggle("Zoom to them", key=_ZOOM, bind="query-params", width="content")


def names_slider() -> int:
    """How many clusters are named on the map."""
    return st.slider(
        "Names on the map",
        0,
        MOST_NAMES,
        USUAL_NAMES,
        key="names",
        bind="query-params",
        help="At most so many at a time, of the largest clusters in sight. Zoom in with the mouse "
        "wheel, and smaller ones have their turn; nearer still, the documents' own titles.",
    )


@dataclass(frozen=True)
class Questions:
    """The questions of a demo. step: which one is asked now, from 0."""

    texts: tuple[str, ...]
    step: int

    @property
    def asked(self) -> tuple[str, ...]:
        """Up to the one that is asked now, which is the last."""
        return self.texts[: self.step + 1]

    @property
    def now(self) -> str:
        """Empty where nothing is asked."""
        return self.texts[self.step] if self.texts else ""


def questions_field() -> Questions:
    """One question a line; with several, a step at a time."""
    text = st.text_area(
        "Questions",
        key="q",
        bind="query-params",
        height=86,
        placeholder="Ask something, and press Ctrl+Enter. One question a line makes a path.",
        help="A question is placed on the map by the weighted mean of its nearest documents, and "
        "its answers light up. It was not laid out with the map: its place says where its "
        "answers are, not more.",
    )
    texts = tuple(line.strip() for line in (text or "").splitlines() if line.strip())
    texts = texts[:MOST_QUESTIONS]
    if len(texts) < 2:
        return Questions(texts, 0)
    step = st.slider(
        "Step",
        1,
        len(texts),
        1,
        key="step",
        bind="query-params",
        help="Which question is asked; the dotted line is the path so far.",
    )
    return Questions(texts, step - 1)


# --- building -----------------------------------------------------------------------------------


def offer_map(documents: int, seconds: float, *, busy: bool) -> bool:
    """There is no map yet; true where one is to be drawn. busy: one is being drawn."""
    if busy:
        st.caption(
            "The first map is being drawn. It is shown as soon as it is there; you can leave the "
            "page meanwhile."
        )
        return False
    st.info(
        "There is no map of this collection yet. A map puts each document near those that are "
        "like it: you see what the collection is about, what is there twice, and where a "
        "question lands.",
        icon=":material/map:",
    )
    return st.button(
        f"Draw the map of {format_count(documents, 'document')} (about {format_duration(seconds)})",
        type="primary",
        icon=":material/draw:",
        help="A quick picture (PCA) comes first, then the map itself (UMAP), as a job: you can "
        "leave the page meanwhile.",
    )


def build_form(
    seconds: Callable[[ProjectionSettings], float],
) -> tuple[ProjectionSettings, ...]:
    """Another map with settings of one's own, in a popover; none until the button is pressed."""
    with st.popover("Draw another map", icon=":material/draw:"):
        method = st.segmented_control(
            "Method",
            list(Method),
            format_func=lambda each: each.label,
            default=Method.UMAP,
            required=True,
            key="new_map_method",
            help="**UMAP** keeps neighbours together and draws crowds apart.  \n**PCA** turns the "
            "vectors so that most of their spread is seen; it is quick and keeps the large "
            "distances better than the small ones.",
        )
        neighbours, min_dist = NEIGHBOURS.default, 0.1
        if method is Method.UMAP:
            neighbours = st.slider(
                "Neighbours that stay together (n_neighbors)",
                NEIGHBOURS.low,
                100,
                NEIGHBOURS.default,
                key="new_map_neighbours",
                help="Few show fine structure, many the whole.",
            )
            min_dist = st.slider(
                "How close points may lie (min_dist)",
                0.0,
                1.0,
                0.1,
                0.05,
                key="new_map_min_dist",
                help="Small values draw dense crowds, large ones spread them.",
            )
        is_3d = st.checkbox(
            "Three dimensions",
            key="new_map_solid",
            help="Keeps a little more, and is harder to read: it can be turned, not selected in.",
        )
        limit = st.number_input(
            "At most so many documents",
            SAMPLE.low,
            SAMPLE.high,
            SAMPLE.default,
            key="new_map_limit",
            help="A larger collection is sampled, each category by its share.",
        )
        seed = st.number_input(
            "Seed", SEED.low, SEED.high, SEED.default, key="new_map_seed",
            help="The same seed and data give the same map; another one shows what is chance.",
        )  # fmt: skip
        settings = ProjectionSettings(
            method=method or Method.UMAP,
            dimensions=3 if is_3d else 2,
            seed=int(seed),
            limit=int(limit),
            n_neighbors=neighbours,
            min_dist=min_dist,
        )
        pressed = st.button(
            f"Draw (about {format_duration(seconds(settings))})",
            type="primary",
            key="new_map",
            icon=":material/draw:",
        )
    return (settings,) if pressed else ()


# --- the picture --------------------------------------------------------------------------------


def chosen_ids(projection: uuid.UUID) -> list[str]:
    """Of the selected documents, as the address has them; those of another map are forgotten."""
    kept = st.session_state.get(_CHOSEN)
    if kept is not None and kept[0] == projection:
        return list(kept[1])
    given = st.query_params.get(_ADDRESS, "")
    return [each for each in given.split(",") if each]


def show_chart(
    figure: go.Figure,
    over: dict[str, Any],
    summary: ProjectionSummary,
    to_ids: Callable[[Sequence[int]], list[str]] | None,
) -> None:
    """The map, with what lies over it; a click, a box or a lasso on it selects. to_ids: places →
    ids; None for a map that is only looked at."""
    flat, key, on_select = summary.dimensions != SOLID, f"{_CHART}:{summary.id}", None
    if flat and to_ids is not None:
        key, on_select = _CHART, partial(_take_selection, summary.id, to_ids)
    holder = f"{_CHART}_{'beside' if to_ids is None else 'first'}"
    with st.container(key=holder, gap=None):
        st.plotly_chart(
            figure,
            key=key,
            on_select=on_select or "ignore",
            selection_mode=("points", "box", "lasso"),
            config={"scrollZoom": True, "displaylogo": False},
            alt=f"{escape(summary.name)}: documents as points; those that are alike lie near each "
            "other",
        )
        if flat:
            show_layer(over, holder=holder)


def _take_selection(projection: uuid.UUID, to_ids: Callable[[Sequence[int]], list[str]]) -> None:
    event: Any = st.session_state.get(_CHART)
    points = event["selection"]["points"] if event else []
    places = dict.fromkeys(_place(point) for point in points if "customdata" in point)
    choose(projection, to_ids(list(places)))


def _place(point: Any) -> int:
    data = point["customdata"]
    return int(data[0] if isinstance(data, list | tuple) else data)


def choose(projection: uuid.UUID, ids: Sequence[str]) -> None:
    """Selects these documents in place of what was selected; in the address too, if not too
    many."""
    st.session_state[_CHOSEN] = (projection, list(ids))
    if 0 < len(ids) <= MOST_IN_ADDRESS:
        st.query_params[_ADDRESS] = ",".join(ids)
    else:
        st.query_params.pop(_ADDRESS, None)


def caption(summary: ProjectionSummary, describe_coloring: str, outside: int) -> None:
    """How to read the picture, in one line under it. outside: points beyond its edges."""
    words = [describe_coloring, "The axes have no unit: near means alike, far apart says little."]
    if outside:
        words.append(
            f"{format_count(outside, 'document')} far from the rest: zoom out to see them."
        )
    if summary.sampled:
        words.append(
            f"A sample: {summary.points:,} of {format_count(summary.documents, 'document')}."
        )
    if summary.left_out:
        words.append(
            f"{format_count(summary.left_out, 'document')} had no distance to anything and are "
            "left out."
        )
    st.caption(" ".join(escape(each) for each in words))


def show_stale(summary: ProjectionSummary, *, busy: bool) -> bool:
    """Says that documents were written since; true where they are to be put in."""
    if not summary.stale:
        return False
    with st.container(horizontal=True, vertical_alignment="center"):
        st.warning(
            "The collection has changed since this map was drawn.",
            icon=":material/history:",
            width="stretch",
        )
        return st.button(
            "Put new documents in",
            icon=":material/add_location:",
            disabled=busy,
            help="Each is placed by the weighted mean of its nearest neighbours on the map, in the "
            "cluster that most of them are in, and marked as put in later. Documents that are gone "
            "stay until a new map is drawn.",
        )


def show_question(asked: Sequence[Question]) -> None:
    """What became of the last question, in one line."""
    for question in asked[-1:]:
        words = [f"**{escape(question.text)}**: {format_count(len(question.result), 'answer')}"]
        if question.missing:
            words.append(f"{question.missing:,} of them are not on this map")
        if question.place is None:
            words.append(escape(question.why_not))
        elif question.place.spread > FAR_SPREAD:
            words.append(
                "its nearest documents lie far apart on the map, so that its place between them "
                "says little"
            )
        st.markdown(" · ".join(words))
