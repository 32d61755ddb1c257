"""What a new user does first, in one go."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.browser.conftest import App


def titles(page: Page) -> list[str]:
    """The titles of the result cards, in their order, once the page is drawn."""
    page.wait_for_timeout(300)  # for the page to notice what was just done to it
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')
    cards = page.get_by_text(re.compile(r"^\d+\. ")).all_inner_texts()
    return [card.partition(". ")[2] for card in cards]


def move(page: Page, label: str, key: str, times: int) -> None:
    slider = page.get_by_role("slider", name=label)
    slider.focus()
    for _ in range(times):
        slider.press(key)


def test_from_an_empty_home_to_a_shared_link(app: App, page: Page) -> None:
    page.goto(app.url)
    page.get_by_role("button", name="Load the sample collection").click()
    expect(page.get_by_text("Ready")).to_be_visible(timeout=240_000)
    expect(page.get_by_text("Python documentation: Done.")).to_be_visible()

    page.get_by_test_id("stMain").get_by_role("link", name="Search").click()
    expect(page.get_by_text("Try one of these:")).to_be_visible()
    question = page.get_by_placeholder("Ask a question")
    question.fill("extract all members of a zip archive")
    question.press("Enter")
    expect(page.get_by_text("10 documents")).to_be_visible(timeout=60_000)
    by_both = titles(page)
    assert len(by_both) == 10
    assert any("archive" in title for title in by_both[:3])

    move(page, "Weight of meaning against words", "Home", 1)
    expect(page).to_have_url(re.compile(r"w=0"))
    expect(page.get_by_text("words: rank 1", exact=False).first).to_be_visible()
    by_words = titles(page)
    assert by_words != by_both

    page.get_by_text("Meaning", exact=True).click()
    expect(page).to_have_url(re.compile("mode=similarity"))
    expect(page.get_by_text("words: rank")).to_have_count(0)
    by_meaning = titles(page)
    assert len(by_meaning) == 10

    page.get_by_text("Only near documents").click()
    expect(page).to_have_url(re.compile("near="))
    move(page, "Farthest distance allowed", "ArrowLeft", 8)
    expect(page).to_have_url(re.compile(r"d=0\.42"))
    expect(page.get_by_text(re.compile(r"^[1-9] documents?\b")).first).to_be_visible()
    near = titles(page)
    assert 0 < len(near) < 10
    assert near == by_meaning[: len(near)]

    shared = page.url
    other = page.context.new_page()
    other.goto(shared)
    expect(other.get_by_text(re.compile(r"^[1-9] documents?\b")).first).to_be_visible()
    assert titles(other) == near
    expect(other.get_by_placeholder("Ask a question")).to_have_value(
        "extract all members of a zip archive"
    )
    other.get_by_text("SQL to copy").click()
    expect(other.get_by_text("SELECT", exact=False).first).to_be_visible()


def test_a_deep_link_works_in_a_browser_that_was_never_here(app: App, page: Page) -> None:
    page.goto(f"{app.url}/search?q=rotate+log+files&mode=text&text_text=any&k=3")
    expect(page.get_by_text("3 documents")).to_be_visible(timeout=60_000)
    for name in ("Collections", "Upload", "Search"):
        expect(page.get_by_role("link", name=name).first).to_be_visible()
    page.get_by_role("link", name="Collections").first.click()
    expect(page.get_by_text("Python documentation").first).to_be_visible()
