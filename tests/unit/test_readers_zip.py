"""Zip archives: the files inside, each by its own reader."""

import io
import zipfile

import docx

from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingDocument, IncomingProblem
from lib.ingest.read import read


def packed(files: dict[str, bytes | str], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def results_of(content: bytes) -> list:
    return list(read(FileSource.from_bytes("up/a.zip", content)))


def word_file(text: str) -> bytes:
    document = docx.Document()
    document.add_paragraph(text)
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def test_the_files_inside_are_named_by_their_path():
    inner = packed({"deep/c.txt": "In the inner archive."})
    source = FileSource.from_bytes(
        "up/a.zip",
        packed(
            {
                "notes/a.md": "# One\n\nText.",
                "rows.csv": "text,n\nA row.,1\n",
                "b.docx": word_file("In Word."),
                "inner.zip": inner,
                "notes/": "",
                "__MACOSX/notes/._a.md": "x",
                ".hidden/b.txt": "x",
                ".DS_Store": "x",
            }
        ),
    )
    results = list(read(source))
    assert [(result.external_id, result.content) for result in results] == [
        ("up/a.zip/notes/a.md", "# One\n\nText."),
        ("up/a.zip/rows.csv#1", "A row."),
        ("up/a.zip/b.docx", "In Word."),
        ("up/a.zip/inner.zip/deep/c.txt", "In the inner archive."),
    ]
    assert source.bytes_read == source.size_bytes


def test_each_file_that_cannot_be_read_is_a_problem_of_its_own():
    results = results_of(
        packed({"a.xyz": "x", "empty.txt": "", "bad.pdf": b"%PDF-1.7 nothing", "good.txt": "Good."})
    )
    assert [
        (result.source, result.reason) for result in results if isinstance(result, IncomingProblem)
    ] == [
        ("up/a.zip/a.xyz", '"up/a.zip/a.xyz" cannot be read: files ending in .xyz are not known.'),
        ("up/a.zip/empty.txt", "The file is empty: there is no text in it."),
        ("up/a.zip/bad.pdf", "The file is damaged, or no PDF."),
    ]
    assert results[-1].content == "Good."


def test_archives_are_opened_two_deep():
    content = packed({"c.txt": "Too deep."})
    for name in ("3.zip", "2.zip"):
        content = packed({name: content, f"{name}.txt": f"Beside {name}."})
    problem, three, two = results_of(content)
    assert problem.source == "up/a.zip/2.zip/3.zip"
    assert "inside of 2 others" in problem.reason
    assert (three.content, two.content) == ("Beside 3.zip.", "Beside 2.zip.")


def test_paths_that_lead_out_are_refused():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("../../etc/a.txt", "/b.txt", "C:/c.txt", "x/../../d.txt", "..\\e.txt"):
            archive.writestr(name, "out")
        archive.writestr("good.txt", "Good.")
    *refused, document = results_of(file.getvalue())
    assert {result.reason for result in refused} == {"Its path leads out of the archive."}
    assert len(refused) == 5
    assert document.content == "Good."


def test_a_name_that_comes_twice_is_refused():
    first, problem = results_of(
        packed({"a.txt": "First.", "b.txt": "Second."}).replace(b"b.txt", b"a.txt")
    )
    assert first.content == "First."
    assert problem.reason == "The archive holds another file of that name."


def test_names_are_read_as_macos_writes_them():
    content = packed({"Grxxxxe.txt": "Text."}).replace(b"Grxxxxe", "Größe".encode())
    (document,) = results_of(content)
    assert document.external_id == "up/a.zip/Größe.txt"


def test_a_locked_file_is_a_problem_and_the_next_one_is_read():
    content = bytearray(packed({"a.txt": "Locked.", "b.txt": "Open."}))
    # The flag of the first file, where it stands and in the directory at the end.
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    problem, document = results_of(bytes(content))
    assert problem.reason == "It is protected by a password."
    assert document.content == "Open."


def test_what_is_damaged_inside_is_a_problem_and_the_next_one_is_read():
    text = "".join(f"Line number {number}.\n" for number in range(20_000))
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2):
        content = bytearray(packed({"a.txt": text, "b.txt": "Good."}, method))
        content[2000:2100] = bytes(100)
        *_, problem, document = results_of(bytes(content))
        assert "damaged inside the archive" in problem.reason
        assert document.content == "Good."


def test_a_rare_method_is_said():
    (problem,) = results_of(packed({"a.txt": "text " * 100}, zipfile.ZIP_LZMA))
    assert problem.reason == "It is packed by a rare method (number 14)."


def test_a_cut_archive_is_a_problem():
    content = packed({f"{number}.txt": "text" for number in range(100)})
    (problem,) = results_of(content[:-500])
    assert "damaged or cut off" in problem.reason


def test_thousands_of_files():
    content = packed({f"folder/{number}.txt": f"Text {number}." for number in range(5000)})
    results = results_of(content)
    assert all(isinstance(result, IncomingDocument) for result in results)
    assert [result.content for result in results] == [f"Text {number}." for number in range(5000)]
