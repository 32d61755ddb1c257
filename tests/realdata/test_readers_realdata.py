"""The readers on real files, where they are at hand (VECSCOPE_SAMPLE_DATA or ../shared/data)."""

import csv
import os
from pathlib import Path

import pytest

from lib.ingest.columns import ColumnMapping
from lib.ingest.incoming import IncomingDocument, IncomingProblem
from lib.ingest.readers import read
from lib.ingest.sample import SAMPLE_QUESTIONS, sample_documents
from lib.ingest.source import Source

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
    source = Source.from_path(path)
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
    source = Source.from_path(path)
    documents = list(read(source))
    assert source.mapping == ColumnMapping(("answer",), "question", "source", "id")
    rows = rows_of(path)
    assert [document.external_id for document in documents] == [row["id"] for row in rows]
    assert [document.content for document in documents] == [row["answer"] for row in rows]


@needs_data
@pytest.mark.parametrize(
    ("folder", "extension"), [("encodings", "txt"), ("malformed-json", "jsonl")]
)
def test_every_awkward_file_ends_as_loaded_or_as_a_line_with_a_reason(folder, extension):
    for path in sorted((DATA / folder).rglob("*")):
        if path.is_file():
            results = list(read(Source.from_path(path, name=f"{path.name}.{extension}")))
            assert results, path
            for result in results:
                assert isinstance(result, IncomingDocument) or result.reason, path


@needs_data
def test_declared_encodings_are_found():
    wrong = []
    for path in sorted((DATA / "encodings").rglob("*")):
        # Folders are named after the encoding, some with the language behind it.
        named = path.parent.name.split("-")[0].lower()
        if not path.is_file() or named not in {"big5", "euc", "gb2312", "koi8", "shift_jis"}:
            continue
        results = list(read(Source.from_path(path, name=f"{path.name}.txt")))
        if any(isinstance(result, IncomingProblem) for result in results):
            wrong.append(path.parent.name)
    assert wrong == ["EUC-TW"]  # Python has no codec for it


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
