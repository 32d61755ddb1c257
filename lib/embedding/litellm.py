"""Every provider that LiteLLM knows and that does not speak OpenAI's wire format."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np

from lib.embedding.models import EmbeddingModel
from lib.embedding.provider import (
    Answer,
    BatchLimits,
    Role,
    TryAgain,
    provider_key,
    provider_problem,
    redact,
    retry_after_seconds,
)
from lib.errors import EmbeddingProblem, ProviderRejected
from lib.vectors.distance import FloatArray

# Cohere refuses more than 96 texts; of the providers that publish a limit it is the lowest that
# more than one of them shares.
_LIMITS = BatchLimits(max_texts=96, max_tokens=100_000)

# What the providers call the two roles; LiteLLM passes `input_type` through.
_INPUT_TYPES: dict[str, dict[Role, str]] = {
    "cohere": {Role.DOCUMENT: "search_document", Role.QUERY: "search_query"},
    "voyage": {Role.DOCUMENT: "document", Role.QUERY: "query"},
}

_loading = threading.Lock()


def load_litellm() -> Any:
    """The litellm module, quiet and without calls home. Takes seconds the first time."""
    with _loading:
        return _load()


@cache
def _load() -> Any:
    # At import it would read prices from the network, and load a .env of its own finding.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    os.environ.setdefault("LITELLM_MODE", "PRODUCTION")
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    import litellm

    litellm.telemetry = False
    litellm.suppress_debug_info = True
    litellm.turn_off_message_logging = True
    return litellm


class LiteLLMClient:
    """One model of LiteLLM's. It keeps its HTTP clients to itself, so there is none to close."""

    limits = _LIMITS

    def __init__(
        self, model: EmbeddingModel, timeout_seconds: float, api_base: str | None = None
    ) -> None:
        """api_base: where the provider is, if not where LiteLLM looks for it by itself."""
        self._model = model
        self._timeout_seconds = timeout_seconds
        self._api_base = api_base

    async def embed(self, texts: Sequence[str], role: Role) -> Answer:
        litellm = await asyncio.to_thread(load_litellm)
        import httpx
        import openai  # LiteLLM's errors are OpenAI's

        prefix = self._model.name.partition("/")[0]
        options: dict[str, Any] = {}
        if prefix in _INPUT_TYPES:
            options["input_type"] = _INPUT_TYPES[prefix][role]
        if key := provider_key(self._model):
            options["api_key"] = key
        if self._api_base:
            options["api_base"] = self._api_base
        try:
            response = await litellm.aembedding(
                model=self._model.remote_name,
                input=list(texts),
                timeout=self._timeout_seconds,
                num_retries=0,
                max_retries=0,
                **options,
            )
        except (openai.OpenAIError, httpx.HTTPError, ValueError) as exc:
            # LiteLLM calls a server that is not there a 500; it is not worth the whole deadline.
            if any(isinstance(cause, httpx.ConnectError) for cause in _causes(exc)):
                raise TryAgain(
                    f"The provider of {self._model.name} cannot be reached.",
                    hint="Check the network, and the provider's address.",
                    most_attempts=3,
                ) from None
            raise self._problem(exc) from None
        return self._parse(response, len(texts))

    async def aclose(self) -> None:
        """There is nothing to close."""

    def _problem(self, exc: Exception) -> EmbeddingProblem:
        status = getattr(exc, "status_code", None)
        said = str(getattr(exc, "message", exc))
        if isinstance(status, int):
            headers = getattr(exc, "litellm_response_headers", None) or {}
            return provider_problem(
                self._model, status, said, retry_after=retry_after_seconds(headers)
            )
        return ProviderRejected(
            f'LiteLLM cannot embed with {self._model.name}: "{redact(said)[:300]}"',
            hint="Check the model's name, and the packages and settings that its provider needs.",
        )

    def _parse(self, response: Any, count: int) -> Answer:
        vectors: list[FloatArray | None] = [None] * count
        try:
            for position, item in enumerate(response.data):
                index = item.get("index", position)
                if not 0 <= index < count or vectors[index] is not None:
                    raise ValueError("an index that was not asked for, or twice")
                vectors[index] = np.asarray(item["embedding"], dtype=np.float32)
            usage = response.usage
            return Answer(vectors, usage.prompt_tokens if usage else None)
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise ProviderRejected(
                f"LiteLLM's answer for {self._model.name} is not a list of vectors "
                f"({type(exc).__name__}).",
                hint="Check the model's name: is it an embedding model?",
            ) from None


def _causes(exc: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = exc
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
