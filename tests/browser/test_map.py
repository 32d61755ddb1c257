"""The map: drawn, looked at, selected on, asked, and opened again by its link."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import suppress

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import App, finished
from tests.browser.serving import ROOT

SELECTED = re.compile(r"^[\d,]+ documents? selected$")
DRAWN_MS = 240_000
SLOW_MS = 60_000
TRIES, HEARD_MS = 4, 5_000
MOST_WHEELS, WHEEL_PX, WHEEL_MS = 60, 120, 200
CORNER = "each => [each.getBoundingClientRect().x, each.getBoundingClientRect().y]"


def load_sample(app: App, documents: int) -> None:
    """Part of the sample, by the command line beside the running app."""
    environment = {**os.environ, "VECSCOPE_HOME": str(app.home)}
    environment.pop("DATABASE_URL", None)
    command = [sys.executable, "-m", "lib", "sample", "--limit", str(documents)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)


def lasso(page: Page) -> None:
    """Around the middle of the picture."""
    page.locator('.modebar-btn[data-attr="dragmode"][data-val="lasso"]').click()
    box = page.locator(".js-plotly-plot .nsewdrag").first.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    width, height = box["width"] / 4, box["height"] / 4
    corners = [(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)]
    page.mouse.move(x + corners[0][0] * width, y + corners[0][1] * height)
    page.mouse.down()
    for across, down in corners[1:]:
        page.mouse.move(x + across * width, y + down * height, steps=8)
    page.mouse.up()


def zoom_in_and_move(page: Page) -> None:
    """By the wheel: names that had no room come, then titles; all of them follow the mouse."""
    names, titles = page.locator(".vecscope-name"), page.locator(".vecscope-title")
    expect(names.nth(1)).to_be_visible()
    small = names.last.inner_text()
    x, y = middle(names.last)
    page.goto(f"{page.url}&names=1")
    expect(names).to_have_count(1, timeout=SLOW_MS)
    finished(page)
    expect(names).not_to_have_text(small)
    page.mouse.move(x, y)
    for _ in range(MOST_WHEELS):
        if names.all_inner_texts() == [small]:
            break
        page.mouse.wheel(0, -WHEEL_PX)
        page.wait_for_timeout(WHEEL_MS)
    expect(names).to_have_text(small)
    expect(titles).to_have_count(0)
    for _ in range(MOST_WHEELS):
        if titles.count():
            break
        page.mouse.wheel(0, -WHEEL_PX)
        page.wait_for_timeout(WHEEL_MS)
    expect(titles.first).to_be_visible()

    page.locator('.modebar-btn[data-attr="dragmode"][data-val="pan"]').click()
    plot = page.locator(".js-plotly-plot .nsewdrag").first
    star, (x, y) = page.locator(".vecscope-layer .star"), middle(plot)
    before = star.evaluate(CORNER)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 8, y + 5, steps=4)
    page.mouse.move(x + 40, y + 25, steps=8)
    assert star.evaluate(CORNER) == pytest.approx([before[0] + 40, before[1] + 25], abs=2)
    page.mouse.up()
    # What stood for the points while they moved is gone, and they are drawn again.
    for canvas in page.locator(".gl-canvas").all():
        expect(canvas).to_be_visible()
    finished(page)


def middle(place: Locator) -> tuple[float, float]:
    box = place.bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def pick_first_row(page: Page) -> None:
    """In the table that is shown once the page is drawn: until then it may be the one before. A
    table is painted some time after it stands in the page, and hears no click before that."""
    finished(page)
    ticked = page.get_by_role("button", name="Clear selection")
    for _ in range(TRIES):
        page.get_by_test_id("stDataFrame").click(position={"x": 17, "y": 52})
        with suppress(AssertionError):
            expect(ticked).to_be_visible(timeout=HEARD_MS)
            return
    expect(ticked).to_be_visible()


def test_a_map_is_drawn_selected_on_asked_and_shared(
    app: App, page: Page, browser: Browser
) -> None:
    page.goto(f"{app.url}/collections")
    expect(page.get_by_role("heading", name="Collections")).to_be_visible(timeout=SLOW_MS)
    load_sample(app, 800)
    page.goto(f"{app.url}/map")
    page.get_by_role("button", name="Build the map of 800 documents").click(timeout=SLOW_MS)
    expect(page.get_by_text("Mapping Python documentation by UMAP")).to_be_visible()
    expect(page.get_by_text("Mapping Python documentation by UMAP")).to_have_count(
        0, timeout=DRAWN_MS
    )
    expect(page.locator(".js-plotly-plot")).to_be_visible(timeout=SLOW_MS)
    expect(page.get_by_text("The axes have no unit")).to_be_visible()

    lasso(page)
    selected = page.get_by_text(SELECTED)
    expect(selected).to_be_visible(timeout=SLOW_MS)
    first = selected.inner_text()
    expect(page.get_by_text("Distinctive terms")).to_be_visible()
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_text("Select points to see what they are")).to_be_visible()
    assert first.split()[0] != "0"

    questions = page.get_by_role("textbox", name="Questions")
    questions.fill("open a network connection")
    questions.press("Control+Enter")
    expect(page.get_by_text("open a network connection: 10 answers")).to_be_visible(timeout=SLOW_MS)
    expect(page.locator(".vecscope-layer .hit")).to_have_count(10, timeout=SLOW_MS)
    expect(page.locator(".vecscope-layer .spoke")).to_have_count(10)
    expect(page.locator(".vecscope-layer .star")).to_have_count(1)
    expect(page.locator(".vecscope-question")).to_have_text("open a network connection")
    finished(page)
    page.mouse.move(*middle(page.locator(".vecscope-layer .hit").first))
    expect(page.locator(".hoverlayer .hovertext")).to_be_visible()
    zoom_in_and_move(page)

    page.get_by_text("Data issues", exact=True).click()
    page.get_by_text("Outliers", exact=True).click()
    expect(page.get_by_text("100 rows")).to_be_visible(timeout=SLOW_MS)
    pick_first_row(page)
    expect(page).to_have_url(re.compile("sel="))
    page.get_by_text("Selection", exact=True).click()
    expect(page.get_by_text("1 document selected")).to_be_visible()
    finished(page)

    elsewhere = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    elsewhere.goto(page.url)
    expect(elsewhere.get_by_text("1 document selected")).to_be_visible(timeout=SLOW_MS)
    answers = elsewhere.get_by_text("open a network connection: 10 answers")
    expect(answers).to_be_visible(timeout=SLOW_MS)
    expect(elsewhere.locator(".vecscope-layer .hit")).to_have_count(10, timeout=SLOW_MS)
