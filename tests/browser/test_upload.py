"""A folder of mixed files goes up, one of them broken, and all the rest can be found."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import docx
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import App

ROWS = 40_000
NAME = "Uploaded things"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "mixed"
    (made / "notes").mkdir(parents=True)
    (made / "notes" / "garden.md").write_text(
        "# Garden\n\n## Roses\n\nPrune the climbing roses in March, before they bud.\n"
    )
    document = docx.Document()
    document.add_heading("Observatory", 1)
    document.add_paragraph("The telescope's mirror is polished with cerium oxide.")
    document.save(str(made / "observatory.docx"))
    (made / "broken.pdf").write_bytes(b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog\n" + bytes(200))
    with (made / "stations.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["name", "description", "country"])
        for number in range(ROWS):
            text = f"Weather station {number} on a hill, which measures wind and rain each hour."
            rows.writerow([f"Station {number}", text, "Iceland"])
    return made


def figure(page: Page, name: str) -> Locator:
    """The value of a figure such as "Stored"."""
    metric = page.get_by_test_id("stMetric").filter(
        has=page.get_by_test_id("stMetricLabel").get_by_text(name, exact=True)
    )
    return metric.get_by_test_id("stMetricValue")


def open_page(page: Page, name: str) -> None:
    page.get_by_test_id("stHeader").get_by_role("link", name=name).click()
    expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()


def make_collection(page: Page) -> None:
    page.get_by_text("Create a collection of your own").click()
    page.get_by_label("Name", exact=True).fill(NAME)
    page.get_by_role("button", name="Create", exact=True).click()
    expect(page.get_by_role("heading", name=NAME)).to_be_visible()


def test_a_folder_of_mixed_files(app: App, page: Page, folder: Path) -> None:
    page.goto(app.url)
    make_collection(page)

    page.goto(f"{app.url}/upload?c=uploaded_things")
    page.get_by_text("A whole folder").click()
    page.locator("input[webkitdirectory]").set_input_files(folder)
    expect(page.get_by_text("notes/garden.md · Markdown")).to_be_visible()
    expect(page.get_by_text("observatory.docx · Word document")).to_be_visible()
    expect(page.get_by_text("broken.pdf · PDF · 1 problem")).to_be_visible()
    expect(page.get_by_text("Nothing at the beginning of this file can be stored.")).to_be_visible()
    page.get_by_role("button", name=f"Load 4 files into {NAME}").click()

    embedded = figure(page, "Embedded")  # which takes longer than storing, on any machine
    expect(embedded).to_have_text(re.compile(r"^[1-9]"), timeout=60_000)
    before = embedded.inner_text()
    expect(embedded).not_to_have_text(before)  # it moves
    open_page(page, "Collections")
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()  # it goes on
    open_page(page, "Upload")
    expect(figure(page, "New")).to_have_text(f"{ROWS + 2:,}", timeout=180_000)
    expect(figure(page, "Time left")).to_have_count(0)  # of the load that went on until now
    expect(figure(page, "Failed")).to_have_text("1")
    expect(page.get_by_text("1 problem: this could not be stored.")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the list (CSV)").click()
    with download.value.path().open(newline="") as file:
        [problem] = csv.DictReader(file)
    assert problem["file"] == "broken.pdf"
    assert problem["reason"]

    page.get_by_role("link", name=f"Search {NAME}").click()
    question = page.get_by_placeholder("Ask a question")
    for words, title in (
        ("when to prune roses", "1. Garden › Roses"),
        ("polishing the mirror of a telescope", "1. Observatory"),
        ("weather station 4711", "Station 4711"),
    ):
        question.fill(words)
        question.press("Enter")
        expect(page.get_by_text(title).first).to_be_visible()
