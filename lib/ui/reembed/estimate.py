"""The first step of a re-embedding: another model, and what it would take."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from lib.embedding.models import EmbeddingModel
from lib.formats import format_bytes, format_duration
from lib.ingest.reembed import Estimate
from lib.store.collections import Collection
from lib.ui.reembed.model import ReembedModel
from lib.ui.shared.markdown import escape
from lib.ui.shared.page import guarded, refresh


@guarded
def choose_model(model: ReembedModel, collection: Collection, *, is_busy: bool) -> None:
    """The choice of another model with an estimate, and the button that starts."""
    st.markdown(
        f"**{escape(collection.name)}** is embedded by {escape(collection.model)}. The vectors of "
        "another model grow beside its own, and both can be searched meanwhile, so that you can "
        "see which is the better one. Nothing is changed until you switch."
    )
    model_name = _model_choice(model.embedding_models(), collection)
    if model_name is None:
        return
    estimate = model.estimate(collection, model_name)
    if _show_estimate(estimate, is_busy=is_busy):
        model.start(collection, model_name)
        refresh()


def _model_choice(models: Sequence[EmbeddingModel], collection: Collection) -> str | None:
    """A model's name, once one was chosen or typed in."""
    labels = {model.name: model.label for model in models if model.name != collection.model}
    key = f"model_for_{collection.slug}"
    in_url = st.query_params.get("model")
    if key not in st.session_state and in_url:
        st.session_state[key] = in_url
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


def _show_estimate(estimate: Estimate, *, is_busy: bool) -> bool:
    """What it would take; True once Start was pressed."""
    columns = st.columns(4)
    columns[0].metric("Documents", f"{estimate.documents:,}")
    columns[1].metric(
        "Tokens",
        f"{estimate.tokens:,}" if estimate.tokens_are_exact else f"about {estimate.tokens:,}",
        help="From a sample of the documents. Longer texts than the model takes are cut.",
    )
    columns[2].metric(
        "Price",
        "not known" if estimate.cost_usd is None else _price(estimate.cost_usd),
        help="By the provider's list price; see its bill for the truth.",
    )
    columns[3].metric(
        "Time",
        "not known" if estimate.seconds is None else f"about {format_duration(estimate.seconds)}",
        help="Of a model on this machine, from a sample. Of a provider, the running job tells.",
    )
    if estimate.model.note:
        st.caption(escape(estimate.model.note))
    if estimate.extra_bytes is not None:
        st.caption(
            f"Until the switch it takes {format_bytes(estimate.extra_bytes)} more on the server."
        )
    if estimate.missing_key is not None:
        st.warning(
            f"{escape(estimate.missing_key)} is not set, and this model needs it.",
            icon=":material/key_off:",
        )
    return st.button(
        "Start",
        type="primary",
        icon=":material/play_arrow:",
        disabled=is_busy or not estimate.documents or estimate.missing_key is not None,
        help="It can be cancelled and resumed at any time.",
    )


def _price(usd: float) -> str:
    if not usd:
        return "free"
    return "under $0.01" if usd < 0.01 else f"${usd:,.2f}"
