"""The readers on real files, where they are at hand (VECSCOPE_SAMPLE_DATA or ../shared/data)."""

import csv
import os
import re
from collections import defaultdict
from pathlib import Path

import pytest

from lib.ingest.columns import ColumnMapping
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingDocument, IncomingProblem
from lib.ingest.read import read
from lib.ingest.readers.text import detect_encoding
from lib.ingest.sample import SAMPLE_QUESTIONS, sample_documents

DATA = Path(
    os.environ.get("VECSCOPE_SAMPLE_DATA")
    or Path(__file__).resolve().parents[3] / "shared" / "data"
)
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the sample data is not here")


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@needs_data
def test_netflix_titles():
    path = DATA / "netflix_titles.csv"
    source = FileSource.from_path(path)
    documents = list(read(source))
    assert source.mapping == ColumnMapping(("description",), "title", "show_type", "show_id")
    rows = rows_of(path)
    assert [document.external_id for document in documents] == [row["show_id"] for row in rows]
    for document, row in zip(documents, rows, strict=True):
        assert document.category == row["show_type"]
        assert document.metadata["release_year"] == int(row["release_year"])
        assert document.metadata.get("director", "") == row["director"].replace("e\u0301", "é")


@needs_data
def test_medquad_sample():
    path = DATA / "medquad-sample" / "medquad_sample.csv"
    source = FileSource.from_path(path)
    documents = list(read(source))
    assert source.mapping == ColumnMapping(("answer",), "question", "source", "id")
    rows = rows_of(path)
    assert [document.external_id for document in documents] == [row["id"] for row in rows]
    assert [document.content for document in documents] == [row["answer"] for row in rows]


@needs_data
@pytest.mark.parametrize(
    ("folder", "extension"),
    [
        ("encodings", "txt"),
        ("encodings", "html"),
        ("malformed-json", "jsonl"),
        ("malformed-json", "json"),
        ("pdf-samples", "pdf"),
    ],
)
def test_every_awkward_file_ends_as_loaded_or_as_a_line_with_a_reason(folder, extension):
    for path in sorted((DATA / folder).rglob("*")):
        if path.is_file():
            results = list(read(FileSource.from_path(path, name=f"{path.name}.{extension}")))
            assert results, path
            for result in results:
                assert isinstance(result, IncomingDocument) or result.reason, path


# What Python calls them where the folder says it otherwise; the rest of a name is the language.
CODECS = {"maccyrillic": "mac_cyrillic", "macroman": "mac_roman", "shift_jis": "cp932"}


@needs_data
def test_encodings_are_found():
    """By the text that comes of it: several code pages give the same for most languages."""
    wrong = []
    for path in sorted((DATA / "encodings").rglob("*")):
        if not path.is_file():
            continue
        content = path.read_bytes()
        folder = path.parent.name.lower()
        named = re.sub("-[a-z]{5,}$", "", folder)
        try:
            expected = content.decode(CODECS.get(named, named), "replace")
        except LookupError:  # EUC-TW: Python has no codec for it
            expected = ""
        found = detect_encoding(content)
        if not found or content.decode(found, "replace").lstrip("\ufeff") != expected.lstrip(
            "\ufeff"
        ):
            wrong.append(folder)
    # Four short texts without a declaration, a listing with one character that is no ASCII, and
    # the one that Python cannot read.
    assert wrong == [
        "euc-tw",
        "macroman",
        "iso-8859-1",
        "iso-8859-1",
        "iso-8859-2-polish",
        "windows-1254-turkish",
    ]


@needs_data
def test_json_is_told_from_what_is_none():
    for path in sorted((DATA / "malformed-json").iterdir()):
        results = list(read(FileSource.from_path(path, name=f"{path.name}.json")))
        problems = [result.reason for result in results if isinstance(result, IncomingProblem)]
        if path.name.startswith("n_"):
            assert problems, path
        if path.name.startswith("y_"):
            # Numbers alone are JSON, but no records.
            allowed = ("no record", "No column looks like", "The file is empty", "There is no text")
            assert all(any(said in reason for said in allowed) for reason in problems), path


# Checked by eye against the rendered page: docs/loading.md.
PAGES = {
    ("001", 1): "no sea takimata sanctus est Lorem ipsum dolor sit amet.",
    ("004", 1): "“Huardest gefburn”? Kjift – not at all! A blind text like this gives you",
    ("009", 8): "B = { U1 × U2 | Ui offen in Xi, i = 1, 2 } ist eine Basis von T.",
    ("010", 1): "Name Check Submit",
    ("011", 1): "Currency Rupia EUR (€) - Population 273.879.750",
    ("012", 1): "Agree to privacy policy Other Alice Bob",
    ("013", 1): "Name: Foo Bar Fingerprint: asdfSa2123 Signed: 12-34-2007T12:34:56",
    ("021", 1): "The round pegs in the square holes. The ones who see things differently.",
    ("024", 1): "Some text. Line 1 Line 2 Not highlighted",
    ("026", 1): "Donec nonummy pellentesque ante. Phasellus adipiscing semper elit.",
    ("026", 3): "Belgium 11.5 30,689 Brussels Dutch, French, German Czech Republic 10.7",
}
PICTURES = ("007", "019", "023")


@needs_data
def test_pages_that_were_checked_by_eye_read_as_they_did():
    texts = defaultdict(str)
    for path in sorted((DATA / "pdf-samples").iterdir()):
        results = list(read(FileSource.from_path(path)))
        for result in results:
            if isinstance(result, IncomingDocument) and "page" in result.metadata:
                key = (path.name[:3], result.metadata["page"])
                texts[key] += " ".join(result.content.split()) + " "
        if path.name.startswith(PICTURES):
            assert "pictures only" in results[-1].reason, path
        if path.name.startswith("005"):
            assert results[0].reason == "The file is protected by a password."
    for key, words in PAGES.items():
        assert words in texts[key], key


def test_the_whole_sample_answers_its_own_questions():
    documents = list(sample_documents())
    assert len(documents) > 3000
    assert len(set(SAMPLE_QUESTIONS)) == 6
    assert {document.external_id for document in documents} >= {
        "asyncio.tasks.wait_for",
        "statistics.median",
        "inspect.getsource",
        "zipfile.ZipFile.extractall",
        "ipaddress.ip_network",
        "logging.handlers.BaseRotatingHandler",
    }
