"""The protocol of the process that reads hostile files: one line of JSON for each message.

JSON, not pickle: a parser that a file has taken over can say wrong things, but run nothing here.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from lib.errors import InvalidInput
from lib.ingest.columns import ColumnChoice, ColumnMapping
from lib.ingest.file_source import ArrayFacts
from lib.ingest.incoming import IncomingDocument, IncomingProblem
from lib.ingest.members import Attachment
from lib.ingest.read_options import ReadOptions
from lib.ingest.sections import Section

if TYPE_CHECKING:
    from lib.ingest.file_source import FileSource

MAX_LINE_BYTES = 128 * 1024 * 1024


class ProtocolError(Exception):
    """A line that no reader of ours writes."""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a reader learnt about its file, such as a table's columns."""

    encoding: str | None = None
    delimiter: str | None = None
    header: tuple[str, ...] = ()
    mapping: ColumnMapping | None = None
    array: ArrayFacts | None = None

    @classmethod
    def of(cls, source: FileSource) -> FileFacts:
        return cls(source.encoding, source.delimiter, source.header, source.mapping, source.array)

    def tell(self, source: FileSource) -> None:
        source.encoding, source.delimiter = self.encoding, self.delimiter
        source.header, source.mapping, source.array = self.header, self.mapping, self.array


@dataclass(frozen=True, slots=True)
class Finished:
    """The last message about a file."""

    problem: IncomingProblem | None = None
    """Why the rest of it could not be read, if so."""
    out_of_memory: bool = False
    retires: bool = False
    """The process ends now, and another is to take its place."""


@dataclass(frozen=True, slots=True)
class Request:
    """A file to read: by the reader for ``extension``, from ``path``."""

    path: str
    name: str
    extension: str
    options: ReadOptions


Item = Section | Attachment | IncomingDocument | IncomingProblem
Message = Item | FileFacts | Finished


def request_line(request: Request) -> bytes:
    # Parts are made on this side: over there, tokenizers would only take time and memory.
    return _line(asdict(replace(request, options=replace(request.options, tokenizer=""))))


def request_of(line: bytes) -> Request:
    values = json.loads(line)
    options = values.pop("options")
    options["columns"] = ColumnChoice(**_tuples(options["columns"]))
    return Request(**values, options=ReadOptions(**options))


def message_line(message: Message, position: int) -> bytes:
    """position: how much of the file is read, in bytes."""
    if isinstance(message, IncomingDocument):
        values = {
            "external_id": message.external_id,
            "content": message.content,
            "part": message.part,
            "title": message.title,
            "category": message.category,
            "metadata": message.metadata,
        }
        if message.embedding is not None:
            content = message.embedding.astype("<f4").tobytes()
            values["embedding"] = base64.b64encode(content).decode("ascii")
    elif isinstance(message, Section):
        values = {
            "text": message.text,
            "title": message.title,
            "metadata": message.metadata,
        }
    elif isinstance(message, Attachment):
        content = base64.b64encode(message.content)
        values = {"name": message.name, "content": content.decode("ascii")}
    else:
        values = asdict(message)
    return _line({"kind": type(message).__name__, "position": position, **values})


def message_of(line: bytes) -> tuple[Message, int]:
    """The message and the position. Raises ProtocolError."""
    try:
        values = json.loads(line)
        return _MAKERS[values.pop("kind")](values), _number(values.pop("position"))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, InvalidInput) as exc:
        raise ProtocolError(f"{type(exc).__name__}: {exc}") from None


def _line(values: Mapping[str, Any]) -> bytes:
    # ASCII: a lone surrogate has no UTF-8.
    return json.dumps(values, separators=(",", ":")).encode("ascii") + b"\n"


def _document(values: dict[str, Any]) -> IncomingDocument:
    if (vector := values.get("embedding")) is not None:
        import numpy as np

        values["embedding"] = np.frombuffer(_bytes(vector), dtype="<f4")
    return IncomingDocument(**_only(values, "embedding", **_TEXTS, part=int))


def _section(values: dict[str, Any]) -> Section:
    return Section(**_only(values, text=str, title=_OPTIONAL, metadata=dict))


def _attachment(values: dict[str, Any]) -> Attachment:
    return Attachment(_text(values["name"]), _bytes(values["content"]))


def _problem(values: dict[str, Any]) -> IncomingProblem:
    texts = dict.fromkeys(("source", "place", "reason", "hint"), str)
    return IncomingProblem(**_only(values, **texts, stored=bool, count=int))


def _file_facts(values: dict[str, Any]) -> FileFacts:
    mapping, array = values["mapping"], values["array"]
    return FileFacts(
        values["encoding"],
        values["delimiter"],
        tuple(_text(name) for name in values["header"]),
        None if mapping is None else ColumnMapping(**_tuples(mapping)),
        None if array is None else ArrayFacts(**_tuples(array)),
    )


def _finished(values: dict[str, Any]) -> Finished:
    problem = values["problem"]
    return Finished(
        None if problem is None else _problem(problem),
        bool(values["out_of_memory"]),
        bool(values["retires"]),
    )


_OPTIONAL = (str, type(None))
_TEXTS: dict[str, Any] = {
    "external_id": str,
    "content": str,
    "title": _OPTIONAL,
    "category": _OPTIONAL,
    "metadata": dict,
}
_MAKERS: dict[str, Any] = {
    "IncomingDocument": _document,
    "Section": _section,
    "Attachment": _attachment,
    "IncomingProblem": _problem,
    "FileFacts": _file_facts,
    "Finished": _finished,
}


def _only(values: dict[str, Any], *untyped: str, **types: Any) -> dict[str, Any]:
    """The named values, each of its type."""
    for name, kind in types.items():
        if not isinstance(values[name], kind):
            raise TypeError(f"{name} is a {type(values[name]).__name__}")
    return {name: values[name] for name in (*types, *untyped) if name in values}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} for a text")
    return value


def _number(value: Any) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{type(value).__name__} for a number")
    return value


def _bytes(value: Any) -> bytes:
    try:
        return base64.b64decode(_text(value), validate=True)
    except binascii.Error as exc:
        raise ValueError(str(exc)) from None


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
