"""The reader for e-books: their chapters as web pages, in reading order."""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

from lib.errors import ReadProblem
from lib.ingest.archive import open_archive
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingProblem
from lib.ingest.read_options import ReadOptions
from lib.ingest.readers.html import html_sections
from lib.ingest.readers.text import detect_encoding
from lib.ingest.sections import Section

MAX_CHAPTER_BYTES = 50_000_000

_CONTAINER = "{urn:oasis:names:tc:opendocument:xmlns:container}"
_OPF = "{http://www.idpf.org/2007/opf}"
_DC = "{http://purl.org/dc/elements/1.1/}"
_PAGES = ("application/xhtml+xml", "text/html")
_ENCRYPTED = "{http://www.w3.org/2001/04/xmlenc#}CipherReference"


def read_epub(source: FileSource, _options: ReadOptions) -> Iterator[Section | IncomingProblem]:
    """Sections by the headings of each chapter; metadata: ``chapter`` (from 1, files without text
    not counted), ``heading_path``, ``author`` and ``language``.

    The title is the path of headings below the book's title. A chapter that cannot be read is a
    problem, and the next one is read. Raises ReadProblem where the book is locked or damaged.
    """
    with source.on_disk() as path, path.open("rb") as stream:
        try:
            archive = open_archive(stream)
        except zipfile.BadZipFile as exc:
            raise ReadProblem(
                f"The book is damaged or cut off ({exc}).", source=source.name
            ) from None
        yield from _book(archive, source)


def _book(archive: zipfile.ZipFile, source: FileSource) -> Iterator[Section | IncomingProblem]:
    locked = _locked(archive)
    container = _xml(archive, "META-INF/container.xml", source)
    root_file = container.find(f".//{_CONTAINER}rootfile")
    package_path = root_file.get("full-path", "") if root_file is not None else ""
    package = _xml(archive, package_path, source)
    folder = posixpath.dirname(package_path)
    title = _said(package, "title") or PurePosixPath(source.name).name
    metadata = {
        name: text
        for name, element in (("author", "creator"), ("language", "language"))
        if (text := _said(package, element))
    }
    pages = {
        item.get("id"): posixpath.normpath(posixpath.join(folder, unquote(item.get("href", ""))))
        for item in package.iter(f"{_OPF}item")
        if item.get("media-type") in _PAGES and "nav" not in item.get("properties", "").split()
    }
    order = [
        pages[ref] for item in package.iter(f"{_OPF}itemref") if (ref := item.get("idref")) in pages
    ]
    chapter = 0
    for number, name in enumerate(dict.fromkeys(order), start=1):
        if name in locked:
            raise ReadProblem(
                "The book is locked by its seller (DRM).",
                source=source.name,
                hint="Only the program that it was bought for can open it.",
            )
        try:
            html = _text(archive, name)
        except (KeyError, OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as exc:
            yield IncomingProblem(source.name, name, f"The chapter cannot be read ({exc}).")
            continue
        place = {**metadata, "chapter": chapter + 1}
        is_empty = True
        for section in html_sections(html, title, place):
            is_empty = False
            headings = section.metadata["heading_path"]
            named = " › ".join([title, *headings]) if headings else title
            yield Section(section.text, named, section.metadata)
        chapter += not is_empty
        source.advance(number / len(order))


def _text(archive: zipfile.ZipFile, name: str) -> str:
    content = _bytes(archive, name)
    return content.decode(detect_encoding(content) or "utf-8", "replace")


def _bytes(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > MAX_CHAPTER_BYTES:
        raise ValueError(f"more than {MAX_CHAPTER_BYTES >> 20} MB")
    with archive.open(name) as member:
        pieces = iter(lambda: member.read(1 << 20), b"")
        return b"".join(pieces)


def _xml(archive: zipfile.ZipFile, name: str, source: FileSource) -> Any:
    from lxml import etree

    # Entities stay as they are, nothing is fetched, and libxml2's own limits hold.
    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False)
    try:
        return etree.fromstring(_bytes(archive, name), parser)
    except KeyError:
        reason = f"it has no {name or 'package'}"
    except (etree.XMLSyntaxError, zipfile.BadZipFile, OSError, ValueError) as exc:
        reason = f"{name}: {exc}"
    raise ReadProblem(f"The book is damaged ({reason}).", source=source.name)


def _locked(archive: zipfile.ZipFile) -> set[str]:
    """The files that are encrypted; fonts often are, in books that anyone may read."""
    from lxml import etree

    name = "META-INF/encryption.xml"
    if name not in archive.namelist():
        return set()
    try:
        parser = etree.XMLParser(resolve_entities=False, no_network=True)
        root = etree.fromstring(_bytes(archive, name), parser)
    except (etree.XMLSyntaxError, zipfile.BadZipFile, OSError, ValueError):
        return set()
    return {unquote(element.get("URI", "")) for element in root.iter(_ENCRYPTED)}


def _said(package: Any, element: str) -> str:
    found = package.find(f".//{_DC}{element}")
    return "" if found is None else " ".join((found.text or "").split())
