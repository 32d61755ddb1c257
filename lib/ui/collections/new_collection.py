"""A new collection: the sample, or one of one's own with a model, a distance and a language."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import streamlit as st

from lib.embedding.models import EmbeddingModel
from lib.ingest.sample import SAMPLE_NAME
from lib.store.collections import NAME_LENGTH, Collection
from lib.ui.collections.model import CollectionsModel
from lib.ui.shared.markdown import escape
from lib.ui.shared.page import guarded, refresh
from lib.vectors.distance import Distance

DEFAULT_LANGUAGE = "english"
_LOAD_SAMPLE, _ROCKET = "Load the sample collection", ":material/rocket_launch:"


def welcome(model: CollectionsModel) -> None:
    """What a first-time visitor sees: one obvious next step."""
    with st.container(border=True):
        st.subheader("See how well a pgvector search works", anchor=False)
        st.markdown(
            "Load the sample to have something to search in half a minute: several thousand real "
            "documentation texts of Python and its packages, read from this machine. No key and "
            "no network are needed."
        )
        is_pressed = st.button(_LOAD_SAMPLE, type="primary", icon=_ROCKET)
    if is_pressed:
        _create_sample(model)


def offer_sample(model: CollectionsModel, collections: Sequence[Collection]) -> None:
    """The sample for those who began with a collection of their own."""
    names = [collection.name for collection in collections]
    if not names or SAMPLE_NAME in names:
        return
    if st.button(
        _LOAD_SAMPLE,
        icon=_ROCKET,
        help="Documentation texts of Python and its packages, read from this machine.",
    ):
        _create_sample(model)


@guarded
def _create_sample(model: CollectionsModel) -> None:
    model.create_sample()
    refresh()


@guarded
def new_collection(model: CollectionsModel) -> None:
    """The form for a collection of one's own."""
    model_name = _model_picker(model.embedding_models(), model.default_model)
    embedding_model = model.embedding_model(model_name)
    missing_key = model.missing_key(embedding_model)
    _show_model(embedding_model, missing_key)
    _collection_form(model, embedding_model, model_name, is_usable=missing_key is None)


def _model_picker(models: Sequence[EmbeddingModel], default: str) -> str:
    """The name of an embedding model: one of these, or any other that was typed in."""
    labels = {model.name: model.label for model in models}
    names = list(labels) if default in labels else [default, *labels]
    name = st.selectbox(
        "Embedding model",
        names,
        index=names.index(default),
        format_func=lambda name: labels.get(name, name),
        accept_new_options=True,
        help="Turns texts into vectors. The local one needs no key and no network. Any model that "
        "LiteLLM knows can be typed in, such as mistral/mistral-embed, and any server that speaks "
        "OpenAI's API, as openai-compatible/ and the model's name.",
    )
    return str(name)


def _show_model(model: EmbeddingModel, missing_variable: str | None) -> None:
    """What is known of a model before it is chosen for good, and what it lacks."""
    st.caption(" ".join([f"{' · '.join(_model_facts(model))}.", escape(model.note)]))
    if missing_variable is not None:
        st.warning(
            f"{escape(missing_variable)} is not set, and this model needs it. Set it in the "
            "environment or in .env and load this page again, or take the local model.",
            icon=":material/key_off:",
        )


def _model_facts(model: EmbeddingModel) -> Iterator[str]:
    if model.dimensions is None:
        yield "Its dimensions are asked of the provider when the collection is created"
    else:
        yield f"{model.dimensions:,} dimensions, stored as {model.storage.value}"
    if model.max_tokens is not None:
        yield f"texts of up to {model.max_tokens:,} tokens"
    if model.price_usd_per_million_tokens:
        yield f"{model.price_usd_per_million_tokens:.2f} US dollars for a million tokens"
    elif model.price_usd_per_million_tokens is not None:
        yield "free"


def _collection_form(
    model: CollectionsModel, embedding_model: EmbeddingModel, model_name: str, *, is_usable: bool
) -> None:
    """The rest of the form; makes the collection once Create was pressed. is_usable: whether the
    embedding model is."""
    distances = list(Distance)
    text_configs = list(model.text_configs())
    with st.form("new_collection", border=False):
        left, middle, right = st.columns([2, 1, 1])
        name = left.text_input(
            "Name",
            placeholder="Such as Product manuals",
            max_chars=NAME_LENGTH,
            help="For people. The table is named after it: vecscope.documents_product_manuals.",
        )
        distance = middle.selectbox(
            "How vectors are compared (distance)",
            distances,
            index=distances.index(embedding_model.distance),
            format_func=lambda distance: distance.label,
            help="How near two vectors are. What is chosen already is the one that the model was "
            "made for.",
        )
        text_config = right.selectbox(
            "Language of the texts",
            text_configs,
            index=text_configs.index(DEFAULT_LANGUAGE),
            help="For keyword search (PostgreSQL's text search configuration): words are "
            "compared by their stems. “simple” compares them as they are.",
        )
        is_pressed = st.form_submit_button(
            "Create", type="primary", icon=":material/add:", disabled=not is_usable
        )
    if is_pressed:
        model.create(
            name,
            model=model_name,
            distance=distance or embedding_model.distance,
            text_config=str(text_config),
        )
        refresh()
