"""What every reader shares: clean documents, sources, encodings, parts, the registry."""

import codecs
import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.errors import InvalidInput
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingDocument, IncomingProblem, clean_text
from lib.ingest.read import read
from lib.ingest.read_options import ReadOptions
from lib.ingest.readers.registry import EXTENSIONS, reader_for
from lib.ingest.readers.text import detect_encoding

any_text = st.text(st.characters(exclude_categories=()), max_size=60)  # surrogates included


@given(any_text)
def test_clean_text_can_be_stored_and_is_stable(text):
    cleaned = clean_text(text)
    cleaned.encode()  # no lone surrogates
    assert "\0" not in cleaned
    assert "\r" not in cleaned
    assert clean_text(cleaned) == cleaned


def test_clean_text_by_hand():
    assert clean_text("a\0b\r\nc\rd\ud800e") == "ab\nc\nd\ufffde"
    assert clean_text("e\u0301") == "\u00e9"


def test_a_document_is_clean_to_the_depth_of_its_metadata():
    document = IncomingDocument(
        external_id="a\0b",
        title=" two\n lines ",
        content="x\0",
        category="",
        metadata={"k\0": ["v\ud800", {"n": "\0"}, 1, None, True]},
    )
    assert document.external_id == "ab"
    assert document.title == "two lines"
    assert document.content == "x"
    assert document.category is None
    assert document.metadata == {"k": ["v\ufffd", {"n": ""}, 1, None, True]}


def test_long_labels_are_cut_and_kept_whole_in_the_metadata():
    ids = ["i" * 600 + "a", "i" * 600 + "b"]
    documents = [IncomingDocument(external_id=i, title="t" * 501, content="c") for i in ids]
    assert documents[0].external_id != documents[1].external_id
    for document, external_id in zip(documents, ids, strict=True):
        assert len(document.external_id) == len(document.title) == 500
        assert document.title.endswith("…")
        assert document.metadata == {"full_external_id": external_id, "full_title": "t" * 501}


def test_metadata_that_is_no_json_is_refused():
    deep: list = []
    for _ in range(200):
        deep = [deep]
    for value in (math.nan, math.inf, deep):
        with pytest.raises(InvalidInput):
            IncomingDocument(external_id="a", content="c", metadata={"k": value})
    with pytest.raises(InvalidInput):
        IncomingDocument(external_id="\0", content="c")


def test_the_hash_follows_title_and_content_and_tells_them_apart():
    hashes = {
        IncomingDocument(external_id="a", title=title, content=content).content_hash
        for title, content in [("ab", "c"), ("a", "bc"), (None, "abc"), ("abc", "abc")]
    }
    assert len(hashes) == 4
    plain = IncomingDocument(external_id="a", content="c")
    other = IncomingDocument(external_id="b", content="c", category="x", metadata={"y": 1})
    assert plain.content_hash == other.content_hash


GERMAN = "Die Größe der Straße über dem Fluß müßte für alle Bürger reichen. " * 5
RUSSIAN = "Съешь же ещё этих мягких французских булок да выпей чаю. " * 5
JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。" * 5


@pytest.mark.parametrize(
    ("text", "encoding", "mark"),
    [
        (GERMAN, "utf-8", b""),
        (GERMAN, "utf-8", codecs.BOM_UTF8),
        (RUSSIAN, "utf-16-le", codecs.BOM_UTF16_LE),
        (RUSSIAN, "utf-16-be", codecs.BOM_UTF16_BE),
        (RUSSIAN, "utf-32-le", codecs.BOM_UTF32_LE),
        (GERMAN, "utf-16-le", b""),
        (GERMAN, "cp1252", b""),
        (RUSSIAN, "cp1251", b""),
        (JAPANESE, "shift_jis", b""),
    ],
)
def test_encodings_are_found(text, encoding, mark):
    source = FileSource.from_bytes("a.txt", mark + text.encode(encoding))
    documents = list(read(source))
    assert [document.content for document in documents] == [text.strip()]
    assert codecs.lookup(source.encoding)


def test_the_odd_byte_that_decides_may_come_late():
    ascii_lines = b"nothing but plain letters in this line\n" * 5000
    assert detect_encoding(ascii_lines + GERMAN.encode("cp1252") + ascii_lines) == "cp1252"


def test_a_chosen_encoding_is_used_and_what_does_not_fit_is_counted():
    source = FileSource.from_bytes("a.txt", b"first\nsecond \xff\xfe line\n")
    document, problem = read(source, ReadOptions(encoding="utf-8"))
    assert document.content == "first\nsecond \ufffd\ufffd line"
    assert isinstance(problem, IncomingProblem)
    assert problem.stored
    assert problem.place == "line 2 and later"
    assert problem.reason.startswith("2 place(s)")
    # A replacement character that stands in the file is none of ours.
    assert len(list(read(FileSource.from_bytes("a.txt", "a \ufffd".encode())))) == 1


@pytest.mark.parametrize("name", ["no-such", "hex", "zip", "idna", "undefined", "unicode_escape"])
def test_an_encoding_that_is_none_is_refused(name):
    with pytest.raises(InvalidInput, match=name):
        ReadOptions(encoding=name)


def test_what_is_no_text_is_said():
    png = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40
    (problem,) = read(FileSource.from_bytes("picture.txt", png))
    assert problem.reason == (
        "The file does not look like text, but like: Portable Network Graphics file."
    )


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("content", [b"", b"\n \n", codecs.BOM_UTF8])
def test_an_empty_file_is_a_problem(extension, content):
    (problem,) = read(FileSource.from_bytes(f"a.{extension}", content))
    assert isinstance(problem, IncomingProblem)
    assert not problem.stored


def test_a_file_that_went_away_is_a_problem(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_text("text")
    source = FileSource.from_path(path)
    path.unlink()
    (problem,) = read(source)
    assert "No such file" in problem.reason


def test_readers_are_found_by_extension():
    assert reader_for("folder/A.CSV").format == "Table (CSV, TSV)"
    for name in ("a.doc", "README"):
        with pytest.raises(InvalidInput) as caught:
            reader_for(name)
        assert "jsonl" in caught.value.hint


def test_bytes_read_grows_to_the_size_and_starts_again():
    content = b"".join(b'{"text": "words %0200d"}\n' % number for number in range(20_000))
    source = FileSource.from_bytes("a.jsonl", content)
    for _ in range(2):
        seen = [source.bytes_read for _ in read(source)]
        assert seen == sorted(seen)
        assert 0 < seen[0] < len(content)
        assert seen[-1] == source.size_bytes == len(content)


@settings(deadline=None)  # some readers run in another process, which is started first
@given(
    st.one_of(
        st.binary(max_size=300),
        st.text('",;\n\r\t#`-{}[]:\\aé\0\ufeff', max_size=200).map(str.encode),
        any_text.map(lambda text: text.encode("utf-16", "surrogatepass")),
    ),
    st.sampled_from(EXTENSIONS),
    st.sampled_from([None, "utf-8", "utf-16", "utf-7", "shift_jis", "iso2022_jp", "cp1252"]),
    st.booleans(),
)
def test_no_bytes_make_a_reader_raise(content, extension, encoding, has_header):
    source = FileSource.from_bytes(f"a.{extension}", content)
    results = list(read(source, ReadOptions(encoding=encoding, has_header=has_header)))
    assert results
    for result in results:
        if isinstance(result, IncomingDocument):
            assert result.content.strip()
            json.dumps(dict(result.metadata), allow_nan=False)
            result.content.encode()
        else:
            assert result.reason


def test_a_problem_that_quotes_a_broken_file_can_be_written() -> None:
    problem = IncomingProblem("a\ud800.json", "key \udfaa", "\0 is no value", "see \ud800")
    assert [problem.source, problem.place, problem.reason, problem.hint] == [
        "a\ufffd.json",
        "key \ufffd",
        " is no value",
        "see \ufffd",
    ]
    "".join([problem.source, problem.place, problem.reason, problem.hint]).encode()
