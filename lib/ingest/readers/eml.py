"""The reader for mails: the text, and what is attached by its own reader."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, TypeAlias

from lib.errors import ReadProblem
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingProblem
from lib.ingest.members import Attachment
from lib.ingest.read_options import ReadOptions
from lib.ingest.readers.html import html_sections
from lib.ingest.sections import Section

if TYPE_CHECKING:
    from email.message import EmailMessage, MIMEPart

MAX_ATTACHMENTS = 1000
MAX_ATTACHMENT_BYTES = 32 * 1024 * 1024

Part: TypeAlias = "MIMEPart[Any, Any]"

_HEADERS = ("from", "to", "cc")


def read_eml(
    source: FileSource, _options: ReadOptions
) -> Iterator[Section | Attachment | IncomingProblem]:
    """The mail's text (else its HTML, by headings), its subject as the title; metadata: ``from``,
    ``to``, ``cc``, ``date`` (ISO form) and ``attachments``, their names.

    Raises ReadProblem where it has neither text nor attachments.
    """
    import email.policy
    from email.message import EmailMessage

    with source.open() as stream:
        message = email.message_from_binary_file(stream, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    attachments = list(message.iter_attachments()) if message.is_multipart() else []
    subject = _header(message, "subject") or PurePosixPath(source.name).name
    metadata: dict[str, object] = {
        name: text for name in _HEADERS if (text := _header(message, name))
    }
    if moment := _date(message):
        metadata["date"] = moment
    if names := [_name(part) for part in attachments]:
        metadata["attachments"] = names

    empty = True
    body = message.get_body(preferencelist=("plain", "html"))
    if body is not None and (text := _content(body)).strip():
        empty = False
        if body.get_content_subtype() == "html":
            for section in html_sections(text, subject):
                yield Section(section.text, section.title, {**metadata, **section.metadata})
        else:
            yield Section(text, subject, metadata)
    for part in attachments[:MAX_ATTACHMENTS]:
        empty = False
        content = _bytes(part)
        if len(content) > MAX_ATTACHMENT_BYTES:
            yield IncomingProblem(
                source.name,
                f'attachment "{_name(part)}"',
                f"The attachment is larger than {MAX_ATTACHMENT_BYTES >> 20} MB.",
                "Save it as a file of its own and load that.",
                stored=True,
            )
        else:
            yield Attachment(_name(part), content)
    if empty:
        raise ReadProblem(
            "The mail has no text.",
            source=source.name,
            hint="" if message.keys() else "It has no headers either: is it a mail?",
        )


def _header(message: EmailMessage, name: str) -> str:
    try:
        return " ".join(str(message.get(name, "")).split())
    except (ValueError, IndexError, AttributeError, TypeError):  # email's parser, on odd headers
        return ""


def _date(message: EmailMessage) -> str:
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(_header(message, "date")).isoformat()
    except (ValueError, TypeError, OverflowError):
        return ""


def _name(part: Part) -> str:
    extension = {"message/rfc822": "eml", "text/plain": "txt", "text/html": "html"}.get(
        part.get_content_type(), "bin"
    )
    return part.get_filename() or f"attachment.{extension}"


def _content(part: Part) -> str:
    try:
        return str(part.get_content())
    except (LookupError, UnicodeError):  # a charset that Python does not know
        return _bytes(part).decode("utf-8", "replace")


def _bytes(part: Part) -> bytes:
    from email.message import Message

    if part.get_content_maintype() in ("message", "multipart"):
        inner = part.get_payload()
        first = inner[0] if isinstance(inner, list) and inner else None
        return first.as_bytes() if isinstance(first, Message) else b""
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else b""
