"""Widgets that every page draws. Each keeps its value in the URL: the widget is set from the URL
before it is drawn, and the URL is written after."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeVar

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

_SWITCH = {"true": True, "false": False}


def choice(
    label: str,
    options: Mapping[str, T],
    labels: Callable[[T], str],
    *,
    key: str,
    default: T,
    help_text: str | None = None,
) -> T:
    """A selectbox in which something is always chosen.

    options: value in the URL → option, such as ``by_value(list(Order))``.
    """
    read_choice(key, options, default)
    chosen = st.selectbox(
        label, list(options.values()), format_func=labels, key=key, help=help_text
    )
    assert chosen is not None
    write_choice(key, options, chosen, default)
    return chosen


def optional_choice(
    label: str,
    options: Mapping[str, T],
    labels: Callable[[T], str],
    *,
    key: str,
    placeholder: str = "All",
    help_text: str | None = None,
) -> T | None:
    """A selectbox that may be empty; None where it is.

    options: value in the URL → option.
    """
    read_choice(key, options, None)
    chosen = st.selectbox(
        label,
        list(options.values()),
        index=None,
        format_func=labels,
        placeholder=placeholder,
        key=key,
        help=help_text,
    )
    write_choice(key, options, chosen, None)
    return chosen


def segmented(
    label: str,
    options: Mapping[str, T],
    labels: Callable[[T], str],
    *,
    key: str,
    default: T,
    help_text: str | None = None,
    show_label: bool = True,
    width: Literal["content", "stretch"] = "content",
) -> T:
    """Buttons in a row, of which one is always pressed: the view of a page, the mode of a search.

    options: value in the URL → option, in the order of the buttons.
    """
    read_choice(key, options, default)
    chosen = st.segmented_control(
        label,
        list(options.values()),
        format_func=labels,
        required=True,
        key=key,
        label_visibility="visible" if show_label else "collapsed",
        help=help_text,
        width=width,
    )
    assert chosen is not None
    write_choice(key, options, chosen, default)
    return chosen


def switch(
    label: str,
    *,
    key: str,
    default: bool,
    help_text: str | None = None,
    options: Mapping[str, bool] = _SWITCH,
) -> bool:
    """A toggle. options: value in the URL → on or off."""
    read_choice(key, options, default)
    is_on = st.toggle(label, key=key, help=help_text)
    write_choice(key, options, is_on, default)
    return is_on


def number_slider(
    label: str,
    low: N,
    high: N,
    default: N,
    step: N,
    *,
    key: str,
    help_text: str | None = None,
    format: str | None = None,  # noqa: A002 — Streamlit's own name for it
) -> N:
    """A slider."""
    read_number(key, low, high, default)
    number = st.slider(label, low, high, step=step, key=key, help=help_text, format=format)
    write_number(key, number, default)
    return number


def number_field(
    label: str,
    low: N,
    high: N,
    default: N,
    step: N,
    *,
    key: str,
    help_text: str | None = None,
    format: str | None = None,  # noqa: A002 — Streamlit's own name for it
) -> N:
    """A number to type."""
    read_number(key, low, high, default)
    number = st.number_input(label, low, high, step=step, key=key, help=help_text, format=format)
    write_number(key, number, default)
    return number


def _label(collection: Collection) -> str:
    if not collection.is_shadow:
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
    """The collection that the page is about. The URL always names it, by its slug, so that a
    shared link stays right when collections are added."""
    by_slug = {collection.address: collection for collection in collections}
    slugs = by_value(list(by_slug))
    # A page that has no use for vectors that are growing shows the collection's own.
    known = {slug + NEXT_SUFFIX: slug for slug in slugs} | slugs
    unknown = unknown_choice("c", known)
    read_choice("c", known, next(iter(slugs)))
    slug = st.selectbox(
        "Collection",
        list(by_slug),
        format_func=lambda slug: _label(by_slug[slug]),
        key="c",
        help="Which set of documents to look at. It stays chosen on the other pages.",
    )
    write_choice("c", slugs, slug, None)
    if unknown is not None:
        st.warning(
            f"The link asks for the collection {escape(unknown)}, which is not here (any more).",
            icon=":material/help:",
        )
    return by_slug[slug]
