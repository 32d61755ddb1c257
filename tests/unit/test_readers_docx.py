"""Word documents, read in another process."""

import io
import zipfile

import docx
from docx.oxml import parse_xml

from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingDocument
from lib.ingest.read import read

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def saved(document) -> bytes:
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def documents_of(content: bytes) -> list[IncomingDocument]:
    results = list(read(FileSource.from_bytes("folder/a.docx", content)))
    assert all(isinstance(result, IncomingDocument) for result in results), results
    return results


def test_a_document_is_split_at_its_headings():
    document = docx.Document()
    document.core_properties.title = "The report"
    document.core_properties.author = "Ada"
    document.add_paragraph("Before everything.")
    document.add_heading("Summary", 1)
    document.add_paragraph("One", style="List Bullet")
    document.add_paragraph("Two", style="List Number")
    document.add_heading("Figures", 2)
    table = document.add_table(2, 3)
    for row, texts in zip(table.rows, [("a", "b", "c"), ("1", "2\n3", "")], strict=True):
        for cell, text in zip(row.cells, texts, strict=True):
            cell.text = text
    table.rows[1].cells[1].merge(table.rows[1].cells[2])
    document.add_paragraph("After the table.")
    first, summary, figures = documents_of(saved(document))
    assert (first.title, first.content) == ("The report", "Before everything.")
    assert first.metadata == {"heading_path": [], "author": "Ada"}
    assert (summary.title, summary.content) == ("Summary", "Summary\n\n- One\n- Two")
    assert figures.title == "Summary › Figures"
    assert figures.metadata["heading_path"] == ["Summary", "Figures"]
    assert figures.content == "Figures\n\na | b | c\n1 | 2 3\n\nAfter the table."
    assert [document.part for document in (first, summary, figures)] == [0, 1, 2]


def test_what_stands_in_controls_boxes_and_insertions_is_read_and_what_was_deleted_is_not():
    document = docx.Document()
    paragraph = document.add_paragraph("Plain, ")
    paragraph._p.append(parse_xml(f"<w:ins {W}><w:r><w:t>inserted, </w:t></w:r></w:ins>"))
    paragraph._p.append(parse_xml(f"<w:del {W}><w:r><w:delText>gone</w:delText></w:r></w:del>"))
    paragraph._p.append(
        parse_xml(f"<w:hyperlink {W}><w:r><w:t>linked</w:t><w:tab/></w:r></w:hyperlink>")
    )
    body = document.element.body
    body.insert(
        1,
        parse_xml(
            f"<w:sdt {W}><w:sdtContent><w:p><w:r><w:t>In a control.</w:t></w:r></w:p>"
            "</w:sdtContent></w:sdt>"
        ),
    )
    box = "<w:txbxContent><w:p><w:r><w:t>In a box.</w:t></w:r></w:p></w:txbxContent>"
    body.insert(
        2,
        parse_xml(
            f"<w:p {W} "
            'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006">'
            '<w:r><mc:AlternateContent><mc:Choice Requires="wps"><w:drawing>'
            f"{box}</w:drawing></mc:Choice><mc:Fallback><w:pict>{box}</w:pict></mc:Fallback>"
            "</mc:AlternateContent></w:r></w:p>"
        ),
    )
    (found,) = documents_of(saved(document))
    assert found.content == "Plain, inserted, linked\n\nIn a control.\n\nIn a box."


def test_a_note_follows_its_paragraph():
    document = docx.Document()
    paragraph = document.add_paragraph("Claimed")
    paragraph._p.append(
        parse_xml(f'<w:r {W}><w:footnoteReference w:id="2"/><w:t>.</w:t></w:r>'),
    )
    document.add_paragraph("Next.")
    file = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(saved(document))) as before,
        zipfile.ZipFile(file, "w") as after,
    ):
        for name in before.namelist():
            content = before.read(name)
            if name == "[Content_Types].xml":
                content = content.replace(
                    b"</Types>",
                    b'<Override PartName="/word/footnotes.xml" ContentType="application/vnd.'
                    b'openxmlformats-officedocument.wordprocessingml.footnotes+xml"/></Types>',
                )
            if name == "word/_rels/document.xml.rels":
                content = content.replace(
                    b"</Relationships>",
                    b'<Relationship Id="rIdNotes" Type="http://schemas.openxmlformats.org/'
                    b'officeDocument/2006/relationships/footnotes" Target="footnotes.xml"/>'
                    b"</Relationships>",
                )
            after.writestr(name, content)
        after.writestr(
            "word/footnotes.xml",
            f'<w:footnotes {W}><w:footnote w:id="2"><w:p><w:r><w:t>The source.</w:t></w:r></w:p>'
            "</w:footnote></w:footnotes>",
        )
    (found,) = documents_of(file.getvalue())
    assert found.content == "Claimed[2].\n\n[2] The source.\n\nNext."
