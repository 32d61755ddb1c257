"""A real Chromium against the real app on an empty home, as a new user has it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
STARTED_SECONDS = 60

expect.set_options(timeout=20_000)


@dataclass(frozen=True)
class App:
    """A running dashboard. log: where its output goes."""

    url: str
    log: Path


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="session")
def app() -> Iterator[App]:
    home = Path(tempfile.mkdtemp(prefix="vecscope-browser-"))
    port = free_port()
    log = home / "app.log"
    environment = {
        name: value
        for name, value in os.environ.items()
        if name != "DATABASE_URL" and not name.startswith("VECSCOPE_")
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)],
            cwd=ROOT,
            env={**environment, "VECSCOPE_HOME": str(home / "home")},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        url = f"http://localhost:{port}"
        try:
            wait_until_up(url, process, log)
            yield App(url, log)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)
    shutil.rmtree(home)


def wait_until_up(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up = time.monotonic() + STARTED_SECONDS
    while time.monotonic() < give_up and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"The app did not start:\n{log.read_text()}")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium on this machine: install it (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        yield found
        found.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    yield context.new_page()
    context.close()


def finished(page: Page) -> None:
    """Waits until the page that is being drawn is drawn."""
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')
