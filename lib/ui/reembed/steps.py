"""Embedding a collection again by another model: what it costs, how far it is, and the switch."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto

import streamlit as st

from lib.embedding.models import EmbeddingModel
from lib.formats import format_bytes, format_count, format_duration
from lib.ingest.missing import Missing
from lib.ingest.reembed import Estimate, NextState
from lib.store.collections import Collection
from lib.ui.shared.markdown import escape


class Step(Enum):
    """What was pressed."""

    GO_ON = auto()
    SWITCH = auto()
    DISCARD = auto()


def model_choice(models: Sequence[EmbeddingModel], collection: Collection) -> str | None:
    """A model's name, once one was chosen or typed in."""
    labels = {model.name: model.label for model in models if model.name != collection.model}
    key = f"model_for_{collection.slug}"
    given = st.query_params.get("model")
    if key not in st.session_state and given:
        st.session_state[key] = given
    typed = st.session_state.get(key)
    chosen = st.selectbox(
        "Another model",
        [*labels, *([typed] if typed and typed not in labels else [])],
        index=None,
        format_func=lambda name: labels.get(name, name),
        placeholder="Choose one, or type a name",
        accept_new_options=True,
        key=key,
        help="Any model that LiteLLM knows can be typed in, such as mistral/mistral-embed.",
    )
    if chosen:
        st.query_params["model"] = chosen
    else:
        st.query_params.pop("model", None)
    return chosen or None


def explain(collection: Collection) -> None:
    st.markdown(
        f"**{escape(collection.name)}** is embedded by {escape(collection.model)}. The vectors of "
        "another model grow beside its own, and both can be searched meanwhile, so that you can "
        "see which is the better one. Nothing is changed until you switch."
    )


def show_estimate(found: Estimate, *, busy: bool) -> bool:
    """What it would take; true once Start was pressed."""
    columns = st.columns(4)
    columns[0].metric("Documents", f"{found.documents:,}")
    columns[1].metric(
        "Tokens",
        f"{found.tokens:,}" if found.tokens_are_exact else f"about {found.tokens:,}",
        help="From a sample of the documents. Longer texts than the model takes are cut.",
    )
    columns[2].metric(
        "Price",
        "not known" if found.cost_usd is None else _price(found.cost_usd),
        help="By the provider's list price; see its bill for the truth.",
    )
    columns[3].metric(
        "Time",
        "not known" if found.seconds is None else f"about {format_duration(found.seconds)}",
        help="Of a model on this machine, from a sample. Of a provider, the running job tells.",
    )
    if found.model.note:
        st.caption(escape(found.model.note))
    if found.extra_bytes is not None:
        st.caption(
            f"Until the switch it takes {format_bytes(found.extra_bytes)} more on the server."
        )
    if found.missing_key is not None:
        st.warning(
            f"{escape(found.missing_key)} is not set, and this model needs it.",
            icon=":material/key_off:",
        )
    return st.button(
        "Start",
        type="primary",
        icon=":material/play_arrow:",
        disabled=busy or not found.documents or found.missing_key is not None,
        help="It can be cancelled and gone on with at any time.",
    )


def _price(usd: float) -> str:
    if not usd:
        return "free"
    return "under $0.01" if usd < 0.01 else f"${usd:,.2f}"


def show_under_way(following: Collection, state: NextState, *, busy: bool) -> Step | None:
    """How far the new vectors are, and what can be done; what was pressed."""
    st.subheader(escape(following.model), anchor=False)
    columns = st.columns(3)
    columns[0].metric("Embedded", f"{state.embedded:,} of {state.documents:,}")
    columns[1].metric("Still to do", f"{state.untried:,}")
    columns[2].metric("Refused", f"{state.failed:,}")
    pressed: Step | None = None
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if state.untried and st.button("Go on", icon=":material/play_arrow:", disabled=busy):
            pressed = Step.GO_ON
        if st.button(
            "Switch now",
            type="primary",
            icon=":material/swap_horiz:",
            disabled=busy or not state.embedded,
            help="What came in meanwhile is embedded first.",
        ):
            pressed = Step.SWITCH
        if st.button("Discard", icon=":material/delete:", disabled=busy):
            pressed = Step.DISCARD
        st.page_link(
            "pages/search.py",
            label="Search by it",
            icon=":material/search:",
            query_params={"c": following.address},
        )
    return pressed


def show_reasons(report: Sequence[Missing]) -> None:
    """Why some documents have no new vector."""
    if not report:
        return
    st.dataframe(
        {
            "Why": [missing.reason for missing in report],
            "Documents": [missing.count for missing in report],
            "Such as": [", ".join(missing.examples) for missing in report],
        },
        hide_index=True,
        alt="Why documents could not be embedded, the most frequent reason first.",
    )


def confirm_switch(collection: Collection, following: Collection, state: NextState) -> bool:
    """The question before the deed; true once it was said yes to."""
    st.markdown(
        f"**{escape(collection.name)}** will be searched by **{escape(following.model)}**. The "
        f"vectors of {escape(collection.model)} go for good, with their vector index and the "
        "candidates made of them. Build a new index afterwards."
    )
    agreed = True
    if state.failed:
        agreed = st.checkbox(
            f"{format_count(state.failed, 'document')} that the new model refused will be "
            "found by words only. That is all right."
        )
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Not yet"):
            st.rerun()
        return st.button("Switch", type="primary", disabled=not agreed)


def confirm_discard(following: Collection, state: NextState) -> bool:
    st.markdown(
        f"The {format_count(state.embedded, 'vector')} of **{escape(following.model)}** will "
        "be gone for good. The collection stays as it is."
    )
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Keep them"):
            st.rerun()
        return st.button("Discard for good", type="primary", icon=":material/delete_forever:")
