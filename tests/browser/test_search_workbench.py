"""Search in a real browser: the weight by a click, a saved search elsewhere, all of it by keys."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import App, finished
from tests.browser.serving import enter

ROWS = """\
id,title,text
1,Foxes,A fox hunts mice in the forest at night.
2,Owls,"An owl hunts mice, and sees in the dark."
3,Ships,The ship left the harbour at night with a cargo of tea.
4,Tea,"A cup of tea, with milk."
5,Mice,Mice eat grain and hide from the owl and the fox.
"""
QUESTION = "owl at night in the harbour"


def load(app: App, page: Page) -> None:
    page.goto(app.url)
    page.get_by_text("Create a collection of your own").click()
    enter(page, "Name", "Animals", "Create")
    expect(page.get_by_text("Animals", exact=True)).to_be_visible()
    page.goto(f"{app.url}/upload?c=animals")
    file = {"name": "animals.csv", "mimeType": "text/csv", "buffer": ROWS.encode()}
    page.set_input_files("input[type=file]", [file])  # type: ignore[list-item]
    page.get_by_role("button", name="Load 1 file into Animals").click()
    expect(page.get_by_text("5 embedded")).to_be_visible(timeout=120_000)


def test_the_workbench(app: App, page: Page, browser: Browser) -> None:
    load(app, page)
    page.goto(f"{app.url}/search?c=animals")
    question = page.get_by_role("searchbox", name="Question")
    question.fill(QUESTION)
    question.press("Enter")
    cards = page.get_by_role("link", name="More like this")
    expect(cards).to_have_count(5)
    finished(page)

    # The weight: by a click into its chart; then the chart follows the slider.
    page.get_by_role("radio", name="Weight").click()
    points = page.locator(".js-plotly-plot .trace").first.locator(".points path")
    expect(points).to_have_count(21)
    finished(page)
    points.nth(4).click(force=True)
    slider = page.get_by_role("slider", name="Vector weight")
    expect(slider).to_have_value("0.2")
    expect(page).to_have_url(re.compile(r"w=0\.2(&|$)"))
    finished(page)
    slider.press("ArrowRight")
    expect(page).to_have_url(re.compile(r"w=0\.25"))

    # Kept under a name by keys alone, and opened in another browser.
    finished(page)
    page.get_by_role("button", name="By example").focus()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Saved")).to_be_focused()
    page.keyboard.press("Enter")
    enter(page, "Save this search as", "Night owls", "Save")
    saved = page.get_by_role("link", name="Night owls")
    expect(saved).to_be_visible()
    address = saved.get_attribute("href")
    assert address is not None
    other = browser.new_context().new_page()
    other.goto(f"{app.url}/search{address[address.index('?') :]}")
    expect(other.get_by_role("searchbox", name="Question")).to_have_value(QUESTION)
    expect(other.get_by_role("slider", name="Vector weight")).to_have_value("0.25")

    # Its answers as a file.
    expect(other.get_by_role("link", name="More like this")).to_have_count(5)
    finished(other)
    other.get_by_role("button", name="Export").click()
    with other.expect_download() as download:
        other.get_by_role("button", name="CSV, for spreadsheets").click()
    rows = Path(download.value.path()).read_text(encoding="utf-8-sig")
    found = [row["title"] for row in csv.DictReader(io.StringIO(rows))]
    assert sorted(found) == ["Foxes", "Mice", "Owls", "Ships", "Tea"]

    # More like an answer, and back to words.
    first = found[0]
    other.keyboard.press("Escape")
    other.get_by_role("link", name="More like this").first.click()
    expect(other.get_by_text("Asked by example")).to_be_visible()
    expect(other.get_by_role("link", name=first)).to_be_visible()
    expect(other).to_have_url(re.compile("like="))
    assert "q=" not in other.url
    other.go_back()
    expect(other.get_by_role("searchbox", name="Question")).to_have_value(QUESTION)
    expect(other.get_by_text("Asked by example")).to_have_count(0)
    other.context.close()
