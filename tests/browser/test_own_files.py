"""A collection of one's own: made, loaded, searched, and deleted again."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.browser.conftest import App
from tests.browser.serving import enter

# Each of these means something to Markdown, to HTML, or to Streamlit.
HOSTILE = (
    "<b>tags</b> & &amp; :smile: :material/home: :red[red] $x^2$ **stars** `code` a -> b -- c "
    "std::vector http://example.org/a_b?c=d me@example.org [link](x) ~~gone~~ 1. # end"
)


def test_own_files_are_searched_and_shown_as_they_are(app: App, page: Page) -> None:
    page.goto(app.url)
    page.get_by_text("Create a collection of your own").click()
    enter(page, "Name", "Odd *texts*", "Create")
    expect(page.get_by_text("Empty", exact=True)).to_be_visible()

    # The first of the cards: they are sorted by name.
    page.get_by_test_id("stMain").get_by_role("link", name="Upload").first.click()
    expect(page.get_by_text("0 documents so far")).to_be_visible()
    rows = f"id,text\n1,zebra {HOSTILE}\n2,{'unbroken' * 60}\n"
    page.set_input_files(
        "input[type=file]",
        {"name": "odd_*.csv", "mimeType": "text/csv", "buffer": rows.encode()},
    )
    page.get_by_role("button", name="Load 1 file into Odd *texts*").click()
    expect(page.get_by_text("2 embedded")).to_be_visible(timeout=60_000)

    page.get_by_role("link", name="Search Odd *texts*").click()
    question = page.get_by_placeholder("Ask a question")
    question.fill("zebra")
    question.press("Enter")
    expect(page.get_by_text(f"zebra {HOSTILE}")).to_be_visible()
    width = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert width[0] <= width[1], "a long word makes the page scroll sideways"

    page.get_by_role("link", name="Collections").first.click()
    page.get_by_role("button", name="Manage").first.click()
    page.get_by_role("button", name="Delete this collection").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Odd *texts* with 2 documents")
    dialog.get_by_role("button", name="Delete for good").click()
    expect(page.get_by_text("Odd *texts*", exact=True)).to_have_count(0)
