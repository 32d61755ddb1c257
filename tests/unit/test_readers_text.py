"""Plain text and Markdown."""

import pytest

from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingDocument
from lib.ingest.read import read
from lib.ingest.read_options import ReadOptions
from lib.ingest.readers import markdown


def documents_of(name: str, text: str, **options) -> list[IncomingDocument]:
    results = list(read(FileSource.from_bytes(name, text.encode()), ReadOptions(**options)))
    assert all(isinstance(result, IncomingDocument) for result in results), results
    return results


def test_a_short_text_is_one_document_named_by_its_first_line():
    (document,) = documents_of("notes/a.txt", "\nShopping\n\nmilk, bread\n")
    assert document.external_id == "notes/a.txt"
    assert (document.title, document.part) == ("Shopping", 0)
    assert document.content == "Shopping\n\nmilk, bread"
    assert document.metadata == {"line": 2}


def test_a_long_first_line_is_no_title():
    (document,) = documents_of("notes/a.txt", "word " * 50)
    assert document.title == "a.txt"


def test_a_long_text_becomes_parts_with_one_id():
    text = "\n\n".join(f"Paragraph {number}. " + "word " * 60 for number in range(100))
    documents = documents_of("a.txt", text, overlap_tokens=0)
    assert len(documents) > 10
    assert [document.part for document in documents] == list(range(len(documents)))
    assert {document.external_id for document in documents} == {"a.txt"}
    assert all(document.content.startswith("Paragraph") for document in documents)
    assert all(len(document.content) <= 2000 for document in documents)


def test_a_text_without_any_line_break_is_bounded_too():
    documents = documents_of("a.txt", "ab" * 1_500_000, overlap_tokens=0)
    assert sum(len(document.content) for document in documents) == 3_000_000
    assert {document.metadata["line"] for document in documents} == {1}


GUIDE = """\
Before everything.

# Guide

## Install *now* with `pip`

Run it.

```sh
# not a heading
```

> # quoted, not a heading of ours

Use
===

Call it.

    # code, not a heading

## Empty at the end
"""


def test_markdown_is_split_at_its_headings():
    documents = documents_of("docs/guide.md", GUIDE)
    assert [document.title for document in documents] == [
        "guide.md",
        "Guide › Install now with pip",
        "Use",
        "Use › Empty at the end",
    ]
    assert [document.metadata for document in documents] == [
        {"heading_path": [], "line": 1},
        {"heading_path": ["Guide", "Install now with pip"], "line": 3},
        {"heading_path": ["Use"], "line": 15},
        {"heading_path": ["Use", "Empty at the end"], "line": 22},
    ]
    assert [document.part for document in documents] == [0, 1, 2, 3]
    text = "\n".join(document.content for document in documents)
    assert text.split() == GUIDE.split()


def test_front_matter_is_no_heading():
    documents = documents_of("a.md", "---\ntitle: x\n---\n# One\ntext\n")
    assert [document.title for document in documents] == ["a.md", "One"]
    assert documents[0].content == "---\ntitle: x\n---"


def test_a_long_section_becomes_parts_under_one_title():
    documents = documents_of("a.md", "# One\n\n" + "word word.\n\n" * 500, part_tokens=300)
    assert len(documents) > 5
    assert {document.title for document in documents} == {"One"}
    assert [document.part for document in documents] == list(range(len(documents)))


@pytest.mark.parametrize(("limit", "value"), [("MAX_CHARACTERS", 1000), ("MAX_LINES", 100)])
def test_a_markdown_file_too_long_for_the_parser_is_read_as_text(monkeypatch, limit, value):
    monkeypatch.setattr(markdown, limit, value)
    text = "# One\n" + "word\n" * 400
    source = FileSource.from_bytes("a.md", text.encode())
    problem, *documents = read(source, ReadOptions(overlap_tokens=0))
    assert problem.stored
    assert f"{value:,}" in problem.reason
    assert "\n".join(document.content for document in documents).split() == text.split()


def test_a_huge_heading_is_cut_in_the_title_and_whole_in_the_text():
    heading = "*a _b " * 100_000
    documents = documents_of("a.md", f"# {heading}\ntext\n", overlap_tokens=0)
    assert len("".join(documents[0].metadata["heading_path"])) <= 500
    text = "".join("".join(document.content.split()) for document in documents)
    assert text == "".join(f"#{heading}text".split())
