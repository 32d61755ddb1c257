"""EmbeddingService against a real HTTP server that answers like OpenAI's, or misbehaves."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import numpy as np
import pytest
import structlog
from provider_server import Misbehaviour, ProviderServer, vector_of
from tenacity import wait_random_exponential

from lib.embedding import provider as provider_module
from lib.embedding import service as service_module
from lib.embedding.models import resolve_model
from lib.embedding.openai import OpenAIClient
from lib.embedding.provider import BatchLimits, redact, retry_after_seconds
from lib.embedding.service import EmbeddingService, Role, create_service, embedding_text
from lib.errors import (
    DimensionMismatch,
    EmbeddingProblem,
    InvalidInput,
    InvalidVector,
    ProviderRejected,
    ProviderUnavailable,
)
from lib.settings import Settings

KEY = "sk-test-Zm9vYmFyYmF6cXV4"


@pytest.fixture(autouse=True)
def _no_keys_of_the_machine_and_short_waits(monkeypatch, tmp_path):
    monkeypatch.setattr(service_module, "_backoff", wait_random_exponential(multiplier=0.01))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr(provider_module, "ENV_FILE", tmp_path / ".env")


@pytest.fixture
def server():
    server = ProviderServer()
    yield server
    server.close()


def _settings(server: ProviderServer, **changes) -> Settings:
    values = {"openai_base_url": server.base_url, "embedding_deadline_seconds": 10.0, **changes}
    return Settings(_env_file=None, **values)


def _service(server: ProviderServer, **changes) -> EmbeddingService:
    settings = _settings(server, **changes)
    model = resolve_model("openai-compatible/m", settings).with_dimensions(server.dimensions)
    return EmbeddingService(model, settings)


def _openai_service(server: ProviderServer) -> EmbeddingService:
    """The registered model with all that belongs to OpenAI, but the test server's address."""
    server.dimensions = 1536
    settings = _settings(server)
    model = resolve_model("openai/text-embedding-3-small", settings)
    return EmbeddingService(model, settings, client=OpenAIClient(model, server.base_url))


def _expected(texts: list[str], dimensions: int = 8) -> np.ndarray:
    return np.stack([vector_of(text, dimensions) for text in texts])


def _shuffled(answer: dict) -> dict:
    order = np.random.default_rng(5).permutation(len(answer["data"]))
    return {**answer, "data": [answer["data"][place] for place in order]}


TEXTS = [f"text number {number}" for number in range(70)]


async def test_order_is_kept_over_several_requests_where_the_provider_does_not(server):
    server.always = Misbehaviour(change=_shuffled)
    server.slow_seconds = 0.05
    service = _service(server, embedding_concurrency=2)
    batch = await service.get_embeddings_batch(TEXTS)
    np.testing.assert_array_equal(batch.vectors, _expected(TEXTS))
    assert [len(request.texts) for request in server.requests] == [32, 32, 6]
    assert server.most_at_once == 2
    assert (batch.usage.requests, batch.usage.cost_usd) == (3, None)
    assert service.usage == batch.usage


async def test_openai_gets_base64_and_its_bill_is_kept(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    service = _openai_service(server)
    batch = await service.get_embeddings_batch(["two words", "one"])
    np.testing.assert_array_equal(batch.vectors, _expected(["two words", "one"], 1536))
    (request,) = server.requests
    assert request.path == "/v1/embeddings"
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert request.body["model"] == "text-embedding-3-small"
    assert request.body["encoding_format"] == "base64"
    assert batch.usage.tokens == 3
    assert batch.usage.cost_usd == pytest.approx(3 * 0.02 / 1_000_000)


async def test_openai_without_a_key_is_refused_before_anything_is_sent(server):
    with pytest.raises(InvalidInput) as caught:
        await _openai_service(server).get_embedding("word")
    assert caught.value.field == "OPENAI_API_KEY"
    assert server.requests == []


async def test_tokens_are_counted_where_the_provider_does_not(server):
    server.says_usage = False
    batch = await _service(server).get_embeddings_batch(["tiktoken is great!"])
    assert batch.usage.tokens == 6


@pytest.mark.parametrize(("status"), [408, 409, 429, 500, 503])
async def test_what_may_pass_is_tried_again(server, status):
    server.plan(Misbehaviour(status=status), Misbehaviour(status=status))
    batch = await _service(server).get_embeddings_batch(["word"])
    np.testing.assert_array_equal(batch.vectors, _expected(["word"]))
    assert batch.usage.requests == 3


async def test_a_broken_connection_is_tried_again(server):
    server.plan(Misbehaviour(half=True))
    np.testing.assert_array_equal(
        await _service(server).get_embedding("word"), vector_of("word", 8)
    )


async def test_retry_after_is_obeyed(server):
    server.plan(Misbehaviour(status=429, headers={"Retry-After": "1"}))
    await _service(server).get_embedding("word")
    first, second = server.requests
    assert second.at - first.at >= 1.0


async def test_a_retry_after_as_a_date_is_obeyed(server):
    tomorrow = format_datetime(datetime.now(UTC) + timedelta(days=1), usegmt=True)
    server.plan(Misbehaviour(status=503, headers={"Retry-After": tomorrow}))
    with pytest.raises(ProviderUnavailable, match="asking to wait 86"):
        await _service(server).get_embedding("word")


async def test_a_retry_after_beyond_the_deadline_is_not_waited_for(server):
    server.plan(Misbehaviour(status=429, headers={"Retry-After": "3600"}))
    with pytest.raises(ProviderUnavailable, match="asking to wait 3600 s"):
        await _service(server).get_embedding("word")
    assert len(server.requests) == 1


async def test_a_provider_that_hangs_meets_the_deadline(server):
    server.always = Misbehaviour(hang=True)
    service = _service(server, embedding_deadline_seconds=0.3)
    with pytest.raises(ProviderUnavailable, match=r"within 0\.3 seconds"):
        await service.get_embeddings_batch(TEXTS)


async def test_a_server_that_is_down_is_given_up_soon():
    server = ProviderServer()
    server.close()
    service = _service(server, embedding_deadline_seconds=60)
    with pytest.raises(ProviderUnavailable, match="cannot be reached"):
        await service.get_embedding("word")
    assert service.usage.requests == 3


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_what_will_not_pass_is_not_tried_again(server, status):
    server.always = Misbehaviour(status=status, body='{"error": {"message": "no"}}')
    with pytest.raises(ProviderRejected, match=f"HTTP {status}"):
        await _service(server, embedding_concurrency=1).get_embeddings_batch(TEXTS)
    assert len(server.requests) == 1


async def test_a_used_up_quota_is_not_waited_for(server):
    body = '{"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}'
    server.always = Misbehaviour(status=429, body=body)
    with pytest.raises(ProviderRejected, match="quota"):
        await _service(server).get_embedding("word")
    assert len(server.requests) == 1


async def test_only_the_text_to_blame_fails(server):
    server.refuse = lambda text: text in {TEXTS[3], TEXTS[40]}
    batch = await _service(server).get_embeddings_batch(TEXTS)
    assert sorted(batch.problems) == [3, 40]
    assert isinstance(batch.problems[3], ProviderRejected)
    good = [place for place in range(70) if place not in (3, 40)]
    np.testing.assert_array_equal(batch.vectors[good], _expected([TEXTS[i] for i in good]))
    assert np.isnan(batch.vectors[[3, 40]]).all()


async def test_a_request_refused_for_any_text_is_not_halved(server):
    server.always = Misbehaviour(status=400, body='{"error": {"message": "no such model"}}')
    with pytest.raises(ProviderRejected, match="no such model"):
        await _service(server, embedding_concurrency=1).get_embeddings_batch(TEXTS)
    assert [request.texts for request in server.requests[1:]] == [["probe"]]


async def test_what_was_paid_for_is_kept_when_the_key_is_withdrawn(server):
    server.plan(Misbehaviour(), Misbehaviour(status=401))
    batch = await _service(server, embedding_concurrency=1).get_embeddings_batch(TEXTS)
    np.testing.assert_array_equal(batch.vectors[:32], _expected(TEXTS[:32]))
    assert sorted(batch.problems) == list(range(32, 70))
    assert len(server.requests) == 2


async def test_a_missing_item_costs_only_its_own_text(server):
    server.plan(Misbehaviour(change=lambda answer: {**answer, "data": answer["data"][1:]}))
    batch = await _service(server).get_embeddings_batch(["a", "b", "c"])
    assert list(batch.problems) == [0]
    assert type(batch.problems[0]) is EmbeddingProblem
    np.testing.assert_array_equal(batch.vectors[1:], _expected(["b", "c"]))


def _with_first(value):
    def change(answer: dict) -> dict:
        answer["data"][0]["embedding"] = value
        return answer

    return Misbehaviour(change=change)


@pytest.mark.parametrize("value", [[float("nan")] * 8, [float("inf")] + [1.0] * 7, [0.0] * 8])
async def test_a_vector_that_no_distance_is_defined_for_is_refused(server, value):
    server.plan(_with_first(value))
    batch = await _service(server).get_embeddings_batch(["a", "b"])
    assert {place: type(problem) for place, problem in batch.problems.items()} == {0: InvalidVector}
    np.testing.assert_array_equal(batch.vectors[1], vector_of("b", 8))


async def test_a_wrong_dimension_is_refused(server):
    service = _service(server)
    server.dimensions = 9
    with pytest.raises(DimensionMismatch, match="9 dimensions instead of 8"):
        await service.get_embedding("word")
    with pytest.raises(DimensionMismatch):
        await service.get_embeddings_batch(["word"])


@pytest.mark.parametrize(
    "raw",
    [
        b"<html>hello</html>",
        b'{"data": ',
        b"[]",
        b'{"data": [{"index": 7, "embedding": [1]}]}',
        b'{"data": [{"index": 0, "embedding": [[1]]}]}',
        b'{"data": [{"index": 0, "embedding": ["x"]}]}',
        b'{"data": [{"index": 0, "embedding": "&&&"}]}',
        b'{"data": [{"index": 0, "embedding": "AAA="}]}',
        b'{"data": [3]}',
        b'{"error": "something"}',
    ],
)
async def test_an_answer_of_another_shape_is_said(server, raw):
    server.always = Misbehaviour(raw=raw)
    with pytest.raises(ProviderRejected, match="did not answer as an OpenAI-compatible server"):
        await _service(server).get_embedding("word")
    assert len(server.requests) == 1


async def test_a_query_is_embedded_once(server):
    server.slow_seconds = 0.05
    service = _service(server)
    vectors = await asyncio.gather(*(service.get_embedding("same question") for _ in range(5)))
    again = await service.get_embedding("same question")
    assert len(server.requests) == 1
    assert all(vector is again for vector in vectors)
    await service.get_embedding("same question", Role.DOCUMENT)
    assert len(server.requests) == 2


async def test_unknown_dimensions_are_learned_by_one_probe(server):
    settings = _settings(server)
    service = EmbeddingService(resolve_model("openai-compatible/m", settings), settings)
    model = await service.probe()
    assert (model.dimensions, service.model) == (8, model)
    await service.probe()
    assert len(server.requests) == 1


async def test_blank_texts_are_refused_and_not_sent(server):
    service = _service(server)
    with pytest.raises(InvalidInput, match="empty"):
        await service.get_embedding(" \n\0")
    batch = await service.get_embeddings_batch(["", "lone \ud800 half \0 x"])
    assert list(batch.problems) == [0]
    assert [request.texts for request in server.requests] == [["lone � half   x"]]


async def test_a_too_long_text_is_cut_to_the_models_tokens(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    long = "index " * 9000
    batch = await _openai_service(server).get_embeddings_batch(["short", long])
    assert batch.truncated == (1,)
    sent = server.requests[0].texts[1]
    assert long.startswith(sent)
    assert len(sent.split()) == 8191  # "index" and " index" are one token each


async def test_requests_are_bounded_by_tokens(server):
    settings = _settings(server)
    model = resolve_model("openai-compatible/m", settings).with_dimensions(8)

    class TightClient(OpenAIClient):
        limits = BatchLimits(max_texts=100, max_tokens=10)

    service = EmbeddingService(model, settings, client=TightClient(model, server.base_url))
    texts = ["one two three four", "five six seven", "eight nine ten eleven", "x " * 30, "end"]
    batch = await service.get_embeddings_batch(texts)
    assert batch.problems == {}
    sizes = [len(request.texts) for request in sorted(server.requests, key=lambda r: r.at)]
    assert sorted(sizes) == [1, 1, 1, 2]
    np.testing.assert_array_equal(batch.vectors, _expected([text.strip() for text in texts]))


def test_a_service_outlives_an_event_loop(server):
    service = _service(server, embedding_concurrency=1)

    async def once() -> np.ndarray:
        return (await service.get_embeddings_batch(TEXTS)).vectors

    for _ in range(2):
        np.testing.assert_array_equal(asyncio.run(once()), _expected(TEXTS))


def test_one_service_for_each_model_and_base_url(server):
    settings = _settings(server)
    assert create_service("openai-compatible/a", settings, 8) is create_service(
        "openai-compatible/a", settings, 8
    )
    elsewhere = settings.model_copy(update={"openai_base_url": "http://127.0.0.1:9/v1"})
    assert create_service("openai-compatible/a", elsewhere, 8) is not create_service(
        "openai-compatible/a", settings, 8
    )
    with pytest.raises(DimensionMismatch):
        create_service("local/wordllama-256", settings, 300)


@pytest.mark.parametrize("status", [401, 400, 403, 404, 429, 500])
async def test_the_key_is_in_no_log_message_or_repr(server, monkeypatch, caplog, status):
    """Also where the provider repeats it."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    body = f'{{"error": {{"message": "Incorrect API key provided: {KEY}. Header Bearer {KEY}"}}}}'
    server.always = Misbehaviour(status=status, body=body, headers={"Retry-After": "99"})
    service = _openai_service(server)
    with structlog.testing.capture_logs() as events, pytest.raises(EmbeddingProblem) as caught:
        await service.get_embedding("word")
    error = caught.value
    assert server.requests[0].headers["Authorization"].endswith(KEY)
    shown = [str(error), repr(error), error.hint, repr(service), repr(service.model)]
    shown += [repr(vars(service)), repr(events), caplog.text]
    for cause in (error.__cause__, error.__context__):
        shown.append(repr(cause))
    assert KEY not in "\n".join(shown)
    assert "[key]" in error.message


async def test_texts_are_not_logged(server):
    with structlog.testing.capture_logs() as events:
        service = _service(server)
        await service.get_embeddings_batch(["confidential"])
        await service.get_embedding("confidential")
    assert "embedding.batch" in [event["event"] for event in events]
    assert "confidential" not in repr(events)


async def test_a_login_in_the_base_url_is_used_and_not_shown(server):
    server.always = Misbehaviour(raw=b"no")
    url = server.base_url.replace("//", "//someone:pass-word@")
    with pytest.raises(ProviderRejected) as caught:
        await _service(server, openai_base_url=url).get_embedding("word")
    assert server.requests[0].headers["Authorization"].startswith("Basic ")
    assert "pass-word" not in str(caught.value)


def test_redact_hides_masked_keys_and_other_secrets(monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "abcdef123")
    assert redact("got abcdef123") == "got [key]"
    assert (
        redact("Incorrect API key provided: sk-ab***wxyz.") == "Incorrect API key provided: [key]"
    )
    assert redact("the risk-based task-force") == "the risk-based task-force"


NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after": "0"}, 0),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Thu, 01 Jan 2026 12:00:30 GMT"}, 30),
        ({"retry-after": "Thu, 01 Jan 2026 12:00:30 -0000"}, 30),
        ({"retry-after": "Thu, 01 Jan 2026 11:00:00 GMT"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": ""}, None),
    ],
)
def test_retry_after_is_read_in_each_form(headers, seconds):
    assert retry_after_seconds(headers, NOW) == seconds


@pytest.mark.parametrize(
    ("title", "content", "expected"),
    [
        ("Title", "Content.", "Title\nContent."),
        (None, "Content.", "Content."),
        ("  ", "Content.", "Content."),
        ("Title", "Title\nMore.", "Title\nMore."),
        ("Title", "# title\n\nMore.", "# title\n\nMore."),
        ("In", "Indexes are quick.", "In\nIndexes are quick."),
        ("Title", "", "Title\n"),
    ],
)
def test_the_title_is_embedded_once(title, content, expected):
    assert embedding_text(title, content) == expected
