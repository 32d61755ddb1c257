"""The process that reads: what it loads, and what it can say."""

import os
import subprocess
import sys

import numpy as np
import pytest

from lib.ingest.columns import ColumnChoice, ColumnMapping
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingDocument, IncomingProblem
from lib.ingest.isolation import ReadLimits, read_isolated
from lib.ingest.members import Attachment
from lib.ingest.protocol import (
    FileFacts,
    Finished,
    ProtocolError,
    Request,
    message_line,
    message_of,
    request_line,
    request_of,
)
from lib.ingest.read import read
from lib.ingest.read_options import ReadOptions
from lib.ingest.sections import MAX_SECTION_CHARACTERS, Section, bounded


def test_a_reading_process_loads_no_library_before_it_needs_it():
    heavy = [
        "sqlalchemy",
        "pydantic",
        "pyarrow",
        "lxml",
        "pypdfium2",
        "docx",
        "pptx",
        "selectolax",
        "odfdo",
        "ijson",
        "h5py",
    ]
    code = f"import lib.ingest.worker, sys; print([m for m in {heavy} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "message",
    [
        Section("text \ud800 \0 é", "title", {"page": 3, "heading_path": ["a", "b"]}),
        Section("text"),
        Attachment("a.csv", bytes(range(256))),
        IncomingProblem("a", "page 3", "reason", "hint", True, 7),
        IncomingDocument(
            external_id="a", content="c", part=2, title="t", category="k", metadata={"n": 10**30}
        ),
        FileFacts("utf-8", ",", ("a", "b"), ColumnMapping(("a",), None, "b", None)),
        Finished(IncomingProblem("a", "", "reason"), out_of_memory=True, retires=True),
    ],
)
def test_what_is_said_arrives(message):
    line = message_line(message, 5)
    assert line.count(b"\n") == 1
    assert message_of(line) == (message, 5)


def test_a_vector_arrives_to_the_bit():
    vector = np.array([1e-40, -0.0, np.nan, 3.4e38], dtype=np.float32)
    document = IncomingDocument(external_id="a", content="c", embedding=vector)
    arrived, _ = message_of(message_line(document, 0))
    assert arrived.embedding.tobytes() == vector.tobytes()


def test_a_request_arrives_but_for_what_is_not_done_there():
    options = ReadOptions(encoding="cp1252", columns=ColumnChoice(text=("a", "b"), title=""))
    arrived = request_of(request_line(Request("/x", "a.json", "json", options)))
    assert (arrived.options.encoding, arrived.options.columns) == ("cp1252", options.columns)
    assert arrived.options.tokenizer == ""


@pytest.mark.parametrize(
    "line",
    [
        b"{}",
        b"[]",
        b"no json",
        b'{"kind": "Section", "position": 0, "text": 7, "title": null, "metadata": {}}',
        b'{"kind": "Attachment", "position": 0, "name": "a", "content": "!"}',
        b'{"kind": "IncomingDocument", "position": 0, "external_id": "", "content": ""}',
        b'{"kind": "Finished", "position": "far"}',
        b'{"kind": "__class__", "position": 0}',
        b"[" * 100_000,
    ],
)
def test_what_no_reader_of_ours_says_is_not_believed(line):
    with pytest.raises(ProtocolError):
        message_of(line)


def test_a_long_section_comes_in_pieces():
    text = "word " * 500_000 + "\n" + "x" * 2_500_000
    pieces = list(bounded(Section(text, "t", {"page": 1})))
    assert "".join(piece.text for piece in pieces) == text
    assert all(len(piece.text) <= MAX_SECTION_CHARACTERS for piece in pieces)
    assert {(piece.title, piece.metadata["page"]) for piece in pieces} == {("t", 1)}


def test_one_process_reads_many_files():
    """Also where this process is large: its memory is not the reader's."""
    ballast = bytearray(os.urandom(1)) * (900 << 20)
    pids = set()
    for number in range(5):
        source = FileSource.from_bytes("a.html", b"<p>one</p><h1>two</h1>three")
        for result in read_isolated("html", source, ReadOptions(), ReadLimits(seconds=59)):
            assert isinstance(result, Section), number
            pids.add(source.stop_reading.__self__._process.pid)
    assert len(pids) == 1
    assert ballast


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"%PDF-1.7 no more", "The file ends in .txt, but is a PDF: it was read as that."),
        ("a.pdf", b"Just text.", "The file ends in .pdf, but is plain text: it was read as that."),
        ("a.docx", b"<html><p>Text.", "The file ends in .docx, but is a web page (HTML): "),
        ("a.docx", b"{\\rtf1 Text.}", "The file ends in .docx, but is a rich text file (RTF): "),
        ("a.xls", b"a,text\n1,Text.\n", "The file ends in .xls, but is a table of text (CSV): "),
    ],
)
def test_a_file_is_read_as_what_it_is(name, content, said):
    note, *_ = read(FileSource.from_bytes(name, content))
    assert note.reason.startswith(said)
    assert note.stored


OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.docx", OLE + "EncryptedPackage".encode("utf-16-le"), "protected by a password"),
        ("a.docx", OLE + "WordDocument".encode("utf-16-le"), "an old Word document (.doc)"),
        ("a.pptx", OLE + "PowerPoint Document".encode("utf-16-le"), "presentation (.ppt)"),
        ("a.pdf", b"\x89PNG\r\n\x1a\n" + bytes(500), "Portable Network Graphics"),
        ("a.docx", b"PK\x03\x04" + bytes(500), "The file is damaged or cut off."),
        ("a.parquet", bytes(range(256)) * 4, "The file is damaged, or no Parquet table."),
    ],
)
def test_what_cannot_be_read_is_named(name, content, reason):
    (problem,) = read(FileSource.from_bytes(name, content))
    assert reason in problem.reason
    assert not problem.stored
