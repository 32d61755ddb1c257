"""Presentations, OpenDocument texts and rich text, read in another process."""

import io
import zipfile

import odfdo
import pptx
from pptx.util import Inches

from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingDocument
from lib.ingest.read import read
from lib.ingest.read_options import ReadOptions

PIXEL = bytes.fromhex(  # a GIF of one pixel
    "47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b"
)


def saved(document) -> bytes:
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def test_a_slide_is_a_section():
    presentation = pptx.Presentation()
    presentation.core_properties.title = "The talk"
    slide = presentation.slides.add_slide(presentation.slide_layouts[1])
    slide.shapes.title.text = "Why\vthis"
    slide.placeholders[1].text = "First point\nSecond point"
    table = slide.shapes.add_table(2, 2, 0, 0, Inches(4), Inches(1)).table
    for row, texts in enumerate([("a", "b"), ("1", "2\n3")]):
        for column, text in enumerate(texts):
            table.cell(row, column).text = text
    box = slide.shapes.add_textbox(0, 0, Inches(1), Inches(1))
    box.text_frame.text = "In a group"
    slide.shapes.add_group_shape([box])
    slide.notes_slide.notes_text_frame.text = "Say it slowly."
    blank = presentation.slide_layouts[6]
    presentation.slides.add_slide(blank)  # nothing at all
    picture = presentation.slides.add_slide(blank)
    picture.shapes.add_picture(io.BytesIO(PIXEL), 0, 0)
    last = presentation.slides.add_slide(blank)
    last.shapes.add_textbox(0, 0, Inches(1), Inches(1)).text_frame.text = "The end"

    first, fourth, problem = read(FileSource.from_bytes("a.pptx", saved(presentation)))
    assert first == IncomingDocument(
        external_id="a.pptx",
        title="Why this",
        content="Why\nthis\n\nFirst point\nSecond point\n\na | b\n1 | 2 3\n\nIn a group\n\n"
        "Notes: Say it slowly.",
        metadata={"slide": 1},
    )
    assert (fourth.title, fourth.content, fourth.part) == ("The talk", "The end", 1)
    assert fourth.metadata == {"slide": 4}
    assert (problem.place, problem.count, problem.stored) == ("slide 3", 1, True)


def odt(*elements: odfdo.Element, title: str = "") -> bytes:
    document = odfdo.Document("text")
    document.body.clear()
    if title:
        document.meta.title = title
    for element in elements:
        document.body.append(element)
    return saved(document)


def test_an_opendocument_text_is_split_at_its_headings():
    items = odfdo.List(["One"])
    inner = odfdo.ListItem("Two")
    inner.append(odfdo.List(["Inner"]))
    items.append(inner)
    table = odfdo.Table("T")
    for values in (["a", "b"], ["1", "2"]):
        row = odfdo.Row()
        for value in values:
            row.append_cell(odfdo.Cell(value))
        table.append_row(row)
    noted = odfdo.Paragraph("Claimed, ")
    noted.insert_note(after="Claimed", note_id="n", citation="1", body="The source.")
    noted.append(odfdo.Spacer(3))
    noted.append("spaced")
    content = odt(
        odfdo.Paragraph("Before everything."),
        odfdo.Header(1, "Guide"),
        odfdo.Header(2, "Lists"),
        items,
        table,
        odfdo.Header(1, "Notes"),
        noted,
        title="The guide",
    )
    first, lists, notes = read(FileSource.from_bytes("a.odt", content))
    assert (first.title, first.content) == ("The guide", "Before everything.")
    assert lists.title == "Guide › Lists"
    assert lists.metadata["heading_path"] == ["Guide", "Lists"]
    assert lists.content == "Guide\n\nLists\n\n- One\n- Two\n  - Inner\na | b\n1 | 2"
    assert notes.content == "Notes\n\nClaimed[1],    spaced\n\n[1] The source."


def test_a_locked_opendocument_text_is_a_problem():
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(odt())) as before, zipfile.ZipFile(file, "w") as after:
        for name in before.namelist():
            content = before.read(name)
            if name == "META-INF/manifest.xml":
                content = content.replace(
                    b"</manifest:manifest>",
                    b'<manifest:file-entry manifest:full-path="x"><manifest:encryption-data/>'
                    b"</manifest:file-entry></manifest:manifest>",
                )
            if name == "content.xml":
                content = bytes(range(256))
            after.writestr(name, content)
    (problem,) = read(FileSource.from_bytes("a.odt", file.getvalue()))
    assert problem.reason == "The file is protected by a password."


def test_rich_text_is_read_by_its_own_code_page():
    content = (
        rb"{\rtf1\ansi\ansicpg1251{\fonttbl{\f0 Arial;}}{\info{\title Hidden}}\f0 "
        rb"\'cf\'f0\'e8\'e2\'e5\'f2\par Second \b line\b0 , \u8364? 5.\par}"
    )
    (document,) = read(FileSource.from_bytes("a.rtf", content))
    assert document.content == "Привет\nSecond line, € 5."
    assert document.title == "a.rtf"


def test_a_long_text_becomes_parts_with_one_id():
    content = odt(odfdo.Header(1, "One"), *[odfdo.Paragraph("word " * 30) for _ in range(200)])
    documents = list(read(FileSource.from_bytes("a.odt", content), ReadOptions(part_tokens=200)))
    assert len(documents) > 10
    assert [document.part for document in documents] == list(range(len(documents)))
    assert {(document.external_id, document.title) for document in documents} == {("a.odt", "One")}
