"""What is listed, and in which order: the settings column of the Browse page."""

from __future__ import annotations

import streamlit as st

from lib.store.browse import DocumentFilter, EmbeddingState, Order
from lib.store.collections import Collection, CollectionSummary
from lib.ui.browse.model import BrowseModel
from lib.ui.shared.markdown import escape
from lib.ui.shared.url_state import by_value
from lib.ui.shared.widgets import choice, optional_choice


def list_controls(model: BrowseModel, summary: CollectionSummary) -> tuple[DocumentFilter, Order]:
    """Which documents are listed, and in which order."""
    collection = summary.collection
    st.markdown("**What**")
    text = st.text_input(
        "Words in title, text or id",
        key="q",
        bind="query-params",
        type="search",
        help="Every word must occur, as it is typed; capitals do not matter. Parts of words count.",
    )
    category = None
    documents = dict(model.categories(collection))
    if documents:
        category = optional_choice(
            "Category",
            by_value(list(documents)),
            lambda category: f"{category} ({documents[category]:,})",
            key="category",
        )
    state = optional_choice(
        "Embedding",
        by_value(list(EmbeddingState)),
        lambda state: f"{state.label} ({_documents_in(summary, state):,})",
        key="state",
        help_text="**Not yet**: to be embedded. **Failed**: the model refused it; opening it says "
        "why.",
    )
    metadata = _metadata_filter(model, collection)
    st.markdown("**How**")
    order = choice(
        "Order",
        by_value(list(Order)),
        lambda order: order.label,
        key="order",
        default=Order.ID,
    )
    where = DocumentFilter(words=text or "", category=category, state=state, metadata=metadata)
    return where, order


def _metadata_filter(model: BrowseModel, collection: Collection) -> tuple[str, str] | None:
    """(field, value) that documents must have."""
    fields = model.metadata_fields(collection)
    if not fields:
        return None
    name = optional_choice("Metadata", by_value(fields), str, key="field")
    if name is None:
        return None
    value = st.selectbox(
        f"Where {escape(name)} is",
        model.metadata_values(collection, name),
        index=None,
        key=f"value_of_{name}",
        bind="query-params",
        placeholder="Choose or type a value",
        accept_new_options=True,
        help="Compared as text. The list holds the most frequent values of a sample of the "
        "documents; any other one can be typed in.",
    )
    return None if value is None else (name, value)


def _documents_in(summary: CollectionSummary, state: EmbeddingState) -> int:
    return {
        EmbeddingState.EMBEDDED: summary.embedded,
        EmbeddingState.MISSING: summary.missing - summary.failed,
        EmbeddingState.FAILED: summary.failed,
    }[state]
