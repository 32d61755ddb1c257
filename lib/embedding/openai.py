"""OpenAI's wire format over httpx: OpenAI itself, Ollama, vLLM, TEI, LM Studio and others."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any

import httpx
import numpy as np

from lib.embedding.models import EmbeddingModel, Provider
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

OPENAI_BASE_URL = "https://api.openai.com/v1"

# OpenAI's API reference, "Create embeddings". Other servers publish no common limit; Text
# Embeddings Inference refuses more than 32 texts unless told otherwise, the strictest of them.
OPENAI_LIMITS = BatchLimits(max_texts=2048, max_tokens=300_000)
COMPATIBLE_LIMITS = BatchLimits(max_texts=32, max_tokens=100_000)
_CONNECT_SECONDS = 10.0


class OpenAIClient:
    """One server and one model. The HTTP client is made at the first request, on its loop."""

    def __init__(self, model: EmbeddingModel, base_url: str) -> None:
        self._model = model
        url = httpx.URL(base_url)
        # A user and password in the URL are for a proxy in front: they stay out of every message.
        self._proxy_login = (url.username, url.password) if url.userinfo else None
        self._url = url.copy_with(userinfo=b"", path=f"{url.path.rstrip('/')}/embeddings")
        self._is_openai = model.provider is Provider.OPENAI
        self._http: httpx.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def limits(self) -> BatchLimits:
        return OPENAI_LIMITS if self._is_openai else COMPATIBLE_LIMITS

    async def embed(self, texts: Sequence[str], role: Role) -> Answer:  # noqa: ARG002 (one for both)
        body = {
            "model": self._model.remote_name,
            "input": list(texts),
            # A quarter of the bytes, but not every compatible server knows it.
            "encoding_format": "base64" if self._is_openai else "float",
        }
        key = provider_key(self._model)
        headers = {"Authorization": f"Bearer {key}"} if key and not self._proxy_login else {}
        try:
            response = await self._on_this_loop().post(self._url, json=body, headers=headers)
        except httpx.HTTPError as exc:
            raise self._not_reached(exc) from None
        if response.status_code >= 400:
            raise self._refusal(response)
        return await asyncio.to_thread(self._parse, response.content, len(texts))

    async def aclose(self) -> None:
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

    def _on_this_loop(self) -> httpx.AsyncClient:
        """Connections belong to the loop they were made on; with another loop come others."""
        loop = asyncio.get_running_loop()
        if self._http is None or self._loop is not loop:
            # No read timeout: the service's deadline covers the whole request.
            self._http = httpx.AsyncClient(
                auth=self._proxy_login, timeout=httpx.Timeout(None, connect=_CONNECT_SECONDS)
            )
            self._loop = loop
        return self._http

    def _not_reached(self, exc: httpx.HTTPError) -> EmbeddingProblem:
        if isinstance(exc, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
            return ProviderRejected(
                f"No request can be made for {self._model.name} ({type(exc).__name__}).",
                hint="Check the base URL, and the key for stray characters.",
            )
        refused = isinstance(exc, httpx.ConnectError | httpx.ConnectTimeout)
        what = "cannot be reached" if refused else "broke the connection off"
        return TryAgain(
            f"The server at {self._url.host} {what} ({type(exc).__name__}).",
            hint="Check that it runs, and the network." if refused else "Try again later.",
            most_attempts=3 if refused else None,
        )

    def _refusal(self, response: httpx.Response) -> EmbeddingProblem:
        said, code = response.text, ""
        try:
            error = response.json()["error"]
            if isinstance(error, dict):
                said, code = str(error.get("message", "")), str(error.get("code", ""))
            else:
                said = str(error)
        except (ValueError, KeyError, TypeError):
            pass  # not OpenAI's shape: its own words are quoted as they are
        return provider_problem(
            self._model,
            response.status_code,
            said,
            retry_after=retry_after_seconds(response.headers),
            code=code,
        )

    def _parse(self, content: bytes, count: int) -> Answer:
        """The vectors by their `index`: servers need not keep the order, and some do not."""
        try:
            answer = json.loads(content)
            items = answer["data"]
            vectors: list[FloatArray | None] = [None] * count
            for position, item in enumerate(items):
                index = item.get("index", position)
                if not 0 <= index < count or vectors[index] is not None:
                    raise ValueError("an index that was not asked for, or twice")
                vectors[index] = _vector(item["embedding"])
            usage = answer.get("usage") or {}
            tokens = usage.get("prompt_tokens", usage.get("total_tokens"))
            return Answer(vectors, int(tokens) if tokens is not None else None)
        except (ValueError, KeyError, TypeError, AttributeError):
            begin = redact(content[:5000].decode(errors="replace"))[:200]
            raise ProviderRejected(
                f"The server at {self._url.host} did not answer as an OpenAI-compatible server "
                f'does, but with "{begin}".',
                hint="Check the base URL (most servers need /v1 at its end).",
            ) from None


def _vector(embedding: Any) -> FloatArray:
    if isinstance(embedding, str):
        try:
            return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4").copy()
        except binascii.Error as exc:
            raise ValueError(str(exc)) from None
    vector = np.asarray(embedding, dtype=np.float32)
    if vector.ndim != 1:
        raise ValueError("not one row of numbers")
    return vector
