"""Query parameters of links that open just what is meant."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import streamlit as st

from lib.search.request import Mode, SearchRequest
from lib.ui.shared.markdown import escape
from lib.vectors.index_methods import index_methods
from lib.vectors.statements import TextQuery

LinkParams = Mapping[str, str | list[str]]

_DEFAULT = SearchRequest(query="")
# How a setting in the address is called in the list of recent searches.
_WORDS = {
    "mode": "by",
    "category": "category",
    "f": "where",
    "k": "k",
    "w": "weight",
    "d": "nearer than",
    "fusion": "fusion",
    "pool": "pool",
    "text_text": "words",
    "text_hybrid": "words",
    "rank": "ranked by",
    "k1": "k1",
    "b": "b",
    "scan": "scan",
    "probes": "probes",
    "ef": "ef_search",
    "iterative": "iterative scan",
}


def collection_params() -> dict[str, str]:
    """The collection that is looked at; the first one of the list is in no address."""
    return {"c": st.query_params["c"]} if "c" in st.query_params else {}


def document_params(external_id: str, part: int | None = None) -> dict[str, str]:
    """On the Browse page, a document of the collection that is looked at."""
    address = {**collection_params(), "doc": external_id}
    return address | {"part": str(part)} if part else address


def like_params(documents: Sequence[object]) -> LinkParams:
    """On the Search page, what is like these documents, by their ids."""
    return {**collection_params(), "like": ",".join(map(str, documents))}


def current_params(**changes: str | None) -> LinkParams:
    """This page's own address with other values; None leaves a name out."""
    kept = {
        name: values if len(values) > 1 else values[0]
        for name in st.query_params
        if name not in changes and (values := st.query_params.get_all(name))
    }
    return {**kept, **{name: value for name, value in changes.items() if value is not None}}


def search_params(collection: str, request: SearchRequest) -> LinkParams:
    """Of the Search page with this request in its widgets; what is the default is left out.

    collection: its address. What no widget shows (documents left out, the limit of rows of an
    iterative scan) is in no address.
    """
    found: dict[str, str | list[str]] = {"c": collection, "q": request.query}

    def add(name: str, value: object, default: object = None) -> None:
        if value is not None and value != default:
            found[name] = f"{value:g}" if isinstance(value, float) else str(value)

    mode, settings = request.mode, request.settings
    add("mode", mode, _DEFAULT.mode)
    add("category", request.category)
    if request.filters:
        found["f"] = [str(each) for each in request.filters]
    add("k", request.limit, _DEFAULT.limit)
    if mode is Mode.HYBRID:
        add("w", request.vector_weight, _DEFAULT.vector_weight)
        add("fusion", request.fusion, _DEFAULT.fusion)
        add("pool", request.pool, _DEFAULT.pool)
    if mode.uses_text:
        words = TextQuery.WEB if mode is Mode.TEXT else TextQuery.ANY
        add(f"text_{mode.value}", request.text_query, words)
        add("rank", request.text_method, _DEFAULT.text_method)
        add("k1", request.bm25.k1, _DEFAULT.bm25.k1)
        add("b", request.bm25.b, _DEFAULT.bm25.b)
    if mode.uses_vectors:
        if request.max_distance is not None:
            found["near"] = "true"
            add("d", request.max_distance)
        if request.candidate_id is None:
            add("scan", settings.scan, _DEFAULT.settings.scan)
        else:
            add("scan", candidate_mark(request.candidate_id))
        for method in index_methods():
            add(method.search_parameter.link, settings.value_of(method))
        add("iterative", settings.iterative_scan)
    return found


def candidate_mark(candidate_id: uuid.UUID) -> str:
    """What stands for a candidate in a link."""
    return candidate_id.hex[:8]


def settings_text(params: LinkParams) -> str:
    """The settings of a search's link that are not the default, on one line."""
    parts = []
    for name, words in _WORDS.items():
        value = params.get(name)
        if value is not None:
            shown = value if isinstance(value, str) else " and ".join(value)
            parts.append(f"{words} {shown}")
    return " · ".join(parts)


@dataclass(frozen=True)
class Remedy:
    """Something that helps, and where it is done."""

    label: str
    address: LinkParams


def show_remedies(remedies: list[Remedy], icon: str = ":material/arrow_forward:") -> None:
    """Links in a row, to this very search with another setting."""
    with st.container(horizontal=True, gap="medium"):
        for remedy in remedies:
            st.page_link(
                "pages/search.py",
                label=escape(remedy.label),
                icon=icon,
                query_params=remedy.address,
                width="content",
            )


def column_prefix(number: int) -> str:
    """Of the settings of a comparison's column, in the address; from 1."""
    return f"{number}."


# As the preset “Semantic · Keyword · Hybrid” has them.
_MODE_COLUMNS = (Mode.SIMILARITY, Mode.TEXT, Mode.HYBRID)
_OF_ALL_COLUMNS = ("c", "q", "k")
_NARROWING = ("category", "f")


def compare_params(collection: str, request: SearchRequest) -> LinkParams:
    """Of the Compare page with this request beside the other two ways to search: all have its
    filters, and the column of its own mode has the rest.

    collection: its address.
    """
    own = dict(search_params(collection, request))
    if request.mode.uses_text:  # what is usual differs between the two pages
        own[f"text_{request.mode.value}"] = request.text_kind.value
    found: dict[str, str | list[str]] = {"preset": "modes"}
    for name, value in own.items():
        if name in _OF_ALL_COLUMNS:
            found[name] = value
            continue
        for number, mode in enumerate(_MODE_COLUMNS, 1):
            if name in _NARROWING or (mode is request.mode and name != "mode"):
                found[f"{column_prefix(number)}{name}"] = value
    return found


def compare_link(collection: str, request: SearchRequest) -> None:
    """From a question to its comparison; nothing where there is none. collection: its address."""
    if request.query.strip():
        st.page_link(
            "pages/compare.py",
            label="Compare",
            icon=":material/compare_arrows:",
            query_params=compare_params(collection, request),
            help="The same question by semantic, keyword and hybrid search, side by side.",
            width="content",
        )
