"""Files made to break a reader: each gets its line, within bounded time and memory, and the next
file is read. They are made here, and read in a process whose memory is measured."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import docx
import odfdo
import pptx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xlsxwriter

from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingDocument, IncomingProblem
from lib.ingest.isolation import close_idle
from lib.ingest.read import read
from tests.unit.test_readers_epub import epub, page
from tests.unit.test_readers_pdf import pdf, pdf_of_pages, stream

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux are looked at")

ROOT = Path(__file__).resolve().parents[2]
MEMORY_BYTES = 1 << 30
SECONDS = 10
HARD_TIMEOUT_SECONDS = 600
OWN_BYTES = 500 << 20
"""For the process that reads: the interpreter and its libraries take 150 MB of it, a row of a csv
of up to 10 MB some of the rest."""

WORDS = "Nothing but plain words."


# --- good files, to be broken --------------------------------------------------------------------


def saved(document: Any) -> bytes:
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def word_file() -> bytes:
    document = docx.Document()
    for _ in range(200):
        document.add_paragraph(WORDS)
    return saved(document)


def slides() -> bytes:
    presentation = pptx.Presentation()
    for _ in range(20):
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text = WORDS
    return saved(presentation)


def odt() -> bytes:
    document = odfdo.Document("text")
    document.body.clear()
    document.body.append(odfdo.Paragraph(WORDS))
    return saved(document)


def workbook() -> bytes:
    file = io.BytesIO()
    with xlsxwriter.Workbook(file) as book:
        sheet = book.add_worksheet("S")
        sheet.write_row(0, 0, ["title", "text"])
        for number in range(1, 200):
            sheet.write_row(number, 0, [f"Row {number}", WORDS])
    return file.getvalue()


def parquet() -> bytes:
    file = io.BytesIO()
    texts = [f"{number} {WORDS}" for number in range(5000)]
    pq.write_table(pa.table({"text": texts}), file)
    return file.getvalue()


def mail() -> bytes:
    message = EmailMessage()
    message["Subject"] = "Hello"
    message.set_content(WORDS)
    message.add_attachment(WORDS * 50, filename="a.txt")
    return bytes(message)


def packed(files: dict[str, bytes | str]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


GOOD: dict[str, Callable[[], bytes]] = {
    "txt": lambda: WORDS.encode() * 100,
    "md": lambda: f"# A\n\n{WORDS}\n".encode() * 100,
    "html": lambda: f"<h1>A</h1><p>{WORDS}</p>".encode() * 100,
    "csv": lambda: b"title,text\n" + f'A,"{WORDS}"\n'.encode() * 100,
    "json": lambda: json.dumps([{"text": WORDS}] * 100).encode(),
    "jsonl": lambda: (json.dumps({"text": WORDS}) + "\n").encode() * 100,
    "rtf": lambda: b"{\\rtf1 " + WORDS.encode() * 100 + b"}",
    "eml": mail,
    "pdf": lambda: pdf_of_pages(*[WORDS] * 50),
    "docx": word_file,
    "pptx": slides,
    "odt": odt,
    "xlsx": workbook,
    "parquet": parquet,
    "epub": lambda: epub({"a.xhtml": page(f"<p>{WORDS}</p>")}),
    "zip": lambda: packed({"a.txt": WORDS, "b.docx": word_file()}),
}


def rewritten(content: bytes, changed: dict[str, bytes | str]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as before:
        files = {name: before.read(name) for name in before.namelist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as after:
        for name, part in {**files, **changed}.items():
            after.writestr(name, part)
    return file.getvalue()


# --- bombs ---------------------------------------------------------------------------------------


def deflated_zeros(size_mb: int) -> bytes:
    """What unpacks to so many MB of zeros, at a thousandth of it."""
    packer = zlib.compressobj(9, wbits=-15)
    piece = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return piece * size_mb + zlib.compressobj(9, wbits=-15).flush()


def zip_of(files: dict[str, tuple[bytes, int, int]]) -> bytes:
    """name → (deflated content, size and checksum that it claims)."""
    body, directory = b"", b""
    for name, (content, size, checksum) in files.items():
        encoded = name.encode()
        common = struct.pack(
            "<HHHHHIIIHH", 20, 0, 8, 0, 33, checksum, len(content), size, len(encoded), 0
        )
        directory += b"PK\x01\x02" + struct.pack("<H", 20) + common
        directory += struct.pack("<HHHII", 0, 0, 0, 0, len(body)) + encoded
        body += b"PK\x03\x04" + common + encoded + content
    end = struct.pack("<HHHHIIH", 0, 0, len(files), len(files), len(directory), len(body), 0)
    return body + directory + b"PK\x05\x06" + end


def zip_bomb() -> bytes:
    zeros = deflated_zeros(3000)
    inner = zip_of({f"{number}.txt": (zeros, 3000 << 20, 0) for number in range(4)})
    return packed({"inner.zip": inner, "after.txt": WORDS})


LAUGHS = "<!DOCTYPE bomb [<!ENTITY a0 'ha'>{}]>".format(
    "".join(f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 11))
)
SECRET = "not-for-readers"


def with_entities(content: bytes, part: str, doctype: str, entity: str) -> bytes:
    """The part with a document type, and the entity in the place of the first WORDS in it."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        text = archive.read(part).decode()
    declaration, xml = "", text
    if text.startswith("<?xml"):
        declaration, xml = text[: text.index("?>") + 2], text[text.index("?>") + 2 :]
    assert WORDS in xml
    return rewritten(content, {part: declaration + doctype + xml.replace(WORDS, entity, 1)})


def xml_files(doctype: str, entity: str) -> dict[str, bytes]:
    parts = {
        "docx": "word/document.xml",
        "odt": "content.xml",
        "pptx": "ppt/slides/slide1.xml",
        "xlsx": "xl/sharedStrings.xml",
        "epub": "OEBPS/a.xhtml",
    }
    files = {
        extension: with_entities(GOOD[extension](), part, doctype, entity)
        for extension, part in parts.items()
    }
    files["html"] = f"{doctype}<p>{WORDS} {entity}</p>".encode()
    return files


def hostile_files(folder: Path) -> None:
    def put(name: str, content: bytes) -> None:
        (folder / name).write_bytes(content)

    put("bomb.zip", zip_bomb())
    put("bomb-lies.zip", zip_of({"a.txt": (deflated_zeros(1000), 1000, 0)}))
    put("bomb.docx", rewritten_with_zeros(word_file(), "word/document.xml"))
    put("bomb.xlsx", rewritten_with_zeros(workbook(), "xl/worksheets/sheet1.xml"))
    put("bomb.odt", rewritten_with_zeros(odt(), "content.xml"))
    for extension, content in xml_files(LAUGHS, "&a10;").items():
        put(f"laughs.{extension}", content)
    secret = folder.parent / "secret.txt"
    secret.write_text(SECRET)
    external = f"<!DOCTYPE x [<!ENTITY x SYSTEM '{secret.as_uri()}'>]>"
    for extension, content in xml_files(external, "&x;").items():
        put(f"external.{extension}", content)

    put("deep-lists.json", b"[" * 100_000)
    put("deep-lists-closed.json", b"[" * 100_000 + b"]" * 100_000)
    put("deep-objects.json", b'{"a":' * 100_000 + b"1" + b"}" * 100_000)
    put("deep-late.json", b'[{"text": "%s"},' % (b"x" * 5_000_000) + b"[" * 100_000)
    put("deep.jsonl", b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b'\n{"text": "Next line."}\n')
    put("deep.html", b"<div>" * 100_000 + WORDS.encode())
    put("deep.eml", deep_mail())
    put("deep.rtf", b"{\\rtf1 " + b"{" * 100_000 + WORDS.encode())
    put(
        "huge-number.json",
        b'[{"text": "a b", "n": 1e999999999}, {"text": "c", "n": %s}]' % (b"9" * 100_000),
    )
    put("field.csv", b'title,text\nA,"' + b"word " * 20_000_000 + b'"\nB,Next row.\n')
    put("field-open.csv", b'title,text\nA,"' + b"word\n" * 1_000_000)
    put("line.txt", b"x" * 10_000_000)
    put("nul.txt", b"\0" * 1_000_000 + WORDS.encode())
    put("nul.csv", b"title,text\nA,a\0b\n\0,\0\n")
    put("surrogates.json", b'[{"text": "a \\ud800 b", "k\\udfff": "\\udc00"}]')
    put("sheet.xlsx", rewritten(workbook(), {"xl/worksheets/sheet1.xml": FAR_CELLS}))

    put(
        "cycle.pdf",
        pdf(
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R 2 0 R] /Count 1000000 >>",
            b"<< /Type /Pages /Kids [2 0 R 3 0 R] /Parent 2 0 R /Count 1000000 >>",
        ),
    )
    put("many.pdf", pdf_of_pages(WORDS).replace(b"/Count 1 ", b"/Count 2147483647 "))
    content = stream(
        zlib.compress(bytes(1 << 20), 9)[:2] + deflated_zeros(3000), "/Filter /FlateDecode "
    )
    put(
        "stream.pdf",
        pdf(
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R >>",
            content,
        ),
    )
    put("deep.pdf", pdf(b"<< /Type /Catalog /Pages 2 0 R /X " + b"[" * 100_000 + b" >>"))

    for extension, make in GOOD.items():
        content = make()
        put(f"cut.{extension}", content[: len(content) // 2])
        put(f"cut-early.{extension}", content[:40])
        put(f"holes.{extension}", holed(content))
    (folder / "folder.txt").mkdir()
    (folder / "folder.pdf").mkdir()
    put("zz-last.docx", word_file())
    put("zz-last.pdf", pdf_of_pages(WORDS))
    put("zz-last.txt", WORDS.encode())


FAR_CELLS = (
    '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
    '<row r="1"><c r="A1" t="str"><v>text</v></c></row>'
    '<row r="1048576"><c r="XFD1048576" t="str"><v>far</v></c></row></sheetData></worksheet>'
)


def rewritten_with_zeros(content: bytes, part: str) -> bytes:
    """The package with 3 GB in the place of a part."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    raw = {
        name: (zlib.compress(body, wbits=-15), len(body), zlib.crc32(body))
        for name, body in files.items()
    }
    raw[part] = (deflated_zeros(3000), 3000 << 20, 0)
    return zip_of(raw)


def deep_mail() -> bytes:
    borders = [f"b{number}" for number in range(3000)]
    head = "".join(
        f"Content-Type: multipart/mixed; boundary={border}\n\n--{border}\n" for border in borders
    )
    return f"Subject: deep\n{head}Content-Type: text/plain\n\n{WORDS}\n".encode()


def holed(content: bytes) -> bytes:
    """Every hundredth byte another one."""
    out = bytearray(content)
    for place in range(50, len(out), 100):
        out[place] ^= 0x55
    return bytes(out)


# --- the run -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("hostile") / "files"
    folder.mkdir()
    hostile_files(folder)
    run = subprocess.run(
        [
            sys.executable,
            str(Path(__file__).with_name("read_folder.py")),
            str(folder),
            str(MEMORY_BYTES),
            str(SECONDS),
        ],
        capture_output=True,
        timeout=HARD_TIMEOUT_SECONDS,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert run.returncode == 0, run.stderr.decode()[-3000:]
    result = json.loads(run.stdout)
    assert set(result["files"]) == {path.name for path in folder.iterdir()}
    return result


def test_every_file_ends_as_loaded_or_with_a_reason(outcome):
    for name, file in outcome["files"].items():
        assert file["documents"] or file["problems"], name
        assert all(reason for _, reason, _ in file["problems"]), name


def test_the_last_files_are_read_as_if_nothing_had_been(outcome):
    for extension in ("docx", "pdf", "txt"):
        file = outcome["files"][f"zz-last.{extension}"]
        assert file["problems"] == []
        assert file["words"] == sorted(WORDS.split())


def test_memory_is_bounded(outcome):
    assert outcome["peak_bytes"]["own"] < OWN_BYTES
    assert outcome["peak_bytes"]["children"] < MEMORY_BYTES


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("bomb-lies.zip", "damaged inside the archive"),
        ("deep-lists.json", "nested more than"),
        ("deep-lists-closed.json", "nested more than"),
        ("deep-objects.json", "nested more than"),
        ("deep.jsonl", "nested more than"),
        ("field.csv", "longer than"),
        ("sheet.xlsx", "of memory"),
        ("bomb.docx", ""),
        ("bomb.xlsx", ""),
        ("bomb.odt", ""),
        ("deep.html", "gave nothing for 10 seconds"),
        ("folder.txt", "Is a directory"),
        ("folder.pdf", "Is a directory"),
        ("cycle.pdf", ""),
    ],
)
def test_what_cannot_be_read_has_its_reason(outcome, name, reason):
    file = outcome["files"][name]
    assert any(reason in said and not stored for _, said, stored in file["problems"]), file


def test_a_zip_bomb_is_refused_before_it_is_unpacked_and_the_file_behind_it_is_read(outcome):
    file = outcome["files"]["bomb.zip"]
    assert [reason for _, reason, _ in file["problems"]] == [
        "It would unpack to 3,145,728,000 bytes: is the archive a zip bomb?"
    ] * 4
    assert file["words"] == sorted(WORDS.split())


def test_entities_are_not_expanded_and_nothing_is_fetched(outcome):
    for name, file in outcome["files"].items():
        if name.startswith(("laughs", "external")):
            assert file["characters"] < 1_000_000, name
            assert SECRET not in str(file), name


def test_what_can_be_read_beside_the_trouble_is_read(outcome):
    files = outcome["files"]
    assert files["nul.txt"]["words"] == sorted(WORDS.split())
    assert "ab" in files["nul.csv"]["words"]
    assert files["field.csv"]["words"] == ["Next", "row."]
    assert files["deep.jsonl"]["words"] == ["Next", "line."]
    assert files["surrogates.json"]["documents"] == 1
    assert files["huge-number.json"]["documents"] == 2
    assert files["line.txt"]["characters"] >= 10_000_000
    assert files["cut.txt"]["characters"] == len(WORDS) * 50
    assert files["cut.json"]["documents"] == 50
    assert files["cut.jsonl"]["documents"] == 50


# --- the process that reads ----------------------------------------------------------------------


def test_a_reader_that_is_shot_costs_its_file_alone():
    content = pdf_of_pages(*[WORDS] * 2000)
    source = FileSource.from_bytes("a.pdf", content)
    results = read(source)
    assert isinstance(next(results), IncomingDocument)
    os.kill(source.stop_reading.__self__._process.pid, 11)
    *_, problem = results
    assert isinstance(problem, IncomingProblem)
    assert "ended unexpectedly (SIGSEGV)" in problem.reason
    assert len(list(read(FileSource.from_bytes("b.pdf", content)))) == 2000


def test_a_cancelled_reading_ends_at_once():
    source = FileSource.from_bytes("a.pdf", pdf_of_pages(*[WORDS] * 2000))
    results = read(source)
    next(results)
    source.cancel()
    *rest, problem = results
    assert len(rest) < 2000
    assert problem.reason == "The reading was cancelled."


def test_a_reading_that_nobody_wants_any_more_ends_its_process():
    source = FileSource.from_bytes("a.pdf", pdf_of_pages(*[WORDS] * 2000))
    results = read(source)
    next(results)
    process = source.stop_reading.__self__._process
    results.close()
    assert not process.is_alive


def test_the_reading_process_has_no_key_of_ours(monkeypatch):
    close_idle()  # a process from before would not have it either way
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-for-readers")
    source = FileSource.from_bytes("a.pdf", pdf_of_pages(*[WORDS] * 2000))
    results = read(source)
    next(results)
    process = source.stop_reading.__self__._process
    environment = Path(f"/proc/{process.pid}/environ").read_bytes()
    results.close()
    assert b"PYTHONPATH" in environment
    assert b"sk-not-for-readers" not in environment


def test_a_file_that_may_not_be_read_is_a_problem():
    def refuse() -> io.BytesIO:
        raise PermissionError(13, "Permission denied")

    for extension in ("txt", "pdf", "docx", "zip"):
        (problem,) = read(FileSource(f"a.{extension}", refuse))
        assert "Permission denied" in problem.reason
