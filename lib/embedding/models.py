"""The registry of embedding models: name → dimensions, most tokens, distance, storage, price."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from enum import StrEnum
from urllib.parse import urlsplit

from lib.errors import InvalidInput
from lib.settings import LOCAL_MODEL, NO_MODEL, Settings
from lib.vectors.distance import Distance, Storage


class Provider(StrEnum):
    """Who turns the text into a vector."""

    LOCAL = "local"
    OPENAI = "openai"
    OPENAI_COMPATIBLE = "openai-compatible"
    LITELLM = "litellm"
    NONE = "none"
    """Nobody: the vectors were given, and what made them was not named."""


@dataclass(frozen=True)
class EmbeddingModel:
    """One model, as far as it is known."""

    name: str
    provider: Provider
    dimensions: int | None
    """None until a probe has told (`EmbeddingService.probe`)."""
    max_tokens: int | None
    """A longer text is cut; None: not known, nothing is cut."""
    distance: Distance
    storage: Storage
    """Follows from the dimensions; without meaning before they are known."""
    price_usd_per_million_tokens: float | None
    """None: not known."""
    label: str
    note: str = ""
    """One sentence worth knowing before choosing it; may be empty."""

    @property
    def remote_name(self) -> str:
        """The name as the provider knows it; LiteLLM wants its own prefix left on."""
        return self.name if self.provider is Provider.LITELLM else self.name.partition("/")[2]

    @property
    def key_is_optional(self) -> bool:
        return self.provider in {Provider.LOCAL, Provider.OPENAI_COMPATIBLE, Provider.NONE}

    def with_dimensions(self, dimensions: int) -> EmbeddingModel:
        """The model once its dimensions are known: storage follows from them."""
        storage = Storage.for_dimensions(dimensions)
        note = self.note
        if dimensions > storage.max_index_dimensions:
            limit = storage.max_index_dimensions
            too_many = (
                f"Its {dimensions:,} dimensions are more than an index takes ({limit:,}): "
                "every search is an exact scan."
            )
            note = f"{note} {too_many}".strip()
        return replace(self, dimensions=dimensions, storage=storage, note=note)


def _registered(
    name: str,
    provider: Provider,
    dimensions: int,
    max_tokens: int,
    price: float,
    label: str,
    note: str = "",
) -> EmbeddingModel:
    return EmbeddingModel(
        name, provider, None, max_tokens, Distance.COSINE, Storage.VECTOR, price, label, note
    ).with_dimensions(dimensions)


# Prices and limits: OpenAI's and Cohere's price and model pages, in US dollars per million tokens.
# The local model has no limit of its own; past some thousand tokens an average of token vectors
# no longer changes, and a bound keeps a single huge text from taking the memory.
_REGISTRY: dict[str, EmbeddingModel] = {
    model.name: model
    for model in (
        _registered(
            LOCAL_MODEL,
            Provider.LOCAL,
            256,
            8192,
            0.0,
            "WordLlama 256 (on this machine)",
            "Needs no key and no network. It averages word vectors, so it misses word order and "
            "context: use it with hybrid search.",
        ),
        _registered(
            "openai/text-embedding-3-small",
            Provider.OPENAI,
            1536,
            8191,
            0.02,
            "OpenAI text-embedding-3-small",
        ),
        _registered(
            "openai/text-embedding-3-large",
            Provider.OPENAI,
            3072,
            8191,
            0.13,
            "OpenAI text-embedding-3-large",
            "Stored as halfvec (2 bytes a dimension), so that it can be indexed.",
        ),
        _registered(
            "openai/text-embedding-ada-002",
            Provider.OPENAI,
            1536,
            8191,
            0.10,
            "OpenAI text-embedding-ada-002",
            "For tables that were embedded with it; text-embedding-3-small is better and cheaper.",
        ),
        _registered(
            "cohere/embed-english-v3.0",
            Provider.LITELLM,
            1024,
            512,
            0.10,
            "Cohere embed-english-v3.0",
            "Token limits are estimates: Cohere's own tokenizer is not at hand.",
        ),
        _registered(
            "cohere/embed-multilingual-v3.0",
            Provider.LITELLM,
            1024,
            512,
            0.10,
            "Cohere embed-multilingual-v3.0",
            "Token limits are estimates: Cohere's own tokenizer is not at hand.",
        ),
    )
}

_NOT_NAMED = EmbeddingModel(
    NO_MODEL,
    Provider.NONE,
    None,
    None,
    Distance.COSINE,
    Storage.VECTOR,
    None,
    "No model (vectors that came with the documents)",
    "A question cannot be turned into a vector: it is searched for by its words.",
)

# LiteLLM's providers that embed, and the variable that holds their key (LiteLLM documentation,
# "Embedding models"). None: no key, or credentials of several parts that LiteLLM finds by itself.
# Written down because asking LiteLLM takes seconds (its import); a test compares the names.
LITELLM_KEYS: dict[str, str | None] = {
    "azure": "AZURE_API_KEY",
    "azure_ai": "AZURE_AI_API_KEY",
    "bedrock": None,
    "cohere": "COHERE_API_KEY",
    "databricks": "DATABRICKS_API_KEY",
    "deepinfra": "DEEPINFRA_API_KEY",
    "fireworks_ai": "FIREWORKS_AI_API_KEY",
    "gemini": "GEMINI_API_KEY",
    "github": "GITHUB_API_KEY",
    "hosted_vllm": None,
    "huggingface": "HUGGINGFACE_API_KEY",
    "infinity": "INFINITY_API_KEY",
    "jina_ai": "JINA_AI_API_KEY",
    "litellm_proxy": "LITELLM_PROXY_API_KEY",
    "lm_studio": None,
    "mistral": "MISTRAL_API_KEY",
    "nebius": "NEBIUS_API_KEY",
    "nvidia_nim": "NVIDIA_NIM_API_KEY",
    "ollama": None,
    "openrouter": "OPENROUTER_API_KEY",
    "sagemaker": None,
    "sambanova": "SAMBANOVA_API_KEY",
    "snowflake": "SNOWFLAKE_JWT",
    "together_ai": "TOGETHERAI_API_KEY",
    "vertex_ai": None,
    "volcengine": "VOLCENGINE_API_KEY",
    "voyage": "VOYAGE_API_KEY",
    "watsonx": "WATSONX_API_KEY",
    "xinference": "XINFERENCE_API_KEY",
}


def registered_models() -> tuple[EmbeddingModel, ...]:
    """The models that are known by name, the default first."""
    return tuple(_REGISTRY.values())


def key_variable(model: EmbeddingModel) -> str | None:
    """The environment variable that holds the model's key; None where it has no single one."""
    if model.provider in {Provider.OPENAI, Provider.OPENAI_COMPATIBLE}:
        return "OPENAI_API_KEY"
    if model.provider is Provider.LITELLM:
        return LITELLM_KEYS[model.name.partition("/")[0]]
    return None


def resolve_model(name: str, settings: Settings) -> EmbeddingModel:
    """The model of that name: registered, `openai-compatible/<model>`, or one of LiteLLM's
    (`provider/model`), whose dimensions a probe has to tell; NO_MODEL is the model that embeds
    nothing.

    Raises InvalidInput where there is no such model, saying which there are, and where the base
    URL that an OpenAI-compatible model needs is missing or is not one.
    """
    name = name.strip()
    if found := _REGISTRY.get(name):
        return found
    if name == NO_MODEL:
        return _NOT_NAMED
    prefix, _, rest = name.partition("/")
    if rest and prefix == Provider.OPENAI_COMPATIBLE:
        base_url(settings)
        return _unregistered(name, Provider.OPENAI_COMPATIBLE, rest)
    if rest and prefix in LITELLM_KEYS:
        return _unregistered(name, Provider.LITELLM, rest)
    raise InvalidInput(f'There is no embedding model "{name}".', hint=_what_exists(name))


def base_url(settings: Settings) -> str:
    """The base URL of the OpenAI-compatible server, without a slash at its end.

    Raises InvalidInput where it is not set or is no http(s) URL.
    """
    variable = "VECSCOPE_OPENAI_BASE_URL"
    url = (settings.openai_base_url or "").strip().rstrip("/").removesuffix("/embeddings")
    example = "such as http://localhost:11434/v1 for Ollama"
    if not url:
        raise InvalidInput(
            f"{variable} is not set, and an openai-compatible model needs it.",
            hint=f"Set it to the server's base URL, {example}.",
            field=variable,
        )
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        raise InvalidInput(
            f"{variable} is not an http or https URL.",
            hint=f"Give the whole base URL, {example}.",
            field=variable,
        )
    return url


def _unregistered(name: str, provider: Provider, label: str) -> EmbeddingModel:
    via = "OpenAI-compatible server" if provider is Provider.OPENAI_COMPATIBLE else "LiteLLM"
    return EmbeddingModel(
        name, provider, None, None, Distance.COSINE, Storage.VECTOR, None, f"{label} ({via})"
    )


def _what_exists(name: str) -> str:
    known = list(_REGISTRY)
    prefixes = [f"{prefix}/" for prefix in (Provider.OPENAI_COMPATIBLE, *LITELLM_KEYS)]
    close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.8)
    if not close:
        prefix, slash, rest = name.lower().partition("/")
        near = difflib.get_close_matches(f"{prefix}/", prefixes, n=1, cutoff=0.75) if slash else []
        close = [near[0] + rest] if near else []
    meant = f"Did you mean {close[0]}? " if close else ""
    return (
        f"{meant}There are {', '.join(known)}; openai-compatible/<model> with "
        f"VECSCOPE_OPENAI_BASE_URL; and LiteLLM's <provider>/<model> for {', '.join(LITELLM_KEYS)}."
    )
