"""PDF, read in another process. The files are written by hand: a PDF is objects and where they
lie."""

from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingDocument, IncomingProblem
from lib.ingest.read import read


def stream(content: bytes, more: str = "") -> bytes:
    return b"<< /Length %d %s>>\nstream\n%s\nendstream" % (len(content), more.encode(), content)


def pdf(*objects: bytes, trailer: str = "") -> bytes:
    """Objects 1, 2…; the first is the catalog."""
    out = bytearray(b"%PDF-1.7\n")
    offsets = []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(objects) + 1
    out += f"trailer\n<< /Size {size} /Root 1 0 R {trailer}>>\nstartxref\n{start}\n%%EOF".encode()
    return bytes(out)


TEXT, PICTURE, BLANK = "text", "picture", "blank"


def pdf_of_pages(*pages: str, title: str = "", more_catalog: str = "") -> bytes:
    """A page of each text; PICTURE and BLANK are pages of that kind."""
    contents = []
    for page in pages:
        if page == PICTURE:
            contents.append(b"q 100 0 0 100 50 50 cm /Im Do Q")
        elif page == BLANK:
            contents.append(b"")
        else:
            lines = b" T* ".join(b"(%s) Tj" % line.encode() for line in page.split("\n"))
            contents.append(b"BT /F 12 Tf 14 TL 50 700 Td %s ET" % lines)
    first = 6
    kids = " ".join(f"{first + 2 * index} 0 R" for index in range(len(pages)))
    objects = [
        f"<< /Type /Catalog /Pages 2 0 R {more_catalog}>>".encode(),
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        stream(
            b"\x80",
            "/Type /XObject /Subtype /Image /Width 1 /Height 1 /ColorSpace /DeviceGray "
            "/BitsPerComponent 8 ",
        ),
        f"<< /Title ({title}) >>".encode(),
    ]
    for index, content in enumerate(contents):
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents %d 0 R /Resources "
            b"<< /Font << /F 3 0 R >> /XObject << /Im 4 0 R >> >> >>" % (first + 2 * index + 1)
        )
        objects.append(stream(content))
    return pdf(*objects, trailer="/Info 5 0 R ")


def results_of(content: bytes) -> list:
    return list(read(FileSource.from_bytes("folder/a.pdf", content)))


def test_a_page_is_a_section_and_its_number_is_kept():
    results = results_of(
        pdf_of_pages("First page\nsecond line", BLANK, "Third page", title="Guide")
    )
    assert results == [
        IncomingDocument(
            external_id="folder/a.pdf",
            content="First page\nsecond line",
            title="Guide",
            metadata={"page": 1},
        ),
        IncomingDocument(
            external_id="folder/a.pdf",
            content="Third page",
            part=1,
            title="Guide",
            metadata={"page": 3},
        ),
    ]


def test_without_a_title_it_is_the_files_name():
    assert results_of(pdf_of_pages("text", title="untitled"))[0].title == "a.pdf"


def test_pages_of_pictures_are_named():
    *documents, problem = results_of(pdf_of_pages("text", PICTURE, PICTURE, "text", PICTURE))
    assert [document.metadata["page"] for document in documents] == [1, 4]
    assert (problem.place, problem.count) == ("pages 2–3, 5", 3)
    assert problem.stored


def test_a_scanned_file_is_a_problem():
    (problem,) = results_of(pdf_of_pages(PICTURE, PICTURE))
    assert not problem.stored
    assert "pictures only (2 page(s))" in problem.reason
    assert "OCR" in problem.hint


def test_a_damaged_file_is_a_problem_and_the_next_one_is_read():
    whole = pdf_of_pages("text")
    for content in (b"%PDF-1.7\n" + bytes(500), whole[:300]):
        (problem,) = results_of(content)
        assert problem.reason == "The file is damaged, or no PDF."
    assert results_of(whole)[0].content == "text"


def test_an_attachment_is_read_by_its_own_reader():
    # An embedded file hangs on the catalog by name.
    names = "/Names << /EmbeddedFiles << /Names [(notes.md) 8 0 R (logo.xyz) 9 0 R] >> >> "
    content = pdf_of_pages("text", more_catalog=names)
    body = content[: content.index(b"xref")]
    for number, name, file in ((8, b"notes.md", b"# Notes\n\nHello"), (9, b"logo.xyz", b"\1\2")):
        body += b"%d 0 obj\n<< /Type /Filespec /F (%s) /EF << /F %d 0 R >> >>\nendobj\n" % (
            number,
            name,
            number + 10,
        )
        body += b"%d 0 obj\n%s\nendobj\n" % (number + 10, stream(file, "/Type /EmbeddedFile "))
    # Without a table of objects, which PDFium then makes anew.
    document, note, unread = results_of(body + b"trailer\n<< /Root 1 0 R >>\n%%EOF")
    assert document.content == "text"
    assert note.external_id == "folder/a.pdf/notes.md"
    assert note.metadata["heading_path"] == ["Notes"]
    assert isinstance(unread, IncomingProblem)
    assert unread.place == 'attachment "logo.xyz"'
    assert unread.stored


def test_progress_follows_the_pages():
    source = FileSource.from_bytes("a.pdf", pdf_of_pages(*["text"] * 10))
    seen = [source.bytes_read for _ in read(source)]
    assert seen == sorted(seen)
    assert seen[0] < seen[5] < source.size_bytes
    assert source.bytes_read == source.size_bytes
