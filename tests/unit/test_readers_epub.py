"""E-books, read in another process."""

import io
import zipfile

from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingDocument
from lib.ingest.read import read

CONTAINER = (
    '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
    '<rootfile full-path="OEBPS/book.opf"/></rootfiles></container>'
)


def epub(chapters: dict[str, str], *, order: list[str] | None = None, **more: str) -> bytes:
    """chapters: file name → page; more: path → content, with __ for a slash."""
    items = "".join(
        f'<item id="{name}" href="{name.replace(" ", "%20")}" media-type="application/xhtml+xml"/>'
        for name in chapters
    )
    spine = "".join(f'<itemref idref="{name}"/>' for name in order or chapters)
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata><dc:title>The book</dc:title>'
        "<dc:creator>Ada</dc:creator><dc:language>en</dc:language></metadata><manifest>"
        '<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>'
        f'{items}</manifest><spine><itemref idref="nav"/>{spine}</spine></package>'
    )
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/epub+zip", zipfile.ZIP_STORED)
        archive.writestr("META-INF/container.xml", CONTAINER)
        archive.writestr("OEBPS/book.opf", package)
        archive.writestr("OEBPS/nav.xhtml", "<body><nav><ol><li>One</li></ol></nav></body>")
        for name, page in chapters.items():
            archive.writestr(f"OEBPS/{name}", page)
        for path, content in more.items():
            archive.writestr(path.replace("__", "/"), content)
    return file.getvalue()


def page(body: str) -> str:
    return (
        '<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml">'
        f"<head><title>x</title></head><body>{body}</body></html>"
    )


def test_chapters_come_in_the_order_of_the_spine():
    chapters = {
        "two.xhtml": page("<h1>Two</h1><p>Second.</p>"),
        "a cover.xhtml": page("<img src='x.png'/>"),
        "one.xhtml": page("<p>Before.</p><h1>One</h1><p>First, café.</p>"),
    }
    content = epub(chapters, order=["a cover.xhtml", "one.xhtml", "two.xhtml"])
    results = list(read(FileSource.from_bytes("a.epub", content)))
    known = {"author": "Ada", "language": "en"}
    assert results == [
        IncomingDocument(
            external_id="a.epub",
            part=number,
            title=title,
            content=text,
            metadata={**known, "chapter": chapter, "heading_path": path},
        )
        for number, (title, text, chapter, path) in enumerate(
            [
                ("The book", "Before.", 1, []),
                ("The book › One", "One\n\nFirst, café.", 1, ["One"]),
                ("The book › Two", "Two\n\nSecond.", 2, ["Two"]),
            ]
        )
    ]


def test_a_missing_chapter_is_a_problem_and_the_next_one_is_read():
    package = {"one.xhtml": page("<p>One.</p>"), "two.xhtml": page("<p>Second.</p>")}
    file = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(epub(package))) as before,
        zipfile.ZipFile(file, "w") as after,
    ):
        for name in before.namelist():
            if name != "OEBPS/one.xhtml":
                after.writestr(name, before.read(name))
    problem, document = read(FileSource.from_bytes("a.epub", file.getvalue()))
    assert problem.place == "OEBPS/one.xhtml"
    assert document.content == "Second."


def test_a_locked_book_is_a_problem_and_locked_fonts_are_none():
    encryption = (
        '<encryption xmlns:enc="http://www.w3.org/2001/04/xmlenc#"><enc:EncryptedData>'
        '<enc:CipherData><enc:CipherReference URI="OEBPS/{}"/></enc:CipherData>'
        "</enc:EncryptedData></encryption>"
    )
    chapters = {"one.xhtml": page("<p>One.</p>")}
    locked = epub(chapters, **{"META-INF__encryption.xml": encryption.format("one.xhtml")})
    (problem,) = read(FileSource.from_bytes("a.epub", locked))
    assert "DRM" in problem.reason
    fonts = epub(chapters, **{"META-INF__encryption.xml": encryption.format("font.otf")})
    assert [document.content for document in read(FileSource.from_bytes("a.epub", fonts))] == [
        "One."
    ]
