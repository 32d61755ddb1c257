"""Web pages, read in another process."""

import pytest

from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingDocument
from lib.ingest.read import read
from lib.ingest.readers.text import detect_encoding


def documents_of(page: str | bytes, name: str = "site/a.html") -> list[IncomingDocument]:
    content = page.encode() if isinstance(page, str) else page
    results = list(read(FileSource.from_bytes(name, content)))
    assert all(isinstance(result, IncomingDocument) for result in results), results
    return results


PAGE = """\
<!doctype html>
<html><head><title>The
  shop</title><style>p { color: red }</style></head>
<body>
<nav><a href="/">Menu</a></nav>
<p>Before everything<br>and below.</p>
<h1>Big <em>news</em></h1>
<div>Text in a div with <b>bold</b>&nbsp;&amp; <a href="x">a link</a>.</div>
<ul><li>one</li><li><p>two</p><ol><li>inner</li></ol></li></ul>
<h3>Prices</h3>
<table><tr><th>Thing</th><th>Price</th></tr><tr><td><p>Pen</p></td><td>2 €</td></tr></table>
<pre>
  kept   as
    it is
</pre>
<script>var not_text = 1;</script><p hidden>not shown</p>
<footer>Imprint</footer>
</body></html>
"""


def test_a_page_is_split_at_its_headings():
    documents = documents_of(PAGE)
    assert [document.title for document in documents] == [
        "The shop",
        "Big news",
        "Big news › Prices",
    ]
    assert [document.metadata for document in documents] == [
        {"heading_path": []},
        {"heading_path": ["Big news"]},
        {"heading_path": ["Big news", "Prices"]},
    ]
    assert [document.content for document in documents] == [
        "Before everything\nand below.",
        "Big news\n\nText in a div with bold & a link.\n\n- one\n- two\n  - inner",
        "Prices\n\nThing | Price\nPen | 2 €\n\n  kept   as\n    it is",
    ]


def test_where_there_is_a_main_part_it_is_the_text():
    page = "<body><div>Ads</div><main><header><h1>A</h1></header>text</main><p>More ads</p>"
    assert [document.content for document in documents_of(page)] == ["A\n\ntext"]


def test_what_is_all_menu_is_read_all_the_same():
    (document,) = documents_of("<body><nav><ul><li>Only this</li></ul></nav></body>")
    assert document.content == "- Only this"
    assert document.title == "a.html"


def test_a_table_that_only_places_things_is_no_table():
    page = "<table><tr><td><h2>Left</h2><p>a</p></td><td><p>b</p></td></tr></table>"
    (document,) = documents_of(page)
    assert document.content == "Left\n\na\n\nb"


RUSSIAN = "Съешь же ещё этих мягких французских булок"


@pytest.mark.parametrize(
    ("declaration", "encoding"),
    [
        ('<meta charset="windows-1251">', "cp1251"),
        ("<meta http-equiv=Content-Type content='text/html; charset=koi8-r'>", "koi8-r"),
        ('<?xml version="1.0" encoding="iso-8859-5"?>', "iso8859-5"),
    ],
)
def test_a_page_says_its_encoding(declaration, encoding):
    # Too short for a guess, so that only the declaration can have told.
    page = f"{declaration}<p>{RUSSIAN[:12]}</p>".encode(encoding)
    (document,) = documents_of(page)
    assert document.content == RUSSIAN[:12]


def test_a_declaration_that_does_not_fit_is_not_believed():
    page = f"<meta charset='ascii'><p>{RUSSIAN}</p>".encode()
    assert detect_encoding(page) == "utf-8"
    page = b"<meta charset='shift_jis'>" + f"<p>{RUSSIAN} \x98</p>".encode("cp1251", "ignore") * 20
    assert detect_encoding(page) != "cp932"


def test_nothing_of_a_broken_page_is_lost():
    (document,) = documents_of("<p>one <b>two <p>three</i> <td>four <unknown-tag>five")
    assert document.content.split() == ["one", "two", "three", "four", "five"]
