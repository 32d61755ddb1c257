"""LiteLLM against the test server: one test, since its import takes seconds."""

import logging

import numpy as np
import pytest
from provider_server import Misbehaviour, ProviderServer, vector_of

from lib.embedding import provider as provider_module
from lib.embedding.litellm import LiteLLMClient, load_litellm
from lib.embedding.models import LITELLM_KEYS, resolve_model
from lib.embedding.service import EmbeddingService, Role
from lib.errors import ProviderRejected, ProviderUnavailable
from lib.settings import Settings

KEY = "co-test-Zm9vYmFyYmF6cXV4"


async def test_litellm(monkeypatch, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    server = ProviderServer()
    monkeypatch.setattr(provider_module, "ENV_FILE", tmp_path / ".env")
    monkeypatch.setenv("HOSTED_VLLM_API_BASE", server.base_url)
    monkeypatch.setenv("COHERE_API_KEY", KEY)
    settings = Settings(_env_file=None, embedding_deadline_seconds=60)

    # OpenAI's format through LiteLLM: order, retries, refusals, one bad text.
    service = EmbeddingService(resolve_model("hosted_vllm/m", settings), settings)
    assert (await service.probe()).dimensions == 8
    server.plan(
        Misbehaviour(status=429, headers={"Retry-After": "0"}),
        Misbehaviour(change=lambda answer: {**answer, "data": answer["data"][::-1]}),
    )
    batch = await service.get_embeddings_batch(["a", "b", "c"])
    np.testing.assert_allclose(batch.vectors, [vector_of(text, 8) for text in "abc"])
    assert (batch.usage.requests, batch.usage.cost_usd) == (2, None)
    server.refuse = lambda text: text == "bad"
    batch = await service.get_embeddings_batch(["a", "bad", "c"])
    assert list(batch.problems) == [1]

    before = len(server.requests)
    server.plan(Misbehaviour(status=401, body='{"error": {"message": "wrong key"}}'))
    with pytest.raises(ProviderRejected, match="401"):
        await service.get_embedding("x")
    assert len(server.requests) == before + 1
    server.plan(Misbehaviour(status=429, headers={"Retry-After": "3600"}))
    with pytest.raises(ProviderUnavailable, match="asking to wait 3600 s"):
        await service.get_embedding("x")
    assert len(server.requests) == before + 2

    # Cohere: a query and a document are embedded as what they are.
    server.dimensions = 1024
    model = resolve_model("cohere/embed-english-v3.0", settings)
    client = LiteLLMClient(model, 15, api_base=f"{server.root_url}/v2/embed")
    cohere = EmbeddingService(model, settings, client=client)
    batch = await cohere.get_embeddings_batch(["some text"])
    np.testing.assert_allclose(batch.vectors[0], vector_of("some text", 1024), rtol=1e-6)
    assert batch.usage.cost_usd is not None
    await cohere.get_embedding("some text")
    roles = [request.body["input_type"] for request in server.requests[-2:]]
    assert roles == ["search_document", "search_query"]
    server.plan(Misbehaviour(status=401, body=f'{{"message": "invalid api token {KEY}"}}'))
    with pytest.raises(ProviderRejected) as caught:
        await cohere.get_embedding("other", Role.QUERY)
    assert caught.value.field == "COHERE_API_KEY"
    assert KEY not in f"{caught.value!r} {caught.value} {caplog.text}"

    nobody = LiteLLMClient(model, 15, api_base="http://127.0.0.1:9/v2/embed")
    with pytest.raises(ProviderUnavailable, match="cannot be reached"):
        await EmbeddingService(model, settings, client=nobody).get_embedding("word")
    server.close()

    litellm = load_litellm()
    assert LITELLM_KEYS.keys() <= {provider.value for provider in litellm.provider_list}
    assert not [record for record in caplog.records if record.name.startswith("LiteLLM")]
