"""The pictures of the documentation, made from the real app: `make docs-pictures`.

Writes docs/pictures/*.png, 1280 pixels wide, those named -wide 1920. Takes some minutes and needs
Chromium; the maps of med and emoji2vec and the lab need ../shared/data beside the project.

Run: python docs/pictures.py [start search compare upload map …], by default all.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page, ViewportSize, expect

from lib.ingest.sample import SAMPLE_NAME
from tests.browser.serving import ROOT, App, chromium, enter, finished, running_app

FOLDER = ROOT / "docs" / "pictures"
MOST_BYTES = 300_000
QUESTION = "q=rotate+log+files+at+midnight&k=4"
COLLECTION = "c=python_documentation"
OBJECTS = """\
id,name,description,category,year
A-101,Pocket sundial,"A folding sundial with a compass, made for travellers.",brass,1640
A-102,Astrolabe,"Shows the height of stars and tells the hour of the night.",brass,1532
B-207,Water clock,"Drips from bowl to bowl; the level on the wall tells the time.",clay,-1400
B-311,Ship's chronometer,"Kept the time of the home port, to find a place at sea.",steel,1761
C-018,Night watchman's clock,"Pegs on the dial show whether he made each of his rounds.",oak,1750
"""

Theme = Literal["light", "dark"]
# (what the name of a picture ends with, width in pixels, theme)
LOOKS: tuple[tuple[str, int, Theme], ...] = (
    ("", 1280, "light"),
    ("-dark", 1280, "dark"),
    ("-wide", 1920, "light"),
    ("-wide-dark", 1920, "dark"),
)
DATA = ROOT.parent / "shared" / "data"
WORKBENCH = {
    "cards": "",
    "table": "&show=table&k=10",
    "weight": "&view=weight",
    "plan": "&view=plan&mode=similarity&category=logging",
    "sql": "&view=sql",
}
LAB = ("answer", "settings", "queries", "take")
LAB_HEIGHT = 1800  # the answer with its picture and the scoreboard


def main(chosen: Sequence[str]) -> None:
    FOLDER.mkdir(exist_ok=True)
    with running_app() as app, chromium() as browser:
        if browser is None:
            sys.exit("No Chromium on this machine: install it (Debian: apt-get install chromium).")
        expect.set_options(timeout=60_000)
        first_visit(app, browser)
        for name, draw in PARTS.items():
            if name in chosen or not chosen:
                draw(app, browser)


def start(app: App, browser: Browser) -> None:
    """The README's."""
    run_vecscope(app, "index", "create", "--collection", SAMPLE_NAME, "--kind", "hnsw")
    search = f"/search?{COLLECTION}&{QUESTION}"
    picture(app, browser, "search", search)
    picture(app, browser, "search-dark", f"{search}&mode=similarity&scan=index", theme="dark")


def first_visit(app: App, browser: Browser) -> None:
    """The empty home, and the sample, which all others show."""
    page = open_page(app, browser, "/")
    button = page.get_by_role("button", name="Load the sample collection")
    expect(button).to_be_visible()
    save(page, "first-visit")
    button.click()
    expect(page.get_by_text("Ready")).to_be_visible(timeout=240_000)
    page.context.close()


def workbench(app: App, browser: Browser) -> None:
    """The views of Search, an example, and what was saved."""
    search = f"/search?{COLLECTION}&{QUESTION}"
    keep(app, browser, search, "Log rotation")
    for ending, width, theme in LOOKS:
        for view, settings in WORKBENCH.items():
            picture(app, browser, f"search-{view}{ending}", f"{search}{settings}", theme, width)
        page = open_page(app, browser, search, theme, width)
        for link in ("More like this", "Less like this"):
            page.get_by_role("link", name=link).first.click()
            expect(page.get_by_text(link.removesuffix(" this"), exact=True)).to_be_visible()
            finished(page)
        save(page, f"search-example{ending}")
        page.context.close()
        page = open_page(app, browser, search, theme, width)
        open_saved(page)
        expect(page.get_by_role("link", name="Log rotation")).to_be_visible()
        save(page, f"search-saved{ending}")
        page.context.close()


def compare(app: App, browser: Browser) -> None:
    """Columns side by side."""
    both = ("--index", "ivfflat", "--index", "hnsw")
    run_vecscope(app, "candidates", "build", "--collection", SAMPLE_NAME, *both)
    for ending, width, theme in LOOKS:
        for preset in ("indexes", "modes"):
            address = f"/compare?{COLLECTION}&{QUESTION}&preset={preset}"
            picture(app, browser, f"compare-{preset}{ending}", address, theme, width)


def keep(app: App, browser: Browser, address: str, name: str) -> None:
    """Saves a search under a name."""
    page = open_page(app, browser, address)
    open_saved(page)
    enter(page, "Save this search as", name, "Save")
    expect(page.get_by_role("link", name=name)).to_be_visible()
    page.context.close()


def open_saved(page: Page) -> None:
    """The menu of saved searches, once the answers are there."""
    expect(page.get_by_role("link", name="More like this").first).to_be_visible()
    finished(page)
    page.get_by_role("button", name="Saved").click()


def upload(app: App, browser: Browser) -> None:
    """What a table would become, and then the load, so that there is a second collection."""
    run_vecscope(app, "collections", "create", "Clocks")
    page = open_page(app, browser, "/upload?c=clocks")
    file = {"name": "clocks.csv", "mimeType": "text/csv", "buffer": OBJECTS.encode()}
    page.set_input_files("input[type=file]", [file])  # type: ignore[list-item]
    button = page.get_by_role("button", name="Load 1 file")
    expect(button).to_be_visible()
    save(page, "upload")
    button.click()
    expect(page.get_by_role("link", name="Search Clocks")).to_be_visible()
    page.context.close()
    picture(app, browser, "home", "/")


def maps(app: App, browser: Browser) -> None:
    """The sample with two questions, and two collections of other people's vectors and texts."""
    run_vecscope(app, "map", "build", "--collection", SAMPLE_NAME)
    views = {"sample": f"{COLLECTION}&q=read+a+csv+file%0Aopen+a+network+connection&step=2"}
    if DATA.is_dir():
        run_vecscope(app, "ingest", str(DATA / "med"), "--collection", "Med")
        vectors = str(DATA / "emoji2vec" / "vectors.npy")
        texts = str(DATA / "emoji2vec" / "labels.txt")
        run_vecscope(app, "ingest", vectors, "--texts", texts, "--collection", "Emoji")
        for name in ("Med", "Emoji"):
            run_vecscope(app, "map", "build", "--collection", name)
        views |= {"med": "c=med&color=fidelity&view=fidelity", "emoji2vec": "c=emoji&view=finds"}
    else:
        sys.stderr.write("No maps of med and emoji2vec: ../shared/data is not there.\n")
    for ending, width, theme in LOOKS:
        for name, address in views.items():
            picture(app, browser, f"map-{name}{ending}", f"/map?{address}", theme, width)


def lab(app: App, browser: Browser) -> None:
    """Two experiments on other people's vectors: of 1,536 dimensions, and of 3,072 as halfvec."""
    if not DATA.is_dir():
        sys.stderr.write("No pictures of the lab: ../shared/data is not there.\n")
        return
    halves = ("--index", "ivfflat", "--index", "hnsw", "--index", "hnsw@halfvec")
    for name, vectors, indexes in (
        ("Events", DATA / "openai-1536" / "vectors.npy", halves),
        ("Images", DATA / "cifar-sample", ()),
    ):
        run_vecscope(app, "ingest", str(vectors), "--collection", name)
        run_vecscope(app, "lab", "run", "--collection", name, "--queries", "300", *indexes)
    for ending, width, theme in LOOKS:
        for collection, views in (("events", LAB), ("images", ("answer",))):
            for view in views:
                address = f"/index_lab?c={collection}&result={view}"
                page = open_page(app, browser, address, theme, width, height=LAB_HEIGHT)
                expect(page.get_by_role("heading", name="recall.")).to_be_visible()
                save(page, f"lab-{collection}-{view}{ending}")
                page.context.close()


def picture(
    app: App,
    browser: Browser,
    name: str,
    address: str,
    theme: Theme = "light",
    width: int = 1280,
) -> None:
    page = open_page(app, browser, address, theme, width)
    save(page, name)
    page.context.close()


def open_page(
    app: App,
    browser: Browser,
    address: str,
    theme: Theme = "light",
    width: int = 1280,
    height: int | None = None,
) -> Page:
    size: ViewportSize = {"width": width, "height": height or width * 5 // 8}
    context = browser.new_context(viewport=size, color_scheme=theme)
    page = context.new_page()
    page.goto(app.url + address)
    return page


def save(page: Page, name: str) -> None:
    finished(page)
    expect(page.get_by_test_id("stSkeleton")).to_have_count(0)
    page.wait_for_load_state("networkidle")
    page.mouse.move(0, 0)  # no tooltip
    content = page.screenshot(animations="disabled")
    if len(content) > MOST_BYTES:
        sys.exit(f"{name}.png has {len(content):,} bytes, more than {MOST_BYTES:,}.")
    (FOLDER / f"{name}.png").write_bytes(content)


def run_vecscope(app: App, *arguments: str) -> None:
    environment = {**os.environ, "VECSCOPE_HOME": str(app.home)}
    environment.pop("DATABASE_URL", None)
    command = [sys.executable, "-m", "lib", *arguments]
    subprocess.run(command, cwd=Path(ROOT), env=environment, check=True)


PARTS: dict[str, Callable[[App, Browser], None]] = {
    "start": start,
    "search": workbench,
    "compare": compare,
    "upload": upload,
    "map": maps,
    "lab": lab,
}

if __name__ == "__main__":
    main(sys.argv[1:])
