"""The reader for PowerPoint presentations: one slide, one section."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any

from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingProblem
from lib.ingest.read_options import ReadOptions
from lib.ingest.sections import MAX_DEPTH, Section

Shape = Any  # of python-pptx, which has no types


def read_pptx(source: FileSource, _options: ReadOptions) -> Iterator[Section | IncomingProblem]:
    """Each slide with text is a section; metadata: ``slide``, from 1.

    The title is the slide's, without one the presentation's title or the file's name. Tables and
    groups are read, and the speaker's notes at the end, after "Notes:". Slides that hold pictures
    but no text are one problem, which names them.
    """
    import pptx
    from pptx.enum.shapes import MSO_SHAPE_TYPE

    with source.on_disk() as path:
        presentation = pptx.Presentation(str(path))
    title = (presentation.core_properties.title or "").strip()
    if title.lower() in ("", "powerpoint presentation"):  # which the program writes by itself
        title = PurePosixPath(source.name).name
    pictures: list[int] = []
    count = len(presentation.slides)
    for number, slide in enumerate(presentation.slides, start=1):
        heading = slide.shapes.title
        name = " ".join(heading.text_frame.text.split()) if heading is not None else ""
        shapes = list(_flat(slide.shapes))
        texts = [text for shape in shapes if (text := _text(shape))]
        if slide.has_notes_slide:
            notes = slide.notes_slide.notes_text_frame
            if notes is not None and notes.text.strip():
                texts.append(f"Notes: {_lines(notes.text)}")
        if texts:
            yield Section("\n\n".join(texts), name or title, {"slide": number})
        elif any(shape.shape_type == MSO_SHAPE_TYPE.PICTURE for shape in shapes):
            pictures.append(number)
        source.advance(number / count)
    if pictures:
        named = ", ".join(map(str, pictures[:50])) + (" and more" if len(pictures) > 50 else "")
        yield IncomingProblem(
            source.name,
            f"slide {named}",
            "There is no text, only pictures.",
            "Give the slide a title or notes.",
            stored=True,
            count=len(pictures),
        )


def _flat(shapes: Iterable[Shape]) -> Iterator[Shape]:
    """All shapes in order, those in groups too."""
    stack = [(shape, 0) for shape in reversed(list(shapes))]
    while stack:
        shape, depth = stack.pop()
        if hasattr(shape, "shapes") and depth < MAX_DEPTH:
            stack.extend((inner, depth + 1) for inner in reversed(list(shape.shapes)))
        else:
            yield shape


def _text(shape: Shape) -> str:
    if shape.has_text_frame:
        return _lines(shape.text_frame.text)
    if shape.has_table:
        rows = (
            " | ".join(" ".join(cell.text_frame.text.split()) for cell in row.cells)
            for row in shape.table.rows
        )
        return "\n".join(row for row in rows if row.replace("|", "").strip())
    return ""


def _lines(text: str) -> str:
    return text.replace("\v", "\n").strip()  # a line break inside a paragraph
