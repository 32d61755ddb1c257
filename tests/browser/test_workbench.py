"""Why an answer is where it is: what an index misses, what the weight does, and a search shared."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import USUAL_MS, App, finished
from tests.browser.serving import enter

# As many as IVFFlat has lists for so few: each text is a list of its own, so that looking into one
# list finds one of them, whatever pgvector draws.
TEXTS = (
    "A fox sleeps in the forest.",
    "An owl hunts mice at night.",
    "A cup of green tea.",
    "The train leaves at noon.",
    "A bridge of stone over the river.",
    "The price of wheat is falling.",
    "A violin concerto in the town hall.",
    "Snow closes the mountain pass.",
    "How to repair a bicycle chain.",
    "The election ends in a tie.",
)
QUESTION = "animals of the forest at night"
PATIENCE_MS = 60_000


@pytest.fixture(autouse=True)
def patience(page: Page) -> Iterator[None]:
    """States are waited for as long as a busy machine may need."""
    page.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    yield
    expect.set_options(timeout=USUAL_MS)


def ask(page: Page) -> None:
    question = page.get_by_placeholder("Ask a question")
    question.fill(QUESTION)
    question.press("Enter")


def settings_of_column(page: Page, number: int) -> None:
    page.get_by_role("button", name="Settings").nth(number - 1).click()


def current_weight(page: Page, weight: float) -> None:
    """Waits until the upright line of the weight chart stands there."""
    page.wait_for_function(
        "weight => document.querySelector('.js-plotly-plot')?.layout?.shapes?.[0]?.x0 === weight",
        arg=weight,
    )


def test_from_an_index_that_misses_to_a_search_that_is_shared(
    app: App, page: Page, browser: Browser
) -> None:
    page.goto(app.url)
    page.get_by_text("Create a collection of your own").click()
    enter(page, "Name", "News", "Create")
    expect(page.get_by_text("Empty", exact=True)).to_be_visible()
    page.get_by_test_id("stMain").get_by_role("link", name="Upload").click()
    expect(page.get_by_text("0 documents so far")).to_be_visible()
    rows = "".join(f"{number},{text}\n" for number, text in enumerate(TEXTS))
    file = {"name": "news.csv", "mimeType": "text/csv", "buffer": f"id,text\n{rows}".encode()}
    page.set_input_files("input[type=file]", [file])  # type: ignore[list-item]
    page.get_by_role("button", name="Load 1 file into News").click()
    expect(page.get_by_text("10 embedded")).to_be_visible()

    # What one list misses, and what finds it.
    page.get_by_role("link", name="Compare").click()
    ask(page)
    expect(page.get_by_text("How alike the answers are")).to_be_visible()  # without candidates
    finished(page)
    page.get_by_text("Exact · IVFFlat · HNSW").click()
    expect(page).to_have_url(re.compile("preset=indexes"))
    page.get_by_role("button", name="Build IVFFlat and HNSW for 10 documents").click()
    expect(page.get_by_text("What IVFFlat missed at probes = 1")).to_be_visible()
    expect(page.get_by_text("1 of 10 true nearest")).to_be_visible()
    expect(page.get_by_text(re.compile("Certified$")).first).to_be_visible()
    expect(page.get_by_text("Not certified")).to_have_count(0)
    finished(page)
    settings_of_column(page, 2)
    probes = page.get_by_role("slider", name="Lists searched (probes)")
    finished(page)
    probes.focus()
    probes.press("End")
    expect(page.get_by_text("IVFFlat found all 10 at probes = 10")).to_be_visible()
    expect(page.get_by_text("What IVFFlat missed")).to_have_count(0)
    expect(page).to_have_url(re.compile(r"2\.probes=10\b"))

    # The weight, and the picture of it.
    finished(page)
    page.get_by_role("link", name="Search").first.click()
    ask(page)
    expect(page.get_by_role("link", name="More like this").first).to_be_visible()
    finished(page)
    page.get_by_role("radio", name="Weight", exact=True).click()
    current_weight(page, 0.5)
    finished(page)
    weight = page.get_by_role("slider", name="Vector weight")
    weight.focus()
    weight.press("ArrowRight")
    weight.press("ArrowRight")
    current_weight(page, 0.6)
    expect(page).to_have_url(re.compile(r"w=0\.6\b"))
    finished(page)

    # Kept by name, and opened by somebody who was never here.
    page.get_by_role("button", name="Saved").click()
    enter(page, "Save this search as", "Night animals", "Save")
    link = page.get_by_role("link", name="Night animals")
    expect(link).to_be_visible()
    address = str(link.get_attribute("href"))
    assert "saved=night_animals" in address
    context = browser.new_context()
    other = context.new_page()
    other.set_default_timeout(PATIENCE_MS)
    other.goto(address if address.startswith("http") else f"{app.url}/{address.lstrip('/')}")
    expect(other.get_by_placeholder("Ask a question")).to_have_value(QUESTION)
    expect(other).to_have_url(re.compile(r"w=0\.6\b"))
    expect(other.get_by_text(re.compile(r"^1\. ")).first).to_be_visible()
    context.close()
