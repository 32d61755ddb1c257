"""Widgets that every page draws: choices and sliders that are in the URL, the collection picker."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from lib.store.collections import NEXT_SUFFIX, Collection
from lib.ui.shared.empty_states import no_collections
from lib.ui.shared.markdown import escape
from lib.ui.shared.url_state import (
    by_value,
    read_choice,
    read_number,
    unknown_choice,
    write_choice,
    write_number,
)

T = TypeVar("T")


N = TypeVar("N", int, float)


def choice(
    label: str,
    options: Mapping[str, T],
    labels: Callable[[T], str],
    *,
    key: str,
    help_text: str,
    usual: T,
) -> T:
    """A selectbox in which something is always chosen. options: by what stands in the address."""
    read_choice(key, options, usual)
    found = st.selectbox(label, list(options.values()), format_func=labels, key=key, help=help_text)
    assert found is not None
    write_choice(key, options, found, usual)
    return found


def number_slider(
    label: str,
    low: N,
    high: N,
    usual: N,
    step: N,
    *,
    key: str,
    help_text: str,
    format: str | None = None,  # noqa: A002 — Streamlit's own name for it
) -> N:
    """A slider of which the number is in the address."""
    read_number(key, low, high, usual)
    found = st.slider(label, low, high, step=step, key=key, help=help_text, format=format)
    write_number(key, found, usual)
    return found


def _label(collection: Collection) -> str:
    if not collection.is_next:
        return collection.name
    return f"{collection.name} · by {collection.model} (not switched)"


def page_head(
    collections: Sequence[Collection],
) -> tuple[Collection, DeltaGenerator, DeltaGenerator] | None:
    """The collection that the page is about, where its settings go, and where the answer goes. None
    where there is no collection, which is said."""
    if not collections:
        no_collections()
        return None
    settings, answer = st.columns([1, 3], gap="large")
    with settings:
        collection = collection_picker(collections)
    return collection, settings, answer


def collection_picker(collections: Sequence[Collection]) -> Collection:
    """The collection that the page is about. The address always names it, by its slug, so that a
    shared link stays right when collections are added."""
    by_slug = {collection.address: collection for collection in collections}
    named = by_value(list(by_slug))
    # A page that has no use for vectors that are growing shows the collection's own.
    known = {slug + NEXT_SUFFIX: slug for slug in named} | named
    unknown = unknown_choice("c", known)
    read_choice("c", known, next(iter(named)))
    slug = st.selectbox(
        "Collection",
        list(by_slug),
        format_func=lambda found: _label(by_slug[found]),
        key="c",
        help="Which set of documents to look at. It stays chosen on the other pages.",
    )
    write_choice("c", named, slug, None)
    if unknown is not None:
        st.warning(
            f"The address asks for the collection {escape(unknown)}, which is not here (any more).",
            icon=":material/help:",
        )
    return by_slug[slug]
