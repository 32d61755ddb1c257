"""What stands under the map: what is selected, what stands out, how far to trust the picture, what
an index does not find, and the list of maps."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from lib.formats import format_count, format_duration, format_percent
from lib.projection.recall import DocumentRecall
from lib.projection.repository import ProjectionSummary
from lib.store.candidates import Candidate
from lib.ui.map.controls import MOST_IN_ADDRESS, choose, chosen_ids, zoom_toggle
from lib.ui.map.model import Apart, Line, MapModel, Row
from lib.ui.shared.links import like_params
from lib.ui.shared.markdown import escape
from lib.ui.shared.page import guarded, refresh
from lib.ui.shared.session_cache import cached_by_name
from lib.ui.shared.url_state import by_value, read_choice, write_choice
from lib.vectors.distance import Distance
from lib.vectors.tuning import EF_SEARCH

MOST_ROWS = 1_000
_PAIR = 2
_LOST = "map:lost"


class MapView(StrEnum):
    """What stands under the picture."""

    SELECTION = "selection"
    FINDS = "finds"
    FIDELITY = "fidelity"
    INDEX = "index"
    MAPS = "maps"

    @property
    def label(self) -> str:
        return {
            "selection": "Selection",
            "finds": "Finds",
            "fidelity": "How far to trust it",
            "index": "Lost by an index",
            "maps": "All maps",
        }[self.value]


def show_below(
    viewing: MapModel,
    maps: Sequence[ProjectionSummary],
    candidates: Sequence[Candidate],
    delete: Callable[[ProjectionSummary], Any],
) -> None:
    """The view that is open. delete: removes a map."""
    current = viewing.projection
    match view_picker():
        case MapView.SELECTION:
            _selection(viewing)
        case MapView.FINDS:
            _finds(viewing)
        case MapView.FIDELITY:
            show_fidelity(current)
        case MapView.INDEX:
            _lost(viewing, candidates)
        case MapView.MAPS:
            collection_gone = show_maps(maps)
            if collection_gone is not None:
                delete(collection_gone)
                refresh()


def view_picker() -> MapView:
    """What stands under the picture, in the address."""
    named = by_value(list(MapView))
    read_choice("view", named, MapView.SELECTION)
    view = st.segmented_control(
        "View",
        list(MapView),
        format_func=lambda each: each.label,
        required=True,
        key="view",
        label_visibility="collapsed",
    )
    assert view is not None
    write_choice("view", named, view, MapView.SELECTION)
    return view


# --- the selection ------------------------------------------------------------------------------


def show_no_selection() -> None:
    st.info(
        "Select points to see what they are: click one, or take the box or the lasso above the "
        "map and draw around some. Double-click to select nothing.",
        icon=":material/highlight_alt:",
    )


def _selection(viewing: MapModel) -> None:
    """The selected documents, what sets them apart, and the two figures of a pair."""
    id_ = viewing.projection.id
    places = viewing.places(chosen_ids(id_)).tolist()
    if not places:
        show_no_selection()
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{format_count(len(places), 'document')} selected**", width="content")
        zoom_toggle()
        st.button(
            "Clear", on_click=choose, args=(id_, []), icon=":material/deselect:", type="tertiary"
        )
        _export(partial(viewing.csv, places), partial(viewing.jsonl, places))
        if len(places) <= MOST_IN_ADDRESS:
            st.page_link(
                "pages/search.py",
                label="Search for more like these" if len(places) > 1 else "More like this",
                icon=":material/search:",
                query_params=like_params([viewing.projection.ids[place] for place in places]),
                width="content",
            )
    words = cached_by_name("words", (viewing.key, *places), partial(viewing.words, places))
    if words:
        st.markdown(f"What sets them apart: {', '.join(f'**{escape(word)}**' for word in words)}")
    if len(places) == _PAIR:
        guarded(_show_pair)(viewing, *places)
    _table(viewing.rows(places))


def _show_pair(viewing: MapModel, first: int, second: int) -> None:
    _show_apart(viewing.apart(first, second), viewing.collection.distance)


def _show_apart(apart: Apart, distance: Distance) -> None:
    true_rank = (
        "not among its nearest that were kept"
        if apart.true_rank is None
        else f"its neighbour number {apart.true_rank}"
    )
    left, right = st.columns(2)
    left.metric(
        f"True distance ({distance.label})",
        f"{apart.distance:.4f}",
        help=f"Between the vectors. In truth the second document is {true_rank}.",
    )
    right.metric(
        "Drawn distance",
        f"{apart.drawn:.1%} of the map".replace("%", " %"),
        help=f"On the map the second is the first one's neighbour number {apart.drawn_rank:,}. "
        "Only near against far can be compared between the two figures.",
    )


def _table(rows: Sequence[Row]) -> None:
    st.dataframe(
        pd.DataFrame(
            [
                {
                    "Title": row.title,
                    "Category": row.category,
                    "Cluster": row.find_clusters,
                    "Neighbours kept": row.kept,
                    "Beginning": row.beginning,
                }
                for row in rows[:MOST_ROWS]
            ]
        ),
        hide_index=True,
        column_config={
            "Neighbours kept": st.column_config.ProgressColumn(
                min_value=0.0,
                max_value=1.0,
                format="percent",
                help="How many of its true nearest neighbours stand near it on the map too.",
            )
        },
        alt="The selected documents",
    )
    if len(rows) > MOST_ROWS:
        st.caption(f"The first {MOST_ROWS:,} of {len(rows):,}; the download has all.")


def _export(csv: Callable[[], bytes], jsonl: Callable[[], bytes]) -> None:
    """As files, written when they are asked for."""
    for label, name, data, mime in (
        ("CSV", "selection.csv", csv, "text/csv"),
        ("JSON lines", "selection.jsonl", jsonl, "application/jsonl"),
    ):
        st.download_button(
            label,
            data,
            file_name=name,
            mime=mime,
            icon=":material/download:",
            type="tertiary",
            on_click="ignore",
        )


# --- finds --------------------------------------------------------------------------------------


class Find(StrEnum):
    DUPLICATES = "duplicates"
    OUTLIERS = "outliers"
    STRANGERS = "strangers"

    @property
    def label(self) -> str:
        return {
            "duplicates": "Nearly the same",
            "outliers": "Far from all",
            "strangers": "In strange company",
        }[self.value]


def find_picker() -> Find:
    named = by_value(list(Find))
    read_choice("find", named, Find.DUPLICATES)
    find = st.segmented_control(
        "What to look for",
        list(Find),
        format_func=lambda each: each.label,
        required=True,
        key="find",
        help="**Nearly the same**: pairs of documents under a distance.  \n**Far from all**: the "
        "largest mean distance to the nearest neighbours (outliers).  \n**In strange company**: "
        "documents most of whose neighbours have one other category.",
    )
    assert find is not None
    write_choice("find", named, find, Find.DUPLICATES)
    return find


def duplicates_slider(distance: Distance, largest: float) -> float:
    """Under which distance two documents are nearly the same. largest: that makes sense."""
    return st.slider(
        f"Nearer than ({distance.label})",
        0.0,
        max(round(largest, 3), 0.001),
        round(largest / 10, 3),
        key="near_pairs",
        help="The true distance, not the one that is drawn.",
    )


def _finds(viewing: MapModel) -> None:
    find = find_picker()
    if viewing.projection.neighbours is None:
        st.info(
            "This map was drawn without looking for neighbours, as PCA of many documents is. Draw "
            "a UMAP map to find these.",
            icon=":material/info:",
        )
        return
    match find:
        case Find.DUPLICATES:
            largest = viewing.usual_distance
            lines = viewing.near_duplicates(duplicates_slider(viewing.collection.distance, largest))
        case Find.OUTLIERS:
            lines = viewing.outliers()
        case Find.STRANGERS:
            lines = viewing.label_mismatches()
    show_finds(find, lines, viewing.projection.id, viewing.ids)


def show_finds(
    find: Find,
    lines: Sequence[Line],
    projection: uuid.UUID,
    to_ids: Callable[[Sequence[int]], list[str]],
) -> None:
    """A list; a row that is picked is selected on the map."""
    if not lines:
        st.success(
            {
                Find.DUPLICATES: "No two documents are that near to each other.",
                Find.OUTLIERS: "There are no documents on this map.",
                Find.STRANGERS: "Every document stands among its own category, or there are none.",
            }[find],
            icon=":material/check_circle:",
        )
        return
    other, value, form = {
        Find.DUPLICATES: ("and", "Distance", "%.4f"),
        Find.OUTLIERS: ("", "Mean distance to its neighbours", "%.4f"),
        Find.STRANGERS: ("Category", "Share of its neighbours", "percent"),
    }[find]
    columns: dict[str, list[Any]] = {"Document": [line.title for line in lines]}
    if other:
        columns[other] = [line.other for line in lines]
    columns[value] = [line.value for line in lines]
    key = f"finds_{find}"

    def pick() -> None:
        picked = st.session_state[key]["selection"]["rows"]
        places = [place for row in picked for place in lines[row].places]
        choose(projection, to_ids(list(dict.fromkeys(places))))

    st.caption(f"{format_count(len(lines), 'row')}. Pick some to see them on the map.")
    st.dataframe(
        pd.DataFrame(columns),
        hide_index=True,
        key=key,
        on_select=pick,
        selection_mode="multi-row",
        column_config={value: st.column_config.NumberColumn(format=form)},
        alt=f"{find.label}: a list of documents",
    )


# --- how far to trust it ------------------------------------------------------------------------


def show_fidelity(summary: ProjectionSummary) -> None:
    """The figures of the whole map, each with what it means."""
    found = summary.fidelity
    figures = st.columns(3)
    figures[0].metric(
        "Trustworthiness",
        f"{found.trustworthiness:.3f}",
        help="1 where no point has strangers among its neighbours on the map (Venna and Kaski).",
    )
    figures[1].metric(
        "Continuity",
        f"{found.continuity:.3f}",
        help="1 where no true neighbours were torn apart.",
    )
    figures[2].metric(
        "Neighbours kept",
        format_percent(found.local),
        help=f"Of a document's {found.k} true nearest, how many are among its {found.k} nearest on "
        "the map; the mean.",
    )
    sampled = f", at {found.points:,} of {found.of:,} points" if found.sampled else ""
    st.caption(
        f"Measured with the {found.k} nearest neighbours{sampled}. Two dimensions cannot hold what "
        "hundreds do: who is near whom is mostly right, how far crowds lie from each other, how "
        "large they are and how dense mostly is not. Colour by “Neighbours kept” to see where the "
        "map holds and where it does not; select two points for their true distance."
    )
    st.caption(
        f"{escape(summary.settings.label)}, seed {summary.settings.seed}, drawn in "
        f"{format_duration(summary.build_seconds)} with "
        + escape(", ".join(f"{name} {version}" for name, version in summary.versions.items()))
        + "."
    )


# --- what an index does not find ----------------------------------------------------------------


def _lost(viewing: MapModel, candidates: Sequence[Candidate]) -> None:
    id_, chosen = viewing.projection.id, index_form(candidates)
    if chosen is not None:
        with st.spinner("Asking the index, and comparing with the exact answers …"):
            keep_lost(id_, viewing.lose(**chosen))
        refresh()
    found = kept_lost(id_)
    if found is not None:
        show_lost(found)


def index_form(candidates: Sequence[Candidate]) -> dict[str, Any] | None:
    """A candidate and its setting by their names; None until the button is pressed."""
    ready = [candidate for candidate in candidates if candidate.ready]
    if not ready:
        st.info(
            "To see which documents an index does not find, it needs a copy of the vectors to try "
            "it on (a candidate). Build one on the Compare page or in the Index Lab.",
            icon=":material/content_copy:",
        )
        return None
    left, right = st.columns(2)
    candidate = left.selectbox(
        "Index",
        ready,
        format_func=lambda each: each.name,
        key="lost_index",
        help="A candidate: a copy of the vectors with one index.",
    )
    probes = ef_search = None
    if "lists" in candidate.spec.options:
        probes = right.slider(
            "Lists to look into (probes)", 1, candidate.spec.options["lists"], 1, key="lost_probes",
            help="Few show where the index is blind; more of them find more.",
        )  # fmt: skip
    else:
        ef_search = right.slider(
            "Candidates kept (ef_search)", EF_SEARCH.low, 400, 11, key="lost_ef",
            help="Few show where the index is blind; more of them find more.",
        )  # fmt: skip
    pressed = st.button("Ask it for 300 of the documents", icon=":material/play_arrow:")
    if not pressed:
        return None
    return {"candidate": candidate, "probes": probes, "ef_search": ef_search}


def show_lost(found: DocumentRecall) -> None:
    """What the index found, and how to see what it did not."""
    st.markdown(
        f"**Recall {found.recall:.3f}**: of the {found.k} true nearest of {found.queries:,} "
        f"documents of the map, the index found {format_percent(found.recall)}."
    )
    if not found.certified:
        st.warning(f"Not certified: {escape(found.reason)}", icon=":material/warning:")
    st.caption(
        "Colour by “Lost by the index”: dark points were to be found and were not; grey ones were "
        "nobody's neighbours in this sample."
    )


def keep_lost(projection: uuid.UUID, found: DocumentRecall) -> None:
    """Until another map is looked at, or another index is tried."""
    st.session_state[_LOST] = (projection, found)


def kept_lost(projection: uuid.UUID) -> DocumentRecall | None:
    kept = st.session_state.get(_LOST)
    return kept[1] if kept is not None and kept[0] == projection else None


# --- all maps -----------------------------------------------------------------------------------


def show_maps(maps: Sequence[ProjectionSummary]) -> ProjectionSummary | None:
    """A list; the one that is to be deleted, once that was said twice."""
    st.dataframe(
        pd.DataFrame(
            [
                {
                    "Map": each.name,
                    "Points": each.points,
                    "Put in later": each.placed_points,
                    "Trustworthiness": each.fidelity.trustworthiness,
                    "Continuity": each.fidelity.continuity,
                    "Neighbours kept": each.fidelity.local,
                    "Drawn in (s)": each.build_seconds,
                    "Drawn": each.created_at,
                    "Up to date": not each.stale,
                }
                for each in maps
            ]
        ),
        hide_index=True,
        column_config={
            "Trustworthiness": st.column_config.NumberColumn(format="%.3f"),
            "Continuity": st.column_config.NumberColumn(format="%.3f"),
            "Neighbours kept": st.column_config.NumberColumn(format="percent"),
            "Drawn in (s)": st.column_config.NumberColumn(format="%.1f"),
            "Drawn": st.column_config.DatetimeColumn(format="distance"),
        },
        alt="The maps of this collection",
    )
    with st.popover("Delete a map", icon=":material/delete:"):
        collection_gone = st.selectbox(
            "Map", maps, format_func=lambda each: each.name, key="map_to_delete"
        )
        sure = st.checkbox("It cannot be undone: I want it gone.", key="map_delete_sure")
        if st.button("Delete", disabled=not sure, type="primary", key="map_delete"):
            return collection_gone
    return None
