"""The environment and ``.env`` → :class:`Settings`, read once at the border."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from lib.errors import InvalidInput

PROJECT_ROOT = Path(__file__).resolve().parent.parent
LOCAL_MODEL = "local/wordllama-256"
NO_MODEL = "none"
"""In place of a model's name, for a collection whose vectors came without one."""


class Settings(BaseSettings):
    """Every setting of Vecscope; `.env.example` lists them with one line each.

    Provider keys (OPENAI_API_KEY, COHERE_API_KEY, …) are read by the provider from the
    environment where they are used and are no part of this.
    """

    model_config = SettingsConfigDict(
        env_file=PROJECT_ROOT / ".env", env_prefix="VECSCOPE_", extra="ignore", frozen=True
    )

    database_url: SecretStr | None = Field(default=None, validation_alias="DATABASE_URL")
    home: Path = PROJECT_ROOT / ".vecscope"
    model: str = LOCAL_MODEL
    openai_base_url: str | None = None
    embedding_deadline_seconds: float = Field(default=60.0, gt=0, le=3600)
    embedding_concurrency: int = Field(default=4, ge=1, le=64)
    pool_size: int = Field(default=8, ge=1, le=100)
    log_level: Literal["debug", "info", "warning", "error"] = "info"


def load_settings() -> Settings:
    """Reads the environment and `.env`.

    Raises InvalidInput, naming the variable, where a value cannot be used.
    """
    try:
        return Settings()
    except ValidationError as exc:
        problem = exc.errors()[0]
        name = str(problem["loc"][0]) if problem["loc"] else "?"
        variable = name if name.isupper() else f"VECSCOPE_{name.upper()}"
        raise InvalidInput(
            f"The setting {variable} cannot be used: {problem['msg']}.",
            hint="Correct it in the environment or in .env.",
            field=variable,
        ) from None
