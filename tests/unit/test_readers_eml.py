"""Mails, read in another process."""

from email.message import EmailMessage

from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingDocument
from lib.ingest.read import read


def mail(**headers: str) -> EmailMessage:
    message = EmailMessage()
    for name, value in {"Subject": "Größe", "From": "Ada <ada@example.org>", **headers}.items():
        message[name] = value
    return message


def test_the_text_of_a_mail_with_its_headers():
    message = mail(To="b@example.org, c@example.org", Date="Wed, 01 May 2024 12:00:00 +0200")
    message.set_content("Dear all,\n\nthe size is 5 €.\n")
    message.add_alternative("<p>Not this.</p>", subtype="html")
    (document,) = read(FileSource.from_bytes("in/a.eml", bytes(message)))
    assert document == IncomingDocument(
        external_id="in/a.eml",
        title="Größe",
        content="Dear all,\n\nthe size is 5 €.",
        metadata={
            "from": "Ada <ada@example.org>",
            "to": "b@example.org, c@example.org",
            "date": "2024-05-01T12:00:00+02:00",
        },
    )


def test_a_mail_of_html_is_read_by_its_headings():
    message = mail()
    message.set_content("<h1>News</h1><p>All <b>well</b>.</p>", subtype="html")
    (document,) = read(FileSource.from_bytes("a.eml", bytes(message)))
    assert document.content == "News\n\nAll well."
    assert document.metadata["heading_path"] == ["News"]


def test_attachments_are_read_by_their_own_readers():
    inner = mail(Subject="Forwarded")
    inner.set_content("The older mail.")
    message = mail()
    message.set_content("See below.")
    message.add_attachment("id,text\n7,A row.\n", subtype="csv", filename="rows.csv")
    message.add_attachment(b"\x89PNG", "image", "png", filename="logo.png")
    message.add_attachment(inner)
    body, row, picture, older = read(FileSource.from_bytes("a.eml", bytes(message)))
    assert body.content == "See below."
    assert body.metadata["attachments"] == ["rows.csv", "logo.png", "attachment.eml"]
    assert (row.external_id, row.content) == ("7", "A row.")
    assert (picture.place, picture.stored) == ('attachment "logo.png"', True)
    assert older.external_id == "a.eml/attachment.eml"
    assert (older.title, older.content) == ("Forwarded", "The older mail.")


def test_mails_inside_of_mails_end():
    message = mail()
    message.set_content("innermost")
    for number in range(20):
        outer = mail()
        outer.set_content(f"mail {number}")
        outer.add_attachment(message)
        message = outer
    *documents, problem = read(FileSource.from_bytes("a.eml", bytes(message)))
    assert [document.content for document in documents] == ["mail 19", "mail 18", "mail 17"]
    assert "was not opened" in problem.reason


def test_odd_headers_and_charsets_are_no_obstacle():
    content = (
        b"From: \xff\xfe <\nSubject: =?utf-8?q?=ff?=\nDate: yesterday\nTo:\n"
        b"Content-Type: text/plain; charset=no-such\n\ncaf\xc3\xa9\n"
    )
    (document,) = read(FileSource.from_bytes("a.eml", content))
    assert document.content == "café"
    (problem,) = read(FileSource.from_bytes("a.eml", b"Subject: nothing\n\n"))
    assert problem.reason == "The mail has no text."
