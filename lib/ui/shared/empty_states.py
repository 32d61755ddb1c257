"""Empty and half-filled states: what is the matter, and the next step."""

from __future__ import annotations

import streamlit as st

from lib.formats import format_count
from lib.store.collections import CollectionSummary


def no_collections() -> None:
    """Nothing is in here yet."""
    st.info(
        "There is no collection yet, so there is nothing to look at. Load the sample, or make "
        "your own collection, on the Collections page.",
        icon=":material/inbox:",
    )
    st.page_link("pages/collections.py", label="Go to Collections", icon=":material/database:")


def nothing_embedded(summary: CollectionSummary) -> None:
    """Says what of a collection cannot be found (yet); nothing where all of it can."""
    if not summary.documents:
        st.info(
            "This collection has no documents yet. Upload some files first.",
            icon=":material/inbox:",
        )
        st.page_link(
            "pages/upload.py",
            label="Upload documents",
            icon=":material/upload_file:",
            query_params={"c": summary.collection.slug},
        )
    elif summary.missing and summary.collection.has_model:
        st.warning(
            f"{format_count(summary.missing, 'document')} of {summary.documents:,} have no "
            "embedding yet: semantic search does not find them. Embed them on the "
            "Collections page.",
            icon=":material/pending:",
        )
