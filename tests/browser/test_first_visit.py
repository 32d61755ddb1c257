"""What a new user does first, in one go."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import App, finished

QUESTION = "extract all members of a zip archive"


def cards(page: Page) -> Locator:
    """The titles of the results, with their ranks."""
    return page.get_by_text(re.compile(r"^\d+\. "))


def move(page: Page, label: str, *keys: str) -> None:
    slider = page.get_by_role("slider", name=label)
    slider.focus()
    for key in keys:
        slider.press(key)


def test_from_an_empty_home_to_a_shared_link(app: App, page: Page) -> None:
    page.goto(app.url)
    page.get_by_role("button", name="Load the sample collection").click()
    expect(page.get_by_text("Loading the sample into Python documentation")).to_be_visible()
    done = page.get_by_text("Loading the sample into Python documentation: Done")
    expect(done).to_be_visible(timeout=240_000)
    expect(page.get_by_text("Ready")).to_be_visible()

    page.get_by_test_id("stMain").get_by_role("link", name="Search").click()
    expect(page.get_by_text("Try one of these:")).to_be_visible()
    question = page.get_by_placeholder("Ask a question")
    question.fill(QUESTION)
    question.press("Enter")
    expect(cards(page)).to_have_count(10, timeout=60_000)
    by_both = cards(page).all_inner_texts()
    assert any("archive" in title for title in by_both[:3])

    move(page, "Vector weight", "Home")
    expect(page).to_have_url(re.compile(r"w=0\b"))
    expect(page.get_by_text("rank 1 by keywords")).to_be_visible()
    expect(cards(page)).not_to_have_text(by_both)

    page.get_by_role("radio", name="Semantic", exact=True).click()
    expect(page).to_have_url(re.compile("mode=similarity"))
    expect(page.get_by_text("by keywords")).to_have_count(0)
    expect(cards(page)).to_have_count(10)
    semantic = cards(page).all_inner_texts()

    page.get_by_text("Distance threshold").click()
    expect(page).to_have_url(re.compile("near="))
    move(page, "Farthest distance", *["ArrowLeft"] * 8)
    expect(page).to_have_url(re.compile(r"d=0\.42"))
    expect(cards(page)).not_to_have_count(10)
    finished(page)
    near = cards(page).all_inner_texts()
    assert near == semantic[: len(near)]
    assert near

    other = page.context.new_page()
    other.goto(page.url)
    expect(cards(other)).to_have_text(near)
    expect(other.get_by_placeholder("Ask a question")).to_have_value(QUESTION)
    assert other.url == page.url


def test_a_deep_link_works_in_a_browser_that_was_never_here(app: App, page: Page) -> None:
    page.goto(f"{app.url}/search?q=rotate+log+files&mode=text&text_text=any&k=3")
    expect(cards(page)).to_have_count(3, timeout=60_000)
    for name in ("Collections", "Upload", "Search"):
        expect(page.get_by_role("link", name=name).first).to_be_visible()
    page.get_by_role("link", name="Collections").first.click()
    expect(page.get_by_text("Python documentation").first).to_be_visible()
