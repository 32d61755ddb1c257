"""The registry of embedding models, and which key each needs."""

import pytest

from lib.embedding import provider
from lib.embedding.models import (
    EmbeddingModel,
    Provider,
    key_variable,
    registered_models,
    resolve_model,
)
from lib.embedding.provider import missing_key
from lib.errors import InvalidInput
from lib.settings import Settings
from lib.vectors.distance import Distance, Storage


def _settings(base_url: str | None = None) -> Settings:
    return Settings(_env_file=None, openai_base_url=base_url)


@pytest.fixture
def bare_environment(monkeypatch, tmp_path):
    """No key in the environment, and a .env of our own."""
    for name in ("OPENAI_API_KEY", "COHERE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(provider, "ENV_FILE", tmp_path / ".env")
    return tmp_path / ".env"


@pytest.mark.parametrize(
    ("name", "dimensions", "max_tokens", "storage", "price"),
    [
        ("local/wordllama-256", 256, 8192, Storage.VECTOR, 0.0),
        ("openai/text-embedding-3-small", 1536, 8191, Storage.VECTOR, 0.02),
        ("openai/text-embedding-3-large", 3072, 8191, Storage.HALFVEC, 0.13),
        ("cohere/embed-english-v3.0", 1024, 512, Storage.VECTOR, 0.10),
        ("cohere/embed-multilingual-v3.0", 1024, 512, Storage.VECTOR, 0.10),
    ],
)
def test_registered_models(name, dimensions, max_tokens, storage, price):
    model = resolve_model(f" {name} ", _settings())
    assert model in registered_models()
    assert (model.dimensions, model.max_tokens) == (dimensions, max_tokens)
    assert (model.storage, model.distance) == (storage, Distance.COSINE)
    assert model.price_usd_per_million_tokens == price
    assert dimensions <= model.storage.max_index_dimensions


def test_the_default_model_comes_first():
    assert registered_models()[0].name == _settings().model


@pytest.mark.parametrize(
    ("dimensions", "storage", "indexable"),
    [
        (1, Storage.VECTOR, True),
        (2000, Storage.VECTOR, True),
        (2001, Storage.HALFVEC, True),
        (4000, Storage.HALFVEC, True),
        (4001, Storage.HALFVEC, False),
    ],
)
def test_storage_follows_from_the_dimensions(dimensions, storage, indexable):
    model = resolve_model("voyage/voyage-3", _settings())
    assert model.dimensions is None
    known = model.with_dimensions(dimensions)
    assert known.storage is storage
    assert (dimensions <= known.storage.max_index_dimensions) == indexable
    assert ("exact scan" in known.note) == (not indexable)


def test_an_openai_compatible_model_keeps_slashes_in_its_name():
    settings = _settings("http://localhost:11434/v1")
    model = resolve_model("openai-compatible/nomic-ai/nomic-embed-text", settings)
    assert (model.provider, model.remote_name) == (
        Provider.OPENAI_COMPATIBLE,
        "nomic-ai/nomic-embed-text",
    )


@pytest.mark.parametrize("url", [None, "", "localhost:11434/v1", "http://", "http://host:none"])
def test_an_openai_compatible_model_needs_a_base_url(url):
    with pytest.raises(InvalidInput) as caught:
        resolve_model("openai-compatible/x", _settings(url))
    assert caught.value.field == "VECSCOPE_OPENAI_BASE_URL"


def test_litellm_gets_the_whole_name():
    model = resolve_model("voyage/voyage-3", _settings())
    assert (model.provider, model.remote_name) == (Provider.LITELLM, "voyage/voyage-3")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("openai/text-embedding-3-smal", "Did you mean openai/text-embedding-3-small?"),
        ("OpenAI/text-embedding-3-large", "Did you mean openai/text-embedding-3-large?"),
        ("coher/embed-english-light-v3.0", "Did you mean cohere/"),
        ("local/other", "There are local/wordllama-256"),
        ("", "There are local/wordllama-256"),
        ("voyage/", "There are local/wordllama-256"),
        ("gpt", "There are local/wordllama-256"),
    ],
)
def test_an_unknown_model_is_refused_with_what_exists(name, meant):
    with pytest.raises(InvalidInput) as caught:
        resolve_model(name, _settings())
    assert meant in caught.value.hint
    assert "openai/text-embedding-3-small" in caught.value.hint


def _model(name: str) -> EmbeddingModel:
    return resolve_model(name, _settings("http://localhost:1/v1"))


def test_which_key_is_missing(bare_environment, monkeypatch):
    openai, cohere = _model("openai/text-embedding-3-small"), _model("cohere/embed-english-v3.0")
    assert (missing_key(openai), missing_key(cohere)) == ("OPENAI_API_KEY", "COHERE_API_KEY")
    assert missing_key(_model("local/wordllama-256")) is None
    assert missing_key(_model("openai-compatible/x")) is None
    assert key_variable(_model("openai-compatible/x")) == "OPENAI_API_KEY"
    assert missing_key(_model("ollama/nomic-embed-text")) is None

    monkeypatch.setenv("OPENAI_API_KEY", "something")
    bare_environment.write_text("COHERE_API_KEY=from-the-file\n")
    assert (missing_key(openai), missing_key(cohere)) == (None, None)

    monkeypatch.setenv("OPENAI_API_KEY", "  ")
    assert missing_key(openai) == "OPENAI_API_KEY"
