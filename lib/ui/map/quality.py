"""The panel Projection quality: the fidelity measures of a map, each with what it means."""

from __future__ import annotations

import streamlit as st

from lib.formats import format_duration, format_percent
from lib.projection.repository import ProjectionSummary
from lib.ui.shared.markdown import escape


def show_quality(summary: ProjectionSummary) -> None:
    """The measures of the whole map, and how it was built."""
    fidelity = summary.fidelity
    trustworthiness, continuity, preservation = st.columns(3)
    trustworthiness.metric(
        "Trustworthiness",
        f"{fidelity.trustworthiness:.3f}",
        help="1 where all neighbours on the map are true neighbours (Venna and Kaski).",
    )
    continuity.metric(
        "Continuity",
        f"{fidelity.continuity:.3f}",
        help="1 where all true neighbours are neighbours on the map.",
    )
    preservation.metric(
        "Neighbourhood preservation",
        format_percent(fidelity.local),
        help=f"Of a document's {fidelity.k} true nearest, how many are among its {fidelity.k} "
        "nearest on the map; the mean.",
    )
    sampled = f", at {fidelity.points:,} of {fidelity.of:,} points" if fidelity.sampled else ""
    st.caption(
        f"Measured with the {fidelity.k} nearest neighbours{sampled}. Two dimensions cannot hold "
        "what hundreds do: who is near whom is mostly right; how far clusters lie from each other, "
        "how large they are and how dense mostly is not. Colour by “Neighbourhood preservation” to "
        "see where the map can be trusted; select two points for their true distance."
    )
    versions = ", ".join(f"{name} {version}" for name, version in summary.versions.items())
    st.caption(
        f"{escape(summary.settings.label)}, seed {summary.settings.seed}, built in "
        f"{format_duration(summary.build_seconds)} with {escape(versions)}."
    )
