"""Files inside files: those attached to a mail or a PDF, and those packed in an archive."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingProblem

MAX_DEPTH = 2
"""An archive in an archive is read; one in that is not."""


class Member(ABC):
    """A file inside a file, to be read by its own reader (:func:`lib.ingest.read.read`)."""

    @abstractmethod
    def open(self, container: FileSource) -> AbstractContextManager[FileSource]:
        """The file as a source, for as long as it is read. Raises OSError where it is damaged."""

    @abstractmethod
    def problem(self, container: FileSource, reason: str, hint: str = "") -> IncomingProblem:
        """The problem to be shown where the file is not read."""


@dataclass(frozen=True, slots=True)
class Attachment(Member):
    """A file attached to a mail or a PDF, whole: it comes from the process that read that."""

    name: str
    content: bytes = field(repr=False)

    @property
    def file_name(self) -> str:
        """The name without the folders that it may claim."""
        return PurePosixPath(self.name.replace("\\", "/")).name or "file"

    @contextmanager
    def open(self, container: FileSource) -> Iterator[FileSource]:
        yield FileSource(
            f"{container.name}/{self.file_name}",
            lambda: io.BytesIO(self.content),
            size_bytes=len(self.content),
            container=container,
        )

    def problem(self, container: FileSource, reason: str, hint: str = "") -> IncomingProblem:
        # "stored": the file around it was; a picture in it is no failure.
        return IncomingProblem(
            container.name, f'attachment "{self.file_name}"', reason, hint, stored=True
        )
