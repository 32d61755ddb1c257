"""What all fixtures stand on is in tests/conftest.py; ``execute`` is imported from here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
from command_line import Screen
from sqlalchemy import URL

from tests.conftest import execute

__all__ = ["execute"]


@pytest.fixture
def screen(
    migrated_url: URL, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Screen]:
    """The command line on a database of this test's own."""
    monkeypatch.setenv("DATABASE_URL", migrated_url.render_as_string(hide_password=False))
    for name in ("VECSCOPE_MODEL", "VECSCOPE_LOG_LEVEL", "OPENAI_API_KEY", "COHERE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    yield Screen(capsys)
    structlog.reset_defaults()
