"""The points of a map as they are drawn: where they lie, and what they say under the mouse."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from lib.projection.document_details import DocumentDetails
from lib.ui.shared.charts import shortened

MAX_SNIPPET_POINTS = 20_000
"""On larger maps a point shows its title and category only: the beginnings of all texts would be
megabytes."""
MAX_HOVER_BYTES = 8_000_000
"""Of the hover texts of all points, as JSON, which goes to the browser with each figure."""

_TITLE, _CATEGORY, _SNIPPET = 70, 70, 90  # characters
_MARGIN = 0.06  # of the map's width, around it
_OUTSIDE_SHARE = 0.01  # of the points, on each side of each axis

IntArray = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Frame:
    """The part of the map that is shown, as (low, high) of each axis."""

    x: tuple[float, float]
    y: tuple[float, float]


@dataclass(frozen=True, eq=False)
class MapPoints:
    """The n points of a map with their hover texts."""

    coordinates: npt.NDArray[np.float32]
    """(n, 2 or 3)."""
    titles: npt.NDArray[np.object_]
    """(n,) texts."""
    subtitles: npt.NDArray[np.object_] | None
    """(n,) texts under the titles; None where there are none."""

    def __len__(self) -> int:
        return len(self.coordinates)

    @property
    def is_3d(self) -> bool:
        return bool(self.coordinates.shape[1] == 3)

    def hover_text(self, index: int) -> str:
        """What a point shows under the mouse."""
        title = f"<b>{self.titles[index]}</b>"
        return title if self.subtitles is None else f"{title}<br>{self.subtitles[index]}"

    @cached_property
    def frame(self) -> Frame:
        """Of the whole map."""
        return frame_of(self.coordinates)

    @cached_property
    def outside(self) -> int:
        """How many points lie outside the whole map's frame; 0 in three dimensions."""
        if self.is_3d:
            return 0
        frame, (x, y) = self.frame, self.coordinates.T
        within = (x >= frame.x[0]) & (x <= frame.x[1]) & (y >= frame.y[0]) & (y <= frame.y[1])
        return int(np.count_nonzero(~within))


def map_points(coordinates: npt.NDArray[np.float32], details: DocumentDetails) -> MapPoints:
    """The points, each with title, category and beginning of its document as hover text."""
    count = len(coordinates)
    with_snippets = count <= MAX_SNIPPET_POINTS
    longest = _TITLE + _CATEGORY + (_SNIPPET if with_snippets else 0)
    character_bytes = MAX_HOVER_BYTES / max(count, 1) / longest
    titles = np.empty(count, dtype=object)
    subtitles = np.empty(count, dtype=object)
    rows = zip(details.titles, details.categories, details.snippets, strict=True)
    for index, (title, category, snippet) in enumerate(rows):
        titles[index] = _shortened_within(title, _TITLE, character_bytes)
        lines = []
        if category:
            lines.append(_shortened_within(category, _CATEGORY, character_bytes))
        if with_snippets and snippet:
            lines.append(_shortened_within(snippet, _SNIPPET, character_bytes))
        subtitles[index] = "<br>".join(lines)
    return MapPoints(coordinates, titles, subtitles if any(subtitles) else None)


def _shortened_within(text: str, characters: int, character_bytes: float) -> str:
    """The text in at most so many characters, and in so many bytes of JSON for each of them: a
    character that is not ASCII takes six there, and one that takes two in UTF-16 twelve."""
    max_bytes = characters * character_bytes
    if text.isascii():
        return shortened(text, max(min(characters, int(max_bytes)), 1))
    used = 0
    for length, character in enumerate(text[:characters]):
        used += 1 if character < "\x80" else 6 if character < "\U00010000" else 12
        if used > max_bytes:
            return shortened(text, max(length, 1))
    return shortened(text, characters)


def frame_of(coordinates: npt.NDArray[np.float32], indices: IntArray | None = None) -> Frame:
    """The frame around these points, or around nearly all: a few that lie far off would make the
    rest small. They are there when one zooms out (:attr:`MapPoints.outside`)."""
    if indices is not None and len(indices):
        low, high = coordinates[indices, :2].min(axis=0), coordinates[indices, :2].max(axis=0)
    else:
        shares = (_OUTSIDE_SHARE, 1 - _OUTSIDE_SHARE)
        low, high = np.quantile(coordinates[:, :2], shares, axis=0)
    room = np.maximum((high - low) * _MARGIN, float(np.ptp(coordinates[:, :2])) * _MARGIN / 4)
    low, high = low - room, high + room
    return Frame((float(low[0]), float(high[0])), (float(low[1]), float(high[1])))
