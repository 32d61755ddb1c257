"""The reader for web pages: one heading and what stands below it, one section."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingProblem
from lib.ingest.read_options import ReadOptions
from lib.ingest.readers.text import open_lines
from lib.ingest.sections import MAX_DEPTH, Block, Section, sections

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

MAX_CHARACTERS = 50_000_000
"""The parser needs all of a page at once; what comes after this is left out."""

_PIECE_CHARACTERS = 1_000_000

# Nothing of these is text for people.
_DROPPED = frozenset(
    (
        "script",
        "style",
        "template",
        "noscript",
        "iframe",
        "object",
        "embed",
        "svg",
        "math",
        "canvas",
        "audio",
        "video",
        "map",
        "button",
        "input",
        "select",
        "option",
        "datalist",
        "head",
        "title",
    )
)
# What stands around the text of a page: menus, and what is repeated on every page of a site.
_AROUND = frozenset(("nav", "aside", "footer"))
_AROUND_ROLES = frozenset(("navigation", "banner", "contentinfo", "complementary", "search"))

_BLOCKS = frozenset(
    (
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "caption",
        "center",
        "dd",
        "details",
        "dialog",
        "dir",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "header",
        "hgroup",
        "hr",
        "html",
        "legend",
        "li",
        "main",
        "menu",
        "nav",
        "ol",
        "p",
        "pre",
        "section",
        "summary",
        "table",
        "tbody",
        "tfoot",
        "thead",
        "tr",
        "ul",
    )
)
_HEADINGS = {f"h{depth}": depth for depth in range(1, 7)}
_LISTS = frozenset(("ul", "ol", "menu", "dir"))
_CELLS = frozenset(("td", "th"))


def read_html(source: FileSource, options: ReadOptions) -> Iterator[Section | IncomingProblem]:
    """Sections by headings; metadata: ``heading_path``.

    The title is the path of headings, before the first heading the page's title. Scripts, forms
    and what stands around the text (menus, footers; all outside of ``<main>`` where there is one)
    are left out. Rows of a table are lines, with " | " between the cells.
    """
    with open_lines(source, options, newline=None, max_characters=_PIECE_CHARACTERS) as lines:
        pieces: list[str] = []
        size = 0
        for piece in lines.pieces():
            pieces.append(piece)
            size += len(piece)
            if size > MAX_CHARACTERS:
                yield IncomingProblem(
                    source.name,
                    "",
                    f"The page is longer than {MAX_CHARACTERS:,} characters; the rest was left "
                    "out.",
                    "Split the file.",
                    stored=True,
                )
                break
        yield from html_sections("".join(pieces), PurePosixPath(source.name).name)
        yield from lines.problems()


def html_sections(
    html: str, name: str, metadata: dict[str, Any] | None = None
) -> Iterator[Section]:
    """name: the title where the page has none."""
    from selectolax.lexbor import LexborHTMLParser

    page = LexborHTMLParser(html.replace("\0", ""))
    title = " ".join(node.text().split()) if (node := page.css_first("title")) else ""
    found = list(sections(_blocks(page), title or name, metadata))
    if found:
        yield from found
    elif page.body is not None:  # all of it in a <nav>, for instance: better than nothing
        yield from sections(_Walk(page.body, keeps_all=True).blocks(), title or name, metadata)


def _blocks(page: LexborHTMLParser) -> Iterator[Block]:
    main = page.css_first("main, [role=main]")
    if main is not None and main.text(strip=True):
        yield from _Walk(main).blocks()
    elif page.body is not None:
        yield from _Walk(page.body).blocks()


class _Walk:
    """From a tree to blocks of text, without recursion: a hostile page is nested very deep."""

    def __init__(self, root: LexborNode, *, keeps_all: bool = False) -> None:
        self._root = root
        self._keeps_all = keeps_all
        self._text: list[str] = []  # of the block that is open
        self._cells: list[str] | None = None  # of the table row that is open
        self._pre = 0
        self._list_depth = 0
        self._item = ""  # what the next block begins with

    def blocks(self) -> Iterator[Block]:
        # (node, None) is to be entered, (None, tag) to be left.
        stack: list[tuple[LexborNode | None, str]] = [(self._root, "")]
        in_data_table: list[bool] = []
        while stack:
            node, tag = stack.pop()
            if node is None:
                yield from self._leave(tag)
                if tag == "table":
                    in_data_table.pop()
                continue
            if node is not self._root and node.next is not None:
                stack.append((node.next, ""))
            tag = node.tag or ""
            if tag == "-text":
                self._text.append(self._spaced(node.text_content or ""))
                continue
            if tag == "br":
                self._text.append("\n")
                continue
            if tag.startswith("-") or self._is_dropped(node, tag):  # "-comment" and the like
                continue
            if tag == "table":
                in_data_table.append(_is_of_data(node))
            if tag in _CELLS or tag == "tr":
                # Where a table only places things, its cells are blocks like any other.
                tag = f"data-{tag}" if in_data_table and in_data_table[-1] else "div"
            yield from self._enter(tag)
            stack.append((None, tag))
            if node.child is not None:
                stack.append((node.child, ""))
        yield from self._flush()

    def _is_dropped(self, node: LexborNode, tag: str) -> bool:
        if tag in _DROPPED:
            return True
        if self._keeps_all or node is self._root:
            return False
        if tag in _AROUND:
            return True
        attributes = node.attributes
        return "hidden" in attributes or (attributes.get("role") or "") in _AROUND_ROLES

    def _enter(self, tag: str) -> Iterator[Block]:
        if tag == "data-tr":
            yield from self._flush()
            self._cells = []
        elif self._cells is not None:
            self._text.append(" ")  # paragraphs of a cell stay on its line
        elif tag in _BLOCKS or tag in _HEADINGS:
            yield from self._flush()
            if tag == "pre":
                self._pre += 1
            elif tag in _LISTS:
                self._list_depth += 1
            elif tag == "li":
                self._item = "  " * (min(self._list_depth, MAX_DEPTH) - 1) + "- "

    def _leave(self, tag: str) -> Iterator[Block]:
        if tag == "data-tr":
            cells, self._cells, self._text = self._cells or [], None, []
            if any(cells):
                yield Block(" | ".join(cells), is_tight=True)
        elif self._cells is not None:
            if tag in ("data-td", "data-th"):
                self._cells.append(" ".join("".join(self._text).split()))
                self._text = []
        elif tag in _HEADINGS:
            yield from self._flush(_HEADINGS[tag])
        elif tag in _BLOCKS:
            yield from self._flush()
            if tag == "pre":
                self._pre -= 1
            elif tag in _LISTS:
                self._list_depth -= 1
            elif tag == "li":
                self._item = ""

    def _flush(self, heading_depth: int = 0) -> Iterator[Block]:
        text = "".join(self._text)
        self._text = []
        if not self._pre:
            text = "\n".join(" ".join(line.split()) for line in text.split("\n"))
        text = text.strip() if not self._pre else text.strip("\n").rstrip()
        if text:
            if heading_depth:
                text = " ".join(text.split())
            yield Block(self._item + text, heading_depth, is_tight=bool(self._list_depth))
            self._item = ""

    def _spaced(self, text: str) -> str:
        """A line break in a page is a space, but in <pre>."""
        return text if self._pre else " ".join(text.split("\n"))


def _is_of_data(table: LexborNode) -> bool:
    """False for a table that places parts of a page: it holds other tables or headings."""
    inside = table.css_first("td table, th table, h1, h2, h3, h4, h5, h6")
    return inside is None or inside.mem_id == table.mem_id
