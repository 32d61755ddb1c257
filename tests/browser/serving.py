"""The real app on an empty home, and a Chromium to look at it with; docs/pictures.py uses both."""

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
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
STARTED_SECONDS = 120
DRAWN_MS = 120_000


@dataclass(frozen=True)
class App:
    """A running dashboard. home: its VECSCOPE_HOME; log: where its output goes."""

    url: str
    home: Path
    log: Path


@contextmanager
def running_app() -> Iterator[App]:
    """Raises RuntimeError, with the log, where it does not start."""
    folder = Path(tempfile.mkdtemp(prefix="vecscope-browser-"))
    port = _free_port()
    app = App(f"http://localhost:{port}", folder / "home", folder / "app.log")
    environment = {
        name: value
        for name, value in os.environ.items()
        if name != "DATABASE_URL" and not name.startswith("VECSCOPE_")
    }
    with app.log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)],
            cwd=ROOT,
            env={**environment, "VECSCOPE_HOME": str(app.home)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait_until_up(app, process)
            yield app
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)
    shutil.rmtree(folder)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _wait_until_up(app: App, process: subprocess.Popen[bytes]) -> None:
    give_up = time.monotonic() + STARTED_SECONDS
    while time.monotonic() < give_up and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{app.url}/_stcore/health", timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"The app did not start:\n{app.log.read_text()}")


@contextmanager
def chromium() -> Iterator[Browser | None]:
    """The system's; None where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        yield None
        return
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=program,
            # Without a graphics card, maps are drawn by the processor.
            args=["--no-sandbox", "--disable-gpu", "--enable-unsafe-swiftshader"],
        )
        yield found
        found.close()


def finished(page: Page) -> None:
    """Waits until the page that is being drawn is drawn."""
    page.wait_for_selector(
        '[data-testid="stApp"][data-test-script-state="notRunning"]', timeout=DRAWN_MS
    )


def enter(page: Page, label: str, text: str, button: str) -> None:
    """Types a text into a field of a form and presses Enter, which Streamlit's browser side
    ignores until the form's button is there too: the field comes before it."""
    expect(page.get_by_role("button", name=button, exact=True)).to_be_visible()
    field = page.get_by_role("textbox", name=label)
    field.fill(text)
    field.press("Enter")
