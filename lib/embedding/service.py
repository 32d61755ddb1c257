"""Texts in, vectors out: batches, retries, a deadline, the cache and the bill."""

from __future__ import annotations

import asyncio
import random
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import structlog
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_before_delay,
    wait_random_exponential,
)

from lib.embedding.cache import VectorCache, cache_key
from lib.embedding.litellm import LiteLLMClient, load_litellm
from lib.embedding.local import LocalClient
from lib.embedding.models import EmbeddingModel, Provider, base_url, resolve_model
from lib.embedding.openai import OPENAI_BASE_URL, OpenAIClient
from lib.embedding.provider import (
    Answer,
    BatchLimits,
    Client,
    InputRejected,
    NoClient,
    Role,
    TryAgain,
    missing_key,
    no_model,
)
from lib.embedding.tokens import counter_for
from lib.errors import (
    DimensionMismatch,
    EmbeddingProblem,
    InvalidInput,
    InvalidVector,
    ProviderRejected,
    ProviderUnavailable,
    VecscopeError,
)
from lib.settings import Settings
from lib.vectors.distance import Distance, FloatArray

__all__ = [
    "EmbeddingBatch",
    "EmbeddingService",
    "Role",
    "Usage",
    "create_service",
    "embedding_text",
    "missing_key",
]

log = structlog.get_logger(__name__)

_PROBE_TEXT = "probe"
_backoff = wait_random_exponential(multiplier=0.5, max=20)


@dataclass(frozen=True)
class Usage:
    """What was asked of the provider.

    tokens: as the provider counted them, else as :class:`TokenCounter` does. requests: with those
    that were tried again. cost_usd: None where the price is not known.
    """

    tokens: int = 0
    requests: int = 0
    cost_usd: float | None = 0.0

    def __add__(self, other: Usage) -> Usage:
        known = self.cost_usd is not None and other.cost_usd is not None
        cost = (self.cost_usd or 0.0) + (other.cost_usd or 0.0) if known else None
        return Usage(self.tokens + other.tokens, self.requests + other.requests, cost)


@dataclass(frozen=True, eq=False)
class EmbeddingBatch:
    """The outcome for n texts, in their order.

    vectors: float32 array (n, d). The row of a text that failed is NaN, which pgvector refuses, so
    that it cannot be stored by mistake.
    problems: position → why that text has no vector.
    truncated: positions of the texts that were cut at a token border, the model taking no more.
    """

    vectors: FloatArray
    problems: dict[int, VecscopeError]
    truncated: tuple[int, ...]
    usage: Usage

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def outcomes(self) -> tuple[FloatArray | VecscopeError, ...]:
        """For each text its vector (d,), or what was wrong with it."""
        return tuple(self.problems.get(place, row) for place, row in enumerate(self.vectors))


@dataclass(frozen=True)
class _Prepared:
    """A text as it is sent. tokens: 0 where the provider sets no limit by tokens."""

    text: str
    tokens: int
    was_cut: bool


@dataclass
class _Run:
    """One call's state. fatal: what ended it for all texts that have no vector yet."""

    role: Role
    prepared: dict[int, _Prepared] = field(default_factory=dict)
    vectors: dict[int, FloatArray] = field(default_factory=dict)
    problems: dict[int, VecscopeError] = field(default_factory=dict)
    usage: Usage = Usage()
    fatal: VecscopeError | None = None


class EmbeddingService:
    """One model, ready to embed.

    model: with its dimensions, once they are known. usage: what was used since it was made.
    """

    def __init__(
        self, model: EmbeddingModel, settings: Settings, *, client: Client | None = None
    ) -> None:
        """client: in place of the one that the model's provider has, such as for a gateway.

        Raises InvalidInput where an OpenAI-compatible model has no base URL.
        """
        self.model = model
        self.usage = Usage()
        self._client = client or _client_for(model, settings)
        self._deadline_seconds = settings.embedding_deadline_seconds
        # The local model's tokenizer uses all cores by itself.
        self._concurrency = (
            1 if model.provider is Provider.LOCAL else settings.embedding_concurrency
        )
        self._slots = asyncio.Semaphore(self._concurrency)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._cache = VectorCache()
        self._has_answered = False

    def __repr__(self) -> str:
        return f"EmbeddingService({self.model.name!r})"

    async def aclose(self) -> None:
        await self._client.aclose()

    @property
    def texts_per_request(self) -> int:
        """The most that one request carries."""
        return self._client.limits.max_texts

    def is_cut(self, text: str) -> bool:
        """Whether the model takes only the beginning of this text."""
        return self._prepare(text).was_cut

    async def probe(self) -> EmbeddingModel:
        """The model with its dimensions; asks the provider once where they are not known.

        The caller stores them with the collection. Raises as :meth:`get_embedding` does.
        """
        if self.model.dimensions is None:
            self._require_key()
            run = _Run(Role.QUERY)
            answer = await self._request([_PROBE_TEXT], run)
            vector = answer.vectors[0]
            if vector is None or len(vector) == 0:
                raise ProviderRejected(
                    f"The provider of {self.model.name} gave no vector for a probe.",
                    hint="Check the model's name: is it an embedding model?",
                )
            self.model = self.model.with_dimensions(len(vector))
            log.info("embedding.probe", model=self.model.name, dimensions=len(vector))
        return self.model

    async def get_embedding(self, text: str, role: Role = Role.QUERY) -> FloatArray:
        """The vector of one text: a read-only float32 array (d,), from the cache if it is there.

        Raises InvalidInput (blank text, no key), DimensionMismatch, InvalidVector,
        ProviderRejected, ProviderUnavailable, EmbeddingProblem.
        """
        prepared = await asyncio.to_thread(self._prepare, text)
        if prepared.was_cut:
            log.warning("embedding.truncated", model=self.model.name, role=role.value)

        async def embed() -> FloatArray:
            await self._be_ready()
            run = _Run(role, {0: prepared})
            # Takes no slot: a person who asks does not wait behind a long load.
            await self._embed_part([0], run)
            if 0 in run.problems:
                raise run.problems[0]
            return run.vectors[0]

        key = cache_key(self.model.name, role, prepared.text)
        return await self._cache.get_or_embed(key, embed)

    async def get_embeddings_batch(
        self, texts: Sequence[str], role: Role = Role.DOCUMENT
    ) -> EmbeddingBatch:
        """The vectors of many texts, in their order; one bad text does not cost the others theirs.

        A trouble that is the provider's, not a text's (wrong key, no answer within the deadline of
        one request), ends the work: it is raised if there is no vector yet, else the texts that
        have none carry it as their problem, so that nothing paid for is lost.

        Raises InvalidInput (no key), DimensionMismatch, ProviderRejected, ProviderUnavailable,
        EmbeddingProblem.
        """
        started = time.perf_counter()
        run = _Run(role)
        await asyncio.to_thread(self._prepare_all, list(texts), run)
        if run.prepared:
            await self._be_ready()
            async with asyncio.TaskGroup() as group:
                for part in _parts(run.prepared, self._client.limits):
                    group.create_task(self._embed_in_slot(part, run))
        truncated = tuple(place for place, item in run.prepared.items() if item.was_cut)
        log.debug(
            "embedding.batch",
            batch_id=uuid.uuid4().hex[:8],
            model=self.model.name,
            texts=len(texts),
            failed=len(run.problems),
            truncated=len(truncated),
            tokens=run.usage.tokens,
            requests=run.usage.requests,
            cost_usd=run.usage.cost_usd,
            elapsed_ms=round((time.perf_counter() - started) * 1000, 1),
        )
        if run.fatal is not None and not run.vectors:
            raise run.fatal
        vectors = np.full((len(texts), self.model.dimensions or 0), np.nan, dtype=np.float32)
        for place, vector in run.vectors.items():
            vectors[place] = vector
        return EmbeddingBatch(vectors, run.problems, truncated, run.usage)

    def _prepare(self, text: str) -> _Prepared:
        """Raises InvalidInput for a blank text."""
        text = _sendable(text)
        if not text:
            raise InvalidInput("The text is empty.", hint="Give at least one word.")
        counter = counter_for(self.model)
        was_cut = False
        if self.model.max_tokens is not None:
            text, was_cut = counter.cut(text, self.model.max_tokens)
        tokens = counter.count(text) if self._client.limits.max_tokens is not None else 0
        return _Prepared(text, tokens, was_cut)

    def _prepare_all(self, texts: list[str], run: _Run) -> None:
        for place, text in enumerate(texts):
            try:
                run.prepared[place] = self._prepare(text)
            except InvalidInput as exc:
                run.problems[place] = exc

    async def _be_ready(self) -> None:
        self._require_key()
        await self.probe()

    def _require_key(self) -> None:
        if self.model.provider is Provider.NONE:
            raise no_model()
        # LiteLLM's providers often have a second way to a key: there the provider decides.
        if self.model.provider is Provider.OPENAI and (variable := missing_key(self.model)):
            raise InvalidInput(
                f"{variable} is not set, and {self.model.name} needs it.",
                hint=f"Set {variable} in the environment, or choose the local model.",
                field=variable,
            )

    async def _embed_in_slot(self, part: list[int], run: _Run) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # a semaphore belongs to the loop that waited for it
            self._loop, self._slots = loop, asyncio.Semaphore(self._concurrency)
        async with self._slots:
            await self._embed_part(part, run)

    async def _embed_part(self, part: list[int], run: _Run) -> None:
        """Embeds what fits one request; never raises one of our errors, but notes it in the run."""
        waiting = [part]
        while waiting:
            part = waiting.pop()
            if run.fatal is None:
                try:
                    waiting += await self._embed_or_halve(part, run)
                except (EmbeddingProblem, DimensionMismatch) as exc:
                    run.fatal = exc
            if run.fatal is not None:
                for place in part:
                    if place not in run.vectors:
                        run.problems.setdefault(place, run.fatal)

    async def _embed_or_halve(self, part: list[int], run: _Run) -> list[list[int]]:
        """Nothing once the part is done. Where it is refused for a text in it, its two halves, so
        that in the end only that text fails."""
        try:
            answer = await self._request([run.prepared[place].text for place in part], run)
        except InputRejected as exc:
            if len(part) == 1:
                run.problems[part[0]] = exc
                return []
            if not await self._takes_any_text(run):
                raise
            middle = len(part) // 2
            return [part[middle:], part[:middle]]
        self._take(part, answer, run)
        return []

    async def _takes_any_text(self, run: _Run) -> bool:
        """False where even a plain word is refused: then it is the request (such as the model's
        name), and halving a batch of thousands would only repeat it thousands of times."""
        if not self._has_answered:
            try:
                await self._request([_PROBE_TEXT], run)
            except InputRejected:
                return False
        return True

    async def _request(self, texts: list[str], run: _Run) -> Answer:
        """One request, tried again until the deadline. Raises EmbeddingProblem."""

        async def once() -> Answer:
            self._bill(run, Usage(requests=1))
            return await self._client.embed(texts, run.role)

        if self.model.provider is Provider.LOCAL:
            answer = await once()
        else:
            retrying = AsyncRetrying(
                retry=retry_if_exception_type(TryAgain),
                wait=_wait_seconds,
                stop=self._is_enough,
                before_sleep=self._log_retry,
                reraise=True,
            )
            if self.model.provider is Provider.LITELLM:
                # Its import takes seconds, which are not the provider's.
                await asyncio.to_thread(load_litellm)
            try:
                async with asyncio.timeout(self._deadline_seconds):
                    answer = await retrying(once)
            except TimeoutError:
                raise ProviderUnavailable(
                    f"The provider of {self.model.name} did not answer within "
                    f"{self._deadline_seconds:g} seconds.",
                    hint="Try again later, or raise VECSCOPE_EMBEDDING_DEADLINE_SECONDS.",
                ) from None
        self._has_answered = True
        return answer

    def _take(self, part: list[int], answer: Answer, run: _Run) -> None:
        """Raises DimensionMismatch, which is never one text's fault."""
        tokens = answer.tokens
        if tokens is None:
            tokens = sum(run.prepared[place].tokens for place in part)
        price = self.model.price_usd_per_million_tokens
        cost = None if price is None else tokens * price / 1e6
        self._bill(run, Usage(tokens, cost_usd=cost))
        for place, vector in zip(part, answer.vectors, strict=True):
            problem = self._vector_problem(vector)
            if problem is not None:
                run.problems[place] = problem
            elif vector is not None:
                run.vectors[place] = vector

    def _vector_problem(self, vector: FloatArray | None) -> VecscopeError | None:
        name = self.model.name
        if vector is None:
            return EmbeddingProblem(
                f"The provider of {name} left this text out of its answer.", hint="Try again."
            )
        if len(vector) != self.model.dimensions:
            raise DimensionMismatch(
                f"{name} gave a vector of {len(vector)} dimensions instead of "
                f"{self.model.dimensions}.",
                hint="Check that the server runs the model that the collection was made with.",
            )
        if not np.isfinite(vector).all():
            return InvalidVector(f"{name} gave a vector with NaN or an infinite number.")
        if self.model.distance is Distance.COSINE and not vector.any():
            return InvalidVector(
                f"{name} gave a vector of zeros, which has no direction to compare by."
            )
        return None

    def _is_enough(self, state: RetryCallState) -> bool:
        most = _problem_of(state).most_attempts
        tried_enough = most is not None and state.attempt_number >= most
        return tried_enough or bool(stop_before_delay(self._deadline_seconds)(state))

    def _bill(self, run: _Run, usage: Usage) -> None:
        run.usage += usage
        self.usage += usage

    def _log_retry(self, state: RetryCallState) -> None:
        problem = _problem_of(state)
        log.warning(
            "embedding.retry",
            model=self.model.name,
            attempt=state.attempt_number,
            status=problem.status,
            wait_seconds=round(state.upcoming_sleep, 2),
        )


def _problem_of(state: RetryCallState) -> TryAgain:
    problem = state.outcome.exception() if state.outcome else None
    assert isinstance(problem, TryAgain)  # nothing else is tried again
    return problem


def _wait_seconds(state: RetryCallState) -> float:
    """As long as the provider asks, and a little more, so that all who were told the same do not
    come back at once; else exponential with full jitter."""
    asked = _problem_of(state).retry_after_seconds
    return _backoff(state) if asked is None else asked + random.uniform(0, 0.25)


def _parts(prepared: dict[int, _Prepared], limits: BatchLimits) -> Iterator[list[int]]:
    """Positions, in order, in parts that one request may carry."""
    part: list[int] = []
    tokens = 0
    for place, item in prepared.items():
        too_many = limits.max_tokens is not None and tokens + item.tokens > limits.max_tokens
        if part and (len(part) == limits.max_texts or too_many):
            yield part
            part, tokens = [], 0
        part.append(place)
        tokens += item.tokens
    if part:
        yield part


def _sendable(text: str) -> str:
    """The text without what no provider takes: lone surrogates become U+FFFD, NUL a space, and
    blanks around it go."""
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.replace("\0", " ").strip()


def _client_for(model: EmbeddingModel, settings: Settings) -> Client:
    match model.provider:
        case Provider.LOCAL:
            return LocalClient()
        case Provider.OPENAI:
            return OpenAIClient(model, OPENAI_BASE_URL)
        case Provider.OPENAI_COMPATIBLE:
            return OpenAIClient(model, base_url(settings))
        case Provider.LITELLM:
            return LiteLLMClient(model, settings.embedding_deadline_seconds)
        case Provider.NONE:
            return NoClient()


_services: dict[tuple[str, str | None, int | None], EmbeddingService] = {}
_services_lock = threading.Lock()


def create_service(
    model_name: str, settings: Settings, dimensions: int | None = None
) -> EmbeddingService:
    """The process's service for a model; the same one for the same model and base URL.

    dimensions: as stored with the collection; saves the probe of an unregistered model.
    Raises InvalidInput (no such model, no base URL) and DimensionMismatch (not the model's).
    """
    model = resolve_model(model_name, settings)
    if dimensions is not None and model.dimensions is None:
        model = model.with_dimensions(dimensions)
    if dimensions is not None and model.dimensions != dimensions:
        raise DimensionMismatch(
            f"{model.name} has {model.dimensions} dimensions, not {dimensions}.",
            hint="Choose the model that the collection was embedded with.",
        )
    place = (model.name, settings.openai_base_url, model.dimensions)
    with _services_lock:
        if place not in _services:
            _services[place] = EmbeddingService(model, settings)
        return _services[place]


def embedding_text(title: str | None, content: str) -> str:
    """What is embedded of a document: its title and its content, the title once.

    A content that begins with its title (also as a heading, `# Title`) is taken as it is.
    """
    title = (title or "").strip()
    begin = content.lstrip("#=*- \t\r\n")
    rest = begin[len(title) :]
    has_title = begin.casefold().startswith(title.casefold()) and not rest[:1].isalnum()
    return content if not title or has_title else f"{title}\n{content}"
