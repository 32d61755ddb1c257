"""What is stored: a row ticked and opened, an export downloaded, a document deleted."""

from __future__ import annotations

import json
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.conftest import App
from tests.browser.serving import enter

ROWS = "id,title,text\n1,Foxes,A fox in the forest.\n2,Owls,An owl in the forest.\n3,Tea,A cup.\n"


def test_documents_are_opened_exported_and_deleted(app: App, page: Page) -> None:
    page.goto(app.url)
    page.get_by_text("Create a collection of your own").click()
    enter(page, "Name", "Animals", "Create")
    expect(page.get_by_text("Animals", exact=True)).to_be_visible()
    page.goto(f"{app.url}/upload?c=animals")
    page.set_input_files(
        "input[type=file]",
        {"name": "animals.csv", "mimeType": "text/csv", "buffer": ROWS.encode()},
    )
    page.get_by_role("button", name="Load 1 file into Animals").click()
    expect(page.get_by_text("3 embedded")).to_be_visible(timeout=60_000)

    page.get_by_role("link", name="Browse").first.click()
    expect(page.get_by_text("3 documents")).to_be_visible()
    # The table is a canvas: its first rows begin below a header of 35 pixels.
    table = page.get_by_test_id("stDataFrame")
    table.click(position={"x": 17, "y": 52})
    text = page.get_by_test_id("stCode")
    expect(text).to_have_text("A fox in the forest.")
    expect(page.get_by_text("Nearest to it")).to_be_visible()
    assert "doc=1" in page.url
    page.get_by_role("link", name="Owls").click()
    expect(text).to_have_text("An owl in the forest.")

    words = page.get_by_role("searchbox", name="Words in title, text or id")
    words.fill("forest")
    words.press("Enter")
    expect(page.get_by_text("2 documents match")).to_be_visible()
    page.get_by_role("button", name="Export").click()
    page.get_by_test_id("stPopoverBody").get_by_role("button", name="Export").click()
    download_button = page.get_by_test_id("stDownloadButton").get_by_role("button")
    expect(download_button).to_be_visible()
    with page.expect_download() as download:
        download_button.click()
    lines = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["title"] for line in lines] == ["Foxes", "Owls"]

    page.get_by_role("button", name="Delete all of these").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("2 documents (2 ids) will be gone for good")
    dialog.get_by_role("button", name="Delete for good").click()
    expect(page.get_by_text("No document matches")).to_be_visible()
    words.fill("")
    words.press("Enter")
    expect(page.get_by_text("1 document", exact=True)).to_be_visible()
