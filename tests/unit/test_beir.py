"""Judged collections in BEIR form: what is recognised, and what of a broken file still counts."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from lib.errors import InvalidInput
from lib.ingest.beir import find_judged, read_judgments
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingDocument, IncomingProblem
from lib.ingest.queries import IncomingJudgment, IncomingQuery, QueryStream

CORPUS = (
    '{"_id": "d1", "title": "Apples", "text": "Red fruit.", "metadata": {"url": "x"}}\n'
    '{"_id": "d2", "title": "", "text": "Yellow fruit."}\n'
    '{"_id": "d3", "title": "Only a title", "text": ""}\n'
    '{"_id": "d4", "title": "", "text": ""}\n'
)
QUERIES = (
    '{"_id": "q1", "text": "red"}\n{"_id": "q2", "text": "fruit"}\n{"_id": "q3", "text": " "}\n'
)
HEADER = "query-id\tcorpus-id\tscore\n"


def make(folder: Path, **files: str) -> Path:
    """Files by their names, with ``__`` for ``/`` and ``_`` before the ending."""
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(exist_ok=True)
        content = text.encode()
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return folder


def judgments(text: str) -> list[IncomingJudgment | IncomingProblem]:
    return list(read_judgments(FileSource.from_bytes("qrels.tsv", text.encode())))


def query_ids(stream: QueryStream) -> list[str]:
    return [query.external_id for query in stream.queries() if isinstance(query, IncomingQuery)]


@pytest.mark.parametrize("ending", ["jsonl", "jsonl_gz"])
def test_documents_queries_and_judgments_are_read(tmp_path: Path, ending: str) -> None:
    files = {f"corpus_{ending}": CORPUS, f"queries_{ending}": QUERIES}
    folder = make(tmp_path / "fruit", qrels_tsv=f"{HEADER}q1\td1\t2\nq2\td1\t0\n", **files)
    found = find_judged(folder)
    assert found is not None
    stream = found.documents()
    incoming = list(stream.read())
    documents = [item for item in incoming if isinstance(item, IncomingDocument)]
    assert [(d.external_id, d.title, d.content) for d in documents] == [
        ("d1", "Apples", "Red fruit."),
        ("d2", None, "Yellow fruit."),
        ("d3", "Only a title", "Only a title"),
    ]
    assert documents[0].metadata == {"metadata": {"url": "x"}}
    problems = [item for item in incoming if isinstance(item, IncomingProblem)]
    assert [problem.place for problem in problems] == ["line 4"]  # nothing in it to be found
    assert stream.size == len(CORPUS.encode()) == stream.position()

    (queries,) = found.query_streams()
    assert queries.name == "fruit"
    assert [(q.external_id, q.text) for q in queries.queries() if isinstance(q, IncomingQuery)] == [
        ("q1", "red"),
        ("q2", "fruit"),
    ]
    assert list(queries.judgments()) == [
        IncomingJudgment("q1", "d1", 2),
        IncomingJudgment("q2", "d1", 0),
    ]


def test_without_judgments_it_is_recognised_all_the_same(tmp_path: Path) -> None:
    found = find_judged(make(tmp_path, corpus_jsonl=CORPUS, queries_jsonl=QUERIES))
    assert found is not None
    (stream,) = found.query_streams()
    assert [i.place for i in stream.queries() if isinstance(i, IncomingProblem)] == ["line 3"]
    assert list(stream.judgments()) == []


def test_each_split_is_a_query_set_of_its_own(tmp_path: Path) -> None:
    folder = make(
        tmp_path / "fruit",
        corpus_jsonl=CORPUS,
        queries_jsonl=QUERIES,
        qrels__test_tsv=f"{HEADER}q1\td1\t1\n",
        qrels__train_tsv=f"{HEADER}q2\td2\t1\n",
        qrels__readme_md="not a split",
    )
    found = find_judged(folder)
    assert found is not None
    streams = found.query_streams()
    assert [(stream.name, stream.judged_only) for stream in streams] == [
        ("fruit (test)", True),
        ("fruit (train)", True),
    ]
    assert list(streams[1].judgments()) == [IncomingJudgment("q2", "d2", 1)]
    assert [stream.name for stream in found.query_streams(["test"])] == ["fruit (test)"]
    with pytest.raises(InvalidInput, match=r"no split “dev”.*test, train"):
        found.query_streams(["dev"])


def test_judgments_in_both_forms_and_awkward_lines() -> None:
    found = judgments(
        "query-id\tcorpus-id\tscore\r\n"
        "q 1\td 1\t1\r\n"  # ids with spaces
        "q1 0 d2 2\n"  # TREC
        "\n"
        "q1\td3\t1.0\n"
        "q1\td3\t0.5\n"
        "q1\td3\tgood\n"
        "q1\td3\tnan\n"
        "q1\td3\t99999999999\n"
        "q1\n"
        "\td3\t1\n"
        "q1\td4\t-1\n"
    )
    assert [item for item in found if isinstance(item, IncomingJudgment)] == [
        IncomingJudgment("q 1", "d 1", 1),
        IncomingJudgment("q1", "d2", 2),
        IncomingJudgment("q1", "d3", 1),
        IncomingJudgment("q1", "d4", -1),
    ]
    places = [item.place for item in found if isinstance(item, IncomingProblem)]
    assert places == [f"line {number}" for number in (6, 7, 8, 9, 10, 11)]


def test_a_first_line_with_a_grade_is_no_header() -> None:
    assert judgments("q1\td1\t1\n") == [IncomingJudgment("q1", "d1", 1)]


def test_a_document_with_a_long_id_is_named_alike_by_its_judgment() -> None:
    long_id = "x" * 800
    (judgment,) = judgments(f"q1\t{long_id}\t1\n")
    assert isinstance(judgment, IncomingJudgment)
    assert judgment.document == IncomingDocument(external_id=long_id, content="x").external_id


@pytest.mark.parametrize("keep", [0.5, 0.99])
def test_a_gzip_file_that_breaks_off_is_told(tmp_path: Path, keep: float) -> None:
    folder = make(tmp_path, corpus_jsonl_gz=CORPUS * 50, queries_jsonl=QUERIES)
    path = folder / "corpus.jsonl.gz"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    found = find_judged(folder)
    assert found is not None
    last = list(found.documents().read())[-1]
    assert isinstance(last, IncomingProblem)
    assert "no whole gzip file" in last.reason


@pytest.mark.parametrize(
    "files",
    [
        {"corpus_jsonl": CORPUS},
        {"queries_jsonl": QUERIES},
        {"corpus_csv": "a", "queries_csv": "b", "qrels_tsv": HEADER},
    ],
)
def test_what_is_no_judged_collection(tmp_path: Path, files: dict[str, str]) -> None:
    assert find_judged(make(tmp_path, **files)) is None


def test_queries_and_judgments_alone_are_queries_for_a_collection_that_is_there(
    tmp_path: Path,
) -> None:
    found = find_judged(make(tmp_path, queries_jsonl=QUERIES, qrels_tsv="q1\td1\t1\n"))
    assert found is not None
    (stream,) = found.query_streams()
    assert query_ids(stream) == ["q1", "q2"]
    with pytest.raises(InvalidInput, match=r"no corpus\.jsonl"):
        found.documents()
