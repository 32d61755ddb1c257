"""The settings of a load: where to, how long texts are split, and what happens to what is there."""

from __future__ import annotations

import streamlit as st

from lib.formats import format_count
from lib.ingest.pipeline import LoadOptions
from lib.ingest.read_options import MAX_PART_TOKENS, MIN_PART_TOKENS, ReadOptions
from lib.store.collections import Collection, CollectionSummary
from lib.ui.shared.markdown import escape


def show_target(summary: CollectionSummary) -> None:
    """What is in the collection already, and what will turn new texts into vectors."""
    collection = summary.collection
    by = (
        f"New ones are embedded by {escape(collection.model)}."
        if collection.has_model
        else f"It has no model: its vectors, of {collection.dimensions:,} dimensions, come with "
        "the files."
    )
    st.caption(f"{format_count(summary.documents, 'document')} so far. {by}")


def part_controls(collection: Collection, max_tokens: int | None) -> ReadOptions:
    """How long texts are split. max_tokens: what the model takes, if known."""
    longest = min(MAX_PART_TOKENS, max_tokens or MAX_PART_TOKENS)
    default = ReadOptions(tokenizer="")
    with st.expander("Parts of long texts", icon=":material/content_cut:"):
        part_tokens = st.number_input(
            "Longest part (tokens)",
            MIN_PART_TOKENS,
            longest,
            min(default.part_tokens, longest),
            step=50,
            help="A long text becomes several documents, its parts: first by headings, pages and "
            "slides, then by this length. Short parts are found more exactly, long ones tell more. "
            f"A token is a word or a piece of one; up to {longest:,} are possible here. "
            "Each row of a table is one document, whatever its length.",
        )
        longest_overlap = (part_tokens - 1) // 2
        overlap_tokens = st.number_input(
            "Overlap (tokens)",
            0,
            longest_overlap,
            min(default.overlap_tokens, longest_overlap),
            step=10,
            help="How much of a part's end the next one repeats, so that a thought that is cut "
            "can still be found.",
        )
    return ReadOptions(
        part_tokens=part_tokens, overlap_tokens=overlap_tokens, tokenizer=collection.model
    )


def load_controls(summary: CollectionSummary) -> LoadOptions:
    """What happens to what is stored already, and when the new is embedded."""
    with st.expander("When loading", icon=":material/tune:"):
        later = summary.collection.has_model and st.checkbox(
            "Store the texts only",
            help="Keyword search finds them at once. Embed them later, on this page, for semantic "
            "search too: useful where a provider costs money or time.",
        )
        replace_all = st.checkbox(
            "Replace all",
            help="Removes every document of the collection that these files do not bring, once "
            "all of them could be read. Without it, a row that is gone from a file stays here; the "
            "parts of a changed text are replaced in any case.",
        )
    if replace_all and summary.documents:
        st.warning(
            f"What these files do not bring is removed from {escape(summary.collection.name)}.",
            icon=":material/delete_sweep:",
        )
    return LoadOptions(embed=not later, replace_all=replace_all)
