"""The sample of documentation; the expected texts are the interpreter's own docstrings."""

import importlib
import inspect
import subprocess
import sys
from collections import Counter

import pytest

from lib.ingest.incoming import IncomingDocument
from lib.ingest.sample import MIN_CHARACTERS, sample_documents


@pytest.fixture(scope="module")
def documents() -> list[IncomingDocument]:
    return list(sample_documents(600))


def test_a_first_part_is_fair_and_the_same_each_time(documents):
    assert len(documents) == 600
    assert list(sample_documents(100)) == documents[:100]
    counts = Counter(document.category for document in documents)
    assert 10 <= len(counts) <= 40
    # In turn: who has a document left has as many as anybody else.
    assert max(counts.values()) < 600 / len(counts) * 2.5


def test_ids_and_texts_are_unique(documents):
    assert len({document.external_id for document in documents}) == len(documents)
    texts = Counter(document.content.split("\n\n", 1)[1] for document in documents)
    assert max(texts.values()) == 1
    assert all(len(text) >= MIN_CHARACTERS for text in texts)


def test_content_is_the_docstring_that_python_shows(documents):
    checked = 0
    for document in documents:
        # Written in Python only: elsewhere the C version of a class may be documented otherwise.
        if document.category not in {"email", "inspect", "logging", "unittest"}:
            continue
        found = importlib.import_module(document.metadata["module"])
        inside = document.external_id.removeprefix(document.metadata["module"])
        for name in filter(None, inside.split(".")):
            found = inspect.getattr_static(found, name)
        found = getattr(found, "__func__", found)  # of a class method
        shown = inspect.cleandoc(found.__doc__).split()
        name, text = document.content.split("\n\n", 1)
        assert name == document.external_id
        assert text.split() == shown
        assert document.title.split() == shown[: len(document.title.split())]
        checked += 1
    assert checked > 50


def test_only_public_names_and_no_tests(documents):
    for document in documents:
        module = document.metadata["module"]
        inside = document.external_id.removeprefix(module).strip(".")
        assert not any(name.startswith("_") for name in inside.split("."))
        assert not {"test", "tests", "_vendor", "site-packages"} & set(module.split("."))
        assert document.title
        assert document.metadata["kind"] in {"module", "class", "method", "function"}
        assert ("signature" in document.metadata) == (
            document.metadata["kind"] in {"method", "function"}
        )


def test_nothing_is_imported():
    script = (
        "import sys; from lib.ingest.sample import sample_documents; list(sample_documents(100));"
        "print(*[name for name in ('asyncio', 'numpy', 'pandas', 'scipy', 'streamlit',"
        " 'sqlalchemy') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
