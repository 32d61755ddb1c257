"""A real Chromium against the real app on an empty home, as a new user has it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.serving import App, chromium, finished, running_app

__all__ = ["App", "finished"]

USUAL_MS = 60_000
expect.set_options(timeout=USUAL_MS)


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    """One for each file of tests: each begins with an empty home, as a new user does."""
    with running_app() as found:
        yield found


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        if found is None:
            pytest.skip("no Chromium on this machine: install it (Debian: apt install chromium)")
        yield found


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield context.new_page()
    context.close()
