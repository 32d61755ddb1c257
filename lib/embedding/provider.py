"""What the service and its providers agree on: the request, the answer, and what a refusal means.

Keys are read here, where they are used, and whatever a provider says passes :func:`redact` before
it may reach a message or a log.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Protocol

from dotenv import dotenv_values

from lib.embedding.models import EmbeddingModel, key_variable
from lib.errors import EmbeddingProblem, InvalidInput, ProviderRejected, ProviderUnavailable
from lib.settings import PROJECT_ROOT
from lib.vectors.distance import FloatArray

ENV_FILE = PROJECT_ROOT / ".env"


class Role(StrEnum):
    """Some models embed a question differently from the documents that it is to find."""

    DOCUMENT = "document"
    QUERY = "query"


@dataclass(frozen=True)
class BatchLimits:
    """The most that one request may carry; max_tokens None: no limit by tokens."""

    max_texts: int
    max_tokens: int | None


@dataclass(frozen=True, eq=False)
class Answer:
    """One request's vectors, in the order of its texts; None where the provider left one out.

    tokens: as the provider counted them; None where it does not say.
    """

    vectors: list[FloatArray | None]
    tokens: int | None


class Client(Protocol):
    """One provider. A request is made once: retries and deadlines are the service's."""

    @property
    def limits(self) -> BatchLimits: ...

    async def embed(self, texts: Sequence[str], role: Role) -> Answer:
        """Raises TryAgain, InputRejected, or another EmbeddingProblem that ends the work."""
        ...

    async def aclose(self) -> None: ...


def no_model() -> InvalidInput:
    """What is said where a text meets vectors that came without a model."""
    return InvalidInput(
        "The vectors of this collection came without a model, so a text cannot be turned into one.",
        hint="Search by words, or load the vectors into a new collection that names their model.",
        field="mode",
    )


class NoClient:
    """In place of a provider, for vectors that came without a model. It is never asked: the
    service refuses before."""

    limits = BatchLimits(max_texts=1, max_tokens=None)

    async def embed(self, texts: Sequence[str], role: Role) -> Answer:  # noqa: ARG002
        raise no_model()

    async def aclose(self) -> None:
        return None


class TryAgain(ProviderUnavailable):
    """The same request may do better later.

    retry_after_seconds: as the provider asked. most_attempts: give up earlier than the deadline.
    status: of the HTTP answer; None where there was none.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        retry_after_seconds: float | None = None,
        most_attempts: int | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.retry_after_seconds = retry_after_seconds
        self.most_attempts = most_attempts


class InputRejected(ProviderRejected):
    """The request was refused for what it carried: one of its texts may be to blame."""


def environment() -> dict[str, str]:
    """The process's environment, over what `.env` gives. Read anew each time: keys are not kept."""
    from_file = {name: value for name, value in dotenv_values(ENV_FILE).items() if value}
    return {**from_file, **os.environ}


def provider_key(model: EmbeddingModel) -> str | None:
    """The key to send for this model, None where it is not set or none is needed."""
    variable = key_variable(model)
    return (environment().get(variable) or "").strip() or None if variable else None


def missing_key(model: EmbeddingModel) -> str | None:
    """The variable that must be set before the model can be used, None where nothing is missing."""
    if model.key_is_optional or provider_key(model):
        return None
    return key_variable(model)


_SECRET_NAME = re.compile(r"(_KEY|_TOKEN|_SECRET|_PASSWORD)$|^DATABASE_URL$")
# OpenAI's 401 repeats the key with its middle starred out; both ends are still worth hiding.
_KEY_SHAPE = re.compile(r"\b(sk|pk)-[\w*.-]{6,}|(?<=Bearer )[\w*.+/=~-]+")


def redact(text: str) -> str:
    """The text without any key: neither the values of secret variables nor what looks like one."""
    for name, value in environment().items():
        secret = value.strip()
        if len(secret) >= 6 and _SECRET_NAME.search(name):
            text = text.replace(secret, "[key]")
    return _KEY_SHAPE.sub("[key]", text)


def retry_after_seconds(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """How long the provider asks to wait: `retry-after-ms`, or `retry-after` in seconds or as a
    date (RFC 9110, 10.2.3). None where it does not say, or says nothing that can be read."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None or value is None:
        return seconds
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - (now or datetime.now(UTC))).total_seconds())


def _number(value: str | None) -> float | None:
    try:
        number = float(value) if value is not None else None
    except ValueError:
        return None
    return number if number is not None and 0 <= number < float("inf") else None


def provider_problem(
    model: EmbeddingModel,
    status: int,
    said: str,
    *,
    retry_after: float | None = None,
    code: str = "",
) -> EmbeddingProblem:
    """What an HTTP status from a provider means for us.

    said: the provider's own words (redacted and shortened here). code: its error code, if any.
    """
    words = " ".join(redact(said).split())[:300]
    quote = f' It said: "{words}"' if words else ""
    variable = key_variable(model)
    if code == "insufficient_quota":  # OpenAI's 429 that no waiting cures
        return ProviderRejected(
            f"The quota of this key for {model.name} is used up.{quote}",
            hint="Check the plan and the billing at the provider.",
        )
    if status in {408, 409, 425, 429} or status >= 500:
        wait = f", asking to wait {retry_after:.0f} s" if retry_after else ""
        return TryAgain(
            f"The provider of {model.name} answered with HTTP {status}{wait}.{quote}",
            hint="It is busy or down: try again later.",
            retry_after_seconds=retry_after,
            status=status,
        )
    if status == 401:
        return ProviderRejected(
            f"The provider of {model.name} does not take the key (HTTP 401).{quote}",
            hint=f"Set {variable} to a valid key." if variable else "Check its key.",
            field=variable,
        )
    if status == 403:
        return ProviderRejected(
            f"The provider does not let this key use {model.name} (HTTP 403).{quote}",
            hint="Check the rights of the key at the provider.",
            field=variable,
        )
    if status in {400, 413, 422}:
        return InputRejected(
            f"The provider of {model.name} refused the input (HTTP {status}).{quote}",
            hint="Check the text, and the model's name.",
        )
    return ProviderRejected(
        f"The provider of {model.name} answered with HTTP {status}.{quote}",
        hint="Check the model's name and the base URL (most servers need /v1 at its end)."
        if status == 404
        else "Check the model's name.",
    )
