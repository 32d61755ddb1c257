"""The parts of Index Lab, of which the page shows one, and whether there is enough to measure."""

from __future__ import annotations

from enum import StrEnum

import streamlit as st

from lib.formats import format_count
from lib.store.collections import CollectionSummary
from lib.ui.lab.model import CollectionLab
from lib.ui.shared.empty_states import nothing_embedded
from lib.ui.shared.markdown import escape
from lib.ui.shared.url_state import by_value
from lib.ui.shared.widgets import segmented

PART = "part"
"""In the URL: the part that is open."""
MIN_ROWS = 2
"""A row's neighbour is another row."""


class Part(StrEnum):
    RESULTS = "results"
    NEW = "new"
    ALL = "all"
    DISK = "disk"


def part_picker(lab: CollectionLab) -> Part:
    """The open part. With no experiment yet, a new one comes first, and there are no results."""
    labels = {
        Part.RESULTS: "Results",
        Part.NEW: "New experiment",
        Part.ALL: f"Experiments ({len(lab.experiments):,})",
        Part.DISK: f"Candidates on disk ({len(lab.candidates):,})",
    }
    parts = [part for part in Part if lab.experiments or part is not Part.RESULTS]
    return segmented(
        "Part of the lab",
        by_value(parts),
        lambda part: labels[part],
        key=PART,
        default=parts[0],
        show_label=False,
    )


def is_open(part: Part) -> bool:
    """Also before the picker is drawn."""
    return bool(st.session_state.get(PART) == part)


def can_measure(summary: CollectionSummary) -> bool:
    """Whether there is enough to measure; says what is missing where there is not."""
    if not summary.documents or summary.missing:
        nothing_embedded(summary)
    if summary.documents and summary.embedded < MIN_ROWS:
        st.info(
            f"{escape(summary.collection.name)} has "
            f"{format_count(summary.embedded, 'embedded document')}."
            f" To measure an index there must be at least {MIN_ROWS}, and some thousands for it "
            "to mean something.",
            icon=":material/inbox:",
        )
        st.page_link(
            "pages/upload.py",
            label="Upload documents",
            icon=":material/upload_file:",
            query_params={"c": summary.collection.slug},
        )
    return summary.embedded >= MIN_ROWS
